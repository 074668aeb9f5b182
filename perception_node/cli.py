"""`perception VERB ...`: packages on a conveyor, separated, followed and handed out as ranked grasps.

Exit status: 0 done, 1 the result falls short, 2 bad input (one clear line on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

from perception_node import __version__
from perception_node.arguments import Parser
from perception_node.errors import MissingDependencyError, PerceptionError


@dataclass(frozen=True)
class Verb:
    """A verb's module, imported when it is used, and what it does.

    `module` offers `add_arguments(parser)` and `run(arguments) -> int`; with `whole` it offers `main(argv) -> int` in their place
    and gets all arguments unread (ROS programs read their own); `usage` is then what `--help` says, "" = the program says it.
    """

    module: str
    words: str
    whole: bool = False
    usage: str = ""


VERBS: Mapping[str, Verb] = {
    "demo": Verb("perception_node.ros.demo", "play the bundled conveyor through ROS 2 into the node and a planner, and measure"),
    "segment": Verb("perception_node.segment.pictures", "draw masks and classes on pictures of your own"),
    "replay": Verb("perception_node.bag.command", "compute a recording frame by frame, repeatably; compare with an earlier one"),
    "evaluate": Verb("perception_node.learn.evaluate", "judge a model on a data set with ground truth"),
    "synthesize": Verb("perception_node.sim.synthesize", "make training pictures of simulated packages", whole=True),
    "train": Verb("perception_node.learn.train", "train a segmenter on simulated pictures"),
    "finetune": Verb("perception_node.learn.finetune", "adapt the universal model to a cell with a few of its own pictures"),
    "capture": Verb("perception_node.capture.command",
                    "list frames that a cell kept, make a data set of them; take pictures out of a recording"),
    "prelabel": Verb("perception_node.learn.prelabel", "propose masks for pictures, for annotators to correct (COCO and LabelMe)"),
    "dataset": Verb("perception_node.learn.datasets", "check, merge or compare labelled data sets"),
    "fleet": Verb("perception_node.fleet.command", "keep the registry of all cells' data sets: content, split, licence, source"),
    "promote": Verb("perception_node.fleet.promote", "make a model the champion of all cells, if no cell loses by it"),
    "adaptation": Verb("perception_node.learn.adaptation", "measure what a few of a cell's own pictures are worth"),
    "export": Verb("perception_node.learn.export", "write a trained segmenter as ONNX with its card"),
    "simulate-picks": Verb("perception_node.learn.simulate_picks", "carry grasps out on simulated pictures and log what happens"),
    "fit-ranking": Verb("perception_node.learn.fit_ranking", "refit the probabilities of grasps from logs of pick outcomes"),
    "calibrate": Verb("perception_node.ros.calibrate", "find the camera's pose in the cell from views of an LED beacon"),
    "learn-empty": Verb("perception_node.bag.empty_cell", "learn the empty cell: its machinery gets no grasps from then on"),
    "bench": Verb("", "measure times and figures of one part"),
    "doctor": Verb("perception_node.doctor.checkup", "check the machine and a running cell; each finding with its remedy"),
    "console": Verb("perception_node.ros.console", "serve the operator's page: live picture, ranking, questions, choices, outcomes",
                    whole=True),
    "node": Verb(
        "perception_node.ros.perception", "run the ROS 2 node (the same as `ros2 run`; --ros-args are passed on)", whole=True,
        usage="perception node [--ros-args -r image:=TOPIC ... --params-file config/cell.yaml -p NAME:=VALUE ...]\n\n"
              "Topics, services and parameters: docs/interfaces.md. Ctrl-C ends the node."),
}

BENCHES: Mapping[str, Verb] = {
    "segment": Verb("perception_node.bench.segment", "time from picture to label image, by runtime"),
    "grasp": Verb("perception_node.bench.grasp", "validity of proposed grasps against the true geometry of a data set"),
    "ranking": Verb("perception_node.bench.ranking", "calibration of the grasps' probabilities, and the order of picking"),
    "track": Verb("perception_node.bench.track", "ids, belt velocity and prediction on simulated conveyors"),
    "cover": Verb("perception_node.bench.cover", "what lies on what and what to pick first, against the truth; how steady"),
    "beacon": Verb("perception_node.bench.beacon", "pose of an LED beacon over docking runs: errors over range, and time"),
    "advise": Verb("perception_node.bench.advise", "how well operators are understood; picking with a ranking that learns"),
    "fleet": Verb("perception_node.bench.fleet", "three simulated cells join one after another: does the one model get better?"),
    "publish": Verb("perception_node.bench.publish", "time to fill and publish the results of one frame"),
    "soak": Verb("perception_node.bench.soak", "memory, file descriptors and threads of the node over 20,000 frames"),
    "capture": Verb("perception_node.bench.capture", "what keeping frames for training costs the thread that computes"),
    "live": Verb("perception_node.bench.live", "rates, latencies and drops of the node at 30 and 60 Hz, with one camera and two"),
    "console": Verb("perception_node.bench.console", "pictures a second on the operator's page, and what the page costs the node"),
}

_REMEDIES: Mapping[str, str] = {
    "perception_node_msgs": "build the messages with `make build` (or `colcon build`), then `. ./env.sh`",
    "rclpy": "source a ROS 2 distribution, or run `make build`; then `. ./env.sh`",
    "torch": "pip install -r requirements/train.txt",
    "mujoco": "pip install -r requirements/train.txt",
    "numba": "pip install -r requirements/runtime.txt",
    "scipy": "pip install -r requirements/train.txt",
    "onnx": "pip install -r requirements/train.txt",
    "pycocotools": "pip install -r requirements/train.txt",
    "matplotlib": "pip install -r requirements/train.txt",
}

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A write that fails for these names no file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit status."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = dispatch("perception", __doc__ or "", VERBS, argv)
        sys.stdout.flush()
        return status
    except PerceptionError as error:
        print(f"perception: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of a pipe, `| head`, has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a file that cannot be read or written; anything else is a fault of ours
        if error.filename is None and error.errno not in _FULL:
            raise
        print(f"perception: {'' if error.filename is None else f'{error.filename}: '}{error.strerror}", file=sys.stderr)
        return 2


def dispatch(program: str, words: str, verbs: Mapping[str, Verb], argv: Sequence[str]) -> int:
    """Find the verb, import its module, parse its arguments, run it.

    Raises:
        MissingDependencyError: a library that the verb needs is not installed.
        PerceptionError: whatever the verb raises.
    """
    name = argv[0] if argv else ""
    if name not in verbs:
        return _no_verb(program, words, verbs, argv)
    verb, rest, program = verbs[name], list(argv[1:]), f"{program} {name}"
    if not verb.module:
        return dispatch(program, verb.words[0].upper() + verb.words[1:] + ".", BENCHES, rest)
    if verb.usage and rest[:1] in (["-h"], ["--help"]):
        print(f"usage: {verb.usage}")
        return 0
    try:
        module = importlib.import_module(verb.module)
        if verb.whole:
            return _status(module.main(rest))
        return _status(module.run(_parser(program, verb, module).parse_args(rest)))
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing in ("", "perception_node"):
            raise
        remedy = _REMEDIES.get("rclpy" if missing.endswith("_msgs") and missing not in _REMEDIES else missing,
                               "pip install -r requirements/runtime.txt")
        raise MissingDependencyError(f"`{program}` needs the Python package {missing}, which is not installed: {remedy}") from None


def _no_verb(program: str, words: str, verbs: Mapping[str, Verb], argv: Sequence[str]) -> int:
    """Help, version, or a clear line about what is no verb."""
    usage = f"{program} [-h]{' [--version]' if verbs is VERBS else ''} VERB ..."
    parser = Parser(prog=program, description=words, usage=usage, epilog=_list(verbs),
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    if verbs is VERBS:
        parser.add_argument("--version", action="version", version=f"perception_node {__version__}")
    if not argv:
        parser.print_help()
        return 2
    _, unknown = parser.parse_known_args(argv)
    first = next((word for word in unknown), "")
    raise PerceptionError(f"expected one of the verbs {', '.join(verbs)}, got {first!r}")


def _list(verbs: Mapping[str, Verb]) -> str:
    width = max(len(name) for name in verbs)
    lines = [f"  {name:<{width}}  {verb.words}" for name, verb in verbs.items()]
    return "\n".join(["verbs:", *lines, "", "`VERB --help` says more."])


def _parser(program: str, verb: Verb, module: ModuleType) -> argparse.ArgumentParser:
    text = f"{verb.words[0].upper()}{verb.words[1:]}"
    parser = Parser(prog=program, description=text if text.endswith("?") else f"{text}.")
    module.add_arguments(parser)
    return parser


def _status(value: int | None) -> int:
    return 0 if value is None else int(value)


if __name__ == "__main__":
    sys.exit(main())

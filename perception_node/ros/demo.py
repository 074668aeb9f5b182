"""`perception demo`: a recording is played into the node, a planner listens, and the results are measured. Separate processes."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import rclpy
from rclpy.signals import SignalHandlerOptions
from tqdm import tqdm

from perception_node.arguments import above_zero, file_to_write, folder_to_write, one_or_more
from perception_node.bag.reader import Recording
from perception_node.bag.record import TRUTH_NAME
from perception_node.bag.truth import load_truth
from perception_node.errors import PerceptionError
from perception_node.files import put_json
from perception_node.ros import demo_pictures, demo_report
from perception_node.ros.collector import Collector
from perception_node.ros.player import DEMO_RECORDING
from perception_node.ros.processes import Processes, interrupt_on_sigterm, parameter_files
from perception_node.ros.transport import missing_variables
from perception_node.types import Frame

_START_S = 120.0  # how long the first scene may take on a slow, busy machine
_QUIET_S = 1.5  # after the player's end, the last scene has come when none came for this long
_LAST_DOMAIN = 100  # Source: docs.ros.org "The ROS_DOMAIN_ID": 0 to 101 are safe on all systems


@dataclass(frozen=True, eq=False)
class Session:
    """What happened: stamps (sent, recorded) in ns, the collector, seconds to the first scene, the planner's lines."""

    sent: list[tuple[int, int]]
    collector: Collector
    first_scene_s: float
    planner_lines: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--recording", type=Path, default=DEMO_RECORDING,
                        help="rosbag2 folder, .mcap or .db3 file; default: the conveyor that comes with the package")
    parser.add_argument("--out", type=folder_to_write, default=Path("out/demo"),
                        help="folder for pictures and figures (default: out/demo)")
    parser.add_argument("--rate", type=above_zero, default=1.0, metavar="FACTOR", help="2 = twice as fast as recorded (default: 1)")
    parser.add_argument("--frames", type=one_or_more, metavar="N", help="stop after N frames (default: all)")
    parser.add_argument("--config", type=Path, metavar="YAML", help="the cell's configuration (default: the node's defaults)")
    parser.add_argument("--json", type=file_to_write, metavar="OUT", help="write the figures to this file, too")


def run(options: argparse.Namespace) -> int:
    """Run the demo; return 0, or 1 when the result falls short of what a working cell delivers.

    Raises:
        PerceptionError: the recording or an argument cannot be used, or a process failed to do its work.
    """
    parameters = parameter_files(options.config)
    with Recording(options.recording) as recording:
        total = min(recording.span.frames, options.frames or recording.span.frames)
    truth_file = (options.recording if options.recording.is_dir() else options.recording.parent) / TRUTH_NAME
    truth = load_truth(truth_file) if truth_file.exists() else None
    options.out.mkdir(parents=True, exist_ok=True)
    session = play(options, total, parameters)
    received = session.collector.received()
    figures = demo_report.figures(received, session.sent, truth, first_scene_s=session.first_scene_s,
                                  planner_lines=session.planner_lines, diagnostics=session.collector.diagnostics())
    files = demo_report.write_scenes(options.out / "scenes.jsonl", received)
    if received:
        frames = _frames_of(options.recording, {recorded for _, recorded in session.sent})
        by_sent = {sent: frames[recorded] for sent, recorded in session.sent if recorded in frames}
        files += demo_pictures.draw_all(options.out, [(by_sent[r.scene.stamp_ns], r.scene) for r in received
                                                      if r.scene.stamp_ns in by_sent])
    put_json(options.out / "figures.json", figures)
    if options.json is not None:
        put_json(options.json, figures)
    print(demo_report.table(figures, [*files, options.out / "figures.json"]))
    shortfalls = demo_report.shortfalls(figures)
    for words in shortfalls:
        print(f"falls short: {words}", file=sys.stderr)
    return 1 if shortfalls else 0


def play(options: argparse.Namespace, total: int, parameters: Sequence[str] = ()) -> Session:
    """Start the processes, the node with its `parameters`; collect what it publishes, end the processes.

    Raises:
        PerceptionError: a process ended early, or the node published nothing in time.
    """
    interrupt_on_sigterm()
    begin = time.monotonic()
    environment = ros_environment()
    report = options.out / "sent.json"
    report.unlink(missing_ok=True)
    python = [sys.executable, "-m"]
    with Processes(environment, options.out) as processes:
        processes.start("node", [*python, "perception_node.ros.perception", "--ros-args", *parameters])
        processes.start("player", [*python, "perception_node.ros.player", str(options.recording), "--rate", str(options.rate),
                                   "--report", str(report), "--wait", str(_START_S),
                                   *(["--frames", str(options.frames)] if options.frames else [])])
        processes.start("planner", [*python, "perception_node.ros.planner_example"])
        os.environ.clear()
        os.environ.update(environment)
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        try:
            node = rclpy.create_node("demo")
            collector = Collector(node)
            print(f"playing {options.recording.name} ({total} frames) to the node in ROS_DOMAIN_ID={environment['ROS_DOMAIN_ID']}; "
                  f"what the processes say is in {options.out}/*.log")
            _watch(processes, collector, total, begin)
            node.destroy_node()
        finally:
            rclpy.try_shutdown()
        lines = processes.log("planner").read_text(encoding="utf-8", errors="replace").splitlines()
        sent = json.loads(report.read_text(encoding="utf-8"))["sent"]
    return Session(sent=[(int(stamp), int(recorded)) for stamp, recorded in sent], collector=collector,
                   first_scene_s=(collector.first or time.monotonic()) - begin,
                   planner_lines=[line for line in lines if line.startswith("would pick")])


def ros_environment() -> dict[str, str]:
    """The environment of all processes: a transport that carries pictures, and a domain of their own.

    Discovery that is limited to this machine would make Fast DDS ignore a user's `LARGE_DATA`. Source: `transport_fault`.
    """
    environment = {**os.environ, **missing_variables(os.environ)}
    if environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE") == "LOCALHOST":
        del environment["ROS_AUTOMATIC_DISCOVERY_RANGE"]
    environment.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % _LAST_DOMAIN))
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def _watch(processes: Processes, collector: Collector, total: int, begin: float) -> None:
    """Collect until the player has ended and the last scene has come."""
    shown = 0
    with tqdm(total=total, unit="frame", desc="processed", dynamic_ncols=True) as bar:
        while True:
            collector.spin(0.1)
            if collector.count > shown:
                bar.update(collector.count - shown)
                shown = collector.count
            player = processes.status("player")
            for name in ("node", "planner"):
                if processes.status(name) is not None:
                    raise PerceptionError(f"the {name} ended early, status {processes.status(name)}: "
                                          f"{_last_lines(processes, name)}")
            if player not in (None, 0):
                raise PerceptionError(f"the player ended with status {player}: {_last_lines(processes, 'player')}")
            now = time.monotonic()
            if player == 0 and (collector.count >= total or now - collector.last > _QUIET_S):
                return
            if collector.first is None and now - begin > _START_S:
                raise PerceptionError(f"expected the first scene within {_START_S:g} s, got none; the node said: "
                                      f"{_last_lines(processes, 'node')}")


def _last_lines(processes: Processes, name: str) -> str:
    lines = processes.log(name).read_text(encoding="utf-8", errors="replace").split("\n")
    return " | ".join([line.strip() for line in lines if line.strip()][-3:]) or "nothing"


def _frames_of(path: Path, stamps: set[int]) -> dict[int, Frame]:
    with Recording(path) as recording:
        return {frame.stamp_ns: frame for frame in recording.frames() if frame.stamp_ns in stamps}

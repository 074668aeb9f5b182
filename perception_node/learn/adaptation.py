"""`perception adaptation DATASET --out DIR`: what a few of a cell's own pictures are worth, as a table and a plot.

Universal weights adapted with 0, 5, 20 and 80 pictures stand against networks trained from scratch on 5, 20, 80 and 100 pictures
and on 25 times as many simulated ones. Pictures are drawn from the first ones of the data set; the last ones judge. Every run
is `perception finetune` and `perception evaluate` in processes of their own, one thread each, two side by side; each leaves
its figures in DIR/runs/NAME and is not repeated, so a broken call goes on where it ended.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perception_node.arguments import file_to_write, folder_to_write, one_or_more
from perception_node.errors import DatasetError, PerceptionError
from perception_node.files import put_json
from perception_node.learn.adaptation_report import draw_plot, falls_short, tables, write_section
from perception_node.learn.dataset import annotation_files, read_dataset, read_json, require_packages
from perception_node.segment.weights import check_weights, default_weights, file_sha256

MODES = ("depth", "colour")
UNIVERSAL, SCRATCH, SIMULATED = "universal", "scratch", "simulated"
_SIMULATED_TIMES = 25
_SIMULATED_SEED = 9_500_000


@dataclass(frozen=True)
class Run:
    """One training and its judgement.

    Attributes:
        start: `UNIVERSAL` (adapted), `SCRATCH` (random weights, the cell's pictures), `SIMULATED` (random weights, simulated ones).
        images: pictures trained on, 0 = the start itself. seed: of the draw and the training. steps: None = `finetune`'s choice.
    """

    start: str
    images: int
    seed: int = 0
    steps: int | None = None

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.start}-{self.images}-seed{self.seed}"


def plan(seeds: int, scratch_steps: int, quick: bool) -> list[Run]:
    """The runs, most telling first: a call that is broken off has the middle of the table.

    Args:
        seeds: repetitions with 5 and 20 pictures. scratch_steps: of the runs from random weights. quick: minutes instead of hours.
    """
    if quick:
        return [Run(UNIVERSAL, 0), Run(UNIVERSAL, 5, steps=20), Run(SCRATCH, 5, steps=20), Run(SIMULATED, 25, steps=20)]
    runs = [Run(UNIVERSAL, 0), Run(UNIVERSAL, 20), Run(SCRATCH, 100, steps=scratch_steps), Run(UNIVERSAL, 5)]
    runs += [Run(UNIVERSAL, k, seed) for seed in range(1, seeds) for k in (20, 5)]
    runs += [Run(UNIVERSAL, 80), Run(SCRATCH, 20, steps=scratch_steps), Run(SIMULATED, 20 * _SIMULATED_TIMES, steps=scratch_steps),
             Run(SCRATCH, 5, steps=scratch_steps), Run(SCRATCH, 80, steps=scratch_steps)]
    return runs + [Run(SCRATCH, k, seed, scratch_steps) for seed in range(1, seeds) for k in (20, 5)]


@dataclass(frozen=True)
class Setting:
    """What all runs share.

    Attributes:
        dataset: of the cell. out: folder of this comparison. init: universal weights (.onnx). draw_from: first pictures to draw
            from. judge: last pictures to judge on. memory: data set that shows what was forgotten, None = not measured.
            memory_pictures: its first ones. simulated: folder of simulated pictures, None = they are made.
    """

    dataset: Path
    out: Path
    init: Path
    draw_from: int
    judge: int
    memory: Path | None
    memory_pictures: int
    simulated: Path | None

    def fingerprint(self) -> dict[str, Any]:
        """What the figures depend on; a folder with other ones is not gone on with."""
        files = annotation_files(self.dataset)
        return {"dataset": [file_sha256(path) for path in files], "init": file_sha256(self.init), "draw_from": self.draw_from,
                "judge": self.judge, "memory": str(self.memory and self.memory.name), "memory_pictures": self.memory_pictures}


class _Stopped(Exception):
    """The call was interrupted; children were ended."""


class _Children:
    """Running processes, ended together."""

    def __init__(self) -> None:
        self._lock, self._stopped = threading.Lock(), False
        self._running: set[subprocess.Popen[bytes]] = set()

    def wait(self, words: Sequence[str], log: Path) -> int:
        """Start a process that writes into `log`, wait for it, return its status."""
        with log.open("ab") as stream, self._lock:
            if self._stopped:
                raise _Stopped
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                                     env={**os.environ, "OMP_NUM_THREADS": "1"})
            self._running.add(child)
        status = child.wait()
        with self._lock:
            self._running.discard(child)
            if self._stopped:
                raise _Stopped
        return status

    def stop(self) -> None:
        """End them; no other starts."""
        with self._lock:
            self._stopped = True
            for child in self._running:
                child.terminate()


def _command(words: Sequence[object], log: Path, children: _Children) -> None:
    """Run `perception WORDS` with one thread.

    Raises:
        PerceptionError: it failed; the last line it wrote is in the message.
    """
    status = children.wait([sys.executable, "-m", "perception_node.cli", *map(str, words)], log)
    if status:
        lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").strip().splitlines() or ["no word"]
        raise PerceptionError(f"perception {words[0]} ended with status {status}: {lines[-1]} (see {log})")


def make(run: Run, setting: Setting, children: _Children) -> dict[str, Any]:
    """Train and judge one run, as far as it is not done yet; returns its figures."""
    folder = setting.out / "runs" / run.name
    result = folder / "result.json"
    if result.is_file():
        return dict(json.loads(result.read_text(encoding="utf-8")))
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    model, training = setting.init, {}
    if run.images:
        model = folder / "adapted.onnx"
        if not (folder / "training.json").is_file():
            simulated = run.start == SIMULATED
            words: list[object] = ["finetune", _simulated(run, setting) if simulated else setting.dataset, "--images", run.images,
                                   "--first", run.images if simulated else setting.draw_from, "--seed", run.seed, "--threads", 1,
                                   "--cache", setting.out / "cache", "--out", folder, "--json", folder / "training.json"]
            words += ["--steps", run.steps] if run.steps else []
            words += ["--init", setting.init.with_suffix(".safetensors")] if run.start == UNIVERSAL else ["--scratch"]
            _command(words, log, children)
        training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    judged = folder / "cell.json"
    if not judged.is_file():
        _command(["evaluate", setting.dataset, "--last", setting.judge, "--model", model, "--threads", 1, "--json", judged],
                 log, children)
    forgotten = folder / "memory.json"
    if setting.memory and run.start == UNIVERSAL and not forgotten.is_file():
        _command(["evaluate", setting.memory, "--first", setting.memory_pictures, "--model", model, "--threads", 1, "--json",
                  forgotten], log, children)
    figures = {"start": run.start, "images": run.images, "seed": run.seed, "training": training,
               "cell": json.loads(judged.read_text(encoding="utf-8")),
               "memory": json.loads(forgotten.read_text(encoding="utf-8")) if forgotten.is_file() else None}
    put_json(result, figures)
    return figures


_SIMULATING = threading.Lock()


def _simulated(run: Run, setting: Setting) -> Path:
    if setting.simulated is not None:
        return setting.simulated
    folder = setting.out / f"simulated-{run.images}"
    with _SIMULATING:
        if not (folder / "annotations.json").is_file():
            from perception_node.sim.synthesize import synthesize

            synthesize(folder, run.images, _SIMULATED_SEED, workers=2, progress=False)
    return folder


def compare(setting: Setting, runs: Sequence[Run], jobs: int) -> list[dict[str, Any]]:
    """Make all runs, `jobs` side by side.

    Raises:
        PerceptionError: a run failed; the others that had begun are ended.
    """
    from perception_node.learn.finetune import simulated_replay

    state = setting.out / "setting.json"
    mine = setting.fingerprint()
    if state.is_file() and json.loads(state.read_text(encoding="utf-8")) != mine:
        raise DatasetError(f"{setting.out}: holds a comparison of other weights or pictures; choose another --out or remove it")
    put_json(state, mine)
    simulated_replay(setting.out / "cache")  # once, before two runs ask for it
    results: list[dict[str, Any]] = []
    children = _Children()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no child outlives this process
    pool = ThreadPoolExecutor(jobs)
    try:
        for run, done in [(run, pool.submit(make, run, setting, children)) for run in runs]:
            results.append(done.result())
            cell = results[-1]["cell"]
            figures = ", ".join(f"{mode} AP {cell[mode]['pickable_mask']['AP']:.3f}" for mode in MODES if mode in cell)
            print(f"{run.name}: {figures}", flush=True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        children.stop()
        pool.shutdown(wait=True)
        signal.signal(signal.SIGTERM, before)
    return results


def finished(setting: Setting, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Figures of the runs that are done.

    Raises:
        DatasetError: none is.
    """
    paths = [path for run in runs if (path := setting.out / "runs" / run.name / "result.json").is_file()]
    if not paths:
        raise DatasetError(f"{setting.out}: expected a finished run at least, found none")
    return [read_json(path) for path in paths]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `perception adaptation`."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="the cell's labelled pictures")
    parser.add_argument("--out", type=folder_to_write, required=True, metavar="DIR",
                        help="folder of the runs; a broken call in it goes on")
    parser.add_argument("--draw-from", type=one_or_more, default=100, metavar="N",
                        help="draw from the first N pictures (default: %(default)s)")
    parser.add_argument("--judge", type=one_or_more, default=40, metavar="N",
                        help="judge on the last N pictures (default: %(default)s)")
    parser.add_argument("--memory", type=Path, metavar="DATASET",
                        help="validation set of the universal model: how much is forgotten (default: not measured)")
    parser.add_argument("--memory-pictures", type=one_or_more, default=50, metavar="N",
                        help="its first N pictures (default: %(default)s)")
    parser.add_argument("--simulated", type=Path, metavar="DATASET", help="500 simulated pictures or more (default: they are made)")
    parser.add_argument("--model", type=Path, help=".onnx file of the universal weights, .safetensors beside it (default: shipped)")
    parser.add_argument("--seeds", type=one_or_more, default=3, help="repetitions with 5 and 20 pictures (default: %(default)s)")
    parser.add_argument("--scratch-steps", type=one_or_more, default=600,
                        help="steps of 8 samples of each run from random weights (default: %(default)s)")
    parser.add_argument("--jobs", type=one_or_more, default=2, help="runs side by side, one thread each (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a few short runs in minutes: shows that it works, no more")
    parser.add_argument("--report", action="store_true", help="make no runs: tables and plot of those that are done")
    parser.add_argument("--docs", type=Path, metavar="DIR", help="write the tables into DIR/results.md, the plot into DIR/images")
    parser.add_argument("--json", type=file_to_write, help="write all figures to this file")


def run(args: argparse.Namespace) -> int:
    """Compare; exit status 0, 1 when adaptation misses its targets, 2 for bad input, 130 when interrupted."""
    try:
        entries = read_dataset(args.dataset)
        require_packages(args.dataset, entries)
        draw_from, judge = (max(5, len(entries) // 2), min(8, len(entries) // 2)) if args.quick else (args.draw_from, args.judge)
        if draw_from + judge > len(entries) or min(draw_from, judge, args.jobs, args.seeds) < 1:
            raise DatasetError(f"{args.dataset}: expected {draw_from} pictures to draw from and {judge} others to judge on, "
                               f"found {len(entries)}")
        init = args.model or default_weights()
        check_weights(init)
        setting = Setting(args.dataset.resolve(), args.out.resolve(), init.resolve(), draw_from, judge,
                          args.memory.resolve() if args.memory else None, args.memory_pictures, args.simulated)
        if args.quick:
            setting = replace(setting, memory_pictures=4)
        runs = plan(args.seeds, args.scratch_steps, args.quick)
        results = finished(setting, runs) if args.report else compare(setting, runs, args.jobs)
        text = tables(results)
        print(text)
        draw_plot(results, args.out / "adaptation.png")
        if args.docs:
            draw_plot(results, args.docs / "images" / "adaptation.png")
            write_section(args.docs / "results.md", text)
        if args.json:
            put_json(args.json, results)
    except _Stopped:
        return 130
    except (PerceptionError, OSError) as error:
        print(f"adaptation: {error}", file=sys.stderr)
        return 2
    missed = [] if args.quick else falls_short(results)
    for words in missed:
        print(f"falls short: {words}")
    return 1 if missed else 0

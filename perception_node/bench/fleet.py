"""`perception bench fleet`: three simulated cells join one after another; does the one model get better for all of them?

Each cell has a place, a camera, a light and makes of packages of its own; the third brings a mix of classes that neither of the
others has. When a cell joins, the champion is adapted with the training pictures of all cells that joined so far (merged, so that
each counts alike) and simulated ones; the result, or a mixture of it and the champion, takes its place only if `perception promote
--mix` lets it. All cells' judging pictures are registered from the start, as those of a cell that is to join should be: what a new
model would lose there speaks against it, too. The same with the new cell's pictures alone, without rehearsal, is judged beside it,
never promoted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from perception_node.arguments import file_to_write, folder_to_write, zero_or_more
from perception_node.errors import DatasetError, PerceptionError
from perception_node.files import aside, put_json
from perception_node.fleet.command import add_set
from perception_node.fleet.mix import SHARES
from perception_node.fleet.promote import promote
from perception_node.fleet.registry import champion_of, read_registry
from perception_node.learn.dataset import read_dataset
from perception_node.learn.evaluate import MODES, evaluate
from perception_node.learn.finetune import finetune, finetune_config, simulated_replay
from perception_node.learn.judge import coco_ap
from perception_node.learn.merge import merge
from perception_node.segment.infer import Segmenter
from perception_node.segment.weights import default_weights
from perception_node.sim.cell import SimulatedCell
from perception_node.sim.synthesize import synthesize

NAMES = ("chute", "tote", "belt")
_CLASS_SHARES = ((0.7, 0.2, 0.1), (0.3, 0.6, 0.1), (0.1, 0.1, 0.8))
"""Of boxes, padded mailers and poly bags in each cell: the third sees mostly what is rare in the others."""


@dataclass(frozen=True)
class Size:
    """How much is made and trained: pictures of each cell to train on and to judge by, simulated pictures mixed in, steps at each
    join (None = as many as `perception finetune` takes for that many pictures), shares of the candidate in the mixtures tried."""

    train: int = 20
    judge: int = 40
    replay: int = 100
    steps: int | None = None
    resamples: int = 1000
    shares: tuple[float, ...] = SHARES


_STATE = "bench-fleet.json"
QUICK = Size(train=4, judge=4, replay=4, steps=4, resamples=50, shares=(0.5,))


def run_fleet(out: Path, size: Size, seed: int = 11, progress: bool = True) -> dict[str, Any]:
    """Let the cells join; what was made is taken again by a second call with the same folder.

    Args:
        out: folder of data, runs and registry. size: how much. seed: of the cells. progress: show bars.

    Returns:
        "steps": for each joining cell, "decision", "fleet" (AP of the champion afterwards by cell, those to come included) and
        "without_rehearsal" (AP changes of the joined cells). "start": AP of the shipped model by cell.

    Raises:
        DatasetError: the folder holds something else, or a run of another size or seed.
    """
    _claim(out, {"seed": seed, **asdict(size)})
    registry = out / "fleet.yaml"
    registry.unlink(missing_ok=True)
    cells = {name: SimulatedCell(seed + k, shares) for k, (name, shares) in enumerate(zip(NAMES, _CLASS_SHARES, strict=True))}
    for k, (name, cell) in enumerate(cells.items()):
        for split, count in (("train", size.train), ("judge", size.judge)):
            _made(out / name / split, count, 1000 * (seed + k) + (split == "judge"), cell, progress)
    replay = simulated_replay(out / "cache", size.replay)
    judging = {name: out / name / "judge" for name in cells}
    start = fleet_ap(default_weights(), judging, progress)
    steps: list[dict[str, Any]] = []
    joined: list[str] = []

    def register(name: str, split: str) -> None:
        add_set(registry, name, out / name / split, split, "generated", f"simulated, cell {cells[name].number}", {},
                progress=progress)

    for name in cells:
        register(name, "judge")
    for name in cells:
        register(name, "train")
        champion = champion_of(read_registry(registry))
        joined.append(name)
        data = _merged(out / f"train-{name}", [out / other / "train" for other in joined], progress)
        candidate = _adapted(out, name, data, [str(replay)], champion, size, progress, len(joined))
        decision = promote(candidate, registry, out / f"decision-{name}", resamples=size.resamples, progress=progress,
                           shares=size.shares)
        step: dict[str, Any] = {"joins": name, "decision": decision.to_json()}
        if len(joined) > 1:
            bare = _adapted(out, f"{name}-without-rehearsal", out / name / "train", [], champion, size, progress)
            step["without_rehearsal"] = _against(bare, champion, {n: judging[n] for n in joined}, progress)
        step["fleet"] = fleet_ap(champion_of(read_registry(registry)), judging, progress)
        steps.append(step)
        print(f"{name} joins: {'promoted' if decision.promoted else 'refused'}; {_line(step['fleet'])}", flush=True)
    return {"seed": seed, "cells": {n: {"number": c.number, "shares": c.shares} for n, c in cells.items()}, "start": start,
            "steps": steps, **_verdict(start, steps)}


def _claim(out: Path, state: Mapping[str, Any]) -> None:
    """Make sure that a folder is new, empty or this run's; then note down whose it is."""
    path = out / _STATE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise DatasetError(f"{out}: expected a folder that is new, empty or of a broken run, found something else") from None
    except (OSError, ValueError):
        raise DatasetError(f"{path}: expected the settings of a run, cannot be read") from None
    else:
        if found != json.loads(json.dumps(state)):
            raise DatasetError(f"{out}: expected a run of {dict(state)}, got {found}; choose another --out or remove it"[:400])
    put_json(path, state)


def _made(folder: Path, count: int, seed: int, cell: SimulatedCell, progress: bool) -> None:
    if not (folder / "annotations.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        synthesize(folder, count, seed, workers=2, progress=progress, cell=cell)


def _merged(folder: Path, sets: Sequence[Path], progress: bool) -> Path:
    """One set of several, made when it is not there yet; one alone stays as it is."""
    if len(sets) == 1:
        return sets[0]
    if not (folder / "annotations.json").is_file():
        merge(sets, folder, {}, progress=progress)
    return folder


def _adapted(out: Path, name: str, data: Path, replay: list[str], champion: Path, size: Size, progress: bool,
             cells: int = 1) -> Path:
    """The champion, adapted; a run that is there already is taken. The simulated pictures count like one more of the cells."""
    folder = out / "runs" / name
    config = finetune_config(data, folder, None, None, size.steps, 0, replay, str(out / "cache"),
                             champion.with_suffix(".safetensors"))
    if replay:
        config = replace(config, first_share=cells / (cells + 1))
    return Path(finetune(config, name, progress=progress)["model"])


def fleet_ap(model: Path, judging: Mapping[str, Path], progress: bool) -> dict[str, float]:
    """AP of pickable packages by cell, mean of with and without depth, 0..1."""
    segmenter, found = Segmenter(model), {}
    for name, path in judging.items():
        entries = read_dataset(path)
        found[name] = float(np.mean([coco_ap(evaluate(segmenter, entries, mode, progress=progress)[1], True, False)["AP"]
                                     for mode in MODES]))
    return found


def _against(model: Path, champion: Path, judging: Mapping[str, Path], progress: bool) -> dict[str, float]:
    before, after = fleet_ap(champion, judging, progress), fleet_ap(model, judging, progress)
    return {name: after[name] - before[name] for name in judging}


def _line(aps: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {100 * ap:.1f}" for name, ap in aps.items()) + f", mean {100 * np.mean(list(aps.values())):.1f} AP"


def _verdict(start: Mapping[str, float], steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Whether the mean of all cells rose at each step, and the most that any cell ever fell by a step."""
    rows = [start, *(step["fleet"] for step in steps)]
    means = [float(np.mean(list(row.values()))) for row in rows]
    falls = [0.0, *(before[name] - after[name] for before, after in zip(rows, rows[1:], strict=False) for name in start)]
    return {"means": means, "rises": all(b > a for a, b in zip(means, means[1:], strict=False)), "worst_fall": max(falls)}


def report(result: Mapping[str, Any]) -> str:
    """A table: AP of each cell after each step."""
    names = list(result["cells"])
    lines = [f"{'AP of pickable packages':32}" + "".join(f"{name:>8}" for name in names) + f"{'mean':>8}"]

    def row(words: str, aps: Mapping[str, float]) -> None:
        values = [aps[name] for name in names if name in aps]
        lines.append(f"{words:32}" + "".join(f"{100 * aps[name]:8.1f}" if name in aps else f"{'':8}" for name in names)
                     + f"{100 * np.mean(values):8.1f}")

    row("shipped model", result["start"])
    for step in result["steps"]:
        words = "promoted" if step["decision"]["promoted"] else "refused"
        row(f"{step['joins']} joins, {words}", step["fleet"])
        if "without_rehearsal" in step:
            row("  change by the candidate", _changes(step))
            row("  without rehearsal", step["without_rehearsal"])
    lines.append(f"mean rises at each step: {'yes' if result['rises'] else 'no'}; a cell fell by at most "
                 f"{100 * result['worst_fall']:.2f} AP in a step")
    return "\n".join(lines)


def _changes(step: Mapping[str, Any]) -> dict[str, float]:
    """By how much the step's candidate changes the AP of each joined cell, whether it was promoted or not."""
    cells = step["decision"]["cells"]
    return {name: cell["change"]["after"] - cell["change"]["before"] for name, cell in cells.items()}


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Write a PNG: AP of each cell over the steps; crosses: what it would be without rehearsal."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4), constrained_layout=True)
    rows = [result["start"], *(step["fleet"] for step in result["steps"])]
    for name in result["cells"]:
        line = axes.plot([100 * row[name] for row in rows], marker="o", label=name)[0]
        for place, (before, step) in enumerate(zip(rows, result["steps"], strict=False), 1):
            if name in step.get("without_rehearsal", {}):
                values = [100 * before[name], 100 * (before[name] + step["without_rehearsal"][name])]
                axes.plot([place - 1, place], values, color=line.get_color(), linestyle=":", marker="x", markevery=[1])
    axes.plot([], [], color="grey", linestyle=":", marker="x", label="without rehearsal")
    axes.plot([100 * mean for mean in result["means"]], color="black", linewidth=2.5, label="mean")
    axes.set(ylabel="AP of pickable packages", xticks=range(len(rows)),
             xticklabels=["shipped", *(f"{step['joins']} joins" for step in result["steps"])])
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    with aside(path) as part:
        figure.savefig(part, dpi=110, format="png")
    pyplot.close(figure)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `perception bench fleet`."""
    parser.add_argument("--out", type=folder_to_write, metavar="DIR",
                        help="folder of data and runs; a broken call in it goes on (default: a "
                        "temporary one)")
    parser.add_argument("--quick", action="store_true", help="a few pictures and steps: shows that it works, no more")
    parser.add_argument("--seed", type=zero_or_more, default=11, help="of the cells (default: %(default)s)")
    parser.add_argument("--threads", type=zero_or_more, default=1,
                        help="of the training; 0: torch's choice, many times slower where others "
                        "work on the same cores (default: %(default)s)")
    parser.add_argument("--plot", type=file_to_write, metavar="PNG", help="write the plot to this file")
    parser.add_argument("--json", type=file_to_write, help="write all figures to this file")


def run(args: argparse.Namespace) -> int:
    """Run; exit status 0, 1 when the mean does not rise at each step or a cell falls by more than it allows, 2 for bad input.
    A quick run is too short to fall short."""
    out = args.out or Path(tempfile.mkdtemp(prefix="perception-fleet-"))
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    try:
        result = run_fleet(out, QUICK if args.quick else Size(), args.seed)
        if args.json:
            put_json(args.json, result)
        if args.plot:
            draw(result, args.plot)
    except PerceptionError as error:
        print(f"bench fleet: {error}", file=sys.stderr)
        return 2
    finally:
        if args.out is None:
            shutil.rmtree(out, ignore_errors=True)
    print(report(result))
    if args.quick:
        print("a quick run: too few pictures and steps to judge by; that it came to its end is what exit status 0 says")
    falls = result["worst_fall"] > max(cell["tolerance"] for step in result["steps"] for cell in step["decision"]["cells"].values())
    return 1 if not args.quick and (falls or not result["rises"]) else 0

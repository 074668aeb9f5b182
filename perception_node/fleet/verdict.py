"""A candidate against the champion on every cell's judging sets and golden replays, and what is decided from it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.bag.compare import Tolerances, compare
from perception_node.bag.results import read_results
from perception_node.bag.run import Settings, replay_one
from perception_node.config import Config, SegmentConfig
from perception_node.fleet.bootstrap import COVERAGE, F64, RESAMPLES, Change, change
from perception_node.fleet.registry import Cell, Replay
from perception_node.learn.check import Report
from perception_node.learn.dataset import Entry, load_sample
from perception_node.learn.evaluate import MODES, badness, evaluate
from perception_node.learn.files import put
from perception_node.learn.judge import Verdict, coco_matches, outline, summarise
from perception_node.segment.draw import draw_segmentation, write_words
from perception_node.segment.infer import Segmenter

_GOLDEN = Tolerances(iou=0.75, position_m=math.pi, angle_rad=math.pi, size_m=math.pi, score=1.0, allowed_grasps=1.0)
"""What counts as the same package of a golden replay: class, id and three quarters of the outline; poses and grasps follow from
those. Source: judgement; another model never draws the same outlines."""
_TILE = (480, 360)
_WORST = 6


@dataclass(frozen=True)
class CellVerdict:
    """One cell's verdict; figures by "depth" and "colour" for both models, one line for each golden replay that changed."""

    cell: str
    tolerance: float
    change: Change | None
    figures: Mapping[str, Mapping[str, Mapping[str, float]]]
    replays: tuple[str, ...] = ()

    @property
    def loses(self) -> bool:
        """True when the cell is worse off than it allows."""
        return bool(self.replays) or (self.change is not None and self.change.gain < -self.tolerance)

    @property
    def certain(self) -> bool:
        """True when the whole interval lies within what the cell allows."""
        return self.change is None or self.change.low >= -self.tolerance


@dataclass(frozen=True)
class Decision:
    """Whether the candidate may take the champion's place, and why not."""

    cells: tuple[CellVerdict, ...]
    mean: Change
    strict: bool
    reasons: tuple[str, ...] = field(default=())

    @property
    def promoted(self) -> bool:
        """True when nothing speaks against it."""
        return not self.reasons

    def to_json(self) -> dict[str, Any]:
        """Everything, as a JSON mapping."""
        return {"promoted": self.promoted, "reasons": list(self.reasons), "strict": self.strict, "coverage": COVERAGE,
                "mean": asdict(self.mean), "cells": {c.cell: {
                    "tolerance": c.tolerance, "loses": c.loses, "certain": c.certain, "change": c.change and asdict(c.change),
                    "figures": c.figures, "replays": list(c.replays)} for c in self.cells}}


@dataclass(frozen=True, eq=False)
class Judged:
    """One set judged in one mode by both models."""

    entries: Sequence[Entry]
    mode: str
    before: Sequence[Verdict]
    after: Sequence[Verdict]


def judge_cell(cell: Cell, reports: Mapping[Path, Report], champion: Segmenter, candidate: Segmenter,
               progress: bool = True) -> list[Judged]:
    """Judge both models on all judging sets of a cell, with depth where there is depth, and without."""
    judged = []
    for one in cell.sets:
        if one.split != "judge":
            continue
        entries = reports[one.path].entries
        for mode in MODES if any(entry.depth for entry in entries) else ("colour",):
            before, after = (evaluate(model, entries, mode, progress=progress)[1] for model in (champion, candidate))
            judged.append(Judged(entries, mode, before, after))
    return judged


def judge_replay(one: Replay, candidate: Path, runtime: str, threads: int) -> str:
    """Replay a recording with a model and compare; returns what is wrong, "" = nothing."""
    config = replace(Config(), segment=replace(SegmentConfig(), model=str(candidate), runtime=runtime, threads=threads))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "replay"
        replay_one(one.path, out, Settings(config, film=False, published=False), progress=False)
        found = compare(read_results(one.golden), read_results(out / "results.jsonl"), replace(_GOLDEN, allowed=one.allowed))
    if found.same:
        return ""
    kinds = ", ".join(f"{count} {kind}" for kind, count in found.kinds.most_common(4))
    share = found.found_changed / max(found.packages, 1)
    return (f"{one.path.name}: {found.found_changed} of {found.packages} packages changed ({share:.1%}, allowed "
            f"{one.allowed:.1%}), {found.frames_missing} frames missing: {kinds}")


def decide(cells: Sequence[tuple[Cell, Sequence[Judged], tuple[str, ...]]], strict: bool = False, resamples: int = RESAMPLES,
           seed: int = 0) -> Decision:
    """Decide from the verdicts of all cells.

    Args:
        cells: each with what `judge_cell` and `judge_replay` found. strict: chance must be ruled out: every cell's whole interval
            lies within its tolerance, and that of the mean above zero. resamples, seed: of the bootstrap.
    """
    verdicts, changes, drawn = [], [], []
    for k, (cell, judged, replays) in enumerate(cells):
        found: Change | None = None
        if judged:
            found, draws = change([coco_matches(j.before) for j in judged], [coco_matches(j.after) for j in judged], resamples,
                                  seed + k)
            changes.append(found)
            drawn.append(draws)
        verdicts.append(CellVerdict(cell.name, cell.tolerance, found, _figures(judged), replays))
    mean = _mean(changes, drawn)
    reasons = []
    for v in verdicts:
        reasons += [f"{v.cell}: replay {words}" for words in v.replays]
        if v.change is not None and v.change.gain < -v.tolerance:
            reasons.append(f"{v.cell}: loses {-100 * v.change.gain:.2f} AP, allowed {100 * v.tolerance:.2f}")
        elif strict and not v.certain and v.change is not None:
            reasons.append(f"{v.cell}: may lose {-100 * v.change.low:.2f} AP by chance, allowed {100 * v.tolerance:.2f} (--strict)")
    if mean.gain <= 0:
        reasons.append(f"the mean over cells does not gain: {100 * mean.gain:+.2f} AP")
    elif strict and mean.low <= 0:
        reasons.append(f"the mean's gain may be chance: {100 * mean.low:+.2f} to {100 * mean.high:+.2f} AP (--strict)")
    return Decision(tuple(verdicts), mean, strict, tuple(reasons))


def _mean(changes: Sequence[Change], drawn: Sequence[F64]) -> Change:
    low, high = np.quantile(np.mean(drawn, axis=0), [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Change(float(np.mean([c.before for c in changes])), float(np.mean([c.after for c in changes])), float(low), float(high))


def _figures(judged: Sequence[Judged]) -> dict[str, dict[str, dict[str, float]]]:
    """AP, AP50, AP75 and class accuracy by mode and model, over all pictures of the cell."""
    out: dict[str, dict[str, dict[str, float]]] = {}
    for mode in MODES:
        mine = [j for j in judged if j.mode == mode]
        both = [v for j in mine for v in j.before], [v for j in mine for v in j.after]
        for name, verdicts in zip(("champion", "candidate"), both, strict=True):
            if verdicts:
                s = summarise(verdicts)
                out.setdefault(mode, {})[name] = {**s["pickable_mask"], "class_accuracy": s["class_accuracy"],
                                                  "corrections_per_picture": s["corrections"]["corrections_per_picture"]}
    return out


def table(decision: Decision) -> str:
    """The decision in words: a line for each cell, the mean, and why not."""
    lines = [f"{'cell':20}{'AP before':>11}{'after':>8}{'change':>9}{'95 % interval':>18}{'allowed':>9}"]

    def row(name: str, c: Change, allowed: str, words: str) -> None:
        interval = f"{100 * c.low:+.2f} .. {100 * c.high:+.2f}"
        lines.append(f"{name:20}{100 * c.before:11.2f}{100 * c.after:8.2f}{100 * c.gain:+9.2f}{interval:>18}{allowed:>9}{words}")

    for v in decision.cells:
        words = "  loses" if v.loses else "" if v.certain else "  may lose more by chance"
        if v.change is None:
            lines.append(f"{v.cell:20}{'no judging set':>19}{words}")
        else:
            row(v.cell, v.change, f"-{100 * v.tolerance:.2f}", words)
    row("mean over cells", decision.mean, "> 0", "")
    lines += [f"refused: {reason}" for reason in decision.reasons] or ["nothing speaks against the candidate"]
    return "\n".join(lines)


def draw_losses(judged: Sequence[Judged], champion: Segmenter, candidate: Segmenter, path: Path, count: int = _WORST) -> None:
    """Write a PNG of the pictures that got worst: champion left, candidate right, truth outlined in white."""
    rows = [(badness(b) - badness(a), j.entries[i], j.mode) for j in judged
            for i, (a, b) in enumerate(zip(j.before, j.after, strict=True))]
    tiles: list[NDArray[np.uint8]] = []
    for worse, entry, mode in sorted(rows, key=lambda row: -row[0])[:count]:
        sample = load_sample(entry, with_depth=mode == "depth")
        pair = []
        for name, model in (("champion", champion), ("candidate", candidate)):
            picture = draw_segmentation(sample.frame.rgb, model.segment(sample.frame, sample.belt_plane))
            outline(picture, sample.labels, (255, 255, 255))
            tile = np.asarray(cv2.resize(picture, _TILE, interpolation=cv2.INTER_AREA), dtype=np.uint8)
            write_words(tile, f"{name}  {entry.name}  {mode}  badness {worse:+.1f}", (0, 12), 0.45)
            pair.append(tile)
        tiles.append(np.hstack(pair))
    put(path, cv2.imencode(".png", cv2.cvtColor(np.vstack(tiles), cv2.COLOR_RGB2BGR))[1].tobytes())

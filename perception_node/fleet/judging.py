"""Two models on one cell's judging sets and golden replays: the jobs of a promotion, in whatever process or machine."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from perception_node import __version__
from perception_node.bag.compare import Tolerances, compare
from perception_node.bag.results import read_results
from perception_node.bag.run import Settings, replay_one
from perception_node.config import Config, SegmentConfig
from perception_node.errors import ModelError
from perception_node.fleet.bootstrap import F64, RESAMPLES, Change, change
from perception_node.fleet.registry import Cell, Replay
from perception_node.learn.dataset import Entry
from perception_node.learn.evaluate import MODES, badness, modes_of, verdicts_of
from perception_node.learn.judge import Verdict, coco_matches, summarise
from perception_node.segment.infer import Segmenter
from perception_node.segment.weights import check_weights

_GOLDEN = Tolerances(iou=0.75, position_m=math.pi, angle_rad=math.pi, size_m=math.pi, score=1.0, velocity_m_s=math.pi,
                     allowed_grasps=1.0)
"""What counts as the same package of a golden replay: class, id and three quarters of the outline; poses and grasps follow from
those. Source: judgement; another model never draws the same outlines."""
_WORST = 6


@dataclass(frozen=True)
class Contender:
    """A model by file and content, and how it runs; see `Segmenter`."""

    path: Path
    sha256: str
    runtime: str = "auto"
    threads: int = 2

    def segmenter(self) -> Segmenter:
        """The model, loaded once in each process.

        Raises:
            ModelError: it is missing, broken, or another one than named (a machine that does not see the same folders).
        """
        return _loaded(self)


@lru_cache(maxsize=2)  # champion and candidate
def _loaded(contender: Contender) -> Segmenter:
    digest = check_weights(contender.path)[1]
    if digest != contender.sha256:
        raise ModelError(f"model {contender.path}: expected sha256 {contender.sha256[:8]}..., got {digest[:8]}...: another file")
    return Segmenter(contender.path, runtime=contender.runtime, threads=contender.threads)


@dataclass(frozen=True, eq=False)
class Judged:
    """One set judged in one mode by both models."""

    entries: Sequence[Entry]
    mode: str
    before: Sequence[Verdict]
    after: Sequence[Verdict]


@dataclass(frozen=True, eq=False)
class JudgedCell:
    """A cell's judgement, small enough to travel.

    Attributes:
        cell, tolerance: of the registry. change: of AP, None = no judging set. draws: (resamples,) the bootstrap's changes.
        figures: by "depth" and "colour" for "champion" and "candidate". worst: pictures that lost most: by how much, and the mode.
        ran_on: version of this software and the runtimes of both models.
    """

    cell: str
    tolerance: float
    change: Change | None
    draws: F64
    figures: Mapping[str, Mapping[str, Mapping[str, float]]]
    worst: tuple[tuple[float, Entry, str], ...] = field(default=())
    ran_on: str = ""


def judge_cell(cell: Cell, entries: Mapping[Path, Sequence[Entry]], champion: Contender, candidate: Contender,
               resamples: int = RESAMPLES, seed: int = 0) -> JudgedCell:
    """Judge both models on all judging sets of a cell, with depth where there is depth, and without.

    Args:
        cell: of the registry. entries: of its sets. champion, candidate: the models. resamples, seed: of the bootstrap.

    Raises:
        PerceptionError: a model or picture cannot be used.
    """
    models = champion.segmenter(), candidate.segmenter()
    judged = []
    for one in cell.sets:
        if one.split == "judge":
            for mode in modes_of(entries[one.path]):
                before, after = (verdicts_of(model, entries[one.path], mode, progress=False) for model in models)
                judged.append(Judged(entries[one.path], mode, before, after))
    return weigh(cell, judged, resamples, seed, f"{__version__}, {models[0].runtime} and {models[1].runtime}")


def weigh(cell: Cell, judged: Sequence[Judged], resamples: int = RESAMPLES, seed: int = 0, ran_on: str = "") -> JudgedCell:
    """Make a cell's figures of its verdicts; arguments as of `judge_cell`."""
    if not judged:
        return JudgedCell(cell.name, cell.tolerance, None, np.zeros(0), {})
    found, draws = change([coco_matches(j.before) for j in judged], [coco_matches(j.after) for j in judged], resamples, seed)
    rows = [(badness(b) - badness(a), entry, j.mode) for j in judged
            for entry, a, b in zip(j.entries, j.before, j.after, strict=True)]
    worst = tuple(sorted(rows, key=lambda row: -row[0])[:_WORST])
    return JudgedCell(cell.name, cell.tolerance, found, draws, _figures(judged), worst, ran_on)


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


def judge_replay(one: Replay, candidate: Path, runtime: str, threads: int) -> str:
    """Replay a recording with a model, for as many frames as the golden has, and compare; returns what is wrong, "" = nothing."""
    config = replace(Config(), segment=replace(SegmentConfig(), model=str(candidate), runtime=runtime, threads=threads))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "replay"
        golden = list(read_results(one.golden))
        replay_one(one.path, out, Settings(config, film=False, published=False, frames=len(golden)), progress=False)
        found = compare(golden, read_results(out / "results.jsonl"), replace(_GOLDEN, allowed=one.allowed))
    if found.same:
        return ""
    kinds = ", ".join(f"{count} {kind}" for kind, count in found.kinds.most_common(4))
    share = found.found_changed / max(found.packages, 1)
    return (f"{one.path.name}: {found.found_changed} of {found.packages} packages changed ({share:.1%}, allowed "
            f"{one.allowed:.1%}), {found.frames_missing} frames missing: {kinds}")

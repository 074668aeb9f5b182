"""What is decided about a candidate from all cells' judgements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.files import put_png
from perception_node.fleet.bootstrap import COVERAGE, F64, Change
from perception_node.fleet.judging import Contender, JudgedCell
from perception_node.learn.dataset import load_sample
from perception_node.learn.judge import outline
from perception_node.segment.draw import draw_segmentation, write_words

_TILE = (480, 360)


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
    """Whether a model may take the champion's place, and why not; `model` is the candidate, or a mixture with this share of it,
    `others` what was tried beside it."""

    cells: tuple[CellVerdict, ...]
    mean: Change
    strict: bool
    reasons: tuple[str, ...] = field(default=())
    model: Path = Path()
    share: float = 1.0
    others: tuple[Decision, ...] = ()

    @property
    def promoted(self) -> bool:
        """True when nothing speaks against it."""
        return not self.reasons

    def to_json(self) -> dict[str, Any]:
        """Everything, as a JSON mapping."""
        return {"promoted": self.promoted, "model": str(self.model), "share": self.share, "reasons": list(self.reasons),
                "strict": self.strict, "coverage": COVERAGE,
                "mean": asdict(self.mean), "cells": {c.cell: {
                    "tolerance": c.tolerance, "loses": c.loses, "certain": c.certain, "change": c.change and asdict(c.change),
                    "figures": c.figures, "replays": list(c.replays)} for c in self.cells},
                **({"others": [other.to_json() for other in self.others]} if self.others else {})}


def decide(cells: Sequence[tuple[JudgedCell, tuple[str, ...]]], strict: bool = False) -> Decision:
    """Decide from the judgements of all cells.

    Args:
        cells: each with one line for each golden replay that changed. strict: chance must be ruled out: every cell's whole interval
            lies within its tolerance, and that of the mean above zero.
    """
    verdicts = tuple(CellVerdict(one.cell, one.tolerance, one.change, one.figures, replays) for one, replays in cells)
    mean = _mean([one.change for one, _ in cells if one.change is not None], [one.draws for one, _ in cells if len(one.draws)])
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
    return Decision(verdicts, mean, strict, tuple(reasons))


def _mean(changes: Sequence[Change], drawn: Sequence[F64]) -> Change:
    low, high = np.quantile(np.mean(drawn, axis=0), [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Change(float(np.mean([c.before for c in changes])), float(np.mean([c.after for c in changes])), float(low), float(high))


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
    lines += [f"{_called(other)}: {100 * other.mean.gain:+.2f} AP on the mean" +
              "".join(f"; refused: {reason}" for reason in other.reasons) for other in decision.others]
    lines += [f"refused: {reason}" for reason in decision.reasons] or ["nothing speaks against the candidate"]
    if decision.others:
        lines.insert(0, f"best that no cell loses by: {_called(decision)}" if decision.promoted else f"{_called(decision)}:")
    return "\n".join(lines)


def _called(decision: Decision) -> str:
    return "the candidate itself" if decision.share == 1.0 else f"{100 * decision.share:.0f} % of it, the rest the champion"


def draw_losses(judged: JudgedCell, champion: Contender, candidate: Contender, path: Path) -> None:
    """Write a PNG of a cell's pictures that got worst: champion left, candidate right, truth outlined in white."""
    tiles: list[NDArray[np.uint8]] = []
    for worse, entry, mode in judged.worst:
        sample = load_sample(entry, with_depth=mode == "depth")
        pair = []
        for name, model in (("champion", champion), ("candidate", candidate)):
            picture = draw_segmentation(sample.frame.rgb, model.segmenter().segment(sample.frame, sample.belt_plane))
            outline(picture, sample.labels, (255, 255, 255))
            tile = np.asarray(cv2.resize(picture, _TILE, interpolation=cv2.INTER_AREA), dtype=np.uint8)
            write_words(tile, f"{name}  {entry.name}  {mode}  badness {worse:+.1f}", (0, 12), 0.45)
            pair.append(tile)
        tiles.append(np.hstack(pair))
    put_png(path, np.vstack(tiles))

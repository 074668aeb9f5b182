"""How certain a difference between two models is: COCO's AP on pictures drawn again and again.

Source: B. Efron and R. Tibshirani, "An introduction to the bootstrap", 1993, chapters 13 and 14 (percentile intervals of paired
samples: both models are judged on the same drawn pictures).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_node.learn.judge import Matches

F64 = NDArray[np.float64]

_RECALL = np.linspace(0.0, 1.0, 101)
RESAMPLES = 1000
COVERAGE = 0.95


@dataclass(frozen=True)
class Change:
    """AP (0..1) before and after, and the interval that holds the change with `COVERAGE`."""

    before: float
    after: float
    low: float
    high: float

    @property
    def gain(self) -> float:
        """Change of AP."""
        return self.after - self.before


class SetAp:
    """AP of one judged set under changing weights of its pictures."""

    def __init__(self, pictures: Sequence[Matches]) -> None:
        self._truths = np.array([p.truths for p in pictures], dtype=np.float64)
        scores = np.concatenate([p.scores for p in pictures]) if pictures else np.zeros(0)
        self._order = np.argsort(-scores, kind="mergesort")
        self._picture = np.repeat(np.arange(len(pictures)), [len(p.scores) for p in pictures])[self._order]
        self._right = np.concatenate([p.right for p in pictures], axis=1)[:, self._order]
        self._wrong = np.concatenate([~p.right & ~p.ignored for p in pictures], axis=1)[:, self._order]

    def __call__(self, weights: F64) -> float:
        """AP over ten overlaps, 0.5 to 0.95; weights: (pictures,) how often each counts. NaN without a package."""
        truths = float(self._truths @ weights)
        if truths == 0:
            return float("nan")
        each = weights[self._picture]
        right, wrong = np.cumsum(self._right * each, axis=1), np.cumsum(self._wrong * each, axis=1)
        recall = right / truths
        precision = right / np.maximum(right + wrong, np.finfo(np.float64).eps)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        total = 0.0
        for r, p in zip(recall, precision, strict=True):
            place = np.searchsorted(r, _RECALL, side="left")
            total += float(p[place[place < len(p)]].sum())
        return total / (len(_RECALL) * len(recall))


def change(before: Sequence[Sequence[Matches]], after: Sequence[Sequence[Matches]], resamples: int = RESAMPLES,
           seed: int = 0) -> tuple[Change, F64]:
    """Mean AP over some sets (or ways of judging one) before and after, with its interval.

    Args:
        before, after: for each set, the pictures in the same order; sets of equal length are drawn alike (one set judged with
            depth and without). resamples: drawings. seed: of the drawings.

    Returns:
        The change, and (resamples,) the drawn changes.
    """
    models = [[SetAp(pictures) for pictures in sets] for sets in (before, after)]
    lengths = [len(pictures) for pictures in before]
    rng = np.random.default_rng(seed)

    def mean(model: list[SetAp], weights: dict[int, F64]) -> float:
        return float(np.nanmean([one(weights[n]) for one, n in zip(model, lengths, strict=True)]))

    whole = {n: np.ones(n) for n in lengths}
    first, second = (mean(model, whole) for model in models)
    drawn = np.empty(resamples)
    for k in range(resamples):
        weights = {n: np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64) for n in sorted(set(lengths))}
        drawn[k] = mean(models[1], weights) - mean(models[0], weights)
    low, high = np.quantile(drawn, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Change(first, second, float(low), float(high)), drawn

"""How well label images agree with a recording's ground truth: found packages, overlap, merges, splits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_node.bag.truth import IGNORE, FrameTruth

PICKABLE_VISIBLE = 0.5
PICKABLE_AREA_SHARE = 1200 / (640 * 480)
"""A package counts when at least this share of it is visible, on at least this share of the picture: as `perception evaluate`."""


@dataclass(frozen=True)
class Agreement:
    """Figures over several frames.

    Attributes:
        packages: true packages that count, summed over frames.
        mean_iou: mean overlap of those that were found at IoU 0.5 or better, 0..1 (0 when none was).
        found_50, found_75: share of packages whose best mask overlaps them with IoU 0.5, 0.75 or better, 0..1.
        merges, splits: how many packages too many one mask covers, and how many masks too many lie on one package.
    """

    packages: int
    mean_iou: float
    found_50: float
    found_75: float
    merges: int
    splits: int


def agreement(pairs: Iterable[tuple[FrameTruth, NDArray[np.uint16]]]) -> Agreement:
    """Compare label images with the truth of their frames.

    Args:
        pairs: for each frame its truth and the (H, W) uint16 labels that were found, of the same size.
    """
    best: list[NDArray[np.float64]] = []
    merges = splits = 0
    for truth, labels in pairs:
        iou, covered, inside = _overlaps(truth, labels)
        best.append(iou.max(axis=1, initial=0.0))
        merges += int(np.maximum((covered > 0.5).sum(axis=0) - 1, 0).sum())
        splits += int(np.maximum(((covered > 0.2) & (inside > 0.5)).sum(axis=1) - 1, 0).sum())
    found = np.concatenate(best) if best else np.zeros(0)
    matched = found[found >= 0.5]
    count = max(len(found), 1)
    return Agreement(len(found), float(matched.mean()) if len(matched) else 0.0, len(matched) / count,
                     float((found >= 0.75).sum()) / count, merges, splits)


def _overlaps(truth: FrameTruth, labels: NDArray[np.uint16]) -> tuple[NDArray[np.float64], ...]:
    """(G, P) IoU, share of each counting package inside each mask, share of each mask inside each package."""
    size = int(labels.max(initial=0)) + 1
    everything = sorted(instance.label for instance in truth.instances)
    rank = np.zeros(IGNORE + 1, np.int64)
    rank[everything] = np.arange(1, len(everything) + 1)
    guess = np.where(truth.labels == IGNORE, 0, labels).astype(np.int64)
    both = np.bincount((rank[truth.labels] * size + guess).ravel(), minlength=(len(everything) + 1) * size)
    both = both.reshape(len(everything) + 1, size).astype(np.float64)
    area, guess_area, shared = both.sum(axis=1)[1:], both.sum(axis=0)[1:], both[1:, 1:]
    visible = {instance.label: instance.visible_fraction for instance in truth.instances}
    counts = np.array([visible[label] >= PICKABLE_VISIBLE for label in everything], dtype=bool)
    counts &= area >= PICKABLE_AREA_SHARE * labels.size
    iou = shared / np.maximum(area[:, None] + guess_area[None] - shared, 1)
    return iou[counts], (shared / np.maximum(area, 1)[:, None])[counts], (shared / np.maximum(guess_area, 1)[None])[counts]

"""How far each place of a mask is from the mask's edge, and where a cup finds room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.types import F32, F64, Package, Segmentation

_STEP = 2
"""Distances are found in a picture of half the size: good to a pixel, four times as fast; what they choose is judged in full."""


@dataclass(frozen=True, eq=False)
class EdgeMap:
    """Distances inside the masks: `distance_px` (h, w) of every other pixel of the picture to the edge of its mask or the
    picture's border, 0 outside of all masks; `labels` (h, w) of the same pixels."""

    distance_px: F32
    labels: NDArray[np.uint16]

    def at(self, pixels: NDArray[np.int64]) -> F64:
        """(N,) distances at (N, 2) pixels (u, v) of the picture."""
        found: F64 = self.distance_px[pixels[:, 1] // _STEP, pixels[:, 0] // _STEP].astype(np.float64)
        return found

    def innermost(self, label: int, box: tuple[int, int, int, int]) -> tuple[int, int, float]:
        """Pixel (u, v) of one mask that is farthest from its edge, and that distance.

        Args:
            label: of the mask. box: (x0, y0, x1, y1) round it.
        """
        x0, y0, x1, y1 = (max(0, side // _STEP) for side in box)
        part = (slice(y0, y1 + 1), slice(x0, x1 + 1))
        mine = np.where(self.labels[part] == label, self.distance_px[part], np.float32(0))
        row, column = divmod(int(np.argmax(mine)), max(mine.shape[1], 1))
        return (column + x0) * _STEP, (row + y0) * _STEP, float(mine.max(initial=0.0))


def edge_map(segmentation: Segmentation) -> EdgeMap:
    """The distances inside all masks."""
    labels = np.ascontiguousarray(segmentation.labels[::_STEP, ::_STEP])
    inner = (labels > 0).astype(np.uint8)
    down, right = labels[1:] == labels[:-1], labels[:, 1:] == labels[:, :-1]
    inner[:-1] &= down
    inner[1:] &= down
    inner[:, :-1] &= right
    inner[:, 1:] &= right
    inner[0], inner[-1], inner[:, 0], inner[:, -1] = 0, 0, 0, 0
    distance = np.asarray(cv2.distanceTransform(inner, cv2.DIST_L2, 3), dtype=np.float32)
    distance *= np.float32(_STEP)
    return EdgeMap(distance, labels)


def places(edges: EdgeMap, packages: Sequence[Package], needed_px: F64, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels where a disc of `needed_px` (P,) nearly fits into the mask of each package, spread evenly over it.

    Args:
        edges: of the picture. packages: whose places are wanted. count: places of one package at most.

    Returns:
        (n,) position of the package in `packages` and (n, 2) pixels (u, v), package after package.
    """
    stride = max(1, round(float(np.median(needed_px)) / (2 * _STEP)))
    labels, distance = edges.labels[::stride, ::stride], edges.distance_px[::stride, ::stride]
    least = np.full(int(edges.labels.max()) + 1, np.inf, dtype=np.float32)
    position = np.zeros(len(least), dtype=np.int64)
    for i, package in enumerate(packages):
        if package.label < len(least):
            least[package.label], position[package.label] = 0.9 * needed_px[i], i
    flat = np.flatnonzero(distance >= least[labels])
    owner = position[labels.ravel()[flat]]
    order = np.argsort(owner, kind="stable")
    owner, flat = owner[order], flat[order]
    size = np.bincount(owner, minlength=len(packages))
    start = np.cumsum(size) - size
    rank = np.arange(len(owner)) - start[owner]
    share = np.minimum(count / np.maximum(size, 1), 1.0)[owner]
    chosen = np.floor((rank + 1) * share) > np.floor(rank * share)
    rows, columns = np.divmod(flat[chosen], labels.shape[1])
    return owner[chosen], np.column_stack([columns, rows]) * (stride * _STEP)

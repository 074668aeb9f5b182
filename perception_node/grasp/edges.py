"""How far each place of a mask is from the mask's edge, and where a cup finds room."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled
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
    inner = np.empty(labels.shape, dtype=np.uint8)
    _inner_pixels(labels, inner)
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
    stride = max(1, round(statistics.median(needed_px.tolist()) / (2 * _STEP)))
    least = np.full(int(edges.labels.max()) + 1, np.inf)
    position = np.zeros(len(least), dtype=np.int64)
    for i, package in enumerate(packages):
        if package.label < len(least):
            least[package.label], position[package.label] = 0.9 * needed_px[i], i
    found = _even_places(edges.labels, edges.distance_px, stride, least, position, len(packages), count)
    return found[:, 0], found[:, 1:] * _STEP


@compiled
def _inner_pixels(labels: NDArray[np.uint16], inner: NDArray[np.uint8]) -> None:
    """Mark the pixels whose four neighbours have their own label, not background.

    Args:
        labels: (H, W). inner: (H, W), written: 1, else 0; 0 along the picture's border.
    """
    height, width = labels.shape
    for row in range(height):
        for column in range(width):
            mine = labels[row, column]
            inner[row, column] = 0
            if mine == 0 or row == 0 or column == 0 or row == height - 1 or column == width - 1:
                continue
            if labels[row - 1, column] != mine or labels[row + 1, column] != mine:
                continue
            if labels[row, column - 1] == mine and labels[row, column + 1] == mine:
                inner[row, column] = 1


@compiled
def _even_places(labels: NDArray[np.uint16], distance_px: F32, stride: int, least_px: F64, owner: NDArray[np.int64],
                 packages: int, count: int) -> NDArray[np.int64]:
    """(n, 3) package, column and row of the places of every `stride`-th pixel that are far enough from their mask's edge; those
    of a package spread evenly over it, in the packages' order.

    Args:
        labels, distance_px: (H, W). least_px, owner: by label, least distance and position of the package. packages: how many.
        count: places of one package at most.
    """
    rows, columns = labels.shape
    size = np.zeros(packages, dtype=np.int64)
    for row in range(0, rows, stride):
        for column in range(0, columns, stride):
            if distance_px[row, column] >= least_px[labels[row, column]]:
                size[owner[labels[row, column]]] += 1
    share, start, total = np.empty(packages), np.empty(packages, dtype=np.int64), 0
    for i in range(packages):
        share[i], start[i] = min(count / max(size[i], 1), 1.0), total
        for rank in range(size[i]):
            total += int(math.floor((rank + 1) * share[i]) > math.floor(rank * share[i]))
    found, rank_of = np.empty((total, 3), dtype=np.int64), np.zeros(packages, dtype=np.int64)
    for row in range(0, rows, stride):
        for column in range(0, columns, stride):
            if distance_px[row, column] >= least_px[labels[row, column]]:
                i = owner[labels[row, column]]
                if math.floor((rank_of[i] + 1) * share[i]) > math.floor(rank_of[i] * share[i]):
                    found[start[i], 0], found[start[i], 1], found[start[i], 2] = i, column, row
                    start[i] += 1
                rank_of[i] += 1
    return found

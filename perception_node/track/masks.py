"""How much of a track's mask lies on which mask of the next frame.

Bounds alone mistake packages for each other where these overlap (leaning ones, bags wrapped round a neighbour) or where a mask is
ragged; what is shared of the masks themselves does not. Masks are compared on a coarse grid, as a few hundred cells each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled
from perception_node.types import F64, Package, Packages

Cells = NDArray[np.int32]
Ids = NDArray[np.int64]
NO_CELLS: Cells = np.empty((0, 2), np.int32)


@dataclass(frozen=True, eq=False)
class Grid:
    """The masks of N packages of one frame.

    Attributes:
        owner: (h, w) int32 which of them a cell belongs to, -1 = none. cells: (K, 2) int32 rows and columns of their cells, package
            after package. first: (N + 1,) where each one's begin. lens: (4,) cells per unit of a ray's slope along x and y, then
            the column and row of the optical axis.
    """

    owner: NDArray[np.int32]
    cells: Cells
    first: NDArray[np.int64]
    lens: F64

    def of(self, n: int) -> Cells:
        """(K, 2) cells of package n."""
        return self.cells[self.first[n]:self.first[n + 1]]


@dataclass(frozen=True, eq=False)
class Shared:
    """What T masks, carried to where they should be now, share with N masks of a frame, in cells.

    Attributes:
        both: (T, N). ours: (T,) cells that are still in the picture. theirs: (N,). 0 = not known.
    """

    both: F64
    ours: F64
    theirs: F64

    def some(self, rows: Ids) -> Shared:
        """Of some of the T."""
        return Shared(self.both[rows], self.ours[rows], self.theirs)


def grid_of(packages: Packages, items: Sequence[Package]) -> Grid | None:
    """The masks of some of a frame's packages; None when these come without."""
    if packages.label_grid is None or packages.grid_rays is None:
        return None
    labels, rays = np.ascontiguousarray(packages.label_grid), packages.grid_rays
    height, width = labels.shape
    table = np.full(int(max(int(labels.max()), max((package.label for package in items), default=0))) + 1, -1, np.int32)
    table[[package.label for package in items]] = np.arange(len(items))
    table[0] = -1
    # Straight from border to border: a lens's distortion moves a package and its prediction alike.
    x, y = rays[height // 2, :, 0], rays[:, width // 2, 1]
    per_x, per_y = (width - 1) / max(float(x[-1] - x[0]), 1e-9), (height - 1) / max(float(y[-1] - y[0]), 1e-9)
    owner, cells, first = _cells(labels, table, len(items))
    return Grid(owner, cells, first, np.array((per_x, per_y, -float(x[0]) * per_x, -float(y[0]) * per_y)))


@compiled
def _cells(labels: NDArray[np.uint16], table: NDArray[np.int32], count: int) -> tuple[NDArray[np.int32], Cells, NDArray[np.int64]]:
    owner, first = np.empty(labels.shape, np.int32), np.zeros(count + 1, np.int64)
    for v in range(labels.shape[0]):
        for u in range(labels.shape[1]):
            owner[v, u] = table[labels[v, u]]
            if owner[v, u] >= 0:
                first[owner[v, u] + 1] += 1
    for n in range(count):
        first[n + 1] += first[n]
    cells, filled = np.empty((first[count], 2), np.int32), first.copy()
    for v in range(labels.shape[0]):
        for u in range(labels.shape[1]):
            n = owner[v, u]
            if n >= 0:
                cells[filled[n], 0], cells[filled[n], 1] = v, u
                filled[n] += 1
    return owner, cells, first


def shared(masks: Sequence[Cells], depth_m: F64, way_m: F64, grid: Grid) -> Shared:
    """Carry masks on and lay them over a frame's.

    Args:
        masks: (K, 2) cells of T masks when they were seen. depth_m: (T,) their distance along the optical axis then. way_m: (T, 3)
            how far they have been carried since. grid: of the frame.
    """
    starts = np.cumsum([0, *(len(mask) for mask in masks)])
    cells = np.concatenate([NO_CELLS, *masks])
    return Shared(*_shared(cells, starts, depth_m, way_m, grid.owner, grid.first, grid.lens))


@compiled
def _shared(cells: Cells, starts: NDArray[np.int64], depth_m: F64, way_m: F64, owner: NDArray[np.int32], first: NDArray[np.int64],
            lens: F64) -> tuple[F64, F64, F64]:
    count, packages = len(starts) - 1, len(first) - 1
    both, ours, theirs = np.zeros((count, packages)), np.zeros(count), np.empty(packages)
    for n in range(packages):
        theirs[n] = first[n + 1] - first[n]
    for t in range(count):
        depth = max(depth_m[t] + way_m[t, 2], 0.1 * depth_m[t])
        scale = depth_m[t] / depth
        to_column = lens[2] * (1.0 - scale) + lens[0] * way_m[t, 0] / depth + 0.5
        to_row = lens[3] * (1.0 - scale) + lens[1] * way_m[t, 1] / depth + 0.5
        for k in range(starts[t], starts[t + 1]):
            row, column = math.floor(cells[k, 0] * scale + to_row), math.floor(cells[k, 1] * scale + to_column)
            if 0 <= row < owner.shape[0] and 0 <= column < owner.shape[1]:
                ours[t] += 1
                if owner[row, column] >= 0:
                    both[t, owner[row, column]] += 1
    return both, ours, theirs

"""The rows of every mask as runs of pixels: found once, so that nobody else has to search the picture for a package."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled, steady


@dataclass(frozen=True, eq=False)
class Runs:
    """Unbroken stretches of one label in one row.

    Attributes:
        spans: (R, 3) int32 row, first column, column after the last one; label after label, each from top to bottom and from left
            to right. first: (L + 1,) where those of labels 1..L begin, L = the greatest label.
    """

    spans: NDArray[np.int32]
    first: NDArray[np.int64]


def runs_of(labels: NDArray[np.uint16]) -> Runs:
    """The runs of a label image (H, W), 0 = background."""
    spans, first = _runs(steady(labels))
    return Runs(spans, first)


@compiled
def _runs(labels: NDArray[np.uint16]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    height, width = labels.shape
    found = np.empty((height * width, 4), np.int32)  # as many as there can be; what is not written takes no memory
    count = 0
    changes = np.zeros((width // 8 + 1) * 8, np.uint8)  # where a row's label changes: compared all at once, then sought by eights
    eights = changes.view(np.uint64)
    changes[width] = 1
    for v in range(height):
        line, start = labels[v], 0
        for u in range(1, width):
            changes[u] = line[u] != line[u - 1]
        for k in range(len(eights)):
            if eights[k] == 0:
                continue
            for u in range(8 * k, 8 * k + 8):
                if changes[u]:
                    if line[start] > 0:
                        found[count, 0], found[count, 1], found[count, 2], found[count, 3] = v, start, u, line[start]
                        count += 1
                    start = u
    most = 0
    for r in range(count):
        most = max(most, found[r, 3])
    first = np.zeros(most + 1, np.int64)
    for r in range(count):
        first[found[r, 3]] += 1
    for k in range(most):
        first[k + 1] += first[k]
    spans, filled = np.empty((count, 3), np.int32), first.copy()
    for r in range(count):
        at = filled[found[r, 3] - 1]
        spans[at, 0], spans[at, 1], spans[at, 2] = found[r, 0], found[r, 1], found[r, 2]
        filled[found[r, 3] - 1] += 1
    return spans, first

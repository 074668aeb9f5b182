"""Optimal one-to-one assignment with forbidden pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perception_node.types import F64


def assign(cost: F64) -> list[tuple[int, int]]:
    """Pair rows with columns: as many allowed pairs as possible, then the least total cost.

    Args:
        cost: (R, C), at least 0, infinite = this pair is forbidden.

    Returns:
        (row, column) pairs, by row.
    """
    allowed = np.isfinite(cost)
    if not allowed.any():
        return []
    lone_rows = allowed.sum(axis=1) == 1
    lone_columns = allowed.sum(axis=0) == 1
    clear = allowed & lone_rows[:, None] & lone_columns[None, :]
    pairs = [(int(r), int(c)) for r, c in np.argwhere(clear)]
    rows = np.flatnonzero(allowed.any(axis=1) & ~clear.any(axis=1))
    columns = np.flatnonzero(allowed.any(axis=0) & ~clear.any(axis=0))
    if len(rows) and len(columns):
        part = cost[np.ix_(rows, columns)]
        forbidden = float(part[np.isfinite(part)].sum()) + 1.0
        square = np.where(np.isfinite(part), part, forbidden)
        transposed = len(rows) > len(columns)
        chosen = _shortest_paths(square.T if transposed else square)
        for a, b in enumerate(chosen):
            r, c = (int(b), a) if transposed else (a, int(b))
            if np.isfinite(part[r, c]):
                pairs.append((int(rows[r]), int(columns[c])))
    return sorted(pairs)


def _shortest_paths(cost: F64) -> NDArray[np.intp]:
    """Column of each row of a (R, C) matrix with R <= C.

    Source: R. Jonker, A. Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment problems",
    Computing 38, 1987.
    """
    count, width = cost.shape
    row_price, column_price = np.zeros(count), np.zeros(width)
    row_of = np.full(width, -1, dtype=np.intp)
    for start in range(count):
        reach = np.full(width, np.inf)
        via = np.full(width, -1, dtype=np.intp)
        done = np.zeros(width, dtype=bool)
        row, least = start, 0.0
        while True:
            step = least + cost[row] - row_price[row] - column_price
            better = ~done & (step < reach)
            reach[better], via[better] = step[better], row
            column = int(np.argmin(np.where(done, np.inf, reach)))
            least = float(reach[column])
            done[column] = True
            if row_of[column] < 0:
                break
            row = int(row_of[column])
        seen = np.flatnonzero(done)
        settled = seen[seen != column]
        row_price[start] += least
        row_price[row_of[settled]] += least - reach[settled]
        column_price[seen] -= least - reach[seen]
        while True:
            row = int(via[column])
            previous = int(np.flatnonzero(row_of == row)[0]) if row != start else -1
            row_of[column] = row
            if row == start:
                break
            column = previous
    result = np.empty(count, dtype=np.intp)
    result[row_of[row_of >= 0]] = np.flatnonzero(row_of >= 0)
    return result

"""Optimal one-to-one assignment in which staying alone has a price."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perception_node.types import F64


def assign(cost: F64, alone: float) -> list[tuple[int, int]]:
    """Pair rows with columns so that the sum of the pairs' costs and of `alone` for each row left over is least.

    A row left over must cost something, and little: asking for as many pairs as possible would hand on a whole chain of
    partners only to give the last one, too, somebody.

    Args:
        cost: (R, C), at least 0, infinite = this pair is forbidden. alone: cost of a row without a partner.

    Returns:
        (row, column) pairs, by row.
    """
    allowed = cost < alone
    if not allowed.any():
        return []
    clear = allowed & (allowed.sum(axis=1) == 1)[:, None] & (allowed.sum(axis=0) == 1)[None, :]
    pairs = [(int(r), int(c)) for r, c in np.argwhere(clear)]
    rows = np.flatnonzero(allowed.any(axis=1) & ~clear.any(axis=1))
    columns = np.flatnonzero(allowed.any(axis=0) & ~clear.any(axis=0))
    if len(rows):
        part = np.where(allowed, cost, alone)[np.ix_(rows, columns)]
        chosen = _shortest_paths(np.concatenate([part, np.full((len(rows), len(rows)), alone)], axis=1))
        for r, c in enumerate(chosen.tolist()):
            if c < len(columns) and allowed[rows[r], columns[c]]:
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

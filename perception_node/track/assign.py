"""Optimal one-to-one assignment in which staying alone has a price."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled
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
    return [(row, column) for row, column in enumerate(_partners(cost, alone).tolist()) if column >= 0]


@compiled
def _partners(cost: F64, alone: float) -> NDArray[np.int64]:
    """(R,) column of each row, -1 = none. What can only be paired with each other is, the rest by `_shortest_paths`."""
    count, width = cost.shape
    partner, choices, rivals = np.full(count, -1), np.zeros(count, dtype=np.int64), np.zeros(width, dtype=np.int64)
    for r in range(count):
        for c in range(width):
            if cost[r, c] < alone:
                choices[r] += 1
                rivals[c] += 1
    rows, columns = np.empty(count, dtype=np.int64), np.empty(width, dtype=np.int64)
    row_count, column_count = 0, 0
    free = rivals > 0
    for r in range(count):
        for c in range(width):
            if cost[r, c] < alone and choices[r] == 1 and rivals[c] == 1:
                partner[r] = c
                free[c] = False
        if choices[r] > 0 and partner[r] < 0:
            rows[row_count] = r
            row_count += 1
    for c in range(width):
        if free[c]:
            columns[column_count] = c
            column_count += 1
    if row_count > 0:
        part = np.full((row_count, column_count + row_count), alone)
        for r in range(row_count):
            for c in range(column_count):
                part[r, c] = min(cost[rows[r], columns[c]], alone)
        chosen = _shortest_paths(part)
        for r in range(row_count):
            if chosen[r] < column_count and cost[rows[r], columns[chosen[r]]] < alone:
                partner[rows[r]] = columns[chosen[r]]
    return partner


@compiled
def _shortest_paths(cost: F64) -> NDArray[np.int64]:
    """Column of each row of a (R, C) matrix with R <= C.

    Source: R. Jonker, A. Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment problems",
    Computing 38, 1987.
    """
    count, width = cost.shape
    row_price, column_price = np.zeros(count), np.zeros(width)
    row_of, column_of = np.full(width, -1), np.full(count, -1)
    for start in range(count):
        reach, via, done = np.full(width, np.inf), np.full(width, -1), np.zeros(width, dtype=np.bool_)
        row, column, least = start, 0, 0.0
        while True:
            nearest = np.inf
            for c in range(width):
                step = least + cost[row, c] - row_price[row] - column_price[c]
                if not done[c] and step < reach[c]:
                    reach[c], via[c] = step, row
            for c in range(width):
                if not done[c] and reach[c] < nearest:
                    nearest, column = reach[c], c
            least = nearest
            done[column] = True
            if row_of[column] < 0:
                break
            row = row_of[column]
        row_price[start] += least
        for c in range(width):
            if done[c]:
                column_price[c] -= least - reach[c]
                if c != column:
                    row_price[row_of[c]] += least - reach[c]
        while True:
            row = via[column]
            row_of[column] = row
            column, column_of[row] = column_of[row], column
            if row == start:
                break
    return column_of

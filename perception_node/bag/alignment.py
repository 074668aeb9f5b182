"""Does depth lie on the colour picture? Where depth steps, the picture has an edge. Depth of another camera, or of another time,
has its steps beside them: every pose is wrong then, without any message.

Masks cannot tell: the network sees depth, too, and draws them where depth steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled, steady
from perception_node.types import F32, F64, Frame

_CELLS = 160
"""Cells across a picture's width: shifts are searched in whole cells, 4 px at 640x480."""
_REACH, _REACH_SCALED = 12, 5
"""Cells to each side that are searched, at the picture's own scale and at another one."""
_SCALES = tuple(0.5 * 1.06**n for n in range(24) if n != 12)
"""Sizes of depth in the picture, 0.5 to 1.9 without 1; half a step of 6 % is a cell where the picture is half-way to its border.
Source: depth as a RealSense D435 measures it has 0.63 of its colour picture's scale."""
_SCALES_A_LOOK = 3
_MOST_PLACES, _LEAST_PLACES = 75, 20
"""Of each axis: places of depth's steps that are looked at; places from which on they count."""
_STEP_M, _FLAT = 0.02, 0.3
"""Depth that changes by more than this within two cells, and on both sides of them by less than this share of it, is the border of
a package or a rail. Source: judgement; six times what stereo depth scatters at 1 m."""
_STRONG = 90
"""Difference of red, green and blue together from which on an edge counts fully. Source: judgement; six times a camera's noise."""
_KEPT, _LOOKS = 0.8, 4
"""Share of what was seen before that a look leaves; looks before anything is said."""
_CONTRAST, _AHEAD, _AHEAD_SCALED = 0.15, 1.3, 1.5
"""How much better than shifts do on average the best one fits at least (1 = all steps lie on full edges), and how many times
better than no shift; the same at another scale. Source: measured, docs/reliability.md: aligned depth fits up to 1.13 times as well
elsewhere, shifted by 12 px 1.8 to 3 times (medians)."""

_Looked = tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int64], int]
"""Edges of a picture, places where depth steps, how many of each axis, pixels of a cell."""


class Alignment:
    """Looks at pictures with depth now and then. `words`: what it found, "" = nothing."""

    def __init__(self) -> None:
        self.words = ""
        self._looks = 0
        side = 2 * _REACH + 1
        self._sums, self._places, self._scaled = np.zeros((2, side, side)), np.zeros(2), np.zeros((len(_SCALES), 3))

    def look(self, frame: Frame, labels: NDArray[np.uint16]) -> None:
        """Take a frame in; of the steps those in and beside masks count: (H, W) labels, 0 = beside the packages. Costs 0.2 ms where
        depth fits, else 0.3 ms.

        Rails alone, parallel to each other, would fit at many shifts.
        """
        if frame.depth_m is None:
            return
        looked = _looked_at(frame.rgb, frame.depth_m, labels)
        self._sums *= _KEPT
        self._places *= _KEPT
        sums, inside = _fit(looked, 1.0, _REACH)
        self._sums += sums
        self._places += inside
        self.words = ""
        if self._places.min() < _LEAST_PLACES:
            self._looks = 0
            return
        self._looks += 1
        fits = _mean(self._sums, self._places)
        middle = slice(_REACH - 1, _REACH + 2)
        near = float(fits[middle, middle].max())
        fits[_REACH - 2:_REACH + 3, _REACH - 2:_REACH + 3] = 0.0  # a cell is the border's width in both pictures
        far, dx, dy = _best(fits)
        if near >= max(_CONTRAST, far):
            self._scaled[:] = 0.0
            return
        self._look_at_scales(looked)
        if self._looks < _LOOKS:
            return
        which = int(self._scaled[:, 0].argmax())
        scaled, sx, sy = self._scaled[which]
        cell = looked[3]
        if scaled > max(_CONTRAST, _AHEAD_SCALED * near, far):
            self.words = _words(f"made {1.0 / _SCALES[which]:.2f} times as large and shifted", sx * cell, sy * cell)
        elif far > max(_CONTRAST, _AHEAD * near):
            self.words = _words("shifted", dx * cell, dy * cell)

    def _look_at_scales(self, looked: _Looked) -> None:
        """Try the next ones; a cycle through all of them takes eight looks."""
        first = _SCALES_A_LOOK * self._looks
        for number in range(first, first + _SCALES_A_LOOK):
            which = number % len(_SCALES)
            sums, inside = _fit(looked, _SCALES[which], _REACH_SCALED)
            self._scaled[which] = _best(_mean(sums, inside)) if inside.min() >= _LEAST_PLACES else 0.0


def _words(how: str, dx_px: float, dy_px: float) -> str:
    return (f"depth fits the picture best when {how} by ({dx_px:+.0f}, {dy_px:+.0f}) px: is it aligned to colour "
            "(aligned_depth_to_color, depth_registration), and of the same moment?")


def _looked_at(rgb: NDArray[np.uint8], depth_m: F32, labels: NDArray[np.uint16]) -> _Looked:
    height, width = depth_m.shape
    cell = max(2, round(width / _CELLS))
    rows, columns = height // cell, width // cell
    coarse, places = np.empty((3, rows, columns), np.int16), np.empty((2, 2000, 2), np.int32)
    edges = np.zeros((2, rows + 2 * _REACH, columns + 2 * _REACH), np.uint8)
    _coarsen(steady(rgb), cell, coarse)
    _find_edges(coarse, edges)
    return edges, places, _find_steps(steady(depth_m), steady(labels), cell, places), cell


def _fit(looked: _Looked, scale: float, reach: int) -> tuple[F64, F64]:
    """How well depth fits at each shift, summed over its steps, (2, 2 reach + 1, 2 reach + 1), and how many of them count, (2,)."""
    edges, places, counts, cell = looked
    sums, inside = np.zeros((2, 2 * reach + 1, 2 * reach + 1)), np.zeros(2)
    for axis in range(2):
        inside[axis] = _add_up(edges[axis], places[axis, :counts[axis]], cell, scale, sums[axis])
    return sums, inside


def _mean(sums: F64, places: F64) -> F64:
    """(2 reach + 1, 2 reach + 1): above its own mean, both axes alike however many steps there are along each."""
    mean: F64 = sums[0] / (4 * _STRONG * places[0]) + sums[1] / (4 * _STRONG * places[1])
    mean -= mean.mean()
    return mean


def _best(fits: F64) -> tuple[float, float, float]:
    """The best fit and its place, (dx, dy) in cells from the middle, between cells by a parabola."""
    reach = len(fits) // 2
    y, x = divmod(int(fits.argmax()), len(fits))
    found = []
    for at, line in ((x, fits[y]), (y, fits[:, x])):
        low, top, high = line[max(at - 1, 0)], line[at], line[min(at + 1, 2 * reach)]
        bend = 2.0 * top - low - high
        found.append(at - reach + (0.5 * (high - low) / bend if bend > 0.0 else 0.0))
    return float(fits[y, x]), float(found[0]), float(found[1])


@compiled
def _coarsen(rgb: NDArray[np.uint8], cell: int, coarse: NDArray[np.int16]) -> None:
    """Colour of each cell: the sum of two of its pixels."""
    near, far = cell // 4, cell - 1 - cell // 4
    for i in range(coarse.shape[1]):
        above, below = rgb[i * cell + near], rgb[i * cell + far]
        for j in range(coarse.shape[2]):
            for c in range(3):
                coarse[c, i, j] = np.int16(above[j * cell + near, c]) + np.int16(below[j * cell + far, c])


@compiled
def _find_edges(coarse: NDArray[np.int16], edges: NDArray[np.uint8]) -> None:
    """Strength of edges across x and across y, 0 to 2 `_STRONG`, inside a margin of `_REACH`."""
    _, rows, columns = coarse.shape
    for i in range(1, rows - 1):
        across_x, across_y = edges[0, i + _REACH, _REACH + 1:], edges[1, i + _REACH, _REACH + 1:]
        for c in range(3):
            above, at, below = coarse[c, i - 1, 1:columns - 1], coarse[c, i], coarse[c, i + 1, 1:columns - 1]
            left, right = at[:columns - 2], at[2:]
            for j in range(columns - 2):  # in 16 bits: half a dozen at a time
                across_x[j] = min(2 * _STRONG, across_x[j] + np.int16(abs(np.int16(right[j] - left[j]))))
                across_y[j] = min(2 * _STRONG, across_y[j] + np.int16(abs(np.int16(below[j] - above[j]))))


@compiled
def _find_steps(depth_m: F32, labels: NDArray[np.uint16], cell: int, places: NDArray[np.int32]) -> NDArray[np.int64]:
    """Where depth steps in or beside a mask, along every other row (0) and column (1) of cells: (row, column) of the step's middle;
    returns how many."""
    counts = np.zeros(2, np.int64)
    for axis in range(2):
        along, masks = (depth_m, labels) if axis == 0 else (depth_m.T, labels.T)
        for line in range(cell, along.shape[0], 2 * cell):
            first = last = sign = 0
            for at in range(3 * cell, along.shape[1] - 3 * cell, cell):
                near, far = along[line, at - cell], along[line, at + cell]
                step, now = abs(far - near), 0
                if (step > _STEP_M and abs(near - along[line, at - 3 * cell]) < _FLAT * step
                        and abs(far - along[line, at + 3 * cell]) < _FLAT * step
                        and masks[line, at - 2 * cell] + masks[line, at] + masks[line, at + 2 * cell] > 0):
                    now = 1 if far > near else -1
                if now != sign:
                    if sign != 0 and counts[axis] < places.shape[1]:
                        places[axis, counts[axis], axis] = line
                        places[axis, counts[axis], 1 - axis] = (first + last) // 2
                        counts[axis] += 1
                    first = at
                last, sign = at, now
    return counts


@compiled
def _add_up(edges: NDArray[np.uint8], places: NDArray[np.int32], cell: int, scale: float, sums: F64) -> int:
    """Add the strength of edges at the places, brought to the picture's scale, for each shift (row = y); returns how many places
    are in the picture."""
    width, reach = edges.shape[1], len(sums) // 2
    rows, columns = edges.shape[0] - 2 * _REACH, width - 2 * _REACH
    where, inside = np.empty(_MOST_PLACES, np.int64), 0
    taken = min(_MOST_PLACES, len(places))
    for n in range(taken):
        row, column = places[n * len(places) // taken]
        i = int(np.floor(((row + 0.5) / cell - 0.5 * rows) / scale + 0.5 * rows))
        j = int(np.floor(((column + 0.5) / cell - 0.5 * columns) / scale + 0.5 * columns))
        if 0 <= i < rows and 0 <= j < columns:
            where[inside] = (i + _REACH) * width + j + _REACH
            inside += 1
    flat = edges.ravel()
    for v in range(-reach, reach + 1):
        for u in range(-reach, reach + 1):
            total = 0
            for n in range(inside):
                total += flat[where[n] + v * width + u]
            sums[v + reach, u + reach] += total
    return inside

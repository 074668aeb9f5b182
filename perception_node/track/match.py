"""How well packages fit tracks, and by how much a whole frame has moved.

What is compared are masks, and outlines: the bounds of a package's visible part, as viewing rays. They move steadily where depth
does not: the middle of a tall package's readings leaps between its side and its top, and its fitted face with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled
from perception_node.track.masks import Shared
from perception_node.types import F64, Package

Flags = NDArray[np.bool_]
Ids = NDArray[np.int64]

_CLASS_COST = 0.1
"""A change of class costs as much as this share of an outline: classes flicker, packages do not jump."""
ALONE = 0.7
"""Cost of a track without a package: outlines that do not overlap at all may be 0.4 gates apart."""
PLAIN = 0.25
"""A pair that costs less is beyond doubt. Source: simulated belts: all but 1 % of true pairs in successive frames."""
_SAME_OVERLAP = 0.3
"""Outlines that share this part of their union may be one package's, however far their middles are apart: a package whose mask
was merged with a neighbour's keeps its id when it is the larger part of it. Source: half of a union of equals, less a margin."""
_VOTE_M = 0.025
"""Two packages agree on a shift within this distance."""
_VOTE_SIZE = 0.6
_MIN_SIDE = 1e-6
_WITHIN = 0.8
"""Weight of "lies within" against "is the same" for outlines at the border; the rest prefers the more alike of several."""


@dataclass(frozen=True, eq=False)
class Outlines:
    """What tells N packages apart.

    Attributes:
        bounds: (N, 4) left, top, right, bottom of the visible part, as rays (x/z, y/z). cut: (N, 4) bool, sides that are the
            picture's border and not the package's. depth_m: (N,) distance along the optical axis at which it moves.
        area_m2: (N,) seen part of the upper face. classes: (N,) class names.
    """

    bounds: F64
    cut: NDArray[np.bool_]
    depth_m: F64
    area_m2: F64
    classes: tuple[str, ...]

    def moved(self, shift_m: F64) -> Outlines:
        """The outlines after (N, 3) shifts in the camera frame, in metres."""
        depth = np.maximum(self.depth_m + shift_m[:, 2], 0.1 * self.depth_m)
        scale = (self.depth_m / depth)[:, None]
        bounds = self.bounds * scale + shift_m[:, (0, 1, 0, 1)] / depth[:, None]
        return Outlines(bounds, self.cut, depth, self.area_m2, self.classes)

    def some(self, rows: Ids) -> Outlines:
        """Some of the outlines."""
        return Outlines(self.bounds[rows], self.cut[rows], self.depth_m[rows], self.area_m2[rows],
                        tuple(self.classes[row] for row in rows.tolist()))


def outlines_of(packages: Sequence[Package]) -> Outlines:
    """Outlines of packages; of one without bounds, those of its upper face."""
    depth = np.array([max(package.T_cam_package[2, 3], 1e-3) for package in packages])
    bounds = np.array([package.outline if package.outline is not None else _face_bounds(package) for package in packages])
    cut = np.array([package.cut_sides for package in packages], dtype=bool)
    area = np.array([package.size_m[0] * package.size_m[1] * package.visible_fraction for package in packages])
    return Outlines(bounds.reshape(-1, 4), cut.reshape(-1, 4), depth, area, tuple(package.class_name for package in packages))


def _face_bounds(package: Package) -> tuple[float, float, float, float]:
    x, y, z = package.T_cam_package[:3, 3].tolist()
    half_x, half_y = (np.abs(package.T_cam_package[:2, :2]) @ np.array(package.size_m[:2]) / 2 + _MIN_SIDE).tolist()
    z = max(z, 1e-3)
    return (x - half_x) / z, (y - half_y) / z, (x + half_x) / z, (y + half_y) / z


def fit_cost(predicted: Outlines, found: Outlines, gate_m: float, shared: Shared | None = None) -> F64:
    """(T, P) cost of calling package p track t: 1 less the overlap of their masks, plus a change of class; infinite beyond the
    gate.

    A side cut off by the picture's border says nothing: an entering package may end anywhere beyond it, a leaving one goes on.
    Middles that meet count as much as the seen areas are alike: a splinter of a package lies in its middle, too, and so does the
    seam of two that share a mask.

    Args:
        predicted: of T tracks, where they should be now. found: of P packages. gate_m: greatest distance of their middles.
        shared: what their masks share; where it is not known, the rectangles of the outlines are taken for the masks.
    """
    ours, theirs = _class_ids(predicted, found)
    if shared is None:
        shared = Shared(np.zeros((len(ours), len(theirs))), np.zeros(len(ours)), np.zeros(len(theirs)))
    return _fit_costs(predicted.bounds, predicted.cut, predicted.depth_m, predicted.area_m2, ours, found.bounds, found.cut,
                      found.area_m2, theirs, gate_m, shared.both, shared.ours, shared.theirs)


@compiled
def _fit_costs(ours: F64, ours_cut: Flags, depth_m: F64, our_area: F64, our_class: Ids,
               theirs: F64, theirs_cut: Flags, their_area: F64, their_class: Ids, gate_m: float, both: F64,
               our_cells: F64, their_cells: F64) -> F64:
    """As `fit_cost`, of plain arrays: of T tracks, then of P packages, then the gate and what they share."""
    cost = np.empty((len(ours), len(theirs)))
    for t in range(len(ours)):
        for p in range(len(theirs)):
            crossing = ours_cut[t].any() or theirs_cut[p].any()
            shared, own, other, away, off = 1.0, 1.0, 1.0, 0.0, 0.0
            for k in range(2):
                low, high, low_t, high_t = ours[t, k], ours[t, k + 2], theirs[p, k], theirs[p, k + 2]
                if ours_cut[t, k]:
                    low = min(low, low_t)
                if ours_cut[t, k + 2]:
                    high = max(high, high_t)
                if theirs_cut[p, k]:
                    low = max(low, low_t)
                if theirs_cut[p, k + 2]:
                    high = min(high, high_t)
                shared *= max(min(high, high_t) - max(low, low_t), 0.0)
                own *= max(high - low, 0.0)
                other *= high_t - low_t
                away += (low + high - low_t - high_t) ** 2
                low_cut, high_cut = ours_cut[t, k] or theirs_cut[p, k], ours_cut[t, k + 2] or theirs_cut[p, k + 2]
                if low_cut or high_cut:
                    step = (0.0 if low_cut else abs(low - low_t)) + (0.0 if high_cut else abs(high - high_t))
                else:
                    step = min(max(low_t - low, 0.0) + max(high - high_t, 0.0), max(low - low_t, 0.0) + max(high_t - high, 0.0))
                off += step * step
            if our_cells[t] > 0.0 and their_cells[p] > 0.0:
                shared, own, other = both[t, p], our_cells[t], their_cells[p]
            overlap = shared / max(own + other - shared, _MIN_SIDE**2)
            much = overlap >= _SAME_OVERLAP
            alike = 1.0
            if crossing:
                # What crosses the border shows more or less of its width, too: the smaller outline need only lie within the larger
                # one, while the side away from the border moves like the package.
                overlap = (1.0 - _WITHIN) * overlap + _WITHIN * (shared / max(min(own, other), _MIN_SIDE**2))
                apart = math.sqrt(off) * depth_m[t]
                near = (apart <= gate_m and shared > 0.0) or much
            else:
                apart = math.sqrt(away) / 2.0 * depth_m[t]
                near = apart <= gate_m or much
                alike = math.sqrt(_ratio(our_area[t], their_area[p]))
            apart = 1.0 - alike * (1.0 - min(apart / gate_m, 1.0))
            cost[t, p] = np.inf
            if near:
                cost[t, p] = (1.0 - overlap) * (1.0 + apart) / 2.0 + (0.0 if our_class[t] == their_class[p] else _CLASS_COST)
    return cost


@compiled
def _ratio(a: float, b: float) -> float:
    return min(a, b) / max(max(a, b), _MIN_SIDE)


def _class_ids(predicted: Outlines, found: Outlines) -> tuple[Ids, Ids]:
    """(T,) and (P,) numbers that are equal where the classes' names are."""
    number = {name: i for i, name in enumerate(dict.fromkeys(predicted.classes + found.classes))}
    ours, theirs = (np.array([number[name] for name in of.classes], dtype=np.int64) for of in (predicted, found))
    return ours, theirs


def likely_shift(predicted: Outlines, found: Outlines, reach_m: float) -> F64:
    """How far the whole belt is from where it was predicted: the shift that brings most tracks onto packages of like class and
    size; the least of several equals.

    Args:
        reach_m: no shift is longer.

    Returns:
        (3,) metres in the camera frame, to be added to the tracks' own; zero when nothing fits.
    """
    ours, theirs = _class_ids(predicted, found)
    return _most_voted_shift(predicted.bounds, predicted.cut, predicted.depth_m, ours, found.bounds, found.cut, found.depth_m,
                             theirs, reach_m)


@compiled
def _most_voted_shift(ours: F64, ours_cut: Flags, our_depth: F64, our_class: Ids, theirs: F64, theirs_cut: Flags,
                      their_depth: F64, their_class: Ids, reach_m: float) -> F64:
    """As `likely_shift`, of plain arrays: of T tracks, then of P packages, then the reach."""
    most = len(ours) * len(theirs)
    steps, length, pair = np.empty((most, 2)), np.empty(most), np.empty((most, 2), dtype=np.int64)
    count = 0
    for t in range(len(ours)):
        for p in range(len(theirs)):
            if our_class[t] != their_class[p] or ours_cut[t].any() or theirs_cut[p].any():
                continue
            same = 1.0
            for k in range(2):
                same *= _ratio(ours[t, k + 2] - ours[t, k], theirs[p, k + 2] - theirs[p, k])
                steps[count, k] = ((theirs[p, k] + theirs[p, k + 2]) / 2.0 * their_depth[p]
                                   - (ours[t, k] + ours[t, k + 2]) / 2.0 * our_depth[t])
            length[count] = math.sqrt(steps[count, 0] ** 2 + steps[count, 1] ** 2)
            if 1.0 - same < _VOTE_SIZE and length[count] <= reach_m:
                pair[count, 0], pair[count, 1] = t, p
                count += 1
    shift = np.zeros(3)
    best, most_votes, shortest = -1, 0, np.inf
    for i in range(count):
        tracks, packages = np.zeros(len(ours), dtype=np.bool_), np.zeros(len(theirs), dtype=np.bool_)
        for j in range(count):
            if _apart(steps, i, j) <= _VOTE_M:
                tracks[pair[j, 0]] = packages[pair[j, 1]] = True
        votes, rounded = min(tracks.sum(), packages.sum()), math.floor(length[i] * 1e4 + 0.5)
        if votes > most_votes or (votes == most_votes and rounded < shortest):
            best, most_votes, shortest = i, votes, rounded
    if best >= 0:
        values, near = np.empty(count), 0
        for k in range(2):
            near = 0
            for j in range(count):
                if _apart(steps, best, j) <= _VOTE_M:
                    values[near] = steps[j, k]
                    near += 1
            ordered = np.sort(values[:near])
            shift[k] = (ordered[(near - 1) // 2] + ordered[near // 2]) / 2.0
    return shift


@compiled
def _apart(steps: F64, i: int, j: int) -> float:
    return math.sqrt((steps[i, 0] - steps[j, 0]) ** 2 + (steps[i, 1] - steps[j, 1]) ** 2)

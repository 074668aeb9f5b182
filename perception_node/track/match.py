"""How well packages fit tracks, and by how much a whole frame has moved.

What is compared are outlines: the bounds of a package's visible part, as viewing rays. They move steadily where depth does not:
the middle of a tall package's readings leaps between its side and its top, and its fitted face with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_node.types import F64, Package

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
        bounds = self.bounds * scale + np.tile(shift_m[:, :2], 2) / depth[:, None]
        return Outlines(bounds, self.cut, depth, self.area_m2, self.classes)

    @property
    def crossing(self) -> NDArray[np.bool_]:
        """(N,) whether the picture's border cuts it off."""
        return np.asarray(self.cut.any(axis=1))

    @property
    def middle_m(self) -> F64:
        """(N, 3) middle of each outline at its depth, camera frame."""
        middle = (self.bounds[:, :2] + self.bounds[:, 2:]) / 2
        return np.concatenate([middle, np.ones((len(middle), 1))], axis=1) * self.depth_m[:, None]


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


def fit_cost(predicted: Outlines, found: Outlines, gate_m: float) -> F64:
    """(T, P) cost of calling package p track t: 1 less the overlap of their outlines, plus a change of class; infinite beyond
    the gate.

    A side cut off by the picture's border says nothing: an entering package may end anywhere beyond it, a leaving one goes on.
    Middles that meet count as much as the seen areas are alike: a splinter of a package lies in its middle, too, and so does the
    seam of two that share a mask.

    Args:
        predicted: of T tracks, where they should be now. found: of P packages. gate_m: greatest distance of their middles.
    """
    ours, theirs = predicted.bounds[:, None], found.bounds[None]
    low_o, high_o, low_t, high_t = ours[..., :2], ours[..., 2:], theirs[..., :2], theirs[..., 2:]
    was_low, was_high = predicted.cut[:, None, :2], predicted.cut[:, None, 2:]
    is_low, is_high = found.cut[None, :, :2], found.cut[None, :, 2:]
    low = np.where(was_low, np.minimum(low_o, low_t), low_o)
    high = np.where(was_high, np.maximum(high_o, high_t), high_o)
    low = np.where(is_low, np.maximum(low, low_t), low)
    high = np.where(is_high, np.minimum(high, high_t), high)
    shared = np.maximum(np.minimum(high, high_t) - np.maximum(low, low_t), 0.0).prod(axis=2)
    own, other = np.maximum(high - low, 0.0).prod(axis=2), (high_t - low_t).prod(axis=2)
    overlap = shared / np.maximum(own + other - shared, _MIN_SIDE**2)
    away = np.linalg.norm(low + high - low_t - high_t, axis=2) / 2 * predicted.depth_m[:, None]
    # What crosses the border shows more or less of its width, too: the smaller outline need only lie within the larger one,
    # while the side away from the border moves like the package.
    crossing = predicted.crossing[:, None] | found.crossing[None]
    within = shared / np.maximum(np.minimum(own, other), _MIN_SIDE**2)
    overlap = np.where(crossing, (1 - _WITHIN) * overlap + _WITHIN * within, overlap)
    outside = np.minimum(np.maximum(low_t - low, 0) + np.maximum(high - high_t, 0),
                         np.maximum(low - low_t, 0) + np.maximum(high_t - high, 0))
    low_cut, high_cut = was_low | is_low, was_high | is_high
    inner = np.where(low_cut, 0.0, np.abs(low - low_t)) + np.where(high_cut, 0.0, np.abs(high - high_t))
    off = np.linalg.norm(np.where(low_cut | high_cut, inner, outside), axis=2) * predicted.depth_m[:, None]
    away = np.where(crossing, off, away)
    near = np.where(crossing, (away <= gate_m) & (shared > 0), (away <= gate_m) | (overlap >= _SAME_OVERLAP))
    alike = np.where(crossing, 1.0, np.sqrt(_ratio(predicted.area_m2[:, None], found.area_m2[None])))
    apart = 1.0 - alike * (1.0 - np.minimum(away / gate_m, 1.0))
    cost = (1.0 - overlap) * (1.0 + apart) / 2 + _CLASS_COST * ~_same_class(predicted, found)
    return np.where(near, cost, np.inf)


def _ratio(a: F64, b: F64) -> F64:
    return np.minimum(a, b) / np.maximum(np.maximum(a, b), _MIN_SIDE)


def _same_class(predicted: Outlines, found: Outlines) -> NDArray[np.bool_]:
    return np.array([[a == b for b in found.classes] for a in predicted.classes], dtype=bool)


def likely_shift(predicted: Outlines, found: Outlines, reach_m: float) -> F64:
    """How far the whole belt is from where it was predicted: the shift that brings most tracks onto packages of like class and
    size; the least of several equals.

    Args:
        reach_m: no shift is longer.

    Returns:
        (3,) metres in the camera frame, to be added to the tracks' own; zero when nothing fits.
    """
    whole = ~predicted.crossing[:, None] & ~found.crossing[None]
    side_p, side_f = predicted.bounds[:, 2:] - predicted.bounds[:, :2], found.bounds[:, 2:] - found.bounds[:, :2]
    ratio = _ratio(side_p[:, None], side_f[None])
    alike = _same_class(predicted, found) & (1.0 - ratio.prod(axis=2) < _VOTE_SIZE) & whole
    step = found.middle_m[None] - predicted.middle_m[:, None]
    step[..., 2] = 0.0
    alike &= np.linalg.norm(step, axis=2) <= reach_m
    tracks_of, packages_of = np.nonzero(alike)
    if len(tracks_of) == 0:
        return np.zeros(3)
    steps = step[tracks_of, packages_of]
    near = np.linalg.norm(steps[:, None] - steps[None], axis=2) <= _VOTE_M
    votes = [min(len(set(tracks_of[row])), len(set(packages_of[row]))) for row in near]
    length = np.linalg.norm(steps, axis=1)
    best = min(range(len(votes)), key=lambda i: (-votes[i], round(float(length[i]), 4), i))
    shift: F64 = np.median(steps[near[best]], axis=0)
    return shift

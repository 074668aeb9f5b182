"""What lies on what: points of one package above the upper face of another, and the order of picking that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from perception_node.types import F64

_MIN_RISE_M = 0.005
"""A point counts as above a face from this height on. Source: settled piles and a rendered pilot cell: docs/results.md."""
_MARGIN_M = 0.003
"""A face is taken that much smaller on each side: its rectangle is known to two pixels or so. Source: likewise."""
_MIN_AREA_M2 = 1e-4
_MIN_POINTS = 2
_MIN_UPRIGHT = 0.3


def overlaps(points: F64, valid: NDArray[np.bool_], point_area_m2: F64, faces: F64, size_m: F64, up: F64) -> F64:
    """(P, P) area in square metres over which package u (row) is seen to lie over package l (column).

    Points of u are dropped along `up` onto the plane of l's face. Those that come from above and land inside its rectangle lie
    over l. A neighbour that stands beside it, however tall and however much of l it hides from the camera, drops beside it.

    Args:
        points: (P, S, 3) readings of each package, camera frame, metres. valid: (P, S). point_area_m2: (P,) area that a reading
            stands for. faces: (P, 4, 4) centre of each upper face, x and y along its sides, z outward. size_m: (P, 2) sides.
        up: (3,) unit normal of the belt.
    """
    count, samples = valid.shape
    flat = points.reshape(-1, 3).astype(np.float32)  # a tenth of a micrometre at one metre
    origin = np.einsum("pij,pi->pj", faces[:, :3, :3], faces[:, :3, 3]).astype(np.float32)
    lean = np.einsum("pij,i->pj", faces[:, :3, :3], up)  # up in each face's axes
    upright = np.maximum(lean[:, 2], _MIN_UPRIGHT)
    rise = flat @ faces[:, :3, 2].T.astype(np.float32)
    rise -= origin[:, 2]
    over = (rise > _MIN_RISE_M) & valid.reshape(-1, 1)
    for axis in (0, 1):
        slope = (lean[:, axis] / upright).astype(np.float32)
        across = flat @ (faces[:, :3, axis] - faces[:, :3, 2] * slope[:, None]).T.astype(np.float32)
        across -= origin[:, axis] - origin[:, 2] * slope
        over &= np.abs(across, out=across) < (size_m[:, axis] / 2 - _MARGIN_M).astype(np.float32)
    hits = over.reshape(count, samples, count).sum(axis=1)
    np.fill_diagonal(hits, 0)
    return np.where(hits >= _MIN_POINTS, hits * point_area_m2[:, None], 0.0)


def covers(area_m2: F64, labels: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """{label: labels of what lies on top of it}, without circles.

    Args:
        area_m2: (P, P) from `overlaps`. labels: of the P packages.

    Of two that seem to lie on each other the one with more area above the other is on top; a longer circle is opened where the
    evidence is least.
    """
    on_top = (area_m2 >= _MIN_AREA_M2) & (area_m2 > area_m2.T)
    above: dict[int, set[int]] = {}

    def rests_on(upper: int, lower: int) -> bool:
        return upper in above.get(lower, ()) or any(rests_on(upper, middle) for middle in above.get(lower, ()))

    pairs = np.argwhere(on_top)
    for u, low in pairs[np.argsort(-area_m2[on_top], kind="stable")].tolist():
        if not rests_on(low, u):
            above.setdefault(low, set()).add(u)
    return {labels[low]: tuple(sorted(labels[u] for u in upper)) for low, upper in sorted(above.items())}


def pick_order(labels: Sequence[int], covered_by: Mapping[int, tuple[int, ...]], height_m: Mapping[int, float],
               area_m2: Mapping[int, float]) -> tuple[int, ...]:
    """Labels in the order in which they can be lifted off: nothing before what lies on it.

    Among those free at the same time the higher comes first, then the larger, then the smaller label. A circle (which `covers`
    never makes) is cut at the member with the fewest packages left on it.
    """
    fixed = {label: (-round(height_m.get(label, 0.0), 3), -round(area_m2.get(label, 0.0), 6), label) for label in labels}
    left = {label: len(set(covered_by.get(label, ())) & set(labels)) for label in labels}
    rests_on: dict[int, list[int]] = {label: [] for label in labels}
    for lower in labels:
        for upper in set(covered_by.get(lower, ())) & set(labels):
            rests_on[upper].append(lower)
    order = []
    while left:
        best = min(left, key=lambda label: (left[label], fixed[label]))
        order.append(best)
        del left[best]
        for lower in rests_on[best]:
            if lower in left:
                left[lower] -= 1
    return tuple(order)

"""What lies on what: points of one package above the upper face of another, and the order of picking that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled
from perception_node.types import F64

_MIN_RISE_M = 0.005
"""A point counts as above a face from this height on. Source: settled piles and a rendered pilot cell: docs/results.md."""
_MARGIN_M = 0.003
"""A face is taken that much smaller on each side: its rectangle is known to two pixels or so. Source: likewise."""
MIN_AREA_M2 = 1e-4
"""In a single picture what is seen over less area than this does not lie there."""
_MIN_POINTS = 2
_MIN_UPRIGHT = 0.3


@compiled
def overlaps(points: F64, valid: NDArray[np.bool_], there: NDArray[np.bool_], point_area_m2: F64, faces: F64, size_m: F64,
             up: F64) -> F64:
    """(P, P) area in square metres over which package u (row) is seen to lie over package l (column).

    Points of u are dropped along `up` onto the plane of l's face. Those that come from above and land inside its rectangle lie
    over l. A neighbour that stands beside it, however tall and however much of l it hides from the camera, drops beside it.

    Args:
        points: (P, S, 3) readings of each package, camera frame, metres. valid: (P, S). there: (P,) which packages have a face.
        point_area_m2: (P,) area that a reading stands for. faces: (P, 4, 4) centre of each upper face, x and y along its sides,
            z outward. size_m: (P, 2) sides. up: (3,) unit normal of the belt.
    """
    count, samples = valid.shape
    area_m2 = np.zeros((count, count))
    for low in range(count):
        T = faces[low]
        lean_x, lean_y, lean_z = 0.0, 0.0, 0.0  # up in the face's axes
        for k in range(3):
            lean_x, lean_y, lean_z = lean_x + T[k, 0] * up[k], lean_y + T[k, 1] * up[k], lean_z + T[k, 2] * up[k]
        slope_x, slope_y = lean_x / max(lean_z, _MIN_UPRIGHT), lean_y / max(lean_z, _MIN_UPRIGHT)
        reach_x, reach_y = size_m[low, 0] / 2 - _MARGIN_M, size_m[low, 1] / 2 - _MARGIN_M
        for u in range(count):
            if u == low or not (there[u] and there[low]):
                continue
            hits = 0
            for k in range(samples):
                x, y, z = points[u, k, 0] - T[0, 3], points[u, k, 1] - T[1, 3], points[u, k, 2] - T[2, 3]
                rise = x * T[0, 2] + y * T[1, 2] + z * T[2, 2]
                if (rise > _MIN_RISE_M and valid[u, k]
                        and abs(x * T[0, 0] + y * T[1, 0] + z * T[2, 0] - rise * slope_x) < reach_x
                        and abs(x * T[0, 1] + y * T[1, 1] + z * T[2, 1] - rise * slope_y) < reach_y):
                    hits += 1
            if hits >= _MIN_POINTS:
                area_m2[u, low] = hits * point_area_m2[u]
    return area_m2


def covers(area_m2: F64, labels: Sequence[int], least_m2: float | F64 = MIN_AREA_M2) -> dict[int, tuple[int, ...]]:
    """{label: labels of what lies on top of it}, without circles.

    Args:
        area_m2: (P, P) from `overlaps`. labels: of the P packages. least_m2: what counts at all, one for all or (P, P).

    Of two that seem to lie on each other the one with more area above the other is on top; a longer circle is opened where the
    evidence is least.
    """
    on_top = (area_m2 >= least_m2) & (area_m2 > area_m2.T)
    above: dict[int, set[int]] = {}

    def rests_on(upper: int, lower: int) -> bool:
        return upper in above.get(lower, ()) or any(rests_on(upper, middle) for middle in above.get(lower, ()))

    uppers, lowers = np.nonzero(on_top)
    order = np.argsort(-area_m2[on_top], kind="stable")
    for u, low in zip(uppers[order].tolist(), lowers[order].tolist(), strict=True):
        if not rests_on(low, u):
            above.setdefault(low, set()).add(u)
    return {labels[low]: tuple(sorted(labels[u] for u in upper)) for low, upper in sorted(above.items())}


def pick_order(labels: Sequence[int], covered_by: Mapping[int, tuple[int, ...]], height_m: Mapping[int, float],
               area_m2: Mapping[int, float]) -> tuple[int, ...]:
    """Labels in the order in which they can be lifted off: nothing before what lies on it.

    Among those free at the same time the higher comes first, then the larger, then the smaller label. A circle (which `covers`
    never makes) is cut at the member with the fewest packages left on it.
    """
    ranked = sorted(labels, key=lambda label: (-round(height_m.get(label, 0.0), 3), -round(area_m2.get(label, 0.0), 6), label))
    rests_on: dict[int, list[int]] = {label: [] for label in ranked}
    left = dict.fromkeys(ranked, 0)
    for lower, uppers in covered_by.items():
        for upper in set(uppers):
            if lower in left and upper in left:
                left[lower] += 1
                rests_on[upper].append(lower)
    order = []
    while left:
        best = min(left, key=left.__getitem__)  # of equals the first
        order.append(best)
        del left[best]
        for lower in rests_on[best]:
            if lower in left:
                left[lower] -= 1
    return tuple(order)

"""Compiled loops that fit a plane to the readings under a disc and say how well they determine it."""

from __future__ import annotations

import math

from perception_node.compiled import compiled
from perception_node.types import F64


@compiled
def lower_median(values: F64, count: int) -> float:
    """The middle one of the first `count` values, of two the smaller; they are reordered.

    Source: C. A. R. Hoare, "Algorithm 65: find", Communications of the ACM 4(7), 1961.
    """
    wanted, low, high = (count - 1) // 2, 0, count - 1
    while low < high:
        pivot, i, j = values[wanted], low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if j < wanted:
            low = i
        if wanted < i:
            high = j
    return float(values[wanted])


@compiled
def solve_plane(a: F64, b: F64, h: F64, count: int, scale: float, plane: F64) -> None:
    """One round of re-weighting: the plane h = p0 a + p1 b + p2 through readings, drawn a little towards level where they are few
    or in a row.

    Args:
        a, b, h: (M,), of which the first `count` are readings. scale: 1 / distance beyond which a reading loses its weight.
        plane: (3,) of the last round; written unless the weights are next to nothing.
    """
    aa, ab, bb, ah, bh, sh, sa, sb, s = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    p0, p1, p2 = plane[0], plane[1], plane[2]
    for k in range(count):
        far = (h[k] - (p0 * a[k] + p1 * b[k] + p2)) * scale
        w = 1.0 / (1.0 + far * far)
        w *= w
        wa, wb = w * a[k], w * b[k]
        aa += wa * a[k]
        ab += wa * b[k]
        bb += wb * b[k]
        ah += wa * h[k]
        bh += wb * h[k]
        sh += w * h[k]
        sa += wa
        sb += wb
        s += w
    if not s > 1e-3:
        return
    ridge = 0.02 * (aa + bb + 1e-9)
    full = s + 1e-6
    # Eliminate the level, then two equations in two slopes are left; the ridge keeps them apart.
    caa, cab, cbb = aa + ridge - sa * sa / full, ab - sa * sb / full, bb + ridge - sb * sb / full
    cah, cbh = ah - sa * sh / full, bh - sb * sh / full
    determinant = max(caa * cbb - cab * cab, 1e-30)
    plane[0], plane[1] = (cah * cbb - cbh * cab) / determinant, (cbh * caa - cah * cab) / determinant
    plane[2] = (sh - plane[0] * sa - plane[1] * sb) / full


@compiled
def least_variance(points: F64) -> float:
    """Of (M, 2) points, in the direction in which they lie closest together."""
    a, b, aa, ab, bb = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(len(points)):
        a += points[k, 0]
        b += points[k, 1]
        aa += points[k, 0] * points[k, 0]
        ab += points[k, 0] * points[k, 1]
        bb += points[k, 1] * points[k, 1]
    count = len(points)
    aa, ab, bb = aa - a * a / count, ab - a * b / count, bb - b * b / count
    least = (aa + bb) / 2.0 - math.sqrt((aa - bb) * (aa - bb) / 4.0 + ab * ab)
    return max(least / count, 1e-18)


@compiled
def span_and_bend(a: F64, b: F64, h: F64, count: int, plane: F64) -> tuple[float, float]:
    """How well readings determine a plane, and whether there is one.

    Args:
        a, b, h, count, plane: as in `solve_plane`, of its last round.

    Returns:
        Variance of the readings along the plane in the direction in which they lie closest: seen from its edge, a surface gives a
        row of them. Radians between the plane and the one of least squares, in which far readings have their full say.
    """
    sa, sb, sf, aa, ab, bb, af, bf = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(count):
        far = h[k] - (plane[0] * a[k] + plane[1] * b[k] + plane[2])
        sa += a[k]
        sb += b[k]
        sf += far
        aa += a[k] * a[k]
        ab += a[k] * b[k]
        bb += b[k] * b[k]
        af += a[k] * far
        bf += b[k] * far
    safe = max(count, 1)
    aa, ab, bb = aa - sa * sa / safe, ab - sa * sb / safe, bb - sb * sb / safe
    af, bf = af - sa * sf / safe, bf - sb * sf / safe
    closest = (aa + bb) / 2.0 - math.sqrt((aa - bb) * (aa - bb) / 4.0 + ab * ab)
    ridge = 0.02 * (aa + bb + 1e-9)
    determinant = (aa + ridge) * (bb + ridge) - ab * ab
    p, q = plane[0] + (af * (bb + ridge) - bf * ab) / determinant, plane[1] + (bf * (aa + ridge) - af * ab) / determinant
    lengths = (1.0 + plane[0] * plane[0] + plane[1] * plane[1]) * (1.0 + p * p + q * q)
    cosine = (1.0 + plane[0] * p + plane[1] * q) / math.sqrt(lengths)
    return max(closest, 0.0) / safe, math.acos(min(max(cosine, -1.0), 1.0))

"""Orientation of boxes over time: a box looks the same from several sides, a track must not flip between them."""

from __future__ import annotations

import numpy as np

from perception_node.types import F64

_SQUARE = 1.15
"""Below this ratio of length to width, length and width may be swapped by noise."""


def align_pose(measured: F64, previous: F64, size_m: tuple[float, float, float]) -> F64:
    """The equivalent of a box's pose that is turned least against the previous one: half turns about z for all boxes, quarter
    turns for those that are nearly square."""
    square = size_m[0] <= _SQUARE * max(size_m[1], 1e-6)
    best, most = measured, -np.inf
    for quarter in range(4) if square else (0, 2):
        cosine, sine = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[quarter]
        turned = measured.copy()
        turned[:3, 0] = cosine * measured[:3, 0] + sine * measured[:3, 1]
        turned[:3, 1] = -sine * measured[:3, 0] + cosine * measured[:3, 1]
        likeness = float(np.sum(turned[:3, :3] * previous[:3, :3]))
        if likeness > most + 1e-9:
            best, most = turned, likeness
    return best


def blend_pose(previous: F64, measured: F64, trust: float) -> F64:
    """A pose between two: rotation by the chordal mean, `trust` in 0..1 for the measured one; position of the measured one.

    Source: F. Moakher, "Means and averaging in the group of rotations", SIAM J. Matrix Anal. 24(1), 2002.
    """
    u, _, vt = np.linalg.svd((1 - trust) * previous[:3, :3] + trust * measured[:3, :3])
    blended = measured.copy()
    blended[:3, :3] = u @ np.diag([1.0, 1.0, float(np.linalg.det(u @ vt))]) @ vt
    return blended

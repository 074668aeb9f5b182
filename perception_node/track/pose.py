"""Orientation of boxes over time: a box looks the same from several sides, a track must not flip between them."""

from __future__ import annotations

from perception_node.geometry import frame_from_axes
from perception_node.types import F64

_SQUARE = 1.15
"""Below this ratio of length to width, length and width may be swapped by noise."""


def align_pose(measured: F64, previous: F64, size_m: tuple[float, float, float]) -> F64:
    """The equivalent of a box's pose that is turned least against the previous one: half turns about z for all boxes, quarter
    turns for those that are nearly square."""
    x, y = measured[:3, 0], measured[:3, 1]
    straight = float(x @ previous[:3, 0] + y @ previous[:3, 1])
    quarter = float(y @ previous[:3, 0] - x @ previous[:3, 1])
    aligned = measured.copy()
    if size_m[0] <= _SQUARE * max(size_m[1], 1e-6) and abs(quarter) > abs(straight) + 1e-9:
        sign = 1.0 if quarter > 0 else -1.0
        aligned[:3, 0], aligned[:3, 1] = sign * y, -sign * x
    elif straight < 0:
        aligned[:3, 0], aligned[:3, 1] = -x, -y
    return aligned


def blend_pose(previous: F64, measured: F64, trust: float) -> F64:
    """A pose between two: axes mixed with `trust` in 0..1 for the measured ones and made orthogonal again, z first; position of
    the measured one. For the small turns between frames that is the mean rotation to second order."""
    mixed = (1 - trust) * previous[:3, :3] + trust * measured[:3, :3]
    if float(mixed[:, 2] @ measured[:3, 2]) < 0.1:  # opposite faces have no middle
        return measured.copy()
    return frame_from_axes(measured[:3, 3], mixed[:, 2], mixed[:, 0])

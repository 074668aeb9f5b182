"""What counts as a light of the beacon: limits of area, roundness and threshold, following range and picture.

Far away a light is a round spot of a few pixels; near the camera it saturates, blooms, and lens flare makes it a rectangle of
tens of pixels. Limits that fit the one refuse the other, so they are set anew for each picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Limits:
    """What a spot must be like.

    Attributes:
        area_px: smallest and largest area above the threshold, px^2.
        circularity: smallest 4 pi area / perimeter^2 (disc 1, square 0.79); judged from `_ROUND_FROM_PX` on.
        inertia: smallest ratio of the second moments along the short and the long axis (disc 1).
        level: threshold, as a share of the way from the background to the expected peak.
    """

    area_px: tuple[float, float]
    circularity: float
    inertia: float
    level: float


ANY = Limits(area_px=(3.0, 12_000.0), circularity=0.30, inertia=0.05, level=0.3)
"""For a search, when nothing is known about the range. 12,000 px^2 is a rectangle of 110 px: flare at 0.1 m."""

FIXED = Limits(area_px=(4.0, 150.0), circularity=0.75, inertia=0.4, level=0.5)
"""Limits that fit round spots from 3 m to 0.7 m, never changed: what the schedule is compared with (`perception bench beacon`)."""

_FAR, _NEAR = (0.60, 0.30), (0.30, 0.08)
"""(circularity, inertia) for spots of up to `_SMALL_PX` and from `_LARGE_PX` across. Source: square pixels and motion blur
lower the figures of true discs to 0.7 and 0.4; a flare of aspect 1.8 has 0.72 and 0.31, with a streak half of that."""
_SMALL_PX, _LARGE_PX = 6.0, 14.0
_AREA_FACTOR = 4.0
"""A light's area changes by less from one picture to the next. Source: flare that sets in doubles the diameter."""
_MIN_AREA_PX = 3.0
_LEVEL, _LEVEL_CLOSE_TOGETHER = 0.25, 0.6
"""Threshold, and the one that keeps neighbouring lights apart. Source: two equal Gaussian spots 3 sigma apart have a valley at
0.65 of the peak."""


def schedule(area_px: float, last_range_m: float, range_m: float, spacing_px: float) -> Limits:
    """Limits for the next picture.

    Args:
        area_px: median area of the beacon's spots in the last picture. last_range_m: range then. range_m: predicted range.
        spacing_px: predicted distance of the two nearest lights in the picture.
    """
    expected = max(area_px * (last_range_m / range_m) ** 2, _MIN_AREA_PX)
    across = 2.0 * np.sqrt(expected / np.pi)
    near = float(np.clip((across - _SMALL_PX) / (_LARGE_PX - _SMALL_PX), 0.0, 1.0))
    circularity, inertia = (far + near * (close - far) for far, close in zip(_FAR, _NEAR, strict=True))
    level = _LEVEL_CLOSE_TOGETHER if spacing_px < 2.0 * across + 4.0 else _LEVEL
    low = max(expected / _AREA_FACTOR, 2.0 if expected < 12.0 else _MIN_AREA_PX)
    return Limits((low, max(expected * _AREA_FACTOR, 20.0)), circularity, inertia, level)

"""What depth itself says against how the cell was set up: a wrong unit, a calibrated belt plane where no belt is, depth that is not
aligned to colour. Each makes every pose wrong without any message."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from perception_node.bag.alignment import Alignment
from perception_node.geometry import ray_image
from perception_node.types import F32, F64, CameraModel, Frame

NEAR_M, FAR_M = 0.1, 8.0
"""Plausible medians of depth above a belt. Source: judgement; a wrong unit is wrong by ten or a thousand, and from 8 m on a pixel
of a usual camera covers more than a centimetre."""

EVERY_NS = 500_000_000
"""Time between two looks, on the clock of the stamps: nothing of this comes and goes within a frame."""

LOOKS = 2
"""So many looks in a row must find the belt elsewhere: a hand in the view is none."""

_STRIDE = 8
_LEAST_POINTS = 300
_TOLERANCE_M = 0.015
"""Source: judgement; three times what stereo depth of a belt scatters at 1 m, less than any package's height that matters."""
_BELT_SHARE, _HARDLY_SHARE, _MOSTLY = 0.3, 0.1, 0.8
"""Share of the readings beside packages from which on they are a plane; below which hardly any lie on one; share of that plane's
readings which the calibrated one has at most where both cross. Source: judgement."""
_FLOOR_M = 0.1
"""No floor is nearer below a belt. Source: judgement; a belt's own frame is as high."""
_TILT_RAD = 0.035
"""Source: judgement; 2 degrees are 1 cm at the edge of a package 30 cm from where both planes cross."""
_STARTS_M = (0.1, 0.05, 0.03, _TOLERANCE_M)
"""Readings taken in by the fit, one after the other: 10 degrees of tilt are 8 cm at the picture's border 0.45 m away."""


class DepthCheck:
    """Looks at a camera's depth now and then. `unit`, `plane` and `alignment` are what it found, in words, "" = nothing."""

    def __init__(self) -> None:
        self.unit, self.plane, self._alignment = "", "", Alignment()
        self._last_ns: int | None = None
        self._against = 0

    @property
    def alignment(self) -> str:
        """Where depth fits the picture better than where it is."""
        return "" if self.unit else self._alignment.words

    def look(self, frame: Frame, labels: NDArray[np.uint16], plane: F64 | None) -> None:
        """Take a frame in; most are passed over.

        Args:
            frame: with depth or without. labels: (H, W), 0 = beside the packages. plane: (4,) the belt as calibrated, None =
                it is not.
        """
        last = self._last_ns
        if frame.depth_m is None or (last is not None and 0 <= frame.stamp_ns - last < EVERY_NS):
            return
        self._last_ns = frame.stamp_ns
        depth_m = frame.depth_m[::_STRIDE, ::_STRIDE]
        self.unit = unit_fault(depth_m)
        fault = "" if plane is None or self.unit else plane_fault(depth_m, labels[::_STRIDE, ::_STRIDE], frame.camera, plane)
        self._against = self._against + 1 if fault else 0
        self.plane = fault if self._against >= LOOKS else ""
        if not self.unit:
            self._alignment.look(frame, labels)


def metres(value: float) -> str:
    """Three digits, and never a power of ten from 1 up."""
    return f"{value:.3g}" if value < 100.0 else f"{value:.0f}"


def unit_fault(depth_m: F32) -> str:
    """Why the readings of a depth picture (metres, NaN = none) cannot be metres, "" = they can."""
    seen = depth_m[np.isfinite(depth_m)]
    median = float(np.median(seen)) if seen.size else 1.0
    if NEAR_M <= median <= FAR_M:
        return ""
    return (f"depth: its median is {metres(median)} m, expected {NEAR_M:g} to {FAR_M:g} m: 16UC1 must hold millimetres and 32FC1 "
            "metres (REP-118)")


def plane_fault(depth_m: F32, labels: NDArray[np.uint16], camera: CameraModel, plane: F64) -> str:
    """Why a calibrated belt plane is not the belt's, "" = it is, or nothing can be said.

    Another plane must hold the readings beside packages: where the calibrated one holds hardly any, or where both cross in sight
    at an angle. A floor beside a belt lies far below it, crosses nothing, and the packages are above the belt.

    Args:
        depth_m, labels: (H/8, W/8), every eighth row and column. camera: of the whole picture. plane: (4,), n.X + d = 0, n towards
            the camera.
    """
    usable = (labels == 0) & np.isfinite(depth_m)
    if np.count_nonzero(usable) < _LEAST_POINTS:
        return ""
    rays = ray_image(camera)[::_STRIDE, ::_STRIDE]
    z = depth_m[usable].astype(np.float64)
    lateral = np.column_stack([np.ones(len(z)), rays[usable].astype(np.float64) * z[:, None]])
    heights = lateral[:, 1:] @ plane[:2] + z * plane[2] + plane[3]
    near = float(np.mean(np.abs(heights) < _TOLERANCE_M))
    ordered = np.sort(heights)
    inside = np.searchsorted(ordered, ordered + 2 * _TOLERANCE_M) - np.arange(len(ordered))
    model = np.array([ordered[int(inside.argmax())] + _TOLERANCE_M, 0.0, 0.0])
    for reach_m in _STARTS_M:
        taken = np.abs(heights - lateral @ model) < reach_m
        if np.count_nonzero(taken) < _LEAST_POINTS // 3:
            return ""
        model = np.linalg.lstsq(lateral[taken], heights[taken], rcond=None)[0]
    on = np.abs(heights - lateral @ model) < _TOLERANCE_M
    found = float(np.mean(on))
    low, middle, high = np.percentile(heights[on], (10, 50, 90))
    normal = plane[:3] - np.array([model[1], model[2], 0.0])
    tilt_rad = math.acos(min(1.0, abs(float(normal @ plane[:3])) / float(np.linalg.norm(normal) * np.linalg.norm(plane[:3]))))
    crosses = low < -_TOLERANCE_M and high > _TOLERANCE_M
    elsewhere = near < min(_HARDLY_SHARE, found / 3.0)
    if found < _BELT_SHARE or not (elsewhere or (crosses and tilt_rad > _TILT_RAD and near < _MOSTLY * found)):
        return ""
    packages = (labels > 0) & np.isfinite(depth_m)
    if middle < -_FLOOR_M and packages.any():
        tops = depth_m[packages] * (rays[packages] @ plane[:2] + plane[2]) + plane[3]
        if float(np.median(tops)) > 0.0:
            return ""
    where = "above" if middle > 0 else "below"
    return (f"belt.plane is not where the belt is: {near:.0%} of the readings beside packages lie within "
            f"{1e3 * _TOLERANCE_M:.0f} mm of it, {found:.0%} on a plane {1e3 * abs(middle):.0f} mm {where} it and turned by "
            f"{math.degrees(tilt_rad):.1f} degrees: was the camera moved? calibrate it anew (docs/setup.md)")

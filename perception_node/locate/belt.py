"""The belt's plane: calibrated, or fitted to the depth around the packages."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled, steady
from perception_node.config import BeltConfig
from perception_node.geometry import plane_normal, ray_image
from perception_node.locate.runs import Runs
from perception_node.types import F32, F64, Frame

_SAMPLES = 1500
_HYPOTHESES = 64
_TOLERANCE_M = 0.006
"""Source: measured on shared stereo-like depth of a rubber belt at 1.1 m: 95 % of the errors are below 5.9 mm."""
_MIN_SUPPORT = 0.15
"""Share of the background that must lie on one plane before it is called a belt. Rails, floor and machinery take the rest."""
_MAX_TILT_COS = 0.5
"""A belt seen at more than 60 degrees from its normal cannot be picked from: such a plane is a wall."""
_SEED = 20_240_501
_PACKAGE_MARGIN_PX = 5
_POLISHED = 3
"""Least-squares fits: to the winner's support, then twice to what lies on the fit before."""


def calibrated_plane(belt: BeltConfig) -> F64 | None:
    """(4,) plane (nx, ny, nz, d) of the configuration in the camera frame, or None when it is all zero."""
    plane = np.array(belt.plane, dtype=np.float64)
    if not plane.any():
        return None
    plane /= np.linalg.norm(plane[:3])
    return plane


def fit_belt_plane(frame: Frame, runs: Runs) -> F64 | None:
    """Fit the belt to the depth of the background: the plane with most support, seeded and hence repeatable.

    Args:
        frame: with depth. runs: of the packages in it; the rest is background.

    Returns:
        (4,) (nx, ny, nz, d), n.X + d = 0 in the camera frame in metres, n towards the camera; None when no plane holds
        15 % of the background.

    Source: M. Fischler, R. Bolles, "Random sample consensus", CACM 24(6), 1981.
    """
    if frame.depth_m is None:
        return None
    points = _background_points(steady(frame.depth_m), runs.spans, ray_image(frame.camera))
    if len(points) < 50:
        return None
    plane = np.empty(4)
    found = _most_supported(points, _triples(len(points)), plane)
    return plane if found else None


@functools.lru_cache(maxsize=64)
def _triples(count: int) -> NDArray[np.int64]:
    """(_HYPOTHESES, 3) which of `count` points the planes go through; computed once, read-only."""
    return steady(np.random.default_rng(_SEED).integers(0, count, (_HYPOTHESES, 3)))


@compiled
def _background_points(depth_m: F32, spans: NDArray[np.int32], rays: F32) -> F64:
    """(N, 3) readings, spread evenly over all on every fourth pixel or so that is not within `_PACKAGE_MARGIN_PX` of a package.

    spans: of the packages, as in `Runs`.
    """
    height, width = depth_m.shape
    step = max(1, width // 160)
    near = np.zeros(((height + step - 1) // step, (width + step - 1) // step), np.bool_)
    for r in range(len(spans)):
        top, bottom = max(spans[r, 0] - _PACKAGE_MARGIN_PX, 0), spans[r, 0] + _PACKAGE_MARGIN_PX
        left, right = max(spans[r, 1] - _PACKAGE_MARGIN_PX, 0), spans[r, 2] + _PACKAGE_MARGIN_PX - 1
        for row in range((top + step - 1) // step, min(bottom // step + 1, near.shape[0])):
            near[row, (left + step - 1) // step:right // step + 1] = True
    usable = np.empty(near.size, np.int64)
    count = 0
    for row in range(near.shape[0]):
        for column in range(near.shape[1]):
            z = depth_m[row * step, column * step]
            if not near[row, column] and z > 0.0 and np.isfinite(z):
                usable[count] = row * step * width + column * step
                count += 1
    kept = min(count, _SAMPLES)
    apart = (count - 1) / (_SAMPLES - 1) if count > _SAMPLES else 1.0
    points = np.empty((kept, 3))
    for k in range(kept):
        at = usable[min(int(k * apart), count - 1)]
        v, u = at // width, at % width
        z = float(depth_m[v, u])
        points[k, 0], points[k, 1], points[k, 2] = rays[v, u, 0] * z, rays[v, u, 1] * z, z
    return points


@compiled
def _most_supported(points: F64, triples: NDArray[np.int64], plane: F64) -> bool:
    """The best of the planes through triples of points, refined by least squares. points: (N, 3). plane: (4,), written.

    Returns:
        Whether a plane is held up by enough points; else `plane` is undefined.
    """
    total = len(points)
    planes, support = np.empty((4, len(triples))), np.zeros(len(triples))
    count = 0
    for h in range(len(triples)):
        i, j, k = triples[h, 0], triples[h, 1], triples[h, 2]
        ax, ay, az = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1], points[j, 2] - points[i, 2]
        bx, by, bz = points[k, 0] - points[i, 0], points[k, 1] - points[i, 1], points[k, 2] - points[i, 2]
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        length = math.sqrt(nx * nx + ny * ny + nz * nz)
        if not length > 1e-9:
            continue
        scale = -1.0 / length if nz > 0 else 1.0 / length
        nx, ny, nz = nx * scale, ny * scale, nz * scale
        if -nz > _MAX_TILT_COS:
            planes[0, count], planes[1, count], planes[2, count] = nx, ny, nz
            planes[3, count] = -(nx * points[i, 0] + ny * points[i, 1] + nz * points[i, 2])
            count += 1
    if count == 0:
        return False
    for n in range(total):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        for h in range(count):
            away = (planes[0, h] * x + planes[1, h] * y + planes[2, h] * z + planes[3, h]) * (1.0 / _TOLERANCE_M)
            support[h] += max(1.0 - away * away, 0.0)
    best = np.argmax(support[:count])
    nx, ny, nz, d = planes[0, best], planes[1, best], planes[2, best], planes[3, best]
    for polish in range(_POLISHED):
        on, sx, sy, sz = 0, 0.0, 0.0, 0.0
        for n in range(total):
            x, y, z = points[n, 0], points[n, 1], points[n, 2]
            if abs(nx * x + ny * y + nz * z + d) < _TOLERANCE_M:
                on += 1
                sx, sy, sz = sx + x, sy + y, sz + z
        if (polish == 0 and on < _MIN_SUPPORT * total) or on < 3:
            return False
        sx, sy, sz = sx / on, sy / on, sz / on
        xx, xy, xz, yy, yz, zz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for n in range(total):
            x, y, z = points[n, 0], points[n, 1], points[n, 2]
            if abs(nx * x + ny * y + nz * z + d) < _TOLERANCE_M:
                x, y, z = x - sx, y - sy, z - sz
                xx, xy, xz, yy, yz, zz = xx + x * x, xy + x * y, xz + x * z, yy + y * y, yz + y * z, zz + z * z
        nx, ny, nz = plane_normal(xx, xy, xz, yy, yz, zz)
        if nz > 0:
            nx, ny, nz = -nx, -ny, -nz
        d = -(nx * sx + ny * sy + nz * sz)
    plane[0], plane[1], plane[2], plane[3] = nx, ny, nz, d
    return True

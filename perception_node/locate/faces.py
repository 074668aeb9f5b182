"""The upper face of every package at once: a robust plane through the depth of its mask."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled, steady
from perception_node.geometry import plane_normal
from perception_node.locate.runs import Runs
from perception_node.types import F32, F64

SAMPLES = 240
"""Depth readings looked at per package; more do not move the plane by a tenth of a millimetre."""
_JUDGED = 2
"""Planes are judged by every second reading and refined with all of them."""
_TRIPLES = 24
_LEVELS = 8
_SEED = 7
_MIN_READINGS = 12
_MIN_COS = 0.5
"""An upper face leans less than 60 degrees from the belt's normal; a steeper one is a side."""
FACE_TOLERANCE_M = {"box": 0.004, "padded_mailer": 0.008, "poly_bag": 0.010, "item": 0.008}
"""How far the points of an upper face lie from its plane. Source: four times the measured depth error (1 mm) of a stereo
camera at 1.1 m for rigid boxes; soft packages bulge by 1 cm, the tops of cans and
bottles nearly as much."""


@dataclass(frozen=True, eq=False)
class Masks:
    """Where the packages of a frame are.

    Attributes:
        labels: (H, W) uint16. rays: (H, W, 2) float32 x/z and y/z per pixel. Both contiguous and read-only. runs: of the labels.
        box: (P, 4) int64 x0, y0, x1, y1 of package p, whose label is p + 1, cut to the picture; x1, y1 exclusive.
        classes: P names. rigid: (P,) whether that is a box.
    """

    labels: NDArray[np.uint16]
    rays: F32
    runs: Runs
    box: NDArray[np.int64]
    classes: Sequence[str]
    rigid: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Faces:
    """Upper faces of P packages in the camera frame.

    Attributes:
        plane: (P, 4) unit normal towards the camera and offset in metres, n.X + d = 0.
        rms_m: (P,) of the face's readings. readings: (P,) how many of the samples lie on the face.
        valid_fraction: (P,) share of mask pixels with a reading. found: (P,) bool.
        points: (P, SAMPLES, 3) the samples in the camera frame, valid: (P, SAMPLES) which of them are. pixels: (P,) pixels of the
            mask that each sample stands for.
    """

    plane: F64
    rms_m: F64
    readings: NDArray[np.int64]
    valid_fraction: F64
    found: NDArray[np.bool_]
    points: F64
    valid: NDArray[np.bool_]
    pixels: F64


def fit_faces(masks: Masks, depth_m: F32, up: F64) -> Faces:
    """Fit each package's upper face: random triples and level planes compete, the best is refined by least squares.

    Args:
        masks: of P packages. depth_m: (H, W) metres, contiguous and read-only.
        up: (3,) unit normal of the belt (or of the picture plane when unknown), towards the camera.

    Source: preemptive choice by truncated quadratic cost (MSAC), P. Torr, A. Zisserman, CVIU 78(1), 2000.
    """
    count = len(masks.box)
    tolerance = np.array([FACE_TOLERANCE_M.get(name, 0.008) for name in masks.classes])
    plane, rms_m, pixels, fraction = np.zeros((count, 4)), np.zeros(count), np.ones(count), np.zeros(count)
    readings, found = np.zeros(count, np.int64), np.zeros(count, np.bool_)
    points, valid = np.zeros((count, SAMPLES, 3)), np.zeros((count, SAMPLES), np.bool_)
    _sample(masks.runs.spans, masks.runs.first, depth_m, masks.rays, points, valid, pixels, fraction)
    _fit(points, valid, tolerance, up, _draws(count), plane, rms_m, readings, found)
    return Faces(plane, rms_m, readings, fraction, found, points, valid, pixels)


@functools.lru_cache(maxsize=64)
def _draws(count: int) -> F64:
    """0..1: which readings the planes of so many packages go through; computed once, read-only."""
    return steady(np.random.default_rng(_SEED).random(count * (3 * _TRIPLES + _LEVELS)))


@compiled
def _sample(spans: NDArray[np.int32], first: NDArray[np.int64], depth_m: F32, rays: F32, points: F64, valid: NDArray[np.bool_],
            pixels: F64, fraction: F64) -> None:
    """Depth readings spread evenly over each mask; writes the last four as `Faces` names them (`fraction`: valid_fraction).

    spans, first: as in `Runs`; labels beyond the last one have no runs.
    """
    rows, columns = np.empty(SAMPLES, np.int64), np.empty(SAMPLES, np.int64)
    for p in range(min(len(points), len(first) - 1)):
        count = 0
        for r in range(first[p], first[p + 1]):
            count += spans[r, 2] - spans[r, 1]
        taken, read = min(count, SAMPLES), 0
        if count > SAMPLES:
            pixels[p] = count / SAMPLES
        at, passed = first[p], 0  # passed: the mask's pixels before this run
        for k in range(taken):
            wanted = k * (count - 1) // (SAMPLES - 1) if count > SAMPLES else k
            while passed + spans[at, 2] - spans[at, 1] <= wanted:
                passed += spans[at, 2] - spans[at, 1]
                at += 1
            rows[k], columns[k] = spans[at, 0], spans[at, 1] + wanted - passed
        for k in range(taken):
            v, u = rows[k], columns[k]
            z = float(depth_m[v, u])
            if z > 0.0 and np.isfinite(z):
                points[p, k, 0], points[p, k, 1], points[p, k, 2] = rays[v, u, 0] * z, rays[v, u, 1] * z, z
                valid[p, k] = True
                read += 1
        fraction[p] = read / max(taken, 1)


@compiled
def _fit(points: F64, valid: NDArray[np.bool_], tolerance: F64, up: F64, draws: F64, plane: F64, rms_m: F64,
         on_face: NDArray[np.int64], found: NDArray[np.bool_]) -> None:
    """A plane through each package's valid points; writes the last four as `Faces` names them (`on_face`: readings).

    draws: (P * (3 * _TRIPLES + _LEVELS),) 0..1: which readings the planes go through.
    """
    count = len(points)
    total = _TRIPLES + _LEVELS
    seen, near = np.empty((SAMPLES, 3)), np.empty(SAMPLES, np.int64)
    tried, support = np.empty((4, total)), np.empty(total)
    for p in range(count):
        readings = 0
        for k in range(SAMPLES):
            if valid[p, k]:
                seen[readings] = points[p, k]
                readings += 1
        nx, ny, nz, d = up[0], up[1], up[2], 0.0
        for h in range(total if readings > 0 else 0):
            first = p * _TRIPLES + h if h < _TRIPLES else 3 * count * _TRIPLES + p * _LEVELS + h - _TRIPLES
            i = int(draws[first] * readings)
            x, y, z = up[0], up[1], up[2]
            if h < _TRIPLES:
                j, k = int(draws[first + count * _TRIPLES] * readings), int(draws[first + 2 * count * _TRIPLES] * readings)
                ax, ay, az = seen[j, 0] - seen[i, 0], seen[j, 1] - seen[i, 1], seen[j, 2] - seen[i, 2]
                bx, by, bz = seen[k, 0] - seen[i, 0], seen[k, 1] - seen[i, 1], seen[k, 2] - seen[i, 2]
                cx, cy, cz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
                length = math.sqrt(cx * cx + cy * cy + cz * cz)
                if length > 1e-9:
                    if cx * up[0] + cy * up[1] + cz * up[2] < 0.0:
                        length = -length
                    x, y, z = cx / length, cy / length, cz / length
            tried[0, h], tried[1, h], tried[2, h] = x, y, z
            tried[3, h] = -(x * seen[i, 0] + y * seen[i, 1] + z * seen[i, 2])
        support[:] = 0.0
        per_tolerance = 1.0 / tolerance[p]
        for k in range(0, SAMPLES, _JUDGED):
            if valid[p, k]:
                x, y, z = points[p, k, 0], points[p, k, 1], points[p, k, 2]
                for h in range(total):
                    away = (tried[0, h] * x + tried[1, h] * y + tried[2, h] * z + tried[3, h]) * per_tolerance
                    support[h] += max(1.0 - away * away, 0.0)
        best = -1.0
        for h in range(total if readings > 0 else 0):
            upright = tried[0, h] * up[0] + tried[1, h] * up[1] + tried[2, h] * up[2]
            worth = support[h] * (0.5 + 0.5 * upright) if upright > _MIN_COS else 0.0
            if worth > best:
                best = worth
                nx, ny, nz, d = tried[0, h], tried[1, h], tried[2, h], tried[3, h]
        on, squares = 0, 0.0
        for reach in (1.5 * tolerance[p], tolerance[p], tolerance[p]):
            on, sx, sy, sz = 0, 0.0, 0.0, 0.0
            for k in range(readings):
                x, y, z = seen[k, 0], seen[k, 1], seen[k, 2]
                if abs(nx * x + ny * y + nz * z + d) < reach:
                    near[on] = k
                    on += 1
                    sx, sy, sz = sx + x, sy + y, sz + z
            sx, sy, sz = sx / max(on, 1), sy / max(on, 1), sz / max(on, 1)
            xx, xy, xz, yy, yz, zz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for n in range(on):
                x, y, z = seen[near[n], 0] - sx, seen[near[n], 1] - sy, seen[near[n], 2] - sz
                xx, xy, xz, yy, yz, zz = xx + x * x, xy + x * y, xz + x * z, yy + y * y, yz + y * z, zz + z * z
            if on >= _MIN_READINGS:
                x, y, z = plane_normal(xx, xy, xz, yy, yz, zz)
                if x * nx + y * ny + z * nz < 0.0:
                    x, y, z = -x, -y, -z
                nx, ny, nz, d = x, y, z, -(x * sx + y * sy + z * sz)
            squares = (nx * nx * xx + ny * ny * yy + nz * nz * zz + 2.0 * (nx * ny * xy + nx * nz * xz + ny * nz * yz)
                       + on * (nx * sx + ny * sy + nz * sz + d) ** 2)
        plane[p, 0], plane[p, 1], plane[p, 2], plane[p, 3] = nx, ny, nz, d
        rms_m[p] = math.sqrt(max(squares, 0.0) / max(on, 1))
        on_face[p] = on
        found[p] = readings >= _MIN_READINGS and on >= _MIN_READINGS

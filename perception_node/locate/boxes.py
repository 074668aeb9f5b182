"""From an upper face and a mask to an oriented box: length, width, height, pose and an honest covariance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled, steady
from perception_node.locate.faces import FACE_TOLERANCE_M, Masks
from perception_node.types import F32, F64

_MIN_SIDE_M = 0.005
_GRAZING = 0.05
"""Least cosine between a viewing ray and a face's normal at which their meeting point means anything."""
_ROWS = 24
"""Rows of a mask that are looked at, first and last among them: some hundred ends make up for the corners between them."""
_SPARSE = 0.6
"""Below this share of valid readings, pixels without a reading count as part of the face: bags lose half of theirs."""
_EDGE_PX = 1.0
"""Uncertainty of a mask's edge in pixels (one sigma). Source: simulated belts with true masks, 95 % of box centres along and across
their faces are within two of these sigmas."""
_DEPTH_SIGMA_M = 0.001
"""Common depth error of one package. Source: measured bias of stereo-like depth at 1.1 m, below 1 mm for 95 % of packages."""
UNKNOWN_HEIGHT_SIGMA = 0.2887
"""One sigma of a height of which only the range is known, as a share of that range: 1/sqrt(12), uniform."""
_NO_DEPTH = steady(np.empty((0, 0), np.float32))
_RIGID_REACH_M = np.float32(FACE_TOLERANCE_M["box"])


@dataclass(frozen=True, eq=False)
class FaceBoxes:
    """Rectangles in space round the visible parts of P upper faces.

    Attributes:
        T: (P, 4, 4) camera frame: origin = centre, x along the length, to the right of the picture or down it, z outward.
        side_m: (P, 2) length >= width. fill: (P,) share of the rectangle that is seen. pixel_m: (P,) size of a pixel there.
        there: (P,) False where nothing of a mask lies on its plane; the rest is undefined there.
    """

    T: F64
    side_m: F64
    fill: F64
    pixel_m: F64
    there: NDArray[np.bool_]


def face_boxes(masks: Masks, wanted: NDArray[np.bool_], depth_m: F32 | None, plane: F64, valid_fraction: F64,
               focal_px: float) -> FaceBoxes:
    """The smallest rectangle, in each face's plane, round the face's pixels.

    Rigid packages: the pixels whose reading lies on the plane, cast onto it along their rays (so that depth noise does not
    widen the box). Soft ones: all readings, dropped onto the plane along its normal. The hull of a mask is the hull of its rows'
    ends.

    Args:
        masks: of P packages. wanted: (P,) which of them. depth_m: (H, W) metres, contiguous and read-only, or None.
        plane: (P, 4) of the faces. valid_fraction: (P,) share of a mask with a depth reading. focal_px: for the size of a pixel.
    """
    count = len(masks.box)
    ends, number, range_m = np.empty((count, 2 * _ROWS, 2), np.float32), np.zeros(count, np.int64), np.ones(count)
    seen_px, basis = np.zeros(count), np.empty((count, 3, 3))
    _row_ends(masks.runs.spans, masks.runs.first, masks.box, _NO_DEPTH if depth_m is None else depth_m, masks.rays, wanted,
              masks.rigid, plane, valid_fraction, ends, number, range_m, seen_px, basis)
    rectangle = np.zeros((count, 5))
    there = number > 0
    for p in np.flatnonzero(there).tolist():
        (u, v), (side_u, side_v), angle = cv2.minAreaRect(ends[p, :number[p]])
        rectangle[p] = u, v, side_u, side_v, angle
    T, side_m, fill, pixel_m = np.zeros((count, 4, 4)), np.zeros((count, 2)), np.zeros(count), np.ones(count)
    _place(rectangle, there, range_m, seen_px, basis, plane, focal_px, T, side_m, fill, pixel_m)
    return FaceBoxes(T, side_m, fill, pixel_m, there)


@compiled
def _on_face(z: np.float32, x: np.float32, y: np.float32, nx: np.float32, ny: np.float32, nz: np.float32, d: np.float32,
             reach: np.float32, unread_too: np.bool_) -> np.bool_:
    """Whether a reading z along the ray (x, y, 1) lies on a plane, or may, for want of a reading."""
    return (abs((x * nx + y * ny + nz) * z + d) < reach) | (unread_too & (not z > 0.0))  # without branches


@compiled
def _row_ends(spans: NDArray[np.int32], first_run: NDArray[np.int64], box: NDArray[np.int64], depth_m: F32, rays: F32,
              wanted: NDArray[np.bool_], rigid: NDArray[np.bool_], plane: F64, valid_fraction: F64, ends: F32,
              number: NDArray[np.int64], range_m: F64, seen_px: F64, basis: F64) -> None:
    """First and last pixel on the face in some rows of each mask, on the face's plane.

    Args:
        spans, first_run: as in `Runs`. box, depth_m (empty = none), rays, wanted, rigid, plane, valid_fraction: as for
            `face_boxes`.
        ends: (P, 2 * _ROWS, 2) float32 metres along the plane's axes, written up to `number` (P,). range_m: (P,) their middle
            depth. seen_px: (P,) pixels on the face. basis: (P, 3, 3) the plane's axes as columns: to the picture's right (down it,
            where that is the normal), across, outward. All written, except where there is no end.
    """
    depths = np.empty(2 * _ROWS)
    blind = depth_m.size == 0
    for p in range(min(len(box), len(first_run) - 1)):
        if not wanted[p]:
            continue
        nx, ny, nz, d = plane[p, 0], plane[p, 1], plane[p, 2], plane[p, 3]
        hx, hy = (1.0, 0.0) if abs(nx) < 0.9 else (0.0, 1.0)
        lean = hx * nx + hy * ny
        ax, ay, az = hx - nx * lean, hy - ny * lean, -nz * lean
        length = math.sqrt(ax * ax + ay * ay + az * az)
        ax, ay, az = ax / length, ay / length, az / length
        bx, by, bz = ny * az - nz * ay, nz * ax - nx * az, nx * ay - ny * ax
        basis[p, 0, 0], basis[p, 1, 0], basis[p, 2, 0] = ax, ay, az
        basis[p, 0, 1], basis[p, 1, 1], basis[p, 2, 1] = bx, by, bz
        basis[p, 0, 2], basis[p, 1, 2], basis[p, 2, 2] = nx, ny, nz
        fx, fy, fz, fd = np.float32(nx), np.float32(ny), np.float32(nz), np.float32(d)
        unread_too = np.bool_(not rigid[p] or valid_fraction[p] < _SPARSE)
        reach = _RIGID_REACH_M if rigid[p] else np.float32(np.inf)
        top, height = box[p, 1], max(box[p, 3] - box[p, 1], 0)
        rows, seen, count, run = min(height, _ROWS), 0, 0, first_run[p]
        for row in range(rows):
            v = top + (row if height <= _ROWS else row * (height - 1) // (_ROWS - 1))
            first, last = -1, -1
            while run < first_run[p + 1] and spans[run, 0] <= v:
                start, end = spans[run, 1], spans[run, 2]
                on = end - start if spans[run, 0] == v else 0
                run += 1
                if on > 0 and not blind:
                    on = 0
                    for u in range(start, end):
                        on += _on_face(depth_m[v, u], rays[v, u, 0], rays[v, u, 1], fx, fy, fz, fd, reach, unread_too)
                    while on > 0 and not _on_face(depth_m[v, start], rays[v, start, 0], rays[v, start, 1], fx, fy, fz, fd, reach,
                                                  unread_too):
                        start += 1
                    while on > 0 and not _on_face(depth_m[v, end - 1], rays[v, end - 1, 0], rays[v, end - 1, 1], fx, fy, fz, fd,
                                                  reach, unread_too):
                        end -= 1
                if on > 0:
                    first, last = start if first < 0 else first, end - 1
                    seen += on
            if first < 0:
                continue
            for u in (first, last):
                x, y = float(rays[v, u, 0]), float(rays[v, u, 1])
                along = x * nx + y * ny + nz
                scale = -d / along if along < -_GRAZING else 0.0
                if not blind and not rigid[p] and depth_m[v, u] > 0.0:
                    scale = float(depth_m[v, u])
                if scale > 0.0:
                    ends[p, count, 0] = (x * ax + y * ay + az) * scale
                    ends[p, count, 1] = (x * bx + y * by + bz) * scale
                    at = count
                    while at > 0 and depths[at - 1] > scale:  # kept in order, for the middle one
                        depths[at] = depths[at - 1]
                        at -= 1
                    depths[at] = scale
                    count += 1
        number[p] = count
        if count > 0:
            range_m[p] = depths[count // 2]
            seen_px[p] = seen * height / rows


@compiled
def _place(rectangle: F64, there: NDArray[np.bool_], range_m: F64, seen_px: F64, basis: F64, plane: F64, focal_px: float, T: F64,
           side_m: F64, fill: F64, pixel_m: F64) -> None:
    """Rectangles of planes as `FaceBoxes`, whose T, side_m, fill and pixel_m are written.

    rectangle: (P, 5) centre, sides in metres and the first one's turn in degrees, along the axes of `basis`.
    """
    for p in range(len(rectangle)):
        if not there[p]:
            continue
        turn = math.radians(rectangle[p, 4])
        c, s = math.cos(turn), math.sin(turn)
        long, short = rectangle[p, 2], rectangle[p, 3]
        if long < short:
            long, short, c, s = short, long, -s, c
        pixel = range_m[p] / focal_px
        lead = 0  # the length's largest component points to the right, or down
        for k in range(3):
            T[p, k, 0] = c * basis[p, k, 0] + s * basis[p, k, 1]
            T[p, k, 1] = c * basis[p, k, 1] - s * basis[p, k, 0]
            T[p, k, 2] = basis[p, k, 2]
            T[p, k, 3] = rectangle[p, 0] * basis[p, k, 0] + rectangle[p, 1] * basis[p, k, 1] - plane[p, 3] * basis[p, k, 2]
            if abs(T[p, k, 0]) > abs(T[p, lead, 0]):
                lead = k
        T[p, 3, 3] = 1.0
        if T[p, lead, 0] < 0.0:
            for k in range(3):
                T[p, k, 0], T[p, k, 1] = -T[p, k, 0], -T[p, k, 1]
        long, short = max(long + pixel, _MIN_SIDE_M), max(short + pixel, _MIN_SIDE_M)
        x, y, z = T[p, 0, 3], T[p, 1, 3], T[p, 2, 3]
        facing = -(x * plane[p, 0] + y * plane[p, 1] + z * plane[p, 2]) / max(math.sqrt(x * x + y * y + z * z), 1e-9)
        side_m[p, 0], side_m[p, 1], pixel_m[p] = long, short, pixel
        fill[p] = min(max(seen_px[p] * pixel * pixel / max(facing, 0.2) / (long * short), 0.0), 1.0)


def box_poses(boxes: FaceBoxes, height_m: F64) -> F64:
    """(P, 4, 4) T_cam_package of boxes `height_m` (P,) high below their faces."""
    T = boxes.T.copy()
    T[:, :3, 3] -= T[:, :3, 2] * (height_m[:, None] / 2)
    return T


@compiled
def box_covariances(T: F64, side_m: F64, pixel_m: F64, rms_m: F64, readings: NDArray[np.int64], height_sigma_m: F64,
                    hidden: F64) -> F64:
    """(P, 6, 6) covariance of each box's pose in the camera frame.

    Args:
        T: (P, 4, 4) T_cam_package. side_m: (P, 2). pixel_m: (P,) size of a pixel there. rms_m, readings: (P,) of the plane fit.
        height_sigma_m: (P,) of the box's height. hidden: (P,) 0..1, share of the face that may be out of sight; the centre may
            then lie up to that share of a side away.

    Source: plane through n points with scatter s on a uniform rectangle a x b: sigma_tilt = s / sqrt(n) * sqrt(12) / side; sides
    from the edges' uncertainty; readings of one camera are correlated, so n is capped at 30.
    """
    covariance = np.zeros((len(T), 6, 6))
    variance = np.empty(6)
    for p in range(len(T)):
        n = min(max(readings[p], 3), 30)
        sigma = math.hypot(rms_m[p], _DEPTH_SIGMA_M)
        edge = _EDGE_PX * pixel_m[p]
        length, width = max(side_m[p, 0], _MIN_SIDE_M), max(side_m[p, 1], _MIN_SIDE_M)
        tilt = sigma / math.sqrt(n) * math.sqrt(12.0)
        variance[0] = edge**2 + (hidden[p] * length / 2) ** 2
        variance[1] = edge**2 + (hidden[p] * width / 2) ** 2
        variance[2] = sigma**2 / n + _DEPTH_SIGMA_M**2 + (height_sigma_m[p] / 2) ** 2
        variance[3] = min(tilt / width, 0.5) ** 2
        variance[4] = min(tilt / length, 0.5) ** 2
        variance[5] = min(edge * math.sqrt(2.0) / length + 0.5 * hidden[p], 0.8) ** 2
        for part in (0, 3):
            for i in range(3):
                for j in range(i, 3):
                    total = 0.0
                    for k in range(3):
                        total += T[p, i, k] * variance[part + k] * T[p, j, k]
                    covariance[p, part + i, part + j] = covariance[p, part + j, part + i] = total
    return covariance

"""From an upper face and a mask to an oriented box: length, width, height, pose and an honest covariance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.locate.faces import FACE_TOLERANCE_M, Mask
from perception_node.types import F32, F64

_MIN_SIDE_M = 0.005
_GRAZING = 0.05
"""Least cosine between a viewing ray and a face's normal at which their meeting point means anything."""
_RIGHT = np.array([1.0, 0.0, 0.0])
_DOWN = np.array([0.0, 1.0, 0.0])
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


@dataclass(frozen=True, eq=False)
class FaceBox:
    """A rectangle in space round the visible part of an upper face.

    Attributes:
        centre: (3,) in the camera frame. axes: (3, 3), columns length, width, outward normal.
        length_m, width_m: sides, length >= width. fill: share of the rectangle that is seen. pixel_m: size of a pixel there.
    """

    centre: F64
    axes: F64
    length_m: float
    width_m: float
    fill: float
    pixel_m: float


def face_boxes(masks: Sequence[Mask], rays: F32, depth_m: F32 | None, normal: F64, offset: F64, classes: Sequence[str],
               focal_px: float, valid_fraction: F64) -> list[FaceBox | None]:
    """The smallest rectangle, in each face's plane, round the face's pixels.

    Rigid packages: the pixels whose reading lies on the plane, cast onto it along their rays (so that depth noise does not
    widen the box). Soft ones: all readings, dropped onto the plane along its normal. The hull of a mask is the hull of its rows'
    ends: all rows of all masks are looked at together.

    Args:
        masks: of P packages. rays: (H, W, 2). depth_m: (H, W) metres or None. normal: (P, 3), offset: (P,) of the faces' planes.
        classes: (P,) names. focal_px: for the size of a pixel. valid_fraction: (P,) share of a mask with a depth reading.

    Returns:
        P rectangles, None where nothing of a mask lies on the plane.
    """
    if not masks:
        return []
    rows = _rows_of(masks, rays.shape[1])
    rigid = np.array([name == "box" for name in classes], dtype=bool)
    inside, pixel = rows.inside, rows.pixel
    if depth_m is not None:
        rows = _on_faces(rows, rays, depth_m, normal, offset, rigid, valid_fraction)
        inside, pixel = rows.inside, rows.pixel
    if len(pixel) == 0:
        return [None] * len(masks)
    new_row = np.flatnonzero(np.diff(inside, prepend=-1))
    ends = np.column_stack([new_row, np.append(new_row[1:], len(inside)) - 1]).ravel()
    owner = rows.owner[inside[ends]]
    ray = np.ones((len(ends), 3))
    ray[:, :2] = rays.reshape(-1, 2)[pixel[ends]]
    along = np.einsum("ni,ni->n", ray, normal[owner])
    scale = -offset[owner] / np.where(along < -_GRAZING, along, np.nan)
    if depth_m is not None:
        reading = depth_m.ravel()[pixel[ends]]
        scale = np.where(~rigid[owner] & (reading > 0), reading, scale)
    good = scale > 0
    owner, scale = owner[good], scale[good]
    basis = _bases(normal)
    flat = (np.einsum("ni,nij->nj", ray[good], basis[owner, :, :2]) * scale[:, None]).astype(np.float32)
    seen = np.bincount(rows.owner[inside], minlength=len(masks)) / rows.share
    part = np.searchsorted(owner, np.arange(len(masks) + 1)).tolist()
    return [_rectangle(flat[a:b], scale[a:b], basis[i], float(offset[i]), float(seen[i]), focal_px) if b > a else None
            for i, (a, b) in enumerate(pairwise(part))]


def _bases(normal: F64) -> F64:
    """(P, 3, 3) axes of P planes as columns: to the picture's right (down it, where that is the normal), across, outward."""
    hint = np.where(np.abs(normal[:, :1]) < 0.9, _RIGHT, _DOWN)
    x = hint - normal * np.einsum("pi,pi->p", hint, normal)[:, None]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.stack([x, np.cross(normal, x), normal], axis=2)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Pixels of P masks in some of their rows.

    Attributes:
        pixel: (N,) index into the picture, row by row. inside: (N,) number of the row it is in. owner: (R,) package of each row.
        share: (P,) part of the mask's rows that is looked at.
    """

    pixel: NDArray[np.intp]
    inside: NDArray[np.intp]
    owner: NDArray[np.intp]
    share: F64


def _rows_of(masks: Sequence[Mask], width: int) -> _Rows:
    pixels, insides, owners, share = [], [], [], np.ones(len(masks))
    before = 0
    for i, mask in enumerate(masks):
        height = mask.inside.shape[0]
        looked_at = np.arange(height) if height <= _ROWS else np.arange(_ROWS) * (height - 1) // (_ROWS - 1)
        share[i] = len(looked_at) / max(height, 1)
        row, column = np.nonzero(mask.inside[looked_at])
        pixels.append(((looked_at + mask.corner[1]) * width + mask.corner[0])[row] + column)
        insides.append(row + before)
        owners.append(np.full(len(looked_at), i))
        before += len(looked_at)
    return _Rows(np.concatenate(pixels), np.concatenate(insides), np.concatenate(owners), share)


def _on_faces(rows: _Rows, rays: F32, depth_m: F32, normal: F64, offset: F64, rigid: NDArray[np.bool_],
              valid_fraction: F64) -> _Rows:
    """The pixels that lie on their package's face; of soft packages and of unread pixels of bad readings, all."""
    lengths = np.bincount(rows.inside, minlength=len(rows.owner))
    plane = np.column_stack([normal, offset]).astype(np.float32)[rows.owner]
    ray, z = rays.reshape(-1, 2)[rows.pixel], depth_m.ravel()[rows.pixel]
    distance = ray[:, 0] * np.repeat(plane[:, 0], lengths)
    distance += ray[:, 1] * np.repeat(plane[:, 1], lengths)
    distance += np.repeat(plane[:, 2], lengths)
    distance *= z
    distance += np.repeat(plane[:, 3], lengths)
    reach = np.where(rigid, np.float32(FACE_TOLERANCE_M["box"]), np.float32(np.inf))[rows.owner]
    kept = np.abs(distance, out=distance) < np.repeat(reach, lengths)
    kept |= np.repeat((~rigid | (valid_fraction < _SPARSE))[rows.owner], lengths) & ~(z > 0)
    return _Rows(rows.pixel[kept], rows.inside[kept], rows.owner, rows.share)


def _rectangle(points: F32, scale: F64, basis: F64, offset: float, seen_px: float, focal_px: float) -> FaceBox:
    """The smallest rectangle round (N, 2) points of a plane. scale: (N,) their depths. basis: (3, 3) the plane's axes. offset: of
    the plane. seen_px: pixels on the face."""
    x, y, normal = basis.T
    (cu, cv), (side_u, side_v), angle = cv2.minAreaRect(points)
    turn = math.radians(angle)
    axis_u = math.cos(turn) * x + math.sin(turn) * y
    axis_v = -math.sin(turn) * x + math.cos(turn) * y
    if side_u < side_v:
        side_u, side_v, axis_u, axis_v = side_v, side_u, axis_v, -axis_u
    pixel = float(np.partition(scale, len(scale) // 2)[len(scale) // 2]) / focal_px
    length, breadth = max(side_u + pixel, _MIN_SIDE_M), max(side_v + pixel, _MIN_SIDE_M)
    centre = cu * x + cv * y - normal * offset
    facing = -float(normal @ centre) / max(math.sqrt(float(centre @ centre)), 1e-9)
    fill = min(max(seen_px * pixel**2 / max(facing, 0.2) / (length * breadth), 0.0), 1.0)
    return FaceBox(centre, np.column_stack([axis_u, axis_v, normal]), length, breadth, fill, pixel)


def box_pose(face: FaceBox, height_m: float) -> F64:
    """(4, 4) T_cam_package of a box `height_m` high below the face; x points to the right of the picture, or down it."""
    x, y, z = face.axes.T
    lead = int(np.argmax(np.abs(x)))
    if x[lead] < 0:
        x, y = -x, -y
    T = np.eye(4)
    T[:3, 0], T[:3, 1], T[:3, 2] = x, y, z
    T[:3, 3] = face.centre - z * (height_m / 2)
    return T


def box_covariance(face: FaceBox, pose: F64, rms_m: float, readings: int, height_sigma_m: float, hidden: float) -> F64:
    """(6, 6) covariance of a box's pose in the camera frame.

    Args:
        face: the rectangle. pose: T_cam_package. rms_m, readings: of the plane fit. height_sigma_m: of the box's height.
        hidden: 0..1, share of the face that may be out of sight; the centre may then lie up to that share of a side away.

    Source: plane through n points with scatter s on a uniform rectangle a x b: sigma_tilt = s / sqrt(n) * sqrt(12) / side; sides
    from the edges' uncertainty; readings of one camera are correlated, so n is capped at 30.
    """
    n = min(max(readings, 3), 30)
    sigma = math.hypot(rms_m, _DEPTH_SIGMA_M)
    edge = _EDGE_PX * face.pixel_m
    along = math.hypot(edge, hidden * face.length_m / 2)
    across = math.hypot(edge, hidden * face.width_m / 2)
    up = math.sqrt(sigma**2 / n + _DEPTH_SIGMA_M**2 + (height_sigma_m / 2) ** 2)
    tilt = sigma / math.sqrt(n) * math.sqrt(12.0)
    yaw = edge * math.sqrt(2.0) / face.length_m + 0.5 * hidden
    rotation = pose[:3, :3]
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = rotation * (along**2, across**2, up**2) @ rotation.T
    covariance[3:, 3:] = rotation * (min(tilt / face.width_m, 0.5) ** 2, min(tilt / face.length_m, 0.5) ** 2,
                                     min(yaw, 0.8) ** 2) @ rotation.T
    return covariance

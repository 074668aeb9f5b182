"""From an upper face and a mask to an oriented box: length, width, height, pose and an honest covariance."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from perception_node import geometry
from perception_node.locate.faces import FACE_TOLERANCE_M, Mask
from perception_node.types import F32, F64

_MIN_SIDE_M = 0.005
_GRAZING = 0.05
"""Least cosine between a viewing ray and a face's normal at which their meeting point means anything."""
_RIGHT = np.array([1.0, 0.0, 0.0])
_TALL_PX = 60
"""A mask with more rows is looked at in every other one: its top and bottom edge are then off by half a pixel on average."""
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


def face_box(mask: Mask, rays: F32, depth_m: F32 | None, normal: F64, offset: float, class_name: str,
             focal_px: float, valid_fraction: float = 1.0) -> FaceBox | None:
    """The smallest rectangle, in the face's plane, round the face's pixels.

    Rigid packages: the pixels whose reading lies on the plane, cast onto it along their rays (so that depth noise does not
    widen the box). Soft ones: all readings, dropped onto the plane along its normal.

    Args:
        mask: of the package. rays: (H, W, 2). depth_m: (H, W) metres or None. normal, offset: the face's plane.
        focal_px: for the size of a pixel. valid_fraction: share of the mask with a depth reading.

    Returns:
        The rectangle, or None when nothing of the mask lies on the plane.
    """
    every = 2 if mask.inside.shape[0] > _TALL_PX else 1
    ray, z = rays[mask.part][::every], None if depth_m is None else depth_m[mask.part][::every]
    usable = mask.inside[::every]
    if z is not None and class_name == "box":
        n = normal.astype(np.float32)
        distance = ray[..., 0] * n[0]
        distance += ray[..., 1] * n[1]
        distance += n[2]
        distance *= z
        distance += np.float32(offset)
        on_face = np.abs(distance, out=distance) < np.float32(FACE_TOLERANCE_M["box"])
        if valid_fraction < _SPARSE:
            on_face |= ~(z > 0)
        usable = usable & on_face
    rows = np.flatnonzero(usable.any(axis=1))
    if len(rows) == 0:
        return None
    first = usable[rows].argmax(axis=1)
    last = usable.shape[1] - 1 - usable[rows, ::-1].argmax(axis=1)
    rows, columns = np.concatenate([rows, rows]), np.concatenate([first, last])  # the hull of a mask is the hull of its rows' ends
    ends = np.column_stack([ray[rows, columns], np.ones(len(rows))]).astype(np.float64)
    along_ends = ends @ normal
    scale = -offset / np.where(along_ends < -_GRAZING, along_ends, np.nan)
    if z is not None and class_name != "box":
        reading = z[rows, columns]
        scale = np.where(reading > 0, reading, scale)
    good = scale > 0
    if not good.any():
        return None
    points = ends[good] * scale[good, None]
    basis = geometry.frame_from_axes(np.zeros(3), normal, _RIGHT)[:3, :3]
    (cu, cv), (side_u, side_v), angle = cv2.minAreaRect((points @ basis[:, :2]).astype(np.float32))
    turn = np.deg2rad(angle)
    axis_u = np.cos(turn) * basis[:, 0] + np.sin(turn) * basis[:, 1]
    axis_v = -np.sin(turn) * basis[:, 0] + np.cos(turn) * basis[:, 1]
    if side_u < side_v:
        side_u, side_v, axis_u, axis_v = side_v, side_u, axis_v, -axis_u
    distance_m = np.sort(scale[good])
    pixel = float(distance_m[len(distance_m) // 2]) / focal_px
    length, breadth = max(side_u + pixel, _MIN_SIDE_M), max(side_v + pixel, _MIN_SIDE_M)
    centre = cu * basis[:, 0] + cv * basis[:, 1] - normal * offset
    area = np.count_nonzero(usable) * every * pixel**2 / max(-float(normal @ _unit(centre)), 0.2)
    fill = float(np.clip(area / (length * breadth), 0.0, 1.0))
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
    sigma = np.hypot(rms_m, _DEPTH_SIGMA_M)
    edge = _EDGE_PX * face.pixel_m
    along = np.hypot(edge, hidden * face.length_m / 2)
    across = np.hypot(edge, hidden * face.width_m / 2)
    up = float(np.sqrt(sigma**2 / n + _DEPTH_SIGMA_M**2 + (height_sigma_m / 2) ** 2))
    tilt = sigma / np.sqrt(n) * np.sqrt(12.0)
    yaw = edge * np.sqrt(2.0) / face.length_m + 0.5 * hidden
    covariance = np.zeros((6, 6))
    rotation = pose[:3, :3]
    covariance[:3, :3] = rotation @ np.diag([along**2, across**2, up**2]) @ rotation.T
    angles = np.diag([min(tilt / face.width_m, 0.5) ** 2, min(tilt / face.length_m, 0.5) ** 2, min(float(yaw), 0.8) ** 2])
    covariance[3:, 3:] = rotation @ angles @ rotation.T
    return covariance


def _unit(vector: F64) -> F64:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)

"""The belt's plane: calibrated, or fitted to the depth around the packages."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node import geometry
from perception_node.config import BeltConfig
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


def calibrated_plane(belt: BeltConfig) -> F64 | None:
    """(4,) plane (nx, ny, nz, d) of the configuration in the camera frame, or None when it is all zero."""
    plane = np.array(belt.plane, dtype=np.float64)
    if not plane.any():
        return None
    plane /= np.linalg.norm(plane[:3])
    return plane


def fit_belt_plane(frame: Frame, labels: NDArray[np.uint16]) -> F64 | None:
    """Fit the belt to the depth of the background: the plane with most support, seeded and hence repeatable.

    Args:
        frame: with depth. labels: (H, W), 0 = background.

    Returns:
        (4,) (nx, ny, nz, d), n.X + d = 0 in the camera frame in metres, n towards the camera; None when no plane holds
        15 % of the background.

    Source: M. Fischler, R. Bolles, "Random sample consensus", CACM 24(6), 1981.
    """
    if frame.depth_m is None:
        return None
    points = _background_points(frame.depth_m, labels, geometry.ray_image(frame.camera))
    if len(points) < 50:
        return None
    rng = np.random.default_rng(_SEED)
    triples = points[rng.integers(0, len(points), (_HYPOTHESES, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    normals = normals[lengths > 1e-9] / lengths[lengths > 1e-9, None]
    anchors = triples[lengths > 1e-9, 0]
    normals *= np.where(normals[:, 2] > 0, -1.0, 1.0)[:, None]
    keep = -normals[:, 2] > _MAX_TILT_COS
    if not keep.any():
        return None
    normals, anchors = normals[keep], anchors[keep]
    distances = normals @ points.T - np.einsum("hi,hi->h", normals, anchors)[:, None]
    support = np.clip(1.0 - (distances / _TOLERANCE_M) ** 2, 0.0, None).sum(axis=1)
    best = int(np.argmax(support))
    inliers = np.abs(distances[best]) < _TOLERANCE_M
    if inliers.mean() < _MIN_SUPPORT:
        return None
    normal, offset, _ = geometry.fit_plane(points[inliers])
    for _ in range(2):
        inliers = np.abs(points @ normal + offset) < _TOLERANCE_M
        normal, offset, _ = geometry.fit_plane(points[inliers])
    return np.array([*normal, offset])


def _background_points(depth_m: F32, labels: NDArray[np.uint16], rays: F32) -> F64:
    step = max(1, depth_m.shape[1] // 160)
    margin = 2 * _PACKAGE_MARGIN_PX + 1
    near = cv2.dilate((labels > 0).astype(np.uint8), np.ones((margin, margin), np.uint8))[::step, ::step]
    depth = depth_m[::step, ::step]
    usable = (near == 0) & np.isfinite(depth) & (depth > 0)
    chosen = np.flatnonzero(usable)
    if len(chosen) > _SAMPLES:
        chosen = chosen[np.linspace(0, len(chosen) - 1, _SAMPLES).astype(int)]
    z = depth.ravel()[chosen].astype(np.float64)
    xy = rays[::step, ::step].reshape(-1, 2)[chosen].astype(np.float64)
    return np.column_stack([xy * z[:, None], z])

"""Rigid transforms, projection and plane fits. `T_a_b` maps points of frame b into frame a: p_a = T_a_b @ p_b."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled
from perception_node.errors import PerceptionError
from perception_node.types import F32, F64, CameraModel

_MIN_PLANE_POINTS = 3


def transform_inverse(T_a_b: F64) -> F64:
    """Return T_b_a of a rigid (4, 4) transform."""
    T_b_a = np.eye(4)
    T_b_a[:3, :3] = T_a_b[:3, :3].T
    T_b_a[:3, 3] = -T_a_b[:3, :3].T @ T_a_b[:3, 3]
    return T_b_a


def transform_points(T_a_b: F64, points_b: F64) -> F64:
    """Map (..., 3) points from frame b into frame a."""
    moved: F64 = points_b @ T_a_b[:3, :3].T + T_a_b[:3, 3]
    return moved


def frame_from_axes(origin: F64, z_axis: F64, x_hint: F64) -> F64:
    """Build a (4, 4) right-handed frame from an origin, a z axis and a direction near x.

    Args:
        origin: (3,) in the parent frame. z_axis: (3,), any length but 0. x_hint: (3,), made orthogonal to z; when it is
            parallel to z another axis is taken.

    Returns:
        (4, 4) T_parent_frame.
    """
    z = z_axis / math.sqrt(float(z_axis @ z_axis))
    x = x_hint - z * float(x_hint @ z)
    length = math.sqrt(float(x @ x))
    if length < 1e-9:
        hint = np.eye(3)[int(np.argmin(np.abs(z)))]
        x = hint - z * float(hint @ z)
        length = math.sqrt(float(x @ x))
    x = x / length
    x = x - z * float(x @ z)  # once more: of a hint nearly parallel to z little is left but rounding
    x = x / math.sqrt(float(x @ x))
    (x0, x1, x2), (z0, z1, z2) = x.tolist(), z.tolist()
    T = np.eye(4)
    T[:3, 0], T[:3, 2], T[:3, 3] = x, z, origin
    T[:3, 1] = (z1 * x2 - z2 * x1, z2 * x0 - z0 * x2, z0 * x1 - z1 * x0)
    return T


def quaternions_xyzw(rotations: F64) -> F64:
    """(N, 4) unit quaternions (x, y, z, w), w >= 0, of (N, 3, 3) rotations.

    Source: S. W. Shepperd, "Quaternion from rotation matrix", J. Guidance and Control 1(3), 1978.
    """
    m = np.asarray(rotations, dtype=np.float64).reshape(-1, 3, 3)
    diagonal = np.einsum("nii->ni", m)
    trace = diagonal.sum(axis=1)
    # Each row of this symmetric table is the quaternion up to its length; the one with the largest diagonal is well-conditioned.
    table = np.empty((len(m), 4, 4))
    table[:, :3, :3] = m + m.transpose(0, 2, 1)
    table[:, range(3), range(3)] = 1.0 + 2.0 * diagonal - trace[:, None]
    table[:, 3, :3] = table[:, :3, 3] = np.stack(
        [m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]], axis=1)
    table[:, 3, 3] = 1.0 + trace
    q: F64 = table[np.arange(len(m)), np.einsum("nii->ni", table).argmax(axis=1)]
    q *= (np.copysign(1.0, q[:, 3]) / np.linalg.norm(q, axis=1))[:, None]
    return q


def rotation_from_quaternion(xyzw: tuple[float, float, float, float]) -> F64:
    """(3, 3) rotation of a quaternion (x, y, z, w) of any length but 0."""
    x, y, z, w = np.asarray(xyzw, dtype=np.float64) / np.linalg.norm(xyzw)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])


def project(camera: CameraModel, points_cam: F64) -> F64:
    """Project (N, 3) points of the optical frame to (N, 2) pixels (u, v), distortion included.

    Points at or behind the camera (z <= 0) give NaN.
    """
    points = np.asarray(points_cam, dtype=np.float64).reshape(-1, 3)
    pixels = np.full((len(points), 2), np.nan)
    ahead = points[:, 2] > 1e-9
    if not ahead.any():
        return pixels
    if camera.distortion:
        projected, _ = cv2.projectPoints(points[ahead], np.zeros(3), np.zeros(3), camera.K, np.array(camera.distortion))
        pixels[ahead] = projected.reshape(-1, 2)
    else:
        z = points[ahead, 2]
        pixels[ahead, 0] = camera.fx * points[ahead, 0] / z + camera.cx
        pixels[ahead, 1] = camera.fy * points[ahead, 1] / z + camera.cy
    return pixels


def pixel_rays(camera: CameraModel, pixels: F64) -> F64:
    """(N, 3) viewing rays with z = 1 of (N, 2) pixels (u, v); distortion is undone."""
    pixels = np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
    if camera.distortion and len(pixels):
        flat = cv2.undistortPoints(pixels[:, None], camera.K, np.array(camera.distortion)).reshape(-1, 2)
        return np.column_stack([flat, np.ones(len(flat))])
    return np.column_stack([(pixels[:, 0] - camera.cx) / camera.fx, (pixels[:, 1] - camera.cy) / camera.fy,
                            np.ones(len(pixels))])


@functools.lru_cache(maxsize=8)
def ray_image(camera: CameraModel) -> F32:
    """(H, W, 2) float32 (x/z, y/z) of each pixel's viewing ray, distortion undone; computed once per camera, read-only."""
    u, v = np.meshgrid(np.arange(camera.width, dtype=np.float64), np.arange(camera.height, dtype=np.float64))
    rays = pixel_rays(camera, np.column_stack([u.ravel(), v.ravel()]))[:, :2]
    picture: F32 = rays.astype(np.float32).reshape(camera.height, camera.width, 2)
    picture.setflags(write=False)
    return picture


def deproject(camera: CameraModel, pixels: F64, depth_m: F64) -> F64:
    """(N, 3) points of the optical frame from (N, 2) pixels and (N,) depth along z in metres."""
    points: F64 = pixel_rays(camera, pixels) * np.asarray(depth_m, dtype=np.float64)[:, None]
    return points


def fit_plane(points: NDArray[np.floating]) -> tuple[F64, float, float]:
    """Least-squares plane n.X + d = 0 through (N, 3) points.

    Returns:
        (3,) unit normal towards the camera (n.z <= 0 in an optical frame), offset d, rms distance in the points' unit.

    Raises:
        PerceptionError: with fewer than 3 points.
    """
    points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    if len(points) < _MIN_PLANE_POINTS:
        raise PerceptionError(f"plane fit: expected at least {_MIN_PLANE_POINTS} points, got {len(points)}")
    centre = points.mean(axis=0)
    centred = points - centre
    values, vectors = np.linalg.eigh(centred.T @ centred)
    normal = vectors[:, 0]
    if normal[2] > 0:
        normal = -normal
    rms = float(np.sqrt(max(values[0], 0.0) / len(points)))
    return normal, -float(normal @ centre), rms


@compiled
def plane_normal(xx: float, xy: float, xz: float, yy: float, yz: float, zz: float) -> tuple[float, float, float]:
    """Unit normal of the plane through points whose scatter about their centre is given: the axis of least scatter.

    Source: C. G. J. Jacobi's rotations; G. Golub, C. Van Loan, "Matrix computations", 8.5. Eight rounds are more than a 3 x 3
    matrix needs for all digits.
    """
    a = np.array(((xx, xy, xz), (xy, yy, yz), (xz, yz, zz)))
    v = np.eye(3)
    for _ in range(8):
        if a[0, 1] == 0.0 and a[0, 2] == 0.0 and a[1, 2] == 0.0:
            break
        for p in range(2):
            for q in range(p + 1, 3):
                if a[p, q] == 0.0:
                    continue
                theta = (a[q, q] - a[p, p]) / (2.0 * a[p, q])
                t = math.copysign(1.0, theta) / (abs(theta) + math.sqrt(theta * theta + 1.0))
                c = 1.0 / math.sqrt(t * t + 1.0)
                s = t * c
                for k in range(3):
                    a[k, p], a[k, q] = c * a[k, p] - s * a[k, q], s * a[k, p] + c * a[k, q]
                for k in range(3):
                    a[p, k], a[q, k] = c * a[p, k] - s * a[q, k], s * a[p, k] + c * a[q, k]
                    v[k, p], v[k, q] = c * v[k, p] - s * v[k, q], s * v[k, p] + c * v[k, q]
    least = 0
    for k in range(1, 3):
        if a[k, k] < a[least, least]:
            least = k
    return v[0, least], v[1, least], v[2, least]


def intersect_plane(rays: F64, normal: F64, offset: float) -> F64:
    """(N, 3) points where rays from the origin meet the plane n.X + d = 0; NaN where they don't, or behind the camera."""
    along = rays @ normal
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(np.abs(along) > 1e-9, -offset / along, np.nan)
    scale = np.where(scale > 0, scale, np.nan)
    points: F64 = rays * scale[:, None]
    return points

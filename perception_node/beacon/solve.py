"""The pose that explains measured light centres best, how uncertain it is, and the other pose that might explain them too."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from perception_node.types import F64

_STEPS = 12
_ENOUGH = 1e-10
_MIN_Z_M = 0.01


@dataclass(frozen=True, eq=False)
class Fit:
    """A pose fitted to light centres.

    Attributes:
        T: (4, 4) T_cam_beacon. covariance: (6, 6) of (x, y, z, rotation about x, y, z) in the camera's frame, m^2 and rad^2.
        chi2: sum of squared residuals over their variances. residuals: (N, 2) measured minus projected, normalised coordinates.
    """

    T: F64
    covariance: F64
    chi2: float
    residuals: F64


def rotation(vector: F64) -> F64:
    """(3, 3) rotation of a rotation vector in rad. Source: Rodrigues' formula."""
    x, y, z = vector.tolist()
    angle = math.sqrt(x * x + y * y + z * z)
    once, twice = (math.sin(angle) / angle, (1.0 - math.cos(angle)) / angle**2) if angle > 1e-9 else (1.0, 0.5)
    K: F64 = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=np.float64)
    turned = np.eye(3)
    turned += once * K
    turned += twice * (K @ K)
    return turned


def rotation_vector(R: F64) -> F64:
    """(3,) rotation vector in rad of a (3, 3) rotation."""
    sine = 0.5 * np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]], dtype=np.float64)
    if sine @ sine < 1e-8 and np.trace(R) > 0.0:  # a small angle is its sine; OpenCV gives 0 below some 1e-5
        return sine
    return np.asarray(cv2.Rodrigues(R)[0], dtype=np.float64).reshape(3)


def refine(T: F64, leds_m: F64, rays: F64, sigma: F64, radial: F64 | None = None) -> Fit | None:
    """Weighted least squares from a start near the solution (Levenberg-Marquardt).

    Args:
        T: (4, 4) start. leds_m: (N >= 3, 3). rays: (N, 2) normalised undistorted coordinates x/z, y/z of the measured centres.
        sigma: (N,) standard deviation of a coordinate, normalised. radial: (N,) standard deviation of an error that all centres
            share: outwards from the picture's middle, normalised.

    Returns:
        None when it does not converge before the camera, or is not determined.
    """
    R, t = T[:3, :3].copy(), T[:3, 3].copy()
    weight = np.repeat(1.0 / sigma, 2)
    damping, fit = 1e-9, _linear(R, t, leds_m, rays, weight)
    if fit is None:
        return None
    J, r = fit
    cost = float(r @ r)
    for _ in range(_STEPS):
        H = J.T @ J
        try:
            step = np.asarray(np.linalg.solve(H + damping * np.diag(H.diagonal()), J.T @ r), dtype=np.float64)
        except np.linalg.LinAlgError:
            return None
        R_new, t_new = rotation(step[3:]) @ R, t + step[:3]
        new = _linear(R_new, t_new, leds_m, rays, weight)
        new_cost = float(new[1] @ new[1]) if new is not None else math.inf
        if new is None or new_cost > cost * (1 + 1e-9) + 1e-12:
            damping = max(10.0 * damping, 1e-4)
            if damping > 1e6:
                break
            continue
        gain, cost, R, t, (J, r) = cost - new_cost, new_cost, R_new, t_new, new
        damping *= 0.1
        if gain < 1e-4 * cost + 1e-5 or float(np.abs(step).max()) < _ENOUGH:
            break
    H = J.T @ J
    scale = np.sqrt(np.maximum(H.diagonal(), 1e-30))
    try:
        covariance = np.linalg.inv(H / np.outer(scale, scale)) / np.outer(scale, scale)
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(covariance).all() or covariance.diagonal().min() <= 0:
        return None
    if radial is not None:
        out = rays / np.maximum(np.linalg.norm(rays, axis=1), 1e-9)[:, None] * radial[:, None]
        along = covariance @ (J.T @ (out.ravel() * weight))
        covariance = covariance + np.outer(along, along)
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = 1.5 * R - 0.5 * R @ R.T @ R, t  # takes rounding away: a step of Newton's iteration for R R' = 1
    return Fit(result, (covariance + covariance.T) / 2, cost, (r / weight).reshape(-1, 2))


def _linear(R: F64, t: F64, leds_m: F64, rays: F64, weight: F64) -> tuple[F64, F64] | None:
    """(2N, 6) weighted Jacobian of the projection and (2N,) weighted residuals; None when a light lies behind the camera."""
    turned = leds_m @ R.T
    points = turned + t
    z = points[:, 2]
    if z.min() < _MIN_Z_M:
        return None
    inverse = 1.0 / z
    x, y = points[:, 0] * inverse, points[:, 1] * inverse
    J = np.zeros((len(z), 2, 6))
    J[:, 0, 0] = J[:, 1, 1] = inverse
    J[:, 0, 2], J[:, 1, 2] = -x * inverse, -y * inverse
    a, b, c = turned[:, 0], turned[:, 1], turned[:, 2]
    # d(point)/d(turn) = -[turned]x
    J[:, 0, 3], J[:, 0, 4], J[:, 0, 5] = -x * b * inverse, (c + x * a) * inverse, -b * inverse
    J[:, 1, 3], J[:, 1, 4], J[:, 1, 5] = -(c + y * b) * inverse, y * a * inverse, a * inverse
    r = np.empty((len(z), 2))
    r[:, 0], r[:, 1] = rays[:, 0] - x, rays[:, 1] - y
    return J.reshape(-1, 6) * weight[:, None], r.ravel() * weight


def mirrored(T: F64, normal: F64, centre: F64) -> F64:
    """The start from which the second solution of a (nearly) flat layout is found: its plane tilted the other way.

    Under weak perspective both give the same picture (reversal of depth); Source: Oberkampf, DeMenthon and Davis, "Iterative
    pose estimation using coplanar feature points", CVIU 63(3), 1996. `normal`, `centre`: of the layout, in the beacon's frame.
    """
    middle = T[:3, :3] @ centre + T[:3, 3]
    view = middle / np.linalg.norm(middle)
    other = np.eye(4)
    other[:3, :3] = (np.eye(3) - 2 * np.outer(view, view)) @ T[:3, :3] @ (np.eye(3) - 2 * np.outer(normal, normal))
    other[:3, 3] = middle - other[:3, :3] @ centre
    return other


def three_point_poses(leds_m: F64, rays: F64) -> list[F64]:
    """Up to four (4, 4) poses that explain three lights exactly. Source: OpenCV's AP3P (Ke and Roumeliotis, 2017)."""
    _, turns, shifts = cv2.solveP3P(leds_m, rays, np.eye(3), None, flags=cv2.SOLVEPNP_AP3P)
    poses = []
    for turn, shift in zip(turns or (), shifts or (), strict=True):
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = cv2.Rodrigues(turn)[0], shift.ravel()
        if np.isfinite(T).all():
            poses.append(T)
    return poses

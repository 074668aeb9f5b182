"""Has the camera moved? The beacon's pose as the camera sees it now, against where it was when the camera was calibrated."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from perception_node.beacon.calibration import middle_pose
from perception_node.beacon.hypotheses import difference
from perception_node.config import CameraConfig
from perception_node.geometry import rotation_from_quaternion, transform_inverse
from perception_node.ros.diagnostics import ERROR, WARN, Status
from perception_node.types import F64

WINDOW_S = 2.0
"""Poses of so long are judged together by their median: noise of single pictures must not stop a cell. Source: judgement."""
ENOUGH = 5
"""Poses that must lie in the window."""


class BeaconWatch:
    """Keeps the last poses of `beacon_pose`. `put` is called by the executor, `status` by the diagnostics' timer."""

    def __init__(self, config: CameraConfig) -> None:
        self.update_config(config)
        self._poses: deque[tuple[float, F64]] = deque(maxlen=1000)
        self._frame_id = ""
        self._lock = threading.Lock()

    def update_config(self, config: CameraConfig) -> None:
        """Take over (live) parameters."""
        self._config = config
        self.expected = expected_pose(config)
        """(4, 4) T_cam_beacon at calibration, None = no beacon watches."""

    def put(self, message: Any) -> None:
        """Store a PoseWithCovarianceStamped; one that is not finite is left out."""
        p, q = message.pose.pose.position, message.pose.pose.orientation
        numbers = np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
        if not np.isfinite(numbers).all() or not 0.9 < float(np.linalg.norm(numbers[3:])) < 1.1:
            return
        T = _transform(numbers[:3], numbers[3:])
        with self._lock:
            self._frame_id = str(message.header.frame_id)
            self._poses.append((time.monotonic(), T))

    def status(self, camera_frame_id: str = "") -> Status | None:
        """Is the camera where it was? None when no beacon watches over it.

        Args:
            camera_frame_id: of the pictures, "" = none came yet; poses in another frame are another camera's.
        """
        if self.expected is None:
            return None
        since = time.monotonic() - WINDOW_S
        with self._lock:
            recent, frame_id = [T for at, T in self._poses if at > since], self._frame_id
        status = Status("camera_pose")
        if camera_frame_id and frame_id and frame_id != camera_frame_id:
            status.worsen(WARN, f"the camera's pose is not watched: expected beacon poses in frame {camera_frame_id!r}, they "
                                f"come in {frame_id!r}")
            return status
        if len(recent) < ENOUGH:
            status.worsen(WARN, f"the camera's pose is not watched: {len(recent)} beacon poses in the last {WINDOW_S:g} s, "
                                f"expected at least {ENOUGH}")
            return status
        shift_m, turn_rad = moved(np.array(recent), self.expected)
        limits = self._config
        status.words = f"where it was calibrated to {1e3 * shift_m:.1f} mm, {np.rad2deg(turn_rad):.2f} deg"
        status.values = {"shift_m": f"{shift_m:.5f}", "turn_rad": f"{turn_rad:.5f}", "poses": str(len(recent))}
        if shift_m > limits.max_shift_m or turn_rad > limits.max_turn_rad:
            status.worsen(ERROR, f"the camera (or the beacon) has moved: the beacon is {1e3 * shift_m:.1f} mm (limit "
                          f"{1e3 * limits.max_shift_m:g}) and {np.rad2deg(turn_rad):.2f} deg (limit "
                          f"{np.rad2deg(limits.max_turn_rad):.2f}) from where it was at calibration; calibrate again")
        return status


def expected_pose(config: CameraConfig) -> F64 | None:
    """(4, 4) T_cam_beacon that the calibration says, None when camera or beacon are not calibrated."""
    if not any(config.orientation_xyzw) or not any(config.beacon_orientation_xyzw):
        return None
    T_cell_cam = _transform(config.position_m, config.orientation_xyzw)
    return np.asarray(transform_inverse(T_cell_cam) @ _transform(config.beacon_position_m, config.beacon_orientation_xyzw))


def moved(poses: F64, expected: F64) -> tuple[float, float]:
    """How far, in metres and rad, the middle of (N, 4, 4) T_cam_beacon is from the expected one.

    The shift is that of the beacon as the camera sees it: by so much a pick at the beacon's place would miss.
    """
    gap = difference(middle_pose(poses), expected)
    return float(np.linalg.norm(gap[:3])), float(np.linalg.norm(gap[3:]))


def _transform(position: Sequence[float] | F64, xyzw: Sequence[float] | F64) -> F64:
    x, y, z, w = xyzw
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rotation_from_quaternion((x, y, z, w)), position
    return T

"""The belt's measured velocity, from the drive (geometry_msgs/TwistStamped), in the camera's frame."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from perception_node.config import BeltConfig
from perception_node.types import F64

STALE_S = 1.0
"""An older reading does not count any more. Source: drives publish at 10 Hz or more; ten missed ones are a dead drive."""


class BeltInput:
    """Keeps the newest reading. `put` is called by the executor, `velocity` by the worker."""

    def __init__(self) -> None:
        self._newest: tuple[float, Any] | None = None
        self.words = "estimated from the packages: no belt_velocity came"

    def put(self, twist: Any) -> None:
        """Store a TwistStamped."""
        self._newest = time.monotonic(), twist

    def velocity(self, frame_id: str, belt: BeltConfig) -> F64 | None:
        """(3,) m/s in the camera's optical frame, or None = estimate it; `words` say which and why.

        A twist in the camera's own frame is taken as a vector; in any other frame (the belt's, none) its linear.x is the speed
        along `belt.direction`, which must then be calibrated: the node does not look up transforms.
        """
        if self._newest is None:
            return None
        came_s, twist = self._newest
        linear = twist.twist.linear
        vector = np.array([linear.x, linear.y, linear.z])
        if time.monotonic() - came_s > STALE_S:
            self.words = f"estimated from the packages: the last belt_velocity is {time.monotonic() - came_s:.1f} s old"
            return None
        if not np.isfinite(vector).all():
            self.words = "estimated from the packages: belt_velocity is not finite"
            return None
        if twist.header.frame_id == frame_id:
            self.words = "measured, in the camera's frame"
            return vector
        if not any(belt.direction):
            self.words = (f"estimated from the packages: belt_velocity is in frame {twist.header.frame_id!r}; expected "
                          f"{frame_id!r}, or a calibrated belt.direction")
            return None
        self.words = "measured, linear.x along belt.direction"
        along: F64 = np.array(belt.direction) * float(linear.x)
        return along

"""The belt's measured velocity (geometry_msgs/TwistStamped from the drive): when it counts, and in which frame it is."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import numpy as np

from perception_node.config import BeltConfig
from perception_node.types import F64

STALE_S = 1.0
"""An older reading does not count any more. Source: drives publish at 10 Hz or more; ten missed ones are a dead drive."""

CONTRADICTED = "estimated from the packages: they contradict belt_velocity"
"""Words for a frame whose reading counted, but was not used: what the packages do is plainly something else."""

_KEEP_NS = 3_000_000_000  # more than a picture waits for its depth, so that its own reading is still there


@dataclass(frozen=True)
class Reading:
    """A TwistStamped, and how long ago it came when the picture was complete, seconds."""

    twist: Any
    age_s: float


class Readings:
    """A recording's readings in the order of recording."""

    def __init__(self) -> None:
        self._times_ns: list[int] = []
        self._twists: list[Any] = []

    def put(self, logged_ns: int, twist: Any) -> None:
        """Store a TwistStamped with its time of recording."""
        self._times_ns.append(logged_ns)
        self._twists.append(twist)

    def at(self, logged_ns: int) -> Reading | None:
        """The newest reading that was recorded by then, None = there was none."""
        while len(self._times_ns) > 1 and self._times_ns[1] < logged_ns - _KEEP_NS:
            del self._times_ns[0], self._twists[0]
        place = bisect_right(self._times_ns, logged_ns) - 1
        return Reading(self._twists[place], 1e-9 * (logged_ns - self._times_ns[place])) if place >= 0 else None


def measured_velocity(reading: Reading | None, frame_id: str, belt: BeltConfig, max_speed_m_s: float) -> tuple[F64 | None, str]:
    """(3,) m/s in the camera's optical frame, or None = estimate it; and words that say which and why.

    A twist in the camera's own frame is taken as a vector; in any other frame (the belt's, none) its linear.x is the speed
    along `belt.direction`, which must then be calibrated: no transforms are looked up. What is faster than `max_speed_m_s`
    (`track.max_speed_m_s`) is no belt: millimetres, or a drive's own unit.
    """
    if reading is None:
        return None, "estimated from the packages: no belt_velocity came"
    twist = reading.twist
    linear = twist.twist.linear
    vector = np.array([linear.x, linear.y, linear.z])
    if reading.age_s > STALE_S:
        return None, f"estimated from the packages: the last belt_velocity is {reading.age_s:.1f} s old"
    if not np.isfinite(vector).all():
        return None, "estimated from the packages: belt_velocity is not finite"
    own = twist.header.frame_id == frame_id
    speed = float(np.linalg.norm(vector)) if own else abs(float(linear.x))
    if speed > max_speed_m_s:
        return None, (f"estimated from the packages: expected a belt_velocity of at most {max_speed_m_s:g} m/s "
                      f"(track.max_speed_m_s), got {speed:.4g}: its unit is m/s")
    if own:
        return vector, "measured, in the camera's frame"
    if not any(belt.direction):
        return None, (f"estimated from the packages: belt_velocity is in frame {twist.header.frame_id!r}; expected {frame_id!r}, "
                      "or a calibrated belt.direction")
    along: F64 = np.array(belt.direction) * float(linear.x)
    return along, "measured, linear.x along belt.direction"

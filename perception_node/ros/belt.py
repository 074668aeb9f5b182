"""The belt's measured velocity, from the drive (geometry_msgs/TwistStamped), in the camera's frame."""

from __future__ import annotations

import time
from typing import Any

from perception_node.bag.belt import CONTRADICTED, Reading, measured_velocity
from perception_node.config import BeltConfig
from perception_node.types import F64


class BeltInput:
    """Keeps the newest reading. `put` is called by the executor, `velocity` by the worker."""

    def __init__(self) -> None:
        self._newest: tuple[float, Any] | None = None
        self.refused = False
        """True while somebody publishes a velocity, or did, and the newest one does not count."""
        self.words = measured_velocity(None, "", BeltConfig(), 0.0)[1]

    def put(self, twist: Any) -> None:
        """Store a TwistStamped."""
        self._newest = time.monotonic(), twist

    def velocity(self, frame_id: str, belt: BeltConfig, max_speed_m_s: float) -> F64 | None:
        """(3,) m/s in the camera's optical frame, or None = estimate it; `words` say which and why (see `measured_velocity`)."""
        newest = self._newest
        reading = None if newest is None else Reading(newest[1], time.monotonic() - newest[0])
        velocity, self.words = measured_velocity(reading, frame_id, belt, max_speed_m_s)
        self.refused = newest is not None and velocity is None
        return velocity

    def contradicted(self) -> None:
        """The packages contradicted the reading that was returned last; it was not used."""
        self.words = CONTRADICTED

"""Until when a grasp can be reached: the arm's window along the belt."""

from __future__ import annotations

import numpy as np

from perception_node.config import BeltConfig
from perception_node.types import F64

_STANDSTILL_M_S = 0.005
"""A slower belt counts as standing. Source: the belt velocity's own uncertainty with a few packages in sight."""


def travel_direction(belt: BeltConfig, velocity_m_s: F64 | None) -> F64 | None:
    """(3,) unit vector along which the belt travels, camera frame: configured, else that of its motion, else None."""
    configured = np.array(belt.direction)
    if configured.any():
        return configured / float(np.linalg.norm(configured))
    if velocity_m_s is None or float(np.linalg.norm(velocity_m_s)) < _STANDSTILL_M_S:
        return None
    return velocity_m_s / float(np.linalg.norm(velocity_m_s))


def deadlines_ns(positions: F64, velocities_m_s: F64, stamp_ns: int, belt: BeltConfig, direction: F64 | None) -> list[int | None]:
    """When points leave the arm's window, in nanoseconds on the frame's clock.

    Args:
        positions: (N, 3) metres and velocities_m_s: (N, 3) of their packages, camera frame. direction: of travel, or None.

    Returns:
        The times; None for what stands still, and where the direction is unknown. A belt that runs backwards carries a point out
        at the window's start.
    """
    if direction is None:
        return [None] * len(positions)
    times: list[int | None] = []
    for along, speed in zip((positions @ direction).tolist(), (velocities_m_s @ direction).tolist(), strict=True):
        if abs(speed) < _STANDSTILL_M_S:
            times.append(None)
        else:
            end = belt.reach_max_m if speed > 0 else belt.reach_min_m
            times.append(stamp_ns + round(max((end - along) / speed, 0.0) * 1e9))
    return times


def out_of_reach_m(position: F64, velocity_m_s: F64, belt: BeltConfig, direction: F64 | None) -> float:
    """How far a point has already passed the arm's window, in metres; 0 inside it or still before it."""
    if direction is None:
        return 0.0
    along, speed = float(direction @ position), float(direction @ velocity_m_s)
    ahead, behind = along - belt.reach_max_m, belt.reach_min_m - along
    if speed < -_STANDSTILL_M_S:
        return max(behind, 0.0)
    if speed > _STANDSTILL_M_S:
        return max(ahead, 0.0)
    return max(ahead, behind, 0.0)

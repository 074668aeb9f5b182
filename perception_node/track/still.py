"""Which tracks never rode the belt: rails, guards and tools stay where they were first seen while the belt runs on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from perception_node.types import F64, Track

_MIN_WAY_M = 0.1
"""The belt must have moved this far before staying in place says anything. Source: judgement; a place jumps by a few cm when
another part of a package comes into sight."""
_STAYS = 0.2
"""Share of the belt's way below which a track stays in place. Source: of a package that the picture's border cuts, the middle of
the visible part moves by half of the belt's way; of a still thing's place the noise is millimetres to a few cm."""
_RIDES = 0.4
"""Share of the belt's way from which a track rides it."""
_RIDE_FROM_M = 0.05
_RIDE_FRAMES = 3


@dataclass(frozen=True)
class Stay:
    """A track that stays: how far it has moved along the belt's way since it was first seen, in how long, and that way."""

    moved_m: float
    time_s: float
    belt_m: float


@dataclass
class _Seen:
    first_m: F64
    born_ns: int
    last_ns: int
    way_m: F64 = field(default_factory=lambda: np.zeros(3))
    rides: int = 0


class StillWatch:
    """Remembers where each track was first seen and how far the belt has gone since.

    What once rode the belt is a package for good: one that is jammed at a stop afterwards is not taken for machinery.
    """

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}
        self._stamp_ns = 0

    def rode(self, track_id: int) -> bool:
        """Whether a track has moved with the belt."""
        seen = self._seen.get(track_id)
        return seen is not None and seen.rides >= _RIDE_FRAMES

    def update(self, tracks: Sequence[Track], belt_velocity_m_s: F64 | None, stamp_ns: int, still_s: float,
               forget_s: float) -> dict[int, Stay]:
        """Take one frame's tracks in.

        Args:
            tracks: of this frame. belt_velocity_m_s: (3,) camera frame, None = unknown: the belt then counts as standing.
            stamp_ns: of the frame, not before the last one. still_s: how long a track must stay; 0 = never judged.
            forget_s: tracks that were not seen for longer are forgotten.

        Returns:
            By label: the tracks that have not moved with the belt since they were first seen.
        """
        step_m = np.zeros(3)
        if self._seen and belt_velocity_m_s is not None:
            step_m = belt_velocity_m_s * ((stamp_ns - self._stamp_ns) * 1e-9)
        self._stamp_ns = stamp_ns
        oldest_ns = stamp_ns - round(forget_s * 1e9)
        self._seen = {track_id: seen for track_id, seen in self._seen.items() if seen.last_ns >= oldest_ns}
        for seen in self._seen.values():
            seen.way_m = seen.way_m + step_m
        found = {}
        for track in tracks:
            if track.track_id == 0 or not track.package.placed:
                continue
            place_m = track.package.T_cam_package[:3, 3]
            if track.track_id not in self._seen:
                self._seen[track.track_id] = _Seen(place_m, stamp_ns, stamp_ns)
            seen = self._seen[track.track_id]
            seen.last_ns = stamp_ns
            way_m = math.sqrt(seen.way_m @ seen.way_m)
            if way_m < _RIDE_FROM_M or _cut_at_both_ends(track, seen.way_m):
                continue
            moved_m = float((place_m - seen.first_m) @ seen.way_m) / way_m
            if seen.rides < _RIDE_FRAMES:
                seen.rides = seen.rides + 1 if moved_m >= _RIDES * way_m else 0
            time_s = (stamp_ns - seen.born_ns) * 1e-9
            if (still_s > 0 and seen.rides < _RIDE_FRAMES and time_s >= still_s and way_m >= _MIN_WAY_M
                    and moved_m <= _STAYS * way_m):
                found[track.label] = Stay(moved_m, time_s, way_m)
        return found


def _cut_at_both_ends(track: Track, way_m: F64) -> bool:
    """Whether the picture cuts it off before and behind along the belt's way: its visible part then cannot move."""
    left, top, right, bottom = track.package.cut_sides
    return (left and right) if abs(way_m[0]) > abs(way_m[1]) else (top and bottom)

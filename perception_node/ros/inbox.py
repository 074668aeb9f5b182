"""Where the executor thread leaves the newest raw messages, and the worker takes what belongs together.

Nothing is decoded here but the stamp, which lies at a fixed place of every message that starts with a Header; so storing a
picture takes the executor some microseconds and pairing needs no picture. Free of rclpy.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perception_node.config import NodeConfig
from perception_node.errors import FrameError
from perception_node.ros.drops import BAD_FRAME, LOST, RESET, SUPERSEDED, UNPAIRED, Drops, Rate

WAITING = 8
"""Pictures that wait for their depth at most, and depths for their picture. Source: covers depth 0.25 s late at 30 Hz."""


_STALE = 0.6
"""A frame that has waited for this share of the camera's period is left out for the next one: that is due sooner than this one is
old. A worker about as fast as the camera, once late, would stay late, since it catches up by a millisecond a frame. At most two
thirds of a period are lost where no next one comes. Source: measured: docs/results.md."""
_GRACE = 0.25
"""And the next one may be late by this share of the period."""

_UNKNOWN = 2**63
"""From here on a sequence number means that the middleware counts none.
Source: rmw/types.h, RMW_MESSAGE_INFO_SEQUENCE_NUMBER_UNSUPPORTED (all bits set)."""


@dataclass(frozen=True)
class Raw:
    """A serialised message, its header's stamp, and when it came (monotonic seconds)."""

    data: bytes
    stamp_ns: int
    came_s: float


@dataclass(frozen=True)
class Item:
    """What belongs together: picture, depth or None, calibration or None. `generation` counts resets."""

    colour: Raw
    depth: Raw | None
    info: Raw | None
    generation: int


def peek_stamp_ns(data: bytes) -> int:
    """Stamp of a serialised message that starts with std_msgs/Header.

    Source: OMG DDS-RTPS 2.3, 10.2 (four bytes of encapsulation, the second odd = little-endian); then sec, nanosec.

    Raises:
        FrameError: too short.
    """
    if len(data) < 12:
        raise FrameError(f"message: expected at least 12 bytes, got {len(data)}")
    sec, nanosec = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(sec) * 1_000_000_000 + int(nanosec)


class Inbox:
    """Newest frame wins. `put_*` are called by the executor, `take` by the worker."""

    def __init__(self, config: NodeConfig, drops: Drops) -> None:
        self.config = config
        self.drops = drops
        self.colour_rate, self.depth_rate, self.info_rate = Rate(), Rate(), Rate()
        self.skew_s: float | None = None
        """Stamp of the nearest depth minus that of the last picture that found no depth, in seconds."""
        self._colours: deque[Raw] = deque()
        self._depths: deque[Raw] = deque(maxlen=WAITING)
        self._info: Raw | None = None
        self._numbers: dict[bytes, int] = {}
        self._depth_expected = True
        self._generation = 0
        self._closed = False
        self._ready = threading.Condition()

    @property
    def generation(self) -> int:
        """How often `reset` was called."""
        return self._generation

    def put_colour(self, data: bytes, about: Mapping[str, Any] | None = None) -> None:
        """Store a serialised Image or CompressedImage; `about` is what the middleware says of it (rmw's message info)."""
        self.colour_rate.tick()
        self._count_lost(about or {})
        with self._ready:
            raw = self._raw(data)
            if raw is None:
                return
            self._colours.append(raw)
            while len(self._colours) > WAITING:
                self._drop(self._colours.popleft())
            self._ready.notify()

    def put_depth(self, data: bytes) -> None:
        """Store a serialised depth message."""
        self.depth_rate.tick()
        with self._ready:
            raw = self._raw(data)
            if raw is not None:
                self._depths.append(raw)
                self._depth_expected = True
                if self._colours:  # else the worker has nothing to do with it yet
                    self._ready.notify()

    def put_info(self, data: bytes) -> None:
        """Store a serialised CameraInfo; the newest one counts for every picture."""
        self.info_rate.tick()
        with self._ready:
            self._info = self._raw(data) or self._info

    def reset(self) -> None:
        """Forget what waits (the clock jumped); what is being computed is of an older generation now."""
        with self._ready:
            for _ in self._colours:
                self.drops.add(RESET)
            self._colours.clear()
            self._depths.clear()
            self._generation += 1

    def close(self) -> None:
        """Wake the worker for the last time; `take` gives None from now on."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def take(self, timeout_s: float) -> Item | None:
        """The newest picture that is ready, with its depth; None after `timeout_s` or when closed."""
        until = time.monotonic() + timeout_s
        with self._ready:
            while not self._closed:
                now = time.monotonic()
                chosen, wait_s = self._choose(now)
                if chosen is not None:
                    return chosen
                if now >= until:
                    return None
                self._ready.wait(min(until - now, wait_s))
        return None

    def _choose(self, now: float) -> tuple[Item | None, float]:
        """What to take now, else None and the seconds after which to look again."""
        if not self._colours:
            return None, 60.0
        if self.config.depth == "off":
            return self._fresh(len(self._colours) - 1, None, now)
        for index in range(len(self._colours) - 1, -1, -1):
            depth = self._depth_of(self._colours[index])
            if depth is not None:
                return self._fresh(index, depth, now)
        if self.config.depth == "required":
            while self._colours and now - self._colours[0].came_s > self.config.max_age_s:
                self._drop(self._colours.popleft())
            return None, self.config.max_age_s
        if not self._depth_expected:
            return self._fresh(len(self._colours) - 1, None, now)
        for index in range(len(self._colours) - 1, -1, -1):
            if now - self._colours[index].came_s >= self.config.depth_wait_s:
                silent_s = self.depth_rate.silent_s()
                self._depth_expected = silent_s is not None and silent_s < self.config.camera_timeout_s
                self._note_skew(self._colours[index])
                return self._pop(index, None), 0.0
        return None, self._colours[0].came_s + self.config.depth_wait_s - now

    def _fresh(self, index: int, depth: Raw | None, now: float) -> tuple[Item | None, float]:
        """As `_choose`: this frame, unless it is stale and the next one about to come."""
        colour, period_s = self._colours[index], self.colour_rate.period_s()
        if period_s is not None:
            came_s = colour.came_s if depth is None else max(colour.came_s, depth.came_s)
            left_s = came_s + (1.0 + _GRACE) * period_s - now
            if now - came_s > _STALE * period_s and left_s > 0.0:
                return None, left_s
        return self._pop(index, depth), 0.0

    def _depth_of(self, colour: Raw) -> Raw | None:
        tolerance_ns = self.config.pair_tolerance_s * 1e9
        nearest = min(self._depths, key=lambda depth: abs(depth.stamp_ns - colour.stamp_ns), default=None)
        return nearest if nearest is not None and abs(nearest.stamp_ns - colour.stamp_ns) <= tolerance_ns else None

    def _pop(self, index: int, depth: Raw | None) -> Item:
        for _ in range(index):
            self._drop(self._colours.popleft())
        colour = self._colours.popleft()
        if depth is not None:
            self.skew_s = None
            while self._depths and self._depths[0] is not depth:
                self._depths.popleft()
            self._depths.popleft()
        return Item(colour, depth, self._info, self._generation)

    def _drop(self, colour: Raw) -> None:
        waited = self.config.depth == "required" or (self.config.depth == "auto" and self._depth_expected)
        if waited and self._depth_of(colour) is None:
            self._note_skew(colour)
            self.drops.add(UNPAIRED, "no depth with the picture's stamp" + self.skew_words())
        else:
            self.drops.add(SUPERSEDED)

    def _note_skew(self, colour: Raw) -> None:
        gaps = [depth.stamp_ns - colour.stamp_ns for depth in self._depths]
        self.skew_s = min(gaps, key=abs) * 1e-9 if gaps else None

    def skew_words(self) -> str:
        """How far the nearest depth was, in words; "" when unknown."""
        if self.skew_s is None:
            return ""
        return f": the nearest is {1e3 * self.skew_s:+.1f} ms away, expected at most {1e3 * self.config.pair_tolerance_s:.1f} ms"

    def _count_lost(self, about: Mapping[str, Any]) -> None:
        """Publishers number what they send: a gap is what never got here, on the way or in the middleware's own queue."""
        number = about.get("publication_sequence_number")
        if not isinstance(number, int) or number >= _UNKNOWN:
            return
        publisher = bytes(about.get("publisher_gid", {}).get("data", b""))
        last = self._numbers.get(publisher, number)
        if publisher not in self._numbers:
            self._numbers.clear()  # a camera that started again; two at once are a fault that diagnostics name
        self._numbers[publisher] = number
        if number > last + 1:
            self.drops.add(LOST, f"{number - last - 1} in a row never arrived", number - last - 1)

    def _raw(self, data: bytes) -> Raw | None:
        try:
            return Raw(data, peek_stamp_ns(data), time.monotonic())
        except FrameError as error:
            self.drops.add(BAD_FRAME, str(error))
            return None

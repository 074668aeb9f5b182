"""The last seconds' frames, held by reference: the outcome of a pick comes seconds after the frame that led to it."""

from __future__ import annotations

import threading
from collections import deque

from perception_node.types import Frame, Scene


class Hold:
    """Frames at even distances over the last seconds, as many as the memory allows. Used from the worker and the executor.

    Args:
        hold_s: how far back, seconds. hold_bytes: memory of the pictures at most.
    """

    def __init__(self, hold_s: float, hold_bytes: float) -> None:
        self._hold_ns, self._bytes = int(1e9 * hold_s), hold_bytes
        self._held: deque[tuple[Frame, Scene]] = deque()
        self._spacing_ns = 0
        self._lock = threading.Lock()

    def put(self, frame: Frame, scene: Scene) -> None:
        """Take a frame when its turn has come. A stamp that goes back empties the hold."""
        size = frame.rgb.nbytes + scene.segmentation.labels.nbytes + (0 if frame.depth_m is None else frame.depth_m.nbytes)
        with self._lock:
            self._spacing_ns = int(self._hold_ns * size / self._bytes)
            if self._held and frame.stamp_ns < self._held[-1][0].stamp_ns:
                self._held.clear()
            if self._held and frame.stamp_ns - self._held[-1][0].stamp_ns < self._spacing_ns:
                return
            self._held.append((frame, scene))
            while frame.stamp_ns - self._held[0][0].stamp_ns > self._hold_ns or len(self._held) > max(1, self._bytes // size):
                self._held.popleft()

    def nearest(self, stamp_ns: int) -> tuple[Frame, Scene] | None:
        """The held frame nearest to a stamp; None where none is near: it is too long ago."""
        with self._lock:
            if not self._held:
                return None
            pair = min(self._held, key=lambda held: abs(held[0].stamp_ns - stamp_ns))
            return pair if abs(pair[0].stamp_ns - stamp_ns) <= self._spacing_ns else None

    def __len__(self) -> int:
        return len(self._held)

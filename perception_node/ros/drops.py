"""Counts of frames by what became of them, with the newest words for each reason. Shared between threads."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque

from perception_node.bag import watch

LOST = "lost"
SUPERSEDED = "superseded"
UNPAIRED = "unpaired"
NO_CALIBRATION = "no_calibration"
BAD_FRAME = "bad_frame"
BLIND, FROZEN = watch.BLIND, watch.FROZEN
TOO_OLD = "too_old"
FROM_THE_FUTURE = "from_the_future"
OUT_OF_ORDER = "out_of_order"
RESET = "reset"
FAILED = "failed"
REASONS = (LOST, SUPERSEDED, UNPAIRED, NO_CALIBRATION, BAD_FRAME, BLIND, FROZEN, TOO_OLD, FROM_THE_FUTURE, OUT_OF_ORDER, RESET,
           FAILED)

WINDOW_S = 2.0
"""Rates are taken over this time: long enough for a camera of 2 Hz, short enough for an operator. Source: judgement."""

_INTERVALS, _EVEN = 7, 1.6
"""So many intervals tell a period, if the longest is no longer than this many times their median. Source: judgement; pictures of a
steady camera come with some milliseconds of jitter, a lost one doubles an interval."""


class Rate:
    """Events per second over the last `WINDOW_S`, and when the last one was (monotonic seconds)."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=1000)
        self.total = 0
        self.last_s: float | None = None

    def tick(self) -> None:
        """One event, now."""
        self.last_s = time.monotonic()
        self._times.append(self.last_s)
        self.total += 1

    def hz(self) -> float:
        """Events per second; 0 when fewer than two lie in the window."""
        since = time.monotonic() - WINDOW_S
        recent = [t for t in self._times.copy() if t > since]
        return (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 and recent[-1] > recent[0] else 0.0

    def count(self) -> int:
        """Events within the window."""
        since = time.monotonic() - WINDOW_S
        return sum(t > since for t in self._times.copy())

    def interval_s(self) -> float | None:
        """Seconds between the last two events; None = there were not two."""
        times = self._times
        return times[-1] - times[-2] if len(times) > 1 else None

    def period_s(self) -> float | None:
        """Median of the last intervals in seconds; None = too few, or too uneven to say when the next event is due."""
        times = self._times
        if len(times) <= _INTERVALS:
            return None
        intervals = sorted(times[-k] - times[-k - 1] for k in range(1, _INTERVALS + 1))
        middle = intervals[_INTERVALS // 2]
        return middle if intervals[-1] <= _EVEN * middle else None

    def silent_s(self) -> float | None:
        """Seconds since the last event; None = there was none."""
        return None if self.last_s is None else time.monotonic() - self.last_s


class Drops:
    """How many frames were dropped for each reason, how many lately, and what was said about the last one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total: Counter[str] = Counter()
        self._recent: deque[tuple[float, str, int]] = deque(maxlen=1000)
        self._words: dict[str, tuple[float, str]] = {}

    def add(self, reason: str, words: str = "", count: int = 1) -> None:
        """Count frames; `words` say what was expected and what came."""
        assert reason in REASONS
        now = time.monotonic()
        with self._lock:
            self._total[reason] += count
            self._recent.append((now, reason, count))
            if words:
                self._words[reason] = now, words

    def total(self, reason: str) -> int:
        """Frames dropped for a reason since the start."""
        with self._lock:
            return self._total[reason]

    def recent(self) -> Counter[str]:
        """Frames dropped by reason within the last `WINDOW_S`."""
        since = time.monotonic() - WINDOW_S
        found: Counter[str] = Counter()
        with self._lock:
            for at, reason, count in self._recent:
                if at > since:
                    found[reason] += count
        return found

    def words(self, reason: str) -> str:
        """What was said about the last frame dropped for this reason, "" = nothing."""
        with self._lock:
            return self._words.get(reason, (0.0, ""))[1]

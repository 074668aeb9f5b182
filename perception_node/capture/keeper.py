"""Writes frames in a thread of its own: who offers one never waits. Free of ROS.

The thread has the process's priority. A lower one would be worse: Python's lock, once taken, would be given back late.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from perception_node.capture.store import Store, Verdict
from perception_node.errors import PerceptionError, unexpected
from perception_node.types import Frame, Scene

WAITING = 4
"""Frames that wait to be written at most, 3 MB each at 640x480. One takes some ten milliseconds."""

Answer = Callable[[Verdict | str], None]
"""Gets what became of a frame, or words about what went wrong; called in the writing thread."""


@dataclass(frozen=True, eq=False)
class _Job:
    frame: Frame
    scene: Scene
    reason: str
    why: str
    answer: Answer | None


class Keeper:
    """The writing thread. The store is opened when the first frame comes, or at once when its folder is there.

    Args:
        folder: of the store. budget_bytes: as for `Store`. belt_plane: as `belt.plane`, written with each frame.
    """

    def __init__(self, folder: Path, budget_bytes: float, belt_plane: tuple[float, ...] = ()) -> None:
        self.folder, self._budget, self._belt_plane = folder, budget_bytes, belt_plane
        self.counts: Counter[str] = Counter()
        """Frames by what became of them: kept, duplicate, budget, busy (the thread was behind), failed."""
        self.failure = ""
        """Why the last frame could not be written, "" = it could."""
        self.frames, self.used_bytes = 0, 0
        self._store: Store | None = None
        self._queue: queue.Queue[_Job | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def offer(self, frame: Frame, scene: Scene, reason: str, why: str, answer: Answer | None = None) -> bool:
        """Have a frame written. Takes microseconds; False (and counted) when too many are waiting already."""
        try:
            self._queue.put_nowait(_Job(frame, scene, reason, why, answer))
        except queue.Full:
            self.counts["busy"] += 1
            return False
        return True

    def close(self) -> None:
        """Write what is waiting, end the thread, let another writer in."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        if self.folder.is_dir():
            self._try(None)
        while (job := self._queue.get()) is not None:
            verdict = self._try(job)
            self.counts["failed" if isinstance(verdict, str) else verdict.why_not or "kept"] += 1
            if job.answer is not None:
                with contextlib.suppress(Exception):  # who asked may be gone
                    job.answer(verdict)
        if self._store is not None:
            self._store.close()

    def _try(self, job: _Job | None) -> Verdict | str:
        """Write a frame, or (None) open the store. A failure is remembered in words, and costs a frame, not the thread."""
        try:
            if self._store is None:
                self._store = Store(self.folder, self._budget)
            verdict = Verdict(None, "", "")
            if job is not None:
                verdict = self._store.keep(job.frame, job.scene, job.reason, job.why, self._belt_plane)
            self.frames, self.used_bytes, self.failure = len(self._store), self._store.used_bytes, ""
            return verdict
        except PerceptionError as error:
            self.failure = str(error)
        except Exception as error:  # a fault of ours
            self.failure = unexpected(error)
        return self.failure

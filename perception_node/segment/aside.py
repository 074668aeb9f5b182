"""A thread that runs what may hang, for callers who do not wait longer than they want to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from perception_node.errors import ModelError

T = TypeVar("T")


class LateError(ModelError):
    """What was asked has not come in time."""


class _Job:
    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.done = threading.Event()
        self.result: Any = None
        self.error: Exception | None = None


class Aside:
    """One daemon thread; one function at a time. It keeps nothing of what it ran, and a function that hangs is left behind."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._unfinished: threading.Event | None = None
        threading.Thread(target=_run, args=(self._jobs,), name=name, daemon=True).start()

    def call(self, function: Callable[[], T], limit_s: float) -> T:
        """What the function returns or raises.

        Raises:
            LateError: it took longer than `limit_s`, or the one before it is still running.
        """
        if self._unfinished is not None and not self._unfinished.is_set():
            raise LateError("still busy with what it was asked before")
        job = _Job(function)
        self._unfinished = job.done
        self._jobs.put(job)
        if not job.done.wait(limit_s):
            raise LateError(f"expected an answer within {limit_s:.3g} s, none came")
        if job.error is not None:
            error, job.error = job.error, None
            try:
                raise error
            finally:
                del error  # the error's traceback holds this frame: a cycle would keep what failed until the next collection
        result: T = job.result
        return result

    def close(self) -> None:
        """Let the thread end when it has nothing to do."""
        self._jobs.put(None)


def _run(jobs: SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        try:
            job.result = job.function()
        except Exception as error:
            job.error = error
        job.done.set()
        del job  # else the thread would keep, while it waits, what it ran last

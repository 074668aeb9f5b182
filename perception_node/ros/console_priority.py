"""What makes the console a quiet neighbour of the node: its threads give way, and memory for pictures is kept."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from pathlib import Path

NICENESS = 5
"""Of the threads that draw and serve: a third of the node's share where both want the same core, and the node goes first.

Not more: beside other busy programs the page should still move (with 10 it stood still among twelve of them). The middleware's
own threads stay as they are, since they share locks with the node's: one that has to wait while it holds such a lock would make the
node wait. Source: sched(7), weights of nice values; measured: docs/results.md.
"""
_KEEP_BYTES = 32 * 2**20  # Source: the largest value that mallopt(3) takes for M_MMAP_THRESHOLD on 64 bits
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # Source: malloc.h of the GNU C library


def give_way() -> None:
    """Let the calling thread yield to others of usual priority; what the system refuses is left as it is. Linux only."""
    if not sys.platform.startswith("linux"):
        return
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))
    with contextlib.suppress(OSError):
        os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))  # on waking it waits for who runs


def give_way_as_session(group: Path = Path("/proc/self/autogroup")) -> bool:
    """The same for the whole session where it is this process's own; True = done.

    With the kernel's automatic groups (a session each) niceness counts within a session only. In a session of others, as under
    `ros2 launch`, the node is in it too, and `give_way` is enough. Source: sched(7), "The autogroup feature".
    """
    if not sys.platform.startswith("linux") or os.getsid(0) != os.getpid():
        return False
    try:
        group.write_text(str(NICENESS))
    except OSError:  # no such groups here, or not ours to set
        return False
    return True


def keep_memory() -> bool:
    """Keep freed memory for the next picture: without it each costs a thousand page faults (measured: 3.8 to 2.4 ms a picture)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES) and mallopt(_M_TRIM_THRESHOLD, 2 * _KEEP_BYTES))

"""Operating-system processes that end with the program that started them, whatever ends it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType

from perception_node.config import load

_PR_SET_PDEATHSIG = 1  # Source: prctl(2), Linux
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None  # here: after fork() nothing may be loaded any more


def _die_with_parent(parent: int) -> None:
    """Runs in the child before it becomes the program: the kernel kills it when its parent dies, even by SIGKILL."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:
            os._exit(1)


def parameter_files(cell: Path | None) -> tuple[str, ...]:
    """ROS arguments that give a node the cell's configuration and the gripper.yaml beside it, as `config.load` reads them.

    Args:
        cell: cell.yaml, None = the defaults.

    Raises:
        ConfigError: one of the files cannot be used; better said here than in the node's log.
    """
    if cell is None:
        return ()
    load(cell)
    files = (cell, cell.with_name("gripper.yaml"))
    return tuple(word for file in dict.fromkeys(files) if file.exists() for word in ("--params-file", str(file.resolve())))


class Processes:
    """A group of child processes; a context manager that ends them all on leaving, also by an exception.

    Each runs in its own session, so that Ctrl-C in the terminal reaches only the parent, which ends them in order: SIGINT,
    and SIGKILL after `polite_s`, to the child and what it started.

    Args:
        environment: of the children. logs: folder for what they print. polite_s: between SIGINT and SIGKILL, in seconds.
    """

    def __init__(self, environment: Mapping[str, str], logs: Path, polite_s: float = 5.0) -> None:
        self._environment, self._logs, self._polite_s = dict(environment), logs, polite_s
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end_all()

    def start(self, name: str, command: Sequence[str], talk: bool = False) -> subprocess.Popen[bytes]:
        """Start one; call this from the main thread (the kernel ties the child to the thread that made it).

        Args:
            name: of the child and its log. command: what to run. talk: connect its standard input and output to pipes.
        """
        parent = os.getpid()
        with self.log(name).open("wb") as log:
            self._children[name] = subprocess.Popen(
                list(command), env=self._environment, stdin=subprocess.PIPE if talk else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talk else log, stderr=log if talk else subprocess.STDOUT,
                start_new_session=True, preexec_fn=lambda: _die_with_parent(parent))
        return self._children[name]

    def log(self, name: str) -> Path:
        """Where a child's words go."""
        return self._logs / f"{name}.log"

    def status(self, name: str) -> int | None:
        """Exit status of a child, None while it runs."""
        return self._children[name].poll()

    def pid(self, name: str) -> int:
        """Process id of a child."""
        return self._children[name].pid

    def end_all(self) -> None:
        """End all, politely first. Returns when none is left."""
        for number in (signal.SIGINT, signal.SIGKILL):
            for child in self._children.values():
                with contextlib.suppress(ProcessLookupError):
                    if child.poll() is None:
                        os.killpg(child.pid, number)
            end = time.monotonic() + self._polite_s
            for child in self._children.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(max(0.05, end - time.monotonic()))
        for child in self._children.values():
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()


def interrupt_on_sigterm() -> None:
    """Make SIGTERM behave like Ctrl-C: it raises KeyboardInterrupt in the main thread, so that everything is cleaned up."""
    def raise_interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, raise_interrupt)

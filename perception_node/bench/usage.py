"""Processor, memory, file descriptors and threads, as Linux tells them in /proc."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclass(frozen=True)
class ProcessUse:
    """What a process uses now: resident memory of its own (no shared pages) in MB, file descriptors, threads, processor seconds."""

    memory_mb: float
    descriptors: int
    threads: int
    cpu_s: float

    @classmethod
    def of(cls, pid: int) -> ProcessUse:
        """Of a process. Source: proc(5), statm (resident less shared) and stat (utime, stime, num_threads)."""
        folder = Path(f"/proc/{pid}")
        pages = (folder / "statm").read_text().split()
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        return cls((int(pages[1]) - int(pages[2])) * _PAGE_MB, len(list((folder / "fd").iterdir())), int(fields[17]),
                   (int(fields[11]) + int(fields[12])) * _TICK_S)


def session_cpu_s(leader: int) -> float:
    """Processor seconds of all living processes of a session, by the process id of its leader. Source: proc(5), stat."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[3]) == leader:
            total += int(fields[11]) + int(fields[12])
    return total * _TICK_S


class MachineUse:
    """Share of all processors that was busy, in percent, between calls of `sample`."""

    def __init__(self) -> None:
        self.samples: list[float] = []
        self._last = self._read()
        self._at = time.monotonic()

    def sample(self, every_s: float = 0.5) -> bool:
        """Take a sample when the last one is old enough; True = one was taken."""
        if time.monotonic() - self._at < every_s:
            return False
        busy, total = self._read()
        if total > self._last[1]:
            self.samples.append(100.0 * (busy - self._last[0]) / (total - self._last[1]))
        self._last, self._at = (busy, total), time.monotonic()
        return True

    @staticmethod
    def _read() -> tuple[int, int]:
        """Busy and all ticks of all processors. Source: proc(5), stat: user nice system idle iowait irq softirq steal."""
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(ticks) - ticks[3] - ticks[4], sum(ticks)

"""A folder of kept frames with one writer: near-duplicates stay out, and what is used of the disk stays within its budget."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from perception_node.capture import files
from perception_node.capture.reading import read_meta, reason_of
from perception_node.capture.rules import REQUEST, USEFULNESS
from perception_node.errors import PerceptionError
from perception_node.learn.near import near_pairs, thumbnail
from perception_node.types import F32, Frame, Scene

MIN_FREE_BYTES = 500_000_000
"""Nothing is kept on a disk with less space left, so that captures cannot stop the cell. Source: judgement."""

_LOCK = ".lock"
_BLOCK = 500  # small pictures compared at once: 6 MB


@dataclass(frozen=True)
class Kept:
    """One frame of a store: its number, reason ("" = its meta file is broken) and bytes on disk."""

    number: int
    reason: str
    size: int

    @property
    def usefulness(self) -> int:
        """Frames of the smallest go first; broken ones before all others."""
        return USEFULNESS.get(self.reason, -1)


@dataclass(frozen=True)
class Verdict:
    """What became of a frame: its number, or None and "duplicate" or "budget"; the words say more."""

    number: int | None
    why_not: str
    words: str


class _Smalls:
    """The small pictures of all frames as rows of one array in half precision, 6 kB each, in no order."""

    def __init__(self) -> None:
        self._rows = np.zeros((64, thumbnail(np.zeros((8, 8, 3), np.uint8)).size), np.float16)
        self._numbers: list[int] = []

    def add(self, number: int, small: F32) -> None:
        if len(self._numbers) == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[len(self._numbers)] = small
        self._numbers.append(number)

    def remove(self, number: int) -> None:
        if number in self._numbers:
            place, last = self._numbers.index(number), self._numbers.pop()
            if number != last:
                self._numbers[place], self._rows[place] = last, self._rows[len(self._numbers)]

    def alike(self, small: F32) -> list[int]:
        """Numbers of the frames whose pictures are nearly this one."""
        found = []
        for start in range(0, len(self._numbers), _BLOCK):
            block = self._rows[start:min(start + _BLOCK, len(self._numbers))].astype(np.float32)
            found += [self._numbers[start + j] for _, j in near_pairs([small], block)]  # type: ignore[arg-type]  # rows, uncopied
        return found


class Store:
    """The only writer of a folder. Opening it sweeps away what a power cut left of a frame.

    Args:
        folder: made when missing. budget_bytes: of all frames' files together.

    Raises:
        PerceptionError: another process writes there, or the folder cannot be written.
    """

    def __init__(self, folder: Path, budget_bytes: float) -> None:
        self.folder, self._budget = folder, budget_bytes
        self._lock = lock(folder)
        try:
            numbers = files.sweep(folder)
            self._kept = {number: _read(folder, number) for number in numbers}
            self._smalls = _Smalls()
            for number in numbers:
                if (small := _read_small(folder, number)) is not None:
                    self._smalls.add(number, small)
        except OSError as error:
            self.close()
            raise PerceptionError(f"{folder}: cannot be read: {error.strerror}") from None
        self._next = 1 + max(numbers, default=-1)
        self.used_bytes = sum(kept.size for kept in self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)

    def close(self) -> None:
        """Let another writer in."""
        os.close(self._lock)

    def keep(self, frame: Frame, scene: Scene, reason: str, why: str, belt_plane: tuple[float, ...] = ()) -> Verdict:
        """Write one frame, unless one like it is there that is at least as useful, or nothing less useful could make room.

        What a person asks for is kept though one like it is there.

        Args:
            frame, scene: as published. reason: of `rules.USEFULNESS`. why: in words. belt_plane: as `belt.plane`.

        Raises:
            PerceptionError: the disk is (nearly) full or cannot be written.
        """
        small = thumbnail(cv2.cvtColor(files.small(frame.rgb), cv2.COLOR_GRAY2BGR))  # type: ignore[arg-type]
        alike = [] if reason == REQUEST else [self._kept[number] for number in self._smalls.alike(small)]
        better = [kept for kept in alike if kept.usefulness >= USEFULNESS[reason]]
        if better:
            return Verdict(None, "duplicate", f"nearly the same picture as number {better[0].number:04d}")
        content = files.encode(frame, scene, reason, why, belt_plane)
        size = sum(map(len, content.values()))
        victims = self._victims(size, USEFULNESS[reason], alike)
        if victims is None:
            return Verdict(None, "budget", f"{1e-6 * self._budget:.0f} MB are used by frames that are more useful")
        try:
            free = shutil.disk_usage(self.folder).free
            if free - size < MIN_FREE_BYTES:
                raise PerceptionError(f"{self.folder}: expected at least {MIN_FREE_BYTES // 10**6} MB of free disk, got "
                                      f"{free // 10**6} MB")
            for victim in victims:
                self._drop(victim)
        except OSError as error:
            raise PerceptionError(f"{self.folder}: cannot be written: {error.strerror}") from None
        number = self._next
        files.write(self.folder, number, content)
        self._next += 1
        self._kept[number] = Kept(number, reason, size)
        self._smalls.add(number, small)
        self.used_bytes += size
        return Verdict(number, "", f"kept as number {number:04d}, with {len(scene.segmentation.instances)} labels")

    def _victims(self, size: int, usefulness: int, alike: list[Kept]) -> list[Kept] | None:
        """Frames that must go for `size` bytes more: less useful ones of the same picture, then the oldest of the least useful."""
        victims, used = list(alike), self.used_bytes + size - sum(kept.size for kept in alike)
        order = sorted((kept for kept in self._kept.values() if kept not in alike), key=lambda k: (k.usefulness, k.number))
        for kept in order:
            if used <= self._budget:
                break
            if kept.usefulness > usefulness:
                return None
            victims.append(kept)
            used -= kept.size
        return victims if used <= self._budget else None

    def _drop(self, kept: Kept) -> None:
        files.remove(self.folder, kept.number)
        del self._kept[kept.number]
        self._smalls.remove(kept.number)
        self.used_bytes -= kept.size


def lock(folder: Path) -> int:
    """Become the only writer of a folder, until the handle is closed or the process ends.

    Raises:
        PerceptionError: another one writes there, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise PerceptionError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        who = os.read(handle, 20).decode(errors="replace").strip()
        os.close(handle)
        raise PerceptionError(f"{folder}: expected to be the only writer, but process {who or '(unknown)'} writes there") from None
    with contextlib.suppress(OSError):  # who it is helps; on a full disk the lock holds without
        os.truncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
    return handle


def _read(folder: Path, number: int) -> Kept:
    try:
        reason = reason_of(read_meta(folder, number))
    except PerceptionError:
        reason = ""
    return Kept(number, reason, files.size_of(folder, number))


def _read_small(folder: Path, number: int) -> F32 | None:
    path = files.path_of(folder, "small", number)
    data = path.read_bytes() if path.is_file() else b""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    return None if picture is None else thumbnail(picture)  # type: ignore[arg-type]

"""The files of a rosbag2 recording as one stream of messages in the order of recording: mcap or sqlite, whole or cut off."""

from __future__ import annotations

import heapq
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from perception_node.bag.salvage import MAGIC, CutOffMcap, has_journal, is_cut_off, recovered_sqlite, zstandard
from perception_node.errors import DatasetError, one_line

STORE: Typestore = get_typestore(Stores.ROS2_KILTED)
"""Definitions of the messages that are read: those of sensor_msgs are the same in all ROS 2 distributions, so what other
definitions a recording carries does not matter."""

_SUFFIXES = (".mcap", ".db3")
_BEGINS = {".mcap": ("an mcap recording", MAGIC), ".db3": ("an sqlite recording", b"SQLite format 3\0")}
"""Source: MCAP format specification 0; SQLite's "Database File Format", 1.3."""

Message = tuple[Connection, int, bytes]


class Storage:
    """An open recording.

    Args:
        path: a rosbag2 folder, or a bare .mcap or .db3 file (also packed as .mcap.zstd, .db3.zstd).

    Attributes:
        connections: topics with type and number of messages. duration_s: first to last message. notes: what was unusual.

    Raises:
        DatasetError: not a recording, or one that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = ExitStack()
        self._sources: list[tuple[list[Connection], Callable[[Collection[Connection]], Iterator[Message]]]] = []
        self._spans: list[tuple[int, int]] = []
        self.notes: list[str] = []
        try:
            self._open(path)
        except DatasetError:
            self.close()
            raise
        except Exception as error:  # a damaged file fails in any place of the libraries
            self.close()
            raise DatasetError(f"{path}: the recording cannot be read: {one_line(error)}") from None
        self.connections = [connection for connections, _ in self._sources for connection in connections]
        begin, end = min((s for s, _ in self._spans), default=0), max((e for _, e in self._spans), default=0)
        self.duration_s = max(0, end - begin) * 1e-9

    def close(self) -> None:
        """Close all files."""
        self._stack.close()

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        """(connection, time of recording in ns, serialised message) of some topics, in the order of recording.

        Raises:
            DatasetError: the file is damaged.
        """
        streams = []
        for connections, read in self._sources:
            chosen = [connection for connection in connections if connection.topic in topics]
            if chosen:
                streams.append(read(chosen))
        try:
            yield from heapq.merge(*streams, key=lambda message: message[1])
        except DatasetError:
            raise
        except Exception as error:  # likewise
            raise DatasetError(f"{self._path}: the recording is damaged: {one_line(error)}") from None

    def _open(self, path: Path) -> None:
        if not path.exists():
            raise DatasetError(f"{path}: expected a recording (a rosbag2 folder, a .mcap or a .db3 file), got no such file")
        if not path.is_dir():
            if _kind(path) == "":
                raise DatasetError(f"{path}: expected a rosbag2 folder, a .mcap or a .db3 file, got {path.suffix or 'no suffix'}")
            self._add_file(path)
            return
        files = sorted((file for file in path.iterdir() if _kind(file) and file.is_file()), key=lambda f: (len(f.name), f.name))
        cut = [file for file in files if file.stat().st_size == 0 or (file.suffix == ".mcap" and is_cut_off(file))
               or has_journal(file)]
        if (path / "metadata.yaml").exists() and not cut:
            self._add_reader(path)
            return
        if not files:
            raise DatasetError(f"{path}: expected a rosbag2 folder with metadata.yaml, a .mcap or a .db3 file, got a folder "
                               "without any")
        if not (path / "metadata.yaml").exists():
            self.notes.append("metadata.yaml is missing: the recorder did not end in order")
        for file in files:
            if file.stat().st_size == 0 and len(files) > 1:
                self.notes.append(f"{file.name} is empty and left out")
            else:
                self._add_file(file)

    def _add_file(self, file: Path) -> None:
        if file.suffix == ".zstd":
            file = self._unpacked(file)
        if file.suffix == ".mcap" and is_cut_off(file):
            salvaged = CutOffMcap(file)
            self._stack.callback(salvaged.close)
            count = sum(connection.msgcount for connection in salvaged.connections)
            if count == 0:
                raise DatasetError(f"{self._path}: the recording was cut off before its first message")
            rest = ", the rest is lost" if salvaged.lost else ""
            self.notes.append(f"{file.name} was cut off: {count} messages are whole{rest}")
            self._sources.append((salvaged.connections, salvaged.messages))
            self._spans.append((salvaged.start_ns, salvaged.end_ns))
            return
        if file.suffix == ".db3" and has_journal(file):
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="perception_")))
            self.notes.append(f"{file.name} was cut off: its journal was taken in")
            file = recovered_sqlite(file, folder)
        _check_begin(file)
        self._add_reader(file)

    def _add_reader(self, path: Path) -> None:
        reader = self._stack.enter_context(Reader(path))
        self._sources.append((list(reader.connections), reader.messages))
        if reader.message_count:
            self._spans.append((reader.start_time, reader.end_time))

    def _unpacked(self, file: Path) -> Path:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="perception_")))
        target = folder / file.stem
        with zstandard().open(file, "rb") as packed, target.open("wb") as out:
            shutil.copyfileobj(packed, out, 1 << 20)
        return target


def deserialize(connection: Connection, raw: bytes) -> Any:
    """The message of its serialised form.

    Raises:
        DatasetError: it is none of that type.
    """
    try:
        return STORE.deserialize_cdr(raw, connection.msgtype)
    except Exception:  # generated parsers fail in many ways
        raise DatasetError(f"{connection.topic}: a message that is no {connection.msgtype}") from None


def _kind(path: Path) -> str:
    name = path.name[: -len(".zstd")] if path.suffix == ".zstd" else path.name
    return next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), "")


def _check_begin(file: Path) -> None:
    """That a file begins as its suffix says."""
    words, wanted = _BEGINS[file.suffix]
    with file.open("rb") as opened:
        begin = opened.read(len(wanted))
    if begin != wanted:
        raise DatasetError(f"{file}: expected {words}, got {f'a file that begins with {begin!r}' if begin else 'an empty file'}")

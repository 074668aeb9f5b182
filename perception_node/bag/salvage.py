"""Recordings that a crash cut off: mcap files without their end, sqlite files with their journal still beside them."""

from __future__ import annotations

import importlib
import shutil
import sqlite3
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat

from perception_node.errors import DatasetError, one_line

MAGIC = b"\x89MCAP0\r\n"
"""First and last bytes of an mcap file. Source: MCAP format specification 0, as all numbers below."""

MAX_CHUNK_BYTES = 1 << 30
"""Chunks that promise to unpack to more are refused. Source: judgement; rosbag2 writes chunks of some megabytes."""

_FOOTER_BYTES = 1 + 8 + 20 + len(MAGIC)
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F


def is_cut_off(path: Path) -> bool:
    """True for an mcap file that begins as one and does not end as one."""
    with path.open("rb") as file:
        begin = file.read(len(MAGIC))
        file.seek(0, 2)
        size = file.tell()
        file.seek(max(0, size - len(MAGIC)))
        return begin == MAGIC and (size < len(MAGIC) + _FOOTER_BYTES or file.read() != MAGIC)


def zstandard() -> Any:
    """The zstd module: Python's own since 3.14, before that the one that rosbags brings."""
    try:
        return importlib.import_module("compression.zstd")
    except ImportError:
        return importlib.import_module("backports.zstd")


@dataclass(frozen=True)
class _Piece:
    """A chunk, or a record outside of chunks: where its content lies, how much of it is there, whether that is all."""

    opcode: int
    offset: int
    size: int
    whole: bool


class CutOffMcap:
    """Reads an mcap file from its beginning to the last message that is whole; `lost` says when something was cut in two.

    Args:
        path: of the file.

    Raises:
        DatasetError: no mcap file, or one that is damaged before its end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        self.connections: list[Connection] = []
        self.start_ns, self.end_ns = 0, 0
        self.lost = False
        self._schemas: dict[int, str] = {}
        try:
            self._pieces = list(self._scan())
            counts: dict[int, int] = {}
            stamps: list[int] = []
            for channel, logged_ns, _ in self._all():
                counts[channel] = counts.get(channel, 0) + 1
                stamps.append(logged_ns)
        except (struct.error, ValueError) as error:
            self._file.close()
            raise DatasetError(f"{path}: the recording is damaged: {error}") from None
        except BaseException:
            self._file.close()
            raise
        self.connections = [c._replace(msgcount=counts.get(c.id, 0)) for c in self.connections]
        if stamps:
            self.start_ns, self.end_ns = min(stamps), max(stamps)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def messages(self, connections: Collection[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """(connection, time of recording in ns, serialised message), in the order of the file, by time within a chunk."""
        wanted = {connection.id: connection for connection in connections}
        for channel, logged_ns, data in self._all():
            if channel in wanted:
                yield wanted[channel], logged_ns, data

    def _scan(self) -> Iterator[_Piece]:
        size = self._path.stat().st_size
        at = len(MAGIC)
        while at < size:
            self._file.seek(at)
            head = self._file.read(9)
            if len(head) < 9:
                self.lost = True
                return
            opcode, length = struct.unpack("<BQ", head)
            at += 9
            if opcode == _DATA_END:
                return
            there = min(length, size - at)
            if opcode in (_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK):
                yield _Piece(opcode, at, there, there == length)
            self.lost |= there < length
            at += length

    def _all(self) -> Iterator[tuple[int, int, bytes]]:
        for piece in self._pieces:
            self._file.seek(piece.offset)
            content = self._file.read(piece.size)
            if piece.opcode == _CHUNK:
                yield from sorted(self._records(_unpack(content, piece.whole, self._path)), key=lambda message: message[1])
            elif piece.whole:
                message = self._record(piece.opcode, content)
                if message is not None:
                    yield message

    def _records(self, content: bytes) -> Iterator[tuple[int, int, bytes]]:
        at = 0
        while at + 9 <= len(content):
            opcode, length = struct.unpack_from("<BQ", content, at)
            at += 9
            if at + length > len(content):
                return
            message = self._record(opcode, content[at:at + length])
            at += length
            if message is not None:
                yield message

    def _record(self, opcode: int, content: bytes) -> tuple[int, int, bytes] | None:
        if opcode == _MESSAGE and len(content) >= 22:
            channel, _, logged_ns, _ = struct.unpack_from("<HIQQ", content)
            return channel, logged_ns, content[22:]
        if opcode == _SCHEMA:
            number = struct.unpack_from("<H", content)[0]
            self._schemas[number] = _text(content, 2)[0]
        elif opcode == _CHANNEL:
            number, schema = struct.unpack_from("<HH", content)
            topic, at = _text(content, 4)
            encoding, _ = _text(content, at)
            if number not in {connection.id for connection in self.connections}:
                self.connections.append(Connection(
                    number, topic, self._schemas.get(schema, ""), MessageDefinition(MessageDefinitionFormat.NONE, ""), "", 0,
                    ConnectionExtRosbag2(encoding, []), None))
        return None


def recovered_sqlite(path: Path, folder: Path) -> Path:
    """A copy of a database in `folder`, with what its journal or write-ahead log still held; the original is not touched.

    Raises:
        DatasetError: sqlite cannot repair it.
    """
    copy = folder / path.name
    for suffix in ("", "-wal", "-journal"):
        if (source := path.with_name(path.name + suffix)).exists():
            shutil.copyfile(source, folder / source.name)
    try:
        database = sqlite3.connect(copy)
        try:
            database.execute("PRAGMA journal_mode=DELETE").fetchall()
        finally:
            database.close()
    except sqlite3.Error as error:
        raise DatasetError(f"{path}: the recording was cut off and its journal does not fit: {error}") from None
    return copy


def has_journal(path: Path) -> bool:
    """True for a database that was not closed."""
    sides = (path.with_name(path.name + suffix) for suffix in ("-wal", "-journal"))
    return any(side.exists() and side.stat().st_size > 0 for side in sides)


def _unpack(content: bytes, whole: bool, path: Path) -> bytes:
    """The records of a chunk, or of the part of it that is there."""
    if len(content) < 40:
        return b""
    size = struct.unpack_from("<Q", content, 16)[0]
    compression, at = _text(content, 28)
    packed = content[at + 8:]
    if size > MAX_CHUNK_BYTES:
        raise DatasetError(f"{path}: the recording is damaged: a chunk of {size} bytes, expected at most {MAX_CHUNK_BYTES}")
    if compression == "":
        return packed
    try:
        if compression == "zstd":
            unpacked: bytes = zstandard().ZstdDecompressor().decompress(packed, size)
        elif compression == "lz4":
            unpacked = LZ4FrameDecompressor().decompress(packed, size)
        else:
            raise DatasetError(f"{path}: expected chunks packed with zstd, lz4 or not at all, got {compression!r}")
    except DatasetError:
        raise
    except Exception as error:  # the packers' own types
        if not whole:
            return b""
        raise DatasetError(f"{path}: the recording is damaged: {one_line(error)}") from None
    return unpacked


def _text(content: bytes, at: int) -> tuple[str, int]:
    """The text at an offset, and the offset behind it."""
    length = struct.unpack_from("<I", content, at)[0]
    return content[at + 4:at + 4 + length].decode("utf-8", "replace"), at + 4 + length

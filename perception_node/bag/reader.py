"""rosbag2 recordings (mcap or sqlite3) as frames, without ROS: every colour picture once, in order, paired by stamp."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection
from rosbags.typesys import Stores, get_typestore

from perception_node.bag import decode
from perception_node.bag.topics import COMPRESSED, INFO, choose_topics
from perception_node.errors import DatasetError, FrameError
from perception_node.types import F32, CameraModel, Frame

PAIR_WAIT_NS = 1_000_000_000
"""How long, on the recording's clock, a colour picture waits for its depth before it goes without."""


@dataclass(frozen=True)
class Span:
    """What a recording holds: number of colour pictures, time from first to last message in seconds."""

    frames: int
    duration_s: float


class Recording:
    """A recording, opened for reading; a context manager.

    Args:
        path: a rosbag2 folder, or a bare .mcap or .db3 file.
        colour, depth, camera_info: topic names; None = found by type and name.
        camera: calibration for recordings without camera_info, or to be used in its place.
        use_depth: False = frames without depth.
        pair_tolerance_s: colour and depth belong together when their stamps differ by at most this, in seconds.

    Attributes:
        topics: the topics in use. span: number of frames and duration. skipped: pictures that could not be used, by reason.

    Raises:
        DatasetError: not a recording, cut off, no colour topic or several to choose from, no calibration.
    """

    def __init__(self, path: str | Path, *, colour: str | None = None, depth: str | None = None, camera_info: str | None = None,
                 camera: CameraModel | None = None, use_depth: bool = True, pair_tolerance_s: float = 0.005) -> None:
        self._path = Path(path)
        self._camera = camera
        self._tolerance_ns = round(pair_tolerance_s * 1e9)
        self.skipped: Counter[str] = Counter()
        self._reader = _open(self._path)
        try:
            self.topics = choose_topics(self._reader.connections, str(self._path), colour=colour,
                                        depth=depth if use_depth else "", camera_info=camera_info)
            if self.topics.camera_info is None and camera is None:
                raise DatasetError(f"{self._path}: expected a topic of type {INFO}, got none: name the calibration yourself")
            count = sum(c.msgcount for c in self._reader.connections if c.topic == self.topics.colour)
            self.span = Span(count, self._reader.duration * 1e-9)
        except BaseException:
            self._reader.close()
            raise

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._reader.close()

    def frames(self) -> Iterator[Frame]:
        """Every usable colour picture once, in the order in which they were recorded, with its depth and calibration.

        A picture that cannot be decoded is left out and counted in `skipped`; one without depth comes with `depth_m` None.

        Raises:
            DatasetError: the file is damaged.
        """
        waiting: deque[tuple[int, Any, Connection]] = deque()
        depths: dict[int, tuple[Any, Connection]] = {}
        camera = self._camera or self._first_camera()
        wanted = [c for c in self._reader.connections if c.topic in
                  (self.topics.colour, self.topics.depth, self.topics.camera_info)]
        for connection, logged_ns, raw in self._messages(wanted):
            message = self._deserialize(raw, connection)
            if message is None:
                continue
            if connection.topic == self.topics.camera_info:
                if self._camera is None:
                    camera = self._calibration(message) or camera
                continue
            if connection.topic == self.topics.colour:
                waiting.append((logged_ns, message, connection))
            else:
                depths[decode.stamp_ns(message.header)] = (message, connection)
            while waiting and (self._find(waiting[0][1], depths) is not None or self.topics.depth is None
                               or logged_ns - waiting[0][0] > PAIR_WAIT_NS):
                yield from self._emit(waiting.popleft(), depths, camera)
        while waiting:
            yield from self._emit(waiting.popleft(), depths, camera)

    def _emit(self, colour: tuple[int, Any, Connection], depths: dict[int, tuple[Any, Connection]],
              camera: CameraModel | None) -> Iterator[Frame]:
        _, message, connection = colour
        key = self._find(message, depths)
        found = depths.pop(key) if key is not None else None
        stamp_ns = decode.stamp_ns(message.header)
        for old in [stamp for stamp in depths if stamp < stamp_ns - PAIR_WAIT_NS]:
            del depths[old]
        try:
            if camera is None:
                raise FrameError("camera_info: expected a usable calibration, got none")
            compressed = connection.msgtype == COMPRESSED
            rgb = decode.colour_from_compressed(message) if compressed else decode.colour_from_image(message)
            depth = None if found is None else _depth(*found)
            frame = Frame(rgb=rgb, depth_m=depth, camera=camera, stamp_ns=stamp_ns, frame_id=str(message.header.frame_id))
        except FrameError as error:
            self.skipped[str(error)] += 1
            return
        yield frame

    def _find(self, message: Any, depths: dict[int, tuple[Any, Connection]]) -> int | None:
        stamp_ns = decode.stamp_ns(message.header)
        if stamp_ns in depths:
            return stamp_ns
        near = min(depths, key=lambda other: abs(other - stamp_ns), default=None)
        return near if near is not None and abs(near - stamp_ns) <= self._tolerance_ns else None

    def _first_camera(self) -> CameraModel | None:
        for connection, _, raw in self._messages([c for c in self._reader.connections if c.topic == self.topics.camera_info]):
            message = self._deserialize(raw, connection)
            camera = self._calibration(message) if message is not None else None
            if camera is not None:
                return camera
        return None

    def _calibration(self, message: Any) -> CameraModel | None:
        try:
            return decode.camera_from_info(message)
        except FrameError as error:
            self.skipped[str(error)] += 1
            return None

    def _deserialize(self, raw: bytes, connection: Connection) -> Any:
        try:
            return self._reader.deserialize(raw, connection.msgtype)
        except (AnyReaderError, ValueError, IndexError, AssertionError):
            self.skipped[f"{connection.topic}: a message that is no {connection.msgtype}"] += 1
            return None

    def _messages(self, connections: list[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        if not connections:
            return
        try:
            yield from self._reader.messages(connections)
        except Exception as error:  # a damaged file fails in any place of the libraries
            raise DatasetError(f"{self._path}: the recording is damaged: {_line(error)}") from None


def _open(path: Path) -> AnyReader:
    if not path.exists():
        raise DatasetError(f"{path}: expected a recording (a rosbag2 folder, a .mcap or a .db3 file), got no such file")
    bare = path.is_dir() and not (path / "metadata.yaml").exists()
    files = [path] if not bare else sorted([*path.glob("*.mcap"), *path.glob("*.db3")])
    if not files:
        raise DatasetError(f"{path}: expected a rosbag2 folder with metadata.yaml, a .mcap or a .db3 file")
    if not path.is_dir() and path.suffix not in (".mcap", ".db3"):
        raise DatasetError(f"{path}: expected a rosbag2 folder, a .mcap or a .db3 file, got {path.suffix or 'no suffix'}")
    reader = AnyReader(files, default_typestore=get_typestore(Stores.ROS2_KILTED))
    try:
        reader.open()
    except Exception as error:  # likewise
        cut = "" if "end magic" not in str(error) and "footer" not in str(error) else \
            ": it was not closed; `mcap recover` makes it readable"
        raise DatasetError(f"{path}: the recording cannot be read: {_line(error)}{cut}") from None
    return reader


def _depth(message: Any, connection: Connection) -> F32:
    return decode.depth_from_compressed(message) if connection.msgtype == COMPRESSED else decode.depth_from_image(message)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

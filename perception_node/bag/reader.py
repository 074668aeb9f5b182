"""rosbag2 recordings (mcap or sqlite3) as frames, without ROS: every colour picture once, in order, paired by stamp."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

from perception_node.bag import decode
from perception_node.bag.belt import Reading, Readings
from perception_node.bag.camera import camera_model, foreign_calibration, frame_from_messages, odd_calibration
from perception_node.bag.storage import Storage, deserialize
from perception_node.bag.topics import INFO, choose_topics
from perception_node.bag.watch import Serialised
from perception_node.errors import DatasetError, FrameError
from perception_node.types import CameraModel, Frame

PAIR_WAIT_NS = 1_000_000_000
"""How long, on the recording's clock, a colour picture waits for its depth before it goes without."""

RESTART_NS = 1_000_000_000
"""Stamps that go back by more are a new beginning (a looped bag, a camera's clock set), by less a late picture.
Source: judgement; no transport reorders over a second."""

Calibration = CameraModel | Callable[[int, int], CameraModel]
"""A camera, or a function that makes one of the picture's width and height in pixels."""


@dataclass(frozen=True)
class Span:
    """What a recording holds: number of colour pictures, time from first to last message in seconds."""

    frames: int
    duration_s: float


@dataclass(frozen=True, eq=False)
class Picture:
    """A frame, the messages that it came from, and the belt's reading (None = there was none) when it was complete."""

    frame: Frame
    colour: Serialised
    depth: Serialised | None
    belt: Reading | None


@dataclass(frozen=True)
class _Message:
    """A picture's message: decoded, as it was recorded, and when."""

    message: Any
    raw: Serialised
    logged_ns: int


@dataclass(frozen=True)
class _Waiting:
    """A picture with what belongs to it: still messages."""

    stamp_ns: int
    colour: _Message
    depth: _Message | None
    camera: Calibration | None
    belt: Reading | None


class Recording:
    """A recording, opened for reading; a context manager.

    Args:
        path: a rosbag2 folder, or a bare .mcap or .db3 file; one that a crash cut off is read as far as it is whole.
        colour, depth, camera_info, belt: topic names; None = found by type and name.
        camera: calibration for recordings without camera_info, or to be used in its place.
        use_depth: False = frames without depth.
        pair_tolerance_s: colour and depth belong together when their stamps differ by at most this, in seconds.
        frame_id: name of the optical frame, in place of the recorded one of colour and depth; "" = as recorded.

    Attributes:
        topics: the topics in use. span: number of frames and duration. skipped: pictures that could not be used, by reason.
        notes: what was unusual about the recording, in words.

    Raises:
        DatasetError: not a recording, no colour topic or several to choose from, no calibration.
    """

    def __init__(self, path: str | Path, *, colour: str | None = None, depth: str | None = None, camera_info: str | None = None,
                 belt: str | None = None, camera: Calibration | None = None, use_depth: bool = True,
                 pair_tolerance_s: float = 0.005, frame_id: str = "") -> None:
        self._path = Path(path)
        self._camera, self._frame_id = camera, frame_id
        self._tolerance_ns = round(pair_tolerance_s * 1e9)
        self.skipped: Counter[str] = Counter()
        self._unstamped = 0
        self._unusable: Counter[str] = Counter()
        self._unpaired = 0
        self._gaps_ns: list[int] = []
        self._info_frame, self._other_frame, self._odd = "", "", ""
        self._storage = Storage(self._path)
        try:
            self.topics = choose_topics(self._storage.connections, str(self._path), colour=colour,
                                        depth=depth if use_depth else "", camera_info=camera_info, belt=belt)
            if self.topics.camera_info is None and camera is None:
                raise DatasetError(f"{self._path}: expected a topic of type {INFO}, got none: give the calibration (--camera)")
            count = sum(c.msgcount for c in self._storage.connections if c.topic == self.topics.colour)
            self.span = Span(count, self._storage.duration_s)
        except BaseException:
            self._storage.close()
            raise

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._storage.close()

    @property
    def notes(self) -> list[str]:
        """What was unusual about the recording, in words; complete when all frames were read."""
        found = list(self._storage.notes)
        if self._unstamped:
            found.append(f"{self._unstamped} pictures have no stamp: the time of recording is used")
        found += [f"{count} camera_info messages cannot be used: {reason}" for reason, count in self._unusable.most_common()]
        if self._other_frame:
            words = foreign_calibration(self._info_frame, self._other_frame)
            found.append(f"{self.topics.camera_info}: {words} (--camera-info-topic)")
        found += [self._odd] if self._odd else []
        if self._unpaired:
            nearest = f"the nearest is {1e-6 * median(self._gaps_ns):+.1f} ms away" if self._gaps_ns else "there is none near them"
            found.append(f"{self._unpaired} pictures have no depth within {1e-6 * self._tolerance_ns:g} ms of their stamps "
                         f"(node.pair_tolerance_s): {nearest}")
        return found

    def nothing_usable(self) -> DatasetError:
        """What to raise when all pictures were read and none could be used."""
        reasons = self.skipped.most_common(3)
        why = "; ".join([*(f"{count} x {reason}" for reason, count in reasons), *self.notes]) or "it holds no pictures"
        if reasons and all(reason.startswith("depth") for reason, _ in reasons):
            why += " (--no-depth: colour alone)"
        return DatasetError(f"{self.topics.colour}: expected at least one usable picture, got none: {why}")

    def frames(self) -> Iterator[Frame]:
        """The frames of `pictures`."""
        for picture in self.pictures():
            yield picture.frame

    def pictures(self) -> Iterator[Picture]:
        """Every usable colour picture once, in the order of the stamps, with its depth and calibration.

        Pictures that were recorded late are put where they belong. Stamps that go back by more than `RESTART_NS` begin a new
        sequence (a looped recording). A picture that cannot be decoded, or repeats another one's stamp, is left out and counted
        in `skipped`; one without depth comes with `depth_m` None.

        Raises:
            DatasetError: the file is damaged.
        """
        last_ns: int | None = None
        for waiting in self._in_order():
            if waiting is None:
                last_ns = None
                continue
            if waiting.stamp_ns == last_ns:
                self.skipped["colour: a picture that repeats the stamp of another one"] += 1
                continue
            last_ns = waiting.stamp_ns
            try:
                if waiting.camera is None:
                    raise FrameError("camera_info: expected a usable calibration, got none")
                depth = waiting.depth
                frame = frame_from_messages(waiting.colour.message, None if depth is None else depth.message, waiting.camera)
            except FrameError as error:
                self.skipped[str(error)] += 1
                continue
            self._odd = self._odd or odd_calibration(frame.camera)
            if not self._frame_id and foreign_calibration(self._info_frame, frame.frame_id):
                self._other_frame = frame.frame_id
            yield Picture(frame, waiting.colour.raw, None if depth is None else depth.raw, waiting.belt)

    def _in_order(self) -> Iterator[_Waiting | None]:
        """Pictures sorted by stamp within `RESTART_NS`; None where a new sequence begins."""
        held: list[_Waiting] = []
        newest_ns = 0
        for waiting in self._paired():
            if held and waiting.stamp_ns < newest_ns - RESTART_NS:
                yield from sorted(held, key=lambda picture: picture.stamp_ns)
                yield None
                held = []
            newest_ns = max(newest_ns, waiting.stamp_ns) if held else waiting.stamp_ns
            held.append(waiting)
            if len(held) > 1 and held[-2].stamp_ns > waiting.stamp_ns:
                held.sort(key=lambda picture: picture.stamp_ns)
            while held[0].stamp_ns < newest_ns - RESTART_NS:
                yield held.pop(0)
        yield from held

    def _paired(self) -> Iterator[_Waiting]:
        """Pictures with their depth, calibration and belt velocity, in the order of recording."""
        colours: deque[_Message] = deque()
        depths: dict[int, _Message] = {}
        readings = Readings()
        camera = self._camera or self._first_camera()
        topics = self.topics

        def pair() -> _Waiting:
            colour = colours.popleft()
            stamp_ns = colour.raw.stamp_ns
            key = self._find(stamp_ns, depths)
            depth = depths.pop(key) if key is not None else None
            if depth is None and topics.depth is not None:
                self._unpaired += 1
                self._gaps_ns += [min((other - stamp_ns for other in depths), key=abs)] if depths else []
            for old in [stamp for stamp in depths if stamp < stamp_ns - 2 * PAIR_WAIT_NS]:
                del depths[old]
            complete_ns = colour.logged_ns if depth is None else max(colour.logged_ns, depth.logged_ns)
            return _Waiting(stamp_ns, colour, depth, camera, readings.at(complete_ns))

        wanted = [topic for topic in (topics.colour, topics.depth, topics.camera_info, topics.belt) if topic]
        for connection, logged_ns, raw in self._storage.messages(wanted):
            try:
                message = deserialize(connection, raw)
            except DatasetError as error:
                self.skipped[str(error)] += 1
                continue
            if connection.topic == topics.camera_info:
                if self._camera is None:
                    try:
                        camera = self._calibration(message)
                    except FrameError as error:
                        self._unusable[str(error)] += 1
                continue
            if connection.topic == topics.belt:
                readings.put(logged_ns, message)
                continue
            stamp_ns = self._stamp(message, logged_ns, connection.topic == topics.colour)
            entry = _Message(message, Serialised(raw, stamp_ns), logged_ns)
            if connection.topic == topics.colour:
                colours.append(entry)
            else:
                depths[stamp_ns] = entry
            while colours and (topics.depth is None or self._find(colours[0].raw.stamp_ns, depths) is not None
                               or logged_ns - colours[0].logged_ns > PAIR_WAIT_NS):
                yield pair()
        while colours:
            yield pair()

    def _stamp(self, message: Any, logged_ns: int, counted: bool) -> int:
        """The message's stamp; where it has none it gets the time of recording. Also gives it the frame that was asked for."""
        if self._frame_id:
            message.header.frame_id = self._frame_id
        stamp_ns = decode.stamp_ns(message.header)
        if stamp_ns != 0:
            return stamp_ns
        self._unstamped += counted
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(logged_ns, 1_000_000_000)
        return logged_ns

    def _find(self, stamp_ns: int, depths: dict[int, _Message]) -> int | None:
        if stamp_ns in depths:
            return stamp_ns
        near = min(depths, key=lambda other: abs(other - stamp_ns), default=None)
        return near if near is not None and abs(near - stamp_ns) <= self._tolerance_ns else None

    def _first_camera(self) -> CameraModel | None:
        for connection, _, raw in self._storage.messages([self.topics.camera_info] if self.topics.camera_info else []):
            try:
                return self._calibration(deserialize(connection, raw))
            except (DatasetError, FrameError):  # counted when it comes to them
                continue
        return None

    def _calibration(self, message: Any) -> CameraModel:
        camera = camera_model(message)
        self._info_frame = str(message.header.frame_id)
        return camera

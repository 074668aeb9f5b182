"""Which topic of a recording is colour, depth and calibration: by type and name, or as told."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from rosbags.interfaces import Connection

from perception_node.errors import DatasetError

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"
TWIST = "geometry_msgs/msg/TwistStamped"
BELT_NAME = "belt_velocity"
"""Last part of the name of the topic with the belt's measured velocity; other twists are commands to robots, or bases' speeds."""

_DEPTH_WORDS = ("depth", "disparity", "stereo")
_OTHER = re.compile(r"infra|mask|confidence|(^|[/_])ir\d?($|[/_])", re.IGNORECASE)
"""Pictures that are neither colour nor depth, by their names in the drivers of RealSense, Orbbec, Azure Kinect and ZED."""

_COLOUR = re.compile(r"(^|[/_])(colou?r|rgb)($|[/_])", re.IGNORECASE)
_TRANSPORTS = ("compressed", "compressedDepth")


@dataclass(frozen=True)
class Topics:
    """Which topic of a recording is what; `depth`, `camera_info` and `belt` may be missing (None)."""

    colour: str
    depth: str | None
    camera_info: str | None
    belt: str | None = None


def choose_topics(connections: list[Connection], where: str, *, colour: str | None, depth: str | None,
                  camera_info: str | None, belt: str | None = None) -> Topics:
    """Decide which topic is colour, depth, calibration and belt velocity.

    Args:
        connections: of the recording. where: its name, for errors.
        colour, depth, camera_info, belt: names that win over guessing; "" = leave it out.

    Raises:
        DatasetError: a named topic is missing or of another type; no colour topic; several and none named.
    """
    types = {c.topic: c.msgtype for c in connections}
    counts: Counter[str] = Counter()
    for connection in connections:
        counts[connection.topic] += connection.msgcount
    pictures = [name for name, kind in types.items() if kind in (IMAGE, COMPRESSED)]
    listed = _listed(f"{name} ({kind.rsplit('/', 1)[-1]})" for name, kind in sorted(types.items())) or "none at all"

    def named(name: str, kinds: tuple[str, ...]) -> str:
        if types.get(name) not in kinds:
            raise DatasetError(f"{where}: expected a topic {name} of type {' or '.join(kinds)}; the recording has {listed}")
        return name

    if colour is None:
        colours = [name for name in pictures if not _is_depth(name) and not _OTHER.search(name)]
        colours = _raw_first([name for name in colours if counts[name]] or colours, types)
        colours = [name for name in colours if _COLOUR.search(name)] or colours
        if len(colours) != 1:
            found = _listed(colours) or "none"
            raise DatasetError(f"{where}: expected one colour topic, got {found}; name it (--colour-topic, --depth-topic; "
                               f"`perception calibrate`: --topic). The recording has {listed}")
        colour = colours[0]
    colour = named(colour, (IMAGE, COMPRESSED))
    if depth is None:
        # image_transport also offers colour as compressedDepth, on which nothing ever comes.
        depths = sorted((name for name in pictures if _is_depth(name) and _base(name, types) != _base(colour, types)),
                        key=lambda name: (-_shared(name, colour), counts[name] == 0, "aligned" not in name, types[name] != IMAGE,
                                          not name.endswith("/compressedDepth"), name))
        depth = depths[0] if depths else ""
    if depth:
        named(depth, (IMAGE, COMPRESSED))
    if camera_info is None:
        infos = sorted((name for name, kind in types.items() if kind == INFO),
                       key=lambda name: (-_shared(name, colour), _is_depth(name), name))
        camera_info = infos[0] if infos else ""
    if camera_info:
        named(camera_info, (INFO,))
    if belt is None:
        belts = sorted((name for name, kind in types.items() if kind == TWIST and name.rsplit("/", 1)[-1] == BELT_NAME),
                       key=lambda name: (-_shared(name, colour), name))
        belt = belts[0] if belts else ""
    if belt:
        named(belt, (TWIST,))
    return Topics(colour=colour, depth=depth or None, camera_info=camera_info or None, belt=belt or None)


def _listed(names: Iterable[str]) -> str:
    """Names on one line, whatever those of a broken file hold."""
    return " ".join(", ".join(names).split())


def _is_depth(name: str) -> bool:
    return any(word in name.lower() for word in _DEPTH_WORDS)


def _base(name: str, types: dict[str, str]) -> str:
    """The topic that a transport's topic hangs on, as image_transport names them."""
    front, _, last = name.rpartition("/")
    return front if types[name] == COMPRESSED and last in _TRANSPORTS else name


def _raw_first(names: list[str], types: dict[str, str]) -> list[str]:
    """Leave out the compressed (or theora and the like) form of pictures that are there raw too."""
    raw = {name for name in names if types[name] == IMAGE}
    return [name for name in names if name in raw or name.rsplit("/", 1)[0] not in raw]


def _shared(name: str, other: str) -> int:
    """Number of leading name parts that two topics share."""
    count = 0
    for a, b in zip(name.split("/"), other.split("/"), strict=False):
        if a != b:
            break
        count += 1
    return count

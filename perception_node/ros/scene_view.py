"""A serialised PickScene read where it lies: what the console shows of it, without a message object for everything in it.

Free of rclpy, which takes 5 ms for a scene of 18 packages and 65 grasps; this takes a tenth of it (docs/results.md).

Source: as `bag/cdr.py`, which writes these messages; places are counted from the end of the four bytes of encapsulation.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perception_node.errors import FrameError
from perception_node.types import F64

_BODY = 4
_PACKAGE_DOUBLES, _GRASP_DOUBLES, _POSE_DOUBLES = 58, 13, 7  # Source: perception_node_msgs, as `bag/cdr.py`
_STAMP, _COUNT, _PAIR = struct.Struct("<iI"), struct.Struct("<I"), struct.Struct("<II")
_ROI, _NUMBERS = struct.Struct("<IIII"), struct.Struct("<ff")


class PackageView(NamedTuple):
    """Of a Package: label, track id, class, and the visible mask's box in pixels."""

    label: int
    track_id: int
    class_name: str
    x: int
    y: int
    width: int
    height: int


class GraspView(NamedTuple):
    """Of a GraspCandidate: kind, label, track id, opening in metres, and score."""

    kind: str
    label: int
    track_id: int
    width_m: float
    score: float


@dataclass(frozen=True, eq=False)
class SceneView:
    """Of a PickScene.

    Attributes:
        octets: the message, without the label image's pixels. stamp: seconds and nanoseconds. labels: (H, W), a part of the
            message that was read. packages: in the scene's order. grasps: the best of each label and kind, best first. poses:
            (N, 7) theirs: position (m) and quaternion x, y, z, w. degraded: as in the message.
    """

    octets: bytes
    stamp: tuple[int, int]
    labels: NDArray[np.uint16]
    packages: tuple[PackageView, ...]
    grasps: tuple[GraspView, ...]
    poses: F64
    degraded: str


def scene_view(octets: bytes) -> SceneView:
    """Read a serialised PickScene.

    Raises:
        FrameError: it is damaged, or not as the node writes it (plain little-endian CDR, label image mono16).
    """
    if octets[:2] != b"\0\1":
        raise FrameError(f"scene: expected plain little-endian CDR (encapsulation 00 01), got {octets[:2].hex(' ')}")
    body = memoryview(octets)[_BODY:]
    try:
        labels, begin, at = _labels(body)
        packages, at = _packages(body, at)
        grasps, poses, at = _grasps(octets, body, at)
        degraded = _text(body, _past_rejections(body, at))[0]
        stamp = _STAMP.unpack_from(body, 0)
    except (struct.error, ValueError):
        raise FrameError(f"scene: expected a whole PickScene, got {len(octets)} bytes that are none") from None
    return SceneView(_cut(octets, begin, labels.nbytes), stamp, labels, packages, grasps, poses, degraded)


def without_pixels(octets: bytes) -> bytes:
    """A serialised PickScene without its label image's pixels (megabytes), still a valid message.

    Raises:
        FrameError: it is damaged.
    """
    try:
        labels, begin, _ = _labels(memoryview(octets)[_BODY:])
    except (struct.error, ValueError):
        raise FrameError(f"scene: expected a whole PickScene, got {len(octets)} bytes that are none") from None
    return _cut(octets, begin, labels.nbytes)


def _cut(octets: bytes, begin: int, size: int) -> bytes:
    """The message without as many pixels as keep the alignment of what follows: 8 is the largest."""
    left = size % 8
    at = _BODY + begin
    return b"".join((octets[:at - 4], _COUNT.pack(left), octets[at:at + left], memoryview(octets)[at + size:]))


def _labels(body: memoryview) -> tuple[NDArray[np.uint16], int, int]:
    """The label image, where its bytes begin, and the place behind it."""
    at = _text_end(body, 8)  # stamp, frame_id
    at = _text_end(body, at + -at % 4 + 8)  # the image's own
    at += -at % 4
    height, width = _PAIR.unpack_from(body, at)
    encoding, at = _text(body, at + 8)
    at += 1  # is_bigendian
    at += -at % 4
    step, size = _PAIR.unpack_from(body, at)
    begin = at + 8
    if encoding != "mono16" or step < 2 * width or step % 2 or size != step * height or begin + size > len(body):
        raise ValueError(encoding)
    return np.frombuffer(body, "<u2", size // 2, begin).reshape(height, step // 2)[:, :width], begin, begin + size


def _packages(body: memoryview, at: int) -> tuple[tuple[PackageView, ...], int]:
    at += -at % 4
    (count,) = _COUNT.unpack_from(body, at)
    at += 4
    found = []
    for _ in range(count):
        label, track_id, at = _identity(body, at)
        class_name, at = _text(body, at)
        at += -at % 4 + 8  # score, pick_order
        (covers,) = _COUNT.unpack_from(body, at)
        at += 4 + 2 * covers
        at += -at % 4
        x, y, height, width = _ROI.unpack_from(body, at)
        at += 24  # box, do_rectify, area_px
        at += -at % 8 + 8 * _PACKAGE_DOUBLES + 11  # numbers, two shares, three flags
        found.append(PackageView(label, track_id, class_name, x, y, width, height))
    return tuple(found), at


def _grasps(octets: bytes, body: memoryview, at: int) -> tuple[tuple[GraspView, ...], F64, int]:
    at += -at % 4
    (count,) = _COUNT.unpack_from(body, at)
    at += 4
    best: dict[tuple[str, int], tuple[GraspView, bytes]] = {}
    names: dict[str, bytes] = {}  # the terms of a kind are the same in most of its grasps
    for _ in range(count):
        kind, at = _text(body, at)
        label, track_id, at = _identity(body, at)
        pose = at + -at % 8
        at = pose + 8 * _GRASP_DOUBLES
        width_m, score = _NUMBERS.unpack_from(body, at)
        at += 24  # width, score, deadline and whether there is one, degraded
        block = names.get(kind)
        if block is None or not octets.startswith(block, _BODY + at):
            block = names[kind] = bytes(body[at:_texts_end(body, at)])
        at += len(block)
        at += -at % 4
        (values,) = _COUNT.unpack_from(body, at)
        at += 4 + 4 * values
        if (kind, label) not in best:
            best[kind, label] = GraspView(kind, label, track_id, width_m, score), bytes(body[pose:pose + 8 * _POSE_DOUBLES])
    poses = np.frombuffer(b"".join(pose for _, pose in best.values()), "<f8").reshape(-1, _POSE_DOUBLES)
    return tuple(grasp for grasp, _ in best.values()), poses, at


def _past_rejections(body: memoryview, at: int) -> int:
    """Where `degraded` begins."""
    at += -at % 4
    (count,) = _COUNT.unpack_from(body, at)
    at += 4
    for _ in range(count):
        at = _texts_end(body, _text_end(body, _text_end(body, _identity(body, at)[2])))  # kind, reason, names of the numbers
        at += -at % 4
        (numbers,) = _COUNT.unpack_from(body, at)
        at += 4
        at += (-at % 8 + 8 * numbers) if numbers else 0
    at += 1  # belt_velocity_known
    at += -at % 8 + 24 + 1  # belt_velocity, depth_used
    return at


def _identity(body: memoryview, at: int) -> tuple[int, int, int]:
    """label, track_id, and the place behind them."""
    at += -at % 2
    label = int.from_bytes(body[at:at + 2], "little")
    at += 2
    at += -at % 4
    (track_id,) = _COUNT.unpack_from(body, at)
    return label, track_id, at + 4


def _text(body: memoryview, at: int) -> tuple[str, int]:
    """A text that lies at `at` or after the gap there, and the place behind it."""
    at += -at % 4
    (length,) = _COUNT.unpack_from(body, at)
    end = at + 4 + length
    if end > len(body):
        raise ValueError(length)
    return str(body[at + 4:end], "utf-8", "replace").rstrip("\0"), end


def _text_end(body: memoryview, at: int) -> int:
    at += -at % 4
    (length,) = _COUNT.unpack_from(body, at)
    return at + 4 + int(length)


def _texts_end(body: memoryview, at: int) -> int:
    """The place behind a sequence of texts."""
    at += -at % 4
    (count,) = _COUNT.unpack_from(body, at)
    at += 4
    for _ in range(count):
        at = _text_end(body, at)
    return at

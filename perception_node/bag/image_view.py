"""A serialised sensor_msgs/Image, read where it lies: its pixels are not copied. Imports neither ROS nor rosbags.

Source: as `bag/cdr.py`, and the definitions of sensor_msgs/Image and std_msgs/Header, which have not changed since ROS 2 exists.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from perception_node.errors import FrameError

_BODY = 4  # bytes of encapsulation, from whose end places are counted


class Stamp(NamedTuple):
    """builtin_interfaces/Time."""

    sec: int
    nanosec: int


class Header(NamedTuple):
    """std_msgs/Header."""

    stamp: Stamp
    frame_id: str


class ImageView(NamedTuple):
    """sensor_msgs/Image; `data` is a part of the serialised message."""

    header: Header
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview


def image_view(octets: bytes) -> ImageView:
    """Read a serialised sensor_msgs/Image, either byte order.

    Raises:
        FrameError: it is damaged: another encapsulation, or shorter than it says itself.
    """
    whole = memoryview(octets)
    try:
        if whole[0] != 0 or whole[1] > 1:
            raise FrameError(f"image: expected plain CDR (encapsulation 00 00 or 00 01), got {bytes(whole[:2]).hex(' ')}")
        order = "<" if whole[1] else ">"
        sec, nanosec = struct.unpack_from(f"{order}iI", whole, _BODY)
        frame_id, at = _text(whole, 8, order)
        at += -at % 4
        height, width = struct.unpack_from(f"{order}II", whole, _BODY + at)
        encoding, at = _text(whole, at + 8, order)
        is_bigendian = whole[_BODY + at]
        at += 1 + (-at - 1) % 4
        step, size = struct.unpack_from(f"{order}II", whole, _BODY + at)
    except (struct.error, IndexError):
        raise FrameError(f"image: expected a whole message, got {len(whole)} bytes") from None
    data = whole[_BODY + at + 8:_BODY + at + 8 + size]
    if len(data) < size:
        raise FrameError(f"image: expected {size} bytes of pixels, got {len(data)}")
    return ImageView(Header(Stamp(sec, nanosec), frame_id), height, width, encoding, is_bigendian, step, data)


def _text(whole: memoryview, at: int, order: str) -> tuple[str, int]:
    """A text of a message that lies at `at` or after the gap there, and the place behind it."""
    at += -at % 4
    (length,) = struct.unpack_from(f"{order}I", whole, _BODY + at)
    octets = bytes(whole[_BODY + at + 4:_BODY + at + 4 + length])
    if len(octets) < length:
        raise FrameError(f"image: expected a text of {length} bytes, got {len(octets)}")
    return octets.split(b"\0", 1)[0].decode("utf-8", "replace"), at + 4 + length

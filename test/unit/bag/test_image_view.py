"""Serialised pictures are read as rosbags and rclpy read them; damaged ones are refused in words."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception_node.bag.image_view import image_view
from perception_node.bag.storage import STORE
from perception_node.errors import FrameError

KIND = "sensor_msgs/msg/Image"
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)
ROUNDS = settings(max_examples=100, deadline=None)


@st.composite
def pictures(draw):
    """rosbags' Image, any values: that they fit together is for others to check."""
    types = STORE.types
    stamp = types["builtin_interfaces/msg/Time"](sec=draw(st.integers(-2**31, 2**31 - 1)), nanosec=draw(st.integers(0, 2**32 - 1)))
    sizes = [draw(st.integers(0, 2**32 - 1)) for _ in range(3)]
    return types[KIND](header=types["std_msgs/msg/Header"](stamp=stamp, frame_id=draw(texts)), height=sizes[0], width=sizes[1],
                       encoding=draw(texts), is_bigendian=draw(st.integers(0, 255)), step=sizes[2],
                       data=np.frombuffer(draw(st.binary(max_size=20)), np.uint8))


def fields(message):
    head = message.header
    return (head.stamp.sec, head.stamp.nanosec, head.frame_id, message.height, message.width, message.encoding,
            message.is_bigendian, message.step, bytes(message.data))


@given(pictures(), st.booleans())
@ROUNDS
def test_what_was_written_is_read(picture, little):
    octets = bytes(STORE.serialize_cdr(picture, KIND, little_endian=little))
    view = image_view(octets)
    assert fields(view) == fields(picture)
    assert image_view(octets + b"\0\0\0") == view  # some writers fill up


@given(pictures())
@settings(max_examples=30, deadline=None)
def test_rclpy_reads_the_same(picture):
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    from rclpy.serialization import deserialize_message
    from sensor_msgs.msg import Image

    octets = bytes(STORE.serialize_cdr(picture, KIND))
    assert fields(image_view(octets)) == fields(deserialize_message(octets, Image))


@given(pictures(), st.data())
@ROUNDS
def test_what_is_cut_off_is_refused(picture, data):
    octets = bytes(STORE.serialize_cdr(picture, KIND))
    cut = data.draw(st.integers(0, len(octets) - 1))
    with pytest.raises(FrameError, match="expected"):
        image_view(octets[:cut])


@given(st.binary(max_size=80))
@ROUNDS
def test_any_bytes_are_read_or_refused(octets):
    for head in (b"", b"\0\1\0\0", b"\0\0\0\0"):
        with contextlib.suppress(FrameError):
            assert len(image_view(head + octets).data) <= len(octets)


def test_pixels_are_not_copied():
    octets = bytes(STORE.serialize_cdr(STORE.types[KIND](
        header=STORE.types["std_msgs/msg/Header"](stamp=STORE.types["builtin_interfaces/msg/Time"](sec=1, nanosec=2), frame_id="c"),
        height=2, width=3, encoding="mono8", is_bigendian=0, step=3, data=np.arange(6, dtype=np.uint8)), KIND))
    assert image_view(octets).data.obj is octets


def test_other_encapsulations_are_refused():
    with pytest.raises(FrameError, match="plain CDR.*got 00 03"):
        image_view(b"\0\3\0\0" + bytes(60))

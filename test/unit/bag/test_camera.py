"""Messages -> frames: what a live node must survive. Stand-ins for messages: no ROS needed."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace as Thing

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception_node.bag.camera import camera_model, colour_pixels, depth_metres, frame_from_messages, odd_calibration
from perception_node.errors import FrameError
from perception_node.types import CameraModel

SIZES = {"rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC1": 1, "16UC1": 2, "32FC1": 4}


def header(stamp_s=5, frame_id="camera_optical_frame"):
    return Thing(stamp=Thing(sec=stamp_s, nanosec=7), frame_id=frame_id)


def image(data, encoding, width, height, step, bigendian=0):
    return Thing(header=header(), data=data, encoding=encoding, width=width, height=height, step=step, is_bigendian=bigendian)


K = (10.0, 0.0, 3.5, 0.0, 10.0, 2.5, 0.0, 0.0, 1.0)


def info(width=8, height=6, k=K, d=(0.0,) * 5, model="plumb_bob", binning=0, roi=(0, 0, 0, 0)):
    return Thing(header=header(), width=width, height=height, k=k, d=d, distortion_model=model, binning_x=binning,
                 binning_y=binning, roi=Thing(x_offset=roi[0], y_offset=roi[1], width=roi[2], height=roi[3]))


def padded(pixels, padding):
    rows = pixels.reshape(pixels.shape[0], -1).view(np.uint8)
    return np.pad(rows, ((0, 0), (0, padding)), constant_values=0xEE).tobytes()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 9), st.sampled_from(["rgb8", "bgr8", "rgba8", "bgra8", "8UC3"]),
       st.integers(0, 9))
def test_colour_of_any_size_and_step(width, height, padding, encoding, seed):
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    codes = {"bgr8": cv2.COLOR_RGB2BGR, "8UC3": cv2.COLOR_RGB2BGR, "rgba8": cv2.COLOR_RGB2RGBA, "bgra8": cv2.COLOR_RGB2BGRA}
    stored = rgb if encoding == "rgb8" else cv2.cvtColor(rgb, codes[encoding])
    message = image(padded(stored, padding), encoding, width, height, width * SIZES[encoding] + padding)
    assert np.array_equal(colour_pixels(message), rgb)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 9), st.sampled_from(["16UC1", "32FC1"]), st.booleans())
def test_depth_units_follow_the_encoding(width, height, padding, encoding, bigendian):
    metres = np.linspace(0.4, 3.0, width * height, dtype=np.float32).reshape(height, width)
    metres[0, 0] = 0.0
    order = ">" if bigendian else "<"
    stored = np.rint(metres * 1000).astype(f"{order}u2") if encoding == "16UC1" else metres.astype(f"{order}f4")
    size = SIZES[encoding]
    read = depth_metres(image(padded(stored, padding), encoding, width, height, width * size + padding, int(bigendian)))
    assert read.dtype == np.float32
    assert np.isnan(read[0, 0])
    assert np.allclose(read.ravel()[1:], metres.ravel()[1:], atol=6e-4)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([*SIZES, "yuv999", ""]), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1),
       st.integers(0, 2**32 - 1), st.integers(0, 1))
def test_nonsense_is_a_frame_error(data, encoding, width, height, step, bigendian):
    message = image(data, encoding, width, height, step, bigendian)
    for read in (colour_pixels, depth_metres):
        with contextlib.suppress(FrameError):  # and no other
            assert read(message).shape[:2] == (height, width)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["jpeg", "png", "16UC1; compressedDepth png", "32FC1; compressedDepth png",
                                                 "16UC1; compressedDepth rvl"]),
       st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xc0\x00\x11\x08",
                        b"\0" * 12 + b"\x89PNG\r\n\x1a\n"]))
def test_damaged_compressed_data_is_a_frame_error(data, form, start):
    message = Thing(header=header(), data=start + data, format=form)
    for read in (colour_pixels, depth_metres):
        with pytest.raises(FrameError):
            read(message)


def test_a_promise_of_gigabytes_is_refused_before_decoding():
    png = bytearray(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    png[16:24] = (60000).to_bytes(4, "big") * 2
    with pytest.raises(FrameError, match="60000x60000"):
        colour_pixels(Thing(header=header(), data=bytes(png), format="png"))
    jpeg = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5:at + 9] = (65000).to_bytes(2, "big") * 2
    with pytest.raises(FrameError, match="65000x65000"):
        colour_pixels(Thing(header=header(), data=bytes(jpeg), format="jpeg"))


def test_truncated_jpeg_and_png():
    for suffix in (".jpg", ".png"):
        noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        whole = cv2.imencode(suffix, noise)[1].tobytes()
        assert colour_pixels(Thing(header=header(), data=whole, format=suffix)).shape == (48, 64, 3)
        with pytest.raises(FrameError):
            colour_pixels(Thing(header=header(), data=whole[:20], format=suffix))


@pytest.mark.parametrize(("message", "words"), [
    (info(k=(0.0,) * 9), "focal lengths"),
    (info(width=0), "size"),
    (info(width=2**31, height=2**31), "size"),
    (info(binning=2), "no binning"),
    (info(roi=(2, 0, 4, 6)), "no region of interest"),
    (info(d=(0.1, 0.0), model="plumb_bob"), "4 or 5 distortion coefficients"),
    (info(d=(0.1,) * 4, model="equidistant"), "equidistant"),
    (info(k=(float("nan"),) * 9), "finite"),
])
def test_calibration_that_cannot_be_used(message, words):
    with pytest.raises(FrameError, match=words):
        camera_model(message)


def test_calibration_that_can():
    assert camera_model(info()).distortion == ()
    assert camera_model(info(roi=(0, 0, 8, 6))).width == 8
    assert len(camera_model(info(d=(0.1,) * 8, model="rational_polynomial")).distortion) == 8


@pytest.mark.parametrize(("numbers", "odd"), [
    ((600.0, 610.0, 320.0, 240.0), False), ((150.0, 150.0, 300.0, 200.0), False), ((6000.0, 6000.0, 350.0, 260.0), False),
    ((1900.0, 1900.0, 960.0, 540.0), True), ((640.0, 640.0, 640.0, 360.0), True),  # of 1920x1080, of 1280x720
    ((325.0, 325.0, 160.0, 120.0), True), ((480.0, 480.0, 240.0, 180.0), True),  # of 320x240, of 480x360
    ((600.0, 600.0, 480.0, 120.0), False), ((600.0, 600.0, 320.0, 60.0), False),  # cut out of a larger picture
    ((1.93, 1.93, 320.0, 240.0), True), ((600.0, 3000.0, 320.0, 240.0), True), ((1e9, 1e9, 320.0, 240.0), True)])
def test_a_calibration_that_is_hardly_the_pictures(numbers, odd):
    words = odd_calibration(CameraModel(*numbers, 640, 480))
    assert bool(words) == odd
    assert not odd or "640x480: is it the calibration of this resolution, in pixels?" in words


def test_frame_of_messages_and_what_does_not_fit():
    colour, depth = image(bytes(8 * 6 * 3), "rgb8", 8, 6, 24), image(bytes(8 * 6 * 2), "16UC1", 8, 6, 16)
    frame = frame_from_messages(colour, depth, info())
    assert (frame.stamp_ns, frame.frame_id) == (5_000_000_007, "camera_optical_frame")
    depth.header.frame_id = "depth_optical_frame"
    with pytest.raises(FrameError, match="aligned to colour"):
        frame_from_messages(colour, depth, info())
    colour.header = header(stamp_s=0)
    colour.header.stamp.nanosec = 0
    with pytest.raises(FrameError, match="stamp"):
        frame_from_messages(colour, None, info())
    colour.header = header(frame_id="")
    with pytest.raises(FrameError, match="frame_id"):
        frame_from_messages(colour, None, info())
    colour.header = header()
    with pytest.raises(FrameError, match="camera_info says 9x6"):
        frame_from_messages(colour, None, info(width=9))

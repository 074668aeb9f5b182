"""Camera encodings: values, padding, byte order, and what is refused."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from perception_node.bag import decode
from perception_node.errors import FrameError

RGB = np.random.default_rng(3).integers(0, 255, (6, 10, 3), dtype=np.uint8)


def image(array, encoding, pad=0, bigendian=False):
    height, width = array.shape[:2]
    rows = np.ascontiguousarray(array).view(np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, pad)))
    return SimpleNamespace(height=height, width=width, step=rows.shape[1], encoding=encoding, is_bigendian=int(bigendian),
                           data=rows.tobytes())


@pytest.mark.parametrize(("encoding", "array"), [
    ("rgb8", RGB), ("bgr8", RGB[..., ::-1]), ("8UC3", RGB[..., ::-1]),
    ("rgba8", np.dstack([RGB, RGB[..., :1]])), ("bgra8", np.dstack([RGB[..., ::-1], RGB[..., :1]]))])
@pytest.mark.parametrize("pad", [0, 5])
def test_colour_encodings_give_the_same_rgb(encoding, array, pad):
    assert np.array_equal(decode.colour_from_image(image(array, encoding, pad)), RGB)


@pytest.mark.parametrize(("pad", "shared"), [(0, True), (5, False)])
def test_rgb8_is_not_copied_where_its_rows_follow_each_other(pad, shared):
    message = image(RGB, "rgb8", pad)
    rgb = decode.colour_from_image(message)
    assert np.shares_memory(rgb, np.frombuffer(message.data, np.uint8)) is shared
    assert rgb.flags.c_contiguous


@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize("offset", [0, 1])
def test_depth_is_read_wherever_it_lies(bigendian, offset):
    raw = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    message = image(raw.astype(">u2" if bigendian else "<u2")[..., None], "16UC1", bigendian=bigendian)
    message.data = memoryview(bytes(offset) + message.data)[offset:]
    known = raw.astype(np.float32) * np.float32(1e-3)
    known[0, 0] = known[-1, -1] = np.nan
    assert np.array_equal(decode.depth_from_image(message), known, equal_nan=True)


def test_mono_becomes_grey():
    rgb = decode.colour_from_image(image(RGB[..., 0], "mono8"))
    assert np.array_equal(rgb, np.repeat(RGB[..., :1], 3, axis=2))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_keep_their_colours(pattern):
    mosaic = np.zeros((8, 12), np.uint8)
    for index, letter in enumerate(pattern):
        mosaic[index // 2::2, index % 2::2] = {"r": 200, "g": 100, "b": 20}[letter]
    rgb = decode.colour_from_image(image(mosaic, f"bayer_{pattern}8"))
    assert np.allclose(rgb[3:5, 3:9].reshape(-1, 3), (200, 100, 20), atol=3)


def test_yuyv_grey():
    packed = np.full((4, 6, 2), 128, np.uint8)
    assert np.abs(decode.colour_from_image(image(packed, "yuv422_yuy2")).astype(int) - 130).max() < 4


@pytest.mark.parametrize("bigendian", [False, True])
def test_depth_millimetres(bigendian):
    raw = np.array([[0, 1, 1000, 65535], [65534, 500, 0, 2]], np.uint16)
    stored = raw.astype(">u2" if bigendian else "<u2")
    depth = decode.depth_from_image(image(stored[..., None], "16UC1", bigendian=bigendian))
    assert depth.dtype == np.float32
    assert np.array_equal(np.isnan(depth), (raw == 0) | (raw == 65535))
    assert depth[0, 2] == pytest.approx(1.0)


def test_depth_metres_hides_what_is_no_reading():
    raw = np.array([[np.nan, np.inf, -1.0, 0.0, 1.5]], np.float32)
    depth = decode.depth_from_image(image(raw[..., None], "32FC1"))
    assert np.array_equal(np.isnan(depth), [[True, True, True, True, False]])


def test_compressed_colour_and_depth_round_trip():
    smooth = cv2.resize(RGB, (160, 96), interpolation=cv2.INTER_CUBIC)
    jpeg = SimpleNamespace(format="rgb8; jpeg compressed bgr8", data=decode.encode_colour(smooth, 95))
    assert np.abs(decode.colour_from_compressed(jpeg).astype(int) - smooth).mean() < 6
    depth = np.linspace(0.4, 3.0, 60, dtype=np.float32).reshape(6, 10)
    depth[2, 3] = np.nan
    png = SimpleNamespace(format="16UC1; compressedDepth png", data=decode.encode_depth(depth))
    back = decode.depth_from_compressed(png)
    assert np.nanmax(np.abs(back - depth)) <= 0.00051
    assert np.isnan(back[2, 3])
    assert np.isnan(back).sum() == 1


def test_compressed_float_depth_is_inverse_depth():
    depth = np.array([[0.5, 1.0, 2.0, 4.0]], np.float32)
    a, b = 10000.0, 0.0
    stored = np.rint(a / depth + b).astype(np.uint16)
    _, png = cv2.imencode(".png", stored)
    message = SimpleNamespace(format="32FC1; compressedDepth png", data=decode._DEPTH_HEADER.pack(0, a, b) + png.tobytes())
    assert np.allclose(decode.depth_from_compressed(message), depth, rtol=1e-3)


@pytest.mark.parametrize(("change", "words"), [
    ({"encoding": "16UC1"}, "depth picture"), ({"encoding": "jp2"}, "jp2"), ({"width": 0}, "0x6"), ({"height": 10**9}, "size of"),
    ({"step": 7}, "step of at least 30"), ({"data": b"123"}, "truncated")])
def test_bad_pictures_are_named(change, words):
    message = image(RGB, "rgb8")
    message.__dict__.update(change)
    with pytest.raises(FrameError, match=words):
        decode.colour_from_image(message)


@pytest.mark.parametrize("form", ["16UC1; compressedDepth rvl", "jpeg", ""])
def test_unknown_depth_formats_are_refused(form):
    with pytest.raises(FrameError, match="compressedDepth png"):
        decode.depth_from_compressed(SimpleNamespace(format=form, data=b"x" * 40))


@pytest.mark.parametrize("data", [b"", b"x" * 40])
def test_data_that_is_no_picture(data):
    with pytest.raises(FrameError, match="depth: expected"):
        decode.depth_from_compressed(SimpleNamespace(format="16UC1; compressedDepth png", data=data))
    with pytest.raises(FrameError, match="colour: expected"):
        decode.colour_from_compressed(SimpleNamespace(format="jpeg", data=data))


def test_calibration():
    info = SimpleNamespace(k=[500.0, 0, 320, 0, 501, 240, 0, 0, 1], d=[0.0] * 5, distortion_model="plumb_bob", width=640,
                           height=480)
    camera = decode.camera_from_info(info)
    assert (camera.fx, camera.fy, camera.cx, camera.cy, camera.distortion) == (500.0, 501.0, 320.0, 240.0, ())
    info.d, info.distortion_model = [0.1] * 4, "equidistant"
    with pytest.raises(FrameError, match="equidistant"):
        decode.camera_from_info(info)
    info.k = [0.0] * 9
    info.distortion_model = "plumb_bob"
    with pytest.raises(FrameError, match="focal lengths"):
        decode.camera_from_info(info)

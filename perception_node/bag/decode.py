"""Camera messages as arrays, and back: what the encodings mean. Nothing here imports ROS or rosbags.

The functions take any object that has the fields of the sensor_msgs message named in their text, so the live node's messages
and those read from a recording go through the same code. Sizes are checked before any memory is touched.

Source: sensor_msgs/image_encodings.hpp (names), REP-118 (16UC1 is millimetres, 32FC1 metres),
image_transport_plugins compressed_depth_image_transport (12 bytes of header before the PNG).
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled, steady
from perception_node.errors import FrameError
from perception_node.types import F32, CameraModel

MAX_PIXELS = 64_000_000
"""Larger pictures are refused before memory is taken for them (no depth camera comes near)."""

_MM_PER_M = 1000.0
_UINT16_MAX = 65535
_DEPTH_HEADER = struct.Struct("<iff")
# Differences to the left neighbour pack noisy depth best (1 % below what OpenCV chooses).
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 9, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_FILTERED,
        cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

# encoding -> (bytes per pixel, OpenCV conversion to RGB or None when it is RGB already)
_COLOUR: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "8UC4": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUYV),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUYV),
    # OpenCV names Bayer patterns by the second row and column, ROS by the first: RGGB is OpenCV's BG.
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
}
_DEPTH = {"16UC1": 2, "mono16": 2, "32FC1": 4}


def stamp_ns(header: Any) -> int:
    """Nanoseconds of a std_msgs/Header's stamp."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def colour_from_image(message: Any) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a sensor_msgs/Image; of rgb8 without padding it is the message's own memory, not to be written to.

    Raises:
        FrameError: encoding unknown, size 0, step or data too short.
    """
    encoding = str(message.encoding)
    if encoding not in _COLOUR:
        depth = "; depth pictures have it: is the topic that of colour?" if encoding in _DEPTH else ""
        raise FrameError(f"colour: expected one of the encodings {', '.join(_COLOUR)}, got {encoding!r}{depth}")
    bytes_per_pixel, conversion = _COLOUR[encoding]
    pixels = pixel_rows(message, bytes_per_pixel, "colour")
    height, width = int(message.height), int(message.width)
    if bytes_per_pixel == 2 and width % 2:
        raise FrameError(f"colour: expected an even width with encoding {encoding}, got {width}x{height}")
    picture = pixels.reshape(height, width, bytes_per_pixel) if bytes_per_pixel > 1 else pixels
    if conversion is None:
        return np.ascontiguousarray(picture)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(picture), conversion), dtype=np.uint8)


def colour_from_compressed(message: Any) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a sensor_msgs/CompressedImage (JPEG, PNG or what else OpenCV reads).

    Raises:
        FrameError: data that is no picture, or a compressed depth picture.
    """
    if "compressedDepth" in str(message.format):
        raise FrameError(f"colour: expected a compressed colour picture, got format {message.format!r}")
    picture = _imdecode(_bytes(message.data), cv2.IMREAD_COLOR, "colour", str(message.format))
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def depth_from_image(message: Any) -> F32:
    """(H, W) float32 metres of a sensor_msgs/Image, NaN = no reading.

    16UC1 is millimetres with 0 (and 65535, which some drivers send) for no reading; 32FC1 is metres with NaN, infinity or
    nothing above 0 for no reading.

    Raises:
        FrameError: encoding unknown, size 0, step or data too short.
    """
    encoding = str(message.encoding)
    if encoding not in _DEPTH:
        raise FrameError(f"depth: expected one of the encodings {', '.join(_DEPTH)}, got {encoding!r}")
    rows = np.ascontiguousarray(pixel_rows(message, _DEPTH[encoding], "depth"))
    order = ">" if message.is_bigendian else "<"
    return depth_in_metres(rows.view(np.dtype(f"{order}{'f4' if encoding == '32FC1' else 'u2'}")))


def depth_from_compressed(message: Any) -> F32:
    """(H, W) float32 metres of a sensor_msgs/CompressedImage of the compressedDepth transport, NaN = no reading.

    16UC1 inside is millimetres; 32FC1 is stored as inverse depth with the two parameters of the header.

    Raises:
        FrameError: another format (RVL among them), data that is no PNG of 16 bits.
    """
    form, data = str(message.format), _bytes(message.data)
    encoding = form.split(";", 1)[0].strip()
    if encoding not in _DEPTH or "rvl" in form.lower():
        raise FrameError(f"depth: expected the format '16UC1; compressedDepth png' or '32FC1; compressedDepth png', got {form!r}")
    bare = data[:8].tobytes() == _PNG_MAGIC
    if not bare and data.size < _DEPTH_HEADER.size + len(_PNG_MAGIC):
        raise FrameError(f"depth: expected a compressedDepth picture, got {data.size} bytes")
    picture = _imdecode(data if bare else data[_DEPTH_HEADER.size:], cv2.IMREAD_UNCHANGED, "depth", form)
    if picture.dtype != np.uint16 or picture.ndim != 2:
        raise FrameError(f"depth: expected a PNG of one 16 bit channel, got {picture.shape} {picture.dtype}")
    if encoding != "32FC1":
        return depth_in_metres(picture)
    if bare:
        raise FrameError("depth: expected the compressedDepth header before a 32FC1 PNG, got the bare PNG")
    _, a, b = _DEPTH_HEADER.unpack(data[: _DEPTH_HEADER.size].tobytes())
    with np.errstate(divide="ignore", invalid="ignore"):
        metres = np.where(picture > 0, np.float32(a) / (picture.astype(np.float32) - np.float32(b)), np.nan)
    return depth_in_metres(metres.astype(np.float32))


def depth_in_metres(raw: NDArray[Any]) -> F32:
    """(H, W) float32 metres, NaN = no reading, of (H, W) uint16 millimetres or float metres."""
    metres = np.empty(raw.shape, np.float32)
    if raw.dtype.kind == "u":
        _metres_of_millimetres(steady(np.require(raw, np.uint16, "A")).reshape(-1), metres.reshape(-1))
    else:
        _metres_with_readings(steady(np.require(raw, np.float32, "A")).reshape(-1), metres.reshape(-1))
    return metres


@compiled
def _metres_of_millimetres(raw: NDArray[np.uint16], metres: F32) -> None:
    """raw: (N,). metres: (N,), written."""
    metres_per_unit = np.float32(1.0 / _MM_PER_M)
    for n in range(len(raw)):
        reading = raw[n]
        metres[n] = np.float32(np.nan) if reading == 0 or reading == _UINT16_MAX else np.float32(reading) * metres_per_unit


@compiled
def _metres_with_readings(raw: F32, metres: F32) -> None:
    """raw: (N,). metres: (N,), written."""
    for n in range(len(raw)):
        metres[n] = raw[n] if 0 < raw[n] < np.inf else np.float32(np.nan)


def millimetres_from_depth(depth_m: F32) -> NDArray[np.uint16]:
    """(H, W) uint16 millimetres of (H, W) float32 metres, 0 = no reading (also beyond 65.534 m)."""
    scaled = np.nan_to_num(depth_m.astype(np.float64) * _MM_PER_M, nan=0.0, posinf=0.0, neginf=0.0)
    millimetres = np.rint(scaled)
    millimetres[(millimetres < 0) | (millimetres >= np.iinfo(np.uint16).max)] = 0
    return millimetres.astype(np.uint16)


def encode_colour(rgb: NDArray[np.uint8], quality: int) -> bytes:
    """JPEG of an (H, W, 3) RGB picture, quality 1..100."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return bytes(data.tobytes())


def encode_depth(depth_m: F32) -> bytes:
    """Data of a `16UC1; compressedDepth png` message of (H, W) metres, NaN = no reading."""
    done, data = cv2.imencode(".png", millimetres_from_depth(depth_m), _PNG)
    assert done
    return _DEPTH_HEADER.pack(0, 0.0, 0.0) + bytes(data.tobytes())


def camera_from_info(message: Any) -> CameraModel:
    """Calibration of a sensor_msgs/CameraInfo (K and D; `plumb_bob` and `rational_polynomial`).

    Raises:
        FrameError: not calibrated (K is zero), or a distortion model that OpenCV's pinhole camera does not have.
    """
    k = [float(value) for value in message.k]
    distortion = tuple(float(value) for value in message.d)
    model = str(message.distortion_model)
    if any(distortion) and model not in ("", "plumb_bob", "rational_polynomial"):
        raise FrameError(f"camera_info: expected distortion_model plumb_bob or rational_polynomial, got {model!r}")
    return CameraModel(fx=k[0], fy=k[4], cx=k[2], cy=k[5], width=int(message.width), height=int(message.height),
                       distortion=distortion if any(distortion) else ())


def _bytes(data: Any) -> NDArray[np.uint8]:
    return data.view(np.uint8) if isinstance(data, np.ndarray) else np.frombuffer(data, dtype=np.uint8)


def pixel_rows(message: Any, bytes_per_pixel: int, name: str) -> NDArray[np.uint8]:
    """The picture's (H, W * bytes_per_pixel) bytes as a view, without the padding at the rows' ends."""
    height, width, step = int(message.height), int(message.width), int(message.step)
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise FrameError(f"{name}: expected a size of 1 to {MAX_PIXELS} pixels, got {width}x{height}")
    row = width * bytes_per_pixel
    if step < row:
        raise FrameError(f"{name}: expected a step of at least {row} bytes ({width} pixels, {message.encoding}), got {step}")
    data = _bytes(message.data)
    needed = step * (height - 1) + row
    if data.size < needed:
        raise FrameError(f"{name}: expected {step * height} bytes ({width}x{height}, step {step}), got {data.size}: truncated")
    if data.size < step * height:
        data = np.concatenate([data, np.zeros(step * height - data.size, np.uint8)])
    return data[: step * height].reshape(height, step)[:, :row]


def _imdecode(data: NDArray[np.uint8], flags: int, name: str, form: str) -> NDArray[Any]:
    try:
        picture = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION if flags >= 0 else flags)
    except cv2.error:
        picture = None
    if picture is None:
        raise FrameError(f"{name}: expected a picture of format {form!r}, got {data.size} bytes that cannot be decoded")
    return np.asarray(picture)

"""sensor_msgs -> Frame. What the encodings mean is in `bag/decode.py`, so that live and replayed pictures are read by the same
code; here is what must be checked besides, before memory is taken for what a message promises.

Duck-typed: anything with the fields of the message will do, so nothing here imports ROS.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_node.bag import decode
from perception_node.errors import FrameError
from perception_node.types import F32, CameraModel, Frame

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of the segments that hold a JPEG's size. Source: ITU-T T.81, table B.1."""

_DEPTH_HEADER_BYTES = 12
"""Before the PNG of compressedDepth. Source: image_transport_plugins, compressed_depth_image_transport (ConfigHeader)."""

_CENTRE, _FOCAL, _PIXEL = (0.1, 0.9), (0.2, 20.0), 2.0
"""Where in the picture its optical axis is, in shares of its sides; focal lengths in shares of its width (136 to 3 degrees of
view); ratio of both focal lengths. Source: judgement; a calibration for twice the resolution has its axis at the border."""

_SCALED = 0.08
"""Where both shares of the axis lie off the middle to the same side by more than this, and alike to within it, the calibration is
of another resolution (half of it: 0.25 and 0.25; three quarters: 0.38 and 0.38). Source: judgement; lenses sit within 0.05 of the
middle, and a picture that was cut out of a larger one is hardly off alike in both directions."""

_DISTORTION_SIZES = {"plumb_bob": (4, 5), "rational_polynomial": (8,)}
"""Coefficients of each model. Source: sensor_msgs/distortion_models.hpp and the text of CameraInfo.msg."""


def colour_pixels(message: Any) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of an Image, or of a CompressedImage (JPEG or PNG; the bytes decide).

    Raises:
        FrameError: unknown encoding, impossible size or step, too little or damaged data.
    """
    if hasattr(message, "encoding"):
        return decode.colour_from_image(message)
    data = bytes(message.data)
    promised = _promised_size("colour", data)
    picture = decode.colour_from_compressed(message)
    if picture.shape[:2] != promised[::-1]:
        raise FrameError(f"colour: the file promises {promised[0]}x{promised[1]}, it holds {picture.shape[1]}x{picture.shape[0]}")
    return picture


def depth_metres(message: Any) -> F32:
    """(H, W) float32 metres, NaN = no reading, of an Image (16UC1, 32FC1) or a compressedDepth CompressedImage.

    Raises:
        FrameError: as `colour_pixels`.
    """
    if hasattr(message, "encoding"):
        return decode.depth_from_image(message)
    data = bytes(message.data)
    if "rvl" not in message.format.lower():  # that one is refused by its name, with words
        _promised_size("depth", data if data.startswith(_PNG) else data[_DEPTH_HEADER_BYTES:])
    return decode.depth_from_compressed(message)


def camera_model(message: Any) -> CameraModel:
    """The calibration of a sensor_msgs/CameraInfo.

    Raises:
        FrameError: not calibrated (zeros), a region of interest or binning, an unknown or incomplete distortion model.
    """
    roi, width, height = message.roi, int(message.width), int(message.height)
    if max(message.binning_x, message.binning_y) > 1:
        raise FrameError(f"camera_info: expected no binning, got {message.binning_x}x{message.binning_y}: publish the calibration "
                         "of the picture as it is")
    if roi.x_offset or roi.y_offset or roi.width not in (0, width) or roi.height not in (0, height):
        raise FrameError(f"camera_info: expected no region of interest, got {roi.width}x{roi.height} at ({roi.x_offset}, "
                         f"{roi.y_offset}): publish the calibration of the picture as it is")
    _check_size("camera_info", width, height)
    sizes = _DISTORTION_SIZES.get(message.distortion_model)
    if sizes is not None and any(message.d) and len(message.d) not in sizes:
        raise FrameError(f"camera_info: expected {' or '.join(map(str, sizes))} distortion coefficients for "
                         f"{message.distortion_model}, got {len(message.d)}")
    return decode.camera_from_info(message)


def frame_from_messages(colour: Any, depth: Any | None, info: Any) -> Frame:
    """One frame of its messages; stamp and frame_id are the picture's.

    Args:
        colour, depth: messages as for `colour_pixels`, `depth_metres`.
        info: a CameraInfo; or a CameraModel; or a function that makes one of the picture's width and height in pixels.

    Raises:
        FrameError: something does not fit, in itself or with the others.
    """
    stamp, frame_id = decode.stamp_ns(colour.header), colour.header.frame_id
    if stamp <= 0:
        raise FrameError(f"colour: expected a stamp (time of exposure), got {stamp} ns")
    if not frame_id:
        raise FrameError("colour: expected a frame_id (the camera's optical frame), got an empty one")
    if depth is not None and depth.header.frame_id != frame_id:
        raise FrameError(f"depth: expected the colour picture's frame {frame_id!r}, got {depth.header.frame_id!r}: publish depth "
                         "aligned to colour")
    camera = info if isinstance(info, CameraModel) else None if callable(info) else camera_model(info)
    rgb = colour_pixels(colour)
    if camera is None:
        camera = info(rgb.shape[1], rgb.shape[0])
    return Frame(rgb=rgb, depth_m=None if depth is None else depth_metres(depth), camera=camera, stamp_ns=stamp, frame_id=frame_id)


def foreign_calibration(info_frame: str, frame_id: str) -> str:
    """Why a camera_info may be another camera's, "" = it is the picture's, or does not say."""
    if info_frame in ("", frame_id):
        return ""
    return (f"camera_info is of frame {info_frame!r}, the pictures are of {frame_id!r}: is it the calibration of the colour "
            "picture?")


def odd_calibration(camera: CameraModel) -> str:
    """Why a calibration can hardly be that of its picture, "" = it can."""
    across, down = camera.cx / camera.width, camera.cy / camera.height
    focal = (camera.fx / camera.width, camera.fy / camera.width)
    scaled = abs(across - down) < _SCALED and min(abs(across - 0.5), abs(down - 0.5)) > _SCALED
    if not scaled and all(_CENTRE[0] <= share <= _CENTRE[1] for share in (across, down)) and all(
            _FOCAL[0] <= share <= _FOCAL[1] for share in focal) and max(focal) <= _PIXEL * min(focal):
        return ""
    return (f"camera_info: fx={camera.fx:.4g} fy={camera.fy:.4g} cx={camera.cx:.4g} cy={camera.cy:.4g} px hardly fit a picture of "
            f"{camera.width}x{camera.height}: is it the calibration of this resolution, in pixels?")


def _check_size(name: str, width: int, height: int) -> None:
    if not (width > 0 and height > 0 and width * height <= decode.MAX_PIXELS):
        raise FrameError(f"{name}: expected a size of 1 to {decode.MAX_PIXELS} pixels, got {width}x{height}")


def _promised_size(name: str, data: bytes) -> tuple[int, int]:
    """(width, height) that a JPEG's or PNG's header promises, checked before anything is decoded."""
    if data.startswith(_PNG) and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
    elif data.startswith(_JPEG):
        width, height = _jpeg_size(name, data)
    else:
        raise FrameError(f"{name}: expected a compressed picture (JPEG or PNG), got {len(data)} bytes that are neither")
    _check_size(name, width, height)
    return width, height


def _jpeg_size(name: str, data: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    raise FrameError(f"{name}: expected a JPEG with its size, got {len(data)} bytes without (truncated?)")

"""Camera messages as gray pictures, for infrared cameras. Duck-typed, nothing here imports ROS."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.bag import decode
from perception_node.bag.camera import colour_pixels

GRAY_ENCODINGS = ("mono8", "8UC1", "mono16", "16UC1")


def gray_pixels(message: Any) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """(H, W) uint8 or uint16 of an Image: gray as it is, colour as its luminance; uint8 of a CompressedImage (JPEG or PNG).

    Raises:
        FrameError: encoding unknown, size 0, step or data too short, damaged data.
    """
    encoding = str(getattr(message, "encoding", ""))
    if encoding not in GRAY_ENCODINGS:
        return np.asarray(cv2.cvtColor(colour_pixels(message), cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    if encoding in ("mono8", "8UC1"):
        return np.ascontiguousarray(decode.pixel_rows(message, 1, "image"))
    order = ">u2" if message.is_bigendian else "<u2"
    pixels = np.ascontiguousarray(decode.pixel_rows(message, 2, "image")).view(order)
    return np.asarray(pixels, dtype=np.uint16)

"""Camera messages as gray pictures, for infrared cameras. Duck-typed, nothing here imports ROS."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.bag import decode

GRAY_ENCODINGS = ("mono8", "8UC1", "mono16", "16UC1")


def gray_from_image(message: Any) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """(H, W) uint8 or uint16 of a sensor_msgs/Image: gray as it is, colour as its luminance.

    Raises:
        FrameError: encoding unknown, size 0, step or data too short.
    """
    encoding = str(message.encoding)
    if encoding not in GRAY_ENCODINGS:
        return np.asarray(cv2.cvtColor(decode.colour_from_image(message), cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    if encoding in ("mono8", "8UC1"):
        return np.ascontiguousarray(decode.pixel_rows(message, 1, "image"))
    order = ">u2" if message.is_bigendian else "<u2"
    pixels = np.ascontiguousarray(decode.pixel_rows(message, 2, "image")).view(order)
    return np.asarray(pixels, dtype=np.uint16)

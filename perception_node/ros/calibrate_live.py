"""Views for `perception calibrate --live`: listens to a camera's topics for some seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from perception_node.bag import decode
from perception_node.bag.camera import camera_model
from perception_node.bag.gray import gray_pixels
from perception_node.errors import ConfigError, DatasetError, FrameError, one_line
from perception_node.ros.diagnostics import transport_hint
from perception_node.types import CameraModel

PATIENCE_S = 5.0
"""How long the first picture may take, s. Source: judgement; processes find each other within tenths of a second, or 3 s."""
_WAITING = 5


def listen(seconds: float, ros_arguments: Sequence[str],
           compressed: bool = False) -> Iterator[tuple[np.ndarray[Any, Any], CameraModel, int]]:
    """Each picture that comes within so many seconds after the first, with the newest calibration.

    Args:
        seconds: after the first picture. ros_arguments: such as remappings. compressed: read `image/compressed`.

    Raises:
        ConfigError: not a time, or arguments that ROS refuses. DatasetError: nothing came.
    """
    if not 0.0 < seconds <= 3600.0:
        raise ConfigError(f"calibration: expected --live of 0 to 3600 s, got {seconds:g}")
    context = Context()
    try:
        rclpy.init(args=["--ros-args", *ros_arguments] if ros_arguments else [], context=context)
    except Exception as error:  # rcl's own types
        raise ConfigError(f"calibration: --ros: {one_line(error)}") from None
    node = rclpy.create_node("calibrate", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    pictures: list[Any] = []
    infos: list[CameraInfo] = []
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    # A transport's topic hangs on the remapped base topic, as image_transport does it.
    image = node.create_subscription(CompressedImage if compressed else Image,
                                     node.resolve_topic_name("image") + ("/compressed" if compressed else ""), pictures.append, qos)
    info = node.create_subscription(CameraInfo, "camera_info", infos.append, qos)
    until, count, came, said = time.monotonic() + max(seconds, PATIENCE_S), 0, 0, ""
    try:
        while time.monotonic() < until:
            executor.spin_once(timeout_sec=0.1)
            while pictures and infos:
                message = pictures.pop(0)
                came += 1
                try:
                    gray, camera = gray_pixels(message), camera_model(infos[-1])
                except FrameError as error:
                    said = str(error)
                    continue
                if count == 0:
                    until = time.monotonic() + seconds
                count += 1
                yield gray, camera, decode.stamp_ns(message.header)
            del infos[:-1], pictures[:-_WAITING]  # pictures wait for the first calibration only
        if count == 0:
            if not came:
                missing = [made.topic_name for made, got in ((image, pictures), (info, infos)) if not got]
                said = "; ".join(filter(None, [f"nothing came on {' and '.join(missing)}", transport_hint()]))
            raise DatasetError(f"calibration: expected pictures on {image.topic_name} and their calibration on {info.topic_name}, "
                               f"got none that can be used: {said}")
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown(context=context)

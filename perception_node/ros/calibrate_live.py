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
from sensor_msgs.msg import CameraInfo, Image

from perception_node.bag import decode
from perception_node.bag.camera import camera_model
from perception_node.bag.gray import gray_from_image
from perception_node.errors import ConfigError, DatasetError, FrameError
from perception_node.types import CameraModel


def listen(seconds: float, ros_arguments: Sequence[str]) -> Iterator[tuple[np.ndarray[Any, Any], CameraModel, int]]:
    """Each picture that comes within so many seconds after the first, with the newest calibration.

    Raises:
        ConfigError: not a time, or arguments that ROS refuses. DatasetError: nothing came.
    """
    if not 0.0 < seconds <= 3600.0:
        raise ConfigError(f"calibration: expected --live of 0 to 3600 s, got {seconds:g}")
    context = Context()
    try:
        rclpy.init(args=["--ros-args", *ros_arguments] if ros_arguments else [], context=context)
    except Exception as error:  # rcl's own types
        raise ConfigError(f"calibration: --ros: {' '.join(str(error).split())}") from None
    node = rclpy.create_node("calibrate", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    pictures: list[Image] = []
    infos: list[CameraInfo] = []
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    image = node.create_subscription(Image, "image", pictures.append, qos)
    node.create_subscription(CameraInfo, "camera_info", infos.append, qos)
    until, count, said = time.monotonic() + max(seconds, 10.0), 0, ""
    try:
        while time.monotonic() < until:
            executor.spin_once(timeout_sec=0.1)
            while pictures and infos:
                message = pictures.pop(0)
                try:
                    gray, camera = gray_from_image(message), camera_model(infos[-1])
                except FrameError as error:
                    said = str(error)
                    continue
                if count == 0:
                    until = time.monotonic() + seconds
                count += 1
                yield gray, camera, decode.stamp_ns(message.header)
            del infos[:-1]
        if count == 0:
            raise DatasetError(f"calibration: expected pictures on {image.topic_name} with camera_info, got none that can be used"
                               f"{': ' + said if said else ''}")
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown(context=context)

"""Scene -> rclpy's messages. What goes where is in `bag/filling.py`, which replays share."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, PoseArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from perception_node.bag import filling
from perception_node.types import Scene
from perception_node_msgs.msg import GraspCandidate, Package, PickScene, Rejection


def _octets(pixels: memoryview) -> array.array[int]:
    data = array.array("B")  # assigning bytes would cost a check per element
    data.frombytes(pixels)
    return data


MAKERS = filling.Makers(
    empty={kind.__name__: kind for kind in (Header, Time, Image, Point, PoseArray, Marker, MarkerArray, PickScene, Package,
                                            GraspCandidate, Rejection)},
    array=array.array, octets=_octets)


def time_message(stamp_ns: int) -> Time:
    """builtin_interfaces/Time of nanoseconds."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def header(scene: Scene) -> Header:
    """The header of all outputs: stamp and frame of the picture."""
    return filling.header(scene, MAKERS)


def image_message(pixels: np.ndarray[Any, Any], encoding: str, head: Header, spare: Image | None = None) -> Image:
    """sensor_msgs/Image of (H, W) or (H, W, C) pixels, as `filling.image_message`."""
    return filling.image_message(pixels, encoding, head, MAKERS, spare)


def scene_message(scene: Scene, spare: PickScene | None = None) -> PickScene:
    """The whole frame in one message, as `filling.scene_message`."""
    return filling.scene_message(scene, MAKERS, spare)


def poses_message(message: PickScene) -> PoseArray:
    """The grasps' poses alone, best first, for planners that want no custom type."""
    return filling.poses_message(message, MAKERS)


def markers_message(message: PickScene) -> MarkerArray:
    """What RViz shows of a scene, as `filling.markers_message`."""
    return filling.markers_message(message, MAKERS)


def detections_message(message: PickScene) -> Any:
    """vision_msgs/Detection2DArray of the packages: box of the visible mask, class and score, pose. Needs vision_msgs."""
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

    detections = Detection2DArray(header=message.header)
    for package in message.packages:
        result = ObjectHypothesisWithPose(pose=package.pose)
        result.hypothesis.class_id, result.hypothesis.score = package.class_name, float(package.score)
        detection = Detection2D(header=message.header, results=[result], id=str(package.track_id))
        box, roi = detection.bbox, package.roi
        box.center.position.x, box.center.position.y = roi.x_offset + roi.width / 2.0, roi.y_offset + roi.height / 2.0
        box.size_x, box.size_y = float(roi.width), float(roi.height)
        detections.detections.append(detection)
    return detections

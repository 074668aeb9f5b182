"""Scene -> rclpy's messages where `bag/cdr.py` does not write them; and the check that what it writes can be read."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from perception_node import types
from perception_node.bag import filling
from perception_node.bag.cdr import SceneBytes
from perception_node.errors import PerceptionError
from perception_node.types import Scene
from perception_node_msgs.msg import PickScene

MAKERS: filling.Makers = {kind.__name__: kind for kind in (Header, Point, Marker, MarkerArray)}


def time_message(stamp_ns: int) -> Time:
    """builtin_interfaces/Time of nanoseconds."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def header(scene: Scene) -> Header:
    """The header of all outputs: stamp and frame of the picture."""
    return filling.header(scene, MAKERS)


def image_message(pixels: np.ndarray[Any, Any], encoding: str, head: Header) -> Image:
    """sensor_msgs/Image of (H, W) or (H, W, C) pixels."""
    data = array.array("B")  # assigning bytes would cost a check per element
    data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    height, width = pixels.shape[:2]
    return Image(header=head, height=height, width=width, encoding=encoding, step=pixels.nbytes // height, data=data)


def markers_message(scene: Scene) -> MarkerArray:
    """What RViz shows of a scene, as `filling.markers_message`."""
    return filling.markers_message(scene, MAKERS)


def detections_message(scene: Scene) -> Any:
    """vision_msgs/Detection2DArray of the packages: box of the visible mask, class and score, pose. Needs vision_msgs."""
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

    head = header(scene)
    poses = []
    detections = Detection2DArray(header=head)
    for track in scene.tracks:
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id, result.hypothesis.score = track.class_name, float(track.package.score)
        result.pose.covariance = track.covariance.ravel()
        poses.append(result.pose.pose)
        detection = Detection2D(header=head, results=[result], id=str(track.track_id))
        x0, y0, x1, y1 = (float(n) for n in scene.segmentation.instances[track.label - 1].bbox_xyxy)
        box = detection.bbox
        box.center.position.x, box.center.position.y = (x0 + x1) / 2.0, (y0 + y1) / 2.0
        box.size_x, box.size_y = x1 - x0, y1 - y0
        detections.detections.append(detection)
    filling.set_poses(poses, [track.T_cam_package for track in scene.tracks])
    return detections


def check_definitions() -> None:
    """See that the installed perception_node_msgs are those that `bag/cdr.py` writes: what it writes is read, from begin to end.

    Raises:
        PerceptionError: the messages were built from other definitions.
    """
    scene = _sample()
    try:
        read = deserialize_message(SceneBytes(scene).scene(latency_s=0.5), PickScene)
        (package,), (grasp,), (rejection,) = read.packages, read.grasps, read.rejections
        same = (package.placed, grasp.term_names, rejection.number_names, read.model_id, read.latency_s, read.timing_names) == (
            True, list(scene.grasps[0].terms), list(scene.rejections[0].numbers), scene.model_id, 0.5, list(scene.timing_ms))
    except Exception:  # rclpy raises types of its own
        same = False
    if not same:
        raise PerceptionError("perception_node_msgs: expected the messages of this version, found other definitions: build them "
                              "again (colcon build) and source the workspace")


def _sample() -> Scene:
    """A scene with one of everything, and numbers that no other place has."""
    pose, spread = np.eye(4), np.eye(6)
    package = types.Package(1, "box", 0.5, pose, (0.3, 0.2, 0.1), spread, 1.0, (1,), 1.0, True)
    track = types.Track(7, 1, "box", pose, package.size_m, np.zeros(3), 1, spread, np.eye(3), package)
    segmentation = types.Segmentation(np.ones((2, 3), np.uint16), (types.Instance(1, "box", 0.5, (0, 0, 3, 2), 6),))
    return Scene(1, "camera", segmentation, (track,), (types.Grasp("suction", pose, 0.05, 0.5, 1, 7, {"seal": 0.25}, 2, spread),),
                 (types.Rejection(1, "parallel_jaw", "too wide", {"opening_needed_m": 0.5}, 7),), (1,), np.ones(3), {"total": 1.0},
                 "sample", True, "none 0")

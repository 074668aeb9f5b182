"""Scene -> messages. Every output carries the picture's stamp and frame.

Speed matters here (3 ms a frame at most): messages are filled field by field, arrays go in as `array.array` (assigning bytes
or lists of numbers costs a check per element), and the label image and the poses are built once and shared.
"""

from __future__ import annotations

import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, PoseArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from perception_node.geometry import quaternions_xyzw
from perception_node.types import F64, Grasp, Scene, Track
from perception_node.types import Rejection as SceneRejection
from perception_node_msgs.msg import GraspCandidate, Package, PickScene, Rejection


def time_message(stamp_ns: int) -> Time:
    """builtin_interfaces/Time of nanoseconds."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def header(scene: Scene) -> Header:
    """The header of all outputs: stamp and frame of the picture."""
    return Header(stamp=time_message(scene.stamp_ns), frame_id=scene.frame_id)


def image_message(pixels: np.ndarray[Any, Any], encoding: str, head: Header, spare: Image | None = None) -> Image:
    """sensor_msgs/Image of (H, W) or (H, W, C) pixels, little-endian; `spare` gives its memory when it has the same size."""
    octets = np.ascontiguousarray(pixels).data.cast("B")
    if spare is not None and len(spare.data) == len(octets):
        data = spare.data
        memoryview(data)[:] = octets
    else:
        data = array.array("B")
        data.frombytes(octets)
    image = Image(header=head)
    image.height, image.width = pixels.shape[:2]
    image.encoding = encoding
    image.step = int(pixels.nbytes // pixels.shape[0])
    image.data = data
    return image


def scene_message(scene: Scene, spare: PickScene | None = None) -> PickScene:
    """The whole frame in one message; `latency_s` is filled in at the moment of publishing.

    Args:
        scene: what to say. spare: a message that nobody needs any more: its grasps and pixels are written over, which saves a
            third of the time.
    """
    head = header(scene)
    order = {label: place for place, label in enumerate(scene.pick_order)}
    last = len(order)
    tracks = sorted(scene.tracks, key=lambda track: order.get(track.label, last))
    message = PickScene(header=head, labels=image_message(scene.segmentation.labels, "mono16", head, spare and spare.labels))
    message.packages = [_package(track, order.get(track.label, last), scene) for track in tracks]
    set_poses([package.pose.pose for package in message.packages], [track.T_cam_package for track in tracks])
    used = spare.grasps[:len(scene.grasps)] if spare is not None else []
    used += [GraspCandidate() for _ in range(len(scene.grasps) - len(used))]
    message.grasps = [_grasp(grasp, into) for grasp, into in zip(scene.grasps, used, strict=True)]
    set_poses([grasp.pose for grasp in message.grasps], [grasp.T_cam_grasp for grasp in scene.grasps])
    message.rejections = [_rejection(rejection) for rejection in scene.rejections]
    message.belt_velocity_known = scene.belt_velocity_m_s is not None
    if scene.belt_velocity_m_s is not None:
        _vector(message.belt_velocity, scene.belt_velocity_m_s)
    message.depth_used = bool(scene.depth_used)
    message.degraded = scene.degraded
    message.model_id = scene.model_id
    message.timing_names = list(scene.timing_ms)
    message.timing_ms = _floats("f", scene.timing_ms.values())
    return message


def poses_message(message: PickScene) -> PoseArray:
    """The grasps' poses alone, best first, for planners that want no custom type."""
    return PoseArray(header=message.header, poses=[grasp.pose for grasp in message.grasps])


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


def set_poses(poses: Sequence[Pose], transforms: Sequence[F64]) -> None:
    """Write (4, 4) transforms into geometry_msgs/Pose messages, all at once."""
    if not poses:
        return
    stacked = np.stack(transforms)
    positions, orientations = stacked[:, :3, 3].tolist(), quaternions_xyzw(stacked[:, :3, :3]).tolist()
    for pose, (x, y, z), (qx, qy, qz, qw) in zip(poses, positions, orientations, strict=True):
        position, orientation = pose.position, pose.orientation
        position.x, position.y, position.z = x, y, z
        orientation.x, orientation.y, orientation.z, orientation.w = qx, qy, qz, qw


def _vector(vector: Any, values: F64) -> None:
    vector.x, vector.y, vector.z = values.tolist()


def _floats(code: str, values: Iterable[float]) -> array.array[float]:
    return array.array(code, values)


def _package(track: Track, place: int, scene: Scene) -> Package:
    instance, found = scene.segmentation.instances[track.label - 1], track.package
    message = Package()
    message.label, message.track_id, message.pick_order = track.label, track.track_id, place
    message.class_name, message.score = track.class_name, float(found.score)
    message.covered_by = array.array("H", found.covered_by)
    x0, y0, x1, y1 = (int(n) for n in instance.bbox_xyxy)
    roi = message.roi
    roi.x_offset, roi.y_offset, roi.width, roi.height = x0, y0, x1 - x0, y1 - y0
    message.area_px = int(instance.area_px)
    message.pose.covariance = track.covariance.ravel()
    _vector(message.velocity, track.velocity_m_s)
    message.velocity_covariance = track.velocity_covariance.ravel()
    message.size.x, message.size.y, message.size.z = (float(n) for n in track.size_m)
    message.visible_fraction = float(found.visible_fraction)
    message.depth_valid_fraction = float(found.depth_valid_fraction)
    message.from_depth = bool(found.from_depth)
    message.truncated, message.placed = bool(found.truncated), bool(found.placed)
    return message


def _grasp(grasp: Grasp, message: GraspCandidate) -> GraspCandidate:
    message.kind, message.label, message.track_id = grasp.kind, grasp.label, grasp.track_id
    message.pose_variance = grasp.covariance.diagonal().copy()
    message.width_m, message.score = float(grasp.width_m), float(grasp.score)
    message.has_deadline = grasp.deadline_ns is not None
    message.deadline.sec, message.deadline.nanosec = divmod(grasp.deadline_ns or 0, 1_000_000_000)
    message.degraded = bool(grasp.degraded)
    message.term_names = list(grasp.terms)
    message.term_values = _floats("f", grasp.terms.values())
    return message


def _rejection(rejection: SceneRejection) -> Rejection:
    message = Rejection(label=rejection.label, track_id=rejection.track_id, kind=rejection.kind, reason=rejection.reason)
    message.number_names = list(rejection.numbers)
    message.number_values = _floats("d", rejection.numbers.values())
    return message

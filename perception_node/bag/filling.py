"""Scene -> messages, for the live node and the replayer alike: one code fills rclpy's messages and rosbags'. Imports neither.

Every output carries the picture's stamp and frame. Speed matters in the node (3 ms a frame at most): messages are filled field
by field, arrays go in as the library's own arrays, and the label image and the poses are built once and shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perception_node.geometry import quaternions_xyzw
from perception_node.types import F64, Grasp, Rejection, Scene, Track

MESSAGES: tuple[str, ...] = (
    "std_msgs/msg/Header", "builtin_interfaces/msg/Time", "sensor_msgs/msg/Image", "geometry_msgs/msg/Point",
    "geometry_msgs/msg/PoseArray", "visualization_msgs/msg/Marker", "visualization_msgs/msg/MarkerArray",
    "perception_node_msgs/msg/PickScene", "perception_node_msgs/msg/Package", "perception_node_msgs/msg/GraspCandidate",
    "perception_node_msgs/msg/Rejection")
"""What `Makers.empty` must know."""

_CUBE, _TEXT, _ARROW, _DELETE_ALL = 1, 9, 0, 3
"""Source: visualization_msgs/Marker.msg (CUBE, TEXT_VIEW_FACING, ARROW, DELETEALL)."""

_COLOURS = {"box": (0.80, 0.55, 0.25), "padded_mailer": (0.95, 0.80, 0.30), "poly_bag": (0.45, 0.65, 0.90),
            "item": (0.55, 0.80, 0.45)}
_LIFETIME_NS = 500_000_000
_FLAT_M = 0.002
_ARROW_M = 0.06


@dataclass(frozen=True)
class Makers:
    """A library's messages.

    Attributes:
        empty: by type's name (without its package), makes a message whose fields are zero, empty or empty messages.
        array: (type code as in `array.array`, values) -> what the library wants in a variable-length field.
        octets: bytes of a picture -> what it wants in `Image.data`.
    """

    empty: Mapping[str, Callable[[], Any]]
    array: Callable[[str, Iterable[float]], Any]
    octets: Callable[[memoryview], Any]


def header(scene: Scene, make: Makers) -> Any:
    """std_msgs/Header of all outputs: stamp and frame of the picture."""
    head = make.empty["Header"]()
    head.stamp.sec, head.stamp.nanosec = divmod(scene.stamp_ns, 1_000_000_000)
    head.frame_id = scene.frame_id
    return head


def image_message(pixels: np.ndarray[Any, Any], encoding: str, head: Any, make: Makers, spare: Any = None) -> Any:
    """sensor_msgs/Image of (H, W) or (H, W, C) pixels, little-endian; `spare` gives its memory when it has the same size."""
    octets = np.ascontiguousarray(pixels).data.cast("B")
    if spare is not None and len(spare.data) == len(octets):
        data = spare.data
        memoryview(data)[:] = octets
    else:
        data = make.octets(octets)
    image = make.empty["Image"]()
    image.header = head
    image.height, image.width = pixels.shape[:2]
    image.encoding = encoding
    image.step = int(pixels.nbytes // pixels.shape[0])
    image.data = data
    return image


def scene_message(scene: Scene, make: Makers, spare: Any = None) -> Any:
    """The whole frame in one perception_node_msgs/PickScene; `latency_s` is filled in at the moment of publishing.

    Args:
        scene: what to say. make: the library. spare: a message that nobody needs any more: its packages, grasps and pixels are
            written over, which saves a good third of the time.
    """
    head = header(scene, make)
    order = {label: place for place, label in enumerate(scene.pick_order)}
    last = len(order)
    tracks = sorted(scene.tracks, key=lambda track: order.get(track.label, last))
    message = make.empty["PickScene"]()
    message.header = head
    message.labels = image_message(scene.segmentation.labels, "mono16", head, make, spare and spare.labels)
    old = spare.packages[:len(tracks)] if spare is not None else []
    old += [make.empty["Package"]() for _ in range(len(tracks) - len(old))]
    packages = [_package(track, order.get(track.label, last), scene, into, make) for track, into in zip(tracks, old, strict=True)]
    set_poses([package.pose.pose for package in packages], [track.T_cam_package for track in tracks])
    message.packages = packages
    used = spare.grasps[:len(scene.grasps)] if spare is not None else []
    used += [make.empty["GraspCandidate"]() for _ in range(len(scene.grasps) - len(used))]
    grasps = [_grasp(grasp, into, make) for grasp, into in zip(scene.grasps, used, strict=True)]
    set_poses([grasp.pose for grasp in grasps], [grasp.T_cam_grasp for grasp in scene.grasps])
    message.grasps = grasps
    message.rejections = [_rejection(rejection, make) for rejection in scene.rejections]
    message.belt_velocity_known = scene.belt_velocity_m_s is not None
    if scene.belt_velocity_m_s is not None:
        _vector(message.belt_velocity, scene.belt_velocity_m_s)
    message.depth_used = bool(scene.depth_used)
    message.degraded = scene.degraded
    message.model_id = scene.model_id
    message.timing_names = list(scene.timing_ms)
    message.timing_ms = make.array("f", scene.timing_ms.values())
    return message


def poses_message(message: Any, make: Makers) -> Any:
    """geometry_msgs/PoseArray: the grasps' poses of a PickScene alone, best first."""
    poses = make.empty["PoseArray"]()
    poses.header = message.header
    poses.poses = [grasp.pose for grasp in message.grasps]
    return poses


def markers_message(scene: Any, make: Makers) -> Any:
    """MarkerArray of a PickScene for RViz: replaces what was drawn before, and fades when no new one comes.

    Boxes of the packages with their ids, an arrow along the approach of each grasp, from red (score 0) to green (1).
    """
    clear = make.empty["Marker"]()
    clear.header, clear.action = scene.header, _DELETE_ALL
    markers = [clear]
    for package in scene.packages:
        red, green, blue = _COLOURS.get(package.class_name, (0.6, 0.6, 0.6))
        box = _marker(scene, "packages", package.label, _CUBE, (red, green, blue, 0.5), make)
        box.pose = package.pose.pose
        box.scale.x, box.scale.y, box.scale.z = package.size.x, package.size.y, max(package.size.z, _FLAT_M)
        text = _marker(scene, "ids", package.label, _TEXT, (1.0, 1.0, 1.0, 1.0), make)
        text.pose.position = package.pose.pose.position
        text.scale.z = 0.03
        text.text = f"{package.track_id} {package.class_name} {package.score:.2f}"
        markers += [box, text]
    for rank, grasp in enumerate(scene.grasps):
        arrow = _marker(scene, grasp.kind, rank, _ARROW, (1.0 - grasp.score, grasp.score, 0.2, 1.0), make)
        q, tip = grasp.pose.orientation, grasp.pose.position
        # third column of the rotation: the approach direction
        z = (2 * (q.x * q.z + q.y * q.w), 2 * (q.y * q.z - q.x * q.w), 1 - 2 * (q.x * q.x + q.y * q.y))
        start = make.empty["Point"]()
        start.x, start.y, start.z = tip.x - _ARROW_M * z[0], tip.y - _ARROW_M * z[1], tip.z - _ARROW_M * z[2]
        arrow.points = [start, tip]
        arrow.scale.x, arrow.scale.y = 0.004, 0.01
        markers.append(arrow)
    array = make.empty["MarkerArray"]()
    array.markers = markers
    return array


def set_poses(poses: Sequence[Any], transforms: Sequence[F64]) -> None:
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


def _package(track: Track, place: int, scene: Scene, message: Any, make: Makers) -> Any:
    instance, found = scene.segmentation.instances[track.label - 1], track.package
    message.label, message.track_id, message.pick_order = track.label, track.track_id, place
    message.class_name, message.score = track.class_name, float(found.score)
    message.covered_by = make.array("H", found.covered_by)
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


def _grasp(grasp: Grasp, message: Any, make: Makers) -> Any:
    message.kind, message.label, message.track_id = grasp.kind, grasp.label, grasp.track_id
    message.pose_variance = grasp.covariance.diagonal().copy()
    message.width_m, message.score = float(grasp.width_m), float(grasp.score)
    message.has_deadline = grasp.deadline_ns is not None
    message.deadline.sec, message.deadline.nanosec = divmod(grasp.deadline_ns or 0, 1_000_000_000)
    message.degraded = bool(grasp.degraded)
    message.term_names = list(grasp.terms)
    message.term_values = make.array("f", grasp.terms.values())
    return message


def _rejection(rejection: Rejection, make: Makers) -> Any:
    message = make.empty["Rejection"]()
    message.label, message.track_id = rejection.label, rejection.track_id
    message.kind, message.reason = rejection.kind, rejection.reason
    message.number_names = list(rejection.numbers)
    message.number_values = make.array("d", rejection.numbers.values())
    return message


def _marker(scene: Any, group: str, number: int, kind: int, rgba: tuple[float, float, float, float], make: Makers) -> Any:
    marker = make.empty["Marker"]()
    marker.header, marker.ns, marker.id, marker.type = scene.header, group, number, kind
    marker.color.r, marker.color.g, marker.color.b, marker.color.a = rgba
    marker.lifetime.nanosec = _LIFETIME_NS
    return marker

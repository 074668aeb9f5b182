"""Scene -> messages that are drawn: one code fills rclpy's messages and rosbags', for the live node and the replayer alike. Imports
neither. What planners read is written by `bag/cdr.py`.

Every output carries the picture's stamp and frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from perception_node.bag.cdr import pose_rows
from perception_node.types import F64, Scene

MESSAGES: tuple[str, ...] = ("std_msgs/msg/Header", "geometry_msgs/msg/Point", "visualization_msgs/msg/Marker",
                             "visualization_msgs/msg/MarkerArray")
"""What `Makers` must know."""

Makers = Mapping[str, Callable[[], Any]]
"""A library's messages: by type's name (without its package), makes one whose fields are zero, empty or empty messages."""

_CUBE, _TEXT, _ARROW, _DELETE_ALL = 1, 9, 0, 3
"""Source: visualization_msgs/Marker.msg (CUBE, TEXT_VIEW_FACING, ARROW, DELETEALL)."""

_COLOURS = {"box": (0.80, 0.55, 0.25), "padded_mailer": (0.95, 0.80, 0.30), "poly_bag": (0.45, 0.65, 0.90),
            "item": (0.55, 0.80, 0.45)}
_LIFETIME_NS = 500_000_000
_FLAT_M = 0.002
_ARROW_M = 0.06


def header(scene: Scene, make: Makers) -> Any:
    """std_msgs/Header of all outputs: stamp and frame of the picture."""
    head = make["Header"]()
    head.stamp.sec, head.stamp.nanosec = divmod(scene.stamp_ns, 1_000_000_000)
    head.frame_id = scene.frame_id
    return head


def markers_message(scene: Scene, make: Makers) -> Any:
    """MarkerArray of a scene for RViz: replaces what was drawn before, and fades when no new one comes.

    Boxes of the packages with their ids, an arrow along the approach of each grasp, from red (score 0) to green (1).
    """
    head = header(scene, make)
    clear = make["Marker"]()
    clear.header, clear.action = head, _DELETE_ALL
    markers, boxes = [clear], []
    for track in scene.tracks:
        red, green, blue = _COLOURS.get(track.class_name, (0.6, 0.6, 0.6))
        box = _marker(head, "packages", track.label, _CUBE, (red, green, blue, 0.5), make)
        length, width, height = (float(n) for n in track.size_m)
        box.scale.x, box.scale.y, box.scale.z = length, width, max(height, _FLAT_M)
        text = _marker(head, "ids", track.label, _TEXT, (1.0, 1.0, 1.0, 1.0), make)
        text.pose.position = box.pose.position
        text.scale.z = 0.03
        text.text = f"{track.track_id} {track.class_name} {track.package.score:.2f}"
        boxes.append(box)
        markers += [box, text]
    set_poses([box.pose for box in boxes], [track.T_cam_package for track in scene.tracks])
    for rank, grasp in enumerate(scene.grasps):
        arrow = _marker(head, grasp.kind, rank, _ARROW, (1.0 - float(grasp.score), float(grasp.score), 0.2, 1.0), make)
        tip, approach = grasp.T_cam_grasp[:3, 3], grasp.T_cam_grasp[:3, 2]
        arrow.points = [_point(tip - _ARROW_M * approach, make), _point(tip, make)]
        arrow.scale.x, arrow.scale.y = 0.004, 0.01
        markers.append(arrow)
    array = make["MarkerArray"]()
    array.markers = markers
    return array


def set_poses(poses: Sequence[Any], transforms: Sequence[F64]) -> None:
    """Write (4, 4) transforms into geometry_msgs/Pose messages, all at once."""
    for pose, (x, y, z, qx, qy, qz, qw) in zip(poses, pose_rows(transforms).tolist(), strict=True):
        position, orientation = pose.position, pose.orientation
        position.x, position.y, position.z = x, y, z
        orientation.x, orientation.y, orientation.z, orientation.w = qx, qy, qz, qw


def _point(place: F64, make: Makers) -> Any:
    point = make["Point"]()
    point.x, point.y, point.z = place.tolist()
    return point


def _marker(head: Any, group: str, number: int, kind: int, rgba: tuple[float, float, float, float], make: Makers) -> Any:
    marker = make["Marker"]()
    marker.header, marker.ns, marker.id, marker.type = head, group, number, kind
    marker.color.r, marker.color.g, marker.color.b, marker.color.a = rgba
    marker.lifetime.nanosec = _LIFETIME_NS
    return marker

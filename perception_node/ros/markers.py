"""What RViz shows of a scene: boxes of the packages with their ids, an arrow along the approach of the best grasps."""

from __future__ import annotations

from geometry_msgs.msg import Point
from visualization_msgs.msg import Marker, MarkerArray

from perception_node_msgs.msg import PickScene

_COLOURS = {"box": (0.80, 0.55, 0.25), "padded_mailer": (0.95, 0.80, 0.30), "poly_bag": (0.45, 0.65, 0.90)}
_LIFETIME_NS = 500_000_000
_FLAT_M = 0.002
_ARROW_M = 0.06


def markers_message(scene: PickScene) -> MarkerArray:
    """MarkerArray of a PickScene: replaces what was drawn before, and fades when no new one comes."""
    markers = [Marker(header=scene.header, action=Marker.DELETEALL)]
    for package in scene.packages:
        red, green, blue = _COLOURS.get(package.class_name, (0.6, 0.6, 0.6))
        box = _marker(scene, "packages", package.label, Marker.CUBE, (red, green, blue, 0.5))
        box.pose = package.pose.pose
        box.scale.x, box.scale.y, box.scale.z = package.size.x, package.size.y, max(package.size.z, _FLAT_M)
        text = _marker(scene, "ids", package.label, Marker.TEXT_VIEW_FACING, (1.0, 1.0, 1.0, 1.0))
        text.pose.position = package.pose.pose.position
        text.scale.z = 0.03
        text.text = f"{package.track_id} {package.class_name} {package.score:.2f}"
        markers += [box, text]
    for rank, grasp in enumerate(scene.grasps):
        arrow = _marker(scene, grasp.kind, rank, Marker.ARROW, (1.0 - grasp.score, grasp.score, 0.2, 1.0))
        q, tip = grasp.pose.orientation, grasp.pose.position
        # third column of the rotation: the approach direction
        z = (2 * (q.x * q.z + q.y * q.w), 2 * (q.y * q.z - q.x * q.w), 1 - 2 * (q.x * q.x + q.y * q.y))
        start = Point(x=tip.x - _ARROW_M * z[0], y=tip.y - _ARROW_M * z[1], z=tip.z - _ARROW_M * z[2])
        arrow.points = [start, tip]
        arrow.scale.x, arrow.scale.y = 0.004, 0.01
        markers.append(arrow)
    return MarkerArray(markers=markers)


def _marker(scene: PickScene, group: str, number: int, kind: int, rgba: tuple[float, float, float, float]) -> Marker:
    marker = Marker(header=scene.header, ns=group, id=number, type=kind, action=Marker.ADD)
    marker.color.r, marker.color.g, marker.color.b, marker.color.a = rgba
    marker.lifetime.nanosec = _LIFETIME_NS
    return marker

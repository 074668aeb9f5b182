"""What the beacon node gives: publishers of pose and markers, and its diagnostics."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from perception_node.bag.filling import set_poses
from perception_node.beacon.tracker import BeaconPose
from perception_node.geometry import transform_points
from perception_node.ros import drops as reasons
from perception_node.ros.beacon_worker import BeaconWorker, covariance_list
from perception_node.ros.diagnostics import ERROR, OK, WARN, Status
from perception_node.ros.messages import time_message
from perception_node.types import F64

_LIFETIME_NS = 500_000_000
_QUEUE = 2


class BeaconOutputs:
    """Publishers of `~/pose` and `~/markers`."""

    def __init__(self, node: LifecycleNode, leds_m: F64) -> None:
        self._node, self._leds_m = node, leds_m
        qos = QoSProfile(depth=_QUEUE, reliability=ReliabilityPolicy.RELIABLE)
        self._pose = node.create_lifecycle_publisher(PoseWithCovarianceStamped, "~/pose", qos)
        self._markers = node.create_lifecycle_publisher(MarkerArray, "~/markers", qos)

    def publish(self, pose: BeaconPose, frame_id: str, trusted: bool) -> None:
        """The pose, when it is `trusted`, with the picture's stamp and frame; what it looks like in RViz, when someone looks."""
        header = Header(stamp=time_message(pose.stamp_ns), frame_id=frame_id)
        if trusted:
            message = PoseWithCovarianceStamped(header=header)
            set_poses([message.pose.pose], [pose.T_cam_beacon])
            message.pose.covariance = covariance_list(pose)
            self._pose.publish(message)
        if self._markers.get_subscription_count() > 0:
            self._markers.publish(markers(pose, self._leds_m, header))

    def destroy(self) -> None:
        """Remove the publishers."""
        for publisher in (self._pose, self._markers):
            self._node.destroy_lifecycle_publisher(publisher)


def markers(pose: BeaconPose, leds_m: F64, header: Header) -> MarkerArray:
    """A ball for each LED (red = hidden), the beacon's z axis, range and what is wrong as a text; alternatives in gray."""
    made = [Marker(header=header, action=Marker.DELETEALL)]
    size = 0.12 * float(np.linalg.norm(leds_m - leds_m.mean(axis=0), axis=1).max())
    for group, T in enumerate((pose.T_cam_beacon, *pose.alternatives)):
        for number, (x, y, z) in enumerate(transform_points(T, leds_m).tolist()):
            ball = Marker(header=header, ns=f"leds_{group}", id=number, type=Marker.SPHERE, action=Marker.ADD)
            ball.pose.position.x, ball.pose.position.y, ball.pose.position.z = x, y, z
            ball.scale.x = ball.scale.y = ball.scale.z = size
            red, green, blue = (0.6, 0.6, 0.6) if group else (1.0, 0.1, 0.1) if number in pose.hidden else (1.0, 0.9, 0.3)
            ball.color.r, ball.color.g, ball.color.b, ball.color.a = red, green, blue, 0.4 if group else 1.0
            made.append(ball)
    text = Marker(header=header, ns="words", type=Marker.TEXT_VIEW_FACING, action=Marker.ADD)
    set_poses([text.pose], [pose.T_cam_beacon])
    text.scale.z, text.color.a = 2 * size, 1.0
    text.color.r = text.color.g = text.color.b = 1.0
    text.text = f"{pose.range_m:.3f} m {pose.why}".strip()
    made.append(text)
    for marker in made:
        marker.lifetime.nanosec = _LIFETIME_NS
    return MarkerArray(markers=made)


def beacon_status(worker: BeaconWorker) -> Status:
    """Is the beacon seen, and can its pose be trusted?"""
    finder, pose, recent = worker.finder, worker.finder.pose, worker.drops.recent()
    status = Status("beacon", words=f"{finder.state}, {worker.results.hz():.1f} poses/s")
    if finder.state != "tracking":
        status.worsen(WARN, f"{finder.state}: {finder.why}")
    elif pose is not None and not pose.good:
        status.worsen(WARN, pose.why)
    for reason in (reasons.TOO_OLD, reasons.FAILED):
        if recent[reason]:
            status.worsen(ERROR, f"{recent[reason]} frames dropped ({reason}): {worker.drops.words(reason)}")
    status.values = {
        "state": finder.state, "why": finder.why, "poses": str(worker.results.total), "poses_hz": f"{worker.results.hz():.2f}",
        "latency_s": "unknown" if worker.age_s is None else f"{worker.age_s:.4f}", "resets": str(worker.resets),
        **{f"{stage}_ms": f"{ms:.2f}" for stage, ms in worker.timing_ms.items()},
        **{f"dropped_{reason}": str(worker.drops.total(reason)) for reason in reasons.REASONS}}
    if pose is not None:
        sigma = np.sqrt(np.diag(pose.covariance))
        status.values |= {
            "range_m": f"{pose.range_m:.4f}", "attitude_rpy_rad": " ".join(f"{angle:.4f}" for angle in pose.attitude_rpy_rad),
            "reprojection_px": f"{pose.reprojection_px:.3f}", "sigma_position_m": f"{np.linalg.norm(sigma[:3]):.5f}",
            "sigma_attitude_rad": f"{np.linalg.norm(sigma[3:]):.5f}", "hidden": ",".join(map(str, pose.hidden)),
            "ambiguous": str(len(pose.alternatives)), "level_ok": str(status.level == OK).lower()}
    return status

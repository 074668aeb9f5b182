"""PickScene -> Scene: what a subscriber received, in the package's own types (for reports, pictures and tests)."""

from __future__ import annotations

from typing import Any

import numpy as np

from perception_node import types
from perception_node.geometry import rotation_from_quaternion
from perception_node.types import F64
from perception_node_msgs.msg import GraspCandidate, Package, PickScene


def scene_from_message(message: PickScene) -> types.Scene:
    """The scene of a message. What a message does not carry (off-diagonal covariances of grasps) is zero.

    Raises:
        PerceptionError: a message that contradicts itself.
    """
    head, picture = message.header, message.labels
    labels = np.frombuffer(picture.data, dtype="<u2").reshape(picture.height, picture.step // 2)[:, :picture.width]
    packages = sorted(message.packages, key=lambda package: package.label)
    stamp_ns = head.stamp.sec * 10**9 + head.stamp.nanosec
    instances = tuple(types.Instance(p.label, p.class_name, min(p.score, 1.0), _box(p.roi), p.area_px) for p in packages)
    order = sorted(packages, key=lambda package: package.pick_order)
    return types.Scene(
        stamp_ns=stamp_ns, frame_id=head.frame_id, segmentation=types.Segmentation(labels.astype(np.uint16), instances),
        tracks=tuple(_track(package, stamp_ns) for package in packages), grasps=tuple(_grasp(g) for g in message.grasps),
        rejections=tuple(types.Rejection(r.label, r.kind, r.reason, dict(zip(r.number_names, r.number_values, strict=True)),
                                         r.track_id) for r in message.rejections),
        pick_order=tuple(package.label for package in order),
        belt_velocity_m_s=_vector(message.belt_velocity) if message.belt_velocity_known else None,
        timing_ms=dict(zip(message.timing_names, message.timing_ms, strict=True)), degraded=message.degraded,
        depth_used=message.depth_used, model_id=message.model_id)


def _box(roi: Any) -> tuple[int, int, int, int]:
    return roi.x_offset, roi.y_offset, roi.x_offset + roi.width, roi.y_offset + roi.height


def _vector(vector: Any) -> F64:
    return np.array([vector.x, vector.y, vector.z])


def _transform(pose: Any) -> F64:
    q = pose.orientation
    T = np.eye(4)
    T[:3, :3] = rotation_from_quaternion((q.x, q.y, q.z, q.w))
    T[:3, 3] = pose.position.x, pose.position.y, pose.position.z
    return T


def _track(message: Package, stamp_ns: int) -> types.Track:
    T, covariance = _transform(message.pose.pose), np.array(message.pose.covariance).reshape(6, 6)
    size = (message.size.x, message.size.y, message.size.z)
    package = types.Package(
        label=message.label, class_name=message.class_name, score=min(message.score, 1.0), T_cam_package=T, size_m=size,
        covariance=covariance, visible_fraction=message.visible_fraction, covered_by=tuple(message.covered_by),
        depth_valid_fraction=message.depth_valid_fraction, from_depth=message.from_depth, truncated=message.truncated,
        placed=message.placed)
    return types.Track(
        track_id=message.track_id, label=message.label, class_name=message.class_name, T_cam_package=T, size_m=size,
        velocity_m_s=_vector(message.velocity), stamp_ns=stamp_ns, covariance=covariance,
        velocity_covariance=np.array(message.velocity_covariance).reshape(3, 3), package=package)


def _grasp(message: GraspCandidate) -> types.Grasp:
    deadline = message.deadline
    return types.Grasp(
        kind=message.kind, T_cam_grasp=_transform(message.pose), width_m=message.width_m, score=min(message.score, 1.0),
        label=message.label, track_id=message.track_id, terms=dict(zip(message.term_names, message.term_values, strict=True)),
        deadline_ns=deadline.sec * 10**9 + deadline.nanosec if message.has_deadline else None,
        covariance=np.diag(np.array(message.pose_variance)), degraded=message.degraded)

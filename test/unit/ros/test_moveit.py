"""MoveIt's grasps, against stand-ins for moveit_msgs and trajectory_msgs made from their documented definitions."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields
from types import ModuleType

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, Vector3Stamped

from perception_node import geometry
from perception_node.bench.publish import full_scene
from perception_node.config import from_flat
from perception_node.ros.moveit import grasp_messages, parent_poses


class Strict:
    """As generated messages: no field that the definition lacks can be set."""

    def __setattr__(self, name, value):
        assert name in {entry.name for entry in fields(self)}, f"{type(self).__name__} has no field {name}"
        super().__setattr__(name, value)


@dataclass
class JointTrajectoryPoint(Strict):
    positions: list = field(default_factory=list)


@dataclass
class JointTrajectory(Strict):
    joint_names: list = field(default_factory=list)
    points: list = field(default_factory=list)


@dataclass
class GripperTranslation(Strict):
    direction: Vector3Stamped = field(default_factory=Vector3Stamped)
    desired_distance: float = 0.0
    min_distance: float = 0.0


@dataclass
class Grasp(Strict):
    id: str = ""
    pre_grasp_posture: JointTrajectory = field(default_factory=JointTrajectory)
    grasp_posture: JointTrajectory = field(default_factory=JointTrajectory)
    grasp_pose: PoseStamped = field(default_factory=PoseStamped)
    grasp_quality: float = 0.0
    pre_grasp_approach: GripperTranslation = field(default_factory=GripperTranslation)
    post_grasp_retreat: GripperTranslation = field(default_factory=GripperTranslation)
    post_place_retreat: GripperTranslation = field(default_factory=GripperTranslation)
    max_contact_force: float = 0.0
    allowed_touch_objects: list = field(default_factory=list)


@pytest.fixture
def moveit(monkeypatch):
    for name, members in (("moveit_msgs", (Grasp, GripperTranslation)), ("trajectory_msgs", (JointTrajectoryPoint,))):
        package, module = ModuleType(name), ModuleType(f"{name}.msg")
        for member in members:
            setattr(module, member.__name__, member)
        package.msg = module
        monkeypatch.setitem(sys.modules, name, package)
        monkeypatch.setitem(sys.modules, f"{name}.msg", module)


GRIPPER = from_flat({
    "gripper.approach_m": 0.12, "gripper.suction.T_parent_grasp": [0.0, 0.01, 0.2, 0.0, 0.0, 0.6, 0.8],
    "gripper.parallel_jaw.T_parent_grasp": [0.0, 0.0, 0.15, 0.0, 0.0, 0.0, 1.0],
    "gripper.parallel_jaw.joint_names": ["left", "right"], "gripper.parallel_jaw.joint_ratio": 0.5}).gripper


def test_the_parents_pose_carries_the_grasp_frame_to_the_contact():
    scene, _ = full_scene(64, 48, 4)
    for T_cam_parent, grasp in zip(parent_poses(scene, GRIPPER), scene.grasps, strict=True):
        values = (GRIPPER.suction if grasp.kind == "suction" else GRIPPER.parallel_jaw).T_parent_grasp
        T_parent_grasp = np.eye(4)
        T_parent_grasp[:3, :3] = geometry.rotation_from_quaternion(values[3:])
        T_parent_grasp[:3, 3] = values[:3]
        assert T_cam_parent @ T_parent_grasp == pytest.approx(grasp.T_cam_grasp, abs=1e-12)


def test_each_grasp_is_a_message_best_first(moveit):
    scene, _ = full_scene(64, 48, 4)
    messages = grasp_messages(scene, GRIPPER)
    assert len(messages) == len(scene.grasps)
    assert len({message.id for message in messages}) == len(messages)
    assert [message.grasp_quality for message in messages] == [grasp.score for grasp in scene.grasps]
    poses = parent_poses(scene, GRIPPER)
    for message, grasp, pose in zip(messages, scene.grasps, poses, strict=True):
        assert message.grasp_pose.header.frame_id == scene.frame_id
        position = message.grasp_pose.pose.position
        assert [position.x, position.y, position.z] == pytest.approx(pose[:3, 3])
        approach, retreat = message.pre_grasp_approach, message.post_grasp_retreat
        assert approach.direction.header.frame_id == scene.frame_id
        way = approach.direction.vector
        assert [way.x, way.y, way.z] == pytest.approx(grasp.T_cam_grasp[:3, 2])
        assert retreat.direction.vector.z == pytest.approx(-way.z)
        assert (approach.desired_distance, approach.min_distance) == (0.12, 0.06)
        joints = ["left", "right"] if grasp.kind == "parallel_jaw" else []
        assert message.pre_grasp_posture.joint_names == message.grasp_posture.joint_names == joints
        if joints:
            assert message.pre_grasp_posture.points[0].positions == [0.5 * grasp.width_m] * 2
            assert message.grasp_posture.points[0].positions == [0.5 * GRIPPER.parallel_jaw.opening_min_m] * 2


def test_without_named_joints_postures_stay_empty_and_no_grasp_is_no_message(moveit):
    scene, _ = full_scene(64, 48, 2)
    assert all(not message.pre_grasp_posture.points for message in grasp_messages(scene, from_flat({}).gripper))
    empty, _ = full_scene(64, 48, 1)
    assert not empty.grasps
    assert grasp_messages(empty, GRIPPER) == []

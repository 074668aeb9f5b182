"""Scene -> moveit_msgs/Grasp messages, where moveit_msgs is installed.

Mind the pose: MoveIt wants that of the end effector's *parent link*, not of the contact; `gripper.*.T_parent_grasp` joins the two.
There is no message for a list of grasps: each is a message of its own, best first, named "<stamp in ns>/<rank>/<kind>/<track>".

Source: moveit_msgs/msg/Grasp.msg and GripperTranslation.msg, comments of the definition.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3

from perception_node import geometry
from perception_node.config import GripperConfig
from perception_node.ros.messages import header
from perception_node.types import F64, Grasp, Scene

_LEAST = 0.5
"""Share of the straight way that must be possible at least. Source: judgement; a planner may shorten it in tight cells."""


def parent_poses(scene: Scene, gripper: GripperConfig) -> F64:
    """(N, 4, 4) T_cam_parent: where the end effector's parent link is when each grasp is reached."""
    grasp_parent = {kind: geometry.transform_inverse(_transform(values)) for kind, values in
                    (("suction", gripper.suction.T_parent_grasp), ("parallel_jaw", gripper.parallel_jaw.T_parent_grasp))}
    return np.array([grasp.T_cam_grasp @ grasp_parent[grasp.kind] for grasp in scene.grasps]).reshape(-1, 4, 4)


def grasp_messages(scene: Scene, gripper: GripperConfig) -> list[Any]:
    """moveit_msgs/Grasp of each grasp of a scene, best first.

    Poses and directions are in the camera's optical frame with the picture's stamp. `grasp_quality` is the probability of success.
    Approach along the grasp's z, retreat against it. Postures of the jaws: open to the grasp's width, then closed to the narrowest.

    Raises:
        ModuleNotFoundError: moveit_msgs is not installed.
    """
    from moveit_msgs.msg import Grasp as GraspMessage

    head, messages = header(scene), []
    poses = parent_poses(scene, gripper)
    turns = geometry.quaternions_xyzw(poses[:, :3, :3]).tolist() if len(poses) else []
    for rank, (grasp, pose, turn) in enumerate(zip(scene.grasps, poses[:, :3, 3].tolist(), turns, strict=True)):
        message = GraspMessage()
        message.id = f"{scene.stamp_ns}/{rank}/{grasp.kind}/{grasp.track_id}"
        message.grasp_pose.header = head
        message.grasp_pose.pose = Pose(position=Point(x=pose[0], y=pose[1], z=pose[2]),
                                       orientation=Quaternion(x=turn[0], y=turn[1], z=turn[2], w=turn[3]))
        message.grasp_quality = float(grasp.score)
        ways = (message.pre_grasp_approach, 1.0), (message.post_grasp_retreat, -1.0), (message.post_place_retreat, -1.0)
        for way, sign in ways:
            x, y, z = (sign * grasp.T_cam_grasp[:3, 2]).tolist()
            way.direction.header, way.direction.vector = head, Vector3(x=x, y=y, z=z)
            way.desired_distance, way.min_distance = gripper.approach_m, _LEAST * gripper.approach_m
        _postures(message, grasp, gripper)
        messages.append(message)
    return messages


def _postures(message: Any, grasp: Grasp, gripper: GripperConfig) -> None:
    from trajectory_msgs.msg import JointTrajectoryPoint

    jaw = gripper.parallel_jaw
    if grasp.kind != "parallel_jaw" or not jaw.joint_names:
        return
    for posture, opening_m in ((message.pre_grasp_posture, grasp.width_m), (message.grasp_posture, jaw.opening_min_m)):
        posture.joint_names = list(jaw.joint_names)
        posture.points = [JointTrajectoryPoint(positions=[jaw.joint_ratio * opening_m] * len(jaw.joint_names))]


def _transform(values: tuple[float, ...]) -> F64:
    """(4, 4) of x, y, z and a quaternion x, y, z, w."""
    T = np.eye(4)
    x, y, z, w = values[3:]
    length = math.sqrt(x * x + y * y + z * z + w * w)
    T[:3, :3] = geometry.rotation_from_quaternion((x / length, y / length, z / length, w / length))
    T[:3, 3] = values[:3]
    return T

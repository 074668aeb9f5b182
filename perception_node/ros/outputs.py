"""Everything that the node publishes of a frame, each topic only while somebody listens.

What planners read is published serialised (`bag/cdr.py`): rclpy would convert a message attribute by attribute.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import PoseArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from visualization_msgs.msg import MarkerArray

from perception_node.bag.cdr import SceneBytes, image_bytes
from perception_node.config import GripperConfig
from perception_node.ros.messages import check_definitions, detections_message, markers_message
from perception_node.ros.moveit import grasp_messages
from perception_node.segment.draw import draw_segmentation
from perception_node.types import Frame, Scene
from perception_node_msgs.msg import PickScene

QUEUE = 2
"""Results kept for a slow reader: who is later than that wants the newest. Reliable, so that any reader's QoS matches."""
MOVEIT_QOS = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
"""One message a grasp: a reader that is busy must not lose the best ones of the newest frame."""


class Outputs:
    """The node's publishers of results.

    Raises:
        PerceptionError: the installed messages are not those of this version.
    """

    def __init__(self, node: LifecycleNode, gripper: GripperConfig) -> None:
        check_definitions()
        self._node, self._gripper = node, gripper
        qos = QoSProfile(depth=QUEUE, reliability=ReliabilityPolicy.RELIABLE)

        def make(kind: Any, topic: str) -> Any:
            return node.create_lifecycle_publisher(kind, f"~/{topic}", qos)

        self._scene = make(PickScene, "scene")
        self._masks, self._poses = make(Image, "masks"), make(PoseArray, "grasp_poses")
        self._markers, self._overlay = make(MarkerArray, "markers"), make(Image, "overlay")
        self._detections = None
        if importlib.util.find_spec("vision_msgs") is not None:
            from vision_msgs.msg import Detection2DArray
            self._detections = make(Detection2DArray, "detections")
        self._moveit = None
        if importlib.util.find_spec("moveit_msgs") is not None:
            from moveit_msgs.msg import Grasp
            self._moveit = node.create_lifecycle_publisher(Grasp, "~/moveit_grasps", MOVEIT_QOS)

    def publish(self, scene: Scene, frame: Frame, now_ns: Callable[[], int]) -> None:
        """Publish one scene; its `latency_s` runs from the picture's stamp to here."""
        made = SceneBytes(scene)
        if _heard(self._scene):
            self._scene.publish(made.scene(1e-9 * (now_ns() - scene.stamp_ns)))
        if _heard(self._poses):
            self._poses.publish(made.grasp_poses())
        if _heard(self._masks):
            self._masks.publish(made.masks())
        if _heard(self._markers):
            self._markers.publish(markers_message(scene))
        if self._detections is not None and _heard(self._detections):
            self._detections.publish(detections_message(scene))
        if self._moveit is not None and _heard(self._moveit):
            for grasp in grasp_messages(scene, self._gripper):
                self._moveit.publish(grasp)
        if _heard(self._overlay):
            self._overlay.publish(image_bytes(draw_segmentation(frame.rgb, scene.segmentation), "rgb8", scene.stamp_ns,
                                              scene.frame_id))

    def destroy(self) -> None:
        """Remove the publishers."""
        for publisher in (self._scene, self._masks, self._poses, self._markers, self._overlay, self._detections, self._moveit):
            if publisher is not None:
                self._node.destroy_lifecycle_publisher(publisher)


def _heard(publisher: Any) -> bool:
    return bool(publisher.get_subscription_count() > 0)

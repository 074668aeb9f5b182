"""The node's subscriptions: raw, newest only, stored by the inbox; and the decoding that the worker does later."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import TwistStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from perception_node.bag.image_view import image_view
from perception_node.config import NodeConfig
from perception_node.errors import FrameError
from perception_node.ros.belt import BeltInput
from perception_node.ros.inbox import Inbox


class Inputs:
    """Subscribes when made; `topics` are the resolved names by "colour", "depth", "info", "belt" (with a `belt`)."""

    def __init__(self, node: LifecycleNode, config: NodeConfig, inbox: Inbox, belt: BeltInput | None = None) -> None:
        self._node = node
        self._subscriptions: list[Any] = []
        colour_raw, depth_raw = config.image_transport == "raw", config.depth_transport == "raw"
        self.types = {"colour": Image if colour_raw else CompressedImage, "depth": Image if depth_raw else CompressedImage,
                      "info": CameraInfo}
        self.topics: dict[str, str] = {}
        reliability = ReliabilityPolicy.RELIABLE if config.reliability == "reliable" else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=1, reliability=reliability)

        def subscribe(name: str, kind: Any, topic: str, callback: Any, raw: bool, qos: QoSProfile = qos) -> None:
            made = node.create_subscription(kind, topic, callback, qos, raw=raw,
                                            qos_overriding_options=QoSOverridingOptions.with_default_policies())
            self._subscriptions.append(made)
            self.topics[name] = made.topic_name

        # A transport's topic hangs on the remapped base topic, as image_transport does it.
        image, depth = node.resolve_topic_name("image"), node.resolve_topic_name("depth")
        subscribe("colour", self.types["colour"], image if colour_raw else f"{image}/compressed",
                  lambda data, about: inbox.put_colour(data, about), True)
        if config.depth != "off":
            subscribe("depth", self.types["depth"], depth if depth_raw else f"{depth}/compressedDepth", inbox.put_depth, True)
        subscribe("info", CameraInfo, "camera_info", inbox.put_info, True)
        if belt is not None:
            any_drive = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
            subscribe("belt", TwistStamped, "belt_velocity", belt.put, False, any_drive)

    def decode(self, kind: str, data: bytes) -> Any:
        """The message of its serialised form, a picture's as a view of it; FrameError when it is damaged."""
        try:
            return image_view(data) if self.types[kind] is Image else deserialize_message(data, self.types[kind])
        except Exception as error:  # rclpy raises types of its own
            raise FrameError(f"{kind}: expected a serialised {self.types[kind].__name__}, got {len(data)} bytes that are none "
                             f"({type(error).__name__})") from None

    def publishers(self) -> dict[str, int]:
        """How many publishers each topic has."""
        return {name: self._node.count_publishers(topic) for name, topic in self.topics.items()}

    def destroy(self) -> None:
        """Remove the subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

"""Listens to the node while the demo runs: keeps every scene, when it arrived, and the newest diagnostics."""

from __future__ import annotations

import time
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message

from perception_node.ros.receive import scene_from_message
from perception_node.types import Scene
from perception_node_msgs.msg import PickScene


@dataclass(frozen=True, eq=False)
class Received:
    """One scene as it arrived: stamp to receipt and stamp to publishing (as the node says) in seconds."""

    scene: Scene
    receipt_latency_s: float
    publish_latency_s: float


class Collector:
    """Subscribes to `perception/scene` and `/diagnostics`. Messages are only stored; they are read after the last one.

    Args:
        node: to subscribe with.

    Attributes:
        first: monotonic seconds of the first scene, None = none yet. last: likewise of the last one.
    """

    def __init__(self, node: Node) -> None:
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._raw: list[tuple[int, bytes]] = []
        self._diagnostics: DiagnosticArray | None = None
        self.first: float | None = None
        self.last = time.monotonic()
        profile = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        node.create_subscription(PickScene, "perception/scene", self._on_scene, profile, raw=True)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    @property
    def count(self) -> int:
        """Scenes so far."""
        return len(self._raw)

    def spin(self, timeout_s: float) -> None:
        """Take what has arrived; wait at most this long for it."""
        self._executor.spin_once(timeout_sec=timeout_s)

    def received(self) -> list[Received]:
        """All scenes in order of arrival."""
        results = []
        for arrived_ns, raw in self._raw:
            message = deserialize_message(raw, PickScene)
            scene = scene_from_message(message)
            results.append(Received(scene, (arrived_ns - scene.stamp_ns) * 1e-9, float(message.latency_s)))
        return results

    def diagnostics(self) -> dict[str, dict[str, str]]:
        """The newest diagnostics by name: level, message and values."""
        statuses = [] if self._diagnostics is None else self._diagnostics.status
        return {status.name: {"message": status.message, **{value.key: value.value for value in status.values}}
                for status in statuses}

    def _on_scene(self, raw: bytes) -> None:
        self._raw.append((time.time_ns(), raw))
        self.last = time.monotonic()
        if self.first is None:
            self.first = self.last

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self._diagnostics = message

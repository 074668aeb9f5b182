"""Publishes /diagnostics by a timer on a steady clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock
from rclpy.clock_type import ClockType

from perception_node.ros.diagnostics import ERROR, STALE, WARN, Status, camera_status, summary, transport_hint

if TYPE_CHECKING:
    from perception_node.ros.camera_node import CameraNode


class Health:
    """The timer and the publisher; what is said comes from `diagnostics.py` and from the node's `statuses`."""

    def __init__(self, node: CameraNode) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._said_transport = False
        node.create_timer(node.config.node.diagnostics_period_s, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _tick(self) -> None:
        node = self._node
        message = DiagnosticArray()
        message.header.stamp = node.get_clock().now().to_msg()
        message.status = [self._message(status) for status in self._statuses()]
        self._publisher.publish(message)

    def _statuses(self) -> list[Status]:
        node = self._node
        state = Status("node", words="active", values={"failure": node.failure})
        worker, inputs = node.worker, node.inputs
        if node.failure:
            state.worsen(ERROR, f"configure failed: {node.failure}")
        elif worker is None or inputs is None:
            state.worsen(STALE, "configured, not active" if node.configured else "not configured")
        if worker is None or inputs is None:
            return [state]
        camera = camera_status(node.inbox, inputs.publishers(), inputs.topics, worker.exposure, worker.doubts)
        camera.hardware = worker.frame_id
        hint = transport_hint()
        if camera.level == ERROR and hint and node.inbox.colour_rate.total == 0 and not self._said_transport:
            self._said_transport = True
            node.get_logger().warning(f"no picture has come so far; {hint}")
        if hint:
            state.worsen(WARN, hint)
        others = [camera, *node.statuses()]
        return [summary(state, others), *others]

    def _message(self, status: Status) -> DiagnosticStatus:
        name = self._node.get_fully_qualified_name().strip("/")
        return DiagnosticStatus(name=f"{name}: {status.name}", level=bytes([status.level]), message=status.words,
                                hardware_id=status.hardware or name,
                                values=[KeyValue(key=key, value=value) for key, value in status.values.items()])

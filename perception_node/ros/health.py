"""Publishes /diagnostics by a timer on a steady clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock
from rclpy.clock_type import ClockType

from perception_node.ros.diagnostics import ERROR, STALE, WARN, Status, camera_status, summary, transport_hint

if TYPE_CHECKING:
    from perception_node.ros.camera_node import CameraNode
    from perception_node.ros.inbox import Inbox

TELL_AFTER_S = 2.0
"""How long something must be missing before the log says so. Source: judgement; longer than a camera's start takes to be found."""


def missing(inbox: Inbox) -> str:
    """What does not come: "pictures", "depth", "depth of the pictures' stamps", or "" = nothing."""
    limit_s = inbox.config.camera_timeout_s
    colour_s, depth_s = inbox.colour_rate.silent_s(), inbox.depth_rate.silent_s()
    if colour_s is None or colour_s > limit_s:
        return "pictures"
    if inbox.config.depth == "off":
        return ""
    if depth_s is None or depth_s > limit_s:
        return "depth"
    return "" if inbox.skew_s is None else "depth of the pictures' stamps"


class Health:
    """The timer and the publisher; what is said comes from `diagnostics.py` and from the node's `statuses`."""

    def __init__(self, node: CameraNode) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._said_transport = False
        self._missing, self._since, self._told = "", 0.0, False
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
            self._missing = ""
            return [state]
        camera = camera_status(node.inbox, inputs.publishers(), inputs.topics, worker.exposure, worker.doubts)
        camera.hardware = worker.frame_id
        self._tell(camera)
        hint = transport_hint()
        if camera.level == ERROR and hint and node.inbox.colour_rate.total == 0 and not self._said_transport:
            self._said_transport = True
            node.get_logger().warning(f"no picture has come so far; {hint}")
        if hint:
            state.worsen(WARN, hint)
        others = [camera, *node.statuses()]
        return [summary(state, others), *others]

    def _tell(self, camera: Status) -> None:
        """Log what the worker never gets to see: that nothing comes. Once, and when it is over."""
        what, now, logger = missing(self._node.inbox), time.monotonic(), self._node.get_logger()
        if what != self._missing:
            if not what and self._told:
                logger.info(f"camera: {self._missing} again")
            self._missing, self._since, self._told = what, now, False
        if what and not self._told and now - self._since >= TELL_AFTER_S:
            self._told = True
            logger.error(f"camera: {camera.words}") if camera.level == ERROR else logger.warning(f"camera: {camera.words}")

    def _message(self, status: Status) -> DiagnosticStatus:
        name = self._node.get_fully_qualified_name().strip("/")
        return DiagnosticStatus(name=f"{name}: {status.name}", level=bytes([status.level]), message=status.words,
                                hardware_id=status.hardware or name,
                                values=[KeyValue(key=key, value=value) for key, value in status.values.items()])

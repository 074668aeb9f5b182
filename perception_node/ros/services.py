"""The services `~/report_outcome` and `~/capture`: what happened to a pick; keep this frame for training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode

from perception_node.config import Config
from perception_node.errors import PerceptionError
from perception_node.ros.advise import AdviseDesk
from perception_node.ros.capture import capture
from perception_node.ros.messages import time_message
from perception_node.ros.outcomes import Outcomes, output_folder
from perception_node.types import Frame, Scene
from perception_node_msgs.srv import Capture, ReportOutcome


class Services:
    """Answers both services; a request that cannot be served is refused with words, never with an exception."""

    def __init__(self, node: LifecycleNode, config: Config, newest: Callable[[], tuple[Frame, Scene] | None]) -> None:
        self._node, self._newest, self._belt_plane = node, newest, config.belt.plane
        self._folder = output_folder(config.node.output_dir, node.get_fully_qualified_name())
        self.outcomes = Outcomes(self._folder)
        self.advise = AdviseDesk(node, config, newest, self.outcomes.path)
        self._made = [node.create_service(ReportOutcome, "~/report_outcome", self._report),
                      node.create_service(Capture, "~/capture", self._capture)]

    def destroy(self) -> None:
        """Remove the services."""
        self.advise.destroy()
        for service in self._made:
            self._node.destroy_service(service)

    def _report(self, request: Any, response: Any) -> Any:
        stamp = request.scene_stamp
        try:
            now_ns, scene_stamp_ns = self._node.get_clock().now().nanoseconds, stamp.sec * 1_000_000_000 + stamp.nanosec
            path = self.outcomes.report(request, now_ns, scene_stamp_ns)
        except PerceptionError as error:
            response.message = str(error)
            return response
        self.advise.learn(request.grasp, bool(request.success), float(request.weight_kg) if request.has_weight else None)
        response.accepted, response.message = True, str(path)
        return response

    def _capture(self, request: Any, response: Any) -> Any:
        newest = self._newest()
        if newest is None:
            response.message = "no frame to keep: none was processed yet"
            return response
        frame, scene = newest
        try:
            path, number = capture(self._folder / "capture", frame, scene, request.note, self._belt_plane)
        except PerceptionError as error:
            response.message = str(error)
            return response
        response.success, response.path, response.stamp = True, str(path), time_message(frame.stamp_ns)
        response.message = f"kept as number {number:04d}, with {len(scene.segmentation.instances)} labels"
        return response

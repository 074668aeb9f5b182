"""The service `~/report_outcome`, what happened to a pick; and those who learn of it: the advisor, and what keeps frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode

from perception_node.config import Config
from perception_node.errors import PerceptionError
from perception_node.ros.advise import AdviseDesk
from perception_node.ros.capture import CaptureDesk
from perception_node.ros.outcomes import Outcomes, output_folder
from perception_node.types import Frame, Scene
from perception_node_msgs.srv import ReportOutcome


class Services:
    """Answers the service and holds the others' desks. What cannot be served is refused with words, never with an exception."""

    def __init__(self, node: LifecycleNode, config: Config, newest: Callable[[], tuple[Frame, Scene] | None]) -> None:
        self._node = node
        folder = output_folder(config.node.output_dir, node.get_fully_qualified_name())
        self.outcomes = Outcomes(folder)
        self.advise = AdviseDesk(node, config, newest, self.outcomes.path)
        self.capture = CaptureDesk(node, config, newest, folder / "capture")
        self._made = node.create_service(ReportOutcome, "~/report_outcome", self._report)

    def destroy(self) -> None:
        """Remove the services."""
        self.advise.destroy()
        self.capture.destroy()
        self._node.destroy_service(self._made)

    def seen(self, scene: Scene, frame: Frame, run: object) -> None:
        """A scene was published; `run` as in `Outcomes.remember`."""
        self.advise.seen(scene, frame, run)
        self.capture.seen(scene, frame)

    def _report(self, request: Any, response: Any) -> Any:
        stamp = request.scene_stamp
        try:
            now_ns, scene_stamp_ns = self._node.get_clock().now().nanoseconds, stamp.sec * 1_000_000_000 + stamp.nanosec
            report = self.outcomes.report(request, now_ns, scene_stamp_ns)
        except PerceptionError as error:
            response.message = str(error)
            return response
        response.accepted, response.message = True, str(report.path)
        if report.known:
            response.message = f"known already, kept once: {report.path}"
            return response
        self.advise.learn(report.entry, report.current)
        if not request.success and report.current:  # after the clock went back, the frames held near this stamp are others
            grasp = request.grasp
            self.capture.failed(scene_stamp_ns, f"{grasp.kind} of track {grasp.track_id}: {request.failure or 'failed'}")
        return response

"""`~/capture` and what is said about kept frames on /diagnostics; which frames, and where they lie: `capture/`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.task import Future

from perception_node.capture.desk import Desk
from perception_node.capture.store import Verdict
from perception_node.config import Config
from perception_node.errors import PerceptionError
from perception_node.ros.diagnostics import WARN, Status
from perception_node.ros.messages import time_message
from perception_node.types import Frame, Scene
from perception_node_msgs.srv import Capture


class CaptureDesk(Desk):
    """The service beside the rules. It answers when the frame is on the disk; nobody waits for that but who asked.

    Args:
        node: the perception node. newest: the last frame and its scene. folder: of the kept frames.
    """

    def __init__(self, node: Any, config: Config, newest: Callable[[], tuple[Frame, Scene] | None], folder: Path) -> None:
        super().__init__(config, folder)
        self._node, self._newest = node, newest
        self._service = node.create_service(Capture, "~/capture", self._capture)

    def destroy(self) -> None:
        """Remove the service, write what is waiting."""
        self._node.destroy_service(self._service)
        self.close()

    async def _capture(self, request: Any, response: Any) -> Any:
        newest = self._newest()
        if newest is None:
            response.message = "no frame to keep: none was processed yet"
            return response
        written: Future[Verdict | str] = Future(executor=self._node.executor)
        try:
            self.request(*newest, request.note, written.set_result)
        except PerceptionError as error:
            response.message = str(error)
            return response
        verdict = await written
        response.message = verdict.words if isinstance(verdict, Verdict) else str(verdict)
        response.success = isinstance(verdict, Verdict) and verdict.number is not None
        if response.success:
            response.path, response.stamp = str(self.keeper.folder), time_message(newest[0].stamp_ns)
        return response

    def status(self) -> Status:
        """What was kept and what was not, and what it cost the thread that computes."""
        keeper, counts = self.keeper, self.keeper.counts
        status = Status("capture", words=f"{keeper.frames} frames kept")
        if keeper.failure:
            status.worsen(WARN, f"frames are not kept: {keeper.failure}")
        if self.fault:
            status.worsen(WARN, f"a scene could not be looked at: {self.fault}")
        median_ms, p95_ms = self.cost_ms()
        status.values = {
            "frames": str(keeper.frames), "used_mb": f"{1e-6 * keeper.used_bytes:.1f}", "folder": str(keeper.folder),
            **{name: str(counts[name]) for name in ("kept", "duplicate", "budget", "busy", "failed")},
            "too_late": str(self.too_late), "cost_median_ms": f"{median_ms:.3f}", "cost_p95_ms": f"{p95_ms:.3f}"}
        return status

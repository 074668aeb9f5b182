"""`~/load_model`, and what /diagnostics says of models. What is checked, and when the old one comes back: segment/swap.py."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.task import Future

from perception_node.config import Config, SegmentConfig
from perception_node.errors import PerceptionError
from perception_node.locate.belt import calibrated_plane
from perception_node.pipeline import load_segmenter
from perception_node.ros import drops as reasons
from perception_node.ros.diagnostics import WARN, Status
from perception_node.ros.drops import Drops
from perception_node.segment.infer import Segmenter
from perception_node.segment.swap import TRIAL_FRAMES, Models
from perception_node.segment.weights import default_weights, model_in_folder
from perception_node.types import Frame, Scene
from perception_node_msgs.srv import LoadModel


class ModelSwap:
    """The service, which is there as long as the node, and the models that it changes: the pipeline's segmenter.

    Args:
        node: the perception node. newest: the last frame and its scene.
    """

    def __init__(self, node: Any, newest: Callable[[], tuple[Frame, Scene] | None]) -> None:
        self._node, self._newest = node, newest
        self._config = Config()
        self._models: Models | None = None
        self._at_start = ""
        node.create_service(LoadModel, "~/load_model", self._load)

    def open(self, config: Config, drops: Drops) -> Models:
        """Load the configured model. `drops` counts the frames that fail, behind the segmenter too.

        Raises:
            ModelError, MissingDependencyError: it cannot be loaded.
        """
        self._config = config
        self._models = Models(load_segmenter(config.segment), config.segment.trial_slowdown,
                              lambda: (drops.total(reasons.FAILED), drops.words(reasons.FAILED)), self._say)
        self._at_start = self._models.model_id
        return self._models

    def close(self) -> None:
        """End a trial, forget the models."""
        if self._models is not None:
            self._models.close()
            self._models = None

    def status(self) -> Status:
        """Which model answers, which is on trial, and how the last one ended."""
        assert self._models is not None
        report = self._models.report()
        status = Status("model", words=report.model_id)
        if report.state == "loading":
            status.words += f"; loading {report.candidate}"
        elif report.state == "trial":
            status.words = f"{report.candidate}; {report.trial}"
        elif report.model_id != self._at_start:
            status.words += f"; the next start loads {self._at_start} (segment.model: {self._config.segment.model})"
        if report.went_back:
            status.worsen(WARN, report.last)
        status.values = {
            "model_id": report.model_id, "state": report.state, "candidate": report.candidate or "none",
            "at_start": self._at_start, "trial": report.trial or "none", "trial_faults": str(report.faults),
            "trial_slow": str(report.slow), "trial_limit_ms": f"{report.limit_ms:.1f}",
            "segment_p95_ms": f"{report.p95_ms:.1f}", "last": report.last or "none"}
        return status

    async def _load(self, request: Any, response: Any) -> Any:
        """Answers when the model was checked; nobody waits for that but who asked."""
        newest, models, name = self._newest(), self._models, str(request.model)
        try:
            path = model_in_folder(models_folder(self._config.segment), name)
            if newest is None or models is None:
                raise PerceptionError(f"{name}: expected an active node with a frame to try it on, none was processed yet")
            models.begin(name)
        except PerceptionError as error:
            response.message = str(error)
            return response
        answer: Future[tuple[str, str]] = Future(executor=self._node.executor)
        threading.Thread(target=self._admit, args=(models, path, newest[0], answer), name="load model", daemon=True).start()
        done = await answer
        assert done is not None
        response.model_id, response.message = done
        response.accepted = bool(response.model_id)
        return response

    def _admit(self, models: Models, path: Path, frame: Frame, answer: Future[tuple[str, str]]) -> None:
        segment = self._config.segment
        load = partial(Segmenter, path, runtime=segment.runtime, device=segment.device, threads=segment.threads)
        try:
            model_id = models.admit(load, frame, calibrated_plane(self._config.belt))
        except PerceptionError as error:
            answer.set_result(("", str(error)))
        else:
            answer.set_result((model_id, f"on trial for {TRIAL_FRAMES} frames, the old model stays in memory until then; no swap "
                               f"outlasts the node: for the next start set segment.model to {path.absolute()}"))

    def _say(self, words: str, bad: bool) -> None:
        logger = self._node.get_logger()
        logger.warning(words) if bad else logger.info(words)


def models_folder(segment: SegmentConfig) -> Path:
    """Where `~/load_model` finds models: as configured, else where the package's own are."""
    return Path(segment.models_dir).expanduser() if segment.models_dir else default_weights().parent

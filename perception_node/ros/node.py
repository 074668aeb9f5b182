"""The lifecycle node `perception`: it wires pipeline, outputs, services and diagnostics together, and nothing else."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped

from perception_node.config import Config, NodeConfig
from perception_node.pipeline import Pipeline
from perception_node.ros.beacon_watch import BeaconWatch
from perception_node.ros.belt import BeltInput
from perception_node.ros.camera_node import CameraNode
from perception_node.ros.diagnostics import Status, pipeline_status
from perception_node.ros.inputs import Inputs
from perception_node.ros.model_swap import ModelSwap
from perception_node.ros.outputs import Outputs
from perception_node.ros.services import Services
from perception_node.ros.worker import Worker
from perception_node.types import Frame, Scene
from perception_node.warm import warm_up


class PerceptionNode(CameraNode):
    """One camera's perception. `configure` loads the model, `activate` subscribes and computes."""

    config: Config
    worker: Worker | None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("perception", Config(), **kwargs)
        self.pipeline: Pipeline | None = None
        self.outputs: Outputs | None = None
        self.service_desk: Services | None = None
        self.models = ModelSwap(self, lambda: self.worker.last if self.worker else None)
        self.belt = BeltInput()
        self._starts = 0
        """How often computing began: each time the tracker's ids begin at 1."""
        self._watch = BeaconWatch(self.config.camera)
        if self._watch.expected is not None:
            self.create_subscription(PoseWithCovarianceStamped, "beacon_pose", self._watch.put, 10)

    def camera(self) -> NodeConfig:
        """As the parameters say."""
        return self.config.node

    def load(self) -> str:
        """The model, warmed up, publishers and services."""
        self.pipeline = Pipeline(self.config, self.models.open(self.config, self.inbox.drops))
        warm_up(self.pipeline)
        self.outputs = Outputs(self, self.config.gripper)
        self.service_desk = Services(self, self.config, lambda: self.worker.last if self.worker else None)
        return f"model {self.pipeline.model_id}"

    def unload(self) -> None:
        """Remove publishers and services, forget the model."""
        for part in (self.outputs, self.service_desk):
            if part is not None:
                part.destroy()
        self.models.close()
        self.outputs = self.service_desk = self.pipeline = None

    def make_inputs(self) -> Inputs:
        """The camera's topics and the belt's."""
        return Inputs(self, self.config.node, self.inbox, self.belt)

    def make_worker(self, inputs: Inputs) -> Worker:
        """The pipeline from the start, with the parameters of now."""
        assert self.pipeline is not None
        self.pipeline.reset()
        self._starts += 1
        self.pipeline.update_config(self.config)
        return Worker(self.pipeline, self.inbox, self.belt, self.links(inputs, self._publish))

    def statuses(self) -> list[Status]:
        """Of the pipeline, of models, of kept frames, and of the camera's place where a beacon watches over it."""
        worker, pipeline, desk = self.worker, self.pipeline, self.service_desk
        assert worker is not None
        assert pipeline is not None
        assert desk is not None
        self._watch.update_config(self.config.camera)
        watched = self._watch.status(worker.frame_id)
        found = [pipeline_status(worker), self.models.status(), desk.capture.status()]
        return found if watched is None else [*found, watched]

    def _publish(self, scene: Scene, frame: Frame) -> None:
        assert self.outputs is not None
        assert self.service_desk is not None
        assert self.worker is not None
        outcomes, run = self.service_desk.outcomes, (self._starts, self.worker.resets)
        outcomes.remember(scene, run)
        try:
            self.outputs.publish(scene, frame, self._now_ns)
        finally:
            outcomes.pack(scene)
        self.service_desk.seen(scene, frame, run)

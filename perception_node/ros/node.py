"""The lifecycle node `perception`: it wires inbox, worker, outputs, services and diagnostics together, and nothing else."""

from __future__ import annotations

import time
from typing import Any

from rclpy.clock import JumpThreshold
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from perception_node.config import Config
from perception_node.errors import PerceptionError
from perception_node.pipeline import Pipeline
from perception_node.ros import params
from perception_node.ros.belt import BeltInput
from perception_node.ros.drops import Drops
from perception_node.ros.health import Health
from perception_node.ros.inbox import Inbox
from perception_node.ros.inputs import Inputs
from perception_node.ros.outputs import Outputs
from perception_node.ros.services import Services
from perception_node.ros.worker import Links, Worker, warm_up
from perception_node.types import Frame, Scene

SAY_AGAIN_S = 5.0
"""The same subject is logged again after this time at the earliest; diagnostics count every case."""


class PerceptionNode(LifecycleNode):
    """One camera's perception. `configure` loads the model, `activate` subscribes and computes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("perception", **kwargs)
        self.config: Config = params.declare(self, Config())
        params.validate_with(self, lambda: self.config, self._take_over)
        self.pipeline: Pipeline | None = None
        self.inputs: Inputs | None = None
        self.outputs: Outputs | None = None
        self.service_desk: Services | None = None
        self.worker: Worker | None = None
        self.belt = BeltInput()
        self.inbox = Inbox(self.config.node, Drops())
        self.failure = ""
        self._said: dict[str, float] = {}
        threshold = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True)
        self._jumps = self.get_clock().create_jump_callback(threshold, post_callback=self._on_jump)
        self._health = Health(self)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and check the model; FAILURE with words when that does not work."""
        try:
            self.pipeline = Pipeline(self.config)
            warm_up(self.pipeline)
            self.inbox = Inbox(self.config.node, Drops())
            self.outputs = Outputs(self, self.config.gripper)
            self.service_desk = Services(self, self.config, lambda: self.worker.last if self.worker else None)
        except PerceptionError as error:
            self.failure = str(error)
        except Exception as error:  # a broken installation must be readable, too
            self.failure = f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
        else:
            self.failure = ""
            self.get_logger().info(f"configured with model {self.pipeline.model_id}")
            return super().on_configure(state)
        self.get_logger().fatal(f"configure failed: {self.failure}")
        self._release()
        return TransitionCallbackReturn.FAILURE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start computing."""
        assert self.pipeline is not None
        super().on_activate(state)
        self.inbox = Inbox(self.config.node, self.inbox.drops)
        try:
            self.inputs = Inputs(self, self.config.node, self.inbox, self.belt)
        except Exception as error:  # unusable qos_overrides come as several types
            self.get_logger().fatal(f"activate failed: {' '.join(str(error).split())}")
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        self.pipeline.reset()
        self.pipeline.update_config(self.config)
        links = Links(self.inputs.decode, self._now_ns, self._publish, self._say)
        self.worker = Worker(self.pipeline, self.inbox, self.belt, links)
        self.worker.start()
        self.get_logger().info(f"active, listening to {', '.join(self.inputs.topics.values())}")
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop computing and unsubscribe; the model stays loaded."""
        self._halt()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the model."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop for good."""
        self._halt()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Stop the worker and remove the node, in this order: nobody may publish on a dead context."""
        self._halt()
        self._jumps.unregister()
        self.destroy_node()

    def _publish(self, scene: Scene, frame: Frame) -> None:
        assert self.outputs is not None
        assert self.service_desk is not None
        self.service_desk.outcomes.remember(scene)
        self.outputs.publish(scene, frame, self._now_ns)
        self.service_desk.advise.seen(scene, frame)

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _say(self, subject: str, words: str, level: str) -> None:
        now = time.monotonic()
        if now - self._said.get(subject, -SAY_AGAIN_S) >= SAY_AGAIN_S:
            self._said[subject] = now
            logger = self.get_logger()
            logger.error(words) if level == "error" else logger.warning(words)

    def _on_jump(self, jump: Any) -> None:
        if self.get_clock().clock_type == ClockType.ROS_TIME:
            self.inbox.reset()

    def _take_over(self, config: Config) -> None:
        self.config = config
        self.inbox.config = config.node
        if self.worker is not None:
            self.worker.update_config(config)

    def _halt(self) -> None:
        if self.worker is not None:
            self.worker.stop()
            self.worker = None
        if self.inputs is not None:
            self.inputs.destroy()
            self.inputs = None

    def _release(self) -> None:
        for part in (self.outputs, self.service_desk):
            if part is not None:
                part.destroy()
        self.outputs = self.service_desk = self.pipeline = None

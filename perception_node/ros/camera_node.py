"""What the lifecycle nodes `perception` and `beacon` have in common: one camera, an inbox, a worker and diagnostics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.clock import JumpThreshold
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from perception_node.config import NodeConfig
from perception_node.errors import PerceptionError, one_line, unexpected
from perception_node.ros import params
from perception_node.ros.diagnostics import Status
from perception_node.ros.drops import Drops
from perception_node.ros.health import Health
from perception_node.ros.inbox import Inbox
from perception_node.ros.inputs import Inputs
from perception_node.ros.worker import CameraWorker, Links

SAY_AGAIN_S = 5.0
"""The same subject is logged again after this time at the earliest; diagnostics count every case."""


class CameraNode(LifecycleNode):
    """`configure` loads, `activate` subscribes and computes. What is computed is said by a child's `camera`, `load`, `unload`,
    `make_inputs`, `make_worker` and `statuses`.

    Args:
        name: of the node. defaults: its configuration tree where no parameter is given.

    Raises:
        ConfigError: a parameter is unknown, of a wrong type or out of range.
    """

    def __init__(self, name: str, defaults: Any, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.config: Any = params.declare(self, defaults)
        params.validate_with(self, lambda: self.config, self._take_over)
        self.inputs: Inputs | None = None
        self.worker: CameraWorker | None = None
        self.inbox = Inbox(self.camera(), Drops())
        self.configured = False
        self.failure = ""
        self._said: dict[str, float] = {}
        threshold = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True)
        self._jumps = self.get_clock().create_jump_callback(threshold, post_callback=self._on_jump)
        self._health = Health(self)

    def camera(self) -> NodeConfig:
        """How the camera's topics are read and judged."""
        raise NotImplementedError

    def load(self) -> str:
        """Make all that an inactive node has; returns what it is configured with, in words."""
        raise NotImplementedError

    def unload(self) -> None:
        """Take back what `load` made, as far as it came."""
        raise NotImplementedError

    def make_inputs(self) -> Inputs:
        """Subscribe."""
        raise NotImplementedError

    def make_worker(self, inputs: Inputs) -> CameraWorker:
        """What computes, not started."""
        raise NotImplementedError

    def statuses(self) -> list[Status]:
        """Diagnostics of the active node, beside those of the node itself and its camera."""
        raise NotImplementedError

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and check; FAILURE with words when that does not work."""
        self.inbox = Inbox(self.camera(), Drops())
        try:
            words = self.load()
        except PerceptionError as error:
            self.failure = str(error)
        except Exception as error:  # a broken installation must be readable, too
            self.failure = unexpected(error)
        else:
            self.configured, self.failure = True, ""
            self.get_logger().info(f"configured with {words}")
            return super().on_configure(state)
        self.get_logger().fatal(f"configure failed: {self.failure}")
        self._release()
        return TransitionCallbackReturn.FAILURE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start computing."""
        super().on_activate(state)
        self.inbox = Inbox(self.camera(), self.inbox.drops)
        try:
            self.inputs = self.make_inputs()
        except Exception as error:  # unusable qos_overrides come as several types
            self.get_logger().fatal(f"activate failed: {one_line(error)}")
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        self.worker = self.make_worker(self.inputs)
        self.worker.start()
        self.get_logger().info(f"active, listening to {', '.join(self.inputs.topics.values())}")
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop computing and unsubscribe; what was loaded stays."""
        self._halt()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget what was loaded."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop for good."""
        self._halt()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Stop the worker, finish what was begun and remove the node, in this order: nobody may publish on a dead context."""
        self._halt()
        self._release()
        self._jumps.unregister()
        self.destroy_node()

    def links(self, inputs: Inputs, publish: Callable[[Any, Any], None]) -> Links:
        """What a worker needs of this node."""
        return Links(inputs.decode, self._now_ns, publish, self._say)

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

    def _take_over(self, config: Any) -> None:
        self.config = config
        self.inbox.config = self.camera()
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
        self.unload()
        self.configured = False

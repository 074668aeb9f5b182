"""The lifecycle node `beacon`: wires inbox, worker, outputs and diagnostics together, and nothing else."""

from __future__ import annotations

import time
from typing import Any

from rclpy.clock import JumpThreshold
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from perception_node.beacon.config import BeaconConfig
from perception_node.beacon.tracker import BeaconPose
from perception_node.errors import PerceptionError
from perception_node.ros import params
from perception_node.ros.beacon_io import BeaconHealth, BeaconInputs, BeaconOutputs, camera_config
from perception_node.ros.beacon_worker import BeaconFinder, BeaconWorker
from perception_node.ros.drops import Drops
from perception_node.ros.inbox import Inbox
from perception_node.ros.worker import Links

SAY_AGAIN_S = 5.0
"""The same subject is logged again after this time at the earliest; diagnostics count every case."""


class BeaconNode(LifecycleNode):
    """Follows one beacon with one camera. `configure` checks the LEDs, `activate` subscribes and computes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("beacon", **kwargs)
        self.config: BeaconConfig = params.declare(self, BeaconConfig())
        params.validate_with(self, lambda: self.config, self._take_over)
        self.finder: BeaconFinder | None = None
        self.inputs: BeaconInputs | None = None
        self.outputs: BeaconOutputs | None = None
        self.worker: BeaconWorker | None = None
        self.inbox = Inbox(camera_config(self.config.node), Drops())
        self.failure = ""
        self._said: dict[str, float] = {}
        threshold = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True)
        self._jumps = self.get_clock().create_jump_callback(threshold, post_callback=self._on_jump)
        self._health = BeaconHealth(self)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check the LEDs; FAILURE with words when they cannot be used."""
        try:
            self.finder = BeaconFinder(self.config)
            self.inbox = Inbox(camera_config(self.config.node), Drops())
            self.outputs = BeaconOutputs(self, self.finder.layout.leds_m)
        except PerceptionError as error:
            self.failure = str(error)
        except Exception as error:  # a broken installation must be readable, too
            self.failure = f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
        else:
            self.failure = ""
            flat = "flat: ambiguous until it is near" if self.finder.layout.flat else "not flat"
            self.get_logger().info(f"configured with {self.finder.layout.count} LEDs, {flat}")
            if self.finder.layout.same:
                self.get_logger().warning("the beacon looks the same after a turn: its pose is ambiguous unless "
                                          "tracker.max_roll_rad is small enough")
            return super().on_configure(state)
        self.get_logger().fatal(f"configure failed: {self.failure}")
        self._release()
        return TransitionCallbackReturn.FAILURE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start computing."""
        assert self.finder is not None
        super().on_activate(state)
        self.inbox = Inbox(camera_config(self.config.node), self.inbox.drops)
        try:
            self.inputs = BeaconInputs(self, self.config.node, self.inbox)
        except Exception as error:  # unusable qos_overrides come as several types
            self.get_logger().fatal(f"activate failed: {' '.join(str(error).split())}")
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        self.finder.reset()
        self.finder.update_config(self.config)
        links = Links(decode=self.inputs.decode, now_ns=self._now_ns, publish=lambda scene, frame: None, say=self._say)
        self.worker = BeaconWorker(self.finder, self.inbox, links, self._publish)
        self.worker.start()
        self.get_logger().info(f"active, listening to {', '.join(self.inputs.topics.values())}")
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop computing and unsubscribe."""
        self._halt()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the layout."""
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

    def _publish(self, pose: BeaconPose, frame_id: str) -> None:
        assert self.outputs is not None
        node = self.config.node
        trusted = (not pose.alternatives or node.publish_ambiguous) and (not pose.degraded or node.publish_degraded)
        self.outputs.publish(pose, frame_id, trusted)

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

    def _take_over(self, config: BeaconConfig) -> None:
        self.config = config
        self.inbox.config = camera_config(config.node)
        if self.worker is not None:
            self.worker.update_config(config)  # type: ignore[arg-type]

    def _halt(self) -> None:
        if self.worker is not None:
            self.worker.stop()
            self.worker = None
        if self.inputs is not None:
            self.inputs.destroy()
            self.inputs = None

    def _release(self) -> None:
        if self.outputs is not None:
            self.outputs.destroy()
        self.outputs = self.finder = None

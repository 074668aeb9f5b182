"""Subscriptions that a thread of its own waits for, past the executor.

rclpy's executor lays out all that a node has anew for every message, and reads each as soon as it comes. Here a thread waits for
those subscriptions that it asks for, when it asks, and what nobody takes costs nothing but the middleware's copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription


class _Shelf(MutuallyExclusiveCallbackGroup):
    """Keeps messages from the executor. Events (a publisher whose quality of service does not fit) stay with it."""

    def can_execute(self, entity: Any) -> bool:
        """False for what a `Mailbox` waits for itself."""
        return not isinstance(entity, Subscription | GuardCondition) and super().can_execute(entity)


class Box:
    """One subscription. Its messages lie in the middleware until they are taken."""

    def __init__(self, made: Any) -> None:
        self.made = made

    @property
    def topic(self) -> str:
        """The resolved name."""
        return str(self.made.topic_name)

    def take(self) -> tuple[Any, dict[str, Any]] | None:
        """The oldest message that waits (bytes of a raw one) and what the middleware says of it; None = none waits."""
        with self.made.handle:
            found: tuple[Any, dict[str, Any]] | None = self.made.handle.take_message(self.made.msg_type, self.made.raw)
        return found


class Mailbox:
    """Subscribes, and waits for several boxes at once. One thread waits; any may `wake` it."""

    def __init__(self, node: Node) -> None:
        self._node, self._shelf = node, _Shelf()
        self._wake = node.create_guard_condition(_unused, self._shelf)
        self._boxes: list[Box] = []

    def subscribe(self, kind: Any, topic: str, qos: QoSProfile, raw: bool = True, **more: Any) -> Box:
        """A subscription of this mailbox; `more` as for `Node.create_subscription`."""
        made = self._node.create_subscription(kind, topic, _unused, qos, raw=raw, callback_group=self._shelf, **more)
        self._boxes.append(Box(made))
        return self._boxes[-1]

    def wait(self, boxes: Sequence[Box], timeout_s: float) -> list[Box]:
        """Those in which something lies; empty after `timeout_s` or `wake`.

        Raises:
            RuntimeError: this one or rclpy's, when the context has ended.
        """
        context: Any = self._node.context.handle
        if context is None:
            raise RuntimeError("expected a ROS context that is not shut down")
        with context:
            waiting = rclpy_implementation.WaitSet(len(boxes), 1, 0, 0, 0, 0, context)
            waiting.clear_entities()
            for box in boxes:
                waiting.add_subscription(box.made.handle)
            waiting.add_guard_condition(self._wake.handle)
            waiting.wait(max(0, round(1e9 * timeout_s)))
            return [box for place, box in enumerate(boxes) if waiting.is_ready("subscription", place)]

    def wake(self) -> None:
        """End the wait at hand, or else the next one, at once."""
        self._wake.trigger()

    def remove(self, box: Box) -> None:
        """Unsubscribe. Only while nobody waits for it."""
        self._boxes.remove(box)
        self._node.destroy_subscription(box.made)

    def destroy(self) -> None:
        """Unsubscribe all. Only when nobody waits any more."""
        while self._boxes:
            self.remove(self._boxes[-1])
        self._node.destroy_guard_condition(self._wake)


def _unused(*message: Any) -> None:
    """A subscription must have a callback; no executor calls it."""

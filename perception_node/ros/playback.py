"""Publishing recorded frames with the recording's timing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image

from perception_node.errors import DatasetError
from perception_node.ros.moments import Moment
from perception_node_msgs.msg import PickScene

SETTLE_S = 0.4
"""From the last match of publisher and subscriber to the first picture: matching is not mutual at the same instant."""

ANSWER_S = 30.0
"""How long a frame's scene may take with `answers`."""

_CLOCK_PERIOD_S = 0.01


class Player:
    """Publishes frames on `image`, `depth` and `camera_info`, as a camera does (SensorData quality of service).

    Each new reading of the belt goes out on `belt_velocity` just before the first frame that it counts for.

    Args:
        node: to publish with. rate: 2 = twice as fast as recorded. stop: set it to end early.
        clock: keep the recorded stamps and publish `/clock`, in place of stamps of now.
        answers: topic of the node's scenes: reliable, and each frame waits for the scene of the one before; "" = plays on time.
        belt: there are readings of the belt to play.

    Attributes:
        sent: (stamp sent, stamp recorded) of each frame, nanoseconds. late_s: the largest delay behind the recording's timing.
    """

    def __init__(self, node: Node, rate: float, stop: threading.Event, clock: bool = False, answers: str = "",
                 belt: bool = False) -> None:
        self._node, self._rate, self._stop = node, rate, stop
        self._answers = Answers(node, answers) if answers else None
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE) if answers else qos_profile_sensor_data
        self._clock = node.create_publisher(Clock, "/clock", 10) if clock else None
        self._publishers = [node.create_publisher(kind, topic, qos)
                            for kind, topic in ((CameraInfo, "camera_info"), (Image, "depth"), (Image, "image"))]
        self._belt = node.create_publisher(TwistStamped, "belt_velocity", qos) if belt else None
        self.sent: list[tuple[int, int]] = []
        self.late_s = 0.0

    def wait_for_listener(self, timeout_s: float) -> None:
        """Block until someone listens to `image` and nobody has come or gone for a moment.

        Raises:
            DatasetError: nobody did in time.
        """
        topic = self._publishers[2]
        end = time.monotonic() + timeout_s
        while topic.get_subscription_count() == 0 and not self._stop.wait(0.02):
            if time.monotonic() > end:
                raise DatasetError(f"player: expected a subscriber of {topic.topic_name} within {timeout_s:g} s, got none (is the "
                                   "node active, in the same ROS_DOMAIN_ID, its topic remapped to this one?)")
        before: list[int] = []
        while (now := [p.get_subscription_count() for p in self._publishers]) != before and not self._stop.wait(SETTLE_S):
            before = now

    def play(self, moments: Iterable[Moment]) -> None:
        """Publish all frames at their time, once."""
        begin_ns, begin = 0, 0.0
        first_ns: int | None = None
        for moment in moments:
            recorded_ns = moment.recorded_ns
            if first_ns is None:
                begin = time.monotonic() + (SETTLE_S if self._clock is not None else 0.0)  # who has no time yet, drops pictures
                first_ns = recorded_ns
                begin_ns = recorded_ns if self._clock is not None else self._node.get_clock().now().nanoseconds
            offset_ns = round((recorded_ns - first_ns) / self._rate)
            if not self._wait_until(begin + offset_ns * 1e-9, recorded_ns):
                return
            self.late_s = max(self.late_s, time.monotonic() - begin - offset_ns * 1e-9)
            stamp_ns = recorded_ns if self._clock is not None else begin_ns + offset_ns
            if self._belt is not None and moment.belt is not None:
                moment.belt.header.stamp = time_message(stamp_ns - moment.belt_age_ns)
                self._belt.publish(moment.belt)
            for publisher, message in zip(self._publishers, (moment.info, moment.depth, moment.colour), strict=True):
                if message is not None:
                    message.header.stamp = time_message(stamp_ns)
                    publisher.publish(message)
            self.sent.append((stamp_ns, recorded_ns))
            if self._answers is not None:
                self._answers.wait_for(stamp_ns, self._stop)

    def _wait_until(self, due: float, recorded_ns: int) -> bool:
        """Wait for a monotonic time, keeping `/clock` going; False = asked to stop."""
        while (left := due - time.monotonic()) > 0:
            if self._clock is not None:
                self._clock.publish(Clock(clock=time_message(recorded_ns - round(left * self._rate * 1e9))))
            if self._stop.wait(left if self._clock is None else min(left, _CLOCK_PERIOD_S)):
                return False
        if self._clock is not None:
            self._clock.publish(Clock(clock=time_message(recorded_ns)))
        return not self._stop.is_set()


class Answers:
    """Listens to a node's scenes, so that the next frame can wait for them."""

    def __init__(self, node: Node, topic: str) -> None:
        self._node, self._topic = node, topic
        self._newest_ns = 0
        node.create_subscription(PickScene, topic, self._heard, 10)

    def _heard(self, scene: PickScene) -> None:
        self._newest_ns = scene.header.stamp.sec * 10**9 + scene.header.stamp.nanosec

    def wait_for(self, stamp_ns: int, stop: threading.Event) -> None:
        """Block until the scene of that stamp has come.

        Raises:
            DatasetError: it did not within `ANSWER_S`.
        """
        end = time.monotonic() + ANSWER_S
        while self._newest_ns != stamp_ns and not stop.is_set():
            if time.monotonic() > end:
                raise DatasetError(f"player: expected a scene of stamp {stamp_ns} on {self._topic} within {ANSWER_S:g} s, got none "
                                   "(what do the node's diagnostics say?)")
            rclpy.spin_once(self._node, timeout_sec=0.1)


def time_message(stamp_ns: int) -> Time:
    """builtin_interfaces/Time of nanoseconds."""
    return Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)

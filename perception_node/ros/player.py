"""Plays a recording on `image`, `depth` and `camera_info` with its own timing: `ros2 run perception_node player [RECORDING]`.

Stamps are new: the first frame's is the time at which it is sent, the others keep their distance to it. So the time from
stamp to result means the same as with a live camera.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo, Image

from perception_node.bag.reader import Recording
from perception_node.errors import DatasetError, PerceptionError
from perception_node.ros.moments import Decoder, Moment

DEMO_RECORDING = Path(__file__).resolve().parent.parent / "data" / "demo"
_SETTLE_S = 0.4  # from the last match to the first picture: matching is not mutual at the same instant

class Player:
    """Publishes the frames of a recording.

    Args:
        node: to publish with. rate: 2 = twice as fast as recorded. stop: set it to end early.

    Attributes:
        sent: (stamp sent, stamp recorded) of each frame, nanoseconds. late_s: the largest delay behind the recording's timing.
    """

    def __init__(self, node: Node, rate: float, stop: threading.Event) -> None:
        self._node, self._rate, self._stop = node, rate, stop
        self._publishers = [node.create_publisher(kind, topic, qos_profile_sensor_data)
                            for kind, topic in ((CameraInfo, "camera_info"), (Image, "depth"), (Image, "image"))]
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
        while (now := [p.get_subscription_count() for p in self._publishers]) != before and not self._stop.wait(_SETTLE_S):
            before = now

    def play(self, moments: Iterator[Moment] | Decoder) -> None:
        """Publish all frames at their time, once."""
        begin_ns, begin = 0, 0.0
        first_ns: int | None = None
        for recorded_ns, colour, depth, info in moments:
            if first_ns is None:
                first_ns, begin_ns, begin = recorded_ns, self._node.get_clock().now().nanoseconds, time.monotonic()
            offset_ns = round((recorded_ns - first_ns) / self._rate)
            if self._stop.wait(max(0.0, begin + offset_ns * 1e-9 - time.monotonic())):
                return
            self.late_s = max(self.late_s, time.monotonic() - begin - offset_ns * 1e-9)
            stamp_ns = begin_ns + offset_ns
            for publisher, message in zip(self._publishers, (info, depth, colour), strict=True):
                if message is not None:
                    message.header.stamp = Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
                    publisher.publish(message)
            self.sent.append((stamp_ns, recorded_ns))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("recording", nargs="?", type=Path, default=DEMO_RECORDING,
                        help="rosbag2 folder, .mcap or .db3 file; default: the one that comes with the package")
    parser.add_argument("--rate", type=float, default=1.0, metavar="FACTOR", help="2 = twice as fast as recorded (default: 1)")
    parser.add_argument("--loop", action="store_true", help="begin again at the end, until Ctrl-C")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames (default: all)")
    parser.add_argument("--wait", type=float, default=30.0, metavar="SECONDS",
                        help="how long to wait for a subscriber of `image`, in s; 0 = begin at once (default: 30)")
    parser.add_argument("--no-depth", action="store_true", help="play colour only")
    for name in ("colour", "depth", "camera-info"):
        parser.add_argument(f"--{name}-topic", metavar="TOPIC", help=f"the recording's {name} topic (default: found by its type)")
    parser.add_argument("--report", type=Path, metavar="JSON", help="write the stamps that were sent to this file")


def run(options: argparse.Namespace, ros_arguments: Sequence[str]) -> int:
    """Play; return the exit status."""
    if options.rate <= 0:
        raise PerceptionError(f"--rate: expected more than 0, got {options.rate:g}")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    names: dict[str, Any] = {"colour": options.colour_topic, "depth": options.depth_topic, "camera_info": options.camera_info_topic}
    with Recording(options.recording, use_depth=not options.no_depth, **names) as recording:
        rclpy.init(args=list(ros_arguments), signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node("player")
        try:
            player = Player(node, options.rate, stop)
            rounds = 0
            while not stop.is_set() and (rounds == 0 or options.loop):
                decoder = Decoder(recording, options.frames)
                try:
                    if rounds == 0 and options.wait > 0:
                        player.wait_for_listener(options.wait)
                    player.play(decoder)
                finally:
                    decoder.close()
                rounds += 1
            stop.wait(_SETTLE_S)  # let the last pictures leave
        finally:
            node.destroy_node()
            rclpy.try_shutdown()
        skipped = dict(recording.skipped)
    print(f"player: sent {len(player.sent)} frames, at most {1e3 * player.late_s:.1f} ms late", flush=True)
    for reason, count in skipped.items():
        print(f"player: {count} skipped: {reason}", file=sys.stderr)
    if options.report is not None:
        options.report.write_text(json.dumps({"sent": player.sent, "late_s": player.late_s, "skipped": skipped}), encoding="utf-8")
    return 0 if player.sent or stop.is_set() else 1


def main(args: Sequence[str] | None = None) -> int:
    """Executable `player`."""
    arguments = list(sys.argv if args is None else ["player", *args])
    parser = argparse.ArgumentParser(prog="player", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    options = parser.parse_args(remove_ros_args(arguments)[1:])
    try:
        return run(options, arguments)
    except PerceptionError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

"""Plays a recording on `image`, `depth` and `camera_info` with its own timing: `ros2 run perception_node player [RECORDING]`.
Where the recording has the belt's measured velocity, that is played on `belt_velocity`.

Stamps are new: the first frame's is the time at which it is sent, the others keep their distance to it. So the time from
stamp to result means the same as with a live camera. With --clock the recorded stamps are kept and `/clock` is published for
nodes that run with use_sim_time.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from perception_node.arguments import one_or_more
from perception_node.bag.reader import Recording
from perception_node.errors import PerceptionError
from perception_node.files import put_json
from perception_node.ros.moments import Decoder
from perception_node.ros.playback import SETTLE_S, Player

DEMO_RECORDING = Path(__file__).resolve().parent.parent / "data" / "demo"

def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("recording", nargs="?", type=Path, default=DEMO_RECORDING,
                        help="rosbag2 folder, .mcap or .db3 file; default: the one that comes with the package")
    parser.add_argument("--rate", type=float, default=1.0, metavar="FACTOR", help="2 = twice as fast as recorded (default: 1)")
    parser.add_argument("--loop", action="store_true", help="begin again at the end, until Ctrl-C")
    parser.add_argument("--clock", action="store_true", help="keep the recorded stamps and publish /clock")
    parser.add_argument("--frames", type=one_or_more, metavar="N", help="stop after N frames (default: all)")
    parser.add_argument("--wait", type=float, default=30.0, metavar="SECONDS",
                        help="how long to wait for a subscriber of `image`, in s; 0 = begin at once (default: 30)")
    parser.add_argument("--answers", default="", metavar="TOPIC",
                        help="topic of the node's scenes: send reliably, each frame only when the scene of the one before has come")
    parser.add_argument("--no-depth", action="store_true", help="play colour only")
    for name in ("colour", "depth", "camera-info", "belt"):
        parser.add_argument(f"--{name}-topic", metavar="TOPIC",
                            help=f"the recording's {name} topic (default: found by its type and name)")
    parser.add_argument("--report", type=Path, metavar="JSON", help="write the stamps that were sent to this file")


def run(options: argparse.Namespace, ros_arguments: Sequence[str]) -> int:
    """Play; return the exit status."""
    if options.rate <= 0:
        raise PerceptionError(f"--rate: expected more than 0, got {options.rate:g}")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    names: dict[str, Any] = {"colour": options.colour_topic, "depth": options.depth_topic, "camera_info": options.camera_info_topic,
                             "belt": options.belt_topic}
    with Recording(options.recording, use_depth=not options.no_depth, **names) as recording:
        rclpy.init(args=list(ros_arguments), signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node("player")
        try:
            player = Player(node, options.rate, stop, clock=options.clock, answers=options.answers,
                            belt=recording.topics.belt is not None)
            rounds = 0
            while not stop.is_set() and (rounds == 0 or options.loop):
                decoder = Decoder(recording, options.frames)
                try:
                    if rounds == 0 and options.wait > 0:
                        player.wait_for_listener(options.wait)
                    player.play(decoder)
                finally:
                    decoder.close()
                if not player.sent and not stop.is_set():
                    raise recording.nothing_usable()
                rounds += 1
            stop.wait(SETTLE_S)  # let the last pictures leave
        finally:
            node.destroy_node()
            rclpy.try_shutdown()
        skipped, belt = dict(recording.skipped), recording.topics.belt
    print(f"player: sent {len(player.sent)} frames, at most {1e3 * player.late_s:.1f} ms late; belt_velocity: "
          f"{belt or 'none, the recording has no such topic'}", flush=True)
    for reason, count in skipped.items():
        print(f"player: {count} skipped: {reason}", file=sys.stderr)
    if options.report is not None:
        put_json(options.report, {"sent": player.sent, "late_s": player.late_s, "skipped": skipped})
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

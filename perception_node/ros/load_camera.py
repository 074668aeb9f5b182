"""A camera for load tests, in a process of its own: it plays prepared frames at any size and rate, and does almost nothing else.

Pictures are serialised before the first one is due; for each only the stamp is written anew, at its fixed place. The bundled
recording is stretched to the size asked for, its calibration with it, so that geometry stays true. Commands come as lines on
standard input, each answered by one line of JSON on standard output: `probe` = send one frame; `play HZ FRAMES` = so many, on time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import struct
import sys
import time
from collections.abc import Iterator, Sequence

import cv2
import rclpy
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import serialize_message
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo, Image

from perception_node.bag.reader import Recording
from perception_node.ros.moments import messages_of
from perception_node.ros.player import DEMO_RECORDING
from perception_node.types import CameraModel, Frame

FIRST, COUNT = 24, 24
"""The frames of the bundled recording that are played, to and fro: its belt is full there (18 packages in the median)."""

_STAMP = slice(4, 12)  # of a serialised message that starts with a Header: OMG DDS-RTPS 2.3, 10.2


def stretched(frame: Frame, width: int, height: int) -> Frame:
    """The frame at another size: colour interpolated, depth taken from the nearest pixel, focal lengths scaled by each axis."""
    old, x, y = frame.camera, width / frame.camera.width, height / frame.camera.height
    if (width, height) == (old.width, old.height):
        return frame
    camera = CameraModel(old.fx * x, old.fy * y, (old.cx + 0.5) * x - 0.5, (old.cy + 0.5) * y - 0.5, width, height, old.distortion)
    rgb = cv2.resize(frame.rgb, (width, height), interpolation=cv2.INTER_LINEAR)
    depth = None if frame.depth_m is None else cv2.resize(frame.depth_m, (width, height), interpolation=cv2.INTER_NEAREST)
    return Frame(rgb=rgb, depth_m=depth, camera=camera, stamp_ns=frame.stamp_ns, frame_id=frame.frame_id)  # type: ignore[arg-type]


class LoadCamera:
    """Publishes colour, depth and calibration on `image`, `depth` and `camera_info` (SensorData quality of service)."""

    def __init__(self, node: rclpy.node.Node, width: int, height: int) -> None:
        self._publishers = [node.create_publisher(kind, topic, qos_profile_sensor_data)
                            for kind, topic in ((CameraInfo, "camera_info"), (Image, "depth"), (Image, "image"))]
        with Recording(DEMO_RECORDING) as recording:
            frames = list(itertools.islice(recording.frames(), FIRST, FIRST + COUNT))
        ready = []
        for frame in frames:
            made = messages_of(stretched(frame, width, height))
            ready.append([bytes(serialize_message(message)) for message in (made.info, made.depth, made.colour)])
        self._moments: Iterator[list[bytes]] = itertools.cycle(ready + ready[-2:0:-1])  # to and fro: nothing jumps

    def send(self) -> int:
        """Publish one frame, stamped now; returns the stamp in nanoseconds."""
        stamp_ns = time.time_ns()
        stamp = struct.pack("<iI", *divmod(stamp_ns, 1_000_000_000))
        for publisher, raw in zip(self._publishers, next(self._moments), strict=True):
            publisher.publish(b"".join((raw[:_STAMP.start], stamp, memoryview(raw)[_STAMP.stop:])))
        return stamp_ns

    def play(self, hz: float, frames: int) -> dict[str, object]:
        """Publish on time; what is late is sent at once, so that the number holds."""
        sent, late_s, begin = [], 0.0, time.monotonic()
        for number in range(frames):
            wait_s = begin + number / hz - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)  # the camera's own pace
            late_s = max(late_s, -wait_s)
            sent.append(self.send())
        return {"sent": sent, "late_s": late_s}


def main(args: Sequence[str] | None = None) -> int:
    """Serve commands until standard input ends."""
    arguments = list(sys.argv if args is None else ["load_camera", *args])
    parser = argparse.ArgumentParser(prog="load_camera", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=640, help="width of the pictures in px (default: 640)")
    parser.add_argument("--height", type=int, default=480, help="height of the pictures in px (default: 480)")
    options = parser.parse_args(remove_ros_args(arguments)[1:])
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("load_camera")
    try:
        camera = LoadCamera(node, options.width, options.height)
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            words = line.split()
            answer = {"sent": [camera.send()]} if words[0] == "probe" else camera.play(float(words[1]), int(words[2]))
            print(json.dumps(answer), flush=True)
    except KeyboardInterrupt:
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())

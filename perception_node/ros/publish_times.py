"""How long it takes to publish a frame's results while another process listens."""

from __future__ import annotations

import subprocess
import sys
import time

import rclpy
from rclpy.lifecycle import LifecycleNode

from perception_node.config import GripperConfig
from perception_node.errors import PerceptionError
from perception_node.ros.outputs import Outputs
from perception_node.types import Frame, Scene

CONNECT_S = 20.0
"""How long the listener may take to start and to connect."""

_LISTENER = """
import sys, rclpy
from perception_node_msgs.msg import PickScene
from geometry_msgs.msg import PoseArray
from sensor_msgs.msg import Image
rclpy.init(args=sys.argv)
node = rclpy.create_node("listener")
for kind, topic in ((PickScene, "scene"), (PoseArray, "grasp_poses"), (Image, "masks")):
    node.create_subscription(kind, f"/bench_publish/{topic}", lambda message: None, 2, raw=True)
try:
    rclpy.spin(node)
except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
    pass
"""


def publish_times(scene: Scene, frame: Frame, count: int) -> tuple[list[float], float]:
    """Publish a scene `count` times; milliseconds of each, and the processor time of all in seconds.

    Raises:
        PerceptionError: the listener did not connect.
    """
    listener = subprocess.Popen([sys.executable, "-c", _LISTENER])
    rclpy.init()
    node = LifecycleNode("bench_publish")
    try:
        node.trigger_configure()
        outputs = Outputs(node, GripperConfig())
        node.trigger_activate()
        until = time.monotonic() + CONNECT_S
        while not all(node.count_subscribers(f"/bench_publish/{topic}") for topic in ("masks", "scene")):
            if time.monotonic() > until:
                raise PerceptionError(f"expected a listener of what is published within {CONNECT_S:g} s, got none")
            time.sleep(0.05)
        times_ms, cpu_s = [], 0.0
        for _ in range(count):
            began, cpu_began = time.perf_counter(), time.thread_time()
            outputs.publish(scene, frame, time.time_ns)
            times_ms.append(1e3 * (time.perf_counter() - began))
            cpu_s += time.thread_time() - cpu_began
            time.sleep(0.01)
    finally:
        listener.terminate()
        listener.wait()
        node.destroy_node()
        rclpy.try_shutdown()
    return times_ms, cpu_s

"""A planner that listens to `~/scene` and prints the grasp that it would execute. Copy it and put your arm in `execute`."""

import contextlib
import sys

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from perception_node_msgs.msg import GraspCandidate, Package, PickScene, Preferred


class Planner(Node):
    """Takes the best grasp of the first package to pick, once per package."""

    def __init__(self) -> None:
        super().__init__("planner_example")
        self.done: set[int] = set()
        newest_only = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(PickScene, "perception/scene", self.on_scene, newest_only)
        self.preferred = Preferred()  # what operators and outcomes speak for; a planner may honour it
        self.create_subscription(Preferred, "perception/preferred", self.on_preferred, newest_only)

    def on_preferred(self, message: Preferred) -> None:
        self.preferred = message

    def on_scene(self, scene: PickScene) -> None:
        packages = {package.label: package for package in scene.packages}
        wanted = self.preferred
        for grasp in sorted(scene.grasps, key=lambda grasp: grasp.track_id != wanted.track_id):  # the wanted one, then best first
            package = packages[grasp.label]
            free = not package.covered_by and not package.truncated and grasp.track_id not in (*wanted.never, *wanted.later)
            if free and package.track_id and package.track_id not in self.done:
                self.done.add(package.track_id)
                self.execute(scene, package, grasp)
                return

    def execute(self, scene: PickScene, package: Package, grasp: GraspCandidate) -> None:
        """Your arm goes here: transform the pose from scene.header.frame_id to your base frame with tf2, and move."""
        at, speed = grasp.pose.position, package.velocity  # where it was at the stamp, and how it moves on from there
        age_s = self.get_clock().now().nanoseconds * 1e-9 - (scene.header.stamp.sec + scene.header.stamp.nanosec * 1e-9)
        x, y, z = at.x + speed.x * age_s, at.y + speed.y * age_s, at.z + speed.z * age_s
        print(f"would pick {package.class_name} {package.track_id} with {grasp.kind}, success {grasp.score:.0%}, now at "
              f"x {x:+.3f} y {y:+.3f} z {z:.3f} m, moving {speed.x:+.2f} {speed.y:+.2f} m/s", flush=True)


def main(args: list[str] | None = None) -> int:
    rclpy.init(args=args)
    planner = Planner()
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(planner)
    planner.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())

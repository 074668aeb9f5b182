"""A planner that listens to `~/scene` and prints the grasp that it would execute. Copy it and put your arm in `execute`."""

import contextlib
import signal

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time

from perception_node_msgs.msg import GraspCandidate, Package, PickScene, Preferred

FORGET_NS = 2_000_000_000  # what was out of sight for longer never has its id again; a node that starts anew begins at 1


class Planner(Node):
    """Takes the best grasp of the first package to pick, once per package."""

    def __init__(self) -> None:
        super().__init__("planner_example")
        self.done: dict[int, int] = {}  # packages that were taken: when they were last in sight
        newest_only = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(PickScene, "perception/scene", self.on_scene, newest_only)
        self.preferred = Preferred()  # what operators and outcomes speak for; a planner may honour it
        self.create_subscription(Preferred, "perception/preferred", lambda news: setattr(self, "preferred", news), newest_only)

    def on_scene(self, scene: PickScene) -> None:
        stamp_ns, now_ns = Time.from_msg(scene.header.stamp).nanoseconds, self.get_clock().now().nanoseconds
        packages, wanted = {package.label: package for package in scene.packages}, self.preferred
        self.done = {number: seen_ns for number, seen_ns in self.done.items() if 0 <= stamp_ns - seen_ns < FORGET_NS}
        self.done |= {package.track_id: stamp_ns for package in scene.packages if package.track_id in self.done}
        for grasp in sorted(scene.grasps, key=lambda grasp: grasp.track_id != wanted.track_id):  # the wanted one, then best first
            package, late = packages[grasp.label], grasp.has_deadline and Time.from_msg(grasp.deadline).nanoseconds < now_ns
            free = not (package.covered_by or package.truncated or late or grasp.track_id in (*wanted.never, *wanted.later))
            if free and package.track_id and package.track_id not in self.done:
                self.done[package.track_id] = stamp_ns
                self.execute(scene, package, grasp, 1e-9 * (now_ns - stamp_ns))
                return

    def execute(self, scene: PickScene, package: Package, grasp: GraspCandidate, age_s: float) -> None:
        """Your arm goes here: transform the pose from scene.header.frame_id to your base frame with tf2, and move."""
        at, speed = grasp.pose.position, package.velocity  # where it was at the stamp, and how it moves on from there
        x, y, z = at.x + speed.x * age_s, at.y + speed.y * age_s, at.z + speed.z * age_s
        print(f"would pick {package.class_name} {package.track_id} with {grasp.kind}, success {grasp.score:.0%}, now at "
              f"x {x:+.3f} y {y:+.3f} z {z:.3f} m{', height unknown' if grasp.degraded else ''}, "
              f"moving {speed.x:+.2f} {speed.y:+.2f} m/s", flush=True)


def main(args: list[str] | None = None) -> int:
    signal.signal(signal.SIGINT, lambda *_: None)  # rclpy ends the spinning by itself; no KeyboardInterrupt in the middle of a call
    rclpy.init(args=args)
    with contextlib.suppress(ExternalShutdownException):
        rclpy.spin(Planner())
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

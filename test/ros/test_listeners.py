"""What users copy works: the subscriber of docs/interfaces.md and the planner example, each fed with a scene."""

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def documented_subscriber():
    text = (ROOT / "docs" / "interfaces.md").read_text(encoding="utf-8")
    return re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)


class Listener:
    """A program in a process of its own, its lines kept."""

    def __init__(self, cell, *arguments):
        self.process = subprocess.Popen([sys.executable, "-u", *arguments], env=cell.environment(), stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)
        self.lines = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self._reader.start()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def text(self):
        return "".join(self.lines)


def scene(cell, packages, ahead_ns=0, late=()):
    """A PickScene with a suction grasp on each package: (label, track_id, covered_by, score), best first.

    `ahead_ns`: its stamp, from now. `late`: labels of packages whose grasps' deadline has passed.
    """
    from perception_node.ros.messages import time_message
    from perception_node_msgs.msg import GraspCandidate, Package, PickScene

    message = PickScene()
    message.header.frame_id = "cam_optical_frame"
    message.header.stamp = time_message(cell.now_ns() + ahead_ns)
    for label, track_id, covered_by, score in packages:
        package = Package(label=label, track_id=track_id, class_name="box", covered_by=covered_by, score=0.9)
        package.velocity.x = 0.25
        grasp = GraspCandidate(kind=GraspCandidate.SUCTION, label=label, track_id=track_id, score=score)
        grasp.pose.position.z = 1.0
        if label in late:
            grasp.has_deadline, grasp.deadline = True, time_message(cell.now_ns() - 1_000_000_000)
        message.packages.append(package)
        message.grasps.append(grasp)
    return message


@pytest.fixture
def start(cell):
    """Start a listening program and return it with a function that publishes scenes to it."""
    from perception_node_msgs.msg import PickScene

    started = []

    def make(*arguments):
        listener = Listener(cell, *arguments)
        started.append(listener)
        publisher = cell.node.create_publisher(PickScene, "perception/scene", 2)
        cell.wait_until(lambda: publisher.get_subscription_count() > 0 or listener.process.poll() is not None, "the listener")
        return listener, publisher.publish

    yield make
    for listener in started:
        listener.kill()


def test_the_documented_subscriber(cell, start):
    listener, publish = start("-c", documented_subscriber())
    cell.wait_until(lambda: "suction on package 7, success 0.80, at 0.000 0.000 1.000 m in cam_optical_frame" in listener.text,
                    "the printed grasp", each=lambda: publish(scene(cell, [(1, 7, [], 0.8)])))


def test_the_planner_takes_each_free_package_once(cell, start):
    listener, publish = start("-m", "perception_node.ros.planner_example")
    packages = [(1, 7, [2], 0.9), (2, 8, [], 0.8), (3, 9, [], 0.7), (4, 0, [], 0.6)]
    cell.wait_until(lambda: len(listener.lines) >= 2, "two picks", each=lambda: publish(scene(cell, packages)))
    for _ in range(10):
        publish(scene(cell, packages))
        cell.executor.spin_once(timeout_sec=0.05)
    for _ in range(3):  # as Ctrl-C under `ros2 launch`: the terminal and the launch each send one
        listener.process.send_signal(signal.SIGINT)
    assert listener.process.wait(20) == 0
    assert len(listener.lines) == 2, listener.text
    first, second = listener.lines
    assert first.startswith("would pick box 8 with suction, success 80%")
    assert second.startswith("would pick box 9 with suction, success 70%")
    assert float(re.search(r"now at x \+([\d.]+)", first).group(1)) > 0.0


def test_the_planner_leaves_what_has_passed_and_knows_that_a_node_may_start_anew(cell, start):
    """Ids begin at 1 again with a new node: what bears the number of a package that was taken long ago is another one."""
    listener, publish = start("-m", "perception_node.ros.planner_example")
    packages = [(1, 7, [], 0.9), (2, 8, [], 0.8)]
    cell.wait_until(lambda: listener.lines, "a pick", each=lambda: publish(scene(cell, packages, late=[1])))
    assert listener.lines[0].startswith("would pick box 8 ")
    cell.wait_until(lambda: len(listener.lines) >= 2, "the same number again",
                    each=lambda: publish(scene(cell, packages, ahead_ns=60_000_000_000, late=[1])))
    assert listener.lines[1].startswith("would pick box 8 ")
    assert len(listener.lines) == 2

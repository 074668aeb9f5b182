"""Child processes end with their parent: on leaving, on SIGTERM, and when the parent is killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from perception_node.errors import ConfigError
from perception_node.ros.processes import Processes, parameter_files

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
DEAF = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); "
        "print('up', flush=True); time.sleep(60)"]
PARENT = """
import os, sys, time
from pathlib import Path
from perception_node.ros.processes import Processes, interrupt_on_sigterm
interrupt_on_sigterm()
with Processes(os.environ, Path(sys.argv[1])) as group:
    group.start("child", [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"])
    print(group.pid("child"), flush=True)
    time.sleep(60)
"""


def until(condition, limit_s=20.0):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def up(group):
    return group.log("child").exists() and group.log("child").read_text().startswith("up")


def test_children_end_on_leaving(tmp_path):
    with Processes(os.environ, tmp_path) as group:
        group.start("child", SLEEPER)
        until(lambda: up(group))
        pid = group.pid("child")
        assert group.status("child") is None
    assert not alive(pid)


def test_a_child_that_ignores_sigint_is_killed(tmp_path):
    with Processes(os.environ, tmp_path, polite_s=0.3) as group:
        group.start("child", DEAF)
        until(lambda: up(group))
        pid = group.pid("child")
    assert not alive(pid)
    assert group.status("child") == -signal.SIGKILL


def test_an_exception_ends_the_children(tmp_path):
    group = Processes(os.environ, tmp_path)

    def work():
        with group:
            group.start("child", SLEEPER)
            raise RuntimeError

    pytest.raises(RuntimeError, work)
    assert not alive(group.pid("child"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_child_survives_its_parent(tmp_path, number):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True)
    try:
        child = int(parent.stdout.readline())
        until(lambda: (tmp_path / "child.log").read_text().startswith("up"))
        parent.send_signal(number)
        parent.wait(20)
        until(lambda: not alive(child))
    finally:
        parent.kill()


def test_the_gripper_beside_the_cell_goes_to_the_node_too(tmp_path):
    cell, gripper = tmp_path / "cell.yaml", tmp_path / "gripper.yaml"
    cell.write_text("/**:\n  ros__parameters:\n    node: {depth: required}\n")
    assert parameter_files(None) == ()
    assert parameter_files(cell) == ("--params-file", str(cell))
    gripper.write_text("/**:\n  ros__parameters:\n    gripper: {suction: {enabled: false}}\n")
    assert parameter_files(cell) == ("--params-file", str(cell), "--params-file", str(gripper))
    gripper.write_text("/**:\n  ros__parameters:\n    gripper: {suction: {enabld: false}}\n")
    with pytest.raises(ConfigError, match="enabld"):
        parameter_files(cell)

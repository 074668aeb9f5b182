"""The launch files, run by the real launch with real processes. They need launch_ros, which comes only with a distribution."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("launch_ros", reason="launch_ros comes only with a ROS 2 distribution")
rclpy = pytest.importorskip("rclpy", reason="no ROS 2 here")
messages = pytest.importorskip("perception_node_msgs.msg", reason="the overlay is not built: make build")

from ament_index_python import get_package_share_directory  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402

from perception_node.ros.transport import PROFILES_FILE  # noqa: E402

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]

LAUNCH = """
import sys
from launch import LaunchService
from launch.actions import IncludeLaunchDescription
arguments = [tuple(argument.split(":=", 1)) for argument in sys.argv[2:]]
service = LaunchService(argv=sys.argv[2:])
service.include_launch_description(IncludeLaunchDescription(sys.argv[1], launch_arguments=arguments))
sys.exit(service.run())
"""
READY_S, END_S = 60.0, 20.0


@pytest.fixture
def domain(request):
    """A ROS domain of its own for each test."""
    return 60 + [item.name for item in request.session.items if item.fspath == request.node.fspath].index(request.node.name)


@contextmanager
def launched(domain, folder, name, *arguments, **more):
    """Run a launch file as its user would, with `more` in the environment; afterwards no process of it is left."""
    path = Path(get_package_share_directory("perception_node")) / "launch" / f"{name}.launch.py"
    environment = os.environ | {"ROS_DOMAIN_ID": str(domain), "ROS_LOG_DIR": str(folder / "log"), "PYTHONUNBUFFERED": "1"}
    for variable in ("FASTDDS_BUILTIN_TRANSPORTS", "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        environment.pop(variable, None)  # the launch file's own business
    environment |= more
    with (folder / "output").open("w") as output:
        process = subprocess.Popen([sys.executable, "-c", LAUNCH, str(path), *arguments], cwd=folder, env=environment,
                                   stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    left = [pid for pid in group(process.pid) if pid != process.pid]
    assert not left, f"processes left behind: {left}"


def started(leader, program):
    """(command line, environment) of each process that a launch started from an executable."""
    found = []
    for pid in group(leader):
        command = (Path("/proc") / str(pid) / "cmdline").read_text().split("\0")
        if any(part.endswith(f"/lib/perception_node/{program}") for part in command[:2]):
            variables = (Path("/proc") / str(pid) / "environ").read_text().split("\0")
            found.append((command, dict(entry.split("=", 1) for entry in variables if "=" in entry)))
    return found


def group(leader):
    """Ids of the processes in a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@contextmanager
def listener(domain):
    """A node in the test's domain and a function that spins it until a condition holds."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node("listener", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def wait(condition, timeout_s=READY_S):
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, "nothing came in time"
            executor.spin_once(timeout_sec=0.1)

    try:
        yield node, wait
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def scenes_of(node, namespace):
    """A list that fills with the scenes of the node in a namespace."""
    scenes = []
    quality = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_subscription(messages.PickScene, f"{namespace}/perception/scene", scenes.append, quality)
    return scenes


def test_replay_keeps_the_stamps_and_ends_with_the_recording(domain, tmp_path):
    with listener(domain) as (node, wait):
        scenes = scenes_of(node, "")
        with launched(domain, tmp_path, "replay", "log_level:=warn") as process:
            wait(lambda: process.poll() is not None, 120.0)
            assert process.returncode == 0, (tmp_path / "output").read_text()
    assert scenes
    stamps = [scene.header.stamp.sec + 1e-9 * scene.header.stamp.nanosec for scene in scenes]
    assert stamps == sorted(stamps)
    assert stamps[-1] < time.time() - 60.0, "expected the recording's stamps, got new ones"


def test_demo_picks_and_ends(domain, tmp_path):
    with launched(domain, tmp_path, "demo") as process:
        assert process.wait(120.0) == 0, (tmp_path / "output").read_text()
    assert "would pick" in (tmp_path / "output").read_text()


def test_cell_remaps_its_topics_and_ends_on_interrupt(domain, tmp_path):
    topics = "image:=/camera/color/image_raw", "depth:=depth/image"
    with listener(domain) as (node, wait), launched(domain, tmp_path, "cell", "namespace:=cell", *topics) as process:
        wait(lambda: node.count_subscribers("/camera/color/image_raw") and node.count_subscribers("/cell/depth/image"))
        wait(lambda: ("perception", "/cell") in node.get_node_names_and_namespaces())
        [(_, environment)] = started(process.pid, "perception_node")
        assert PROFILES_FILE.samefile(environment["FASTDDS_DEFAULT_PROFILES_FILE"])
        assert "FASTDDS_BUILTIN_TRANSPORTS" not in environment
        process.send_signal(signal.SIGINT)
        assert process.wait(END_S) == 0, (tmp_path / "output").read_text()
    assert "Traceback" not in (tmp_path / "output").read_text()


def test_cell_starts_one_node_for_each_camera(domain, tmp_path):
    config = Path(get_package_share_directory("perception_node")) / "config" / "cell.yaml"
    text = config.read_text()
    assert "cameras: []" in text
    calibrated = text.replace("orientation_xyzw: [0.0, 0.0, 0.0, 0.0]", "orientation_xyzw: [0.0, 0.0, 0.0, 1.0]")
    (tmp_path / "cell.yaml").write_text(calibrated.replace("cameras: []", 'cameras: ["left", "right"]'))
    arguments = "namespace:=line", "config:=cell.yaml", "beacon_pose:=beacon/pose"
    with listener(domain) as (node, wait), launched(domain, tmp_path, "cell", *arguments):
        wait(lambda: {("perception", "/line/left"), ("perception", "/line/right")} <= set(node.get_node_names_and_namespaces()))
        wait(lambda: node.count_subscribers("/line/left/image") and node.count_subscribers("/line/right/image"))
        wait(lambda: node.count_subscribers("/line/left/beacon/pose") and node.count_subscribers("/line/right/beacon/pose"))


def test_cell_serves_the_console_and_passes_the_enclave_on(domain, tmp_path):
    try:
        socket.create_server(("127.0.0.1", 8765)).close()
    except OSError:
        pytest.skip("port 8765 of this machine is taken")
    with listener(domain) as (_, wait), launched(domain, tmp_path, "cell", "console:=true", "enclave:=/keys") as process:
        wait(lambda: "console: http://localhost:8765/" in (tmp_path / "output").read_text())
        with urllib.request.urlopen("http://localhost:8765/", timeout=READY_S) as answer:
            assert b"<html" in answer.read()
        wait(lambda: "active, listening" in (tmp_path / "output").read_text())
        [(command, _)] = started(process.pid, "perception_node")
        assert command[command.index("--enclave") + 1] == "/keys"
        process.send_signal(signal.SIGINT)
        assert process.wait(END_S) == 0, (tmp_path / "output").read_text()
    assert "Traceback" not in (tmp_path / "output").read_text()


def test_a_wrong_configuration_ends_the_launch(domain, tmp_path):
    (tmp_path / "cell.yaml").write_text("/**:\n  ros__parameters:\n    segment:\n      threads: 0\n")
    with launched(domain, tmp_path, "cell", "config:=cell.yaml") as process:
        assert process.wait(END_S) != 0
    assert "segment.threads: expected 1 to 64, got 0" in (tmp_path / "output").read_text()


def test_beacon_remaps_its_topics(domain, tmp_path):
    leds = [-0.05, -0.05, 0.0, 0.05, -0.05, 0.0, 0.05, 0.05, 0.0, -0.05, 0.05, 0.04]
    (tmp_path / "beacon.yaml").write_text(f"/**:\n  ros__parameters:\n    leds_m: {leds}\n")
    own = {"FASTRTPS_DEFAULT_PROFILES_FILE": shutil.copy(PROFILES_FILE, tmp_path)}
    with listener(domain) as (node, wait), launched(domain, tmp_path, "beacon", "namespace:=dock", "image:=/infra/image_raw",
                                                    "config:=beacon.yaml", "enclave:=/keys", **own) as process:
        wait(lambda: node.count_subscribers("/infra/image_raw") and node.count_subscribers("/dock/camera_info"))
        [(command, environment)] = started(process.pid, "beacon")
        assert command[command.index("--enclave") + 1] == "/keys"
        assert "FASTDDS_DEFAULT_PROFILES_FILE" not in environment, "expected the user's own profiles to stay the only ones"
        process.send_signal(signal.SIGINT)
        assert process.wait(END_S) == 0, (tmp_path / "output").read_text()


def test_a_beacon_without_leds_ends_the_launch(domain, tmp_path):
    with launched(domain, tmp_path, "beacon") as process:
        assert process.wait(END_S) != 0
    assert "leds_m: expected x, y, z of four to eight LEDs" in (tmp_path / "output").read_text()


def test_a_missing_recording_ends_the_launch(domain, tmp_path):
    with launched(domain, tmp_path, "replay", "bag:=nothing") as process:
        assert process.wait(60.0) != 0
    assert "nothing" in (tmp_path / "output").read_text()

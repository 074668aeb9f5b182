"""Fixtures of the ROS tests: a ROS domain of its own for each, the node as a process of its own, and a camera that the test is."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from perception_node.ros.transport import missing_variables

ROOT = Path(__file__).resolve().parents[2]

# Before the first context: see docs/interfaces.md, "Transport".
os.environ.setdefault("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
os.environ.update(missing_variables(os.environ))

PATIENCE_S = float(os.environ.get("PATIENCE_S", "60"))
"""How long an event may take before a test fails: generous, since cores may be busy."""

FRAME_ID = "cell_camera_optical_frame"
DOMAINS = range(40, 100)


def pytest_collection_modifyitems(items):
    """Mark everything in this folder, and skip it with the reason where ROS or the messages are missing.

    Many processes, a browser and a middleware with time-outs of its own: on a machine that stands still for seconds a test may fail
    for that alone. It is run once more then, and pytest's closing line counts it as `rerun`: such a test is looked into.
    """
    try:
        import rclpy  # noqa: F401

        import perception_node_msgs.msg  # noqa: F401
        missing = ""
    except ImportError as error:
        missing = f"needs ROS 2 and the built messages (. ./env.sh): {error}"
    for item in items:
        if Path(__file__).parent in Path(item.path).parents:
            item.add_marker(pytest.mark.ros)
            item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=5))
            if missing:
                item.add_marker(pytest.mark.skip(reason=missing))


def _claim_domain():
    """A domain that no other test process of this machine uses: held by a locked file until the process ends."""
    for domain in DOMAINS:
        handle = open(Path(tempfile.gettempdir()) / f"perception_node_domain_{domain}.lock", "a")  # noqa: SIM115
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.close()
            continue
        return domain, handle
    pytest.fail(f"no free ROS domain in {DOMAINS.start}..{DOMAINS.stop - 1}")


def environment_of(domain):
    """Environment of a process in a domain."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "ROS_DOMAIN_ID": str(domain), "PYTHONUNBUFFERED": "1", "PYTHONPATH": path}


class NodeProcess:
    """The perception node in a process of its own; its output is kept line by line."""

    def __init__(self, domain, *arguments, environment=None, module="perception_node.ros.perception"):
        self.process = subprocess.Popen([sys.executable, "-m", module, "--ros-args", *arguments],
                                        env={**environment_of(domain), **(environment or {})}, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.lines = []
        self._new = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self._new:
                self.lines.append(line.rstrip())
                self._new.notify_all()

    @property
    def text(self):
        return "\n".join(self.lines)

    def wait_for_line(self, words, timeout_s=PATIENCE_S):
        with self._new:
            found = self._new.wait_for(lambda: words in self.text or self.process.poll() is not None, timeout_s)
        assert found, f"no line with {words!r} within {timeout_s} s:\n{self.text}"
        assert words in self.text, f"ended ({self.process.poll()}) without {words!r}:\n{self.text}"

    def wait_for_exit(self, timeout_s=PATIENCE_S):
        status = self.process.wait(timeout_s)
        self._reader.join(timeout_s)
        return status

    def end(self, number=signal.SIGINT):
        """Signal, wait; returns the exit status."""
        self.process.send_signal(number)
        return self.wait_for_exit()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Cell:
    """The other side of the node: camera, arm planner and operator in the test's process, in a context of its own."""

    def __init__(self, domain):
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor

        self.domain = domain
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("cell", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.processes = []
        self.publishers = {}
        self.heard = {}
        self.statuses = {}
        self.history = []
        self._last_stamp_ns = 0

    def close(self):
        # Before the others are killed: Fast DDS once crashed when it took leave of processes that had just been.
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()
        for process in self.processes:
            process.kill()

    def environment(self):
        """Environment of other processes of this cell."""
        return environment_of(self.domain)

    def start(self, *arguments, environment=None, ready="active, listening", reliability="reliable",
              module="perception_node.ros.perception"):
        """Start the node and wait until it says `ready` ("" = don't).

        Reliable by default: what a camera sends while both sides still connect then comes a little later instead of never.
        """
        if reliability:
            arguments = ("-p", f"node.reliability:={reliability}", *arguments)
        process = NodeProcess(self.domain, *arguments, environment=environment, module=module)
        self.processes.append(process)
        if ready:
            process.wait_for_line(ready)
        return process

    def wait_until(self, condition, what, timeout_s=PATIENCE_S, each=None):
        """Spin until `condition()` is true; `each` is called meanwhile, about every 0.2 s."""
        until, again = time.monotonic() + timeout_s, 0.0
        while not condition():
            now = time.monotonic()
            if now > until:
                said = "\n".join(process.text for process in self.processes)
                pytest.fail(f"not within {timeout_s} s: {what}\nnode said:\n{said}\ndiagnostics: {self.statuses}")
            if each is not None and now >= again:
                each()
                again = now + 0.2
            self.executor.spin_once(timeout_sec=0.05)

    def listen(self, kind, topic, qos=None):
        """Subscribe, once to each topic; the list that is returned grows as messages come. Waits until a publisher is matched."""
        if topic in self.heard:
            return self.heard[topic]
        received = self.heard[topic] = []
        subscription = self.node.create_subscription(kind, topic, received.append, qos or 10)
        self.wait_until(lambda: subscription.get_publisher_count() > 0, f"publisher of {topic}")
        return received

    def watch_diagnostics(self):
        """Keep the newest status of each name in `statuses`, (level, message, values), and all since last cleared in `history`."""
        from diagnostic_msgs.msg import DiagnosticArray

        def keep(message):
            for status in message.status:
                name = status.name.rsplit(": ", 1)[-1]
                self.statuses[name] = (status.level[0], status.message, {pair.key: pair.value for pair in status.values})
            self.history.append((message.header.stamp.sec * 10**9 + message.header.stamp.nanosec, dict(self.statuses)))
        self.node.create_subscription(DiagnosticArray, "/diagnostics", keep, 10)
        self.wait_until(lambda: self.statuses, "diagnostics")

    def drops(self, reason):
        return int(self.statuses["pipeline"][2][f"dropped_{reason}"]) if "pipeline" in self.statuses else 0

    def settle(self):
        """Wait for diagnostics that were published from now on: those at hand may be older than the last frame."""
        now = self.now_ns()
        self.wait_until(lambda: self.history and self.history[-1][0] > now, "new diagnostics")

    def publisher(self, topic, kind, wait=True):
        """A reliable publisher, made once; waits until the node has matched it."""
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        if topic not in self.publishers:
            qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
            self.publishers[topic] = self.node.create_publisher(kind, topic, qos)
        publisher = self.publishers[topic]
        if wait:
            self.wait_until(lambda: publisher.get_subscription_count() > 0, f"subscriber of {topic}")
        return publisher

    def send(self, colour, depth=None, info=None, topics=("image", "depth", "camera_info")):
        """Publish calibration, depth and colour (in this order) as they are given."""
        for topic, message in ((topics[2], info), (topics[1], depth), (topics[0], colour)):
            if message is not None:
                self.publisher(topic, type(message)).publish(message)

    def now_ns(self):
        return self.node.get_clock().now().nanoseconds

    def next_stamp_ns(self, ahead_s=0.0):
        """Now, or as many seconds ahead of now, but after the last stamp that was given out, unless it lies over a second back."""
        stamp_ns = self.now_ns() + int(ahead_s * 1e9)
        if stamp_ns > self._last_stamp_ns - 10**9:
            stamp_ns = max(stamp_ns, self._last_stamp_ns + 1_000_000)
        self._last_stamp_ns = stamp_ns
        return stamp_ns

    def catch_up(self):
        """Wait until no stamp that was given out lies ahead of now."""
        self.wait_until(lambda: self.now_ns() > self._last_stamp_ns, "time passes")

    def said(self, *names):
        """What the statuses of these names say now."""
        return "; ".join(self.statuses[name][1] for name in names)

    def scenes(self, topic="/perception/scene"):
        """The list of scenes as they come, emptied."""
        from perception_node_msgs.msg import PickScene
        received = self.listen(PickScene, topic)
        received.clear()
        return received

    def call(self, kind, name, request, timeout_s=PATIENCE_S):
        """Call a service and return its response."""
        client = self.node.create_client(kind, name)
        self.wait_until(client.service_is_ready, f"service {name}", timeout_s)
        future = client.call_async(request)
        self.wait_until(future.done, f"answer of {name}", timeout_s)
        self.node.destroy_client(client)
        return future.result()


@pytest.fixture
def domain():
    """A ROS domain for this test alone."""
    number, handle = _claim_domain()
    yield number
    handle.close()


@pytest.fixture
def cell(domain):
    """A fresh `Cell`, nothing started."""
    made = Cell(domain)
    yield made
    made.close()


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    """A `Cell` with one running node, shared by all tests that leave it working."""
    number, handle = _claim_domain()
    made = Cell(number)
    folder = tmp_path_factory.mktemp("output")
    made.output = folder
    try:
        # Few frames are held for failed picks, so that the hold is full from the start: memory is measured.
        made.process = made.start("-p", f"node.output_dir:={folder}", "-p", "node.depth_wait_s:=0.5", "-p", "node.max_age_s:=5.0",
                                  "-p", "capture.hold_s:=2.0", "-p", "capture.hold_mb:=8.0")
        made.watch_diagnostics()
        frame, scenes = next(iter(_frames(24, 25))), made.scenes()
        # The first picture may come before its calibration.
        made.wait_until(lambda: scenes, "a first scene", each=lambda: made.send(*Messages().triple(frame, made.next_stamp_ns())))
        yield made
    finally:  # also when it does not become ready: nothing is left in a domain that the next test may get
        made.close()
        handle.close()


@pytest.fixture(scope="module")
def patient(running):
    """The shared node, whose packages keep their numbers however slow this machine is."""
    from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
    from rcl_interfaces.srv import SetParameters

    def set_patience(seconds):
        value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=seconds)
        running.call(SetParameters, "/perception/set_parameters",
                     SetParameters.Request(parameters=[Parameter(name="track.max_missed_s", value=value)]))

    set_patience(10.0)
    yield running
    set_patience(1.0)


@pytest.fixture
def fault(request):
    """Notes what a fault did, for the table of docs/reliability.md: (published, status, words, level, counted).

    `words` are part of what the status says (of this test's cell): the whole clause goes into the table, "" = none.
    """
    name = "running" if "running" in request.fixturenames else "cell"
    levels = ("OK", "WARN", "ERROR", "STALE")

    def note(published, status="", words="", level=0, counted="", log=""):
        said = ""
        if words:
            message = request.getfixturevalue(name).statuses[status][1]
            said = next(clause for clause in message.split("; ") if words in clause)
        request.node.user_properties.append(("fault", {
            "published": published, "status": status, "level": levels[level] if status else "", "said": said, "counted": counted,
            "log": log}))
    return note


_rows = {}


def pytest_runtest_logreport(report):
    """Keep what each fault did; `FAULTS=out.json pytest test/ros` writes it for test/faults.py."""
    if report.when == "call" or report.failed:
        _rows[report.nodeid] = (report.outcome, dict(report.user_properties).get("fault"))


def pytest_sessionfinish(session):
    """Write the outcomes of all marked tests."""
    target = os.environ.get("FAULTS")
    if target:
        rows = []
        for item in session.items:
            mark = item.get_closest_marker("fault")
            if mark is not None:
                outcome, noted = _rows.get(item.nodeid, ("not run", None))
                rows.append({"fault": mark.args[0], "outcome": outcome, **(noted or {})})
        Path(target).write_text(json.dumps(rows, indent=1), encoding="utf-8")


@pytest.fixture(scope="session")
def frames():
    """Eight frames from the middle of the bundled recording, when the belt is full."""
    return _frames(24, 32)


def _frames(first, end):
    from perception_node.bag.reader import Recording

    with Recording(ROOT / "perception_node" / "data" / "demo") as recording:
        return list(itertools.islice(recording.frames(), first, end))


@pytest.fixture(scope="session")
def messages():
    """Makers of camera messages."""
    return Messages()


_noise = itertools.count()


class Messages:
    """Frames as messages, with a stamp of the caller's."""

    def header(self, stamp_ns, frame_id=FRAME_ID):
        from std_msgs.msg import Header

        from perception_node.ros.messages import time_message
        return Header(stamp=time_message(stamp_ns), frame_id=frame_id)

    def image(self, pixels, encoding, stamp_ns, frame_id=FRAME_ID):
        from perception_node.ros.messages import image_message
        return image_message(pixels, encoding, self.header(stamp_ns, frame_id))

    def compressed(self, data, form, stamp_ns):
        import array

        from sensor_msgs.msg import CompressedImage
        return CompressedImage(header=self.header(stamp_ns), format=form, data=array.array("B", data))

    def info(self, camera, stamp_ns, frame_id=FRAME_ID):
        from sensor_msgs.msg import CameraInfo
        return CameraInfo(header=self.header(stamp_ns, frame_id), width=camera.width, height=camera.height,
                          distortion_model="plumb_bob", d=[0.0] * 5, k=camera.K.ravel())

    def triple(self, frame, stamp_ns):
        """(colour rgb8, depth 16UC1, camera_info) of a frame, with the noise of one pixel, as no camera repeats itself."""
        millimetres = np.nan_to_num(frame.depth_m * 1000.0).round().astype(np.uint16)
        rgb, millimetres[0, 0] = frame.rgb.copy(), 900 + next(_noise) % 100
        rgb[0, 0] = next(_noise) % 200
        depth = self.image(millimetres, "16UC1", stamp_ns)
        return self.image(rgb, "rgb8", stamp_ns), depth, self.info(frame.camera, stamp_ns)

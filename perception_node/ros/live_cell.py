"""A running cell for measurements: cameras, nodes and a listener in processes of their own, over real DDS."""

from __future__ import annotations

import json
import os
import queue
import struct
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions

from perception_node.bench.live_figures import Arrival
from perception_node.errors import PerceptionError
from perception_node.ros.demo import ros_environment
from perception_node.ros.processes import Processes, interrupt_on_sigterm
from perception_node_msgs.msg import PickScene

START_S = 90.0
"""How long processes may take to start, to connect and to compute a first result on a slow, busy machine."""

PROBES = 3  # frames that are sent one by one before measuring: connections, and the network compiled for the size
_SETTLE_S = 4.0  # after the last frame, longer than any result may be old


@dataclass
class Camera:
    """One camera with its node: names, and what was sent and received."""

    namespace: str
    process: subprocess.Popen[bytes]
    answers: queue.Queue[dict[str, Any]] = field(default_factory=queue.Queue)
    sent: list[int] = field(default_factory=list)
    raw: list[tuple[int, bytes]] = field(default_factory=list)
    late_s: float = 0.0
    before: Mapping[str, str] = field(default_factory=dict)

    def tell(self, command: str) -> None:
        """Give a command to the camera's process."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())
        self.process.stdin.flush()

    def listen(self) -> None:
        """Keep the camera's answers; ends with its process."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(json.loads(line))


class LiveCell:
    """Made by `live_cell`. `values(camera)` are the newest diagnostics of a camera's node, `spin` takes what has arrived."""

    def __init__(self, node: Node, processes: Processes, namespaces: list[str], size: tuple[int, int],
                 arguments: tuple[str, ...], keep: bool) -> None:
        self.processes = processes
        self._keep = keep
        self._statuses: dict[str, dict[str, str]] = defaultdict(dict)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.cameras: list[Camera] = []
        python = [sys.executable, "-m"]
        for namespace in namespaces:
            ros = ["--ros-args", "-r", f"__ns:=/{namespace}"]
            processes.start(f"node_{namespace}", [*python, "perception_node.ros.perception", *ros, *arguments])
            process = processes.start(f"camera_{namespace}", [*python, "perception_node.ros.load_camera", "--width", str(size[0]),
                                                              "--height", str(size[1]), *ros], talk=True)
            camera = Camera(namespace, process)
            threading.Thread(target=camera.listen, daemon=True).start()
            node.create_subscription(PickScene, f"/{namespace}/perception/scene", self._keeper(camera), QoSProfile(depth=10),
                                     raw=True)
            self.cameras.append(camera)

    def pid(self, camera: Camera) -> int:
        """Process id of a camera's node."""
        return self.processes.pid(f"node_{camera.namespace}")

    def values(self, camera: Camera) -> Mapping[str, str]:
        """The newest diagnostic values of a camera's node."""
        return self._statuses[camera.namespace]

    def wait(self, condition: Callable[[], bool], what: str, timeout_s: float = START_S) -> None:
        """Spin until a condition holds.

        Raises:
            PerceptionError: a process ended, or the condition did not hold in time.
        """
        until = time.monotonic() + timeout_s
        while not condition():
            self.spin()
            for camera in self.cameras:
                for name in (f"node_{camera.namespace}", f"camera_{camera.namespace}"):
                    status = self.processes.status(name)
                    if status is not None:
                        words = self.processes.log(name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
                        raise PerceptionError(f"{name} ended with status {status}: {(words or ['nothing said'])[-1]}")
            if time.monotonic() > until:
                raise PerceptionError(f"expected {what} within {timeout_s:g} s; the nodes counted so far: {self._counts()}")

    def spin(self, timeout_s: float = 0.05) -> None:
        """Take what has arrived; wait at most this long for it."""
        self._executor.spin_once(timeout_sec=timeout_s)

    def connect(self) -> None:
        """Send single frames until each node has computed some: both sides are connected, the network is compiled.

        What came out too old counts, too: on a busy machine that is for the measurement to say.
        """
        for camera in self.cameras:
            self.wait(lambda: not camera.answers.empty(), "the camera's process", START_S)  # noqa: B023
            camera.answers.get()
        for camera in self.cameras:
            for count in range(1, PROBES + 1):
                asked = 0.0

                def probed() -> bool:
                    nonlocal asked
                    found = self.delta(camera)  # noqa: B023
                    done = found.get("results", 0) + found.get("too_old", 0) >= count  # noqa: B023
                    if not done and time.monotonic() - asked > 1.0:
                        camera.tell("probe")  # noqa: B023
                        asked = time.monotonic()
                    return done
                self.wait(probed, f"a first result of {camera.namespace}")
        self.settle()
        for camera in self.cameras:
            while not camera.answers.empty():
                camera.answers.get()
            camera.before = dict(self.values(camera))
            camera.raw.clear()

    def settle(self) -> None:
        """Spin until no count in any diagnostics has changed for a while."""
        until, last = time.monotonic() + _SETTLE_S, [0]
        quiet_since = time.monotonic()
        while time.monotonic() < until and time.monotonic() - quiet_since < 1.0:
            self.spin()
            now = [self.accounted(camera) for camera in self.cameras]
            if now != last:
                last, quiet_since = now, time.monotonic()

    def accounted(self, camera: Camera) -> int:
        """Frames since `connect` that became a result or were dropped with a reason."""
        return sum(self.delta(camera).values())

    def delta(self, camera: Camera) -> dict[str, int]:
        """Frames since `connect` by what became of them: "results" and the reasons of drops."""
        values, before = self.values(camera), camera.before
        names = [name for name in values if name == "results" or name.startswith("dropped_")]
        return {name.removeprefix("dropped_"): int(values[name]) - int(before.get(name, 0)) for name in names}

    def play(self, hz: float, frames: int, meanwhile: Callable[[], None]) -> None:
        """All cameras play at once; then one more frame each, which shows whether the last ones were lost."""
        for camera in self.cameras:
            camera.tell(f"play {hz} {frames}")

        def answered() -> bool:
            meanwhile()
            return all(not camera.answers.empty() for camera in self.cameras)
        self.wait(answered, "the end of the cameras", 2.0 * frames / hz + START_S)
        for camera in self.cameras:
            answer = camera.answers.get()
            camera.sent, camera.late_s = list(answer["sent"]), float(answer["late_s"])
        self.settle()
        for camera in self.cameras:
            camera.tell("probe")
        self.wait(lambda: all(not camera.answers.empty() for camera in self.cameras), "the last frame")
        for camera in self.cameras:
            camera.sent += camera.answers.get()["sent"]
        self.settle()

    def arrivals(self, camera: Camera) -> list[Arrival]:
        """The scenes that came, read after the measurement."""
        found = []
        for received_ns, raw in camera.raw:
            scene = deserialize_message(raw, PickScene)
            timing = dict(zip(scene.timing_names, scene.timing_ms.tolist(), strict=True))
            found.append(Arrival(scene.header.stamp.sec * 10**9 + scene.header.stamp.nanosec, received_ns, float(scene.latency_s),
                                 timing, len(scene.packages), bool(scene.depth_used)))
        return found

    def _counts(self) -> str:
        """What became of the frames at each node, in words."""
        found = {camera.namespace: ", ".join(f"{count} {name}" for name, count in self.delta(camera).items() if count)
                 for camera in self.cameras if self.values(camera)}
        return "; ".join(f"{camera.namespace}: {found.get(camera.namespace, 'no diagnostics came') or 'no frame came'}"
                         for camera in self.cameras)

    def _keeper(self, camera: Camera) -> Callable[[bytes], None]:
        def keep(raw: bytes) -> None:
            received_ns = time.time_ns()
            if self._keep:
                camera.raw.append((received_ns, without_pixels(raw)))
        return keep

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            name = status.name.split("/")[0]
            self._statuses[name].update({pair.key: pair.value for pair in status.values})


@contextmanager
def live_cell(cameras: int, size: tuple[int, int], folder: Path, arguments: tuple[str, ...] = (),
              keep: bool = True) -> Iterator[LiveCell]:
    """Start everything in a ROS domain of its own; on leaving no process is left.

    Args:
        cameras: how many, each with its own node. size: (width, height) of the pictures. folder: for what the processes print.
        arguments: ROS arguments of the nodes. keep: keep the scenes, for `arrivals`.
    """
    interrupt_on_sigterm()
    environment = ros_environment()
    folder.mkdir(parents=True, exist_ok=True)
    with Processes(environment, folder) as processes:
        os.environ.update(environment)
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        try:
            node = rclpy.create_node("bench_live")
            yield LiveCell(node, processes, [f"camera{number}" for number in range(cameras)], size, arguments, keep)
            node.destroy_node()
        finally:
            rclpy.try_shutdown()


def without_pixels(raw: bytes) -> bytes:
    """A serialised PickScene without its label image's pixels (megabytes), still a valid message.

    Source: OMG CDR: members in order, aligned to their size counted from byte 4; here Header, then Image, whose pixels come last.
    What is cut must be a multiple of 8 bytes long, so that the alignment of what follows stays; else nothing is cut.
    """
    def text_end(at: int) -> int:
        return at + 4 + int(struct.unpack_from("<I", raw, at)[0])

    at = _aligned(text_end(12)) + 8  # stamp, frame_id; the label image's stamp
    at = _aligned(text_end(at)) + 8  # frame_id; height, width
    at = _aligned(text_end(at) + 1) + 4  # encoding, is_bigendian; step
    size = int(struct.unpack_from("<I", raw, at)[0])
    return raw if size % 8 else raw[:at] + bytes(4) + raw[at + 4 + size:]


def _aligned(at: int) -> int:
    return at + (-at) % 4

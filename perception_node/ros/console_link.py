"""The console's side towards ROS: newest scene and picture while somebody looks, diagnostics, calls of the node's services."""

from __future__ import annotations

import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import CallbackGroup
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from perception_node.errors import PerceptionError
from perception_node.ros.console_priority import give_way
from perception_node.ros.console_view import Grasped, Moment, moment
from perception_node_msgs.msg import PickScene
from perception_node_msgs.srv import Ask, ReportOutcome

IDLE_S, CALL_WAIT_S = 2.0, 0.25
"""Longest wait of the thread, and while a call is under way: how late its time-out may be. Calls and answers end the wait."""
LOOK_S = (0.01, 0.1)
"""Where no scene lies ready when one is due, it is looked for again in a quarter of the time since the last one, within these."""
PICTURES = 24
"""Pictures kept, serialised, until the scene of the same stamp comes."""
WAITING = 8
"""Pictures that the middleware keeps between two looks. Source: 80 ms between looks at 60 Hz are five."""
SILENT_S = 3.0
PATIENCE_S = 3.0
"""Without any picture for so long, masks are shown on black."""
CALL_S = 3.0
_LEVELS = ("ok", "warning", "error", "stale")


class _Shelf(CallbackGroup):
    """Of subscriptions whose messages wait for `_Reader.take`: no message of theirs wakes the thread."""

    def can_execute(self, entity: object) -> bool:
        return False

    def beginning_execution(self, entity: object) -> bool:
        return False

    def ending_execution(self, entity: object) -> None:
        pass


class _Reader:
    """The newest serialised messages of a topic, best effort; taken when they are wanted."""

    def __init__(self, node: Node, kind: Any, topic: str, depth: int, shelf: CallbackGroup) -> None:
        qos = QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._node = node
        self._made: Any = node.create_subscription(kind, topic, lambda raw: None, qos, raw=True, callback_group=shelf)

    def take(self) -> Iterator[bytes]:
        """Those that have come since the last look, oldest first."""
        with self._made.handle:
            while (taken := self._made.handle.take_message(self._made.msg_type, True)) is not None:
                yield taken[0]

    def newest(self) -> bytes | None:
        """The last one, None = none has come since the last look."""
        return next(reversed(list(self.take())), None)

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._made)


class ConsoleLink:
    """A thread of its own that spins a ROS node. It reads best effort and takes only what it shows, so that it can delay nobody.

    Args:
        node: to subscribe and call with. name: of the perception node, relative to the node's namespace. compressed: read
            `image/compressed` in place of `image`. rate_hz: moments drawn a second at most.
    """

    def __init__(self, node: Node, name: str, compressed: bool, rate_hz: float) -> None:
        self.node, self._period_s = node, 1.0 / rate_hz
        self._name, self._compressed = name, compressed
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._nudge = node.create_guard_condition(lambda: None)  # ends `spin_once` at once, unlike the executor's own `wake`
        self._ask: Any = node.create_client(Ask, f"{name}/ask")
        self._report: Any = node.create_client(ReportOutcome, f"{name}/report_outcome")
        self._calls: queue.SimpleQueue[tuple[Any, Any, Future[Any]]] = queue.SimpleQueue()
        self._waiting: list[tuple[float, Any, Future[Any]]] = []
        self._pictures: OrderedDict[bytes, bytes] = OrderedDict()
        self._info: bytes | None = None
        self._shelf = _Shelf()
        self._readers: tuple[_Reader, _Reader, _Reader] | None = None
        self._due_s, self._watched_s, self._shown_s = 0.0, 0.0, 0.0
        self.grasped = Grasped()
        self.moment: Moment | None = None
        self._watched = self._wanted = False
        self._health: dict[str, tuple[int, str]] = {}
        self._heard_s = time.monotonic()
        self._stopping = threading.Event()
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._thread: threading.Thread | None = None

    def start(self, drawn: Callable[[], None]) -> None:
        """Start spinning; `drawn` is called from the thread whenever there is a new `moment`."""
        self._thread = threading.Thread(target=self._run, args=(drawn,), name="console link", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, if it was started."""
        self._stopping.set()
        if self._thread is not None:
            self._nudge.trigger()
            self._thread.join()
        self._executor.shutdown()

    @property
    def watched(self) -> bool:
        """Whether somebody looks: only then are scenes and pictures read."""
        return self._watched

    @watched.setter
    def watched(self, looked: bool) -> None:
        if looked != self._watched:
            self._watched = self._wanted = looked
            self._nudge.trigger()

    def want(self) -> None:
        """Somebody has taken the moment before: draw another when it is due. May be called from any thread."""
        if not self._wanted:
            self._wanted = True
            self._nudge.trigger()

    def ask(self, text: str, session_id: str, point: list[int]) -> Future[Any]:
        """Call `~/ask`; may be called from any thread."""
        return self._call(self._ask, Ask.Request(text=text, session_id=session_id, point=point))

    def report(self, track_id: int, kind: str, success: bool, failure: str) -> tuple[str, Future[Any]]:
        """Call `~/report_outcome` for the grasp that was last proposed for a package; returns its kind too.

        Args:
            kind: of the grasp that was used, "" = the more probable one.

        Raises:
            PerceptionError: there was none.
        """
        found = self.grasped.find(track_id, kind)
        if found is None:
            raise PerceptionError(f"number {track_id} had no grasp lately that an outcome could be reported for")
        stamp, grasp = found
        request = ReportOutcome.Request(scene_stamp=stamp, grasp=grasp, success=success, failure="" if success else failure)
        return grasp.kind, self._call(self._report, request)

    def health(self) -> dict[str, Any]:
        """The worst level and one line for each part of the node."""
        if time.monotonic() - self._heard_s > SILENT_S:
            return {"level": "error", "lines": [["node", "error", f"no diagnostics for {time.monotonic() - self._heard_s:.0f} s: "
                                                 "does the node run?"]]}
        worst = max((level for level, _ in self._health.values()), default=3)
        lines = [[name, _LEVELS[min(level, 3)], words] for name, (level, words) in sorted(self._health.items())]
        return {"level": _LEVELS[min(worst, 3)], "lines": lines}

    def _call(self, client: Any, request: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._calls.put((client, request, future))
        self._nudge.trigger()
        return future

    def _run(self, drawn: Callable[[], None]) -> None:
        give_way()
        cv2.setNumThreads(1)  # pictures are small: a pool of threads only takes more cores from the node
        while not self._stopping.is_set():
            now = time.monotonic()
            wait_s = CALL_WAIT_S if self._waiting else IDLE_S
            if self._readers is not None and self._wanted:
                wait_s = min(max(self._due_s - now, 0.0), wait_s)
            self._executor.spin_once(timeout_sec=wait_s)
            self._subscribe()
            self._serve()
            now = time.monotonic()
            if self._readers is None or not self._wanted or now < self._due_s:
                continue
            if self._draw(*self._readers):
                self._wanted, self._shown_s = False, now
                self._due_s = max(self._due_s + self._period_s, now)
                drawn()
            else:
                self._due_s = now + min(max((now - self._shown_s) / 4, LOOK_S[0]), LOOK_S[1])

    def _subscribe(self) -> None:
        """Read scenes and pictures only while somebody looks: an idle console costs nothing."""
        if self.watched == (self._readers is not None):
            return
        if self._readers is not None:
            for reader in self._readers:
                reader.destroy()
            self._readers = self.moment = None  # who looks later must not see what is over
            self._pictures.clear()
            return
        self._watched_s = self._shown_s = time.monotonic()
        kind, topic = (CompressedImage, "image/compressed") if self._compressed else (Image, "image")
        self._readers = (_Reader(self.node, PickScene, f"{self._name}/scene", 1, self._shelf),
                         _Reader(self.node, kind, topic, WAITING, self._shelf),
                         _Reader(self.node, CameraInfo, "camera_info", 1, self._shelf))

    def _serve(self) -> None:
        while not self._calls.empty():
            client, request, future = self._calls.get()
            if not client.service_is_ready():
                future.set_exception(PerceptionError("the perception node does not answer: does it run?"))
                continue
            pending = client.call_async(request)
            pending.add_done_callback(lambda done, future=future: None if future.done() else future.set_result(done.result()))
            self._waiting.append((time.monotonic() + CALL_S, (client, pending), future))
        now, still = time.monotonic(), []
        for deadline, (client, pending), future in self._waiting:
            if not future.done() and now > deadline:
                client.remove_pending_request(pending)
                future.set_exception(PerceptionError(f"the perception node did not answer within {CALL_S:.0f} s"))
            elif not future.done():
                still.append((deadline, (client, pending), future))
        self._waiting = still

    def _draw(self, scenes: _Reader, pictures: _Reader, infos: _Reader) -> bool:
        """Make a moment of the newest scene; False = there is none that can be shown."""
        raw = scenes.newest()  # before the pictures: its own has come by then
        for taken in pictures.take():
            self._pictures[bytes(taken[4:12])] = taken  # the stamp stands behind the four bytes of the encapsulation
        while len(self._pictures) > PICTURES:
            self._pictures.popitem(last=False)
        self._info = infos.newest() or self._info
        if raw is None:
            return False
        try:
            scene = deserialize_message(raw, PickScene)
            picture = self._pictures.get(bytes(raw[4:12]))
            if picture is None and (self._pictures or time.monotonic() - self._watched_s < PATIENCE_S):
                return False  # the scene's own picture was lost on the way: show the next one
            kind = CompressedImage if self._compressed else Image
            image = None if picture is None else deserialize_message(picture, kind)
            info = None if self._info is None else deserialize_message(self._info, CameraInfo)
            self.moment = moment(scene, image, info)
        except PerceptionError as error:
            self.node.get_logger().warning(f"a picture cannot be shown: {error}", throttle_duration_sec=5.0)
            return False
        self.grasped.remember(scene)
        return True

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        prefix = self.node.resolve_service_name(self._name).strip("/")
        mine = {status.name.rsplit(": ", 1)[-1]: (status.level[0], status.message) for status in message.status
                if status.name.startswith(f"{prefix}: ")}
        if mine:
            self._health, self._heard_s = mine, time.monotonic()

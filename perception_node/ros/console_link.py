"""The console's side towards ROS: newest scene and picture while somebody looks, diagnostics, calls of the node's services."""

from __future__ import annotations

import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from perception_node.bag.image_view import image_view
from perception_node.errors import PerceptionError, unexpected
from perception_node.ros.console_priority import give_way
from perception_node.ros.console_view import Grasped, Moment, moment
from perception_node.ros.mailbox import Box, Mailbox
from perception_node.ros.scene_view import scene_view
from perception_node_msgs.msg import PickScene
from perception_node_msgs.srv import Ask, ReportOutcome

IDLE_S, CALL_WAIT_S = 2.0, 0.25
"""Longest wait of the threads, and while a call is under way: how late its time-out may be. Calls and answers end the wait."""
PICTURES = 24
"""Pictures kept, serialised, until the scene of the same stamp comes."""
WAITING = 8
"""Pictures that the middleware keeps between two looks. Source: a page's 95 ms and the node's time, at 60 Hz."""
SILENT_S = 3.0
RETRY_S = 0.1
PATIENCE_S = 3.0
"""Without any picture for so long, masks are shown on black."""
CALL_S = 3.0
_LEVELS = ("ok", "warning", "error", "stale")


class ConsoleLink:
    """Two threads: one spins a ROS node for calls and diagnostics, the other reads, best effort, and draws.

    What is drawn is drawn when its scene arrives: the node has just finished then, and rests until the next picture. Drawn at any
    other time, a picture would take processors from the one that is being computed.

    Args:
        node: to subscribe and call with. name: of the perception node, relative to the node's namespace. compressed: read
            `image/compressed` in place of `image`. rate_hz: moments drawn a second at most.
    """

    def __init__(self, node: Node, name: str, compressed: bool, rate_hz: float) -> None:
        self.node, self._period_s = node, 1.0 / rate_hz
        self._name, self._compressed = name, compressed
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._nudge = node.create_guard_condition(lambda: None)  # ends `spin_once` at once, unlike the executor's own `wake`
        self._ask: Any = node.create_client(Ask, f"{name}/ask")
        self._report: Any = node.create_client(ReportOutcome, f"{name}/report_outcome")
        self._calls: queue.SimpleQueue[tuple[Any, Any, Future[Any]]] = queue.SimpleQueue()
        self._waiting: list[tuple[float, Any, Future[Any]]] = []
        self._changes: queue.SimpleQueue[tuple[Callable[[], None], Future[None]]] = queue.SimpleQueue()
        self._pictures: OrderedDict[bytes, bytes] = OrderedDict()
        self._info: bytes | None = None
        self._calibration: tuple[bytes, Any] | None = None
        self._mail = Mailbox(node)
        self._boxes: tuple[Box, Box, Box] | None = None
        self._due_s, self._watched_s = 0.0, 0.0
        self.grasped = Grasped()
        self.moment: Moment | None = None
        self._watched = self._wanted = False
        self._health: dict[str, tuple[int, str]] = {}
        self._heard_s = time.monotonic()
        self._stopping = threading.Event()
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._threads: list[threading.Thread] = []

    def start(self, drawn: Callable[[], None]) -> None:
        """Start both threads; `drawn` is called whenever there is a new `moment`."""
        self._threads = [threading.Thread(target=self._run, name="console link", daemon=True),
                         threading.Thread(target=self._look, args=(drawn,), name="console drawing", daemon=True)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads, if they were started."""
        self._stopping.set()
        self._nudge.trigger()
        self._mail.wake()
        for thread in self._threads:
            thread.join()
        self._mail.destroy()
        self._executor.shutdown()

    @property
    def watched(self) -> bool:
        """Whether somebody looks: only then are scenes and pictures read."""
        return self._watched

    @watched.setter
    def watched(self, looked: bool) -> None:
        if looked != self._watched:
            self._watched = self._wanted = looked
            self._mail.wake()

    def want(self) -> None:
        """Somebody has taken the moment before: draw another when it is due. May be called from any thread."""
        if not self._wanted:
            self._wanted = True
            self._mail.wake()

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
        octets, kind = found
        try:
            scene = deserialize_message(octets, PickScene)
            grasp = next(grasp for grasp in scene.grasps if (grasp.track_id, grasp.kind) == (track_id, kind))
        except Exception as error:  # rclpy raises types of its own
            raise PerceptionError(f"the scene of number {track_id} cannot be read: {unexpected(error)}") from None
        request = ReportOutcome.Request(scene_stamp=scene.header.stamp, grasp=grasp, success=success,
                                        failure="" if success else failure)
        return kind, self._call(self._report, request)

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

    def _run(self) -> None:
        give_way()
        while not self._stopping.is_set():
            try:
                self._executor.spin_once(timeout_sec=CALL_WAIT_S if self._waiting else IDLE_S)
                self._serve()
            except Exception as error:  # rclpy raises types of its own; without this thread nobody would be answered any more
                if not self.node.context.ok():
                    return
                self.node.get_logger().error(f"calls and diagnostics: {unexpected(error)}", throttle_duration_sec=5.0)
                self._stopping.wait(RETRY_S)

    def _between(self, change: Callable[[], None]) -> None:
        """Have the thread that spins the node change it, between two rounds: in between, the executor holds on to what it has."""
        done: Future[None] = Future()
        self._changes.put((change, done))
        self._nudge.trigger()
        while not (done.done() or self._stopping.is_set()):
            wait([done], CALL_WAIT_S)

    def _look(self, drawn: Callable[[], None]) -> None:
        give_way()
        cv2.setNumThreads(1)  # pictures are small: a pool of threads only takes more cores from the node
        cleared = False
        while not self._stopping.is_set():
            if self.watched != (self._boxes is not None):
                self._between(self._subscribe)
            left_s = self._due_s - time.monotonic()
            if self._boxes is None or not self._wanted:
                self._mail.wait((), IDLE_S)
            elif left_s > 0.0:
                self._mail.wait((), left_s)
            elif not cleared:
                self._boxes[0].take()  # what lies here came some time ago: the next one is to be shown
                cleared = True
            elif self._mail.wait(self._boxes[:1], IDLE_S) and self._draw(*self._boxes):
                self._wanted = cleared = False
                self._due_s = max(self._due_s + self._period_s, time.monotonic())
                drawn()

    def _subscribe(self) -> None:
        """Begin or end reading scenes and pictures: only while somebody looks, so that an idle console costs nothing."""
        if self._boxes is not None:
            for box in self._boxes:
                self._mail.remove(box)
            self._boxes = self.moment = None  # who looks later must not see what is over
            self._pictures.clear()
            return
        self._watched_s = self._due_s = time.monotonic()
        kind, topic = (CompressedImage, "image/compressed") if self._compressed else (Image, "image")
        one, some = (QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT) for depth in (1, WAITING))
        self._boxes = (self._mail.subscribe(PickScene, f"{self._name}/scene", one), self._mail.subscribe(kind, topic, some),
                       self._mail.subscribe(CameraInfo, "camera_info", one))

    def _serve(self) -> None:
        while not self._changes.empty():
            change, done = self._changes.get()
            try:
                change()
            finally:
                done.set_result(None)
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

    def _draw(self, scenes: Box, pictures: Box, infos: Box) -> bool:
        """Make a moment of the scene that has come; False = it cannot be shown."""
        taken = scenes.take()  # before the pictures: its own has come by then
        while (picture := pictures.take()) is not None:
            self._pictures[bytes(picture[0][4:12])] = picture[0]  # the stamp stands behind the four bytes of the encapsulation
        while len(self._pictures) > PICTURES:
            self._pictures.popitem(last=False)
        while (info := infos.take()) is not None:
            self._info = info[0]
        if taken is None:
            return False
        raw = taken[0]
        try:
            octets = self._pictures.get(bytes(raw[4:12]))
            if octets is None and (self._pictures or time.monotonic() - self._watched_s < PATIENCE_S):
                return False  # the scene's own picture was lost on the way: show the next one
            scene = scene_view(raw)
            image = None if octets is None else deserialize_message(octets, CompressedImage) if self._compressed else (
                image_view(octets))
            known = self._calibration
            if self._info is not None and (known is None or known[0] != self._info[12:]):  # all but the stamp
                known = self._calibration = self._info[12:], deserialize_message(self._info, CameraInfo)
            self.moment = moment(scene, image, None if known is None else known[1])
        except Exception as error:  # one picture is not shown; the page goes on
            words = str(error) if isinstance(error, PerceptionError) else unexpected(error)
            self.node.get_logger().warning(f"a picture cannot be shown: {words}", throttle_duration_sec=5.0)
            return False
        self.grasped.remember(scene)
        return True

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        prefix = self.node.resolve_service_name(self._name).strip("/")
        mine = {status.name.rsplit(": ", 1)[-1]: (status.level[0], status.message) for status in message.status
                if status.name.startswith(f"{prefix}: ")}
        if mine:
            self._health, self._heard_s = mine, time.monotonic()

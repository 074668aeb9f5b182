"""The one thread that computes: takes from the inbox, decodes, runs the pipeline, hands on for publishing. Free of rclpy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from perception_node.bag.camera import foreign_calibration, frame_from_messages, odd_calibration
from perception_node.bag.depth_check import DepthCheck
from perception_node.bag.reader import RESTART_NS
from perception_node.bag.watch import Exposure, UnusablePicture, Watch
from perception_node.errors import FrameError, PerceptionError, unexpected
from perception_node.locate.belt import calibrated_plane
from perception_node.pipeline import Pipeline
from perception_node.ros import drops as reasons
from perception_node.ros.belt import BeltInput
from perception_node.ros.drops import Rate
from perception_node.ros.inbox import Inbox, Item, Raw
from perception_node.types import CameraModel, Frame, Scene


@dataclass(frozen=True)
class Links:
    """What the worker needs from the node: message decoding, the clock, publishing, and somewhere to say things.

    Attributes:
        decode: (kind "colour" | "depth" | "info", serialised bytes) -> message; raises FrameError.
        now_ns: the node's clock, 0 = no time yet. publish: gets the scene and its frame; of a beacon, the pose and its frame_id.
        say: (subject, words, level "warn" | "error"); the same subject is said again only after a while.
    """

    decode: Callable[[str, bytes], Any]
    now_ns: Callable[[], int]
    publish: Callable[[Any, Any], None]
    say: Callable[[str, str, str], None]


class Computation(Protocol):
    """What a worker asks of all that it may run: the pipeline, or the search for a beacon. `config.node` holds the time limits."""

    @property
    def config(self) -> Any: ...

    def reset(self) -> None: ...

    def update_config(self, config: Any) -> None: ...


class CameraWorker:
    """Computes on the newest frame until stopped. A bad frame costs one frame. What is computed is a child's `_process`."""

    def __init__(self, computation: Computation, inbox: Inbox, links: Links) -> None:
        self.inbox, self.drops, self.links = inbox, inbox.drops, links
        self.results = Rate()
        self.age_s: float | None = None
        """Stamp to publishing of the last result, seconds."""
        self.timing_ms: dict[str, float] = {}
        self.resets, self.last_reset = 0, "none"
        self.frame_id = ""
        self._computation = computation
        self._new_config: Any = None
        self._last_stamp_ns: int | None = None
        self._generation = inbox.generation
        self._info: tuple[bytes, Any] | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="perception", daemon=True)

    @property
    def exposure(self) -> Exposure | None:
        """Of the last picture, None = not looked at."""
        return None

    @property
    def doubts(self) -> list[tuple[str, str]]:
        """What makes results wrong without any error: ("warn" | "error", words)."""
        return []

    def start(self) -> None:
        """Start computing."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the frame at hand and end the thread."""
        self._stopping = True
        self.inbox.close()
        self._thread.join()

    def update_config(self, config: Any) -> None:
        """Take over live parameters before the next frame."""
        self._new_config = config

    def _run(self) -> None:
        while not self._stopping:
            item = self.inbox.take(timeout_s=1.0)
            if item is None:
                continue
            try:
                self._process(item)
            except FrameError as error:
                self._drop(reasons.BAD_FRAME, str(error))
            except UnusablePicture as error:
                self._drop(error.reason, str(error))
            except PerceptionError as error:
                self._drop(reasons.FAILED, str(error))
            except Exception as error:  # a fault of ours must cost a frame, not the cell
                self._computation.reset()
                self.resets += 1
                self._drop(reasons.FAILED, unexpected(error), "error")

    def _process(self, item: Item) -> None:
        raise NotImplementedError

    def _begin(self, item: Item) -> Any:
        """The decoded calibration of a picture whose time is usable, else None, and that is counted."""
        if self._new_config is not None:
            config, self._new_config = self._new_config, None
            self._computation.update_config(config)
        self._restart_if_needed(item)
        if not self._admit(item.colour.stamp_ns):
            return None
        if item.info is None:
            self._drop(reasons.NO_CALIBRATION, "pictures come, but no camera_info: expected it with every picture")
            return None
        return self._calibration(item.info)

    def _follow(self, frame_id: str) -> None:
        """Start over when the pictures' frame is another one."""
        if frame_id != self.frame_id:
            if self.frame_id:
                self._reset(f"the picture's frame_id changed from {self.frame_id!r} to {frame_id!r}")
            self.frame_id = frame_id

    def _wanted(self, item: Item, stamp_ns: int) -> bool:
        """False (and counted) when the result came too late: the clock has jumped meanwhile, or it is too old."""
        if item.generation != self.inbox.generation:
            self._drop(reasons.RESET, "")
            return False
        return self._young(stamp_ns)

    def _restart_if_needed(self, item: Item) -> None:
        if item.generation != self._generation:
            self._generation = item.generation
            self._reset("the clock jumped")
        last = self._last_stamp_ns
        if last is not None and item.colour.stamp_ns < last - RESTART_NS:
            self._reset(f"the pictures' stamps went back by {1e-9 * (last - item.colour.stamp_ns):.1f} s")

    def _reset(self, why: str) -> None:
        self._computation.reset()
        self._last_stamp_ns = None
        self.resets, self.last_reset = self.resets + 1, why
        self.links.say("reset", f"starting over, tracks are forgotten: {why}", "warn")

    def _admit(self, stamp_ns: int) -> bool:
        """False (and counted) when the picture's time is not usable."""
        if stamp_ns <= 0:
            raise FrameError(f"colour: expected a stamp (time of exposure), got {stamp_ns} ns")
        last = self._last_stamp_ns
        if last is not None and stamp_ns <= last:
            what = "repeats the last stamp" if stamp_ns == last else f"is {1e-6 * (last - stamp_ns):.1f} ms older than the last one"
            self._drop(reasons.OUT_OF_ORDER, f"a picture {what}")
            return False
        if not self._young(stamp_ns):
            return False
        self._last_stamp_ns = stamp_ns
        return True

    def _young(self, stamp_ns: int) -> bool:
        limit_s, now_ns = self._computation.config.node.max_age_s, self.links.now_ns()
        age_s = 1e-9 * (now_ns - stamp_ns)
        if now_ns == 0:
            self._drop(reasons.FROM_THE_FUTURE, "use_sim_time is set, but no /clock has come")
        elif age_s > limit_s:
            self._drop(reasons.TOO_OLD, f"expected an age of at most {limit_s:g} s, got {age_s:.3f} s" + _clock_hint(age_s))
        elif age_s < -limit_s:
            self._drop(reasons.FROM_THE_FUTURE, f"a picture is stamped {-age_s:.3f} s ahead of the clock" + _clock_hint(age_s))
        else:
            return True
        return False

    def _calibration(self, raw: Raw) -> Any:
        """The decoded CameraInfo; decoded again only when more than its stamp (bytes 4 to 12) changed."""
        if self._info is None or self._info[0] != raw.data[12:]:
            self._info = raw.data[12:], self.links.decode("info", raw.data)
        return self._info[1]

    def _drop(self, reason: str, words: str, level: str = "warn") -> None:
        self.drops.add(reason, words)
        if words:
            self.links.say(reason, f"frame dropped ({reason}): {words}", level)


class Worker(CameraWorker):
    """Runs the pipeline."""

    def __init__(self, pipeline: Pipeline, inbox: Inbox, belt: BeltInput, links: Links) -> None:
        super().__init__(pipeline, inbox, links)
        self.last: tuple[Frame, Scene] | None = None
        self.pipeline, self.belt, self._watch = pipeline, belt, Watch()
        self._camera: tuple[Any, CameraModel] | None = None
        """The last calibration's message, and what it was read as."""
        self._depth_check = DepthCheck()
        self._calibration_doubt, self._belt_doubt = "", ""

    @property
    def exposure(self) -> Exposure | None:
        """Of the last picture, None = none came."""
        return self._watch.exposure

    @property
    def doubts(self) -> list[tuple[str, str]]:
        """Depth in a wrong unit, a belt that is not where it was calibrated, depth that is not aligned to colour, the
        calibration of another camera or picture size, a belt velocity that the packages contradict."""
        found = (("error", self._depth_check.unit), ("warn", self._depth_check.plane), ("warn", self._depth_check.alignment),
                 ("warn", self._calibration_doubt), ("warn", self._belt_doubt))
        return [(level, words) for level, words in found if words]

    def _process(self, item: Item) -> None:
        began = time.perf_counter()
        info = self._begin(item)
        if info is None:
            return
        colour = self.links.decode("colour", item.colour.data)
        depth = None if item.depth is None else self.links.decode("depth", item.depth.data)
        camera = self._camera[1] if self._camera is not None and self._camera[0] is info else info
        frame = frame_from_messages(colour, depth, camera)
        self._camera = info, frame.camera
        limits = self.pipeline.config.node
        self._watch.check(item, frame, limits.max_age_s, limits.detect_frozen)
        self._follow(frame.frame_id)
        self._calibration_doubt = foreign_calibration(info.header.frame_id, frame.frame_id) or odd_calibration(frame.camera)
        decoded = time.perf_counter()
        config = self.pipeline.config
        velocity = self.belt.velocity(frame.frame_id, config.belt, config.track.max_speed_m_s)
        scene = self.pipeline.process(frame, velocity)
        if velocity is not None and not self.pipeline.belt_reading_used:
            self.belt.contradicted()
        self._belt_doubt = self.pipeline.belt_doubt
        computed = time.perf_counter()
        if not self._wanted(item, frame.stamp_ns):
            return
        self.last = frame, scene  # before publishing: who asks for this frame when it arrives must get it
        self.links.publish(scene, frame)
        self.age_s = 1e-9 * (self.links.now_ns() - frame.stamp_ns)
        self.timing_ms = {"decode": 1e3 * (decoded - began), **scene.timing_ms, "publish": 1e3 * (time.perf_counter() - computed)}
        self.results.tick()
        self._depth_check.look(frame, scene.segmentation.labels, calibrated_plane(config.belt))
        for level, words in self.doubts:
            self.links.say(words[:20], words, level)


def _clock_hint(age_s: float) -> str:
    if abs(age_s) < 60.0:
        return ""
    return ": with a recording play it with --clock and set use_sim_time, else set the camera's or this machine's clock"

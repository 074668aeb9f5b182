"""The worker with a pipeline that a test controls: each fault costs one frame, nothing stale is published."""

from __future__ import annotations

import struct
import threading
import time
from types import SimpleNamespace as Thing

import numpy as np
import pytest

from perception_node.config import BeltConfig, Config, NodeConfig, from_flat
from perception_node.errors import FrameError, PerceptionError
from perception_node.ros.belt import BeltInput
from perception_node.ros.diagnostics import ERROR, OK, WARN, Status, camera_status, pipeline_status, summary, transport_hint
from perception_node.ros.drops import Drops
from perception_node.ros.inbox import Inbox
from perception_node.ros.worker import Links, Worker
from perception_node.types import Scene, Segmentation

SECOND = 10**9


def raw(stamp_ns, rest=b"good"):
    return b"\0\1\0\0" + struct.pack("<iI", *divmod(stamp_ns, SECOND)) + rest


class Stand:
    """A worker, its surroundings, and what it published and said."""

    def __init__(self):
        self.config = Config(node=NodeConfig(depth="off", detect_frozen=False))
        self.now_ns = 0
        self.published, self.said, self.resets = [], [], 0
        self.error = None
        self.while_computing = lambda: None
        self.inbox = Inbox(self.config.node, Drops())
        self.done = threading.Condition()
        self.worker = Worker(self, self.inbox, BeltInput(), Links(self.decode, lambda: self.now_ns, self.publish, self.say))
        drops_add = self.inbox.drops.add

        def add(reason, words="", count=1):
            with self.done:
                drops_add(reason, words, count)
                self.done.notify_all()
        self.inbox.drops.add = add
        self.worker.start()

    # the pipeline
    model_id, runtime, device = "m 0", "onnxruntime", "cpu"
    belt_reading_used, belt_doubt = True, ""

    def process(self, frame, velocity=None):
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self.while_computing()
        labels = np.zeros(frame.rgb.shape[:2], np.uint16)
        return Scene(frame.stamp_ns, frame.frame_id, Segmentation(labels, ()), (), (), (), (), None, {"segment": 1.0}, "no depth",
                     False, "m 0")

    def reset(self):
        self.resets += 1

    def update_config(self, config):
        self.config = config

    # the links
    def decode(self, kind, data):
        sec, nanosec = struct.unpack_from("<iI", data, 4)
        header = Thing(stamp=Thing(sec=sec, nanosec=nanosec), frame_id="other" if data.endswith(b"other") else "camera")
        if kind == "info":
            focal_px = float(data[-1] - 48) * 10.0 if data[-1:].isdigit() else 10.0
            return Thing(header=header, width=8, height=6, k=[focal_px, 0, 3.5, 0, 10.0, 2.5, 0, 0, 1], d=[], distortion_model="",
                         binning_x=0, binning_y=0, roi=Thing(x_offset=0, y_offset=0, width=0, height=0))
        if data.endswith(b"bad"):
            raise FrameError("colour: expected something else")
        grey = 0 if data.endswith(b"dark") else 90
        return Thing(header=header, data=bytes([grey] * 144), encoding="rgb8", width=8, height=6, step=24, is_bigendian=0)

    def publish(self, scene, frame):
        with self.done:
            self.published.append(scene.stamp_ns)
            self.done.notify_all()

    def say(self, subject, words, level):
        self.said.append((subject, words, level))

    def send(self, stamp_ns, rest=b"good", now_ns=None, info=True):
        """One picture; waits until it is published or counted."""
        self.now_ns = stamp_ns if now_ns is None else now_ns
        before = self.outcomes()
        if info:
            self.inbox.put_info(raw(stamp_ns))
        self.inbox.put_colour(raw(stamp_ns, rest))
        with self.done:
            assert self.done.wait_for(lambda: self.outcomes() > before, 10.0)

    def outcomes(self):
        return len(self.published) + sum(self.inbox.drops._total.values())

    def dropped(self, reason):
        return self.inbox.drops.total(reason)


@pytest.fixture
def stand():
    made = Stand()
    yield made
    made.worker.stop()


def test_good_frames_are_published(stand):
    stand.send(1 * SECOND)
    stand.send(2 * SECOND)
    assert stand.published == [1 * SECOND, 2 * SECOND]
    assert stand.worker.last[0].stamp_ns == 2 * SECOND


@pytest.mark.parametrize(("error", "reason"), [(FrameError("colour: dark"), "bad_frame"),
                                               (PerceptionError("locate: lost"), "failed"), (ZeroDivisionError("ours"), "failed")])
def test_an_error_costs_one_frame(stand, error, reason):
    stand.error = error
    stand.send(1 * SECOND)
    assert stand.dropped(reason) == 1
    assert str(error) in stand.said[-1][1]
    stand.send(2 * SECOND)
    assert stand.published == [2 * SECOND]


def test_each_picture_has_the_calibration_that_came_last(stand):
    seen = []
    for number, focal in enumerate((1, 1, 2, 1, 0, 0, 2), start=1):  # 0: not calibrated
        stand.inbox.put_info(raw(number * SECOND, str(focal).encode()))
        stand.send(number * SECOND, info=False)
        seen.append(stand.worker.last[0].camera.fx)
    assert seen == [10.0, 10.0, 20.0, 10.0, 10.0, 10.0, 20.0]
    assert stand.dropped("bad_frame") == 2


def test_bad_message_and_missing_calibration(stand):
    stand.send(1 * SECOND, info=False)
    assert stand.dropped("no_calibration") == 1
    stand.send(2 * SECOND, b"bad")
    assert stand.dropped("bad_frame") == 1
    stand.send(0)
    assert stand.dropped("bad_frame") == 2  # stamp zero
    assert stand.published == []


def test_black_and_frozen_pictures_are_counted_and_not_published(stand):
    stand.send(1 * SECOND, b"dark")
    assert stand.dropped("blind") == 1
    assert "black" in stand.said[-1][1]
    stand.config = from_flat({"node.detect_frozen": True}, stand.config)
    for tenth in range(20, 27):
        stand.send(tenth * SECOND // 10)
    assert stand.dropped("frozen") == 1
    assert stand.published == [tenth * SECOND // 10 for tenth in range(20, 26)]
    stand.send(2_700_000_000, b"new noise")
    assert stand.published[-1] == 2_700_000_000
    camera = statuses(stand)[0]
    assert camera.level == ERROR
    assert "same bytes for 0.6 s" in camera.words
    assert float(camera.values["brightness"]) == pytest.approx(90 / 255, abs=1e-3)


def test_age_is_judged_before_and_after_computing(stand):
    stand.send(1 * SECOND, now_ns=3 * SECOND)
    assert stand.dropped("too_old") == 1
    stand.send(10 * SECOND, now_ns=3 * SECOND)
    assert stand.dropped("from_the_future") == 1
    stand.send(11 * SECOND, now_ns=0)
    assert "no /clock" in stand.said[-1][1]

    def slow():
        stand.now_ns += 2 * SECOND
    stand.while_computing = slow
    stand.send(12 * SECOND)
    assert stand.dropped("too_old") == 2
    stand.send(4000 * SECOND, now_ns=13 * SECOND)
    assert "use_sim_time" in stand.said[-1][1]
    assert stand.published == []


def test_order_duplicates_and_new_beginnings(stand):
    stand.send(100 * SECOND)
    stand.send(100 * SECOND)
    stand.send(100 * SECOND - 5_000_000)
    assert stand.dropped("out_of_order") == 2
    assert stand.resets == 0
    stand.send(10 * SECOND)  # the recording starts again
    assert stand.resets == 1
    assert stand.published == [100 * SECOND, 10 * SECOND]
    assert any("went back by 90.0 s" in words for _, words, _ in stand.said)


def test_clock_jump_while_computing_publishes_nothing(stand):
    stand.send(1 * SECOND)
    stand.while_computing = stand.inbox.reset
    stand.send(2 * SECOND)
    assert stand.dropped("reset") == 1
    stand.while_computing = lambda: None
    stand.send(3 * SECOND)
    assert stand.published == [1 * SECOND, 3 * SECOND]
    assert stand.resets == 1


def test_change_of_frame_id_starts_over(stand):
    stand.send(1 * SECOND)
    stand.send(2 * SECOND, b"other")
    assert stand.resets == 1
    assert any("from 'camera' to 'other'" in words for _, words, _ in stand.said)


def test_live_parameters_reach_the_pipeline(stand):
    changed = from_flat({"segment.score_threshold": 0.7}, stand.config)
    stand.worker.update_config(changed)
    stand.send(1 * SECOND)
    assert stand.config is changed


def statuses(stand, publishers=1):
    counts, topics = {"colour": publishers, "depth": 0, "info": 1}, {"colour": "/image", "depth": "/depth"}
    camera = camera_status(stand.inbox, counts, topics, stand.worker.exposure, stand.worker.doubts)
    return camera, pipeline_status(stand.worker)


def test_what_makes_results_wrong_in_silence_is_said(stand, monkeypatch):
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    stand.send(1 * SECOND)
    assert statuses(stand)[0].level == OK
    stand.send(2 * SECOND, b"other")  # its calibration is the first camera's
    camera, _ = statuses(stand)
    assert camera.level == WARN
    assert "camera_info is of frame 'camera', the pictures are of 'other'" in camera.words
    assert stand.published == [1 * SECOND, 2 * SECOND]
    stand.worker._depth_check.unit = "depth: its median is 900 m"
    assert statuses(stand)[0].level == ERROR
    stand.send(3 * SECOND)
    stand.send(4 * SECOND)  # what the third has to say is said
    stand.worker._depth_check.unit = ""
    assert statuses(stand)[0].level == OK
    assert {words for _, words, level in stand.said if level == "error"} == {"depth: its median is 900 m"}


def test_a_belt_velocity_that_does_not_count_is_said(stand):
    stand.worker.belt.put(twist(250.0, "camera"))
    stand.send(1 * SECOND)
    assert "belt velocity estimated from the packages: expected a belt_velocity of at most 3 m/s" in statuses(stand)[1].words
    assert statuses(stand)[1].level == WARN


def test_a_belt_velocity_that_the_packages_contradict_is_said_and_logged(stand):
    stand.worker.belt.put(twist(0.36, "camera"))
    stand.send(1 * SECOND)
    assert statuses(stand)[1].values["belt_velocity"] == "measured, in the camera's frame"
    doubt = "belt_velocity is contradicted: it says 0.360 m/s, 5 packages move at 0.300 m/s"
    stand.belt_reading_used, stand.belt_doubt = False, doubt
    stand.send(2 * SECOND)
    stand.send(3 * SECOND)  # what the second has to say is said
    camera, pipeline = statuses(stand)
    assert (camera.level, camera.words.split("; ")[-1]) == (WARN, doubt)
    assert pipeline.values["belt_velocity"] == "estimated from the packages: they contradict belt_velocity"
    assert doubt in {words for _, words, level in stand.said if level == "warn"}
    stand.belt_reading_used, stand.belt_doubt = True, ""
    stand.send(4 * SECOND)
    camera, pipeline = statuses(stand)
    assert camera.level == OK
    assert pipeline.values["belt_velocity"] == "measured, in the camera's frame"


def test_a_node_without_a_gripper_says_so(stand):
    stand.send(1 * SECOND)
    off = {"gripper.suction.enabled": False}
    stand.worker.update_config(from_flat(off, stand.config))
    stand.send(2 * SECOND)
    assert "no gripper" not in statuses(stand)[1].words
    stand.worker.update_config(from_flat(off | {"gripper.parallel_jaw.enabled": False}, stand.config))
    stand.send(3 * SECOND)
    assert "no grasp is proposed (gripper.suction.enabled, gripper.parallel_jaw.enabled)" in statuses(stand)[1].words
    assert statuses(stand)[1].level == WARN


def test_statuses(stand, monkeypatch):
    for name in ("FASTDDS_BUILTIN_TRANSPORTS", "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    camera, _ = statuses(stand)
    assert camera.level == ERROR
    assert "loses large pictures" in camera.words
    assert "nobody publishes /image" in statuses(stand, publishers=0)[0].words
    stand.send(1 * SECOND)
    camera, pipeline = statuses(stand)
    assert camera.level == OK
    assert pipeline.level == WARN  # degraded
    assert (pipeline.values["results"], pipeline.values["model_id"], pipeline.values["device"]) == ("1", "m 0", "cpu")
    stand.send(2 * SECOND, b"bad")
    assert "1 frames dropped (bad_frame): colour: expected something else" in statuses(stand)[0].words
    for _ in range(8):
        stand.inbox.colour_rate.tick()
        stand.inbox.drops.add("superseded")
    assert statuses(stand)[1].level == ERROR
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "LARGE_DATA")
    assert transport_hint() == ""
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    assert "LOCALHOST" in transport_hint()
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "ours.xml")
    assert transport_hint() == ""


def test_the_nodes_line_says_the_worst():
    line = summary(Status("node", words="active"), [Status("camera", WARN, "late"), Status("pipeline", ERROR, "dead")])
    assert (line.level, line.words) == (ERROR, "pipeline: dead; camera: late")
    assert summary(Status("node", words="active"), [Status("camera", words="30 Hz")]).words == "active"


def test_slow_and_doubled_cameras_are_said(stand):
    stand.inbox.colour_rate._times.extend([1.0, 2.0])
    stand.inbox.colour_rate.last_s = time.monotonic()
    assert "only every 1.0 s" in statuses(stand)[0].words
    assert "2 publishers on /image" in statuses(stand, publishers=2)[0].words


def test_the_worst_comes_first():
    status = Status("camera", words="30 Hz")
    status.worsen(WARN, "late")
    status.worsen(ERROR, "dead")
    status.worsen(WARN, "odd")
    assert (status.level, status.words) == (ERROR, "dead; late; odd")


def twist(x, frame_id, y=0.0):
    return Thing(header=Thing(frame_id=frame_id), twist=Thing(linear=Thing(x=x, y=y, z=0.0)))


def test_belt_velocity():
    belt, calibrated = BeltInput(), BeltConfig(direction=(0.0, 1.0, 0.0))
    assert belt.velocity("camera", calibrated, 3.0) is None
    belt.put(twist(0.3, "camera", 0.1))
    assert belt.velocity("camera", BeltConfig(), 3.0).tolist() == [0.3, 0.1, 0.0]
    belt.put(twist(0.3, "belt"))
    assert belt.velocity("camera", calibrated, 3.0).tolist() == [0.0, 0.3, 0.0]
    assert belt.velocity("camera", BeltConfig(), 3.0) is None
    assert "belt.direction" in belt.words
    assert belt.refused
    belt.put(twist(float("nan"), "camera"))
    assert belt.velocity("camera", calibrated, 3.0) is None
    for frame_id, x in (("belt", 250.0), ("belt", -3.1), ("camera", 250.0)):  # millimetres a second
        belt.put(twist(x, frame_id))
        assert belt.velocity("camera", calibrated, 3.0) is None
        assert belt.refused
        assert "at most 3 m/s (track.max_speed_m_s), got" in belt.words
    belt.put(twist(-0.3, "belt"))
    assert belt.velocity("camera", calibrated, 3.0).tolist() == [0.0, -0.3, 0.0]
    assert not belt.refused

"""The fault list on one running node: what is published, what diagnostics say, the next good frame works, memory is flat.

Each test marked `fault` is a row of docs/reliability.md; `python test/faults.py` renews the table from what the tests saw.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from perception_node.bench.usage import ProcessUse

SECOND = 10**9
ANOTHER = "another_optical_frame"


def stamp_of(message):
    return message.header.stamp.sec * SECOND + message.header.stamp.nanosec


def total(running):
    """Frames that became a result or were dropped with a reason."""
    values = running.statuses["pipeline"][2]
    return int(values["results"]) + sum(int(value) for name, value in values.items() if name.startswith("dropped_"))


@pytest.fixture
def scenes(running):
    return running.scenes()


@pytest.fixture
def good(running, scenes, frames, messages):
    """Sends one good frame and waits for its scene: before a test, so that the node is well, and after it by the test."""
    def send(number=0):
        stamp = running.next_stamp_ns()
        running.send(*messages.triple(frames[number], stamp))
        running.wait_until(lambda: any(stamp_of(scene) == stamp for scene in scenes), "the good frame's scene")
        return next(scene for scene in scenes if stamp_of(scene) == stamp)
    send(0)
    scenes.clear()
    return send


@pytest.fixture
def seen(running, scenes, good, fault):
    """Judge a fault: counted once as `reason`, nothing published, said with `words` at `level`; then a good frame works."""
    def judge(before, reason, words, level=2):
        running.wait_until(lambda: running.drops(reason) == before + 1, f"counted as {reason}: {before} + 1")
        running.wait_until(lambda: words in running.said("camera", "pipeline"), f"{words!r} is said")
        name = next(name for name in ("camera", "pipeline") if words in running.statuses[name][1])
        assert running.statuses[name][0] >= level
        assert not scenes
        fault("nothing", name, words, level, f"dropped_{reason} + 1")
        assert good(1).packages
    return judge


@pytest.fixture(scope="module", autouse=True)
def memory(running):
    """Memory, descriptors and threads of the node before the faults."""
    running.wait_until(lambda: "pipeline" in running.statuses, "the node's statuses")
    return ProcessUse.of(running.process.process.pid)


@pytest.mark.fault("camera silent")
def test_silence_is_an_error_within_a_second_of_the_nodes_own_time(running, good, frames, messages, fault):
    """Judged by the stamps in diagnostics; by how much a busy machine fires the node's timer late is taken off."""
    for number in (1, 2):
        good(number)
    running.wait_until(lambda: running.statuses["camera"][0] < 2, "the camera lives")
    running.history.clear()
    running.wait_until(lambda: running.statuses["camera"][0] == 2, "the silent camera is an ERROR")
    fault("nothing", "camera", "no picture for", 2)
    stamps, levels, silences = zip(*[(stamp, camera[0], float(camera[2]["colour_silent_s"]))
                                     for stamp, camera in ((stamp, statuses["camera"]) for stamp, statuses in running.history)],
                                   strict=True)
    first = levels.index(2)
    assert first > 0, "expected diagnostics before the ERROR, too"
    late_s = max(0.0, 1e-9 * (stamps[first] - stamps[first - 1]) - 0.2)
    assert silences[first - 1] <= 0.8
    assert 0.8 < silences[first] <= 1.0 + late_s
    assert "no picture for" in running.statuses["node"][1]
    good(3)

    def play():
        running.send(*messages.triple(frames[4], running.next_stamp_ns()))
    running.wait_until(lambda: running.statuses["camera"][0] < 2, "back by itself", each=play)


@pytest.mark.fault("camera at 1 Hz")
def test_a_slow_camera_is_computed_and_said(running, good, fault):
    running.settle()  # a status from before the good frame may speak of a silence that this frame has ended
    running.wait_until(lambda: float(running.statuses["camera"][2]["colour_silent_s"]) > 0.9, "a second without pictures")
    assert good(1).packages
    running.wait_until(lambda: "pictures come only every" in running.said("camera"), "the slow camera is said")
    fault("every picture's scene", "camera", "pictures come only every", 1)


@pytest.mark.fault("burst of eight pictures")
def test_a_burst_gives_the_newest_and_counts_the_others(running, scenes, good, frames, messages, fault):
    running.settle()
    before = total(running)
    burst = [messages.triple(frames[number], running.next_stamp_ns() + 1_000_000 * number) for number in range(8)]
    for triple in burst:
        running.send(*triple)
    newest = stamp_of(burst[-1][0])
    running.wait_until(lambda: any(stamp_of(scene) == newest for scene in scenes), "the newest picture's scene")
    good(0)  # also shows what of the burst never got to the node
    running.wait_until(lambda: total(running) - before == 9, f"all nine are accounted for: {total(running) - before}")
    stamps = [stamp_of(scene) for scene in scenes]
    assert stamps == sorted(stamps)
    fault("the newest picture's scene", "pipeline", "", 0, "dropped_superseded and dropped_lost: all are accounted for")


@pytest.mark.parametrize(("offset_s", "reason", "words"), [
    pytest.param(-60.0, "too_old", "expected an age of at most 5 s", marks=pytest.mark.fault("stamp too old")),
    pytest.param(60.0, "from_the_future", "ahead of the clock", marks=pytest.mark.fault("stamp in the future")),
    pytest.param(-0.1, "out_of_order", "older than the last one", marks=pytest.mark.fault("stamps out of order")),
    pytest.param(0.0, "out_of_order", "repeats the last stamp", marks=pytest.mark.fault("duplicate stamp")),
    pytest.param(None, "bad_frame", "expected a stamp (time of exposure), got 0 ns", marks=pytest.mark.fault("stamp zero")),
])
def test_wrong_stamps(running, good, scenes, seen, frames, messages, offset_s, reason, words):
    last = stamp_of(good(2))
    scenes.clear()
    before = running.drops(reason)
    reference = last if reason == "out_of_order" else running.next_stamp_ns()
    running.send(*messages.triple(frames[3], 0 if offset_s is None else reference + int(offset_s * 1e9)))
    seen(before, reason, words, 1 if reason == "out_of_order" else 2)


@pytest.mark.fault("frame_id changes")
def test_another_frame_id_starts_over(running, good, scenes, frames, messages, fault):
    good(1)
    running.settle()
    resets = int(running.statuses["pipeline"][2]["resets"])
    triple = messages.triple(frames[2], running.next_stamp_ns())
    for message in triple:
        message.header.frame_id = ANOTHER
    running.send(*triple)
    running.wait_until(lambda: any(scene.header.frame_id == ANOTHER for scene in scenes), "a scene in the other frame")
    running.wait_until(lambda: int(running.statuses["pipeline"][2]["resets"]) == resets + 1, "one reset is counted")
    assert f"to '{ANOTHER}'" in running.statuses["pipeline"][2]["last_reset"]
    assert next(scene for scene in scenes if scene.header.frame_id == ANOTHER).packages
    assert good(3).header.frame_id != ANOTHER
    fault("a scene in the new frame, tracks start anew", "pipeline", "", 0, "resets + 1, last_reset says why")


def truncated(colour, depth, info):
    colour.data = colour.data[: len(colour.data) // 2]


def huge(colour, depth, info):
    colour.width = colour.height = 2**31


def other_size(colour, depth, info):
    depth.height -= 1


def short_step(colour, depth, info):
    colour.step = 3


def unknown_encoding(colour, depth, info):
    colour.encoding = "yuv999"


def no_frame_id(colour, depth, info):
    colour.header.frame_id = ""


def depth_frame_id(colour, depth, info):
    depth.header.frame_id = ANOTHER


def zero_calibration(colour, depth, info):
    info.k = np.zeros(9)


@pytest.mark.parametrize(("spoil", "words"), [
    pytest.param(truncated, "colour: expected", marks=pytest.mark.fault("truncated data")),
    pytest.param(huge, "2147483648", marks=pytest.mark.fault("impossible size")),
    pytest.param(other_size, "640x479", marks=pytest.mark.fault("depth of another size")),
    pytest.param(short_step, "step", marks=pytest.mark.fault("step too short")),
    pytest.param(unknown_encoding, "yuv999", marks=pytest.mark.fault("unknown encoding")),
    pytest.param(no_frame_id, "expected a frame_id", marks=pytest.mark.fault("no frame_id")),
    pytest.param(depth_frame_id, "publish depth aligned to colour", marks=pytest.mark.fault("depth in another frame")),
    pytest.param(zero_calibration, "expected focal lengths above 0 px", marks=pytest.mark.fault("camera_info all zero")),
])
def test_a_bad_frame_costs_one_frame(running, seen, frames, messages, spoil, words):
    before = running.drops("bad_frame")
    triple = messages.triple(frames[5], running.next_stamp_ns())
    spoil(*triple)
    running.send(*triple)
    seen(before, "bad_frame", words)
    assert "Traceback" not in running.process.text


@pytest.mark.parametrize(("value", "words"), [
    pytest.param(3, "got a black one", marks=pytest.mark.fault("black picture")),
    pytest.param(254, "got a blown out one", marks=pytest.mark.fault("saturated picture")),
])
def test_pictures_without_anything_in_them(running, seen, frames, messages, value, words):
    before = running.drops("blind")
    colour, depth, info = messages.triple(frames[5], running.next_stamp_ns())
    noise = np.random.default_rng(0).integers(-2, 2, frames[5].rgb.shape)
    running.send(messages.image((value + noise).clip(0, 255).astype(np.uint8), "rgb8", stamp_of(colour)), depth, info)
    seen(before, "blind", words)


@pytest.mark.parametrize("frozen", [pytest.param("colour", marks=pytest.mark.fault("frozen picture")),
                                    pytest.param("depth", marks=pytest.mark.fault("frozen depth"))])
def test_the_same_bytes_under_new_stamps(running, good, scenes, seen, frames, messages, frozen):
    """The same bytes again, stamped longer after the first ones than a picture may be old (here 5 s)."""
    before, first = running.drops("frozen"), running.next_stamp_ns(ahead_s=-2.5)
    colour, depth, info = messages.triple(frames[6], first)
    running.send(colour, depth, info)
    running.wait_until(lambda: any(stamp_of(scene) == first for scene in scenes), "the first one's scene")
    scenes.clear()
    again = running.next_stamp_ns(ahead_s=2.7)
    fresh = messages.triple(frames[6], again)
    for message in (colour, depth, info):
        message.header = fresh[0].header
    running.send(colour if frozen == "colour" else fresh[0], depth if frozen == "depth" else fresh[1], info)
    seen(before, "frozen", f"{frozen}: expected new pixels, got the same bytes")


@pytest.mark.parametrize(("value", "encoding"), [
    pytest.param(math.nan, "32FC1", marks=pytest.mark.fault("depth all NaN")),
    pytest.param(math.inf, "32FC1", marks=pytest.mark.fault("depth all infinite")),
    pytest.param(0, "16UC1", marks=pytest.mark.fault("depth all 0")),
    pytest.param(65535, "16UC1", marks=pytest.mark.fault("depth all 65535")),
])
def test_depth_without_readings_is_degraded(running, good, scenes, frames, messages, fault, value, encoding):
    colour, _, info = messages.triple(frames[1], running.next_stamp_ns())
    pixels = np.full(frames[1].rgb.shape[:2], value, np.float32 if encoding == "32FC1" else np.uint16)
    running.send(colour, messages.image(pixels, encoding, stamp_of(colour)), info)
    running.wait_until(lambda: scenes, "a scene")
    assert not scenes[0].depth_used
    assert "depth without readings" in scenes[0].degraded
    assert all(grasp.degraded for grasp in scenes[0].grasps)
    running.wait_until(lambda: "depth without readings" in running.said("pipeline"), "diagnostics say so")
    fault("a degraded scene, `depth_used` false", "pipeline", "depth without readings", 1)
    assert good(2).depth_used


@pytest.mark.fault("depth 30 ms beside colour")
def test_skew_is_degraded_and_said_with_its_size(running, good, scenes, frames, messages, fault):
    def skewed():
        colour, depth, info = messages.triple(frames[1], running.next_stamp_ns())
        depth.header = messages.header(stamp_of(colour) + 30_000_000)
        running.send(colour, depth, info)
    running.catch_up()  # pictures must be further apart than the skew
    running.wait_until(lambda: "+30.0 ms away" in running.said("camera"), "diagnostics say by how much", each=skewed)
    running.wait_until(lambda: scenes, "a scene")
    assert not scenes[0].depth_used
    assert scenes[0].degraded
    fault("a degraded scene, `depth_used` false", "camera", "pictures without their depth", 1)
    assert good(2).depth_used


@pytest.mark.fault("fifty frames more after all of these")
def test_memory_is_flat(running, good, memory, fault):
    """The long form is `perception bench soak`."""
    pid = running.process.process.pid
    for number in range(20):
        good(number % 8)
    begin = ProcessUse.of(pid)
    for number in range(50):
        good(number % 8)
    end = ProcessUse.of(pid)
    assert end.memory_mb - begin.memory_mb < 3.0
    assert end.memory_mb - memory.memory_mb < 60.0  # two runtimes' arenas and the newest frames
    assert (end.descriptors, end.threads) == (begin.descriptors, begin.threads)
    fault("every scene", "node", "", 0, "memory within 3 MB; descriptors and threads as before")

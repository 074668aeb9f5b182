"""What the node takes and refuses beside its pictures, a replay takes and refuses, too: belt velocity, black and frozen pictures.

The node's own worker, without ROS, is fed the recorded messages and must publish the scenes of the replay.
"""

import dataclasses
import threading

import numpy as np
import pytest

from perception_node.bag.reader import Recording
from perception_node.bag.replay import replay
from perception_node.bag.results import line_of_scene, read_results
from perception_node.bag.run import Settings, replay_one
from perception_node.bag.storage import STORE
from perception_node.bag.topics import IMAGE, INFO
from perception_node.config import from_flat
from perception_node.pipeline import Pipeline
from perception_node.ros import belt as live_belt
from perception_node.ros.belt import BeltInput
from perception_node.ros.drops import Drops
from perception_node.ros.inbox import Inbox
from perception_node.ros.worker import Links, Worker
from perception_node.types import Instance, Segmentation

CONFIG = from_flat({"segment.min_area_px": 20, "belt.plane": [0.0, 0.0, -1.0, 1.0], "node.depth": "required",
                    "node.max_age_s": 0.35})
TENTH = 100_000_000


class ByColour:
    """Stands for the network: the two packages are orange and blue."""

    model_id = "by colour 0"

    def segment(self, frame, belt_plane=None):
        labels = np.zeros(frame.rgb.shape[:2], np.uint16)
        for number, mask in enumerate((frame.rgb[..., 0] > 130, frame.rgb[..., 2] > 130), start=1):
            labels[mask] = number
        found = [(n, np.nonzero(labels == n)) for n in (1, 2)]
        return Segmentation(labels, tuple(
            Instance(n, "box", 0.9, (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1), len(x))
            for n, (y, x) in found))


class Clock:
    """The recording's clock for the live node's belt."""

    now_ns = 0

    def monotonic(self):
        return 1e-9 * self.now_ns


def live(path, monkeypatch):
    """The lines of the scenes that the node's worker publishes, and what it dropped, fed message by message."""
    clock = Clock()
    monkeypatch.setattr(live_belt, "time", clock)
    published, done, drops, belt = [], threading.Condition(), Drops(), BeltInput()
    add = drops.add

    def note(result):
        with done:
            published.append(result)
            done.notify_all()

    def drop(reason, words="", count=1):
        add(reason, words, count)
        note((reason, words))
    drops.add = drop
    inbox = Inbox(CONFIG.node, drops)
    worker = Worker(Pipeline(CONFIG, segmenter=ByColour()), inbox, belt, Links(
        lambda kind, data: STORE.deserialize_cdr(data, INFO if kind == "info" else IMAGE), lambda: clock.now_ns,
        lambda scene, frame: note(line_of_scene(scene)), lambda *words: None))
    worker.start()
    try:
        with Recording(path) as recording:
            topics, waiting = recording.topics, {"info": None, "colour": None, "depth": None}
            kinds = {topics.colour: "colour", topics.depth: "depth", topics.camera_info: "info"}
            for connection, logged_ns, raw in recording._storage.messages([*kinds, topics.belt or ""]):
                clock.now_ns = logged_ns
                if connection.topic == topics.belt:
                    belt.put(STORE.deserialize_cdr(raw, connection.msgtype))
                    continue
                waiting[kinds[connection.topic]] = bytes(raw)
                if all(waiting.values()):
                    count = len(published)
                    inbox.put_info(waiting["info"])
                    inbox.put_colour(waiting["colour"])
                    inbox.put_depth(waiting["depth"])
                    with done:
                        assert done.wait_for(lambda: len(published) > count, 20.0)  # noqa: B023
                    waiting = dict.fromkeys(waiting)
    finally:
        worker.stop()
    return published


def replayed(path):
    with Recording(path) as recording:
        return [(step.dropped, step.failure) if step.scene is None else line_of_scene(step.scene)
                for step in replay(recording.pictures(), Pipeline(CONFIG, segmenter=ByColour()))]


def test_the_belts_velocity_is_the_nodes(tmp_path, small_frames, write_raw, monkeypatch):
    frames = small_frames(20)
    start = frames[0].stamp_ns
    belt = [(start + round(0.25 * TENTH), 0.3, "cam"), (start + round(2.5 * TENTH), 0.25, "cam"),
            (start + round(4.5 * TENTH), float("nan"), "cam"), (start + round(5.5 * TENTH), 0.2, "cam")]  # silent from then on
    write_raw(tmp_path / "cell", frames, belt=belt)
    write_raw(tmp_path / "bare", frames)
    lines = replayed(tmp_path / "cell")
    assert lines == live(tmp_path / "cell", monkeypatch)
    assert lines != replayed(tmp_path / "bare")
    speeds = [None if line["belt_velocity_m_s"] is None else line["belt_velocity_m_s"][0] for line in lines]
    assert speeds[1:5] == [0.3, 0.3, 0.25, 0.25]
    assert speeds[6:16] == [0.2] * 10
    monkeypatch.setattr("perception_node.bag.run.Pipeline", lambda config: Pipeline(config, segmenter=ByColour()))
    settings = Settings(config=CONFIG, film=False, published=False)
    summary = replay_one(tmp_path / "cell", tmp_path / "out", settings, progress=False)
    assert summary["topics"]["belt"] == "/cell/belt_velocity"
    assert summary["frames_by_belt"]["measured, in the camera's frame"] == 14
    settings = dataclasses.replace(settings, belt="")
    assert replay_one(tmp_path / "cell", tmp_path / "without", settings, progress=False)["frames_by_belt"] == {}


def test_black_blown_out_and_frozen_pictures_are_dropped_as_by_the_node(tmp_path, small_frames, write_raw, monkeypatch):
    frames = small_frames(16)
    for number, grey in ((2, 0), (3, 255)):
        frames[number] = dataclasses.replace(frames[number], rgb=np.full_like(frames[number].rgb, grey))
    for number in range(6, 12):
        frames[number] = dataclasses.replace(frames[number], rgb=frames[5].rgb)
    write_raw(tmp_path / "cell", frames)
    lines = replayed(tmp_path / "cell")
    assert lines == live(tmp_path / "cell", monkeypatch)
    assert [line[0] if isinstance(line, tuple) else "" for line in lines] == [
        "", "", "blind", "blind", *[""] * 5, "frozen", "frozen", "frozen", *[""] * 4]
    monkeypatch.setattr("perception_node.bag.run.Pipeline", lambda config: Pipeline(config, segmenter=ByColour()))
    summary = replay_one(tmp_path / "cell", tmp_path / "out", Settings(config=CONFIG, published=False), progress=False)
    assert sorted(summary["frames_dropped"].values()) == [1, 1, 3]
    assert {words.split(":")[0] for words in summary["frames_dropped"]} == {"blind", "frozen"}
    assert summary["frames_failed"] == {}
    assert [line.get("dropped", "") for line in read_results(tmp_path / "out")].count("frozen") == 3


@pytest.mark.parametrize("detect", [True, False])
def test_frozen_pictures_can_be_allowed(tmp_path, small_frames, write_raw, detect):
    write_raw(tmp_path / "cell", [dataclasses.replace(frame, rgb=small_frames()[0].rgb) for frame in small_frames()])
    config = from_flat({"node.detect_frozen": detect, "node.max_age_s": 0.35})
    with Recording(tmp_path / "cell") as recording:
        steps = list(replay(recording.pictures(), Pipeline(config, segmenter=ByColour())))
    assert [step.dropped for step in steps] == ["", "", "", "", *["frozen" if detect else ""] * 6]


def test_a_contradicted_belt_velocity_is_left_out_as_by_the_node(tmp_path, small_frames, write_raw, monkeypatch):
    """Both packages ride at about 0.18 m/s, the drive says 0.6 m/s the other way."""
    frames = []
    for number, frame in enumerate(small_frames(20)):
        rgb, depth_m = np.full_like(frame.rgb, 40), np.full_like(frame.depth_m, 1.0)
        for top, colour in ((4, (200, 120, 40)), (18, (60, 90, 220))):
            rgb[top:top + 10, 2 + number:14 + number], depth_m[top:top + 10, 2 + number:14 + number] = colour, 0.9
        frames.append(dataclasses.replace(frame, rgb=rgb, depth_m=depth_m))
    belt = [(frame.stamp_ns - TENTH // 2, -0.6, "cam") for frame in frames]
    monkeypatch.setattr("perception_node.track.motion._TRUST_M", 0.1)  # a pixel of this small picture is 2 cm wide
    write_raw(tmp_path / "cell", frames, belt=belt)
    lines = replayed(tmp_path / "cell")
    assert lines == live(tmp_path / "cell", monkeypatch)
    speeds = [line["belt_velocity_m_s"][0] for line in lines]
    assert speeds[0] == -0.6
    assert all(0.1 < speed < 0.25 for speed in speeds[8:])
    monkeypatch.setattr("perception_node.bag.run.Pipeline", lambda config: Pipeline(config, segmenter=ByColour()))
    summary = replay_one(tmp_path / "cell", tmp_path / "out", Settings(config=CONFIG, film=False, published=False), progress=False)
    assert summary["frames_by_belt"]["estimated from the packages: they contradict belt_velocity"] >= 12
    note, = (note for note in summary["notes"] if "contradicted" in note)
    assert "it says 0.600 m/s, 2 packages move at 0.1" in note

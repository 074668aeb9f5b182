"""`perception replay`: whole folders, the same bytes again, recordings of others, comparison, many at once."""

import dataclasses
import filecmp
import json
import shutil
import sys
from types import ModuleType

import numpy as np
import pytest
from rosbags.rosbag2 import Reader, StoragePlugin

from perception_node import cli
from perception_node.bag import many, run
from perception_node.bag.calibration import camera_argument
from perception_node.bag.published import TOPICS, message_types
from perception_node.bag.reader import Recording
from perception_node.bag.results import labels_of_line, read_results
from perception_node.bag.run import Settings, replay_one
from perception_node.config import from_flat
from perception_node.errors import DatasetError
from perception_node.pipeline import Pipeline
from perception_node.types import Instance, Segmentation

CONFIG = from_flat({"segment.min_area_px": 20, "belt.plane": [0.0, 0.0, -1.0, 1.0]})


class ByColour:
    """Stands for the network: the two packages of the small recording are orange and blue."""

    model_id = "by colour 0"

    def segment(self, frame, belt_plane=None):
        labels = np.zeros(frame.rgb.shape[:2], np.uint16)
        instances = []
        for mask in (frame.rgb[..., 0] > 130, frame.rgb[..., 2] > 130):
            rows, columns = np.nonzero(mask)
            if len(rows) > 20:
                labels[mask] = number = len(instances) + 1
                box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
                instances.append(Instance(number, "box", 0.9, box, len(rows)))
        return Segmentation(labels, tuple(instances))


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    monkeypatch.setattr(run, "Pipeline", lambda config: Pipeline(config, segmenter=ByColour()))


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def replayed(path, out, **settings):
    return replay_one(path, out, Settings(config=CONFIG, **settings), progress=False)


def test_the_same_recording_gives_the_same_bytes(recording, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    summary = replayed(recording, one)
    replayed(recording, two)
    assert files_of(one) == ["overlay.mp4", "published/metadata.yaml", "published/published.mcap", "results.jsonl", "summary.json",
                             "summary.txt", "timings.json"] == files_of(two)
    for name in files_of(one):
        assert name == "timings.json" or filecmp.cmp(one / name, two / name, shallow=False), name
    assert (summary["frames"], summary["pictures"], summary["tracks"]) == (10, 10, 2)
    assert summary["frames_failed"] == summary["skipped"] == {}
    assert str(tmp_path) not in (one / "summary.json").read_text()


def test_results_and_messages_say_the_same(recording, tmp_path):
    replayed(recording, tmp_path / "out")
    store = message_types()
    lines = list(read_results(tmp_path / "out"))
    with Reader(tmp_path / "out" / "published") as reader:
        assert {c.topic: (c.msgtype, c.msgcount) for c in reader.connections} == {t: (kind, 10) for t, kind in TOPICS.items()}
        messages = {topic: [store.deserialize_cdr(raw, kind) for c, _, raw in reader.messages(
            [c for c in reader.connections if c.topic == topic])] for topic, kind in TOPICS.items()}
    for line, scene, mask, poses, markers in zip(lines, *messages.values(), strict=True):
        assert scene.header.stamp.sec * 10**9 + scene.header.stamp.nanosec == line["stamp_ns"]
        assert np.array_equal(np.frombuffer(scene.labels.data, "<u2").reshape(32, 48), labels_of_line(line))
        assert np.array_equal(mask.data, scene.labels.data)
        assert [package.track_id for package in scene.packages] == [
            p["track_id"] for p in sorted(line["packages"], key=lambda p: p["pick_order"])]
        assert len(poses.poses) == len(scene.grasps) == len(line["grasps"])
        assert {(r.label, r.kind, r.reason) for r in scene.rejections} == {
            (r["label"], r["kind"], r["reason"]) for r in line["rejections"]}
        assert len(markers.markers) == 1 + 2 * len(scene.packages) + len(scene.grasps)
        assert scene.latency_s == 0.0
        assert scene.timing_names == []
    assert any(line["packages"] for line in lines)


def test_no_ros_is_needed(recording, tmp_path):
    import subprocess
    program = ("import sys\nfor name in ('rclpy', 'sensor_msgs', 'perception_node_msgs', 'torch'): sys.modules[name] = None\n"
               "from perception_node import cli\nsys.exit(cli.main(sys.argv[1:]))\n")
    arguments = ["replay", str(recording), "--out", str(tmp_path / "o"), "--frames", "2", "--set", "segment.runtime=onnxruntime"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 of 10 pictures" in done.stdout
    assert len(list(read_results(tmp_path / "o"))) == 2


def test_late_pictures_are_put_in_order_and_repeated_ones_left_out(tmp_path, small_frames, write_raw):
    frames = small_frames()
    stamps = [frame.stamp_ns for frame in frames]
    stamps[3], stamps[4] = stamps[4], stamps[3]
    stamps[7] = stamps[6]
    write_raw(tmp_path / "mixed", frames, stamps=stamps)
    with Recording(tmp_path / "mixed") as opened:
        back = list(opened.frames())
        assert opened.skipped == {"colour: a picture that repeats the stamp of another one": 1}
    assert [frame.stamp_ns for frame in back] == sorted(set(stamps))
    assert np.array_equal(back[3].rgb, frames[4].rgb)


def test_stamps_that_go_back_begin_anew(tmp_path, small_frames, write_raw):
    frames = small_frames()
    stamps = [frame.stamp_ns for frame in frames[:5]] * 2
    stamps[5:] = [stamp - 5_000_000_000 for stamp in stamps[5:]]
    write_raw(tmp_path / "looped", frames, stamps=stamps)
    summary = replayed(tmp_path / "looped", tmp_path / "out")
    assert (summary["frames"], summary["restarts"], summary["tracks"]) == (10, 1, 4)
    assert [line["stamp_ns"] for line in read_results(tmp_path / "out")] == stamps


def test_pictures_without_stamps_get_the_time_of_recording(tmp_path, small_frames, write_raw):
    frames = small_frames()
    write_raw(tmp_path / "zero", frames, stamps=[0] * 10)
    with Recording(tmp_path / "zero") as opened:
        back = list(opened.frames())
        assert opened.notes == ["10 pictures have no stamp: the time of recording is used"]
    assert [frame.stamp_ns for frame in back] == [frame.stamp_ns for frame in frames]
    assert all(frame.depth_m is not None for frame in back)


@pytest.mark.parametrize(("plane", "scale", "words"), [
    ([0.0, 0.0, -1.0, 1.0], 1.0, ""), ([0.0, 0.0, -1.0, 1.2], 1.0, "belt.plane is not where the belt is"),
    ([0.0, 0.0, -1.0, 1.0], 1000.0, "32FC1 metres (REP-118)")])
def test_depth_that_contradicts_the_configuration_is_noted(tmp_path, small_frames, write_raw, monkeypatch, plane, scale, words):
    monkeypatch.setattr("perception_node.bag.depth_check._STRIDE", 1)  # the pictures are tiny
    frames = [dataclasses.replace(frame, depth_m=frame.depth_m * np.float32(scale)) for frame in small_frames(10)]
    write_raw(tmp_path / "bag", frames)
    config = from_flat({"segment.min_area_px": 20, "belt.plane": plane, "node.detect_frozen": False})
    summary = replay_one(tmp_path / "bag", tmp_path / "out", Settings(config=config, film=False), progress=False)
    assert len(summary["notes"]) == bool(words)
    assert words in "".join(summary["notes"])


def test_calibration_given_on_the_command_line(tmp_path, small_frames, write_raw, capsys):
    write_raw(tmp_path / "bare", small_frames(), info=False, topics=("/odd/name",))
    arguments = ["replay", str(tmp_path / "bare"), "--out", str(tmp_path / "out"), "--no-film"]
    assert cli.main(arguments) == 2
    assert "give the calibration (--camera)" in capsys.readouterr().err
    assert cli.main([*arguments, "--camera", "50,50,23.5,15.5", "--json", str(tmp_path / "r.json")]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["summary"]["topics"] == {"colour": "/odd/name", "depth": None, "camera_info": None, "belt": None}
    assert report["summary"]["frames_with_depth"] == 0
    file = tmp_path / "camera.yaml"
    file.write_text("image_width: 48\nimage_height: 32\n"
                    "camera_matrix: {rows: 3, cols: 3, data: [50, 0, 23.5, 0, 51, 15.5, 0, 0, 1]}\n"
                    "distortion_model: plumb_bob\ndistortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0, 0, 0, 0]}\n")
    camera = camera_argument(str(file))
    assert (camera.fy, camera.distortion, camera.width) == (51.0, (0.1, 0.0, 0.0, 0.0, 0.0), 48)
    with pytest.raises(DatasetError, match="focal lengths"):
        camera_argument("0,50,1,1")


def test_a_database_that_was_not_closed(tmp_path, small_frames, write_raw):
    import sqlite3
    write_raw(tmp_path / "whole", small_frames())
    source = sqlite3.connect(tmp_path / "whole" / "whole.db3")
    (tmp_path / "cut").mkdir()
    target = sqlite3.connect(tmp_path / "cut" / "cut_0.db3")
    target.execute("PRAGMA journal_mode=WAL")
    target.execute("PRAGMA wal_autocheckpoint=0")
    for statement in source.iterdump():
        if not statement.startswith(("BEGIN", "COMMIT")):
            target.execute(statement)
    target.commit()  # still open: what was written is in the log beside the file, as after a crash
    with Recording(tmp_path / "cut") as opened:
        assert len(list(opened.frames())) == 10
        assert any("its journal was taken in" in note for note in opened.notes)
    target.close()


@pytest.mark.parametrize("name", ["whole.mcap.zstd", "whole.db3.zstd"])
def test_packed_files(tmp_path, small_frames, write_raw, name):
    from perception_node.bag.salvage import zstandard
    write_raw(tmp_path / "whole", small_frames(), plugin=StoragePlugin.MCAP if "mcap" in name else StoragePlugin.SQLITE3)
    (tmp_path / name).write_bytes(zstandard().compress((tmp_path / "whole" / name.removesuffix(".zstd")).read_bytes()))
    with Recording(tmp_path / name) as opened:
        assert len(list(opened.frames())) == 10


def test_depth_of_another_frame_is_said(tmp_path, recording, small_frames, write_raw):
    write_raw(tmp_path / "nameless", small_frames(), frame_id="")
    with pytest.raises(DatasetError, match="at least one usable picture, got none: 10 x colour: expected a frame_id"):
        replayed(tmp_path / "nameless", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert replayed(tmp_path / "nameless", tmp_path / "out", frame_id="cam")["frames"] == 10


def test_an_older_replay_is_kept_unless_it_may_be_replaced(recording, tmp_path):
    replayed(recording, tmp_path / "out", film=False)
    with pytest.raises(DatasetError, match="expected a new folder"):
        replayed(recording, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(DatasetError, match="or that of a replay"):
        replay_one(recording, tmp_path / "mine", Settings(config=CONFIG), replace=True, progress=False)
    assert (tmp_path / "mine" / "thesis.txt").exists()
    replay_one(recording, tmp_path / "out", Settings(config=CONFIG), replace=True, progress=False)
    assert (tmp_path / "out" / "overlay.mp4").exists()


def test_a_change_is_named_drawn_and_exit_status_1(recording, tmp_path, capsys):
    base = ["replay", str(recording), "--no-published", "--set", "segment.min_area_px=20", "--set", "belt.plane=[0.0,0.0,-1.0,1.0]"]
    assert cli.main([*base, "--out", str(tmp_path / "old"), "--golden", str(tmp_path / "g.jsonl.gz")]) == 0
    assert cli.main([*base, "--out", str(tmp_path / "same"), "--against", str(tmp_path / "g.jsonl.gz")]) == 0
    assert "same: 0 of 10 frames" in capsys.readouterr().out
    changed = [*base, "--out", str(tmp_path / "new"), "--against", str(tmp_path / "old"), "--set", "track.gate_m=0.005", "--set",
               "segment.min_area_px=130"]
    assert cli.main(changed) == 1
    said = capsys.readouterr().out
    assert "CHANGED: 10 of 10 frames" in said
    assert "is no longer found" in said
    assert len(list((tmp_path / "new" / "changes").glob("*.png"))) == 10
    report = json.loads((tmp_path / "new" / "comparison.json").read_text())
    assert report["kinds"]["lost"] == 10
    assert cli.main([*base, "--out", str(tmp_path / "x"), "--against", str(tmp_path / "nothing")]) == 2
    assert not (tmp_path / "x").exists()


@pytest.fixture
def folder(tmp_path, small_frames, write_raw):
    write_raw(tmp_path / "bags" / "b", small_frames(5))
    write_raw(tmp_path / "bags" / "day" / "a", small_frames(4), plugin=StoragePlugin.MCAP)
    (tmp_path / "bags" / "broken.mcap").write_bytes(b"no recording")
    return tmp_path / "bags"


def same_files(one, two):
    assert files_of(one) == files_of(two)
    return all(name.endswith("timings.json") or filecmp.cmp(one / name, two / name, shallow=False) for name in files_of(one))


def one_by_one(folder, tmp_path, settings):
    replay_one(folder / "b", tmp_path / "single" / "b", settings, progress=False)
    replay_one(folder / "day" / "a", tmp_path / "single" / "day.a", settings, progress=False)
    return tmp_path / "single"


@pytest.mark.timeout(400)  # processes that start: some seconds, minutes where others load the machine
def test_many_recordings_over_processes(folder, tmp_path, monkeypatch):
    monkeypatch.undo()  # the processes have the real network
    settings = Settings(config=from_flat({"segment.runtime": "onnxruntime", "segment.threads": 1}), film=False, frames=2)
    outcomes = many.replay_many(folder, tmp_path / "out", settings, processes=2)
    assert [(name, summary is None) for name, summary, _ in outcomes] == [("b", False), ("broken.mcap", True), ("day.a", False)]
    assert "expected an mcap recording" in outcomes[1][2]
    assert same_files(one_by_one(folder, tmp_path, settings), tmp_path / "out")


def test_many_over_ray(folder, tmp_path, monkeypatch):
    """A stand-in with the calls of Ray that are used: init, remote, wait, get."""
    calls = []
    ray = ModuleType("ray")
    ray.is_initialized = lambda: False
    ray.init = lambda **options: calls.append(("init", options))

    def remote(**options):
        calls.append(("remote", options))
        return lambda function: type("Remote", (), {"remote": staticmethod(lambda *arguments: Task(function, arguments))})

    class Task:
        def __init__(self, function, arguments):
            self.call = lambda: function(*arguments)

    ray.remote = remote
    ray.wait = lambda tasks, num_returns: (tasks[-num_returns:], tasks[:-num_returns])
    ray.get = lambda task: task.call()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr("perception_node.spread.importlib.util.find_spec", lambda name: ray)
    settings = Settings(config=dataclasses.replace(CONFIG), film=False)
    outcomes = many.replay_many(folder, tmp_path / "out", settings, over="ray")
    assert [name for name, *_ in outcomes] == ["b", "broken.mcap", "day.a"]
    assert ("remote", {"num_cpus": 2}) in calls
    assert same_files(one_by_one(folder, tmp_path, settings), tmp_path / "out")


def test_many_on_the_command_line(folder, tmp_path, capsys):
    assert cli.main(["replay", "--many", str(folder), "--out", str(tmp_path / "out"), "--no-film", "--processes", "1"]) == 2
    said = capsys.readouterr()
    assert "broken.mcap" in said.err
    assert "b: 5 of 5 pictures" in said.out
    (folder / "broken.mcap").unlink()
    assert cli.main(["replay", "--many", str(folder), "--out", str(tmp_path / "again"), "--processes", "1", "--no-film",
                     "--against", str(tmp_path / "out")]) == 0
    assert "same: 0 of 5 frames" in capsys.readouterr().out


def test_many_says_what_has_nothing_to_be_compared_with(folder, tmp_path, capsys):
    (folder / "broken.mcap").unlink()
    common = ["replay", "--many", str(folder), "--processes", "1", "--no-film", "--frames", "2"]
    assert cli.main([*common, "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    (folder / "b").rename(folder / "new")
    assert cli.main([*common, "--out", str(tmp_path / "next"), "--against", str(tmp_path / "out"),
                     "--json", str(tmp_path / "said.json")]) == 2
    said = capsys.readouterr()
    assert "day.a: 2 of 4 pictures, 0 packages; same: 0 of 2 frames" in said.out
    assert said.err.splitlines() == [
        f"new: not compared: {tmp_path}/out/new: expected the results of a replay (results.jsonl): No such file or "
        "directory",
        f"b: expected its recording in {folder}, as for {tmp_path}/out/b, got none"]
    assert [entry["name"] for entry in json.loads((tmp_path / "said.json").read_text())] == ["day.a", "new", "b"]
    shutil.rmtree(folder / "new")
    assert cli.main([*common, "--out", str(tmp_path / "last"), "--against", str(tmp_path / "out")]) == 1


def test_what_replays_have_written_is_no_recording(folder, recording):
    replayed(recording, folder / "results" / "one", film=False)
    assert (folder / "results" / "one" / "published").is_dir()
    assert [path.name for path in many.recordings_below(folder)] == ["b", "broken.mcap", "a"]


@pytest.mark.parametrize("golden", ["out", "out/results.jsonl", "golden.jsonl.gz"])
def test_a_replay_is_never_compared_with_itself(recording, tmp_path, capsys, golden):
    arguments = ["replay", str(recording), "--out", str(tmp_path / "out"), "--replace", "--no-film", "--frames", "2",
                 "--golden", str(tmp_path / "golden.jsonl.gz")]
    assert cli.main(arguments) == 0
    before = (tmp_path / golden / "results.jsonl" if golden == "out" else tmp_path / golden).read_bytes()
    assert cli.main([*arguments, "--set", "grasp.min_score=0.99", "--against", str(tmp_path / golden)]) == 2
    assert "expected results that this replay does not overwrite" in capsys.readouterr().err
    assert (tmp_path / golden / "results.jsonl" if golden == "out" else tmp_path / golden).read_bytes() == before


@pytest.mark.parametrize(("arguments", "words"), [
    ([], "expected one recording, or --many"), (["nowhere"], "no such file"), (["BAG", "--frames", "0"], "at least 1, got '0'"),
    (["BAG", "--set", "threads"], "NAME=VALUE"), (["BAG", "--set", "segment.thread=1"], "unknown parameter"),
    (["BAG", "--colour-topic", "/x"], "expected a topic /x"), (["BAG", "--camera", "1,2"], "expected fx,fy,cx,cy"),
    (["BAG", "--iou", "1.5"], "--iou: expected 0 to 1"), (["BAG", "--json", "BAG"], "--json: expected a file to write"),
    (["BAG", "--many", "x"], "expected one recording")])
def test_bad_input_is_one_line(recording, tmp_path, capsys, arguments, words):
    arguments = [str(recording) if argument == "BAG" else argument for argument in arguments]
    try:
        status = cli.main(["replay", *arguments, "--out", str(tmp_path / "out")])
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()

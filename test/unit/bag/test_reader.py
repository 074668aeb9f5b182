"""Recordings as frames: round trip, pairing by stamp, the choice of topics, and files that are no recordings."""

import dataclasses
import itertools
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

from perception_node.bag.reader import Recording
from perception_node.bag.record import RecordingWriter, write_recording
from perception_node.bag.storage import STORE
from perception_node.bag.topics import choose_topics
from perception_node.bag.truth import load_truth, save_truth
from perception_node.errors import DatasetError

IMAGE, INFO, COMPRESSED = (f"sensor_msgs/msg/{name}" for name in ("Image", "CameraInfo", "CompressedImage"))


def test_round_trip(recording, scene):
    frames, _ = scene
    with Recording(recording) as opened:
        assert opened.span.frames == len(frames)
        assert opened.span.duration_s == pytest.approx(0.9, abs=0.01)
        back = list(opened.frames())
    assert [f.stamp_ns for f in back] == [f.stamp_ns for f in frames]
    for got, wanted in zip(back, frames, strict=True):
        assert got.frame_id == wanted.frame_id
        assert got.camera == wanted.camera
        assert np.array_equal(np.isnan(got.depth_m), np.isnan(wanted.depth_m))
        assert np.nanmax(np.abs(got.depth_m - wanted.depth_m)) < 0.00051
        assert np.abs(got.rgb.astype(int) - wanted.rgb).mean() < 12


def test_the_bare_file_reads_like_the_folder(recording):
    with Recording(recording / "cell.mcap") as opened:
        assert len(list(opened.frames())) == 10


@pytest.mark.parametrize("plugin", [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
def test_raw_recordings_of_others(tmp_path, scene, plugin, write_raw):
    frames, _ = scene
    write_raw(tmp_path / "raw", frames, plugin=plugin)
    with Recording(tmp_path / "raw") as opened:
        assert dataclasses.astuple(opened.topics) == ("/cam/rgb/image_raw", "/cam/depth/image", "/cam/rgb/camera_info", None)
        back = list(opened.frames())
    assert len(back) == len(frames)
    assert np.array_equal(back[3].rgb, frames[3].rgb)
    assert np.array_equal(back[3].depth_m, frames[3].depth_m, equal_nan=True)


@pytest.mark.parametrize(("shift_ns", "paired"), [(4_000_000, True), (-4_000_000, True), (20_000_000, False)])
def test_depth_is_paired_by_stamp_within_the_tolerance(tmp_path, scene, shift_ns, paired, write_raw):
    frames, _ = scene
    write_raw(tmp_path / "raw", frames, depth_shift_ns=shift_ns)
    with Recording(tmp_path / "raw") as opened:
        assert [frame.depth_m is not None for frame in opened.frames()] == [paired] * len(frames)


def test_depth_that_is_never_near_enough_is_said(tmp_path, scene, write_raw):
    frames, _ = scene
    write_raw(tmp_path / "raw", frames, depth_shift_ns=20_000_000)
    with Recording(tmp_path / "raw") as opened:
        assert len(list(opened.frames())) == 10
        assert opened.notes == ["10 pictures have no depth within 5 ms of their stamps (node.pair_tolerance_s): "
                                "the nearest is +20.0 ms away"]
    with Recording(tmp_path / "raw", pair_tolerance_s=0.03) as opened:
        assert all(frame.depth_m is not None for frame in opened.frames())
        assert opened.notes == []


def rewritten(source, path, change):
    """A copy of a recording; `change(number, message)` alters its camera_info."""
    with Reader(source) as reader, Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        ids = {c.topic: writer.add_connection(c.topic, c.msgtype, typestore=STORE) for c in reader.connections}
        numbers = itertools.count()
        for connection, logged_ns, raw in reader.messages():
            if connection.msgtype == INFO:
                message = STORE.deserialize_cdr(raw, INFO)
                change(next(numbers), message)
                raw = STORE.serialize_cdr(message, INFO)
            writer.write(ids[connection.topic], logged_ns, raw)
    return path


def test_a_calibration_that_comes_late_counts_for_what_was_before_and_zeros_are_said_once(tmp_path, scene, write_raw):
    frames, _ = scene
    write_raw(tmp_path / "raw", frames)

    def uncalibrated(number, message):
        if number < 4:
            message.k = np.zeros(9)
    with Recording(rewritten(tmp_path / "raw", tmp_path / "late", uncalibrated)) as opened:
        assert [frame.camera for frame in opened.frames()] == [frame.camera for frame in frames]
        assert not opened.skipped
        assert [note.split(":")[0] for note in opened.notes] == ["4 camera_info messages cannot be used"]


def test_a_calibration_of_another_frame_is_said(tmp_path, scene, write_raw):
    frames, _ = scene
    write_raw(tmp_path / "raw", frames)

    def depths(number, message):
        message.header.frame_id = "depth_optical_frame"
    with Recording(rewritten(tmp_path / "raw", tmp_path / "other", depths)) as opened:
        assert len(list(opened.frames())) == 10
        assert "camera_info is of frame 'depth_optical_frame', the pictures are of 'cam'" in opened.notes[0]
    with Recording(tmp_path / "raw") as opened:
        assert list(opened.frames())
        assert opened.notes == []


def test_a_calibration_of_another_resolution_is_said(tmp_path, scene, write_raw):
    frames, _ = scene
    write_raw(tmp_path / "raw", frames)

    def of_twice_the_size(number, message):
        message.k = np.array([100.0, 0.0, 47.5, 0.0, 100.0, 31.5, 0.0, 0.0, 1.0])
    with Recording(rewritten(tmp_path / "raw", tmp_path / "twice", of_twice_the_size)) as opened:
        assert len(list(opened.frames())) == 10
        assert [note.split(":")[0] for note in opened.notes] == ["camera_info"]
        assert "is it the calibration of this resolution" in opened.notes[0]


def test_frames_without_depth_come_when_asked_for(recording):
    with Recording(recording, use_depth=False) as opened:
        assert opened.topics.depth is None
        assert all(frame.depth_m is None for frame in opened.frames())


def test_a_gap_in_the_depth_costs_only_that_depth(tmp_path, scene):
    frames, _ = scene
    frames[4] = dataclasses.replace(frames[4], depth_m=None)
    write_recording(tmp_path / "gap", frames)
    with Recording(tmp_path / "gap") as opened:
        assert [frame.depth_m is not None for frame in opened.frames()] == [index != 4 for index in range(10)]


def test_a_picture_of_another_size_is_skipped_and_counted(tmp_path, scene, camera):
    frames, _ = scene
    small = dataclasses.replace(camera, width=40)
    bad = dataclasses.replace(frames[5], rgb=frames[5].rgb[:, :40].copy(), depth_m=frames[5].depth_m[:, :40].copy(), camera=small)
    write_recording(tmp_path / "odd", [*frames[:5], bad, *frames[6:]])
    with Recording(tmp_path / "odd", camera=camera) as opened:
        assert len(list(opened.frames())) == 9
        assert opened.skipped == {"rgb is 40x32, camera_info says 48x32": 1}


def test_the_calibration_can_be_given(tmp_path, scene, camera, write_raw):
    frames, _ = scene
    write_raw(tmp_path / "raw", frames)
    other = dataclasses.replace(camera, fx=77.0)
    with Recording(tmp_path / "raw", camera=other) as opened:
        assert {frame.camera.fx for frame in opened.frames()} == {77.0}


def connections(empty=(), **types):
    names = {name.replace("__", "/"): kind for name, kind in types.items()}
    return [SimpleNamespace(topic=name, msgtype=kind, msgcount=0 if name in empty else 9) for name, kind in names.items()]


def test_topic_choice():
    made = connections(__a__image_raw=IMAGE, __a__image_raw__compressed=COMPRESSED, __a__depth__image=IMAGE,
                       __a__aligned_depth=IMAGE, __a__camera_info=INFO, __b__camera_info=INFO, __a__infra1=IMAGE)
    chosen = choose_topics(made, "bag", colour=None, depth=None, camera_info=None)
    assert (chosen.colour, chosen.depth, chosen.camera_info) == ("/a/image_raw", "/a/aligned_depth", "/a/camera_info")


@pytest.mark.parametrize("empty", [(), ("/a/image_raw/compressedDepth", "/a/depth/image/compressed")])
def test_what_image_transport_offers_besides_is_no_depth(empty):
    """Every plugin offers a topic below every picture; those below colour are no depth, whether something was recorded or not."""
    made = connections(empty, __a__image_raw__compressed=COMPRESSED, __a__image_raw__compressedDepth=COMPRESSED,
                       __a__depth__image__compressed=COMPRESSED, __a__depth__image__compressedDepth=COMPRESSED)
    chosen = choose_topics(made, "bag", colour=None, depth=None, camera_info=None)
    assert (chosen.colour, chosen.depth) == ("/a/image_raw/compressed", "/a/depth/image/compressedDepth")


def test_a_colour_topic_without_messages_does_not_stand_in_the_way():
    made = connections(("/b/image",), __a__image=IMAGE, __b__image=IMAGE, __b__depth=IMAGE)
    assert choose_topics(made, "bag", colour=None, depth=None, camera_info=None).colour == "/a/image"


@pytest.mark.parametrize(("names", "words"), [
    ({}, "expected one colour topic, got none"),
    ({"colour": "/nope"}, "expected a topic /nope"),
    ({"colour": "/b/camera_info"}, "of type sensor_msgs/msg/Image")])
def test_topics_that_cannot_be_chosen_are_listed(names, words):
    made = connections(__b__camera_info=INFO)
    with pytest.raises(DatasetError, match=words) as caught:
        choose_topics(made, "bag", **{"colour": None, "depth": None, "camera_info": None, **names})
    assert "/b/camera_info (CameraInfo)" in str(caught.value)


def test_a_broken_type_is_told_on_one_line():
    with pytest.raises(DatasetError) as caught:
        choose_topics(connections(__a__image="sensor_msgs/msg/Time\nint32 sec\n"), "bag", colour=None, depth=None, camera_info=None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("others", "colour"), [
    (("/camera/ir/image_raw", "/camera/ir2/image_rect", "/camera/depth/image_raw"), "/camera/color/image_raw"),
    (("/zed/confidence/confidence_map", "/zed/depth/depth_registered"), "/zed/rgb/image_rect_color"),
    (("/head/left/image_rect", "/head/right/image_rect"), "/head/colour/image"),
    (("/top/left_image", "/top/right_image"), "/top/rgb_image")])
def test_what_is_neither_colour_nor_depth_needs_no_naming(others, colour):
    made = [SimpleNamespace(topic=name, msgtype=IMAGE, msgcount=9) for name in (*others, colour)]
    assert choose_topics(made, "bag", colour=None, depth=None, camera_info=None).colour == colour


def test_two_cameras_must_be_named():
    with pytest.raises(DatasetError, match="/a/image, /b/image; name it"):
        choose_topics(connections(__a__image=IMAGE, __b__image=IMAGE), "bag", colour=None, depth=None, camera_info=None)


def test_missing_files(tmp_path):
    with pytest.raises(DatasetError, match="no such file"):
        Recording(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="metadata.yaml"):
        Recording(tmp_path / "empty")
    (tmp_path / "film.mp4").write_bytes(b"0")
    with pytest.raises(DatasetError, match=r"got \.mp4"):
        Recording(tmp_path / "film.mp4")


@pytest.mark.parametrize("suffix", [".mcap", ".db3"])
def test_a_file_that_only_bears_the_name(tmp_path, suffix):
    path = tmp_path / f"named{suffix}"
    path.write_text("hello, this is no recording")
    with pytest.raises(DatasetError, match="got a file that begins with b'hello") as caught:
        Recording(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("keep", "words"), [(0, "got an empty file"), (5, "got a file that begins with"),
                                             (100, "before its first message")])
def test_a_recording_that_was_cut_off_at_once(recording, tmp_path, keep, words):
    (tmp_path / "cut.mcap").write_bytes((recording / "cell.mcap").read_bytes()[:keep])
    with pytest.raises(DatasetError, match=words):
        Recording(tmp_path / "cut.mcap")


@pytest.mark.parametrize(("keep", "frames"), [(0.3, range(1, 4)), (0.6, range(4, 7)), (0.98, range(9, 11))])
@pytest.mark.parametrize("folder", [False, True])
def test_a_recording_that_was_cut_off_is_read_as_far_as_it_is_whole(tmp_path, scene, keep, frames, folder, write_raw):
    write_raw(tmp_path / "whole", scene[0], plugin=StoragePlugin.MCAP)
    data = (tmp_path / "whole" / "whole.mcap").read_bytes()
    (tmp_path / "cut").mkdir()
    file = tmp_path / "cut" / "cut_0.mcap"
    file.write_bytes(data[:int(keep * len(data))])
    with Recording(file.parent if folder else file) as opened:
        back = list(opened.frames())
        assert any("was cut off" in note for note in opened.notes)
    assert len(back) in frames
    for got, wanted in zip(back, scene[0], strict=False):
        assert got.stamp_ns == wanted.stamp_ns
        assert np.array_equal(got.rgb, wanted.rgb)


def test_damage_in_the_middle_is_one_clear_line(recording):
    file = recording / "cell.mcap"
    data = bytearray(file.read_bytes())
    data[len(data) // 5: len(data) // 2] = bytes(len(data) // 2 - len(data) // 5)
    file.write_bytes(bytes(data))
    with pytest.raises(DatasetError, match="damaged|cannot be read") as caught, Recording(recording) as opened:
        list(opened.frames())
    assert "\n" not in str(caught.value)


def test_writing_twice_needs_permission(recording, scene):
    with pytest.raises(DatasetError, match="exists already"):
        RecordingWriter(recording)
    write_recording(recording, scene[0], scene[1], replace=True)


def test_the_truth_comes_back(recording, scene, tmp_path):
    truth = load_truth(recording / "truth.npz")
    assert np.array_equal(truth.frames[3].labels, scene[1].frames[3].labels)
    assert truth.frames[3].instances == scene[1].frames[3].instances
    assert truth.belt_velocity_m_s.tolist() == [0.3, 0.0, 0.0]
    with pytest.raises(DatasetError, match="no such file"):
        load_truth(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(DatasetError, match="expected the ground truth"):
        load_truth(tmp_path / "bad.npz")
    np.savez(tmp_path / "other.npz", stamps_ns=np.zeros(2))
    with pytest.raises(DatasetError, match="expected the ground truth"):
        load_truth(tmp_path / "other.npz")


def test_truth_of_another_recording_is_refused(scene, tmp_path):
    frames, truth = scene
    with pytest.raises(DatasetError, match="same 9 stamps"):
        write_recording(tmp_path / "x", frames[:9], truth)
    shutil.rmtree(tmp_path / "x", ignore_errors=True)
    save_truth(tmp_path / "t.npz", truth)
    assert len(load_truth(tmp_path / "t.npz").frames) == 10

"""Whatever bytes come, only PerceptionErrors come out: messages, recordings, configuration, calibration, results, model files."""

import contextlib
import dataclasses
import gzip
import json
import shutil
from types import SimpleNamespace as Thing

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rosbags.rosbag2 import StoragePlugin

from perception_node.bag.calibration import camera_argument, camera_from_yaml
from perception_node.bag.camera import camera_model, colour_pixels, depth_metres, frame_from_messages
from perception_node.bag.reader import Recording
from perception_node.bag.record import write_recording
from perception_node.bag.results import labels_of_line, read_results
from perception_node.bag.storage import STORE, deserialize
from perception_node.config import from_flat, load
from perception_node.errors import ConfigError, DatasetError, FrameError, ModelError, PerceptionError
from perception_node.pipeline import Pipeline
from perception_node.segment import infer
from perception_node.segment.infer import Segmenter
from perception_node.segment.weights import card_path, check_weights, default_weights, file_sha256, read_card
from perception_node.types import CameraModel

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CAMERA = CameraModel(50.0, 50.0, 20.0, 15.0, 40, 30)
KINDS = ["sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo"]
SIZES = st.one_of(st.integers(0, 70), st.sampled_from([2**16, 2**31 - 1, 2**31, 2**32 - 1]))
ENCODINGS = st.one_of(st.text(max_size=12), st.sampled_from(
    ["rgb8", "bgr8", "mono8", "16UC1", "32FC1", "yuyv", "bayer_rggb8", "8UC4", "32FC4", "16UC1; compressedDepth png",
     "32FC1; compressedDepth png", "16UC1; compressedDepth rvl", "jpeg"]))


@contextlib.contextmanager
def only(kind):
    """Nothing, or an error of that kind with one line, may come out."""
    words = ""
    try:
        yield
    except kind as error:
        words = str(error)
    assert "\n" not in words


def mutated(data, changes):
    """`data` with some bytes replaced, cut at a place, or both."""
    out = bytearray(data)
    for where, value in changes[1]:
        if out:
            out[where % len(out)] = value
    return bytes(out[: round(changes[0] * len(out))])


CHANGES = st.tuples(st.one_of(st.just(1.0), st.floats(0.0, 1.0)),
                    st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 255)), max_size=12))


@FUZZ
@given(st.sampled_from(KINDS), st.binary(max_size=400))
def test_serialised_messages(kind, raw):
    with only(PerceptionError):
        message = deserialize(Thing(topic="/x", msgtype=kind), b"\0\1\0\0" + raw)
        if kind == KINDS[2]:
            camera_model(message)
        else:
            frame_from_messages(message, message, CAMERA)
            depth_metres(message)


def header():
    return Thing(stamp=Thing(sec=5, nanosec=0), frame_id="camera")


@FUZZ
@given(SIZES, SIZES, SIZES, ENCODINGS, st.binary(max_size=3000), st.integers(0, 1))
def test_pictures(width, height, step, encoding, data, bigendian):
    message = Thing(header=header(), width=width, height=height, step=step, encoding=encoding, data=data, is_bigendian=bigendian)
    for read in (colour_pixels, depth_metres):
        with only(FrameError):
            assert read(message).shape[:2] == (height, width)


RAMP = np.arange(40 * 30 * 3, dtype=np.uint32).astype(np.uint8).reshape(30, 40, 3)
FILES = [cv2.imencode(".jpg", RAMP)[1].tobytes(), cv2.imencode(".png", RAMP)[1].tobytes(),
         bytes(12) + cv2.imencode(".png", RAMP[..., 0].astype(np.uint16) * 100)[1].tobytes()]


@FUZZ
@given(st.sampled_from(FILES), CHANGES, ENCODINGS)
def test_compressed_pictures(data, changes, form):
    message = Thing(header=header(), format=form, data=mutated(data, changes))
    for read in (colour_pixels, depth_metres):
        with only(FrameError):
            assert read(message).size < 64_000_000


@pytest.fixture(scope="module")
def bags(tmp_path_factory, small_frames, write_raw):
    """A small recording in both kinds of storage: bytes by suffix."""
    folder = tmp_path_factory.mktemp("bags")
    frames = small_frames(4)
    write_recording(folder / "packed", frames)
    write_raw(folder / "raw", frames, plugin=StoragePlugin.MCAP)
    write_raw(folder / "lite", frames)
    return {"packed.mcap": (folder / "packed" / "packed.mcap").read_bytes(), "raw.mcap": (folder / "raw" / "raw.mcap").read_bytes(),
            "lite.db3": (folder / "lite" / "lite.db3").read_bytes()}


@settings(FUZZ, max_examples=90)
@given(st.sampled_from(["packed.mcap", "raw.mcap", "lite.db3"]), CHANGES, st.booleans())
def test_recordings(bags, tmp_path, name, changes, early):
    data = bags[name]
    if early:  # where the structure is: the first and last kilobyte
        keep, places = changes
        changes = keep, [(where % 1024 if where % 2 else -1 - where % 1024, value) for where, value in places]
    file = tmp_path / name
    file.write_bytes(mutated(data, changes))
    with only(PerceptionError):
        with Recording(file) as recording:
            frames = list(recording.frames())
        assert len(frames) <= 4 + sum(recording.skipped.values()) + 4


VALUES = st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
                      lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(
                          st.one_of(st.sampled_from(["segment", "belt", "plane", "threads", "cameras", "node", "gripper"]),
                                    st.text(max_size=5), st.integers()), inner, max_size=4)), max_leaves=12)


@FUZZ
@given(VALUES)
def test_configurations(tmp_path, values):
    file = tmp_path / "cell.yaml"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}), encoding="utf-8")
    with only(ConfigError):
        load(file)


@settings(FUZZ, max_examples=40)
@example(b"[" * 1200)
@example(b"a: &a [*a, *a]")
@example(b"/**: {ros__parameters: {cameras: 2001-99-99}}")
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_yaml_of_any_bytes(tmp_path, data):
    file = tmp_path / "any.yaml"
    file.write_bytes(data)
    with pytest.raises(ConfigError):
        load(file)
    with pytest.raises(DatasetError):
        camera_from_yaml(file)


@FUZZ
@given(st.one_of(st.text(max_size=30), st.lists(st.one_of(st.floats(), st.integers()), min_size=4, max_size=4).map(
    lambda numbers: ",".join(map(str, numbers)))))
def test_cameras_of_the_command_line(text):
    with only(PerceptionError):
        made = camera_argument(text)
        assert callable(made)
        made(640, 480)


@FUZZ
@given(VALUES)
def test_results(tmp_path, values):
    file = tmp_path / "results.jsonl"
    line = {"stamp_ns": 5, "packages": [], "grasps": [], "rejections": [], "labels_png": "", "degraded": ""}
    line.update(values if isinstance(values, dict) else {"packages": values})
    file.write_text(json.dumps({str(key): value for key, value in line.items()}) + "\n", encoding="utf-8")
    with only(DatasetError):
        for read in read_results(file):
            labels_of_line(read)


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b", gzip.compress(b"{}\n"), gzip.compress(b"[" * 5000), b"\xff\xfe"])
def test_results_of_any_bytes(tmp_path, data):
    file = tmp_path / "golden.jsonl.gz"
    file.write_bytes(data)
    with only(DatasetError):
        assert list(read_results(file)) == []


def test_messages_of_every_type_can_be_named_in_a_recording():
    assert all(kind in STORE.types for kind in KINDS)


@FUZZ
@given(VALUES, st.sampled_from(["format", "name", "classes", "sha256", "network", "grouping", "training"]))
def test_model_cards(tmp_path, value, field):
    weights = tmp_path / "model.onnx"
    weights.write_bytes(b"no model")
    card = json.loads(card_path(default_weights()).read_text(encoding="utf-8"))
    card[field] = value
    card_path(weights).write_text(json.dumps(card, default=str), encoding="utf-8")
    with only(ModelError):
        read_card(weights)
        with pytest.raises(ModelError):
            check_weights(weights)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "torch"])
@pytest.mark.parametrize("content", ["text", "pickle", "cut", "empty"])
def test_model_files_that_their_card_vouches_for(tmp_path, runtime, content):
    """A right digest says who made a file, not what it is: nothing is executed, and one line says what is wrong."""
    pytest.importorskip(runtime)
    suffix = ".safetensors" if runtime == "torch" else ".onnx"
    source = default_weights().with_suffix(suffix)
    weights = tmp_path / f"model{suffix}"
    trap = tmp_path / "executed"
    weights.write_bytes({"text": b"no model at all", "cut": source.read_bytes()[:100_000], "empty": b"",
                         "pickle": b"cposix\nsystem\n(S'touch " + str(trap).encode() + b"'\ntR."}[content])
    card = json.loads(card_path(source).read_text(encoding="utf-8"))
    card["sha256"] = {weights.name: file_sha256(weights)}
    card_path(weights).write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        Segmenter(weights, runtime=runtime, device="cpu", threads=1)
    assert "\n" not in str(caught.value)
    assert not trap.exists()


@pytest.mark.parametrize("network", [{"widths": [10**9] * 5, "blocks": [1] * 4}, {"widths": [16] * 5, "blocks": [10**9] * 4},
                                     {"widths": [], "blocks": []}])
def test_a_card_cannot_ask_for_a_network_of_any_size(tmp_path, network):
    pytest.importorskip("torch")
    source = default_weights().with_suffix(".safetensors")
    shutil.copy(source, tmp_path / "model.safetensors")
    card = json.loads(card_path(source).read_text(encoding="utf-8"))
    card["network"], card["sha256"] = network, {"model.safetensors": file_sha256(source)}
    card_path(tmp_path / "model.safetensors").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(ModelError, match="expected"):
        Segmenter(tmp_path / "model.safetensors", runtime="torch", device="cpu", threads=1)


@FUZZ
@given(st.dictionaries(st.sampled_from(["centre_threshold", "calibration", "centre_window_px", "min_area_px", "other"]), VALUES,
                       min_size=1, max_size=3))
def test_thresholds_of_a_card(values):
    card = dataclasses.replace(read_card(default_weights()), grouping=values)
    with only(ModelError):
        infer._grouping(card, default_weights())


@pytest.mark.parametrize("name", ["../universal", "a/b", "", ".", "..", "/etc/passwd", "no_such_model"])
def test_a_models_name_is_no_path(name):
    with pytest.raises(ModelError):
        Pipeline(from_flat({"segment.model": name}))

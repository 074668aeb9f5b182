import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from perception_node.errors import FrameError, ModelError
from perception_node.segment.infer import Segmenter, installed_runtimes
from perception_node.segment.weights import card_path, file_sha256
from perception_node.types import Frame

RUNTIMES = ("openvino", "onnxruntime", "torch")


def copy_model(model: Path, to: Path) -> Path:
    for path in model.parent.iterdir():
        shutil.copy(path, to / path.name)
    return to / model.name


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_runtimes_agree(tiny_model: Path, frame: Frame, runtime: str) -> None:
    if runtime not in installed_runtimes():
        pytest.skip(f"{runtime} is not installed")
    plane = np.array([0.0, 0.0, -1.0, 1.0])
    reference = Segmenter(tiny_model, runtime="onnxruntime").heads(frame, plane)
    heads = Segmenter(tiny_model, runtime=runtime).heads(frame, plane)
    assert heads.shape == reference.shape == (9, 208, 368)
    assert np.abs(heads[:-2] - reference[:-2]).max() < 0.08  # bfloat16 where the CPU has it
    assert np.allclose(heads[:-4].sum(axis=0), 1.0, atol=0.02)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_it_says_where_it_really_runs(tiny_model: Path, runtime: str, device: str) -> None:
    if runtime not in installed_runtimes():
        pytest.skip(f"{runtime} is not installed")
    on_gpu = runtime == "torch" and device == "auto" and importlib.import_module("torch").cuda.is_available()
    assert Segmenter(tiny_model, runtime=runtime, device=device).device == ("cuda" if on_gpu else "cpu")


def test_segment_keeps_the_pictures_size_and_times_its_stages(tiny_model: Path, frame: Frame) -> None:
    segmenter = Segmenter(tiny_model)
    before = frame.rgb.copy()
    for depth in (frame.depth_m, None):
        one = Frame(frame.rgb, depth, frame.camera, 1, "c")
        assert segmenter.segment(one).labels.shape == (180, 320)
    assert set(segmenter.last_timing_ms) == {"encode", "network", "group"}
    assert np.array_equal(before, frame.rgb)
    name, digest = segmenter.model_id.split()
    assert name == "tiny"
    assert file_sha256(tiny_model).startswith(digest)
    assert len(digest) == 8


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("classes", [("box", "padded_mailer", "poly_bag"), ("item", "box")], ids=["three", "two"])
def test_the_class_list_is_the_cards(tmp_path: Path, frame: Frame, runtime: str, classes: tuple[str, ...]) -> None:
    if runtime not in installed_runtimes():
        pytest.skip(f"{runtime} is not installed")
    torch = pytest.importorskip("torch")
    from perception_node.learn.export import export_model
    from perception_node.segment.model import NetworkShape, PackageNet

    net = PackageNet(NetworkShape(widths=(8, 8, 8, 8, 8), blocks=(1, 1, 1, 1)), classes)
    with torch.no_grad():
        net.head.weight.zero_()
        net.head.bias.copy_(torch.tensor([-9.0, *[0.0] * (len(classes) - 1), 9.0, -9.0, 9.0, 0.0, 0.0]))  # all is the last class
    model = export_model(net, tmp_path, "few", {}, {})
    found = Segmenter(model, runtime=runtime)
    assert found.heads(frame).shape == (len(classes) + 5, 208, 368)
    assert {instance.class_name for instance in found.segment(frame).instances} == {classes[-1]}
    card = json.loads(card_path(model).read_text())
    card_path(model).write_text(json.dumps(card | {"classes": card["classes"][:1]}))
    with pytest.raises(ModelError, match="expected an output of shape|does not fit its card"):
        Segmenter(model, runtime=runtime).segment(frame)


def test_missing_file_and_missing_card(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(ModelError, match=r"expected a file .*none\.onnx, found none"):
        Segmenter(tmp_path / "none.onnx")
    model = copy_model(tiny_model, tmp_path)
    card_path(model).unlink()
    with pytest.raises(ModelError, match="card"):
        Segmenter(model)


def test_cut_file(tmp_path: Path, tiny_model: Path) -> None:
    model = copy_model(tiny_model, tmp_path)
    model.write_bytes(model.read_bytes()[:3000])
    with pytest.raises(ModelError, match=r"expected sha256 \w{8}\.\.\., got \w{8}\.\.\. \(3000 bytes\)"):
        Segmenter(model)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime", "torch"])
def test_garbage_with_a_true_hash(tmp_path: Path, tiny_model: Path, runtime: str) -> None:
    if runtime not in installed_runtimes():
        pytest.skip(f"{runtime} is not installed")
    model = copy_model(tiny_model, tmp_path)
    card = json.loads(card_path(model).read_text())
    for path in (model, model.with_suffix(".safetensors")):
        path.write_bytes(b"this is no model" * 50)
        card["sha256"][path.name] = file_sha256(path)
    card_path(model).write_text(json.dumps(card))
    with pytest.raises(ModelError) as caught:
        Segmenter(model, runtime=runtime)
    assert "\n" not in str(caught.value)


def test_other_outputs_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = copy_model(tiny_model, tmp_path)
    proto = onnx.load(str(model))
    old = proto.graph.output[0].name
    proto.graph.output[0].name = "masks"
    for node in proto.graph.node:
        for i, name in enumerate(node.output):
            if name == old:
                node.output[i] = "masks"
    onnx.save(proto, str(model))
    card = json.loads(card_path(model).read_text())
    card["sha256"][model.name] = file_sha256(model)
    card_path(model).write_text(json.dumps(card))
    for runtime in ("openvino", "onnxruntime"):
        if runtime in installed_runtimes():
            with pytest.raises(ModelError, match=r"expected inputs .* got .*'masks'"):
                Segmenter(model, runtime=runtime)


@pytest.mark.parametrize(("change", "words"), [
    ({"classes": ["box", "crate"]}, "expected classes among"), ({"classes": []}, "expected classes among"),
    ({"classes": ["box", "box"]}, "expected classes among"), ({"format": 9}, "expected format"),
    ({"sha256": {}}, "expected a sha256"),
])
def test_wrong_cards(tmp_path: Path, tiny_model: Path, change: dict[str, object], words: str) -> None:
    model = copy_model(tiny_model, tmp_path)
    card_path(model).write_text(json.dumps(json.loads(card_path(model).read_text()) | change))
    with pytest.raises(ModelError, match=words):
        Segmenter(model)


def test_nan_costs_one_frame(tiny_model: Path, frame: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = Segmenter(tiny_model)
    good = segmenter._run
    monkeypatch.setattr(segmenter, "_run", lambda arrays: good(arrays) * np.nan)
    with pytest.raises(FrameError, match="NaN"):
        segmenter.segment(frame)
    monkeypatch.setattr(segmenter, "_run", good)
    segmenter.segment(frame)


@pytest.mark.parametrize("arguments", [{"runtime": "tensorrt"}, {"device": "tpu"}, {"runtime": "onnxruntime", "device": "cuda"}])
def test_unknown_choices(tiny_model: Path, arguments: dict[str, str]) -> None:
    with pytest.raises(ModelError, match="expected"):
        Segmenter(tiny_model, **arguments)


def test_running_a_model_does_not_import_torch(tiny_model: Path) -> None:
    code = ("import sys; from perception_node.segment.infer import Segmenter; import perception_node.segment.pictures;"
            f"Segmenter({str(tiny_model)!r}, runtime='onnxruntime'); assert 'torch' not in sys.modules, 'torch was imported'")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

"""The 8-bit file: made from pictures, vouched for by the card, taken by "auto" only."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from perception_node.cli import main
from perception_node.errors import DatasetError, ModelError
from perception_node.learn import export, quantise
from perception_node.segment import infer
from perception_node.segment.infer import Segmenter, installed_runtimes
from perception_node.segment.model import NetworkShape, PackageNet
from perception_node.segment.weights import card_path, file_sha256, int8_path, read_card
from perception_node.types import CameraModel, Frame

ARRAYS = [{"rgb": np.random.default_rng(k).integers(0, 256, (1, 64, 96, 3), np.uint8),
           "depth": np.random.default_rng(k).random((1, 32, 48, 3), np.float32) * (k % 2)} for k in range(4)]
FRAME = Frame(ARRAYS[1]["rgb"][0], None, CameraModel(90.0, 90.0, 47.5, 31.5, 96, 64), 0, "c")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with its 8-bit file."""
    torch.manual_seed(1)
    net = PackageNet(NetworkShape(widths=(16, 16, 16, 16, 16), blocks=(1, 1, 1, 1)))
    for module in net.modules():  # heads that say something, as trained ones do
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            torch.nn.init.normal_(module.weight, std=0.1)
    path = export.export_model(net, tmp_path_factory.mktemp("int8"), "small", {}, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantise, "calibration_arrays", lambda datasets, count: ARRAYS)
        assert quantise.add_int8(path, [Path("cell/pictures")]) == int8_path(path)
    return path


@pytest.fixture
def model(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path in made.parent.iterdir():
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(infer, "has_byte_dot_products", lambda: True)
    return tmp_path / made.name


def test_the_card_speaks_for_both_files(made: Path) -> None:
    card = json.loads(card_path(made).read_text())
    assert read_card(made).sha256[int8_path(made).name] == file_sha256(int8_path(made))
    assert card["int8"] == {"data": ["cell/pictures"], "pictures": 4}
    assert sorted(path.name for path in made.parent.iterdir()) == [
        "small.card.json", "small.int8.onnx", "small.onnx", "small.safetensors"]


def test_the_heads_stay_exact(made: Path) -> None:
    graph = onnx.load(str(int8_path(made))).graph
    maker = {name: node for node in graph.node for name in node.output}
    bytewise = {node.name for node in graph.node if node.op_type == "Conv"
                and node.input[1] in maker and maker[node.input[1]].op_type == "DequantizeLinear"}
    exact = {node.name for node in graph.node if node.op_type == "Conv"} - bytewise
    assert len(exact) == 8 and len(bytewise) > 10, exact  # noqa: PT018
    assert all(any(part in name for part in quantise._EXACT) for name in exact)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_answers_stay_close(made: Path, runtime: str) -> None:
    if runtime not in installed_runtimes():
        pytest.skip(f"{runtime} is not installed")
    exact, bytewise = Segmenter(made, runtime="onnxruntime"), Segmenter(int8_path(made), runtime=runtime)
    for arrays in ARRAYS:
        apart = np.abs(exact._run(arrays) - bytewise._run(arrays))[:, :-2]
        assert apart.mean() < 0.02
    assert apart.max() > 0  # it is another network


def test_auto_takes_it_and_a_named_runtime_does_not(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = Segmenter(model)
    assert fast.runtime.endswith(" int8")
    assert fast.model_id == f"small {file_sha256(int8_path(model))[:8]}"
    assert fast.segment(FRAME).labels.shape == (64, 96)
    named = Segmenter(model, runtime="onnxruntime")
    assert (named.runtime, named.model_id) == ("onnxruntime", f"small {file_sha256(model)[:8]}")
    monkeypatch.setattr(infer, "has_byte_dot_products", lambda: False)
    assert Segmenter(model).model_id == named.model_id


def test_without_it_the_exact_one_runs(model: Path) -> None:
    card = json.loads(card_path(model).read_text())
    digest = card["sha256"].pop(int8_path(model).name)
    card_path(model).write_text(json.dumps(card))  # a file left over from another model
    assert "int8" not in Segmenter(model).runtime
    card["sha256"][int8_path(model).name] = digest
    card_path(model).write_text(json.dumps(card))
    int8_path(model).unlink()
    assert "int8" not in Segmenter(model).runtime


def test_a_cut_file_is_refused(model: Path) -> None:
    int8_path(model).write_bytes(int8_path(model).read_bytes()[:2000])
    with pytest.raises(ModelError, match=r"small\.int8\.onnx: expected sha256"):
        Segmenter(model)


def test_bad_input(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    for arguments in ([model], [model, "--int8", tmp_path / "none"], [model, "--int8", tmp_path, "--out", tmp_path / "x"],
                      [tmp_path / "run"], [tmp_path / "none.onnx", "--int8", tmp_path]):
        assert main(["export", *map(str, arguments)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    with pytest.raises(DatasetError):
        quantise.calibration_arrays([tmp_path])


def test_a_name_may_hold_dots(tmp_path: Path) -> None:
    net = PackageNet(NetworkShape(widths=(8, 8, 8, 8, 8), blocks=(1, 1, 1, 1)))
    paths = [export.export_model(net, tmp_path, name, {}, {}) for name in ("cell.v1.2", "cell.v1.3")]
    assert [card_path(path).name for path in paths] == ["cell.v1.2.card.json", "cell.v1.3.card.json"]
    for path in paths:
        assert card_path(int8_path(path)) == card_path(path.with_suffix(".safetensors")) == card_path(path)
    assert [Segmenter(path).card.name for path in paths] == ["cell.v1.2", "cell.v1.3"]
    assert export.load_network(paths[0].with_suffix(".safetensors")).shape == net.shape
    with pytest.raises(ModelError, match=r"does not end in '\.int8', got 'cell\.int8'"):
        export.export_model(net, tmp_path, "cell.int8", {}, {})

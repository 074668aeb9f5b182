import argparse
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.torch import load_file

from perception_node.errors import ConfigError, DatasetError, ModelError
from perception_node.learn import evaluate, export, finetune, train
from perception_node.segment.infer import Segmenter
from perception_node.segment.model import ExportedNet, NetworkShape, PackageNet, with_classes
from perception_node.segment.weights import file_sha256
from perception_node.types import CLASS_NAMES

TINY = NetworkShape(widths=(8, 8, 8, 8, 8), blocks=(1, 1, 1, 1))


@pytest.fixture
def config(dataset: Path, tmp_path: Path) -> train.TrainConfig:
    torch.set_num_threads(1)
    return train.TrainConfig(data=(str(dataset),), validation=(str(dataset),), out=str(tmp_path / "run"), shape=TINY,
                             cache=str(tmp_path / "cache"), steps=4, batch=2, crop=(96, 64), full_from=1.0, validate_every=2,
                             validation_pictures=1, checkpoint_every=1, warmup_steps=1)


def weights(out: str) -> dict[str, torch.Tensor]:
    return load_file(str(Path(out) / "last.safetensors"))


def test_a_killed_run_ends_like_an_unbroken_one(config: train.TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train.train(config, progress=False)
    whole = weights(config.out)
    broken = replace(config, out=str(tmp_path / "broken"))
    real = train.save_checkpoint

    def kill_after_two(path: Path, *rest: object) -> None:
        real(path, *rest)  # type: ignore[arg-type]
        if rest[-1]["step"] == 2:  # type: ignore[index]
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "save_checkpoint", kill_after_two)
    with pytest.raises(KeyboardInterrupt):
        train.train(broken, progress=False)
    monkeypatch.setattr(train, "save_checkpoint", real)
    train.train(broken, progress=False)
    resumed = weights(broken.out)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert {p.name for p in Path(config.out).iterdir()} == {
        "last.safetensors", "best.safetensors", "best.onnx", "best.card.json", "run.json", "curve.png"}
    assert [row["step"] for row in json.loads((Path(broken.out) / "run.json").read_text())["history"]] == [2, 4]


def test_a_card_names_what_the_weights_came_from(config: train.TrainConfig, tmp_path: Path) -> None:
    train.train(config, progress=False)
    first = json.loads((Path(config.out) / "best.card.json").read_text())
    train.train(replace(config, out=str(tmp_path / "second"), init=str(Path(config.out) / "best.safetensors")), progress=False)
    second = json.loads((tmp_path / "second" / "best.card.json").read_text())
    assert "parent" not in first["training"]
    assert second["training"]["parent"] == {"sha256": first["sha256"]["best.safetensors"], "training": first["training"]}


def test_a_cut_checkpoint_is_refused(config: train.TrainConfig) -> None:
    train.train(replace(config, steps=1), progress=False)
    path = Path(config.out) / "last.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DatasetError, match="cannot be resumed"):
        train.train(config, progress=False)


def test_schedule_rises_stays_and_falls() -> None:
    config = train.TrainConfig(steps=100, warmup_steps=10, decay=0.2, learning_rate=1.0, batch=16)
    rates = [train.learning_rate(config, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:80] == [1.0] * 71
    assert rates[90] == pytest.approx(0.5)
    assert rates[100] == 0.0


def test_configuration_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    for text, words in (("stepz: 3", "expected keys among"), ("steps: many", "steps: expected a number"),
                        ("crop: [100, 64]", "multiples of 32"), ("loss: {class: 1}", "loss: expected keys"),
                        ("- 1", "expected keys, got list"), ("\x89PNG", "cannot be read"),
                        ("steps: 0", "1 or more"), ("out: 3", "expected str")):
        path.write_text(text, encoding="latin-1")
        with pytest.raises(ConfigError, match=words):
            train.read_config(path, {})
    path.write_text("steps: 7\nloss: {offset: 2}\ndata: [a, b]")
    config = train.read_config(path, {"seed": 5, "out": None})
    assert (config.steps, config.seed, config.loss.offset, config.data) == (7, 5, 2.0, ("a", "b"))


def test_the_shipped_configuration_holds_the_defaults() -> None:
    shipped = train.read_config(Path(__file__).parents[3] / "config" / "train.yaml", {})
    assert shipped == train.TrainConfig()


def call(module: object, *words: object) -> int:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)  # type: ignore[attr-defined]
    return int(module.run(parser.parse_args([str(word) for word in words])))  # type: ignore[attr-defined]


def test_export_evaluate_and_finetune_follow(config: train.TrainConfig, dataset: Path, tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    train.train(replace(config, steps=2), progress=False)
    assert call(export, config.out, "--out", tmp_path / "model", "--name", "small") == 0
    model = tmp_path / "model" / "small.onnx"
    assert Segmenter(model).card.training["steps"] == 2
    report = tmp_path / "report.json"
    assert call(evaluate, dataset, "--model", model, "--first", 2, "--worst", tmp_path / "worst.png",
                "--json", report) == 0
    assert set(json.loads(report.read_text())) == {"model_id", "dataset", "depth", "colour"}
    assert (tmp_path / "worst.png").stat().st_size > 0
    assert call(evaluate, dataset, "--model", model, "--first", 1, "--min-ap50", 1.0) == 1
    assert call(finetune, dataset, "--images", 2, "--steps", 1, "--replay", "--init", model.with_suffix(".safetensors"),
                "--cache", config.cache, "--out", tmp_path / "cell") == 0
    before, after = (load_file(str(p)) for p in (model.with_suffix(".safetensors"), tmp_path / "cell" / "adapted.safetensors"))
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert Segmenter(tmp_path / "cell" / "adapted.onnx").card.training["parent"]["sha256"] == file_sha256(
        tmp_path / "model" / "small.safetensors")
    capsys.readouterr()
    assert call(finetune, dataset, "--images", 99, "--out", tmp_path / "x") == 2
    assert call(evaluate, tmp_path / "none") == 2
    assert call(export, tmp_path / "none", "--out", tmp_path) == 2
    assert call(train, "--data", tmp_path / "none", "--out", tmp_path / "y") == 2
    assert capsys.readouterr().err.count("\n") == 4


def test_network_learns_a_picture_by_heart(config: train.TrainConfig) -> None:
    config = replace(config, steps=30, batch=4, validation=(), validate_every=10, learning_rate=0.02,
                     augmentation=replace(config.augmentation, colour=0.0, occluders=0.0, background=0.0, shadows=0.0,
                                          zoom=(1.0, 1.0), turn_rad=0.0))
    train.train(config, progress=False)
    history = json.loads((Path(config.out) / "run.json").read_text())["history"]
    assert history[-1]["loss_classes"] < 0.7 * history[0]["loss_classes"]
    assert np.isfinite([row["loss_total"] for row in history]).all()


def test_files_hold_half_precision_and_answer_as_before(tmp_path: Path) -> None:
    torch.manual_seed(3)
    net = PackageNet(NetworkShape(widths=(16, 16, 32, 32, 32), blocks=(1, 1, 1, 1))).eval()
    path = export.export_model(net, tmp_path, "half", {}, {})
    floats = 4 * sum(p.numel() for p in net.parameters())
    assert path.stat().st_size < 0.6 * floats + 60_000  # half of the weights, and the graph
    assert path.with_suffix(".safetensors").stat().st_size < 0.6 * floats + 30_000
    stored = load_file(str(path.with_suffix(".safetensors")))
    assert {v.dtype for v in stored.values() if v.ndim > 1} == {torch.float16}
    assert {v.dtype for v in stored.values() if v.ndim == 1} == {torch.float32}
    rng = np.random.default_rng(0)
    rgb, depth = rng.integers(0, 256, (1, 64, 96, 3), np.uint8), rng.random((1, 32, 48, 3), np.float32)
    with torch.inference_mode():
        whole = ExportedNet(net)(torch.from_numpy(rgb), torch.from_numpy(depth)).numpy()
        rounded = ExportedNet(export.load_network(path.with_suffix(".safetensors")).eval())(
            torch.from_numpy(rgb), torch.from_numpy(depth)).numpy()
    ran = Segmenter(path, runtime="onnxruntime")._run({"rgb": rgb, "depth": depth})
    for answer in (ran, rounded):
        assert np.abs(whole - answer)[:, :-2].max() < 0.04
        assert np.abs(whole - answer)[:, -2:].max() < 0.1 * np.abs(whole[:, -2:]).max()
    for path_of in (path, path.with_suffix(".safetensors")):  # what is always zero can be left out
        assert len(zlib.compress(path_of.read_bytes())) < 0.65 * path_of.stat().st_size


@given(arrays(np.float32, (5, 3, 2), elements=st.floats(-60000, 60000, width=32)), st.floats(-18, 0))
def test_rounded_weights_are_few_and_exact_in_half_precision(weights: np.ndarray, exponent: float) -> None:
    weights = (weights * np.float32(2.0**exponent)).astype(np.float32)
    rounded = export.on_grid(weights)
    for row, kept in zip(weights, rounded, strict=True):
        assert np.abs(row - kept).max() <= np.abs(row).max() / 127 + 1e-12  # half a step, which is less than doubled
        steps = kept / np.exp2(np.ceil(np.log2(max(float(np.abs(row).max()), 1e-30) / 127)))
        assert np.array_equal(steps, np.round(steps))
        assert np.abs(steps).max() <= 127
    with np.errstate(over="ignore"):
        halves = rounded.astype(np.float16).astype(np.float32)
    assert np.abs(halves - rounded)[np.isfinite(halves)].max(initial=0.0) <= 2.0**-25


def test_another_list_of_classes_keeps_what_is_known() -> None:
    torch.manual_seed(2)
    old = PackageNet(TINY, ("poly_bag", "box")).eval()
    for head in (old.head, *old.coarse):
        torch.nn.init.normal_(head.weight, std=0.3)
        torch.nn.init.normal_(head.bias, std=0.3)
    assert with_classes(old, old.classes) is old
    new = with_classes(old, CLASS_NAMES).eval()
    rgb, depth = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8), torch.rand(1, 32, 48, 3)
    with torch.inference_mode():
        before, after = old(rgb, depth)[0], new(rgb, depth)[0]
        seen, sees = ExportedNet(old)(rgb, depth)[0], ExportedNet(new)(rgb, depth)[0]
    at = [0, *[1 + CLASS_NAMES.index(name) for name in old.classes]]
    assert torch.allclose(after[at], before[:3], atol=1e-5)
    assert torch.allclose(after[-4:], before[-4:], atol=1e-5)
    rare = before[1:3].mean(dim=0)
    for name in ("padded_mailer", "item"):
        channel = after[1 + CLASS_NAMES.index(name)]
        assert torch.allclose(channel, channel.flatten()[0] - rare.flatten()[0] + rare, atol=1e-5)
        assert (channel < before[1:3].max(dim=0).values - 1.0).all()  # nothing is of a class that was never seen
    assert (sees[0] - seen[0]).abs().max() < 0.07  # p (1 - p) times the change of the odds: two classes are new here
    fewer = with_classes(new, ("box",))
    with torch.inference_mode():
        assert torch.allclose(fewer.eval()(rgb, depth)[0][:2], before[[0, 2]], atol=1e-5)


def test_a_parent_with_fewer_classes_learns_the_others(config: train.TrainConfig, dataset: Path, tmp_path: Path) -> None:
    coco = json.loads((dataset / "annotations.json").read_text())
    coco["categories"][1]["name"] = "item"
    (dataset / "annotations.json").write_text(json.dumps(coco))
    parent = export.export_model(PackageNet(TINY, ("box", "poly_bag")), tmp_path / "parent", "parent", {}, {})
    init = parent.with_suffix(".safetensors")
    train.train(replace(config, init=str(init), steps=1), progress=False)
    assert Segmenter(Path(config.out) / "best.onnx").card.classes == CLASS_NAMES
    assert call(finetune, dataset, "--images", 2, "--steps", 1, "--replay", "--init", init, "--cache", config.cache,
                "--out", tmp_path / "cell") == 0
    assert Segmenter(tmp_path / "cell" / "adapted.onnx").card.classes == ("box", "poly_bag", "item")


def test_weights_too_large_for_half_precision_are_refused(tmp_path: Path) -> None:
    net = PackageNet(NetworkShape(widths=(16, 16, 16, 16, 16), blocks=(1, 1, 1, 1)))
    with torch.no_grad():
        net.neck[0].weight.fill_(1e5)  # type: ignore[operator]
    with pytest.raises(ModelError, match="expected weights below 65504"):
        export.export_model(net, tmp_path / "big", "big", {}, {})
    assert not list((tmp_path / "big").iterdir())

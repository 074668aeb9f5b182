"""Adapting to a cell: what is wrong is one line and status 2, and nothing half-written is taken for whole."""

import argparse
import contextlib
import json
import re
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from perception_node.errors import DatasetError
from perception_node.learn import datasets, evaluate, finetune, quantise
from perception_node.learn.cache import cached
from perception_node.learn.export import export_model, load_network
from perception_node.learn.finetune import adapted_classes, blend, finetune_config, scratch_config
from perception_node.learn.train import drawn_entries
from perception_node.segment.model import NetworkShape, PackageNet
from perception_node.segment.weights import card_path, int8_path, int8_weights

TINY = NetworkShape(widths=(8, 8, 8, 8, 8), blocks=(1, 1, 1, 1))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    return export_model(PackageNet(TINY), folder, "tiny", {}, {}, {"calibration": [0.5, 0.25]})


def call(module: Any, *words: object) -> int:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    try:
        return int(module.run(parser.parse_args([str(word) for word in words])))
    except SystemExit as refused:  # by the parser
        return int(refused.code or 0)


def change(dataset: Path, edit: Any) -> None:
    path = dataset / "annotations.json"
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


@contextlib.contextmanager
def disk_full_after(size: int) -> Iterator[None]:
    """Writing more than `size` bytes into a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


BREAKAGES = [
    (lambda d: change(d, lambda a: a.update(images=[], annotations=[])), "at least one picture, found none"),
    (lambda d: change(d, lambda a: a.update(annotations=[])), "expected labelled packages, found none in 6 pictures"),
    (lambda d: (d / "labels/0003.png").write_bytes((d / "rgb/0003.png").read_bytes()), "labels/0003.png: expected a one-channel"),
    (lambda d: shutil.copy(d.parent / "small.png", d / "labels/0003.png"), "expected 160x120 like the colour picture, got 80x60"),
    (lambda d: change(d, lambda a: a["categories"][0].update(name="crate")), r"got \['crate'\]"),
    (lambda d: (d / "rgb/0003.png").write_bytes((d / "rgb/0003.png").read_bytes()[:200]), "rgb/0003.png: .* cut off after 200"),
]


@pytest.mark.parametrize("module", [finetune, evaluate], ids=["finetune", "evaluate"])
@pytest.mark.parametrize(("breakage", "words"), BREAKAGES, ids=["empty", "unlabelled", "wrong", "size", "class", "cut"])
def test_broken_data_is_one_line(module: Any, breakage: Any, words: str, dataset: Path, model: Path, tmp_path: Path,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((60, 80), np.uint16))
    breakage(dataset)
    arguments = (["--init", model.with_suffix(".safetensors"), "--replay", "--steps", 1, "--threads", 1,
                  "--cache", tmp_path / "cache", "--out", tmp_path / "run"] if module is finetune
                 else ["--model", model, "--runtime", "torch", "--threads", 1])
    assert call(module, dataset, *arguments) == 2
    line = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()[-1]
    assert re.search(words, line), line
    assert not list(tmp_path.glob("run/*.onnx"))
    assert not list(tmp_path.glob("cache/*/index.json"))


def test_a_cut_model_is_one_line(dataset: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in model.parent.iterdir():
        shutil.copy(file, tmp_path / file.name)
    for name in ("tiny.onnx", "tiny.safetensors"):
        (tmp_path / name).write_bytes((model.parent / name).read_bytes()[:5000])
    assert call(evaluate, dataset, "--model", tmp_path / "tiny.onnx") == 2
    assert call(finetune, dataset, "--init", tmp_path / "tiny.safetensors", "--replay", "--out", tmp_path / "run") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "the file is cut, changed or not the card's" in lines[0]
    assert "tiny.safetensors: " in lines[1]
    assert not (tmp_path / "run").exists()


def test_a_wrong_set_to_replay_is_told_before_anything_is_written(dataset: Path, model: Path, tmp_path: Path,
                                                                  capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert call(finetune, dataset, "--init", model.with_suffix(".safetensors"), "--replay", tmp_path / "none", "--out", out) == 2
    assert re.fullmatch(r"finetune: [^\n]*none[^\n]*\n", capsys.readouterr().err)
    assert not out.exists()


@pytest.mark.parametrize("decoded", [False, True], ids=["cache", "checkpoint"])
def test_a_full_disk_is_one_line_and_leaves_nothing_that_looks_whole(decoded: bool, dataset: Path, model: Path, tmp_path: Path,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    init, cache, out = model.with_suffix(".safetensors"), tmp_path / "cache", tmp_path / "run"
    if decoded:
        config = finetune_config(dataset, out, 1, None, 1, 0, [], str(cache), init)
        cached(dataset, cache, drawn_entries(config), progress=False)
    with disk_full_after(20_000):
        assert call(finetune, dataset, "--init", init, "--replay", "--images", 1, "--steps", 1, "--threads", 1, "--cache", cache,
                    "--out", out) == 2
    err = capsys.readouterr().err
    assert re.search(r"(^|[\n\r])finetune: [^\n\r]*(cache|run)[^\n\r]*: (cannot go on|cannot be written)[^\n\r]*\n", err)
    assert not list(out.glob("*.onnx"))
    assert len(list(cache.glob("*/index.json"))) == decoded


def test_a_full_disk_stops_a_merge(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with disk_full_after(1000):
        assert call(datasets, "merge", dataset, "--out", tmp_path / "all") == 2
    assert "cannot be written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_folder_holds_one_run_and_a_finished_one_is_not_repeated(dataset: Path, model: Path, tmp_path: Path,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--init", model.with_suffix(".safetensors"), "--replay", "--steps", 1, "--threads", 1, "--images", 2,
                 "--cache", tmp_path / "cache", "--out", tmp_path / "run"]
    assert call(finetune, dataset, *arguments, "--json", tmp_path / "r.json") == 0
    figures = json.loads((tmp_path / "r.json").read_text())
    assert figures["pictures"] == 2
    assert figures["blend"] == finetune.BLEND
    card = json.loads((tmp_path / "run" / "adapted.card.json").read_text())
    assert card["grouping"]["calibration"] == [0.5, 0.25]
    assert figures["int8"] == card["int8"]
    assert (card["int8"]["pictures"], card["int8"]["judged_on"]) == (2, 2)
    assert int8_weights(tmp_path / "run" / "adapted.onnx") == tmp_path / "run" / "adapted.int8.onnx"
    weights = (tmp_path / "run" / "adapted.safetensors").read_bytes()
    assert call(finetune, dataset, *arguments) == 0
    assert (tmp_path / "run" / "adapted.safetensors").read_bytes() == weights
    assert call(finetune, dataset, *arguments, "--seed", 1) == 2
    assert "holds a run with other settings" in capsys.readouterr().err
    assert call(finetune, dataset, *arguments, "--blend", 2) == 2
    assert call(finetune, dataset, *arguments, "--replay-share", 1) == 2


@pytest.mark.parametrize("bound", [-1.0, 1.0])
def test_an_8_bit_file_that_loses_too_much_is_not_left(bound: float, dataset: Path, model: Path, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    for file in model.parent.iterdir():
        shutil.copy(file, tmp_path / file.name)
    weights = tmp_path / model.name
    int8_path(weights).write_bytes(b"of a former run")
    before = card_path(weights).read_bytes()
    monkeypatch.setattr(quantise, "MAX_LOSS", bound)
    config = finetune_config(dataset, tmp_path, 2, None, 1, 0, [str(dataset)], "cache", model)
    said = finetune._add_int8(weights, config)
    assert said["pictures"] == 8
    assert {"AP", "AP_int8"} == set(said["depth"]) == set(said["colour"])
    assert ("refused" in said) == (bound < 0)
    assert int8_path(weights).is_file() == (bound > 0)
    assert (card_path(weights).read_bytes() == before) == (bound < 0)
    words = finetune._int8_words(said)
    assert words.startswith("note: no 8-bit file" if bound < 0 else "8-bit file")


def test_forgotten_pictures_and_proposals_are_said(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(dataset, lambda a: a.update(info={"proposals_by": "m 1"}, annotations=a["annotations"][3:]))
    finetune._say_notes(dataset, None)
    error = capsys.readouterr().err
    assert "note: 1 pictures have no labelled package and count as empty: 0000" in error
    assert "proposals of m 1 that no one has corrected" in error


def test_a_blend_lies_between(model: Path) -> None:
    base, other = (load_network(model.with_suffix(".safetensors")) for _ in range(2))
    with torch.no_grad():
        other.head.weight += 1.0
    middle = blend(base, other, 0.25)
    assert torch.allclose(middle.head.weight, base.head.weight + 0.25)
    assert torch.equal(middle.stem[0].weight, base.stem[0].weight)


def test_settings_follow_the_number_of_pictures(dataset: Path, tmp_path: Path) -> None:
    config = finetune_config(dataset, tmp_path / "run", 5, None, None, 3, ["replay"], "cache", Path("m.safetensors"))
    assert (config.draw, config.data, config.steps, config.seed) == ((5, 6), (str(dataset), "replay"), 200, 3)
    scratch = scratch_config(config)
    assert (scratch.init, scratch.data, scratch.first_share) == ("", (str(dataset),), 0.0)
    assert finetune_config(dataset, tmp_path, None, 4, None, 0, [], "cache", Path("m")).draw == (4, 4)
    with pytest.raises(DatasetError, match="expected 7 pictures to draw from, found 6"):
        finetune_config(dataset, tmp_path, 7, None, None, 0, [], "cache", Path("m"))


def test_an_adapted_model_knows_its_parents_classes_and_those_that_its_pictures_show(dataset: Path, tmp_path: Path) -> None:
    three = ("box", "padded_mailer", "poly_bag")
    torch.manual_seed(0)
    init = export_model(PackageNet(TINY, three), tmp_path, "three", {}, {}, {}).with_suffix(".safetensors")
    assert call(finetune, dataset, "--init", init, "--replay", "--images", 2, "--steps", 1, "--threads", 1,
                "--cache", tmp_path / "cache", "--out", tmp_path / "run") == 0
    assert json.loads((tmp_path / "run" / "adapted.card.json").read_text())["classes"] == list(three)

    change(dataset, lambda a: a["categories"][0].update(name="item"))
    config = finetune_config(dataset, tmp_path / "other", None, None, 1, 0, [], str(tmp_path / "cache"), init)
    assert adapted_classes(three[1:], config) == (*three[1:], "item")
    assert adapted_classes(three, config) == (*three, "item")

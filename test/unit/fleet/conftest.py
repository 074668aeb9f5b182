"""Two cells' data sets, and models made from the shipped one: nearly as good, and much worse."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from perception_node.segment.weights import default_weights

_maker = importlib.util.spec_from_file_location("learn_conftest", Path(__file__).parents[1] / "learn" / "conftest.py")
_learn = importlib.util.module_from_spec(_maker)
_maker.loader.exec_module(_learn)


@pytest.fixture
def make_dataset():
    return _learn.write_dataset


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Paths of .onnx files by name: "same" (the shipped model, copied), "near" (weights moved a little), "worse" (a lot)."""
    torch = pytest.importorskip("torch", reason="pip install -r requirements/train.txt")
    from perception_node.learn.export import export_model, load_network
    from perception_node.segment.weights import read_card

    folder = tmp_path_factory.mktemp("models")
    shipped, card = default_weights(), read_card(default_weights())
    out = {"same": folder / shipped.name}
    for name in (shipped.name, f"{shipped.stem}.card.json"):
        shutil.copyfile(shipped.with_name(name), folder / name)
    for name, amount in (("near", 1e-4), ("worse", 1.0)):
        net = load_network(shipped.with_suffix(".safetensors"))
        torch.manual_seed(0)
        with torch.no_grad():
            for value in net.parameters():
                value.add_(amount * value.std(unbiased=False) * torch.randn_like(value))
        out[name] = export_model(net, folder, name, card.training, {}, card.grouping)
    return out


@pytest.fixture
def two_cells(tmp_path, make_dataset):
    """A registry of two cells with judging sets, one with a training set."""
    from perception_node.fleet.command import add_set

    registry = tmp_path / "fleet.yaml"
    for number, cell in enumerate(("north", "south")):
        data = make_dataset(tmp_path / cell / "judge", 3, seed=10 + number)
        add_set(registry, cell, data, "judge", "CC0-1.0", "drawn", {}, 0.02, progress=False)
    data = make_dataset(tmp_path / "north" / "train", 3, seed=30)
    add_set(registry, "north", data, "train", "CC0-1.0", "drawn", {}, progress=False)
    return registry


@pytest.fixture
def without_lineage(models, tmp_path):
    """The nearly as good model with a card that does not say where it comes from."""
    for path in models["near"].parent.glob("near.*"):
        shutil.copyfile(path, tmp_path / path.name)
    card = tmp_path / "near.card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "training": {}}))
    return tmp_path / "near.onnx"

"""A simulated cell: place, camera and makes stay, piles differ; the same seed gives the same bytes."""

import json

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="pip install -r requirements/train.txt")

from perception_node.sim.cell import SimulatedCell  # noqa: E402
from perception_node.sim.packages import BAG, BOX, MAILER  # noqa: E402
from perception_node.sim.synthesize import synthesize  # noqa: E402


def made(folder, cell, seed):
    synthesize(folder, 3, seed, width=160, height=120, progress=False, cell=cell)
    return [json.loads(path.read_text()) for path in sorted((folder / "meta").iterdir())]


def test_a_cell_stays_and_its_piles_differ(tmp_path):
    cell = SimulatedCell(4)
    one, again, more = (made(tmp_path / name, cell, seed) for name, seed in (("one", 1), ("again", 1), ("more", 2)))
    assert one == again
    for path in (tmp_path / "one" / "rgb").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / "rgb" / path.name).read_bytes()
    for meta in one + more:
        assert meta["K"] == one[0]["K"]
        assert meta["camera_to_world"] == one[0]["camera_to_world"]
        assert meta["layout"] == one[0]["layout"]
    assert len({json.dumps(meta["instances"]) for meta in one + more}) == 6
    other = made(tmp_path / "other", SimulatedCell(5), 1)
    assert other[0]["camera_to_world"] != one[0]["camera_to_world"]
    stock = {spec.look_seed for spec in cell.stock()}
    assert {int(i["sku"].split("_")[1], 16) for meta in one for i in meta["instances"]} <= stock


def test_the_mix_of_classes_is_the_cells():
    for shares in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
        classes = {spec.class_id for spec in SimulatedCell(1, shares).stock()}
        assert classes == {(BOX, MAILER, BAG)[int(np.argmax(shares))]}
    many = [spec.class_id for spec in SimulatedCell(2, (0.1, 0.1, 0.8), makes=400).stock()]
    assert 0.72 < many.count(BAG) / 400 < 0.88


def test_packages_lie_on_a_face():
    piles = [SimulatedCell(4).pile(np.random.default_rng(seed)) for seed in range(3)]
    upward = np.concatenate([np.abs(pile.rotations[:, 2, :]).max(axis=1) for pile in piles])
    assert np.mean(upward > 0.97) > 0.7

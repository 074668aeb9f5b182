"""Goods without packing: made, settled, labelled; nothing loose stays unlabelled."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("numba")

from perception_node.errors import MissingDependencyError  # noqa: E402
from perception_node.sim import fixtures, goods, packages, scenarios  # noqa: E402
from perception_node.sim.dataset import Sample  # noqa: E402
from perception_node.sim.meshes import rotation_from_wxyz  # noqa: E402
from perception_node.sim.opengl import opengl_samples  # noqa: E402
from perception_node.sim.physics import settle  # noqa: E402
from perception_node.sim.sample import Picture, pile_samples  # noqa: E402
from perception_node.sim.synthesize import CONTENTS, STYLES  # noqa: E402
from perception_node.types import CLASS_NAMES  # noqa: E402


@pytest.mark.parametrize("form", goods.FORMS)
def test_a_good_is_whole(form: str) -> None:
    for seed in range(6):
        good = goods.make(form, seed)
        points = np.concatenate([mesh.vertices for mesh, _ in good.pieces])
        assert np.allclose(points.max(0), -points.min(0), atol=1e-5)
        assert np.allclose(np.ptp(points, axis=0), good.size_m, atol=1e-5)
        assert 0.025 < max(good.size_m) < 0.45
        for mesh, look in good.pieces:
            assert mesh.triangles.max() < len(mesh.vertices)
            assert len(look.textures) > mesh.part.max()
            length = np.linalg.norm(mesh.normals, axis=1)
            assert ((np.abs(length - 1) < 1e-3) | (length < 1e-3)).all()  # none at a lathe's poles
        reach = [np.abs(np.array(s.position_m)) + min(s.half_m) for s in good.solids]
        assert (np.max(reach, axis=0) < np.array(good.size_m) / 2 + 0.03).all()


def test_the_same_seed_makes_the_same_good_and_another_seed_another() -> None:
    again = goods.make.__wrapped__("bottle", 3)
    for (mesh, look), (other, skin) in zip(goods.make("bottle", 3).pieces, again.pieces, strict=True):
        assert np.array_equal(mesh.vertices, other.vertices)
        assert all(np.array_equal(a, b) for a, b in zip(look.textures, skin.textures, strict=True))
    assert goods.make("bottle", 4).size_m != again.size_m


@pytest.mark.parametrize("form", goods.FORMS)
def test_a_good_comes_to_rest_on_the_ground(form: str) -> None:
    good = goods.make(form, 1)
    spec = packages.PackageSpec(packages.ITEM, good.size_m, 1, 0, form)
    start = np.array([0.0, 0.0, float(np.linalg.norm(good.size_m)) / 2])
    for quaternion in (np.array([1.0, 0, 0, 0]), np.array([np.sqrt(0.5), np.sqrt(0.5), 0, 0])):
        places, turns = settle([scenarios.body_of(spec, start, quaternion)], [], 0.6)
        rotation = rotation_from_wxyz(turns[0])
        lowest = min(float((mesh.vertices @ rotation.T)[:, 2].min()) for mesh, _ in good.pieces) + float(places[0, 2])
        assert -0.02 < lowest < 0.02
        assert np.hypot(*places[0, :2]) < 0.4


def test_a_box_round_what_looks_the_same_turned_stands_upright() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        q = rng.normal(size=4)
        rotation = rotation_from_wxyz(q / np.linalg.norm(q))
        axes = goods.resting_axes("axis", rotation)
        assert np.allclose(axes @ axes.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(axes) == pytest.approx(1.0)
        assert np.allclose(axes[:, 2], rotation[:, 2])
        assert goods.resting_axes("ball", rotation)[2, 2] == pytest.approx(1.0)
        assert goods.resting_axes("", rotation) is rotation
    lying = rotation_from_wxyz(np.array([np.cos(0.4), 0, np.sin(0.4), 0])) @ np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    assert abs(goods.resting_axes("axis", lying)[2]).max() > abs(lying[2, :2]).max() - 1e-9


def _checked(samples: list[Sample]) -> int:
    """Number of goods whose pixels' depth lies in their labelled box."""
    seen = 0
    for sample in samples:
        meta = sample.meta
        for instance in meta["instances"]:
            assert instance["class"] == "item" == CLASS_NAMES[instance["category_id"] - 1]
            rows, columns = np.nonzero(sample.labels == instance["id"])
            if len(rows) < 60:
                continue
            z = sample.depth_true_m[rows, columns]
            points = np.stack([(columns - meta["cx"]) * z / meta["fx"], (rows - meta["cy"]) * z / meta["fy"], z])
            pose = np.array(instance["pose_cam"])
            local = pose[:3, :3].T @ (points - pose[:3, 3:])
            assert (np.abs(local).max(1) < np.array(instance["obb_size_lwh_m"]) / 2 + 0.015).all()
            seen += 1
    return seen


def test_goods_are_labelled_with_class_box_and_pose() -> None:
    picture = Picture(240, 180, content="goods")
    samples = [s for group in range(4) for s in pile_samples(1, group, [3 * group], picture)]
    assert _checked(samples) >= 4
    again = pile_samples(1, 0, [0], picture)[0]
    assert np.array_equal(again.rgb, samples[0].rgb)
    assert again.meta == samples[0].meta


def test_the_other_engine_draws_goods_too() -> None:
    try:
        samples = [s for group in range(3) for s in opengl_samples(1, group, [group], Picture(240, 180, content="goods"))]
    except MissingDependencyError as error:
        pytest.skip(str(error))
    assert _checked(samples) >= 2


def test_shares_of_what_lies_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def still(bodies, *_):  # no physics: where they start
        return np.array([b.position_m for b in bodies]).reshape(-1, 3), np.tile([1.0, 0, 0, 0], (len(bodies), 1))

    monkeypatch.setattr(scenarios, "settle", still)
    piles = [scenarios.random_pile(np.random.default_rng([seed, 9])) for seed in range(500)]
    items = np.array([sum(spec.class_id == packages.ITEM for spec in pile.specs) for pile in piles])
    counts = np.array([len(pile.specs) for pile in piles]) - items
    assert ((counts == 0) & (items == 0)).mean() == pytest.approx(0.06, abs=0.025)
    assert ((counts == 0) & (items > 0)).mean() == pytest.approx(0.04, abs=0.02)
    assert ((counts > 0) & (items > 0)).mean() == pytest.approx(0.25, abs=0.04)
    assert items.max() <= 8
    assert counts.max() <= 30
    for content, has in (("packages", (True, False)), ("goods", (False, True)), ("nothing", (False, False))):
        for seed in range(12):
            classes = {spec.class_id for spec in scenarios.random_pile(np.random.default_rng(seed), content=content).specs}
            assert (bool(classes - {packages.ITEM}), packages.ITEM in classes) == has


def test_the_command_line_knows_all_contents() -> None:
    assert set(CONTENTS) == set(scenarios.CONTENTS)
    assert set(STYLES) - {"opengl"} == {"train", "validation"}


def test_unlabelled_machinery_is_screwed_down_or_larger_than_goods() -> None:
    for seed in range(30):
        for make in (fixtures.motor, fixtures.cabinet, fixtures.drum):
            mesh, _ = make(np.random.default_rng(seed))
            assert np.sort(np.ptp(mesh.vertices, axis=0))[-2:].min() > 0.15
            assert np.ptp(mesh.vertices, axis=0).max() > 0.3
        mesh, look = fixtures.flat_mark(np.random.default_rng(seed))
        assert np.ptp(mesh.vertices[:, 2]) == 0
        assert mesh.vertices[:, 2].max() < 0.002
        for make in (fixtures.bracket, fixtures.post, fixtures.deflector, fixtures.cover_plate, fixtures.motor, fixtures.cabinet):
            mesh, look = make(np.random.default_rng(seed))
            assert len(look.textures) > mesh.part.max()
            assert (mesh.part == mesh.part.max()).sum() >= 2 * 12  # the screw heads come last

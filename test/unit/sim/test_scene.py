"""Shapes, physics, renderer and sensors one by one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("numba")

from perception_node.sim import (  # noqa: E402
    environment,
    noise,
    packages,
    patterns,
    render,
    scenarios,
    sensor,
    shapes,
    surfaces,
    textures,
)
from perception_node.sim.environment import look_at  # noqa: E402
from perception_node.sim.physics import Body, settle  # noqa: E402
from perception_node.sim.sample import upright_box  # noqa: E402

_LEVEL = np.array([1.0, 0.0, 0.0, 0.0])


def _lighting() -> render.Lighting:
    return render.Lighting([render.Light(np.array([0.3, 0.2, 1.0]), np.ones(3))], np.zeros((0, 9), np.float32), np.full(9, 0.4))


def _view(height_m: float = 1.0, width: int = 160, height: int = 120) -> render.View:
    pose = look_at(np.array([0.0, 0.0, height_m]), np.zeros(3), 0.0)
    return render.View(np.array([150.0, 150.0, (width - 1) / 2, (height - 1) / 2]), width, height, pose)


def _block(x: float, size: tuple[float, float, float], instance: int) -> render.Item:
    mesh = shapes.block_mesh(np.array(size)).moved(np.eye(3), np.array([x, 0.0, size[2] / 2]))
    return render.Item(mesh, surfaces.plain_look(np.array([200.0, 150.0, 90.0])), instance)


@pytest.mark.parametrize("class_id", [1, 2, 3])
def test_meshes_fit_their_size_and_have_outward_unit_normals(class_id: int) -> None:
    rng = np.random.default_rng(1)
    for _ in range(12):
        spec = packages.random_spec(rng, class_id)
        mesh = packages.build_model(spec, *packages.build_look(spec)).mesh
        extent = np.ptp(mesh.vertices, axis=0)
        assert np.isfinite(mesh.vertices).all()
        assert (extent[:2] < np.array(spec.size_m[:2]) * 1.35 + 0.01).all()
        assert extent[2] < spec.size_m[2] * 2.0 + 0.03
        assert np.allclose(np.linalg.norm(mesh.normals, axis=1), 1.0, atol=1e-3)
        assert float((mesh.normals * mesh.vertices).sum(1).mean()) > 0
        assert mesh.triangles.max() < len(mesh.vertices)


def test_twins_share_their_textures() -> None:
    spec = packages.random_spec(np.random.default_rng(2), packages.BOX)
    twin = spec.twin(99)
    assert all(np.array_equal(a, b) for a, b in
               zip(packages.build_look(spec)[0].textures, packages.build_look(twin)[0].textures, strict=True))


def test_a_dropped_box_comes_to_rest_on_the_floor() -> None:
    box = Body(np.array([0.3, 0.2, 0.1]), np.array([0.0, 0.0, 0.3]), _LEVEL)
    positions, quaternions = settle([box], [], 0.6)
    assert positions[0, 2] == pytest.approx(0.05, abs=0.004)
    assert abs(quaternions[0, 0]) > 0.999


def test_a_stack_stays_a_stack() -> None:
    bodies = [Body(np.array([0.2, 0.2, 0.1]), np.array([0.0, 0.0, 0.05 + 0.101 * n]), _LEVEL) for n in range(3)]
    positions, _ = settle(bodies, [], 0.6)
    assert np.diff(positions[:, 2]).min() > 0.09


def test_nothing_to_settle() -> None:
    positions, quaternions = settle([], [], 0.5)
    assert positions.shape == (0, 3)
    assert quaternions.shape == (0, 4)


def test_depth_and_labels_of_a_block_seen_from_above() -> None:
    drawn = render.render(render.pack([_block(0.0, (0.2, 0.1, 0.05), 1)]), _lighting(), _view(), np.zeros(3), 1.0)
    assert drawn.depth_m[60, 80] == pytest.approx(0.95, abs=1e-4)
    rows, columns = np.nonzero(drawn.ids == 1)
    assert np.ptp(columns) + 1 == pytest.approx(0.2 * 150 / 0.95, abs=1.1)
    assert np.ptp(rows) + 1 == pytest.approx(0.1 * 150 / 0.95, abs=1.1)
    assert columns.mean() == pytest.approx(79.5, abs=0.6)
    assert (drawn.depth_m[drawn.ids == 0] == 0).all()


def test_the_nearer_block_hides_the_other_and_counts_say_so() -> None:
    items = [_block(0.0, (0.3, 0.3, 0.05), 1), _block(0.05, (0.1, 0.1, 0.2), 2)]
    drawn = render.render(render.pack(items), _lighting(), _view(), np.zeros(3), 1.0)
    assert (drawn.ids == 2).sum() == drawn.counts[2, 0]
    assert (drawn.ids == 1).sum() == pytest.approx(drawn.counts[1, 0] - (drawn.ids == 2).sum(), rel=0.1)


def test_pixels_outside_the_picture_count_as_unseen() -> None:
    drawn = render.render(render.pack([_block(0.53, (0.3, 0.2, 0.05), 1)]), _lighting(), _view(), np.zeros(3), 1.0)
    assert 0 < drawn.counts[1, 1] < drawn.counts[1, 0]


def test_a_shadow_falls_beside_the_block() -> None:
    ground = shapes.plane_mesh(np.zeros(3), np.array([2.0, 0, 0]), np.array([0, 2.0, 0]), (1.0, 1.0))
    floor = render.Item(ground, surfaces.plain_look(np.array([180.0, 180.0, 180.0])), 0, False)
    lamp = render.Light(np.array([1.0, 0.0, 1.0]), np.ones(3), False, 3)
    lighting = render.Lighting([lamp], np.zeros((0, 9), np.float32), np.full(9, 0.1))
    drawn = render.render(render.pack([floor, _block(0.0, (0.1, 0.1, 0.1), 1)]), lighting, _view(), np.zeros(3), 1.0)
    grey = drawn.colour.mean(-1)
    assert grey[60, 80 - 17] < 0.6 * grey[60, 80 + 25]


def test_names_of_axes_follow_the_upper_face() -> None:
    turned = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    size, axes = upright_box((0.3, 0.2, 0.1), turned)
    assert size == [0.3, 0.1, 0.2]
    assert axes[2, 2] == pytest.approx(1.0)
    assert np.linalg.det(axes) == pytest.approx(1.0)


def test_depth_camera_is_close_but_not_perfect() -> None:
    true = np.full((240, 320), 1.0, np.float32)
    true[80:160, 100:220] = 0.8
    settings = sensor.DepthSensor()
    measured = sensor.depth_picture(true, np.zeros_like(true), settings, np.random.default_rng(0))
    good = measured > 0
    assert 0.8 < good.mean() < 1.0
    assert np.median(np.abs(measured - true)[good]) < 0.003
    shadow = measured[90:150, 96:100] if settings.side < 0 else measured[90:150, 88:100]
    assert (shadow == 0).mean() > 0.3 or (measured[90:150, 220:232] == 0).mean() > 0.3


def test_film_makes_holes_in_depth() -> None:
    true = np.full((240, 320), 1.0, np.float32)
    film = np.ones_like(true)
    settings = sensor.DepthSensor(dropout=0.0)
    clear = sensor.depth_picture(true, np.zeros_like(true), settings, np.random.default_rng(0))
    glossy = sensor.depth_picture(true, film, settings, np.random.default_rng(0))
    assert (glossy == 0).mean() > (clear == 0).mean() + 0.05


def test_colour_camera_sets_a_sensible_exposure() -> None:
    light = np.random.default_rng(0).uniform(0, 0.02, (120, 160, 3)).astype(np.float32)
    picture = sensor.colour_picture(light, sensor.ColourSensor(), np.random.default_rng(1))
    assert picture.dtype == np.uint8
    assert 60 < picture.mean() < 200


@pytest.mark.parametrize("seed", range(6))
def test_piles_stay_on_their_surface(seed: int) -> None:
    pile = scenarios.random_pile(np.random.default_rng(seed))
    assert len(pile.specs) == len(pile.positions_m) == len(pile.rotations) <= 30
    if len(pile.specs):
        assert pile.positions_m[:, 2].min() > -0.01
        assert np.allclose(np.linalg.det(pile.rotations), 1.0)


@pytest.mark.parametrize("make", [patterns.litter_look, patterns.wild_look])
def test_patterns_depend_on_their_seed_only(make: Callable[[np.random.Generator], tuple[textures.Look, float]]) -> None:
    one, same, other = (make(np.random.default_rng(seed))[0].textures[0] for seed in (4, 4, 5))
    assert one.dtype == np.uint8
    assert one.shape[2] == 6
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert one[..., :3].std() > 2


def test_marks_are_drawn_on_a_copy() -> None:
    plain = surfaces.floor_look(np.random.default_rng(1))[0]
    before = plain.textures[0].copy()
    changed = [(patterns.marked(np.random.default_rng(seed), plain).textures[0] != before).any() for seed in range(6)]
    assert np.array_equal(plain.textures[0], before)
    assert sum(changed) >= 4


def test_things_out_of_sight_throw_shadows() -> None:
    sun = render.Lighting([render.Light(np.array([0.3, 0.2, 1.0]), np.ones(3), False, 1)], np.zeros((0, 9), np.float32),
                          np.full(9, 0.1))
    lamp = render.Lighting([render.Light(np.array([0.0, 0.0, 2.0]), np.ones(3), True)], sun.strips, sun.sky)
    assert environment.shadow_casters(np.random.default_rng(0), lamp, np.zeros(3)) == []
    above = environment.shadow_casters(np.random.default_rng(0), sun, np.zeros(3))
    plane = shapes.plane_mesh(np.zeros(3), np.array([2.0, 0, 0]), np.array([0, 2.0, 0]), (1.0, 1.0))
    ground = render.Item(plane, surfaces.plain_look(np.full(3, 120.0)), 0, False)
    lit, shaded = (render.render(render.pack(items), sun, _view(), np.zeros(3), 1.0) for items in ([ground], [ground, *above]))
    assert np.array_equal(lit.depth_m, shaded.depth_m)  # nothing of them is in the picture
    assert shaded.colour.min() < 0.6 * lit.colour.min()


def test_cameras_see_packages_from_near_and_far() -> None:
    layout = scenarios.Layout("table", 0.6, 0.5, 0.0, 0.5)
    places = np.array([[-0.2, 0.0, 0.1], [0.2, 0.1, 0.05], [0.0, -0.2, 0.1]])
    views = [environment.random_view(np.random.default_rng(seed), places, layout, 640, 480) for seed in range(300)]
    heights = np.array([view.camera_to_world[2, 3] for view in views])
    tilts = np.degrees(np.arccos([-view.camera_to_world[2, 2] for view in views]))
    assert heights.min() > 0.1
    assert (heights < 0.6).mean() > 0.05
    assert (heights > 1.3).mean() > 0.03
    assert tilts.max() < 71
    assert (tilts > 45).mean() > 0.04


def test_a_plain_skin_fits_every_class() -> None:
    size = np.array([0.3, 0.2, 0.1])
    for faces in (2, 6):
        look = textures.any_look(np.random.default_rng(3), size, faces)
        assert len(look.textures) == faces
        assert look.material.opacity == 1.0


@pytest.mark.parametrize(("height", "width", "y", "x"), [(3, 4, 0, 0), (9, 25, 6, 4), (40, 7, 1, 7), (8, 8, 7, 0)])
def test_a_repeated_tile_is_the_tile_modulo_its_period(height, width, y, x):
    tile = np.tile(np.arange(64.0).reshape(8, 8), (2, 2))
    rows, columns = (np.arange(height) + y) % 8, (np.arange(width) + x) % 8
    assert np.array_equal(noise.repeated(tile, height, width, y, x, 8), tile[rows[:, None], columns])

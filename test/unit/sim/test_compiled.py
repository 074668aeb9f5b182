"""Compiled loops against plain numpy, and what the renderer leaves out because it is out of sight."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("numba")

from perception_node.sim import clutter, compiled, environment, render, samples, scenarios, textures  # noqa: E402
from perception_node.sim.dataset import encode_rle  # noqa: E402
from perception_node.sim.meshes import Array, cross  # noqa: E402


@pytest.mark.parametrize("shape", [(7, 9), (2, 5), (5, 2)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_normals_of_a_grid_are_those_of_central_differences(shape: tuple[int, int], sign: float) -> None:
    points = np.random.default_rng(3).normal(size=(*shape, 3))
    normals = np.empty((shape[0] * shape[1], 3), np.float32)
    compiled.grid_normals(points, sign, normals)
    wanted = cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    wanted *= sign / np.linalg.norm(wanted, axis=-1, keepdims=True)
    assert np.allclose(normals, wanted.reshape(-1, 3), atol=1e-6)


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_a_texture_cuts_what_is_beyond_a_byte(kind: type) -> None:
    low, high = (0, 255) if kind is np.uint8 else (-90, 340)
    colour: Array = np.random.default_rng(4).uniform(low, high, (5, 8, 3)).astype(kind)
    gloss = np.linspace(-0.2, 1.3, 40, dtype=np.float32).reshape(5, 8)
    ramp = np.tile(np.arange(8, dtype=np.float32), (5, 1))
    made = textures.compose(colour, ramp, 0.5, gloss)
    assert np.array_equal(made[..., :3], np.clip(colour, 0, 255).astype(np.uint8))
    assert np.array_equal(made[..., 5], np.clip(gloss * np.float32(255), 0, 255).astype(np.uint8))
    assert (made[:, 1:-1, 3] > 180).all()
    assert (made[..., 4] == 128).all()
    flat = textures.compose(colour, None, 0.0, 0.5)
    assert (flat[..., 3:5] == 128).all()
    assert (flat[..., 5] == 127).all()


def _masks() -> list[Array]:
    masks: list[Array] = []
    rng = np.random.default_rng(5)
    for share in (0.02, 0.5, 0.98):
        mask = rng.random((23, 31)) < share
        mask[:4] = mask[:, 27:] = False
        masks += [mask, mask[::-1, ::-1].copy()]
    return masks


@pytest.mark.parametrize("mask", _masks())
def test_run_lengths_do_not_depend_on_the_box(mask: Array) -> None:
    rows, columns = np.nonzero(mask)
    box = (int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
    labels = np.where(mask, 7, 3).astype(np.uint16)
    assert encode_rle(labels, 7, box) == encode_rle(labels, 7) == encode_rle(mask)


def test_textures_out_of_sight_are_left_out_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    items = environment.dress(rng, scenarios.Layout("belt", 3.0, 0.3, 0.05, 0.6), np.zeros((0, 3)))
    items += [render.Item(*clutter.placed(clutter.big_thing(rng), 0.0, y, 0.0, 0.0)) for y in (-0.2, 5.0)]
    pose = environment.look_at(np.array([0.1, -0.2, 0.9]), np.array([0.0, 0.1, 0.0]), 0.3)
    view = render.View(np.array([130.0, 130.0, 79.5, 59.5]), 160, 120, pose)
    packed = render.pack(items)
    stored: list[int] = []
    whole = render._stored

    def noted(kept: list[tuple[Array, bool]], smallest: Array) -> tuple[Array, Array]:
        pixels, table = whole(kept, smallest)
        stored.append(len(pixels))
        return pixels, table

    monkeypatch.setattr(render, "_stored", noted)
    drawn = render.render(packed, environment.random_lighting(np.random.default_rng(7)), view, np.zeros(3), 1.1)
    monkeypatch.setattr(render, "_smallest", lambda p, *_: np.full(len(p.textures), samples.LEVELS - 1))
    everything = render.render(packed, environment.random_lighting(np.random.default_rng(7)), view, np.zeros(3), 1.1)
    assert np.array_equal(drawn.colour, everything.colour)
    assert stored[0] < stored[1]

"""Looks of everything that is no package: belts, floors, metal, plastic, wood."""

from __future__ import annotations

import cv2
import numpy as np

from perception_node.sim import noise, prints
from perception_node.sim.meshes import Array, Material
from perception_node.sim.textures import Look, compose, thrice, tinted

_TILE = 352


def _worn(rng: np.random.Generator, base: Array, amount: float, size: tuple[int, int] = (_TILE, _TILE)) -> Array:
    """(H, W, 3) float32 base colour with wear, stains and scratches."""
    h, w = size
    streaks = 0.06 if rng.random() < 0.35 else 0.01
    tone = 1.0 + amount * (
        0.05 * noise.patch(rng, "fine", h, w)
        + 0.10 * noise.patch(rng, "soft", h, w)
        + streaks * noise.patch(rng, "streak", h, w)
    )
    image = tinted(np.clip(tone, 0.3, 1.8).astype(np.float32), np.asarray(base, np.float32))
    if rng.random() < 0.4:
        marks = np.clip(noise.patch(rng, "cloud", h, w) - rng.uniform(0.8, 1.6), 0, 1)
        image += thrice(marks * rng.uniform(-50, 40) * amount)
    for _ in range(int(rng.integers(0, 6) * amount)):
        p = rng.integers(0, min(h, w), 4)
        ink = base * rng.uniform(0.6, 1.5)
        cv2.line(image, (int(p[0]), int(p[1])), (int(p[2]), int(p[3])), [float(v) for v in ink], 1, cv2.LINE_AA)
    return image


def belt_look(rng: np.random.Generator) -> tuple[Look, float]:
    """A conveyor film and the length of one repeat of its texture in metres."""
    kind = rng.random()
    if kind < 0.38:
        base = np.array([rng.uniform(22, 75)] * 3) * rng.uniform(0.95, 1.05, 3)
    elif kind < 0.5:
        base = np.array([rng.uniform(20, 60), rng.uniform(80, 140), rng.uniform(50, 100)])
    elif kind < 0.62:
        base = np.array([rng.uniform(20, 70), rng.uniform(70, 120), rng.uniform(120, 200)])
    elif kind < 0.78:
        base = np.array([rng.uniform(90, 170)] * 3) * rng.uniform(0.96, 1.04, 3)
    elif kind < 0.9:
        base = np.array([rng.uniform(180, 235)] * 3) * np.array([1, rng.uniform(0.97, 1), rng.uniform(0.9, 1)])
    elif kind < 0.95:
        base = np.array([rng.uniform(120, 190), rng.uniform(90, 140), rng.uniform(60, 110)])
    else:
        base = np.asarray(prints.colour(rng), np.float64)
    image = _worn(rng, base, float(rng.uniform(0.2, 1.2)))
    relief = 0.5 * noise.patch(rng, "fine", _TILE, _TILE)
    style = rng.random()
    y, x = noise.grid(_TILE)
    pitch = _TILE / int(rng.integers(4, 40))
    if style < 0.15:
        relief += 2.0 * np.sign(np.sin(x * 2 * np.pi / pitch)) * np.sign(np.sin(y * 2 * np.pi / pitch))
    elif style < 0.3:
        gap = (x % pitch < 2) | ((y + pitch / 2 * (np.floor(x / pitch) % 2)) % (pitch * 3) < 2)
        image[gap] *= rng.uniform(0.3, 0.75)
        relief[gap] -= 3
    elif style < 0.42:
        relief += 1.5 * np.sin((x + y) * 2 * np.pi / pitch) * np.sin((x - y) * 2 * np.pi / pitch)
    elif style < 0.5:
        relief += 2.0 * np.sin(x * 2 * np.pi / pitch)
    elif style < 0.58:
        holes = ((x % pitch - pitch / 2) ** 2 + (y % pitch - pitch / 2) ** 2) < (pitch * rng.uniform(0.15, 0.35)) ** 2
        image[holes] *= rng.uniform(0.2, 0.6)
    if rng.random() < 0.15:
        at = int(rng.integers(_TILE))
        image[:, at : at + int(rng.integers(2, 14))] = prints.colour(rng) if rng.random() < 0.5 else base * 0.6
    material = Material(
        specular=float(rng.uniform(0.1, 1.0)), shininess=float(rng.uniform(5, 50)),
        mirror=float(rng.choice([0.01, 0.03, 0.08])), base_gloss=float(rng.uniform(0.0, 0.4)), holes=0.08,
    )  # fmt: skip
    return Look([compose(image, relief, float(rng.uniform(0.005, 0.05)), 0.2)], material, True), float(rng.uniform(0.35, 0.9))


def floor_look(rng: np.random.Generator) -> tuple[Look, float]:
    """Concrete, asphalt, tiles, planks, carpet, painted or metal floor, and metres per repeat."""
    kind = rng.random()
    y, x = noise.grid(_TILE)
    relief = noise.patch(rng, "fine", _TILE, _TILE)
    if kind < 0.35:
        base = np.array([rng.uniform(60, 200)] * 3) * rng.uniform(0.93, 1.07, 3)
        image = _worn(rng, base, float(rng.uniform(0.5, 1.8)))
        if rng.random() < 0.4:
            image += thrice(10 * noise.patch(rng, "fine", _TILE, _TILE) * rng.uniform(0.5, 2.5))
    elif kind < 0.6:
        base = rng.uniform(70, 215) * np.array([1.0, rng.uniform(0.65, 0.88), rng.uniform(0.4, 0.75)])
        image = _worn(rng, base, 0.8)
        rows = int(rng.integers(3, 9))
        step = _TILE / rows
        board = np.floor(y / step)
        tones = rng.uniform(0.75, 1.2, rows + 1)
        image *= thrice(tones[board.astype(int)])
        image *= thrice(1 + 0.12 * noise.patch(rng, "streak", _TILE, _TILE))
        joints = (y % step < 2) | ((x + board * _TILE * 0.37) % (_TILE / int(rng.integers(1, 3))) < 2)
        image[joints] *= rng.uniform(0.3, 0.8)
    elif kind < 0.75:
        base = np.array([rng.uniform(90, 235)] * 3) * rng.uniform(0.9, 1.08, 3)
        image = _worn(rng, base, 0.5)
        step = _TILE / int(rng.integers(2, 6))
        joints = (x % step < 3) | (y % step < 3)
        image[joints] *= rng.uniform(0.4, 1.3)
        relief[joints] -= 2
    elif kind < 0.85:
        base = np.asarray(prints.colour(rng, 0.7), np.float64)
        image = _worn(rng, base, 0.8)
        image += thrice(14 * noise.patch(rng, "fine", _TILE, _TILE))
        relief *= 3
    else:
        base = np.array([rng.uniform(110, 200)] * 3) * rng.uniform(0.97, 1.03, 3)
        image = _worn(rng, base, 0.7)
        image *= thrice(1 + 0.1 * noise.patch(rng, "streak", _TILE, _TILE))
        if rng.random() < 0.3:
            image[(x + y) % 48 < 5] *= 1.2
    material = Material(
        specular=float(rng.uniform(0.1, 0.8)), shininess=float(rng.uniform(5, 60)),
        mirror=float(rng.choice([0.01, 0.04, 0.12])), base_gloss=float(rng.uniform(0.0, 0.5)), holes=0.05,
    )  # fmt: skip
    return Look([compose(image, relief, float(rng.uniform(0.005, 0.05)), 0.2)], material, True), float(rng.uniform(0.5, 2.0))


def wall_look(rng: np.random.Generator) -> tuple[Look, float]:
    """Brick, plaster, siding or planks of a house or hall, and metres per repeat."""
    y, x = noise.grid(_TILE)
    kind = rng.random()
    relief = noise.patch(rng, "fine", _TILE, _TILE)
    if kind < 0.3:
        base = rng.uniform(90, 190) * np.array([1.0, rng.uniform(0.5, 0.9), rng.uniform(0.4, 0.85)])
        image = _worn(rng, base, 1.0)
        row = np.floor(y / 24)
        tones = rng.uniform(0.75, 1.2, (16, 10))
        column = np.floor((x + 24 * (row % 2)) / 48)
        image *= thrice(tones[row.astype(int) % 16, column.astype(int) % 10])
        joint = (y % 24 < 3) | ((x + 24 * (row % 2)) % 48 < 3)
        image[joint] = rng.uniform(110, 210)
    elif kind < 0.65:
        base = rng.uniform(120, 245) * np.array([1.0, rng.uniform(0.9, 1.0), rng.uniform(0.75, 1.0)])
        image = _worn(rng, base, float(rng.uniform(0.3, 1.0)))
        relief *= 3
    else:
        base = np.asarray(prints.colour(rng, float(rng.uniform(0.1, 0.7))), np.float64)
        image = _worn(rng, base, 0.6)
        step = _TILE // int(rng.integers(4, 12))
        image[(y % step) < 3] *= 0.55
    look = Look([compose(image, relief, 0.05, 0.1)], Material(specular=0.2, shininess=12), True)
    return look, float(rng.uniform(0.8, 1.8))


_PAINTS = (
    (235, 180, 20), (230, 110, 20), (30, 80, 160), (190, 30, 30), (40, 120, 70), (60, 60, 64),
    (25, 25, 27), (150, 152, 155), (205, 205, 200), (90, 110, 130), (240, 240, 240), (200, 180, 140),
)  # fmt: skip


def metal_look(rng: np.random.Generator, bare: float = 0.4) -> Look:
    """Bare or painted metal, hard plastic."""
    size = (96, 192)
    if rng.random() < bare:
        base = np.array([rng.uniform(120, 215)] * 3) * np.array([1.0, 1.0, rng.uniform(0.96, 1.05)])
        image = _worn(rng, base, 0.4, size)
        image *= thrice(1 + 0.06 * noise.patch(rng, "streak", *size))
        material = Material(
            specular=float(rng.uniform(0.4, 1.5)), shininess=float(rng.uniform(20, 150)), metal=0.9,
            mirror=float(rng.uniform(0.15, 0.6)), base_gloss=0.9, holes=float(rng.uniform(0.1, 0.6)),
        )  # fmt: skip
    else:
        base = np.array(_PAINTS[int(rng.integers(len(_PAINTS)))]) * rng.uniform(0.75, 1.1)
        if rng.random() < 0.15:
            base = np.asarray(prints.colour(rng), np.float64)
        image = _worn(rng, base, float(rng.uniform(0.2, 1.0)), size)
        material = Material(
            specular=float(rng.uniform(0.2, 1.2)), shininess=float(rng.uniform(10, 120)),
            mirror=float(rng.uniform(0.02, 0.12)), base_gloss=float(rng.uniform(0.3, 1.0)), holes=0.1,
        )  # fmt: skip
    image8 = np.clip(image, 0, 255).astype(np.uint8)
    kind = rng.random()
    if kind < 0.12:
        y, x = np.mgrid[0 : size[0], 0 : size[1]]
        image8[((x + y) // 16) % 2 == 0] = (20, 20, 20)
    elif kind < 0.3:
        for _ in range(int(rng.integers(1, 6))):
            place = (int(rng.integers(6, size[1] - 6)), int(rng.integers(6, size[0] - 6)))
            cv2.circle(image8, place, 3, (40, 40, 40), -1, cv2.LINE_AA)
    elif kind < 0.42:
        sticker = prints.label(rng, 30, 50)
        y0, x0 = int(rng.integers(0, 60)), int(rng.integers(0, 130))
        image8[y0 : y0 + 30, x0 : x0 + 50] = sticker
    elif kind < 0.5:
        prints.logo(rng, image8, prints.colour(rng))
    return Look([compose(image8, None, 0.0, 0.6)], material, True)


def plastic_look(rng: np.random.Generator) -> Look:
    """The walls of totes and bins."""
    base = np.asarray(prints.colour(rng, float(rng.choice([0.1, 0.6, 1.0]))), np.float64)
    if rng.random() < 0.4:
        base = np.array([rng.uniform(30, 210)] * 3) * rng.uniform(0.95, 1.05, 3)
    image = _worn(rng, base, float(rng.uniform(0.2, 1.0)))
    relief = np.zeros((_TILE, _TILE), np.float32)
    if rng.random() < 0.5:
        x = np.arange(_TILE, dtype=np.float32)[None]
        ribs = (x % (_TILE / int(rng.integers(4, 16))) < 6).astype(np.float32)
        relief = relief + ribs * 4
        image *= thrice(1 - 0.12 * ribs)
    material = Material(
        specular=float(rng.uniform(0.2, 1.0)), shininess=float(rng.uniform(10, 60)),
        mirror=float(rng.uniform(0.01, 0.08)), base_gloss=float(rng.uniform(0.2, 0.8)), holes=0.08,
    )  # fmt: skip
    return Look([compose(image, relief, 0.05, 0.4)], material, True)


def plain_look(colour: Array, gloss: float = 0.3) -> Look:
    """One even colour, (3,) 0..255."""
    image = np.empty((8, 8, 3), np.float32)
    image[:] = colour
    return Look([compose(image, None, 0.0, gloss)], Material(specular=0.5, shininess=30, mirror=0.04))

"""Looks of goods: printed labels and covers, plastic, glass, leather, cloth, bare metal. No address labels, no cardboard."""

from __future__ import annotations

import cv2
import numpy as np

from perception_node.sim import noise, prints
from perception_node.sim.meshes import Array, Material
from perception_node.sim.textures import Look, compose, tinted

DARK = np.array([22.0, 21.0, 23.0])


def any_colour(rng: np.random.Generator) -> Array:
    """(3,) float colour of a thing for sale: vivid, pastel, white, grey or black."""
    kind = rng.random()
    if kind < 0.5:
        return np.asarray(prints.colour(rng, float(rng.uniform(0.5, 1.0))), np.float64)
    if kind < 0.65:
        return np.asarray(prints.colour(rng, 0.3), np.float64) * 0.5 + 120.0
    if kind < 0.82:
        return rng.uniform(200, 252) * np.array([1.0, rng.uniform(0.96, 1.0), rng.uniform(0.9, 1.0)])
    return np.array([rng.uniform(18, 150)] * 3) * rng.uniform(0.94, 1.06, 3)


def gloss_material(rng: np.random.Generator, shiny: float) -> Material:
    """Paint, plastic or lacquer; `shiny` 0..1."""
    return Material(
        specular=float(rng.uniform(0.1, 0.4) + shiny), shininess=float(rng.uniform(8, 30) + 120 * shiny * rng.random()),
        mirror=float(0.02 + 0.12 * shiny * rng.random()), base_gloss=float(0.3 * shiny),
        holes=float(0.05 + 0.2 * shiny * rng.random()),
    )  # fmt: skip


def even(rng: np.random.Generator, colour: Array, shiny: float = 0.4, grain: float = 0.05) -> Look:
    """One colour with a little wear: moulded plastic, rubber, lacquer."""
    h, w = 32, 64
    tone = 1.0 + grain * noise.patch(rng, "soft", h, w) + 0.4 * grain * noise.patch(rng, "fine", h, w)
    return Look([compose(tinted(tone, np.asarray(colour, np.float32)), None, 0.0, shiny)], gloss_material(rng, shiny))


def steel(rng: np.random.Generator) -> Look:
    """Bare, brushed or blackened metal."""
    level = rng.uniform(110, 215) if rng.random() < 0.8 else rng.uniform(35, 80)
    tone = 1.0 + 0.06 * noise.patch(rng, "streak", 32, 64) + 0.04 * noise.patch(rng, "soft", 32, 64)
    image = tinted(tone, np.full(3, level, np.float32) * np.array([1.0, 1.0, rng.uniform(0.94, 1.05)], np.float32))
    material = Material(
        specular=float(rng.uniform(0.5, 1.4)), shininess=float(rng.uniform(30, 150)), metal=0.9,
        mirror=float(rng.uniform(0.1, 0.55)), base_gloss=0.8, holes=float(rng.uniform(0.1, 0.5)),
    )  # fmt: skip
    return Look([compose(image, None, 0.0, 0.6)], material)


def clear(rng: np.random.Generator, colour: Array) -> Look:
    """Glass or clear plastic that shows what is inside or behind."""
    image = np.empty((8, 8, 3), np.float32)
    image[:] = colour
    material = Material(
        specular=float(rng.uniform(0.6, 1.4)), shininess=float(rng.uniform(60, 200)), mirror=float(rng.uniform(0.05, 0.25)),
        opacity=float(rng.uniform(0.15, 0.6)), base_gloss=0.9, holes=float(rng.uniform(0.4, 1.0)),
    )  # fmt: skip
    return Look([compose(image, None, 0.0, 1.0)], material)


def wood(rng: np.random.Generator) -> Look:
    """A wooden handle or block, raw or lacquered."""
    base = rng.uniform(90, 225) * np.array([1.0, rng.uniform(0.68, 0.85), rng.uniform(0.4, 0.65)])
    tone = 1.0 + 0.1 * noise.patch(rng, "streak", 48, 96) + 0.05 * noise.patch(rng, "fibre", 48, 96)
    return Look([compose(tinted(tone, base.astype(np.float32)), None, 0.0, 0.3)], gloss_material(rng, float(rng.uniform(0.0, 0.6))))


def cloth(rng: np.random.Generator, colour: Array, rough: float = 0.3) -> Look:
    """Textile, suede or plush: dull, with relief."""
    tone = 1.0 + 0.12 * noise.patch(rng, "fine", 64, 64) + 0.06 * noise.patch(rng, "cloud", 64, 64)
    relief = noise.patch(rng, "fine", 64, 64, float(rng.uniform(1.0, 3.0)))
    return Look([compose(tinted(tone, np.asarray(colour, np.float32)), relief, rough, 0.02)], Material(specular=0.1, holes=0.05))


def artwork(rng: np.random.Generator, height: int, width: int, base: Array | None = None) -> Array:
    """(height, width, 3) uint8 print of a label or cover: fields, bands, pictures, a brand's name, small print, a bar code."""
    ground = any_colour(rng) if base is None else base
    image = np.empty((height, width, 3), np.float32)
    image[:] = ground
    if rng.random() < 0.35:
        fade = np.linspace(rng.uniform(0.5, 1.0), rng.uniform(0.8, 1.4), height, dtype=np.float32)
        image *= fade[:, None, None]
    image8 = np.clip(image, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(0, 4))):
        ink = [int(v) for v in any_colour(rng)]
        a, b = sorted(rng.integers(0, height, 2).tolist())
        if rng.random() < 0.6:
            image8[a : max(a + 2, b)] = ink
        else:
            x = int(rng.integers(width))
            image8[:, x : x + int(rng.integers(2, max(3, width // 3)))] = ink
    if rng.random() < 0.6:
        for _ in range(int(rng.integers(1, 5))):
            place = (int(rng.integers(width)), int(rng.integers(height)))
            axes = (int(rng.uniform(0.05, 0.3) * width) + 1, int(rng.uniform(0.05, 0.35) * height) + 1)
            ink = [int(v) for v in any_colour(rng)]
            cv2.ellipse(image8, place, axes, float(rng.uniform(0, 180)), 0, 360, ink, -1, cv2.LINE_AA)
    if rng.random() < 0.25:  # a photograph, roughly
        a, c = int(height * rng.uniform(0, 0.4)), int(width * rng.uniform(0, 0.4))
        part = image8[a : a + max(4, height // 2), c : c + max(4, width // 2)]
        tone = 1.0 + 0.4 * noise.patch(rng, "cloud", part.shape[0], part.shape[1])
        part[:] = np.clip(tinted(tone, any_colour(rng).astype(np.float32)), 0, 255).astype(np.uint8)
    letters = np.full(3, 250 if image8.mean() < 120 else 20) if rng.random() < 0.6 else prints.colour(rng)
    if rng.random() < 0.9:
        size = min(height * rng.uniform(0.15, 0.45), width * 0.4)
        x, y = int(width * rng.uniform(0.02, 0.3)), int(height * rng.uniform(0.3, 0.8))
        prints.put_text(image8, rng, prints.word(rng), x, y, size, letters)
    for _ in range(int(rng.integers(0, 7))):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        cv2.line(image8, (x, y), (x + int(width * rng.uniform(0.1, 0.4)), y), [int(v) for v in letters], 1)
    if rng.random() < 0.3 and min(height, width) > 24:
        h, w = height // 4, min(width // 4, height // 2)
        y, x = int(rng.integers(height - h)), int(rng.integers(width - w))
        image8[y : y + h, x : x + w] = prints.barcode(rng, h, w)[..., None]
    return image8


def printed(rng: np.random.Generator, height: int, width: int, shiny: float, base: Array | None = None, flip: bool = True) -> Look:
    """A print on paper, foil or tin, wrapped round a lathe (`flip`: v runs upwards there)."""
    image = artwork(rng, height, width, base)
    image = np.ascontiguousarray(image[::-1]) if flip else image
    return Look([compose(image, None, 0.0, shiny)], gloss_material(rng, shiny))

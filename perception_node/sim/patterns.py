"""Grounds that no cell manual lists: foliage, gravel, mulch, stripes, checks, marks; a segmenter must not care."""

from __future__ import annotations

import cv2
import numpy as np

from perception_node.sim import noise, prints
from perception_node.sim.meshes import Array, Material
from perception_node.sim.textures import Look, compose, thrice

_TILE = 352


def _matt(rng: np.random.Generator) -> Material:
    return Material(specular=float(rng.uniform(0.0, 0.5)), shininess=float(rng.uniform(5, 30)), mirror=0.01, holes=0.05)


def litter_look(rng: np.random.Generator) -> tuple[Look, float]:
    """Leaves, grass, gravel, bark or paper scraps, and metres per repeat of the texture."""
    kind = int(rng.choice(4, p=[0.4, 0.2, 0.25, 0.15]))
    if kind < 2:
        low = np.array([rng.uniform(10, 60), rng.uniform(35, 90), rng.uniform(10, 50)])
        high = np.array([rng.uniform(60, 170), rng.uniform(110, 210), rng.uniform(30, 120)])
        if rng.random() < 0.25:
            low, high = low[[1, 0, 2]], high[[1, 0, 2]]
    elif kind == 2:
        low = rng.uniform(30, 110) * np.array([1.0, rng.uniform(0.85, 1.0), rng.uniform(0.7, 1.0)])
        high = low + rng.uniform(20, 130)
    else:
        low = rng.uniform(15, 60) * np.array([1.0, rng.uniform(0.6, 0.9), rng.uniform(0.4, 0.8)])
        high = rng.uniform(90, 220) * np.array([1.0, rng.uniform(0.7, 1.0), rng.uniform(0.5, 1.0)])
    slim = (0.45, 0.1, 0.8, 0.35)[kind]
    size = float(np.exp(rng.uniform(np.log(5), np.log(26))))
    count = int(min(1400, 2.0 * _TILE * _TILE / (size * size)))
    image = np.empty((_TILE, _TILE, 3), np.float32)
    image[:] = low * 0.5
    relief = np.zeros((_TILE, _TILE), np.float32)
    axes = size * rng.uniform(0.4, 1.0, (count, 1)) * np.array([1.0, slim]) * rng.uniform(0.6, 1.2, (count, 2))
    turns, around = rng.uniform(0, 2 * np.pi, (count, 1)), np.arange(8) * (np.pi / 4)
    x, y = np.cos(around) * axes[:, :1], np.sin(around) * axes[:, 1:]
    rims = np.stack([np.cos(turns) * x - np.sin(turns) * y, np.sin(turns) * x + np.cos(turns) * y], -1)
    rims = np.rint(rims + rng.uniform(0, _TILE, (count, 1, 2))).astype(np.int32)
    layers = 24  # all of one tone are drawn at once: many times quicker than one by one
    for n in range(layers):
        tone = (low + (high - low) * rng.random()) * rng.uniform(0.5, 1.2)
        some = list(rims[n::layers])
        cv2.fillPoly(image, some, tone.tolist())
        cv2.fillPoly(relief, some, float(n % 7))
    image *= thrice(1 + 0.15 * noise.patch(rng, "soft", _TILE, _TILE))
    return Look([compose(image, relief, 0.08, 0.1)], _matt(rng), True), float(rng.uniform(0.3, 1.5))


def wild_look(rng: np.random.Generator) -> tuple[Look, float]:
    """Stripes, checks, blocks or blotches in any two colours, dull or shiny, and metres per repeat."""
    one = np.asarray(prints.colour(rng, float(rng.random())), np.float64)
    two = one * rng.uniform(0.4, 1.6) if rng.random() < 0.6 else np.asarray(prints.colour(rng, float(rng.random())), np.float64)
    y, x = noise.grid(_TILE)
    waves = int(rng.integers(1, 40))
    u, v = x * np.float32(2 * np.pi * waves / _TILE), y * np.float32(2 * np.pi * waves / _TILE)
    kind = int(rng.integers(5))
    hard = float(rng.uniform(0.5, 9))
    share: Array
    if kind == 0:
        share = np.sin(u)
    elif kind == 1:
        share = np.maximum(np.sin(u) + rng.uniform(-0.95, 0.5), np.sin(v) + rng.uniform(-0.95, 0.5))
    elif kind == 2:
        share = np.sin(u) * np.sin(v)
    elif kind == 3:
        few = rng.normal(0, 1, (waves + 1, waves + 1)).astype(np.float32)
        share = np.asarray(cv2.resize(few, (_TILE, _TILE), interpolation=cv2.INTER_NEAREST))
    else:
        share = noise.patch(rng, str(rng.choice(["cloud", "cell", "ridge", "streak", "fibre"])), _TILE, _TILE)
    share = np.clip(share * hard * 0.5 + 0.5, 0, 1)
    image = cv2.merge([a + (b - a) * share for a, b in zip(one, two, strict=True)])
    image = image * thrice(1 + rng.uniform(0, 0.08) * noise.patch(rng, "soft", _TILE, _TILE))
    material = Material(
        specular=float(rng.uniform(0.0, 1.2)), shininess=float(rng.uniform(5, 150)),
        mirror=float(rng.choice([0.01, 0.05, 0.2])), base_gloss=float(rng.uniform(0, 1)), holes=float(rng.uniform(0, 0.3)),
    )  # fmt: skip
    relief = 3.0 * share if rng.random() < 0.4 else None
    return Look([compose(image, relief, 0.03, 0.3)], material, True), float(rng.uniform(0.2, 1.6))


def marked(rng: np.random.Generator, look: Look) -> Look:
    """The same ground with lines, words, arrows or stickers on it, flat and of no use to anyone."""
    texture = look.textures[0].copy()
    image8 = np.ascontiguousarray(texture[..., :3])
    height, width = image8.shape[:2]
    for _ in range(int(rng.integers(1, 4))):
        ink = prints.colour(rng) if rng.random() < 0.5 else np.full(3, rng.integers(0, 256))
        kind = rng.random()
        if kind < 0.45:
            a, b = rng.integers(-width // 2, width * 3 // 2, 2), rng.integers(-width // 2, width * 3 // 2, 2)
            if rng.random() < 0.6:
                b[0] = a[0]
            cv2.line(image8, a.tolist(), b.tolist(), [int(c) for c in ink], int(rng.integers(1, 18)), cv2.LINE_AA)
        elif kind < 0.75:
            prints.logo(rng, image8, ink)
        else:
            sticker = prints.label(rng, int(rng.integers(20, 90)), int(rng.integers(20, 90)))
            r, c = int(rng.integers(height - sticker.shape[0])), int(rng.integers(width - sticker.shape[1]))
            image8[r : r + sticker.shape[0], c : c + sticker.shape[1]] = sticker
    texture[..., :3] = image8
    return Look([texture], look.material, look.wrap)

"""Tileable noise made once per process from a fixed seed, and cut-outs of it."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from perception_node.sim.meshes import Array

SIZE = 512
"""Side of the noise tiles, texels."""


def _spectral(rng: np.random.Generator, slope: float, stretch: float = 1.0) -> Array:
    """(SIZE, SIZE) float32 tileable noise, mean 0, deviation 1, power falling as 1/f^slope."""
    f = np.fft.fftfreq(SIZE) * SIZE
    radius = np.hypot(f[:, None] / stretch, f[None, :] * stretch)
    radius[0, 0] = 1e9
    phase = np.fft.fft2(rng.standard_normal((SIZE, SIZE)))
    field = np.real(np.fft.ifft2(phase / np.maximum(radius, 1.0) ** slope))
    scaled: Array = ((field - field.mean()) / field.std()).astype(np.float32)
    return scaled


@lru_cache(maxsize=1)
def bank() -> dict[str, Array]:
    """The tiles by name, repeated 2 x 2: fine, cloud, soft, fibre, streak, ridge, cell; and pixel (float32)."""
    rng = np.random.default_rng(20240607)
    tiles = {
        "fine": _spectral(rng, 0.4),
        "cloud": _spectral(rng, 1.4),
        "soft": _spectral(rng, 2.2),
        "fibre": _spectral(rng, 0.9, 3.0),
        "streak": _spectral(rng, 1.3, 6.0),
    }
    a, b = _spectral(rng, 1.7), _spectral(rng, 1.7)
    ridge = np.exp(-6.0 * np.abs(a)) + 0.7 * np.exp(-9.0 * np.abs(b))
    tiles["ridge"] = ((ridge - ridge.mean()) / ridge.std()).astype(np.float32)
    seeds = np.zeros((SIZE, SIZE), np.uint8)
    seeds[rng.integers(0, SIZE, 260), rng.integers(0, SIZE, 260)] = 1
    wide = np.tile(seeds, (3, 3))
    distance = cv2.distanceTransform(1 - wide, cv2.DIST_L2, 5)[SIZE : 2 * SIZE, SIZE : 2 * SIZE]
    tiles["cell"] = ((distance - distance.mean()) / distance.std()).astype(np.float32)
    tiles = {name: np.tile(tile, (2, 2)) for name, tile in tiles.items()}
    tiles["pixel"] = rng.standard_normal((1024, 1024, 3)).astype(np.float32)
    return tiles


@lru_cache(maxsize=1)
def grid(side: int) -> tuple[Array, Array]:
    """Rows and columns of a square's texels, (side, side) float32 each; kept, read-only."""
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    rows.setflags(write=False)
    columns.setflags(write=False)
    return rows, columns


def patch(
    rng: np.random.Generator, name: str, height: int, width: int, scale: float = 1.0
) -> Array:
    """(height, width) float32 cut-out of a tile at a random place.

    Args:
        rng: source of the place and of mirroring.
        name: a key of `bank`.
        height: rows wanted.
        width: columns wanted.
        scale: magnification; 2 makes features twice as large.
    """
    tile = bank()[name]
    h, w = max(2, round(height / scale)), max(2, round(width / scale))
    if h <= SIZE and w <= SIZE:
        y, x = int(rng.integers(SIZE)), int(rng.integers(SIZE))
        cut = tile[y : y + h, x : x + w]
    else:
        cut = repeated(tile, h, w, int(rng.integers(SIZE)), int(rng.integers(SIZE)), SIZE)
    if rng.random() < 0.5:
        cut = cut[::-1]
    if (h, w) != (height, width):
        cut = cv2.resize(np.ascontiguousarray(cut), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(cut)


def repeated(tile: Array, height: int, width: int, y: int, x: int, period: int) -> Array:
    """(height, width, ...) of a tile that repeats after `period` texels and is at least as large, from (y, x) on; y, x < period.

    Copied block by block, many times quicker than by an index for each texel.
    """
    out = np.empty((height, width, *tile.shape[2:]), tile.dtype)
    across = np.empty((period, width, *tile.shape[2:]), tile.dtype)
    for start in range(-x, width, period):
        first, last = max(start, 0), min(start + period, width)
        across[:, first:last] = tile[:period, first - start : last - start]
    for start in range(-y, height, period):
        first, last = max(start, 0), min(start + period, height)
        out[first:last] = across[first - start : last - start]
    return out


def slopes(height_map: Array, deviation: float) -> tuple[Array, Array, float]:
    """Slopes of a height field along its columns and rows, (H, W) float32 each, and the factor that makes steps of a texture's
    slope channels (127 = 1) of them.

    Args:
        height_map: (H, W) float32.
        deviation: root mean square slope wanted (0.1 = gentle, 0.5 = crumpled).
    """
    gx = cv2.Sobel(height_map, cv2.CV_32F, 1, 0, ksize=3)
    gy = cv2.Sobel(height_map, cv2.CV_32F, 0, 1, ksize=3)
    return gx, gy, 127.0 * deviation / (float(np.sqrt((gx * gx + gy * gy).mean())) + 1e-6)

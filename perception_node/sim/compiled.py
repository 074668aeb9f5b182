"""Compiled loops of meshes, textures and files: each does in one pass what takes numpy many."""

from __future__ import annotations

import math

import numpy as np

from perception_node.sim.meshes import CHANNELS, Array
from perception_node.sim.needs import njit


@njit(cache=True, error_model="numpy")
def grid_normals(points: Array, sign: float, normals: Array) -> None:
    """Unit normals of a grid of points by central differences (one-sided at the rims).

    Args:
        points: (R, C, 3) float64, R and C at least 2.
        sign: +1 = across the columns x along the rows, -1 = the other way.
        normals: (R * C, 3) float32, written.
    """
    rows, columns = points.shape[0], points.shape[1]
    for r in range(rows):
        above, below = max(r - 1, 0), min(r + 1, rows - 1)
        down = 2.0 if below - above == 2 else 1.0
        for c in range(columns):
            left, right = max(c - 1, 0), min(c + 1, columns - 1)
            across = 2.0 if right - left == 2 else 1.0
            ux = (points[r, right, 0] - points[r, left, 0]) / across
            uy = (points[r, right, 1] - points[r, left, 1]) / across
            uz = (points[r, right, 2] - points[r, left, 2]) / across
            vx = (points[below, c, 0] - points[above, c, 0]) / down
            vy = (points[below, c, 1] - points[above, c, 1]) / down
            vz = (points[below, c, 2] - points[above, c, 2]) / down
            nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
            length = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
            n = r * columns + c
            normals[n, 0], normals[n, 1], normals[n, 2] = sign * (nx / length), sign * (ny / length), sign * (nz / length)


@njit(cache=True, error_model="numpy")
def fill_texture(colour: Array, across: Array, down: Array, slope: float, gloss: Array, shine: int, out: Array) -> None:
    """The six channels of a texture (`meshes.CHANNELS`).

    Args:
        colour: (H, W, 3) uint8, or float 0..255 (what is beyond is cut).
        across, down: (H, W) float32 slopes along u and v, or (0, 0) = flat.
        slope: a slope of 1 in steps of the texture.
        gloss: (H, W) float32 0..1, or (0, 0) = `shine` everywhere.
        shine: gloss 0..255.
        out: (H, W, CHANNELS) uint8, written.
    """
    height, width, _ = out.shape
    flat, even = across.shape[0] == 0, gloss.shape[0] == 0
    top, zero, middle, scale = np.float32(255.0), np.float32(0.0), np.float32(128.0), np.float32(slope)
    for y in range(height):
        for x in range(width):
            for ch in range(3):
                out[y, x, ch] = np.uint8(min(max(colour[y, x, ch], 0), 255))
            if flat:
                out[y, x, 3], out[y, x, 4] = 128, 128
            else:
                out[y, x, 3] = np.uint8(min(max(across[y, x] * scale + middle, zero), top))
                out[y, x, 4] = np.uint8(min(max(down[y, x] * scale + middle, zero), top))
            out[y, x, CHANNELS - 1] = shine if even else np.uint8(min(max(gloss[y, x] * top, zero), top))


@njit(cache=True, error_model="numpy")
def millimetres(depth_m: Array, most: int, out: Array) -> None:
    """Whole millimetres of (H, W) metres, 0 to `most`; out (H, W) uint16, written."""
    height, width = depth_m.shape
    for y in range(height):
        for x in range(width):
            out[y, x] = np.uint16(min(max(np.rint(depth_m[y, x] * np.float32(1000.0)), 0.0), most))


@njit(cache=True)
def _put(value: int, text: Array, size: int) -> int:
    """Writes one number behind `size` characters, five bits at a time; returns how many characters there are then."""
    while True:
        chunk = value & 0x1F
        value >>= 5
        if value == (-1 if chunk & 0x10 else 0):
            text[size] = chunk + 48
            return size + 1
        text[size] = (chunk | 0x20) + 48
        size += 1


@njit(cache=True)
def run_lengths(labels: Array, label: int, left: int, top: int, right: int, bottom: int, text: Array) -> int:
    """COCO's compressed run lengths of `labels == label`, column by column, as characters.

    Args:
        labels: (H, W) whole numbers or booleans.
        label: whose mask it is.
        left, top, right, bottom: a box that holds it, the last column and row included.
        text: uint8, written; 5 for each pixel of the box and 10 more suffice below half a million pixels.

    Returns:
        How many characters were written.

    Source: the COCO API, `common/maskApi.c`, `rleToString`.
    """
    height, width = labels.shape
    size, runs, last, before = 0, 0, 0, 0  # the two runs before this one; numbers from the fourth on are differences
    run, state = left * height + top, False
    for c in range(left, right + 1):
        for r in range(top, bottom + 1):
            on = labels[r, c] == label
            if on != state:
                size = _put(run - before if runs > 2 else run, text, size)
                runs, before, last = runs + 1, last, run
                run, state = 0, on
            run += 1
        rest = height - 1 - bottom + (top if c < right else (width - 1 - right) * height)
        if rest > 0 and state:
            size = _put(run - before if runs > 2 else run, text, size)
            runs, before, last = runs + 1, last, run
            run, state = 0, False
        run += rest
    return _put(run - before if runs > 2 else run, text, size) if run > 0 else size

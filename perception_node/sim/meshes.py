"""Triangle meshes with texture coordinates, and the materials that they wear."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

CHANNELS = 6
"""Bytes of one texel: red, green, blue (sRGB), slope along u, slope along v (128 = flat), gloss."""


@dataclass(frozen=True)
class Material:
    """How a surface answers light.

    Attributes:
        specular: strength of the lights' highlights where gloss is full, 0..1.
        shininess: exponent of the highlights; 5 = dull, 200 = polished.
        mirror: share of the surroundings reflected head-on where gloss is full, 0..1.
        bump: gain on the texture's slopes.
        opacity: 1 = opaque, less = film that shows what lies behind.
        metal: 1 = reflections take the colour of the surface.
        holes: tendency of depth cameras to fail on it, 0..1.
        base_gloss: gloss added everywhere, 0..1.
    """

    specular: float = 0.1
    shininess: float = 12.0
    mirror: float = 0.0
    bump: float = 1.0
    opacity: float = 1.0
    metal: float = 0.0
    holes: float = 0.0
    base_gloss: float = 0.0

    def row(self) -> list[float]:
        """The material as the renderer's table row (8 floats)."""
        return [
            self.specular,
            self.shininess,
            self.mirror,
            self.bump,
            self.opacity,
            self.metal,
            self.holes,
            self.base_gloss,
        ]


@dataclass(frozen=True)
class Mesh:
    """Triangles in a local frame.

    Attributes:
        vertices: (V, 3) float32, metres.
        normals: (V, 3) float32 outward unit normals.
        uv: (V, 2) float32 texture coordinates, 0..1 across the texture.
        triangles: (T, 3) int32 vertex indices.
        part: (T,) int32, which of the object's textures each triangle wears.
    """

    vertices: Array
    normals: Array
    uv: Array
    triangles: Array
    part: Array

    def moved(self, rotation: Array, translation: Array) -> Mesh:
        """The same mesh with ``p' = rotation @ p + translation`` (3x3, 3)."""
        return Mesh(
            (self.vertices @ rotation.T + translation).astype(np.float32),
            (self.normals @ rotation.T).astype(np.float32),
            self.uv,
            self.triangles,
            self.part,
        )


def join(meshes: list[Mesh], same_part: bool = False) -> Mesh:
    """One mesh out of several; parts are renumbered unless `same_part`."""
    offset = 0
    part_offset = 0
    triangles, parts = [], []
    for mesh in meshes:
        triangles.append(mesh.triangles + offset)
        parts.append(mesh.part + (0 if same_part else part_offset))
        offset += len(mesh.vertices)
        part_offset += int(mesh.part.max()) + 1
    return Mesh(
        np.concatenate([m.vertices for m in meshes]).astype(np.float32),
        np.concatenate([m.normals for m in meshes]).astype(np.float32),
        np.concatenate([m.uv for m in meshes]).astype(np.float32),
        np.concatenate(triangles).astype(np.int32),
        np.concatenate(parts).astype(np.int32),
    )


@lru_cache(maxsize=64)
def grid_triangles(rows: int, columns: int, flip: bool = False) -> Array:
    """(T, 3) int32 triangles of a grid of rows x columns vertices in row-major order; kept, read-only."""
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b = index[:-1, :-1].ravel(), index[:-1, 1:].ravel()
    c, d = index[1:, :-1].ravel(), index[1:, 1:].ravel()
    lower, upper = np.stack([a, b, d], 1), np.stack([a, d, c], 1)
    both = np.concatenate([lower, upper])
    triangles = both[:, ::-1].copy() if flip else both
    triangles.setflags(write=False)
    return triangles


def cross(a: Array, b: Array) -> Array:
    """Cross products of (..., 3) vectors; several times quicker than numpy's."""
    out = np.empty(np.broadcast_shapes(a.shape, b.shape), np.result_type(a, b))
    out[..., 0] = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    out[..., 1] = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    out[..., 2] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return out


def rotation_z(angle_rad: float) -> Array:
    """(3, 3) rotation about z."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def rotation_from_wxyz(q: Array) -> Array:
    """(3, 3) rotation of a unit quaternion (w, x, y, z)."""
    w, x, y, z = (float(v) for v in q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )

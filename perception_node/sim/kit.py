"""Builds a good piece by piece: meshes with looks for the eye, convex solids for the physics."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from perception_node.sim import shapes
from perception_node.sim.meshes import Array, Mesh
from perception_node.sim.physics import Solid
from perception_node.sim.textures import Look

Piece = tuple[Mesh, Look]

_H = float(np.sqrt(0.5))
Z_TO_X = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
"""Lays what stands along z down along x."""
Z_TO_Y = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""Lays what stands along z down along y."""
_TURNS = {"z": (1.0, 0.0, 0.0, 0.0), "x": (_H, 0.0, _H, 0.0), "y": (_H, -_H, 0.0, 0.0)}


@dataclass
class Kit:
    """The pieces of one good in any frame (metres); `goods.make` centres it."""

    symmetry: str = ""
    pieces: list[Piece] = field(default_factory=list)
    solids: list[Solid] = field(default_factory=list)

    def add(self, mesh: Mesh, look: Look, at: tuple[float, float, float] = (0.0, 0.0, 0.0), turn: Array | None = None) -> None:
        """A piece, turned and then put at a place."""
        self.pieces.append((mesh.moved(np.eye(3) if turn is None else turn, np.array(at)), look))

    def touch(self, kind: str, half_m: tuple[float, ...], at: tuple[float, float, float], along: str = "z") -> None:
        """A solid with its z axis along "x", "y" or "z"."""
        self.solids.append(Solid(kind, tuple(max(0.001, float(h)) for h in half_m), at, _TURNS[along]))


def rod(radius_m: float, length_m: float, segments: int = 12) -> Mesh:
    """A cylinder from z = 0 up with rounded rims, closed."""
    c = min(0.35 * radius_m, 0.003)
    r, h = radius_m, length_m
    return shapes.lathe_mesh(np.array([[0, 0], [r - c, 0], [r, c], [r, h - c], [r - c, h], [0, h]]), segments)


def capsule(radius_m: float, length_m: float, segments: int = 10) -> Mesh:
    """A rod with round ends, centred, along z; `length_m` over all."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 8)
    z = radius_m * np.sin(angle) + np.sign(angle) * max(0.0, length_m / 2 - radius_m)
    return shapes.lathe_mesh(np.stack([radius_m * np.cos(angle), z], 1), segments)


def aimed(direction: Array) -> Array:
    """(3, 3) rotation that turns z into a direction."""
    z = direction / np.linalg.norm(direction)
    helper = np.array([1.0, 0.0, 0.0]) if abs(z[0]) < 0.8 else np.array([0.0, 1.0, 0.0])
    x = np.cross(helper, z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], 1)

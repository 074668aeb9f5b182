"""Goods without packing: what a hand can take and what lies loose, labelled class `item`.

The rule for everything that is no package: what lies **loose** and has the size of goods is a good, is made here and is labelled.
What is not labelled is **fixed** (rails, guards, rollers, brackets, posts, housings, drums larger than goods), **flat**
(painted patches, tiles, labels, paper, wet places, light and shadow), a cable or hose, a plant, or reaches in from outside
(grippers, hands); `clutter` and `fixtures` make those. So no loose thing is `item` in one picture and background in the next.

A good is rigid and depends on (form, seed) alone: twins look alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from perception_node.sim import tools, toys, wares
from perception_node.sim.kit import Kit, Piece
from perception_node.sim.meshes import Array, rotation_z
from perception_node.sim.physics import Solid

FORMS: dict[str, tuple[float, Callable[[np.random.Generator], Kit]]] = {
    "bottle": (0.17, wares.bottle),
    "can": (0.15, wares.can),
    "book": (0.15, wares.book),
    "shoe": (0.12, wares.shoe),
    "cup": (0.05, wares.cup),
    "roll": (0.04, wares.roll),
    "hammer": (0.04, tools.hammer),
    "wrench": (0.04, tools.wrench),
    "screwdriver": (0.04, tools.screwdriver),
    "pliers": (0.04, tools.pliers),
    "drill": (0.03, tools.drill),
    "ball": (0.05, toys.ball),
    "brick": (0.04, toys.brick),
    "animal": (0.04, toys.animal),
    "vehicle": (0.04, toys.vehicle),
}
"""Share and maker of each form of good."""


@dataclass(frozen=True)
class Good:
    """A good in its own frame: origin = centre of its bounding box, metres.

    Attributes:
        pieces: meshes with their looks.
        solids: convex pieces that touch others.
        size_m: (3,) extent along x, y, z.
        symmetry: "axis" = looks the same turned about z, "ball" = about any axis, "" = neither.
    """

    pieces: tuple[Piece, ...]
    solids: tuple[Solid, ...]
    size_m: tuple[float, float, float]
    symmetry: str


def random_form(rng: np.random.Generator) -> str:
    """A form by its share."""
    shares = np.array([share for share, _ in FORMS.values()])
    return str(rng.choice(list(FORMS), p=shares / shares.sum()))


@lru_cache(maxsize=48)
def make(form: str, seed: int) -> Good:
    """The good of that form and seed."""
    kit = FORMS[form][1](np.random.default_rng([seed, 41]))
    points = np.concatenate([mesh.vertices for mesh, _ in kit.pieces])
    low, high = points.min(0).astype(np.float64), points.max(0).astype(np.float64)
    centre = (low + high) / 2
    moved = [np.array(s.position_m) - centre for s in kit.solids]
    solids = tuple(
        Solid(s.kind, s.half_m, (float(p[0]), float(p[1]), float(p[2])), s.quaternion)
        for s, p in zip(kit.solids, moved, strict=True)
    )
    pieces = tuple((mesh.moved(np.eye(3), -centre), look) for mesh, look in kit.pieces)
    x, y, z = (float(v) for v in high - low)
    return Good(pieces, solids, (x, y, z), kit.symmetry)


def resting_axes(symmetry: str, rotation: Array) -> Array:
    """(3, 3) rotation of a good's box; where the good looks the same turned, the box is turned so that one face looks up."""
    if symmetry == "ball":
        return rotation_z(float(np.arctan2(rotation[1, 0], rotation[0, 0])))
    axis = rotation[:, 2]
    if symmetry != "axis" or abs(axis[2]) > 0.9:
        return rotation
    up = np.array([0.0, 0.0, 1.0]) - axis[2] * axis
    up /= np.linalg.norm(up)
    return np.stack([np.cross(up, axis), up, axis], 1)

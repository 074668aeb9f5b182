"""Specifications of packages and goods and their bodies: class, size, mesh and look from one seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from perception_node.sim import goods, shapes, textures
from perception_node.sim.meshes import Mesh
from perception_node.sim.textures import Look
from perception_node.types import CLASS_NAMES

BOX, MAILER, BAG, ITEM = (CLASS_NAMES.index(name) + 1 for name in ("box", "padded_mailer", "poly_bag", "item"))

_PLAIN_SHARE = 0.14
"""Share of packages whose skin says nothing about their class, so that the class is learned from the shape as well."""


@dataclass(frozen=True)
class PackageSpec:
    """One package or good: class id, size (length, width, height) in metres, seeds of looks and of shape, form of a good.

    Twins share `look_seed` and size; `shape_seed` gives each its own wrinkles. A good's size belongs to its form and `look_seed`.
    """

    class_id: int
    size_m: tuple[float, float, float]
    look_seed: int
    shape_seed: int
    form: str = ""

    def twin(self, shape_seed: int) -> PackageSpec:
        """Another package of the same make."""
        return replace(self, shape_seed=shape_seed)


@dataclass(frozen=True)
class PackageModel:
    """Geometry and looks in the package's own frame (origin = centre of its box, metres), what else shows of it (the content of a
    clear bag, caps, handles, wheels), and how limp it is."""

    mesh: Mesh
    look: Look
    more: tuple[tuple[Mesh, Look], ...] = ()
    limpness_per_m: float = 0.0


def random_spec(rng: np.random.Generator, class_id: int, scale: float = 1.0) -> PackageSpec:
    """A package of a class; `scale` shrinks or grows it."""
    if class_id == BOX:
        length = float(np.exp(rng.uniform(np.log(0.11), np.log(0.5))))
        width = length * float(rng.uniform(0.35, 1.0))
        height = width * float(rng.uniform(0.15, 1.0))
        if rng.random() < 0.12:
            height = float(rng.uniform(0.025, 0.05))
        size = (length, width, max(0.025, height))
    elif class_id == MAILER:
        length = float(rng.uniform(0.15, 0.44))
        size = (length, length * float(rng.uniform(0.55, 0.9)), float(rng.uniform(0.007, 0.04)))
    else:
        length = float(np.exp(rng.uniform(np.log(0.12), np.log(0.48))))
        width = length * float(rng.uniform(0.5, 0.97))
        size = (length, width, float(np.clip(width * rng.uniform(0.08, 0.42), 0.012, 0.11)))
    scaled = (size[0] * scale, size[1] * scale, max(0.006, size[2] * scale))
    return PackageSpec(class_id, scaled, int(rng.integers(1 << 31)), int(rng.integers(1 << 31)))


def random_good(rng: np.random.Generator) -> PackageSpec:
    """A good of any form."""
    form, seed = goods.random_form(rng), int(rng.integers(1 << 31))
    return PackageSpec(ITEM, goods.make(form, seed).size_m, seed, 0, form)


def build_look(spec: PackageSpec) -> tuple[Look, Look | None]:
    """Textures of the package and of what one sees inside, from `look_seed` alone."""
    rng = np.random.default_rng(spec.look_seed)
    size = np.array(spec.size_m)
    if np.random.default_rng([spec.look_seed, 1]).random() < _PLAIN_SHARE:
        return textures.any_look(rng, size, 6 if spec.class_id == BOX else 2), None
    if spec.class_id == BOX:
        return textures.box_look(rng, size), None
    if spec.class_id == MAILER:
        return textures.mailer_look(rng, size), None
    return textures.bag_look(rng, size)


def build_good(spec: PackageSpec) -> PackageModel:
    """The pieces of a good."""
    (mesh, look), *more = goods.make(spec.form, spec.look_seed).pieces
    return PackageModel(mesh, look, tuple(more))


def build_model(spec: PackageSpec, look: Look, inner: Look | None) -> PackageModel:
    """A package's mesh from `shape_seed`, wearing the given looks."""
    rng = np.random.default_rng(spec.shape_seed)
    size = np.array(spec.size_m)
    if spec.class_id == BOX:
        bevel = float(rng.uniform(0.0008, 0.005))
        bulge = float(rng.normal(0.0, 0.002)) if rng.random() < 0.7 else float(rng.normal(0.003, 0.005))
        return PackageModel(shapes.box_mesh(rng, size, bevel, bulge), look)
    if spec.class_id == MAILER:
        mesh = shapes.pillow_mesh(
            rng, size, float(rng.uniform(0.006, 0.018)), float(rng.uniform(0.0003, 0.0012)),
            float(rng.uniform(0.0, 0.03)), float(rng.uniform(0.35, 0.9)),
        )  # fmt: skip
        return PackageModel(mesh, look, (), float(rng.uniform(0.5, 6.0)))
    mesh = shapes.pillow_mesh(
        rng, size, float(rng.uniform(0.004, 0.03)), float(rng.uniform(0.0008, 0.004)),
        float(rng.uniform(0.02, 0.12)), float(rng.uniform(0.3, 0.9)), (25, 31),
    )  # fmt: skip
    content: tuple[tuple[Mesh, Look], ...] = ()
    if inner is not None:
        fill = size * np.array([rng.uniform(0.45, 0.72), rng.uniform(0.45, 0.72), rng.uniform(0.5, 0.62)])
        shift = np.array([rng.normal(0, 0.03) * size[0], rng.normal(0, 0.03) * size[1], -0.06 * size[2]])
        block = shapes.block_mesh(fill) if rng.random() < 0.5 else shapes.pillow_mesh(
            rng, fill, 0.002, 0.001, 0.06, 0.4, (13, 15)
        )
        content = ((block.moved(np.eye(3), shift), inner),)
    return PackageModel(mesh, look, content, 0.0 if content else float(rng.uniform(1.0, 14.0)))

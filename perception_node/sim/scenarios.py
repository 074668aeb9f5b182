"""What lies where: kinds of piles, settled by physics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception_node.sim import goods
from perception_node.sim.meshes import Array, rotation_from_wxyz
from perception_node.sim.packages import BAG, BOX, ITEM, MAILER, PackageSpec, random_good, random_spec
from perception_node.sim.physics import Body, settle

KINDS = ("scattered", "pile", "dense", "flush", "fan", "concentric", "mixed")


@dataclass(frozen=True)
class Layout:
    """The place that carries the packages.

    Attributes:
        kind: belt, rollers, floor, table, tote, chute or doorstep (ground before a wall at y = -half_y_m).
        half_x_m: half length of the carrying surface (world x).
        half_y_m: half width (world y).
        wall_m: height of the walls round it (0 = open).
        drop_m: how far below the surrounding floor lies.
    """

    kind: str
    half_x_m: float
    half_y_m: float
    wall_m: float
    drop_m: float


@dataclass(frozen=True)
class Pile:
    """Settled packages and goods.

    Attributes:
        layout: where they lie; the surface is z = 0.
        specs: what they are.
        positions_m: (N, 3) centres, world.
        rotations: (N, 3, 3) world from package.
        kind: one of `KINDS`, "goods" (goods only) or "empty".
    """

    layout: Layout
    specs: list[PackageSpec]
    positions_m: Array
    rotations: Array
    kind: str


def random_layout(rng: np.random.Generator) -> Layout:
    """A carrying surface drawn from all kinds."""
    kinds = ["belt", "rollers", "floor", "table", "tote", "chute", "doorstep"]
    kind = str(rng.choice(kinds, p=[0.38, 0.07, 0.14, 0.07, 0.16, 0.1, 0.08]))
    if kind == "doorstep":
        return Layout(kind, float(rng.uniform(0.8, 2.0)), float(rng.uniform(0.35, 0.9)), 0.0, 0.0)
    if kind in ("belt", "rollers"):
        return Layout(kind, 3.0, float(rng.uniform(0.22, 0.6)), float(rng.choice([0.0, 0.05, 0.12])), float(rng.uniform(0.15, 0.9)))
    if kind == "floor":
        return Layout(kind, 3.0, 3.0, 0.0, 0.0)
    if kind == "table":
        return Layout(kind, float(rng.uniform(0.5, 0.9)), float(rng.uniform(0.4, 0.7)), 0.0, float(rng.uniform(0.1, 0.8)))
    if kind == "tote":
        half = float(rng.uniform(0.22, 0.45))
        across = half * float(rng.uniform(0.6, 0.9))
        return Layout(kind, half, across, float(rng.uniform(0.08, 0.32)), float(rng.uniform(0.02, 0.4)))
    return Layout(kind, 1.2, float(rng.uniform(0.25, 0.5)), float(rng.uniform(0.1, 0.3)), float(rng.uniform(0.1, 0.6)))


def _quaternion(rng: np.random.Generator, tilt_rad: float, yaw_rad: float | None = None) -> Array:
    yaw = rng.uniform(0, 2 * np.pi) if yaw_rad is None else yaw_rad
    axis = rng.uniform(0, 2 * np.pi)
    a = np.array([np.cos(tilt_rad / 2), np.cos(axis) * np.sin(tilt_rad / 2), np.sin(axis) * np.sin(tilt_rad / 2), 0.0])
    w, x, y, _ = a
    c, s = np.cos(yaw / 2), np.sin(yaw / 2)
    return np.array([w * c, x * c + y * s, y * c - x * s, w * s])


def _upright(rng: np.random.Generator, spec: PackageSpec) -> Array:
    """A random orientation in which such a package may arrive."""
    if spec.class_id == ITEM:  # upright, lying or any way up; most end up on a flat side
        pick = rng.random()
        if pick < 0.2:
            return _quaternion(rng, float(rng.uniform(0.3, np.pi)))
        q = _quaternion(rng, float(rng.normal(0, 0.06)))
        return _product(q, np.array([np.sqrt(0.5), np.sqrt(0.5), 0, 0])) if pick < 0.55 else q
    if spec.class_id == BOX:
        pick = rng.random()
        q = _quaternion(rng, float(rng.normal(0, 0.08)))
        if pick < 0.3:
            turn = np.array([np.sqrt(0.5), np.sqrt(0.5), 0, 0]) if pick < 0.15 else np.array([np.sqrt(0.5), 0, np.sqrt(0.5), 0])
            return _product(q, turn)
        if pick < 0.42:
            return _quaternion(rng, float(rng.uniform(0.2, 1.2)))
        return q
    if rng.random() < 0.06:
        return _quaternion(rng, float(rng.uniform(0.3, 1.3)))
    q = _quaternion(rng, float(rng.normal(0, 0.12)))
    return _product(q, np.array([0.0, 1.0, 0.0, 0.0])) if rng.random() < 0.25 else q


def _product(a: Array, b: Array) -> Array:
    w0, x0, y0, z0 = a
    w1, x1, y1, z1 = b
    return np.array(
        [
            w0 * w1 - x0 * x1 - y0 * y1 - z0 * z1,
            w0 * x1 + x0 * w1 + y0 * z1 - z0 * y1,
            w0 * y1 - x0 * z1 + y0 * w1 + z0 * x1,
            w0 * z1 + x0 * y1 - y0 * x1 + z0 * w1,
        ]
    )


def collision_size(spec: PackageSpec) -> Array:
    """Size of the box that stands for a package in the physics; soft ones give way."""
    size = np.array(spec.size_m)
    if spec.class_id in (BOX, ITEM):
        return size
    shrink = np.array([0.86, 0.86, 0.8]) if spec.class_id == BAG else np.array([0.94, 0.94, 0.85])
    return np.asarray(np.maximum(size * shrink, 0.005))


def body_of(spec: PackageSpec, position_m: Array, quaternion: Array) -> Body:
    """What falls in the physics: a box for packages, convex pieces for goods."""
    solids = goods.make(spec.form, spec.look_seed).solids if spec.class_id == ITEM else ()
    return Body(collision_size(spec), position_m, quaternion, solids)


def random_goods(rng: np.random.Generator, count: int) -> list[PackageSpec]:
    """Goods, now and then several of one make."""
    twins = float(rng.choice([0.0, 0.25, 0.7], p=[0.5, 0.35, 0.15]))
    found: list[PackageSpec] = []
    for _ in range(count):
        found.append(found[-1] if found and rng.random() < twins else random_good(rng))
    return found


def random_specs(rng: np.random.Generator, count: int, scale: float = 1.0) -> list[PackageSpec]:
    """A mix of classes with runs of twins."""
    weights = rng.dirichlet([1.1, 0.8, 0.9])
    if rng.random() < 0.3:
        weights = np.array([0.45, 0.25, 0.3])
    twins = float(rng.choice([0.1, 0.35, 0.75]))
    specs: list[PackageSpec] = []
    for _ in range(count):
        if specs and rng.random() < twins:
            specs.append(specs[int(rng.integers(len(specs)))].twin(int(rng.integers(1 << 31))))
        else:
            specs.append(random_spec(rng, int(rng.choice([BOX, MAILER, BAG], p=weights)), scale))
    return specs


def drop(rng: np.random.Generator, specs: list[PackageSpec], rx: float, ry: float, z: float) -> list[Body]:
    bodies = []
    for spec in specs:
        size = collision_size(spec)
        q = _upright(rng, spec)
        extent = np.abs(rotation_from_wxyz(q)) @ size
        z += float(extent[2]) * 0.55
        bodies.append(body_of(spec, np.array([rng.uniform(-rx, rx), rng.uniform(-ry, ry), z + 0.01]), q))
        z += float(extent[2]) * 0.55
    return bodies


def scatter(
    rng: np.random.Generator, specs: list[PackageSpec], rx: float, ry: float, others: list[Body] | None = None
) -> tuple[list[PackageSpec], list[Body]]:
    """Those of `specs` for which a free place is found beside each other and beside the `others`."""
    kept: list[PackageSpec] = []
    bodies: list[Body] = []
    taken = [(float(b.position_m[0]), float(b.position_m[1]), float(np.hypot(b.size_m[0], b.size_m[1])) / 2) for b in others or ()]
    for spec in specs:
        radius = float(np.hypot(spec.size_m[0], spec.size_m[1])) / 2
        for _ in range(12):
            x, y = rng.uniform(-rx, rx), rng.uniform(-ry, ry)
            if all(np.hypot(x - a, y - b) > 0.8 * (radius + r) for a, b, r in taken):
                taken.append((x, y, radius))
                size = collision_size(spec)
                q = _upright(rng, spec)
                extent = np.abs(rotation_from_wxyz(q)) @ size
                kept.append(spec)
                bodies.append(body_of(spec, np.array([x, y, extent[2] / 2 + 0.004]), q))
                break
    return kept, bodies


def flush_block(rng: np.random.Generator, layout: Layout, scale: float = 1.0) -> tuple[list[PackageSpec], list[Body]]:
    """A block of packages side by side, of one make or of several with a common height or depth."""
    class_id = int(rng.choice([BOX, MAILER, BAG], p=[0.78, 0.14, 0.08]))
    base = random_spec(rng, class_id, scale * float(rng.uniform(0.6, 1.0)))
    same = rng.random() < 0.7
    rows, columns = int(rng.integers(1, 4)), int(rng.integers(2, 5))
    sx, sy, sz = base.size_m
    while columns > 2 and columns * sx > 1.1:
        columns -= 1
    while rows > 1 and rows * sy > 1.9 * layout.half_y_m:
        rows -= 1
    gap = float(rng.choice([0.0003, 0.001, 0.003, 0.008]))
    yaw = float(rng.choice([0.0, rng.uniform(-0.3, 0.3), rng.uniform(0, 3.1)]))
    c, s = np.cos(yaw), np.sin(yaw)
    specs, bodies = [], []
    levels = 2 if class_id == BOX and sz < 0.2 and rng.random() < 0.2 else 1
    for level in range(levels):
        for i in range(columns):
            for j in range(rows):
                if rng.random() < 0.06 + 0.5 * level:
                    continue
                spec = base.twin(int(rng.integers(1 << 31)))
                if not same:
                    height = sz if rng.random() < 0.6 or levels > 1 else sz * float(rng.uniform(0.5, 1.3))
                    spec = PackageSpec(class_id, (sx, sy, height), int(rng.integers(1 << 31)), spec.shape_seed)
                x = (i - (columns - 1) / 2) * (sx + gap) + rng.normal(0, 0.0006 + gap * 0.3)
                y = (j - (rows - 1) / 2) * (sy + gap) + rng.normal(0, 0.0006 + gap * 0.3)
                z = spec.size_m[2] / 2 + 0.0008 + level * (sz + 0.001)
                flip = rng.random() < 0.3
                q = _quaternion(rng, 0.0, yaw + (np.pi if flip else 0.0))
                specs.append(spec)
                bodies.append(Body(np.array(spec.size_m), np.array([c * x - s * y, s * x + c * y, z]), q))
    return specs, bodies


def _fan(rng: np.random.Generator) -> tuple[list[PackageSpec], list[Body]]:
    """Flat things over one another, each showing little of the one below."""
    class_id = int(rng.choice([MAILER, BAG, BOX], p=[0.6, 0.2, 0.2]))
    base = random_spec(rng, class_id, 0.9)
    count = int(rng.integers(3, 9))
    step = rng.uniform(0.02, 0.09) * np.array([np.cos(t := rng.uniform(0, 6.28)), np.sin(t), 0.0])
    specs, bodies, z = [], [], 0.01
    for n in range(count):
        spec = base.twin(int(rng.integers(1 << 31))) if rng.random() < 0.6 else random_spec(rng, class_id, 0.9)
        size = collision_size(spec)
        z += float(size[2]) / 2 + 0.004
        place = (n - count / 2) * step + np.append(rng.normal(0, 0.02, 2), z)
        specs.append(spec)
        bodies.append(Body(size, place, _quaternion(rng, 0.0, float(rng.normal(0, 0.25)))))
        z += float(size[2]) / 2
    return specs, bodies


def _concentric(rng: np.random.Generator, rx: float, ry: float) -> tuple[list[PackageSpec], list[Body]]:
    """Stacks of two to four, nearly centred: an envelope or a smaller box on a box."""
    specs: list[PackageSpec] = []
    bodies: list[Body] = []
    spots = int(rng.integers(1, 4))
    for n in range(spots):
        x0 = 0.0 if spots == 1 else (n - (spots - 1) / 2) * 2 * rx / spots * rng.uniform(0.8, 1.2)
        y0 = rng.uniform(-0.5, 0.5) * ry
        yaw = float(rng.uniform(0, 3.14))
        z = 0.001
        below: PackageSpec | None = None
        for _ in range(int(rng.integers(2, 5))):
            spec = random_spec(rng, int(rng.choice([BOX, MAILER, BAG], p=[0.55, 0.25, 0.2])), 0.9)
            if below is not None and rng.random() < 0.7:
                factor = rng.uniform(0.6, 1.0)
                w = min(spec.size_m[1], below.size_m[1] * factor)
                size_m = (min(spec.size_m[0], below.size_m[0] * factor), w, min(spec.size_m[2], w))
                spec = PackageSpec(spec.class_id, size_m, spec.look_seed, spec.shape_seed)
                if rng.random() < 0.3 and spec.class_id == below.class_id:
                    spec = PackageSpec(spec.class_id, spec.size_m, below.look_seed, spec.shape_seed)
            size = collision_size(spec)
            z += float(size[2]) / 2
            yaw += float(rng.choice([0.0, rng.normal(0, 0.15), rng.uniform(0, 1.6)]))
            x, y = x0 + rng.normal(0, 0.012), y0 + rng.normal(0, 0.012)
            specs.append(spec)
            bodies.append(Body(size, np.array([x, y, z]), _quaternion(rng, 0.0, yaw)))
            z += float(size[2]) / 2 + 0.002
            below = spec
    return specs, bodies


def walls(layout: Layout) -> list[Body]:
    """Walls that keep the packages on the surface; most of them are never drawn."""
    if layout.kind == "floor":
        return []
    x, y = layout.half_x_m, layout.half_y_m
    q = np.array([1.0, 0, 0, 0])
    return [
        Body(np.array([2 * x, 0.1, 4.0]), np.array([0, y + 0.05, 2.0]), q),
        Body(np.array([2 * x, 0.1, 4.0]), np.array([0, -y - 0.05, 2.0]), q),
        Body(np.array([0.1, 2 * y + 0.2, 4.0]), np.array([x + 0.05, 0, 2.0]), q),
        Body(np.array([0.1, 2 * y + 0.2, 4.0]), np.array([-x - 0.05, 0, 2.0]), q),
    ]


_SHARES = {
    "train": ([0.2, 0.26, 0.14, 0.17, 0.07, 0.08, 0.08], [0.15, 0.4, 0.3, 0.15]),
    "validation": ([0.12, 0.22, 0.2, 0.2, 0.1, 0.1, 0.06], [0.1, 0.3, 0.4, 0.2]),
}
"""Per style: weights of `KINDS`, weights of the numbers of packages (1-3, 3-9, 8-16, 15-30)."""


CONTENTS: dict[str, tuple[float, float, float]] = {
    "mixed": (0.06, 0.04, 0.28),
    "packages": (0.0, 0.0, 0.0),
    "goods": (0.0, 1.0, 0.0),
    "nothing": (1.0, 0.0, 0.0),
}
"""Share of scenes with neither packages nor goods (machinery, flat marks, light and shadow alone must not be taken for one), of
those with goods only, and share of the rest in which one to eight goods lie among the packages (a quarter of all)."""


def _with_goods(
    rng: np.random.Generator, specs: list[PackageSpec], bodies: list[Body], rx: float, ry: float
) -> tuple[list[PackageSpec], list[Body]]:
    """One to eight goods more: in free places, where there are any, and on top."""
    count = int(rng.choice([rng.integers(1, 4), rng.integers(3, 9)], p=[0.6, 0.4]))
    more = random_goods(rng, count)
    lying = more if not bodies else more[: int(rng.integers(0, count + 1))]
    rx, ry = (rx, ry) if len(bodies) or rng.random() < 0.4 else (0.5 * rx, 0.7 * ry)
    below, dropped = scatter(rng, lying, rx, ry, bodies)
    above = more[len(lying) :]
    top = max((float(b.position_m[2] + np.max(b.size_m) / 2) for b in bodies), default=0.0)
    dropped = dropped + drop(rng, above, 0.5 * rx, 0.5 * ry, top + 0.03)
    return specs + below + above, bodies + dropped


def random_pile(rng: np.random.Generator, most: int = 30, style: str = "train", content: str = "mixed") -> Pile:
    """Draws a layout and a kind, then settles packages and goods on it.

    Args:
        rng: choices.
        most: packages at most; up to eight goods come on top.
        style: a key of the shares of kinds.
        content: a key of `CONTENTS`.
    """
    layout = random_layout(rng)
    shares, sizes = _SHARES[style]
    kind = str(rng.choice(list(KINDS), p=shares))
    rx, ry = min(layout.half_x_m, 0.75) * 0.85, min(layout.half_y_m, 0.55) * 0.8
    small = min(1.0, max(0.45, 2.2 * min(layout.half_x_m, layout.half_y_m)))
    count = int(rng.choice([rng.integers(1, 4), rng.integers(3, 10), rng.integers(8, 17), rng.integers(15, 31)], p=sizes))
    count = min(count, most)
    empty, goods_only, among = CONTENTS[content]
    what, goods_too = rng.random(), rng.random() < among
    if what < empty:
        return Pile(layout, [], np.zeros((0, 3)), np.zeros((0, 3, 3)), "empty")
    if what < empty + goods_only:
        kind, goods_too = "goods", True
    elif layout.kind == "doorstep":
        count = min(count, int(rng.integers(1, 6)))
        kind = str(rng.choice(["scattered", "pile", "concentric"], p=[0.55, 0.15, 0.3]))
    specs: list[PackageSpec] = []
    bodies: list[Body] = []
    if kind == "scattered":
        specs, bodies = scatter(rng, random_specs(rng, count, small), rx, ry)
    elif kind == "flush":
        specs, bodies = flush_block(rng, layout)
    elif kind == "fan":
        specs, bodies = _fan(rng)
    elif kind == "concentric":
        specs, bodies = _concentric(rng, rx, ry)
    elif kind == "mixed":
        specs, bodies = flush_block(rng, layout)
    extra = 0
    if kind in ("pile", "dense"):
        extra = count if kind == "pile" else max(8, count)
    elif kind != "goods" and (rng.random() < 0.4 or kind == "mixed"):
        extra = int(rng.integers(1, 6))
    if extra:
        more = random_specs(rng, extra, small)
        tight = 0.45 if kind == "dense" else float(rng.uniform(0.5, 1.0))
        spread = tight * min(1.0, 0.16 * np.sqrt(extra) + 0.1)
        top = max((float(b.position_m[2] + np.max(b.size_m) / 2) for b in bodies), default=0.0)
        bodies += drop(rng, more, rx * spread, ry * min(1.0, spread * 1.5), top + 0.03)
        specs += more
    bodies, specs = bodies[:most], specs[:most]
    if goods_too:
        specs, bodies = _with_goods(rng, specs, bodies, rx, ry)
    positions, quaternions = settle(bodies, walls(layout), float(rng.uniform(0.35, 0.9)))
    rotations = np.array([rotation_from_wxyz(q) for q in quaternions]).reshape(-1, 3, 3)
    inside: Array = np.all(np.isfinite(positions) & (np.abs(positions) < 2.5), axis=1)
    keep = [n for n in range(len(specs)) if inside[n]]
    return Pile(layout, [specs[n] for n in keep], positions[keep], rotations[keep], kind)

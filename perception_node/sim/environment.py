"""Dresses a layout: surfaces, rails, walls, machinery; then lamps and a camera."""

from __future__ import annotations

import numpy as np

from perception_node.sim import clutter, patterns, shapes, surfaces
from perception_node.sim.meshes import Array, Mesh
from perception_node.sim.render import Item, Light, Lighting, View
from perception_node.sim.scenarios import Layout
from perception_node.sim.textures import Look


def _slab(centre: Array | list[float], size: Array, look: Look) -> Item:
    mesh = shapes.block_mesh(size).moved(np.eye(3), np.asarray(centre))
    scale = np.maximum(1.0, float(np.max(size)) / 0.6)
    return Item(Mesh(mesh.vertices, mesh.normals, mesh.uv * np.array([scale, 1.0], np.float32), mesh.triangles, mesh.part), look)


def _ground(look: tuple[Look, float], half_x: float, half_y: float, z: float) -> Item:
    repeat = (2 * half_x / look[1], 2 * half_y / look[1])
    mesh = shapes.plane_mesh(np.array([0, 0, z]), np.array([half_x, 0, 0]), np.array([0, half_y, 0]), repeat)
    return Item(mesh, look[0], 0, False)


def _any_floor(rng: np.random.Generator) -> tuple[Look, float]:
    kind = rng.random()
    look, repeat = (
        patterns.litter_look(rng) if kind < 0.1 else patterns.wild_look(rng) if kind < 0.22 else surfaces.floor_look(rng)
    )
    return (patterns.marked(rng, look) if rng.random() < 0.2 else look), repeat


def _any_belt(rng: np.random.Generator) -> tuple[Look, float]:
    look, repeat = patterns.wild_look(rng) if rng.random() < 0.15 else surfaces.belt_look(rng)
    return (patterns.marked(rng, look) if rng.random() < 0.15 else look), repeat


def _rails(rng: np.random.Generator, layout: Layout) -> list[Item]:
    """Side frames, guards, rollers' ends along a belt."""
    items: list[Item] = []
    y, long = layout.half_y_m, 2 * layout.half_x_m
    look = surfaces.metal_look(rng, 0.6)
    other = surfaces.metal_look(rng, 0.5)
    width = float(rng.uniform(0.015, 0.12))
    rise = float(rng.uniform(-0.03, 0.03)) if layout.wall_m == 0 else layout.wall_m
    deep = float(rng.uniform(0.06, 0.25))
    gap = float(rng.choice([0.0, rng.uniform(0.0, 0.03)]))
    sides = (-1, 1) if rng.random() < 0.85 else (int(rng.choice([-1, 1])),)
    for side in sides:
        items.append(_slab([0, side * (y + gap + width / 2), rise - deep / 2], np.array([long, width, deep]), look))
        if rng.random() < 0.4:
            h = float(rng.uniform(0.01, 0.1))
            at = float(rng.uniform(0.03, 0.2))
            bar = rng.random() < 0.5
            if bar:
                path = np.linspace([-layout.half_x_m, 0, 0], [layout.half_x_m, 0, 0], 3) + np.array([0, side * (y + 0.02), at])
                items.append(Item(shapes.tube_mesh(path, float(rng.uniform(0.006, 0.02))), other))
            else:
                items.append(_slab([0, side * (y + gap + width + 0.01), at], np.array([long, 0.01, h]), other))
            for x in np.arange(-1.5, 1.5, float(rng.uniform(0.25, 0.8))):
                items.append(_slab([x, side * (y + gap + width + 0.02), at / 2], np.array([0.03, 0.02, at + 0.05]), other))
        if rng.random() < 0.3:
            lip = surfaces.metal_look(rng, 0.7)
            items.append(_slab([0, side * (y + gap + width + 0.05), rise - 0.05], np.array([long, 0.1, 0.02]), lip))
    return items


def _rollers(rng: np.random.Generator, layout: Layout) -> list[Item]:
    radius = float(rng.uniform(0.018, 0.035))
    pitch = 2 * radius * float(rng.uniform(1.1, 1.8))
    look = surfaces.metal_look(rng, 0.7)
    base = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    one = clutter.cylinder(rng, radius, 2 * layout.half_y_m)
    items = []
    for x in np.arange(-1.6, 1.6, pitch):
        items.append(Item(one.moved(base, np.array([x, -layout.half_y_m, -radius])), look))
    return items


def _tote(rng: np.random.Generator, layout: Layout) -> list[Item]:
    look = surfaces.plastic_look(rng) if rng.random() < 0.8 else surfaces.metal_look(rng)
    thick = float(rng.uniform(0.004, 0.02))
    x, y, h = layout.half_x_m, layout.half_y_m, layout.wall_m
    items = [
        _slab([0, y + thick / 2, h / 2 - 0.01], np.array([2 * x + 2 * thick, thick, h + 0.02]), look),
        _slab([0, -y - thick / 2, h / 2 - 0.01], np.array([2 * x + 2 * thick, thick, h + 0.02]), look),
        _slab([x + thick / 2, 0, h / 2 - 0.01], np.array([thick, 2 * y, h + 0.02]), look),
        _slab([-x - thick / 2, 0, h / 2 - 0.01], np.array([thick, 2 * y, h + 0.02]), look),
    ]
    if rng.random() < 0.6:
        lip = float(rng.uniform(0.01, 0.04))
        for s in (-1, 1):
            items.append(_slab([0, s * (y + lip / 2), h], np.array([2 * x + 2 * lip, lip, 0.008]), look))
            items.append(_slab([s * (x + lip / 2), 0, h], np.array([lip, 2 * y, 0.008]), look))
    return items


def _doorstep(rng: np.random.Generator, layout: Layout) -> list[Item]:
    """A wall, perhaps with a door, a kerb or step, pots and posts."""
    items: list[Item] = []
    y = -layout.half_y_m
    look, repeat = surfaces.wall_look(rng)
    mesh = shapes.plane_mesh(np.array([0, y, 1.5]), np.array([-6.0, 0, 0]), np.array([0, 0, 1.5]), (12 / repeat, 3 / repeat))
    if rng.random() < 0.75:
        items.append(Item(mesh, look, 0, False))
        if rng.random() < 0.6:
            door = surfaces.metal_look(rng, 0.1) if rng.random() < 0.5 else surfaces.wall_look(rng)[0]
            x = float(rng.uniform(-0.6, 0.6))
            items.append(_slab([x, y, 1.0], np.array([0.9, 0.06, 2.0]), door))
            for s in (-1, 1):
                items.append(_slab([x + s * 0.48, y, 1.0], np.array([0.06, 0.1, 2.0]), surfaces.metal_look(rng, 0.1)))
    if rng.random() < 0.5:
        side = float(rng.choice([-1, 1]))
        size = np.array([8.0, rng.uniform(0.1, 0.3), rng.uniform(0.08, 0.3)])
        items.append(_slab([0, side * (layout.half_y_m + size[1] / 2 + 0.02), size[2] / 2], size, surfaces.metal_look(rng, 0.0)))
    if rng.random() < 0.4:
        items.append(_ground(_any_floor(rng), float(rng.uniform(0.3, 0.6)), float(rng.uniform(0.2, 0.4)), 0.002))
    for _ in range(int(rng.integers(0, 6))):
        kind = rng.random()
        part = clutter.plant(rng) if kind < 0.25 else clutter.bush(rng) if kind < 0.7 else clutter.big_thing(rng)
        x = float(rng.choice([-1, 1]) * rng.uniform(0.6, 1.8))
        items.append(Item(*clutter.placed(part, x, y + float(rng.uniform(0.2, 0.5)), 0.0, float(rng.uniform(0, 6.28)))))
    return items


def dress(rng: np.random.Generator, layout: Layout, footprints: Array, on_surface: bool = True, bare: bool = False) -> list[Item]:
    """Everything that is neither package nor good.

    Args:
        rng: choices.
        layout: the carrying surface.
        footprints: (N, 3) x, y and radius of each package, metres, to be kept clear of things.
        on_surface: things may also be among the packages.
        bare: there are no packages: more machinery, marks and glare instead.

    Returns:
        Items; the second one is the carrying surface, except for rollers and floors.
    """
    items: list[Item] = []
    drop = -layout.drop_m if layout.kind != "floor" else 0.0
    below = _any_floor(rng) if rng.random() < 0.8 else _any_belt(rng)
    items.append(_ground(below, 9.0, 9.0, drop - 0.001))
    if layout.kind == "belt":
        items.append(_ground(_any_belt(rng), layout.half_x_m, layout.half_y_m, 0.0))
        items += _rails(rng, layout)
    elif layout.kind == "rollers":
        items += _rollers(rng, layout) + _rails(rng, layout)
    elif layout.kind == "table":
        top = _any_floor(rng) if rng.random() < 0.6 else _any_belt(rng)
        items.append(_ground(top, layout.half_x_m, layout.half_y_m, 0.0))
        edge = surfaces.metal_look(rng)
        items.append(_slab([0, 0, -0.021], np.array([2 * layout.half_x_m, 2 * layout.half_y_m, 0.04]), edge))
    elif layout.kind == "tote":
        look = surfaces.plastic_look(rng) if rng.random() < 0.6 else _any_belt(rng)[0]
        items.append(_ground((look, 0.5), layout.half_x_m, layout.half_y_m, 0.0))
        items += _tote(rng, layout)
    elif layout.kind == "chute":
        look = surfaces.metal_look(rng, 0.8) if rng.random() < 0.6 else surfaces.plastic_look(rng)
        items.append(_ground((look, 0.8), layout.half_x_m, layout.half_y_m, 0.0))
        walls = _tote(rng, layout)
        items += walls[:2]
    elif layout.kind == "doorstep":
        items += _doorstep(rng, layout)
    ground = items[1 if layout.kind not in ("rollers", "floor", "doorstep") else 0].look
    items += _things(rng, layout, footprints, drop, on_surface, ground, bare)
    return items


def _things(
    rng: np.random.Generator, layout: Layout, footprints: Array, drop: float, on_surface: bool, ground: Look, bare: bool
) -> list[Item]:
    items: list[Item] = []

    def clear(x: float, y: float, r: float) -> bool:
        if not len(footprints):
            return True
        return bool((np.hypot(footprints[:, 0] - x, footprints[:, 1] - y) > footprints[:, 2] + r).all())

    few = int(rng.integers(3, 14)) if bare else int(rng.choice([0, 1, 2, 4, 7], p=[0.3, 0.2, 0.2, 0.2, 0.1]))
    for n in range(few if on_surface else 0):
        x, y = rng.uniform(-1, 1) * min(layout.half_x_m, 0.9), rng.uniform(-1, 1) * min(layout.half_y_m, 0.9)
        part = clutter.small_thing(rng, ground)
        away = np.hypot(part[0].vertices[:, 0], part[0].vertices[:, 1])
        radius, flat = float(away.max()), float(part[0].vertices[:, 2].max()) < 0.002
        yaw = float(rng.uniform(0, 6.28))
        if layout.kind not in ("floor", "table", "doorstep") and not flat:  # what is screwed on stands at the rim of a belt or tote
            y, yaw = np.sign(y) * max(0.0, layout.half_y_m - radius - 0.005), np.pi / 2 * int(rng.integers(4))
        inside = abs(x) + radius < layout.half_x_m and abs(y) + radius < layout.half_y_m
        if inside and (flat or clear(x, y, radius)):
            items.append(Item(*clutter.placed(part, float(x), float(y), 0.0001 * n if flat else 0.0, yaw), 0, not flat))
    if layout.kind != "floor":
        for _ in range(int(rng.integers(0, 7))):
            side = float(rng.choice([-1, 1]))
            along = rng.random() < 0.8 or layout.half_x_m > 2
            far = rng.uniform(0.05, 0.7)
            part = clutter.big_thing(rng) if rng.random() < 0.6 else clutter.small_thing(rng)
            radius = float(np.hypot(part[0].vertices[:, 0], part[0].vertices[:, 1]).max())
            x, y = rng.uniform(-1.2, 1.2), side * (layout.half_y_m + far + radius)
            if not along:
                x, y = side * (layout.half_x_m + far + radius), rng.uniform(-1.0, 1.0)
            z = drop if rng.random() < 0.6 else float(rng.uniform(drop, 0.1))
            top = float(part[0].vertices[:, 2].max()) + z
            if top < 0.6:
                items.append(Item(*clutter.placed(part, float(x), float(y), z, float(rng.uniform(0, 6.28)))))
    else:
        for _ in range(int(rng.integers(0, 4))):
            part = clutter.big_thing(rng) if rng.random() < 0.75 else clutter.bush(rng)
            angle, far = rng.uniform(0, 6.28), rng.uniform(0.9, 1.8)
            x, y = float(far * np.cos(angle)), float(far * np.sin(angle))
            items.append(Item(*clutter.placed(part, x, y, 0.0, float(rng.uniform(0, 6.28)))))
    if on_surface and rng.random() < 0.1:
        part = clutter.gripper(rng) if rng.random() < 0.65 else clutter.hand(rng)
        for _ in range(6):
            x, y = rng.uniform(-0.5, 0.5, 2)
            z = float(rng.uniform(0.03, 0.3))
            if clear(float(x), float(y), 0.08) or z > 0.22:
                items.append(Item(*clutter.placed(part, float(x), float(y), z, float(rng.uniform(0, 6.28)))))
                break
    return items


def random_lighting(rng: np.random.Generator) -> Lighting:
    """Lamps over a work cell, daylight from a side, or a single hard lamp."""
    warm = rng.normal(0, 0.06)
    white = np.array([1.0 + warm, 1.0, 1.0 - warm])
    if rng.random() < 0.08:
        white = white * np.exp(rng.normal(0, 0.25, 3))
    sunny = rng.random() < 0.18
    ambient = float(rng.uniform(0.1, 0.35) if sunny else rng.uniform(0.25, 1.0))
    sky = np.concatenate([
        ambient * white * rng.uniform(0.9, 1.1, 3),
        ambient * rng.uniform(0.15, 0.5) * white,
        rng.uniform(0.1, 0.7) * white * rng.uniform(0.9, 1.1, 3),
    ])  # fmt: skip
    lights = []
    if sunny:
        high, turn = np.radians(rng.uniform(22, 75)), rng.uniform(0, 2 * np.pi)
        vector = np.array([np.cos(turn) * np.cos(high), np.sin(turn) * np.cos(high), np.sin(high)])
        lights.append(Light(vector, white * rng.uniform(1.0, 2.2), False, int(rng.choice([1, 2, 3, 5]))))
    for _ in range(0 if sunny else int(rng.choice([0, 1, 2], p=[0.1, 0.6, 0.3]))):
        high = np.radians(rng.uniform(28, 85))
        turn = rng.uniform(0, 2 * np.pi)
        vector = np.array([np.cos(turn) * np.cos(high), np.sin(turn) * np.cos(high), np.sin(high)])
        tint = white * rng.uniform(0.93, 1.07, 3)
        soft = int(rng.choice([3, 5, 9, 17, 31]))
        if rng.random() < 0.3:
            far = float(rng.uniform(1.2, 3.0))
            lights.append(Light(vector * far, tint * rng.uniform(0.3, 1.5) * far * far, True, soft))
        else:
            lights.append(Light(vector, tint * rng.uniform(0.2, 1.6), False, soft))
    strips = []
    for _ in range(int(rng.integers(1, 6))):
        angle = rng.uniform(0, np.pi)
        strips.append([
            rng.uniform(-1.5, 1.5), rng.uniform(-1.5, 1.5), rng.uniform(1.5, 3.5), rng.uniform(0.2, 1.5),
            rng.uniform(0.02, 0.3), np.cos(angle), rng.uniform(0.8, 5.0), rng.uniform(0.06, 0.7), np.sin(angle),
        ])  # fmt: skip
    return Lighting(lights, np.array(strips, np.float32), sky.astype(np.float32), int(rng.integers(9, 35)))


def shadow_casters(rng: np.random.Generator, lighting: Lighting, centre: Array) -> list[Item]:
    """Beams, frames and leaves far up in the light's way: their shadows have edges that are no packages.

    Args:
        rng: choices.
        lighting: the first parallel lamp counts.
        centre: (3,) where the shadows fall, world, metres.
    """
    lamps = [lamp for lamp in lighting.lights if not lamp.point]
    if not lamps:
        return []
    towards = lamps[0].vector / np.linalg.norm(lamps[0].vector)
    side = np.cross(towards, [0.3, 0.2, 0.9])
    side /= np.linalg.norm(side)
    other = np.cross(towards, side)
    turn = rng.uniform(0, np.pi)
    along, across = np.cos(turn) * side + np.sin(turn) * other, np.cos(turn) * other - np.sin(turn) * side
    look = surfaces.plain_look(np.full(3, 90.0))
    items = []
    leaves = rng.random() < 0.3
    pitch = float(rng.uniform(0.1, 0.5))
    for n in range(int(rng.integers(8, 50)) if leaves else int(rng.integers(1, 6))):
        place = centre + towards * 6.0
        if leaves:
            place = place + rng.normal(0, 0.5, 2) @ np.stack([along, across])
            half, wide = rng.uniform(0.03, 0.15, 2)
        else:
            place = place + across * ((n - 2) * pitch + rng.normal(0, 0.05))
            half, wide = 3.0, pitch * rng.uniform(0.08, 0.35)
        items.append(Item(shapes.plane_mesh(place, along * half, across * wide, (1.0, 1.0)), look))
    return items


def look_at(eye: Array, target: Array, roll_rad: float) -> Array:
    """(4, 4) camera_to_world of an optical frame (x right, y down, z forward) looking at a point."""
    z = target - eye
    z = z / np.linalg.norm(z)
    helper = np.array([0.0, 1.0, 0.0]) if abs(z[2]) > 0.999 else np.array([0.0, 0.0, 1.0])
    x = np.cross(z, helper)
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    c, s = np.cos(roll_rad), np.sin(roll_rad)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = c * x + s * y, c * y - s * x, z, eye
    return pose


def random_view(rng: np.random.Generator, positions_m: Array, layout: Layout, width: int, height: int) -> View:
    """A camera 0.6 to 2.5 m away (some nearer or farther), tilted by 0 to 45 degrees (some up to 70), rolled at will."""
    fov = np.radians(rng.uniform(45, 90) if rng.random() < 0.85 else rng.uniform(32, 105))
    fx = width / 2 / np.tan(fov / 2)
    spread = 0.35
    middle = np.zeros(3)
    if len(positions_m):
        middle = np.median(positions_m, 0)
        spread = 0.18 + float(np.percentile(np.hypot(*(positions_m - middle)[:, :2].T), 80))
    target = middle + np.append(rng.normal(0, 0.08 + 0.1 * spread, 2), 0)
    target[2] = 0.03
    wanted = max(0.55, 2 * spread * float(np.exp(rng.normal(0.0, 0.3))))
    nearest = 0.6
    if len(positions_m) and (reach := rng.random()) < 0.2:
        if reach < 0.12:  # one package fills much of the picture
            target = positions_m[int(rng.integers(len(positions_m)))] + rng.normal(0, 0.06, 3) * np.array([1, 1, 0])
            wanted, nearest = float(rng.uniform(0.2, 0.6)), 0.3 + 1.5 * float(target[2])
        elif reach < 0.16:
            wanted *= float(rng.uniform(1.5, 2.3))
        else:
            target[:2] += rng.normal(0, 0.3 * wanted, 2)
    distance = float(np.clip(wanted / 2 / np.tan(fov / 2), nearest, 3.2))
    tilt = np.radians(abs(rng.normal(0, 10)) if rng.random() < 0.5 else rng.uniform(0, 45))
    if layout.kind == "doorstep":
        tilt = np.radians(rng.uniform(25, 68))
        distance = float(np.clip(distance * rng.uniform(1.1, 1.9), 1.0, 3.2))
    if rng.random() < 0.12:
        tilt = np.radians(rng.uniform(42, 70))
    if layout.kind == "tote":
        tilt = min(tilt, np.radians(28))
    heading = rng.uniform(0, 2 * np.pi)
    if layout.kind in ("belt", "rollers", "chute") and rng.random() < 0.6:
        heading = np.pi / 2 * int(rng.integers(4)) + rng.normal(0, 0.1)
    if layout.kind == "doorstep":
        heading = np.pi / 2 + rng.normal(0, 0.5)
    out = np.array([np.cos(heading) * np.sin(tilt), np.sin(heading) * np.sin(tilt), np.cos(tilt)])
    roll = float(rng.normal(0, 0.05)) if rng.random() < 0.6 else float(rng.uniform(0, 6.28))
    pose = look_at(target + distance * out, target, roll)
    fy = fx * float(rng.uniform(0.995, 1.005))
    cx = (width - 1) / 2 + float(rng.normal(0, 4))
    cy = (height - 1) / 2 + float(rng.normal(0, 4))
    return View(np.array([fx, fy, cx, cy]), width, height, pose)

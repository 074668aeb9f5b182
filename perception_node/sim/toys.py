"""Balls, building bricks, animals and vehicles; sizes judged by eye."""

from __future__ import annotations

import cv2
import numpy as np

from perception_node.sim import goods_looks as looks
from perception_node.sim import noise, prints, shapes
from perception_node.sim.kit import Z_TO_X, Z_TO_Y, Kit, aimed, capsule, rod
from perception_node.sim.textures import Look, compose


def ball(rng: np.random.Generator) -> Kit:
    """A ball: plain, striped, spotted, in patches or printed."""
    r = float(np.exp(rng.uniform(np.log(0.02), np.log(0.12))))
    base, kind, shiny = looks.any_colour(rng), int(rng.integers(5)), float(rng.uniform(0.0, 1.0))
    image = np.empty((96, 192, 3), np.uint8)
    image[:] = np.clip(base, 0, 255)
    ink = [[int(v) for v in looks.any_colour(rng)] for _ in range(3)]
    if kind == 0:
        n = int(rng.integers(3, 9))
        for k in range(0, 192, max(1, 192 // n)):
            image[:, k : k + 96 // n] = ink[0]
    elif kind == 1:
        for k in range(int(rng.integers(1, 4))):
            y = int(rng.integers(15, 75))
            image[y : y + int(rng.integers(4, 18))] = ink[k]
    elif kind == 2:
        for _ in range(int(rng.integers(8, 22))):
            place = (int(rng.integers(192)), int(rng.integers(12, 84)))
            cv2.circle(image, place, int(rng.integers(4, 11)), ink[int(rng.integers(3))], -1, cv2.LINE_AA)
    elif kind == 3:
        image = looks.artwork(rng, 96, 192, base)
    relief = noise.patch(rng, "fine", 96, 192) if rng.random() < 0.3 else None
    kit = Kit("ball")
    skin = Look([compose(image, relief, 0.2, shiny)], looks.gloss_material(rng, shiny))
    kit.add(shapes.ellipsoid_mesh(np.full(3, r), 20), skin, (0, 0, r))
    kit.touch("sphere", (r,), (0, 0, r))
    return kit


def brick(rng: np.random.Generator) -> Kit:
    """A building brick with studs, a letter cube or several stuck together."""
    kit = Kit()
    if rng.random() < 0.4:
        side, tone = float(rng.uniform(0.03, 0.075)), looks.any_colour(rng)
        skins = looks.wood(rng) if rng.random() < 0.4 else looks.even(rng, tone, 0.4)
        faces = []
        for _ in range(6):
            image = np.ascontiguousarray(cv2.resize(skins.textures[0][..., :3], (48, 48)))
            frame = [int(v) for v in looks.any_colour(rng)]
            cv2.rectangle(image, (3, 3), (44, 44), frame, int(rng.integers(1, 5)))
            prints.put_text(image, rng, prints.word(rng)[:1].upper(), 13, 36, 30.0, np.array(frame))
            faces.append(compose(image, None, 0.0, 0.3))
        size = np.full(3, side)
        kit.add(shapes.box_mesh(rng, size, 0.08 * side, 0.0), Look(faces, skins.material), (0, 0, side / 2))
        kit.touch("box", (side / 2, side / 2, side / 2), (0, 0, side / 2))
        return kit
    pitch, tall = float(rng.uniform(0.016, 0.034)), float(rng.uniform(0.6, 1.3))
    z = 0.0
    shift = 0.0
    for _ in range(int(rng.choice([1, 2, 3], p=[0.55, 0.25, 0.2]))):
        nx, ny, h = int(rng.integers(2, 5)), int(rng.integers(1, 3)), pitch * tall
        skin = looks.even(rng, prints.colour(rng).astype(np.float64), float(rng.uniform(0.3, 1.0)), 0.02)
        size = np.array([nx * pitch, ny * pitch, h])
        kit.add(shapes.box_mesh(rng, size, 0.04 * pitch, 0.0), Look(skin.textures * 6, skin.material), (shift, 0, z + h / 2))
        for i in range(nx):
            for j in range(ny):
                at = (shift + (i - (nx - 1) / 2) * pitch, (j - (ny - 1) / 2) * pitch, z + h)
                kit.add(shapes.prism_mesh(shapes.disc_outline(0.3 * pitch, 0.3 * pitch, 8), 0.4 * pitch), skin, at)
        kit.touch("box", (nx * pitch / 2, ny * pitch / 2, h / 2 + 0.1 * pitch), (shift, 0, z + h / 2 + 0.1 * pitch))
        z += h
        shift += float(rng.integers(-1, 2)) * pitch
    return kit


def animal(rng: np.random.Generator) -> Kit:
    """A plush or plastic animal on four legs, or a doll or bear that sits."""
    size = float(rng.uniform(0.04, 0.13))
    plush = rng.random() < 0.55
    tone, other = looks.any_colour(rng), looks.any_colour(rng)
    skin = looks.cloth(rng, tone, 0.5) if plush else looks.even(rng, tone, float(rng.uniform(0.2, 0.9)), 0.1)
    second = looks.cloth(rng, other, 0.5) if plush else looks.even(rng, other, 0.4, 0.1)
    dark = looks.even(rng, looks.DARK, 0.9)
    kit = Kit()
    sits = rng.random() < 0.45
    body = size * (np.array([0.42, 0.42, 0.55]) if sits else np.array([0.8, 0.36, 0.4])) * rng.uniform(0.85, 1.15, 3)
    leg = float(size * (0.3 if sits else rng.uniform(0.45, 0.8)))
    thick = size * float(rng.uniform(0.11, 0.18))
    middle = np.array([0.0, 0.0, body[2] if sits else leg + 0.6 * body[2]])
    kit.add(shapes.ellipsoid_mesh(body), skin, (0, 0, float(middle[2])))
    skull = size * float(rng.uniform(0.3, 0.46)) * np.array([1.0, rng.uniform(0.8, 1.0), rng.uniform(0.8, 1.0)])
    head = middle + (np.array([0.05 * size, 0, body[2] + 0.7 * skull[2]]) if sits else
                     np.array([body[0] + 0.35 * skull[0], 0, float(rng.uniform(0.2, 1.3)) * body[2]]))  # fmt: skip
    kit.add(shapes.ellipsoid_mesh(skull), skin, tuple(head))
    snout = float(rng.uniform(0.3, 0.6)) * skull
    kit.add(shapes.ellipsoid_mesh(snout, 10), second, tuple(head + np.array([skull[0], 0, -0.2 * skull[2]])))
    ear = skull * np.array([0.2, 0.35, float(rng.uniform(0.4, 1.3))])
    for sign in (-1, 1):
        kit.add(shapes.ellipsoid_mesh(ear, 10), second, tuple(head + np.array([-0.2, 0.6 * sign, 0.95]) * skull))
        eye = shapes.ellipsoid_mesh(np.full(3, 0.12 * skull[0]), 8)
        kit.add(eye, dark, tuple(head + np.array([0.82, 0.42 * sign, 0.35]) * skull))
        for front in (-1, 1):
            hip = middle + np.array([0.62 * front, 0.55 * sign, -0.4]) * body
            if sits:
                hip = middle + np.array([0.6, 0.7 * sign, 0.4 * front - 0.25]) * body
            foot = hip + (np.array([leg, 0.15 * sign * leg, -0.2 * leg]) if sits else np.array([0, 0, -hip[2] + thick]))
            turn = aimed(foot - hip)
            limb = capsule(thick, float(np.linalg.norm(foot - hip)) + 2 * thick, 8)
            kit.add(limb, second if front > 0 and sits else skin, tuple((hip + foot) / 2), turn)
    if not sits and rng.random() < 0.8:
        tail = float(rng.uniform(0.3, 0.8)) * size
        turn = aimed(np.array([-1.0, 0.0, float(rng.uniform(-0.5, 1.2))]))
        kit.add(capsule(0.4 * thick, tail, 7), second, tuple(middle + np.array([-body[0] - 0.3 * tail, 0, 0.3 * body[2]])), turn)
    low, high = (0.0, middle[2] + 0.6 * body[2]) if sits else (0.0, middle[2] + 0.7 * body[2])
    reach = body[0] + (0.8 * leg if sits else 0.0)
    half = (0.5 * (0.8 * body[0] + 0.85 * reach), 0.85 * body[1], (high - low) / 2)
    kit.touch("box", half, (0.3 * (reach - body[0]), 0, (high + low) / 2))
    kit.touch("ellipsoid", tuple(float(v) for v in skull), (float(head[0]), float(head[1]), float(head[2])))
    return kit


def vehicle(rng: np.random.Generator) -> Kit:
    """A toy car, truck, bus or engine."""
    length = float(rng.uniform(0.07, 0.24))
    wide, wheel = length * float(rng.uniform(0.36, 0.5)), length * float(rng.uniform(0.08, 0.13))
    low, floor = length * float(rng.uniform(0.12, 0.2)), 0.8 * wheel
    tone = prints.colour(rng).astype(np.float64) if rng.random() < 0.8 else looks.any_colour(rng)
    shiny = float(rng.uniform(0.3, 1.0))
    paint, glass = looks.even(rng, tone, shiny, 0.03), looks.even(rng, looks.DARK + 20, 1.0)
    rubber = looks.even(rng, looks.DARK, 0.1)
    other = looks.even(rng, looks.any_colour(rng), shiny, 0.03)
    kit = Kit()

    def slab(size: tuple[float, float, float], look: Look, x: float, z: float) -> None:
        mesh = shapes.box_mesh(rng, np.array(size), 0.18 * min(size), 0.0)
        kit.add(mesh, Look(look.textures * 6, look.material), (x, 0, z))

    slab((length, wide, low), paint, 0.0, floor + low / 2)
    top = floor + low
    kind = int(rng.integers(3))
    cabin = low * float(rng.uniform(0.9, 1.5))
    if kind == 0:  # a car
        reach, at = length * float(rng.uniform(0.4, 0.55)), -length * float(rng.uniform(0.0, 0.12))
        slab((reach, 0.86 * wide, 0.75 * cabin), glass, at, top + 0.3 * cabin)
        slab((0.8 * reach, 0.88 * wide, 0.3 * cabin), paint, at, top + 0.72 * cabin)
    elif kind == 1:  # a truck: cab in front, load behind
        slab((0.28 * length, 0.95 * wide, 1.4 * cabin), other, 0.34 * length, top + 0.65 * cabin)
        slab((0.2 * length, 0.97 * wide, 0.5 * cabin), glass, 0.39 * length, top + 0.95 * cabin)
        if rng.random() < 0.5:
            kit.add(rod(0.45 * wide, 0.55 * length, 14), paint, (-0.42 * length, 0, top + 0.4 * wide), Z_TO_X)
            cabin = max(1.35 * cabin, 0.85 * wide)
        else:
            slab((0.6 * length, wide, cabin), paint, -0.18 * length, top + 0.45 * cabin)
            cabin *= 1.35
    else:  # a bus
        slab((0.94 * length, 0.96 * wide, cabin), glass, 0.0, top + 0.4 * cabin)
        slab((0.96 * length, wide, 0.35 * cabin), other, 0.0, top + 0.95 * cabin)
        cabin *= 1.12
    hub = looks.steel(rng)
    for x in (-0.31, 0.31):
        for sign in (-1, 1):
            y = sign * 0.46 * wide - 0.06 * wide
            kit.add(rod(wheel, 0.12 * wide, 14), rubber, (x * length, y, wheel), Z_TO_Y)
            kit.add(rod(0.5 * wheel, 0.124 * wide, 10), hub, (x * length, y - 0.002 * wide, wheel), Z_TO_Y)
    kit.touch("box", (length / 2, wide / 2, (low + floor) / 2), (0, 0, (low + floor) / 2))
    kit.touch("box", (0.36 * length, 0.45 * wide, 0.45 * cabin), (0, 0, top + 0.45 * cabin))
    return kit

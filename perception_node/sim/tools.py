"""Hand tools, lying along x: hammer, wrench, screwdriver, pliers and cordless drill. Sizes judged by eye."""

from __future__ import annotations

import numpy as np

from perception_node.sim import goods_looks as looks
from perception_node.sim import shapes
from perception_node.sim.kit import Z_TO_X, Z_TO_Y, Kit, capsule, rod
from perception_node.sim.meshes import Array, rotation_z
from perception_node.sim.textures import Look


def _grip_look(rng: np.random.Generator) -> Look:
    if rng.random() < 0.3:
        return looks.wood(rng)
    return looks.even(rng, looks.any_colour(rng) if rng.random() < 0.7 else looks.DARK, float(rng.uniform(0.1, 0.8)))


def _grip(rng: np.random.Generator, radius_m: float, length_m: float) -> Array:
    """(K, 2) profile of a handle that swells and tapers."""
    share = np.linspace(0, 1, 10)
    swell = 1 + 0.12 * np.sin(2 * np.pi * share * float(rng.uniform(0.6, 1.6)) + float(rng.uniform(0, 6)))
    r = radius_m * swell / 1.12 * np.minimum(1.0, 0.55 + 3 * np.minimum(share, 1 - share))
    return np.concatenate([[[0.0, 0.0]], np.stack([r, share * length_m], 1), [[0.0, length_m]]])


def hammer(rng: np.random.Generator) -> Kit:
    """A claw, mason's or sledge hammer or a mallet."""
    length, r = float(rng.uniform(0.22, 0.38)), float(rng.uniform(0.011, 0.018))
    head, across = float(rng.uniform(0.015, 0.024)), float(rng.uniform(0.09, 0.13))
    kit = Kit()
    lift = max(r, head)
    handle = _grip_look(rng)
    kit.add(shapes.lathe_mesh(_grip(rng, r, 0.95 * length), 12), handle, (0, 0, lift), Z_TO_X)
    if rng.random() < 0.5:
        kit.add(rod(0.6 * r, 0.3 * length), looks.steel(rng), (0.68 * length, 0, lift), Z_TO_X)
    mallet = rng.random() < 0.2
    metal = looks.even(rng, looks.any_colour(rng), 0.2) if mallet else looks.steel(rng)
    at = (length - head, 0.0, lift)
    if mallet:
        kit.add(rod(1.6 * head, across, 16), metal, (at[0], -across / 2, lift), Z_TO_Y)
    else:
        kit.add(shapes.block_mesh(np.array([1.7 * head, 0.45 * across, 1.7 * head])), metal, at)
        kit.add(rod(head, 0.32 * across, 14), metal, (at[0], 0.2 * across, lift), Z_TO_Y)
        claw = np.array([[-0.8, 0.0], [-0.35, -1.0], [0.35, -1.0], [0.8, 0.0]]) * np.array([head, 0.42 * across])
        for side in ((-1, 1) if rng.random() < 0.6 else (0,)):
            plate = claw * np.array([1.0, 1.0]) * (0.9 if side else 1.0)
            kit.add(shapes.prism_mesh(plate, 0.5 * head), metal, (at[0], -0.15 * across, lift + 0.5 * side * head))
    kit.touch("capsule", (r, 0.4 * length), (0.45 * length, 0, lift), "x")
    kit.touch("box", (head, across / 2, head), at)
    return kit


def wrench(rng: np.random.Generator) -> Kit:
    """An open-ended, ring or adjustable wrench."""
    length, t = float(rng.uniform(0.13, 0.32)), float(rng.uniform(0.006, 0.013))
    w = length * float(rng.uniform(0.06, 0.1))
    big = w * float(rng.uniform(1.1, 1.5))
    metal, kit = looks.steel(rng), Kit()
    grip = looks.even(rng, looks.any_colour(rng), 0.3) if rng.random() < 0.25 else metal
    half = length / 2
    bar = np.array([[-half + big, -w / 2], [half - big, -w * 0.42], [half - big, w * 0.42], [-half + big, w / 2]])
    kit.add(shapes.prism_mesh(bar, 0.75 * t), grip, (0, 0, t / 2))
    for end in (-1, 1):
        centre = np.array([end * (half - big), 0.0])
        kit.add(shapes.prism_mesh(shapes.disc_outline(big, big), t), metal, (float(centre[0]), 0, t / 2))
        if rng.random() < 0.5 or (end > 0 and rng.random() < 0.7):  # jaws: two prongs beyond the disc
            turn = rotation_z(float(rng.normal(0, 0.25)) + (np.pi if end < 0 else 0.0))
            prong = np.array([[0.0, 0.45], [1.5, 0.4], [1.6, 0.75], [0.7, 1.05], [0.0, 1.0]]) * big
            for sign in (1, -1):
                outline = prong if sign > 0 else (prong * np.array([1.0, -1.0]))[::-1]
                kit.add(shapes.prism_mesh(outline, t), metal, (float(centre[0]), 0, t / 2), turn)
        else:  # a ring: its hole shows the dark below
            hole = looks.even(rng, looks.DARK, 0.0)
            mesh = shapes.prism_mesh(shapes.disc_outline(0.62 * big, 0.62 * big, 12), t + 0.0008)
            kit.add(mesh, hole, (float(centre[0]), 0, t / 2))
    kit.touch("box", (half, w / 2, t / 2), (0, 0, t / 2))
    for end in (-1, 1):
        kit.touch("cylinder", (big, t / 2), (end * (half - big), 0, t / 2))
    return kit


def screwdriver(rng: np.random.Generator) -> Kit:
    """A screwdriver, chisel or file: a handle and a blade."""
    grip, r = float(rng.uniform(0.07, 0.13)), float(rng.uniform(0.012, 0.02))
    blade, thin = float(rng.uniform(0.06, 0.2)), float(rng.uniform(0.0025, 0.006))
    kit = Kit("axis" if rng.random() < 0.5 else "")
    kit.add(shapes.lathe_mesh(_grip(rng, r, grip), 14), _grip_look(rng))
    if rng.random() < 0.5:
        collar = float(rng.uniform(0.008, 0.02))
        kit.add(rod(0.75 * r, collar), looks.even(rng, looks.any_colour(rng), 0.5), (0, 0, grip - collar))
    metal = looks.steel(rng)
    kit.add(rod(thin, blade, 8), metal, (0, 0, grip))
    if kit.symmetry == "":
        kit.add(shapes.block_mesh(np.array([0.0015, 3.2 * thin, 0.02])), metal, (0, 0, grip + blade - 0.008))
    kit.touch("capsule", (r, max(0.001, grip / 2 - r)), (0, 0, grip / 2))
    kit.touch("cylinder", (thin, blade / 2), (0, 0, grip + blade / 2))
    return kit


def pliers(rng: np.random.Generator) -> Kit:
    """Pliers, nippers or scissors: two curved handles, a joint, two jaws or blades."""
    length, r = float(rng.uniform(0.14, 0.24)), float(rng.uniform(0.005, 0.009))
    spread, opened = float(rng.uniform(0.012, 0.04)), float(rng.uniform(0.0, 0.2))
    scissors = rng.random() < 0.35
    kit, metal, sleeve = Kit(), looks.steel(rng), _grip_look(rng)
    joint = length * float(rng.uniform(0.45, 0.62))
    for sign in (-1, 1):
        s = np.linspace(0, 1, 9)
        if scissors:
            angle = np.linspace(0, 2 * np.pi, 12)
            y = sign * (0.02 + 0.5 * spread + 0.016 * np.sin(angle))
            loop = np.stack([0.026 + 0.026 * np.cos(angle), y, np.full(12, r)], 1)
            kit.add(shapes.tube_mesh(loop, 0.8 * r, 7), sleeve)
            path = np.array([[0.05, sign * (0.012 + 0.4 * spread), r], [joint, 0.0, r]])
            kit.add(shapes.tube_mesh(path, 0.6 * r, 7), sleeve)
        else:
            path = np.stack([s * joint, sign * spread * (1 - s) ** 0.6 * (0.7 + 0.8 * np.sin(np.pi * s)), np.full(9, r)], 1)
            kit.add(shapes.tube_mesh(path, r, 8), sleeve)
        tip = length - joint
        fat = 0.004 if scissors else float(rng.uniform(0.006, 0.01))
        jaw = np.array([[-0.012, 0.0], [tip, 0.0], [tip, 0.35 * fat], [0.0, 1.5 * fat], [-0.012, 1.2 * fat]])
        jaw = jaw if sign > 0 else (jaw * np.array([1.0, -1.0]))[::-1]
        thick = 0.003 if scissors else 1.6 * r
        kit.add(shapes.prism_mesh(jaw, thick), metal, (joint, 0, r), rotation_z(sign * opened * 0.5))
    kit.add(shapes.prism_mesh(shapes.disc_outline(0.011, 0.011, 12), 1.9 * r), metal, (joint, 0, r))
    kit.touch("box", (length / 2, max(0.012, 0.5 * spread), r), (length / 2, 0, r))
    kit.touch("box", (0.02, spread + 0.012, r), (0.04, 0, r))
    return kit


def drill(rng: np.random.Generator) -> Kit:
    """A cordless drill or a torch with a battery, lying on its side in the plane z = 0."""
    body, r = float(rng.uniform(0.13, 0.19)), float(rng.uniform(0.026, 0.036))
    grip = float(rng.uniform(0.08, 0.12))
    tone, dark = looks.any_colour(rng), looks.even(rng, looks.DARK + rng.uniform(0, 40), 0.2)
    shell = looks.even(rng, tone, 0.3)
    kit = Kit()
    kit.add(capsule(r, body, 14), shell, (0, 0, r), Z_TO_X)
    kit.add(rod(0.55 * r, 0.045), dark, (0.42 * body, 0, r), Z_TO_X)
    if rng.random() < 0.6:
        kit.add(rod(0.003, float(rng.uniform(0.04, 0.1)), 8), looks.steel(rng), (0.42 * body + 0.045, 0, r), Z_TO_X)
    kit.add(shapes.block_mesh(np.array([0.038, grip, 1.1 * r])), dark, (-0.2 * body, -grip / 2, r))
    pack = np.array([float(rng.uniform(0.07, 0.11)), 0.04, 1.9 * r])
    kit.add(shapes.box_mesh(rng, pack, 0.006, 0.0), Look(dark.textures * 6, dark.material), (-0.1 * body, -grip - 0.02, r))
    band = looks.printed(rng, 24, 64, 0.3, tone)
    kit.add(shapes.block_mesh(np.array([0.5 * body, 0.6 * r, 2.02 * r])), band, (-0.05 * body, 0.0, r))
    kit.touch("capsule", (r, max(0.002, body / 2 - r)), (0, 0, r), "x")
    kit.touch("box", (0.019, grip / 2, 0.55 * r), (-0.2 * body, -grip / 2, r))
    kit.touch("box", tuple(float(v) / 2 for v in pack), (-0.1 * body, -grip - 0.02, r))
    return kit

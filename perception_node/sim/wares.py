"""Bottles, cans, books, shoes, cups and rolls; sizes are those of shops, judged by eye."""

from __future__ import annotations

import numpy as np

from perception_node.sim import goods_looks as looks
from perception_node.sim import shapes
from perception_node.sim.kit import Kit, rod
from perception_node.sim.meshes import Array, Mesh
from perception_node.sim.textures import Look, compose


def _stretched(mesh: Mesh, y: float) -> Mesh:
    scale = np.array([1.0, y, 1.0], np.float32)
    normals = mesh.normals / scale
    normals = normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)
    return Mesh(mesh.vertices * scale, normals.astype(np.float32), mesh.uv, mesh.triangles, mesh.part)


def bottle(rng: np.random.Generator) -> Kit:
    """A bottle, flask or jar: clear or not, with a cap and mostly with a label round it."""
    jar = rng.random() < 0.25
    r = float(rng.uniform(0.022, 0.05))
    h = r * float(rng.uniform(2.0, 3.4) if jar else rng.uniform(3.4, 7.0))
    h = min(h, 0.34)
    neck = r * float(rng.uniform(0.8, 1.0) if jar else rng.uniform(0.25, 0.55))
    cap = float(rng.uniform(0.012, 0.03))
    base, shoulder, throat = 0.06 * h, h * float(rng.uniform(0.68, 0.8) if jar else rng.uniform(0.5, 0.75)), h * 0.86
    flat = float(rng.uniform(0.5, 0.8)) if rng.random() < 0.22 else 1.0
    labelled = rng.random() < 0.75
    waist = 1.0 if labelled else float(rng.uniform(0.8, 1.0))
    curve = np.linspace(0, 1, 5)[1:]
    bend = float(rng.uniform(0.6, 2.0))
    rows = [(0, 0), (0.9 * r, 0), (0.9 * r, 0), (r, base), (r * waist, (base + shoulder) / 2), (r, shoulder)]
    rows += [(neck + (r - neck) * (1 - c**bend), shoulder + (throat - shoulder) * c) for c in curve]
    rows += [(neck, h - cap), (0, h - cap)]
    profile = np.array(rows)
    see_through = rng.random() < 0.5
    tint = looks.any_colour(rng) if rng.random() < 0.5 else np.array([rng.uniform(170, 245)] * 3)
    kit = Kit("axis" if flat == 1.0 else "")
    body = looks.clear(rng, tint) if see_through else looks.even(rng, tint, float(rng.uniform(0.2, 1.0)))
    if see_through and rng.random() < 0.65:
        full = float(rng.uniform(0.3, 1.0)) * (throat - base) + base
        z = np.linspace(base * 0.5, full, 7)
        inside = np.stack([0.9 * np.interp(z, profile[3:, 1], profile[3:, 0]), z], 1)
        inside = np.concatenate([[[0.0, z[0]]], inside, [[0.0, full]]])
        kit.add(_stretched(shapes.lathe_mesh(inside, 14), flat), looks.even(rng, looks.any_colour(rng), 0.5))
    kit.add(_stretched(shapes.lathe_mesh(profile, 20), flat), body)
    if labelled:
        low = base + float(rng.uniform(0.0, 0.25)) * (shoulder - base)
        high = shoulder - float(rng.uniform(0.0, 0.25)) * (shoulder - base)
        band = np.linspace([1.012 * r, low], [1.012 * r, high], 3)
        kit.add(_stretched(shapes.lathe_mesh(band, 20), flat), looks.printed(rng, 72, 176, float(rng.uniform(0.1, 0.9))))
    wide = neck * float(rng.uniform(1.08, 1.3))
    lid = looks.steel(rng) if jar and rng.random() < 0.5 else looks.even(rng, looks.any_colour(rng), 0.5)
    kit.add(_stretched(rod(wide, cap, 14), flat), lid, (0, 0, h - cap))
    if not jar and rng.random() < 0.15:  # a pump or trigger
        out = float(rng.uniform(0.03, 0.06))
        kit.add(rod(0.004, 0.03, 8), lid, (0, 0, h))
        kit.add(shapes.block_mesh(np.array([out, 0.014, 0.012])), lid, (out / 2 - 0.007, 0, h + 0.034))
        kit.symmetry = ""
    if flat == 1.0:
        kit.touch("cylinder", (r, shoulder / 2), (0, 0, shoulder / 2))
    else:
        kit.touch("box", (r, r * flat, shoulder / 2), (0, 0, shoulder / 2))
    kit.touch("cylinder", (max(wide, 0.5 * (r + neck) * 0.8), (h - shoulder) / 2), (0, 0, (h + shoulder) / 2))
    return kit


def can(rng: np.random.Generator) -> Kit:
    """A drink's, food's, shoe polish's, paint's or spray can: printed wall, bare ends."""
    kind = int(rng.choice(5, p=[0.3, 0.3, 0.12, 0.12, 0.16]))
    r = float(rng.uniform(*((0.026, 0.034), (0.03, 0.055), (0.03, 0.075), (0.05, 0.1), (0.02, 0.034))[kind]))
    h = float(rng.uniform(*((0.09, 0.17), (0.04, 0.13), (0.015, 0.035), (0.07, 0.2), (0.11, 0.22))[kind]))
    kit = Kit("axis")
    c = min(0.006, 0.12 * h)
    metal = looks.steel(rng)
    bare = rng.random() < 0.12
    wall = metal if bare else looks.printed(rng, 80, 192, float(rng.uniform(0.3, 1.0)))
    kit.add(shapes.lathe_mesh(np.linspace([r, c], [r, h - c], 3), 22), wall)
    rim = r * (0.86 if kind == 0 else 0.98)
    lower = np.array([[0, 0.003], [0.9 * rim, 0.003], [rim, 0], [rim, 0], [r, c]])
    upper = np.array([[r, h - c], [rim, h], [rim, h], [0.93 * rim, h - 0.003], [0.93 * rim, h - 0.003], [0, h - 0.003]])
    kit.add(shapes.lathe_mesh(lower, 22), metal)
    painted = kind in (2, 3) and rng.random() < 0.6
    lid = looks.printed(rng, 48, 96, 0.8) if painted and not bare else metal
    kit.add(shapes.lathe_mesh(upper, 22), lid)
    if kind == 0:
        kit.add(shapes.prism_mesh(shapes.disc_outline(0.012, 0.007, 10), 0.002), metal, (0.004, 0, h - 0.001))
    if kind == 4:
        cap, top = looks.even(rng, looks.any_colour(rng), 0.5), float(rng.uniform(0.02, 0.05))
        kit.add(rod(r * float(rng.uniform(0.6, 0.97)), top, 16), cap, (0, 0, h))
        h += top
    kit.touch("cylinder", (r, h / 2), (0, 0, h / 2))
    return kit


def _pages(rng: np.random.Generator, height: int, width: int) -> Array:
    tone = rng.uniform(205, 250) * np.array([1.0, rng.uniform(0.95, 1.0), rng.uniform(0.82, 1.0)])
    lines = 1.0 - 0.25 * rng.random((height, 1)) * np.ones((1, width))
    return np.clip(tone * lines[..., None], 0, 255).astype(np.uint8)


def book(rng: np.random.Generator) -> Kit:
    """A bound or paper-backed book or a magazine: covers, spine and the edges of its pages on three sides."""
    length = float(rng.uniform(0.14, 0.31))
    width, thick = length * float(rng.uniform(0.62, 0.8)), float(np.exp(rng.uniform(np.log(0.005), np.log(0.055))))
    hard = thick > 0.012 and rng.random() < 0.55
    board, over = (float(rng.uniform(0.002, 0.0035)), float(rng.uniform(0.002, 0.005))) if hard else (0.0006, 0.0)
    base, shiny = looks.any_colour(rng), float(rng.uniform(0.0, 0.9))
    front = looks.printed(rng, 112, 160, shiny, base, flip=False)
    if rng.random() < 0.5:  # upright covers are read across the length
        front = Look([np.ascontiguousarray(np.rot90(front.textures[0]))], front.material)
    back = looks.printed(rng, 80, 112, shiny, base, flip=False)
    spine = looks.printed(rng, 24, 160, shiny, base * rng.uniform(0.7, 1.1), flip=False)
    kit = Kit()
    core = np.array([length - 2 * over, width - over - board, max(0.002, thick - 2 * board)])
    paper = Look([compose(_pages(rng, 40, 48), None, 0.0, 0.05)], front.material)
    kit.add(shapes.block_mesh(core), paper, (0.0, (board - over) / 2, 0.0))
    for side, cover in ((1, front), (-1, back)):
        size = np.array([length, width, board])
        inner = cover.textures[0] if not hard else paper.textures[0]
        wearing = Look([*([cover.textures[0], inner] if side > 0 else [inner, cover.textures[0]]), *([back.textures[0][:2]] * 4)],
                       cover.material)  # fmt: skip
        kit.add(shapes.box_mesh(rng, size, 0.0003, 0.0), wearing, (0, 0, side * (thick - board) / 2))
    kit.add(shapes.block_mesh(np.array([length, max(board, 0.0008), thick])), spine, (0, -width / 2 + board / 2, 0))
    kit.touch("box", (length / 2, width / 2, thick / 2), (0, 0, 0))
    return kit


def shoe(rng: np.random.Generator) -> Kit:
    """A shoe, boot or slipper of leather, cloth or rubber, heel at x = 0, toe at x = length; left or right."""
    length = float(rng.uniform(0.17, 0.31))
    wide, sole = length * float(rng.uniform(0.33, 0.4)), float(rng.uniform(0.012, 0.035))
    high = length * float(rng.choice([rng.uniform(0.28, 0.4), rng.uniform(0.4, 0.7)], p=[0.75, 0.25]))
    opening = float(rng.uniform(0.34, 0.5))
    tone = looks.any_colour(rng)
    upper = looks.cloth(rng, tone) if rng.random() < 0.5 else looks.even(rng, tone, float(rng.uniform(0.1, 0.9)), 0.12)
    tread = looks.even(rng, np.full(3, rng.uniform(190, 245)) if rng.random() < 0.45 else looks.any_colour(rng) * 0.5, 0.1)
    s = np.array([0.0, 0.02, 0.07, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.93, 0.98, 1.0])
    half = wide / 2 * np.interp(s, [0, 0.02, 0.1, 0.4, 0.72, 0.9, 0.98, 1.0], [0.1, 0.4, 0.72, 0.7, 1.0, 0.85, 0.45, 0.08])
    side = float(rng.choice([-1, 1])) * 0.06 * wide * np.sin(np.pi * s)
    instep = opening + 0.3
    top = np.interp(s, [0.0, opening, instep, 0.9, 1.0], [high, high * 0.92, 0.42 * high + 0.015, 0.05, 0.03])
    top = np.maximum(np.minimum(top, high), sole + 0.02)
    lean = np.interp(s, [0, opening, instep, 1], [0.62, 0.5, 0.8, 0.9])  # narrower above
    angle = np.linspace(0, np.pi, 15)
    across, up = np.cos(angle), np.sin(angle) ** 0.6
    x = np.repeat(s[:, None] * length, 16, 1)
    y, z = np.empty_like(x), np.empty_like(x)
    shrink = 1 - (1 - lean[:, None]) * up
    y[:, :15], z[:, :15] = side[:, None] + half[:, None] * across * shrink, 0.6 * sole + (top - 0.6 * sole)[:, None] * up
    y[:, 15], z[:, 15] = y[:, 0], z[:, 0]
    kit = Kit()
    kit.add(shapes.loft_mesh(np.stack([x, y, z], -1)), upper)
    around = np.concatenate([np.stack([s * length, side - 1.06 * half], 1), np.stack([s * length, side + 1.06 * half], 1)[::-1]])
    kit.add(shapes.prism_mesh(around, sole), tread, (0, 0, sole / 2))
    hole = shapes.disc_outline(0.44 * opening * length, 0.22 * wide, 14)
    dark = looks.even(rng, looks.DARK + rng.uniform(0, 60), 0.0)
    pitch = np.arctan2(0.08 * high, opening * length)
    c, sn = np.cos(pitch), np.sin(pitch)
    tilt = np.array([[c, 0, sn], [0, 1, 0], [-sn, 0, c]])
    middle = 0.5 * opening
    z_mid = float(np.interp(middle, s, top))
    kit.add(shapes.prism_mesh(hole, 0.004), dark, (middle * length, float(np.interp(middle, s, side)), z_mid), tilt)
    ring = np.concatenate([hole, hole[:1]])
    path = np.concatenate([ring, np.zeros((len(ring), 1))], 1) @ tilt.T
    place = (middle * length, float(np.interp(middle, s, side)), z_mid)
    kit.add(shapes.tube_mesh(path, float(rng.uniform(0.004, 0.008)), 6), upper, place)
    if rng.random() < 0.65:
        lace = looks.cloth(rng, np.full(3, 235.0) if rng.random() < 0.6 else looks.any_colour(rng), 0.1)
        for at in np.linspace(opening + 0.02, instep, 5):
            zz, reach = float(np.interp(at, s, top)), 0.16 * wide
            path = np.array([[-0.006, -reach, -0.006], [0, 0, 0.003], [0.006, reach, -0.006]])
            kit.add(shapes.tube_mesh(path, 0.0028, 5), lace, (at * length, float(np.interp(at, s, side)), zz))
    kit.touch("box", (0.48 * length, 0.42 * wide, 0.22 * high), (0.5 * length, 0, 0.22 * high))
    kit.touch("box", (0.22 * length, 0.3 * wide, high / 2), (0.24 * length, 0, high / 2))
    return kit


def cup(rng: np.random.Generator) -> Kit:
    """A mug, glass, bowl, plate or pan."""
    kind = int(rng.choice(4, p=[0.4, 0.2, 0.25, 0.15]))
    r = float(rng.uniform(*((0.033, 0.048), (0.028, 0.042), (0.06, 0.13), (0.08, 0.14))[kind]))
    h = float(rng.uniform(*((0.07, 0.11), (0.08, 0.16), (0.02, 0.08), (0.03, 0.07))[kind]))
    foot = r * float(rng.uniform(0.8, 1.0) if kind in (0, 3) else rng.uniform(0.45, 0.9))
    t = float(rng.uniform(0.002, 0.005))
    profile = np.array([[0, 0], [foot, 0], [foot, 0], [(foot + r) / 2, 0.35 * h], [r, h], [r - t, h],
                        [(foot + r) / 2 - t, 0.35 * h + t], [foot - t, t], [foot - t, t], [0, t]])  # fmt: skip
    if kind == 3:
        look = looks.steel(rng) if rng.random() < 0.5 else looks.even(rng, looks.DARK + 15, 0.5)
    elif kind == 1 and rng.random() < 0.7:
        look = looks.clear(rng, np.full(3, 235.0))
    else:
        tone = looks.any_colour(rng)
        look = looks.printed(rng, 64, 128, 0.8, tone) if rng.random() < 0.3 else looks.even(rng, tone, float(rng.uniform(0.3, 1.0)))
    kit = Kit("axis")
    kit.add(shapes.lathe_mesh(profile, 22), look)
    if kind == 0:
        angle = np.linspace(-1.35, 1.35, 8)
        loop = np.stack([r * 0.95 + 0.022 * np.cos(angle), np.zeros(8), h / 2 + 0.3 * h * np.sin(angle)], 1)
        kit.add(shapes.tube_mesh(loop, 0.005, 7), look)
        kit.touch("box", (0.012, 0.005, 0.3 * h), (r + 0.01, 0, h / 2))
        kit.symmetry = ""
    if kind == 3:
        reach = float(rng.uniform(0.12, 0.2))
        grip = looks.even(rng, looks.DARK, 0.3) if rng.random() < 0.7 else looks.wood(rng)
        kit.add(shapes.block_mesh(np.array([reach, 0.022, 0.012])), grip, (r + reach / 2 - 0.004, 0, 0.8 * h))
        kit.touch("box", (reach / 2, 0.011, 0.006), (r + reach / 2, 0, 0.8 * h))
        kit.symmetry = ""
    kit.touch("cylinder", (0.5 * (foot + r), h / 2), (0, 0, h / 2))
    return kit


def roll(rng: np.random.Generator) -> Kit:
    """A roll of tape, paper or film with a hole."""
    tall = rng.random() < 0.4
    outer = float(rng.uniform(0.025, 0.065))
    h, inner = float(rng.uniform(0.09, 0.26) if tall else rng.uniform(0.012, 0.06)), outer * float(rng.uniform(0.3, 0.8))
    ring = np.array([[inner, 0], [outer, 0], [outer, 0], [outer, h], [outer, h], [inner, h], [inner, h], [inner, 0]])
    tone = np.full(3, rng.uniform(205, 248)) if tall else looks.any_colour(rng)
    kit = Kit("axis")
    kit.add(shapes.lathe_mesh(ring, 22), looks.even(rng, tone, 0.1 if tall else float(rng.uniform(0.2, 1.0))))
    if rng.random() < 0.6:
        core = np.linspace([inner + 0.001, -0.0005], [inner + 0.001, h + 0.0005], 2)
        mesh = shapes.lathe_mesh(core, 16)
        card = looks.even(rng, np.array([165.0, 130, 90]), 0.0)
        kit.add(Mesh(mesh.vertices, -mesh.normals, mesh.uv, mesh.triangles, mesh.part), card)
    kit.touch("cylinder", (outer, h / 2), (0, 0, h / 2))
    return kit

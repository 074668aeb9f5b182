"""Machinery that is bolted down, and flat marks: things that are neither packages nor goods (the rule is in `goods`)."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from perception_node.sim import goods_looks, prints, shapes, surfaces
from perception_node.sim.kit import Z_TO_X, rod
from perception_node.sim.meshes import Array, Material, Mesh, join
from perception_node.sim.textures import Look, compose

Part = tuple[Mesh, Look]


def _at(mesh: Mesh, x: float, y: float, z: float) -> Mesh:
    return mesh.moved(np.eye(3), np.array([x, y, z]))


@lru_cache(maxsize=1)
def _screw_head() -> Mesh:
    """A hexagonal head, centred; kept."""
    return shapes.prism_mesh(shapes.disc_outline(0.008, 0.008, 6), 0.008)


def _together(pieces: list[tuple[Mesh, Look]], bolts: list[tuple[float, float, float]] | None = None) -> Part:
    """One part out of several, with hexagonal screw heads at the given places; the first look's material counts."""
    meshes, textures = [], []
    for mesh, look in pieces:
        meshes.append(Mesh(mesh.vertices, mesh.normals, mesh.uv, mesh.triangles, np.zeros_like(mesh.part)))
        textures.append(look.textures[0])
    if bolts:
        head = _screw_head()
        meshes.append(join([_at(head, x, y, z + 0.004) for x, y, z in bolts], same_part=True))
        textures.append(goods_looks.even(np.random.default_rng(len(bolts)), np.full(3, 70.0), 0.6).textures[0])
    return join(meshes), Look(textures, pieces[0][1].material, True)


def _foot(rng: np.random.Generator, half_x: float, half_y: float) -> tuple[Mesh, list[tuple[float, float, float]]]:
    """A plate on the ground with a screw in each corner."""
    t = float(rng.uniform(0.005, 0.015))
    corners = [(sx * (half_x - 0.014), sy * (half_y - 0.014), t) for sx in (-1, 1) for sy in (-1, 1)]
    return _at(shapes.block_mesh(np.array([2 * half_x, 2 * half_y, t])), 0, 0, t / 2), corners


def motor(rng: np.random.Generator) -> Part:
    """A motor with cooling fins, terminal box and shaft on a bolted plate, larger than goods."""
    length = float(rng.uniform(0.28, 0.6))
    r = length * float(rng.uniform(0.22, 0.32))
    paint, metal = surfaces.metal_look(rng, 0.15), surfaces.metal_look(rng, 0.9)
    foot, bolts = _foot(rng, 0.45 * length, 1.1 * r)
    z = r * 1.15
    pieces = [(_at(rod(0.92 * r, length, 18).moved(Z_TO_X, np.zeros(3)), -length / 2, 0, z), paint)]
    fins = []
    for angle in np.linspace(0, 2 * np.pi, int(rng.integers(10, 20)), endpoint=False):
        fin = shapes.block_mesh(np.array([0.62 * length, 0.006, 0.22 * r]))
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])
        fins.append(fin.moved(turn, np.array([0.05 * length, 0, z]) + turn @ np.array([0, 0, 0.98 * r])))
    pieces.append((join(fins, same_part=True), paint))
    box = np.array([0.3 * length, 0.9 * r, 0.5 * r])
    pieces.append((_at(shapes.box_mesh(rng, box, 0.008, 0.0), 0.05 * length, 0, z + 1.15 * r), paint))
    pieces.append((_at(rod(0.22 * r, 0.3 * length).moved(Z_TO_X, np.zeros(3)), length / 2, 0, z), metal))
    pieces.append((foot, metal))
    return _together(pieces, bolts)


def cabinet(rng: np.random.Generator) -> Part:
    """A control cabinet or machine housing, larger than goods: seams, vents, handle, lamps, bolted feet, a cable."""
    size = float(rng.uniform(0.38, 0.9)) * np.array([1.0, rng.uniform(0.45, 1.0), rng.uniform(0.4, 1.2)])
    base = surfaces.metal_look(rng, 0.3)
    image = np.ascontiguousarray(cv2.resize(base.textures[0][..., :3], (160, 112)))
    dark = [int(v) for v in image.reshape(-1, 3).mean(0) * 0.35]
    cv2.rectangle(image, (6, 6), (153, 105), dark, 2)
    if rng.random() < 0.6:
        x = int(rng.integers(50, 110))
        cv2.line(image, (x, 6), (x, 105), dark, 2)
    y0, x0 = int(rng.integers(15, 60)), int(rng.integers(12, 90))
    for k in range(int(rng.integers(4, 9))):
        cv2.line(image, (x0, y0 + 5 * k), (x0 + 45, y0 + 5 * k), dark, 2)
    for x, y in ((10, 10), (149, 10), (10, 101), (149, 101)):
        cv2.circle(image, (x, y), 3, dark, -1, cv2.LINE_AA)
    if rng.random() < 0.5:
        cv2.fillPoly(image, [np.array([[110, 90], [134, 90], [122, 70]], np.int32)], (240, 200, 20), cv2.LINE_AA)
    skin = Look([compose(image, None, 0.0, 0.5)], base.material, True)
    mesh = _at(shapes.box_mesh(rng, size, 0.006, 0.0), 0, 0, size[2] / 2 + 0.02)
    feet, bolts = _foot(rng, 0.5 * float(size[0]) + 0.03, 0.5 * float(size[1]) + 0.03)
    metal = surfaces.metal_look(rng, 0.8)
    pieces = [(mesh, skin), (feet, metal)]
    lamps = [rod(0.013, 0.02, 10).moved(np.eye(3), np.array([x * 0.04, 0.25 * size[1], size[2] + 0.02])) for x in range(-1, 2)]
    pieces.append((join(lamps, same_part=True), goods_looks.even(rng, prints.colour(rng).astype(np.float64), 0.8)))
    path = np.array([[0.4 * size[0], 0, size[2]], [0.55 * size[0], 0, size[2] + 0.05], [0.7 * size[0], 0.05, 0.5 * size[2]],
                     [0.75 * size[0], 0.12, 0.01], [1.1 * size[0], 0.3, 0.01]])  # fmt: skip
    pieces.append((shapes.tube_mesh(path, 0.011), goods_looks.even(rng, goods_looks.DARK, 0.2)))
    return _together(pieces, bolts)


def drum(rng: np.random.Generator) -> Part:
    """A drum or barrel that no hand lifts: rings, lid, bungs."""
    r, h = float(rng.uniform(0.17, 0.32)), float(rng.uniform(0.35, 0.85))
    rings = [0.3, 0.62]
    rows = [(0.0, 0.0), (r, 0.0), (r, 0.0)]
    for at in rings:
        rows += [(r, (at - 0.04) * h), (1.045 * r, at * h), (r, (at + 0.04) * h)]
    rows += [(r, h), (r, h), (0.95 * r, h - 0.015), (0.95 * r, h - 0.015), (0.0, h - 0.015)]
    paint = surfaces.metal_look(rng, 0.15)
    bung = _at(rod(0.03, 0.02, 12), 0.6 * r, 0.0, h - 0.015)
    return _together([(shapes.lathe_mesh(np.array(rows), 24), paint), (bung, surfaces.metal_look(rng, 1.0))])


def bracket(rng: np.random.Generator) -> Part:
    """An angle, bearing block or slotted profile, screwed down."""
    a, b, t = float(rng.uniform(0.08, 0.4)), float(rng.uniform(0.05, 0.15)), float(rng.uniform(0.004, 0.012))
    metal = surfaces.metal_look(rng, 0.7)
    kind = rng.random()
    bolts = [(x, 0.1 * b, t) for x in np.linspace(-0.42 * a, 0.42 * a, int(rng.integers(2, 5)))]
    foot = _at(shapes.block_mesh(np.array([a, b, t])), 0, 0, t / 2)
    if kind < 0.45:
        wall = _at(shapes.block_mesh(np.array([a, t, b])), 0, b / 2 - t / 2, b / 2)
        return _together([(foot, metal), (wall, metal)], bolts)
    if kind < 0.75:
        r = 0.4 * b
        turn = np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1, 0]])
        ring = rod(r, 0.6 * b, 16).moved(turn, np.array([0.0, 0.3 * b, t + 0.8 * r]))
        shaft = rod(0.45 * r, 1.6 * b, 12).moved(turn, np.array([0.0, 0.8 * b, t + 0.8 * r]))
        return _together([(foot, metal), (ring, metal), (shaft, surfaces.metal_look(rng, 1.0))], bolts)
    w = float(rng.uniform(0.02, 0.05))
    body = _at(shapes.block_mesh(np.array([2.5 * a, w, w])), 0, 0, w / 2 + t)
    dark = goods_looks.even(rng, goods_looks.DARK, 0.1)
    slots = [_at(shapes.block_mesh(np.array([2.5 * a, 0.2 * w, 0.001])), 0, 0, w + t)]
    slots += [_at(shapes.block_mesh(np.array([2.5 * a, 0.001, 0.2 * w])), 0, s * w / 2, w / 2 + t) for s in (-1, 1)]
    return _together([(body, metal), (join(slots, same_part=True), dark), (foot, metal)], [(x, 0.4 * b, t) for x, _, _ in bolts])


def post(rng: np.random.Generator) -> Part:
    """A post on a bolted foot, with a sensor, lamp or reflector on an arm."""
    h, w = float(rng.uniform(0.12, 0.45)), float(rng.uniform(0.012, 0.03))
    metal, dark = surfaces.metal_look(rng, 0.7), goods_looks.even(rng, goods_looks.DARK + rng.uniform(0, 50), 0.3)
    foot, bolts = _foot(rng, w + 0.025, w + 0.02)
    arm = float(rng.uniform(0.05, 0.2))
    pieces = [(rod(w, h, 10), metal), (foot, metal), (_at(rod(0.5 * w, arm, 8).moved(Z_TO_X, np.zeros(3)), 0, 0, 0.9 * h), metal)]
    head = rng.uniform(0.02, 0.05, 3)
    pieces.append((_at(shapes.block_mesh(head), arm, 0, 0.9 * h), dark))
    path = np.array([[arm, 0, 0.9 * h + 0.02], [0.5 * arm, 0.01, h + 0.04], [0.02, 0.02, 0.6 * h], [0.04, 0.03, 0.006],
                     [0.1, 0.2, 0.006]])  # fmt: skip
    pieces.append((shapes.tube_mesh(path, 0.004, 6), dark))
    return _together(pieces, bolts)


def deflector(rng: np.random.Generator) -> Part:
    """A sheet that guides packages, on two bolted angles."""
    a, h, t = float(rng.uniform(0.25, 0.8)), float(rng.uniform(0.04, 0.16)), float(rng.uniform(0.003, 0.012))
    sheet = _at(shapes.block_mesh(np.array([a, t, h])), 0, 0, h / 2 + 0.005)
    angles = [_at(shapes.block_mesh(np.array([0.03, 0.05, 0.006])), x, 0.028, 0.003) for x in (-0.35 * a, 0.35 * a)]
    return _together([(sheet, surfaces.metal_look(rng, 0.6)), (join(angles, same_part=True), surfaces.metal_look(rng, 1.0))],
                     [(-0.35 * a, 0.035, 0.006), (0.35 * a, 0.035, 0.006)])  # fmt: skip


def cover_plate(rng: np.random.Generator) -> Part:
    """A chequer plate, drain or hatch let into or screwed on the ground, a few millimetres high."""
    a, b, t = float(rng.uniform(0.1, 0.5)), float(rng.uniform(0.06, 0.3)), float(rng.uniform(0.001, 0.005))
    y, x = np.mgrid[0:96, 0:128].astype(np.float32)
    level = rng.uniform(60, 200)
    pattern = np.sin(x * rng.uniform(0.2, 0.9)) * (np.sin(y * rng.uniform(0.2, 0.9)) if rng.random() < 0.6 else 1.0)
    image = np.repeat((level * (1 + 0.25 * np.sign(pattern)))[..., None], 3, 2)
    metal = surfaces.metal_look(rng, 1.0)
    skin = Look([compose(image, 2 * pattern.astype(np.float32), 0.08, 0.5)], metal.material, True)
    corners = [(sx * (a / 2 - 0.012), sy * (b / 2 - 0.012), t) for sx in (-1, 1) for sy in (-1, 1)]
    return _together([(_at(shapes.block_mesh(np.array([a, b, t])), 0, 0, t / 2), skin)], corners)


FIXED = (motor, cabinet, drum, bracket, post, deflector, cover_plate)


def fixture(rng: np.random.Generator, large: bool) -> Part:
    """Machinery: large things stand beside a line, small ones are screwed to its rim, a table or the floor."""
    shares = [0.3, 0.32, 0.18, 0.1, 0.1, 0.0, 0.0] if large else [0.0, 0.0, 0.0, 0.34, 0.28, 0.2, 0.18]
    return FIXED[int(rng.choice(len(FIXED), p=shares))](rng)


def _outline(rng: np.random.Generator, half_x: float, half_y: float) -> Array:
    """(N, 2) anticlockwise: a rectangle, a skewed one, an ellipse or a rounded blot (convex enough for a fan)."""
    kind = rng.random()
    if kind < 0.55:
        skew = 0.0 if kind < 0.35 else float(rng.uniform(-0.6, 0.6))
        corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
        corners[:, 0] += skew * corners[:, 1]
        return np.asarray(corners * np.array([half_x, half_y]))
    outline = shapes.disc_outline(half_x, half_y, 18)
    if kind < 0.7:
        return outline
    wave: Array = 1 + 0.12 * np.sin(2 * np.arange(18)[:, None] * (2 * np.pi / 18) + rng.uniform(0, 6))
    return np.asarray(outline * wave)


def flat_mark(rng: np.random.Generator, ground: Look | None = None) -> Part:
    """Something flat of up to a package's size, about a millimetre high: a tile, a painted patch, a label, paper, a wet place, or
    light and shadow on the ground's own texture."""
    half = np.exp(rng.uniform(np.log(0.02), np.log(0.2), 2))
    outline = _outline(rng, float(half[0]), float(half[1]))
    n = len(outline)
    vertices = np.concatenate([outline, np.full((n, 1), float(rng.uniform(0.0004, 0.0012)))], 1).astype(np.float32)
    fan = np.stack([np.zeros(n - 2), np.arange(1, n - 1), np.arange(2, n)], 1).astype(np.int32)
    up = np.tile(np.array([0.0, 0.0, 1.0], np.float32), (n, 1))
    uv = (outline / (2 * half) + 0.5).astype(np.float32)
    uv[:, 1] = 1 - uv[:, 1]
    kind = rng.random()
    if kind < 0.35 and ground is not None:  # light, shadow, another tile, a worn place
        texture = ground.textures[0].copy()
        factor = rng.uniform(0.35, 0.85) if rng.random() < 0.55 else rng.uniform(1.15, 1.9)
        texture[..., :3] = np.clip(texture[..., :3] * (factor * rng.uniform(0.92, 1.08, 3)), 0, 255).astype(np.uint8)
        look = Look([texture], ground.material, True)
        uv = (outline / float(rng.uniform(0.3, 1.2))).astype(np.float32)
    elif kind < 0.55:
        look = surfaces.plain_look(np.asarray(prints.colour(rng, float(rng.random())), np.float64), float(rng.random()))
    elif kind < 0.7:
        look = Look([compose(prints.label(rng, int(80 * min(2.0, half[1] / half[0])) + 12, 80), None, 0.0, 0.15)], Material())
    elif kind < 0.85:
        look = goods_looks.printed(rng, 64, 80, float(rng.random()), flip=False)
    else:  # wet or polished: shows lamps as glare
        material = Material(specular=1.0, shininess=150, mirror=float(rng.uniform(0.1, 0.4)), base_gloss=1.0, holes=0.5,
                            opacity=float(rng.uniform(0.2, 0.6)))  # fmt: skip
        tone = ground.textures[0][..., :3].mean((0, 1)) if ground is not None else np.full(3, 90.0)
        look = Look([compose(np.tile(tone * rng.uniform(0.4, 1.0), (8, 8, 1)), None, 0.0, 1.0)], material)
    return Mesh(vertices, up, uv, fan, np.zeros(len(fan), np.int32)), look

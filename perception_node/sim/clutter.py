"""Things inside the view that are neither packages nor goods: machinery, cables, grippers, hands, plants, scraps of paper.

Nothing here lies loose and has the size of goods; the rule is in `goods`.
"""

from __future__ import annotations

import numpy as np

from perception_node.sim import fixtures, patterns, shapes, surfaces
from perception_node.sim.meshes import Array, Mesh, cross, join, rotation_z
from perception_node.sim.textures import Look

Part = tuple[Mesh, Look]


def _turn_x(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])


def cylinder(rng: np.random.Generator, radius_m: float, height_m: float) -> Mesh:
    """A standing cylinder with a slight chamfer."""
    r, c = radius_m, min(0.003, radius_m * 0.2)
    profile = np.array([[0, 0], [r - c, 0], [r, c], [r, height_m - c], [r - c, height_m], [0, height_m]])
    return shapes.lathe_mesh(profile, int(rng.integers(12, 28)))


def cable(rng: np.random.Generator, length_m: float) -> Part:
    """A hose or cable lying about."""
    n = 24
    heading = np.cumsum(rng.normal(0, 0.35, n)) + rng.uniform(0, 6.28)
    step = length_m / n
    path = np.zeros((n, 3))
    path[1:, 0] = np.cumsum(np.cos(heading[1:]) * step)
    path[1:, 1] = np.cumsum(np.sin(heading[1:]) * step)
    radius = float(rng.uniform(0.002, 0.014))
    path[:, 2] = radius
    dark = np.array([rng.uniform(15, 60)] * 3) if rng.random() < 0.6 else rng.uniform(20, 240, 3)
    return shapes.tube_mesh(path, radius), surfaces.plain_look(dark)


def paper(rng: np.random.Generator) -> Part:
    """A scrap of paper, a sticker or a painted mark lying flat."""
    a, b = float(rng.uniform(0.03, 0.12)), float(rng.uniform(0.01, 0.09))
    mesh = shapes.plane_mesh(np.array([0, 0, 0.0012]), np.array([a, 0, 0]), np.array([0, b, 0]), (1.0, 1.0))
    if rng.random() < 0.5:
        return mesh, surfaces.metal_look(rng, 0.0)
    return mesh, surfaces.plain_look(np.array([rng.uniform(190, 250)] * 3) if rng.random() < 0.6 else rng.uniform(20, 240, 3), 0.1)


def gripper(rng: np.random.Generator) -> Part:
    """A robot's hand reaching down to z = 0 from above: suction cups or two jaws."""
    meshes: list[Mesh] = []
    bodies = [surfaces.metal_look(rng, 0.3), surfaces.metal_look(rng, 0.0)]
    reach = float(rng.uniform(0.12, 0.3))
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(1, 5))):
            spot = np.append(rng.uniform(-0.05, 0.05, 2), 0.0)
            r = float(rng.uniform(0.012, 0.03))
            profile = np.array([[r, 0], [r * 0.7, 0.02], [r * 0.9, 0.03], [r * 0.5, 0.05], [0.008, 0.06], [0.008, reach]])
            meshes.append(shapes.lathe_mesh(profile, 14).moved(np.eye(3), spot))
    else:
        gap, w = float(rng.uniform(0.03, 0.12)), float(rng.uniform(0.01, 0.03))
        for sign in (-1, 1):
            finger = shapes.block_mesh(np.array([w, w * 1.5, reach]))
            meshes.append(finger.moved(np.eye(3), np.array([sign * gap, 0, reach / 2])))
    palm = shapes.box_mesh(rng, np.array([rng.uniform(0.08, 0.2), rng.uniform(0.06, 0.14), rng.uniform(0.04, 0.1)]), 0.008, 0.0)
    fingers = join(meshes, same_part=True)
    arm = cylinder(rng, float(rng.uniform(0.03, 0.07)), 1.2)
    arm = arm.moved(_turn_x(float(rng.uniform(-0.7, 0.7))), np.array([0, 0, reach + 0.03]))
    body = join([palm.moved(np.eye(3), np.array([0, 0, reach])), arm], same_part=True)
    body = Mesh(body.vertices, body.normals, body.uv, body.triangles, np.zeros_like(body.part))
    return join([fingers, body]), Look([bodies[0].textures[0], bodies[1].textures[0]], bodies[1].material, True)


def hand(rng: np.random.Generator) -> Part:
    """A gloved hand and sleeve, roughly."""
    meshes = []
    for n in range(4):
        y = n - 1.5
        path = np.array([[0.0, 0.022 * y, 0.03], [0.05, 0.023 * y, 0.035], [0.09 + 0.01 * (n % 2), 0.024 * y, 0.012]])
        meshes.append(shapes.tube_mesh(path, 0.0105))
    palm = shapes.pillow_mesh(rng, np.array([0.11, 0.1, 0.05]), 0.001, 0.001, 0.05, 0.4, (9, 11))
    palm = palm.moved(np.eye(3), np.array([-0.04, 0, 0.03]))
    sleeve = shapes.tube_mesh(np.array([[-0.08, 0, 0.04], [-0.3, 0.02, 0.14], [-0.7, 0.05, 0.4]]), 0.045, 14)
    tone = np.array([rng.uniform(90, 235), rng.uniform(70, 180), rng.uniform(50, 150)])
    skin = surfaces.plain_look(tone if rng.random() < 0.5 else rng.uniform(20, 230, 3), 0.2)
    cloth = surfaces.plain_look(rng.uniform(20, 200, 3), 0.05)
    arm = join([*meshes, palm], same_part=True)
    arm = Mesh(arm.vertices, arm.normals, arm.uv, arm.triangles, np.zeros_like(arm.part))
    return join([arm, sleeve]), Look([skin.textures[0], cloth.textures[0]], skin.material)


def plant(rng: np.random.Generator) -> Part:
    """A pot or bed with leaves."""
    meshes = []
    leaf = rng.uniform(0.03, 0.12)
    tall = rng.uniform(0.2, 0.8)
    for _ in range(int(rng.integers(30, 90))):
        a = rng.normal(0, 1, 3)
        a /= np.linalg.norm(a)
        b = cross(a, rng.normal(0, 1, 3))
        b /= np.linalg.norm(b) + 1e-9
        place = np.append(rng.normal(0, 0.25 * tall, 2), rng.uniform(0.1, 1.0) * tall)
        meshes.append(shapes.plane_mesh(place, a * leaf, b * leaf * 0.4, (1.0, 1.0)))
        meshes.append(shapes.plane_mesh(place, -a * leaf, b * leaf * 0.4, (1.0, 1.0)))
    green = np.array([rng.uniform(30, 110), rng.uniform(70, 160), rng.uniform(20, 80)])
    return join(meshes, same_part=True), surfaces.plain_look(green, 0.3)


def bush(rng: np.random.Generator) -> Part:
    """A bush, hedge or heap: a lumpy body under leaves, standing on z = 0."""
    size = np.array([rng.uniform(0.25, 1.3), rng.uniform(0.25, 0.7), rng.uniform(0.15, 0.9)])
    body = shapes.pillow_mesh(rng, size, 0.001, 0.02, 0.15, float(rng.uniform(0.2, 0.6)), (13, 15))
    body = body.moved(np.eye(3), np.array([0, 0, 0.3 * size[2]]))
    look, repeat = patterns.litter_look(rng)
    uv = body.uv * np.float32(max(1.0, size[0] / repeat))
    return Mesh(body.vertices, body.normals, uv, body.triangles, np.zeros_like(body.part)), look


def small_thing(rng: np.random.Generator, ground: Look | None = None) -> Part:
    """Something within reach of the packages that is neither package nor good: fixed, flat, or a cable."""
    kind = rng.random()
    if kind < 0.18:
        return cable(rng, float(rng.uniform(0.2, 1.2)))
    if kind < 0.3:
        return paper(rng)
    if kind < 0.55:
        return fixtures.flat_mark(rng, ground)
    return fixtures.fixture(rng, large=False)


def big_thing(rng: np.random.Generator) -> Part:
    """Machinery that stands beside the line."""
    return fixtures.fixture(rng, large=True)


def placed(part: Part, x: float, y: float, z: float, yaw: float) -> Part:
    """The part turned about z and put somewhere (metres, radians)."""
    return part[0].moved(rotation_z(yaw), np.array([x, y, z])), part[1]

"""Things inside the view that are no package: machinery, tools, cables, grippers, scraps."""

from __future__ import annotations

import numpy as np

from perception_node.sim import patterns, shapes, surfaces
from perception_node.sim.meshes import Array, Mesh, cross, join, rotation_z
from perception_node.sim.textures import Look

Part = tuple[Mesh, Look]


def _turn_x(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])


def machine_box(rng: np.random.Generator, size_m: float) -> Part:
    """A housing, motor block or control box, standing on z = 0."""
    size = size_m * np.array([1.0, rng.uniform(0.2, 1.0), rng.uniform(0.2, 1.2)])
    mesh = shapes.box_mesh(rng, size, float(rng.uniform(0.001, 0.008)), 0.0).moved(np.eye(3), np.array([0, 0, size[2] / 2]))
    look = surfaces.metal_look(rng)
    return mesh, Look(look.textures * 6, look.material, True)


def cylinder(rng: np.random.Generator, radius_m: float, height_m: float) -> Mesh:
    """A standing cylinder with a slight chamfer."""
    r, c = radius_m, min(0.003, radius_m * 0.2)
    profile = np.array([[0, 0], [r - c, 0], [r, c], [r, height_m - c], [r - c, height_m], [0, height_m]])
    return shapes.lathe_mesh(profile, int(rng.integers(12, 28)))


def cup(rng: np.random.Generator) -> Part:
    """A cup, can or bottle."""
    r, h = float(rng.uniform(0.02, 0.05)), float(rng.uniform(0.05, 0.2))
    neck = float(rng.uniform(0.3, 1.1))
    top = r * neck
    profile = np.array([[0, 0], [r * 0.9, 0], [r, h * 0.6], [top, h], [top * 0.9, h], [top * 0.85, h * 0.3], [0, h * 0.25]])
    return shapes.lathe_mesh(profile, 20), surfaces.metal_look(rng, 0.2)


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


def tool(rng: np.random.Generator) -> Part:
    """A hand tool: a handle and a shaft."""
    length = float(rng.uniform(0.1, 0.3))
    radius = float(rng.uniform(0.006, 0.018))
    flat = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    handle = cylinder(rng, radius, length * 0.45).moved(flat, np.array([0, 0, radius]))
    shaft = cylinder(rng, radius * 0.45, length * 0.55).moved(flat, np.array([length * 0.45, 0, radius]))
    a, b = surfaces.metal_look(rng, 0.0), surfaces.metal_look(rng, 1.0)
    return join([handle, shaft]), Look([a.textures[0], b.textures[0]], a.material, True)


def bracket(rng: np.random.Generator) -> Part:
    """An L-shaped bracket or a slotted profile."""
    a, b, t = float(rng.uniform(0.06, 0.4)), float(rng.uniform(0.03, 0.15)), float(rng.uniform(0.004, 0.03))
    foot = shapes.block_mesh(np.array([a, b, t])).moved(np.eye(3), np.array([0, 0, t / 2]))
    wall = shapes.block_mesh(np.array([a, t, b])).moved(np.eye(3), np.array([0, b / 2 - t / 2, b / 2]))
    return join([foot, wall], same_part=True), surfaces.metal_look(rng)


def post(rng: np.random.Generator, height_m: float) -> Part:
    """A round or square post, perhaps with a sensor head."""
    if rng.random() < 0.5:
        mesh = cylinder(rng, float(rng.uniform(0.01, 0.035)), height_m)
    else:
        w = float(rng.uniform(0.02, 0.09))
        mesh = shapes.block_mesh(np.array([w, w, height_m])).moved(np.eye(3), np.array([0, 0, height_m / 2]))
    if rng.random() < 0.5:
        head = rng.uniform(0.03, 0.09, 3)
        mesh = join([mesh, shapes.block_mesh(head).moved(np.eye(3), np.array([0, 0, height_m + head[2] / 2]))], same_part=True)
    return mesh, surfaces.metal_look(rng)


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


def small_thing(rng: np.random.Generator) -> Part:
    """Something that may lie among packages."""
    kind = int(rng.choice(8, p=[0.14, 0.12, 0.14, 0.14, 0.12, 0.12, 0.16, 0.06]))
    if kind == 0:
        return machine_box(rng, float(rng.uniform(0.03, 0.15)))
    if kind == 1:
        return cup(rng)
    if kind == 2:
        return cable(rng, float(rng.uniform(0.2, 1.2)))
    if kind == 3:
        return tool(rng)
    if kind == 4:
        return bracket(rng)
    if kind == 5:
        return post(rng, float(rng.uniform(0.03, 0.4)))
    if kind == 6:
        return paper(rng)
    flat = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    r = float(rng.uniform(0.015, 0.06))
    return cylinder(rng, r, float(rng.uniform(0.08, 0.5))).moved(flat, np.array([0, 0, r])), surfaces.metal_look(rng)


def big_thing(rng: np.random.Generator) -> Part:
    """Machinery that stands beside the line."""
    if rng.random() < 0.6:
        return machine_box(rng, float(rng.uniform(0.15, 0.8)))
    if rng.random() < 0.5:
        return post(rng, float(rng.uniform(0.4, 1.2)))
    return cylinder(rng, float(rng.uniform(0.05, 0.2)), float(rng.uniform(0.1, 0.6))), surfaces.metal_look(rng)


def placed(part: Part, x: float, y: float, z: float, yaw: float) -> Part:
    """The part turned about z and put somewhere (metres, radians)."""
    return part[0].moved(rotation_z(yaw), np.array([x, y, z])), part[1]

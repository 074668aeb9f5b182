"""Procedural meshes of packages: boxes with rounded edges, mailers, bags."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from perception_node.sim import compiled, noise
from perception_node.sim.meshes import Array, Mesh, cross, grid_triangles, join

_FACES = ((0, 1, 2, 1), (0, 1, 2, -1), (1, 2, 0, 1), (1, 2, 0, -1), (0, 2, 1, 1), (0, 2, 1, -1))
"""Of a box: the axes along u and v, the axis of the normal and its sign."""


def box_mesh(rng: np.random.Generator, size_m: Array, bevel_m: float, bulge_m: float) -> Mesh:
    """A box with rounded edges; parts 0..5 are the faces +z, -z, +x, -x, +y, -y.

    Args:
        rng: small asymmetries.
        size_m: (3,) length, width, height along x, y, z.
        bevel_m: radius of the edges.
        bulge_m: how far the middle of a face stands out (negative: in).
    """
    half = np.asarray(size_m, np.float64) / 2.0
    bevel = float(min(bevel_m, 0.45 * half.min()))
    core = half - bevel
    skew = rng.normal(0, 0.006, 2) if rng.random() < 0.4 else np.zeros(2)
    # Seven grid lines along each axis: rim, edge of the flat part, half way, middle, and back.
    line = np.stack([-half, -core, -0.5 * core, 0.0 * core, 0.5 * core, core, half], 1)
    p = np.empty((6, 7, 7, 3))
    share = np.empty((2, 6, 7, 7))
    for face, (a, b, n, sign) in enumerate(_FACES):
        p[face, ..., a], p[face, ..., b], p[face, ..., n] = line[a], line[b][:, None], sign * half[n]
        share[0, face], share[1, face] = line[a] / half[a], (line[b] / half[b])[:, None]
    inner = np.clip(p, -core, core)
    out = p - inner
    normal = out / (np.linalg.norm(out, axis=-1, keepdims=True) + 1e-12)
    p = inner + normal * bevel
    swell = np.clip(bulge_m * (1 - share[0] ** 2) * (1 - share[1] ** 2), None, bevel + 0.02)
    uv = (share + 1) / 2
    uv[1] = 1 - uv[1]
    for face, (_, _, n, sign) in enumerate(_FACES):
        p[face, ..., n] += sign * swell[face]
        if (sign > 0) == (n == 1):
            uv[0, face] = 1 - uv[0, face]
    p[..., 0] += skew[0] * p[..., 2]
    p[..., 1] += skew[1] * p[..., 2]
    return Mesh(
        p.reshape(-1, 3).astype(np.float32),
        normal.reshape(-1, 3).astype(np.float32),
        np.moveaxis(uv, 0, -1).reshape(-1, 2).astype(np.float32),
        (49 * np.arange(6, dtype=np.int32)[:, None, None] + grid_triangles(7, 7)).reshape(-1, 3),
        np.repeat(np.arange(6, dtype=np.int32), 72),
    )


@lru_cache(maxsize=64)
def _sheet_uv(rows: int, columns: int, mirror: bool) -> Array:
    """(rows * columns, 2) float32 texture coordinates of a grid; kept, read-only."""
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    uv = np.stack([u, 1 - v if mirror else v], -1).reshape(-1, 2).astype(np.float32)
    uv.setflags(write=False)
    return uv


def _sheet(points: Array, part: int, flip: bool, mirror: bool = False) -> Mesh:
    """A (R, C, 3) grid of points as a mesh; uv follow the grid, v backwards if `mirror`."""
    rows, columns = points.shape[:2]
    normals = np.empty((rows * columns, 3), np.float32)
    compiled.grid_normals(np.ascontiguousarray(points, np.float64), -1.0 if flip else 1.0, normals)
    return Mesh(
        points.reshape(-1, 3).astype(np.float32),
        normals,
        _sheet_uv(rows, columns, mirror),
        grid_triangles(rows, columns, flip),
        np.full((rows - 1) * (columns - 1) * 2, part, np.int32),
    )


def pillow_mesh(
    rng: np.random.Generator,
    size_m: Array,
    seam_m: float,
    wrinkle_m: float,
    ragged: float,
    fullness: float,
    grid: tuple[int, int] = (17, 23),
) -> Mesh:
    """A filled flat package: two sheets that meet in a flat seam; part 0 top, 1 bottom.

    Args:
        rng: shape details.
        size_m: (3,) length, width, thickness.
        seam_m: width of the flat rim.
        wrinkle_m: amplitude of wrinkles of the surface.
        ragged: irregularity of the outline, as a share of the size.
        fullness: exponent of the profile; small = boxy filling, 1 = lens.
        grid: rows and columns of each sheet.
    """
    rows, columns = grid
    lx, ly, lz = (float(v) for v in size_m)
    s = np.linspace(-1, 1, columns)
    t = np.linspace(-1, 1, rows)
    s = np.sign(s) * (1 - (1 - np.abs(s)) ** 1.35)
    t = np.sign(t) * (1 - (1 - np.abs(t)) ** 1.35)
    tt, ss = np.meshgrid(t, s, indexing="ij")
    x, y = ss * lx / 2, tt * ly / 2
    if ragged > 0:
        bend = rng.normal(0, 1, (4, 3))
        for k in range(3):
            x += ragged * lx * bend[0, k] * 0.25 * np.cos((k + 1) * np.pi * tt / 2 + bend[2, k]) * ss
            y += ragged * ly * bend[1, k] * 0.25 * np.cos((k + 1) * np.pi * ss / 2 + bend[3, k]) * tt
        pinch = rng.uniform(0, ragged, 2)
        x *= 1 - pinch[0] * (1 - tt**2)
        y *= 1 - pinch[1] * (1 - ss**2)
        shear = rng.normal(0, ragged * 0.4)
        x += shear * y
    inner_s = np.clip((lx / 2 - np.abs(ss) * lx / 2 - seam_m) / (lx / 2 - seam_m), 0, 1)
    inner_t = np.clip((ly / 2 - np.abs(tt) * ly / 2 - seam_m) / (ly / 2 - seam_m), 0, 1)
    edge_s = 1 - (1 - inner_s) ** 2.2
    edge_t = 1 - (1 - inner_t) ** 2.2
    profile = (edge_s * edge_t) ** fullness
    lump = 1.0 + 0.35 * ragged / 0.1 * np.clip(noise.patch(rng, "soft", rows, columns, 0.12), -1, 1)
    thick = lz / 2 * profile * np.clip(lump, 0.4, 1.5)
    wave = noise.patch(rng, "cloud", rows, columns, 0.1) * wrinkle_m
    fold = noise.patch(rng, "ridge", rows, columns, 0.12) * wrinkle_m
    rim = 1 - profile
    flutter = noise.patch(rng, "soft", rows, columns, 0.15) * min(lz * 0.2, 0.006) * rim
    top = np.stack([x, y, thick + (wave + 0.6 * fold) * (0.3 + profile) + flutter], -1)
    low = -np.minimum(thick * 0.9, lz / 2 * 0.95)
    bottom = np.stack([x, y, np.minimum(low, top[..., 2] - 0.0006) + 0.0 * flutter], -1)
    rim_cells = profile < 1e-6
    bottom[..., 2][rim_cells] = top[..., 2][rim_cells] - 0.0006
    centre = (top[..., 2].max() + bottom[..., 2].min()) / 2
    top[..., 2] -= centre
    bottom[..., 2] -= centre
    a = _sheet(top, 0, False, True)
    b = _sheet(bottom, 1, True)
    return join([a, b], same_part=True)


def block_mesh(size_m: Array) -> Mesh:
    """A sharp box with one texture on all faces (contents of bags, machinery)."""
    unit = _unit_block()
    vertices = unit.vertices * (np.asarray(size_m, np.float64) / 2)
    return Mesh(vertices.astype(np.float32), unit.normals, unit.uv, unit.triangles, unit.part)


@lru_cache(maxsize=1)
def _unit_block() -> Mesh:
    """The box from -1 to 1; kept."""
    meshes = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            a, b = [i for i in range(3) if i != axis]
            p = np.full((4, 3), sign, np.float32)
            p[:, a], p[:, b] = (-1, 1, -1, 1), (-1, -1, 1, 1)
            normal = np.zeros((4, 3), np.float32)
            normal[:, axis] = sign
            uv = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
            meshes.append(Mesh(p, normal, uv, np.array([[0, 1, 3], [0, 3, 2]], np.int32), np.zeros(2, np.int32)))
    block = join(meshes, same_part=True)
    for array in (block.vertices, block.normals, block.uv, block.triangles, block.part):
        array.setflags(write=False)
    return block


def lathe_mesh(profile: Array, segments: int = 20) -> Mesh:
    """A body of revolution about z from (K, 2) pairs (radius, z), bottom to top, metres."""
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    r, z = profile[:, 0], profile[:, 1]
    points = np.stack(
        [r[:, None] * np.cos(angle), r[:, None] * np.sin(angle), np.repeat(z[:, None], segments + 1, 1)],
        -1,
    )
    mesh = _sheet(points, 0, False)
    outward = mesh.vertices.copy()
    outward[:, 2] -= float(z.mean())
    if float((mesh.normals * outward).sum()) < 0:
        mesh = Mesh(mesh.vertices, -mesh.normals, mesh.uv, mesh.triangles, mesh.part)
    return mesh


def tube_mesh(path: Array, radius_m: float, segments: int = 8) -> Mesh:
    """A round tube along (K, 3) points, metres."""
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-12
    helper = np.array([0.31, 0.17, 0.93])
    side = cross(tangent, helper)
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-12
    other = cross(tangent, side)
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    ring = np.cos(angle)[None, :, None] * side[:, None] + np.sin(angle)[None, :, None] * other[:, None]
    points = path[:, None] + radius_m * ring
    mesh = _sheet(points, 0, False)
    normals = ring.reshape(-1, 3).astype(np.float32)
    return Mesh(mesh.vertices, normals, mesh.uv, mesh.triangles, mesh.part)


def plane_mesh(centre: Array, along: Array, across: Array, repeat: tuple[float, float]) -> Mesh:
    """A flat rectangle with half axes `along` and `across` (3,), uv running to `repeat`."""
    corners = np.stack([centre - along - across, centre + along - across, centre - along + across, centre + along + across])
    normal = cross(along, across)
    normal = normal / np.linalg.norm(normal)
    uv = np.array([[0, 0], [repeat[0], 0], [0, repeat[1]], [repeat[0], repeat[1]]], np.float32)
    return Mesh(
        corners.astype(np.float32),
        np.repeat(normal[None], 4, 0).astype(np.float32),
        uv,
        np.array([[0, 1, 3], [0, 3, 2]], np.int32),
        np.zeros(2, np.int32),
    )


def loft_mesh(points: Array) -> Mesh:
    """A skin over closed sections (R, C, 3), the last column equal to the first one; normals point away from the middle line."""
    mesh = _sheet(points, 0, False)
    outward = mesh.vertices - np.repeat(points.mean(1), points.shape[1], 0)
    if float((mesh.normals * outward).sum()) < 0:
        mesh = Mesh(mesh.vertices, -mesh.normals, mesh.uv, mesh.triangles, mesh.part)
    return mesh


def ellipsoid_mesh(half_m: Array, segments: int = 16) -> Mesh:
    """An ellipsoid with half axes (3,); u runs round z, v from the bottom to the top."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, segments // 2 + 1)
    ball = lathe_mesh(np.stack([np.cos(angle), np.sin(angle)], 1), segments)
    scale = np.asarray(half_m, np.float64)
    normals = ball.vertices / scale
    normals = normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)
    return Mesh((ball.vertices * scale).astype(np.float32), normals.astype(np.float32), ball.uv, ball.triangles, ball.part)


def prism_mesh(outline: Array, thickness_m: float) -> Mesh:
    """A plate: the convex outline (N, 2), anticlockwise, raised by half the thickness above and below z = 0."""
    n, half = len(outline), thickness_m / 2
    low, span = outline.min(0), np.ptp(outline, axis=0) + 1e-9
    flat_uv = (outline - low) / span
    fan = np.stack([np.zeros(n - 2, np.int32), np.arange(1, n - 1), np.arange(2, n)], 1).astype(np.int32)
    lids = []
    for sign in (1.0, -1.0):
        vertices = np.concatenate([outline, np.full((n, 1), sign * half)], 1)
        triangles = fan if sign > 0 else fan[:, ::-1]
        lids.append((vertices, np.tile([0.0, 0.0, sign], (n, 1)), flat_uv, triangles))
    following = np.roll(outline, -1, 0)
    edge = following - outline
    side = np.stack([edge[:, 1], -edge[:, 0], np.zeros(n)], 1) / (np.linalg.norm(edge, axis=1, keepdims=True) + 1e-12)
    up = np.array([0.0, 0.0, half])
    corners = np.stack([np.pad(outline, ((0, 0), (0, 1))) - up, np.pad(following, ((0, 0), (0, 1))) - up,
                        np.pad(following, ((0, 0), (0, 1))) + up, np.pad(outline, ((0, 0), (0, 1))) + up], 1)  # fmt: skip
    index = np.arange(n, dtype=np.int32)[:, None] * 4
    walls = np.concatenate([index + [0, 1, 2], index + [0, 2, 3]]).astype(np.int32)
    wall_uv = np.tile([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]], (n, 1))
    meshes = [
        Mesh(v.astype(np.float32), m.astype(np.float32), uv.astype(np.float32), t.astype(np.int32), np.zeros(len(t), np.int32))
        for v, m, uv, t in [*lids, (corners.reshape(-1, 3), np.repeat(side, 4, 0), wall_uv, walls)]
    ]
    return join(meshes, same_part=True)


def disc_outline(half_x_m: float, half_y_m: float, corners: int = 16) -> Array:
    """(N, 2) anticlockwise outline of an ellipse."""
    angle = np.arange(corners) * (2 * np.pi / corners)
    return np.stack([half_x_m * np.cos(angle), half_y_m * np.sin(angle)], 1)

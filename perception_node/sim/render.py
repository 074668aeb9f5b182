"""Scene in, picture out: packs meshes and textures, draws depth, ids and linear colour."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from perception_node.sim import kernels, samples, shading
from perception_node.sim.meshes import Array, Mesh, cross
from perception_node.sim.textures import Look

_MAP = 448
"""Side of a lamp's shadow map, texels."""

_BACKDROP = np.array([0.25, 0.26, 0.28], np.float32)
"""Share of the surroundings' colour where a ray meets nothing."""


@dataclass(frozen=True)
class Item:
    """One thing in the scene: a mesh in the world frame, its look, its instance id (0 = no package),
    and whether it throws a shadow (the ground need not)."""

    mesh: Mesh
    look: Look
    instance: int = 0
    casts: bool = True


@dataclass(frozen=True)
class Light:
    """A lamp: unit vector towards it (parallel) or its place (point), colour x strength, softness in texels."""

    vector: Array
    colour: Array
    point: bool = False
    softness: int = 5


@dataclass(frozen=True)
class Lighting:
    """All light of a scene.

    Attributes:
        lights: lamps with shadows.
        strips: (K, 9) float32 luminaires seen in reflections, see `shading.shade`.
        sky: (9,) float32 ambient from above, from below, reflected surroundings (linear rgb).
        dome_softness: blur of the shadow under the sky, texels.
    """

    lights: list[Light]
    strips: Array
    sky: Array
    dome_softness: int = 25


@dataclass(frozen=True)
class View:
    """A pinhole camera: fx, fy, cx, cy in pixels (integers are pixel centres), size, pose."""

    intrinsics: Array
    width: int
    height: int
    camera_to_world: Array


@dataclass(frozen=True)
class Rendering:
    """What the ideal camera sees.

    Attributes:
        colour: (H, W, 3) float32 linear light.
        depth_m: (H, W) float32 along the optical axis, 0 = nothing there.
        ids: (H, W) int32 instance, 0 = background.
        holes: (H, W) float32 tendency of a depth camera to fail, 0..1.
        counts: (N+1, 2) int64 pixels of each instance alone: anywhere, inside the picture.
    """

    colour: Array
    depth_m: Array
    ids: Array
    holes: Array
    counts: Array


@dataclass
class Packed:
    """Items as flat arrays, ready for the kernels; build once, draw many views."""

    attributes: Array
    triangles: Array
    texture: Array
    material: Array
    instance: Array
    key: Array
    tangents: Array
    texel_density: Array
    materials: Array
    textures: list[tuple[Array, bool]]
    casts: Array
    film: Array = field(init=False)

    def __post_init__(self) -> None:
        self.film = (self.materials[self.material, 4] < 0.999).astype(np.uint8)


_LINEAR = (
    np.where(
        np.arange(256) / 255 <= 0.04045,
        np.arange(256) / 255 / 12.92,
        ((np.arange(256) / 255 + 0.055) / 1.055) ** 2.4,
    )
).astype(np.float32)


_scratch: dict[tuple[str, tuple[int, ...]], Array] = {}


def _buffer(name: str, shape: tuple[int, ...], dtype: type, fill: float | None) -> Array:
    """A work array that is kept from picture to picture; fresh pages cost more than the drawing."""
    key = (name, shape)
    if key not in _scratch:
        _scratch[key] = np.empty(shape, dtype)
    array = _scratch[key]
    if fill is not None:
        array.fill(fill)
    return array


def pack(items: list[Item]) -> Packed:
    """Flattens items; textures shared by identity are stored once."""
    seen: dict[int, int] = {}
    textures: list[tuple[Array, bool]] = []
    attributes, triangles, texture, material, instance, key, casts = [], [], [], [], [], [], []
    rows: list[list[float]] = []
    vertex_offset = 0
    key_offset = 0
    for number, item in enumerate(items):
        mesh, look = item.mesh, item.look
        ids = []
        for tex in look.textures:
            if id(tex) not in seen:
                seen[id(tex)] = len(seen)
                textures.append((tex, look.wrap))
            ids.append(seen[id(tex)])
        attributes.append(np.concatenate([mesh.vertices, mesh.normals, mesh.uv], 1))
        triangles.append(mesh.triangles + vertex_offset)
        part = np.minimum(mesh.part, len(ids) - 1)
        texture.append(np.asarray(ids, np.int32)[part])
        material.append(np.full(len(part), number, np.int32))
        instance.append(np.full(len(part), item.instance, np.int32))
        key.append(mesh.part + key_offset)
        casts.append(np.full(len(part), item.casts, np.uint8))
        rows.append(look.material.row())
        vertex_offset += len(mesh.vertices)
        key_offset += int(mesh.part.max()) + 1
    attr = np.ascontiguousarray(np.concatenate(attributes), np.float32)
    tri = np.ascontiguousarray(np.concatenate(triangles), np.int32)
    tex_of = np.concatenate(texture).astype(np.int32)
    sizes = np.array([(0, t.shape[1], t.shape[0], wrap) for t, wrap in textures], np.int64)
    tangents, density = np.empty((len(tri), 6), np.float32), np.empty(len(tri), np.float32)
    kernels.tangents(attr, tri, sizes[tex_of], tangents, density)
    return Packed(
        attr,
        tri,
        tex_of,
        np.concatenate(material),
        np.concatenate(instance),
        np.concatenate(key).astype(np.int32),
        tangents,
        density,
        np.array(rows, np.float32),
        textures,
        np.concatenate(casts),
    )


def _stored(textures: list[tuple[Array, bool]], smallest: Array) -> tuple[Array, Array]:
    """All texels, (P,) uint64, of the (h, w, 6) uint8 textures in `samples.LEVELS` sizes, and (N * LEVELS, 4) int64 offset, width,
    height, wrap of each. `smallest` as `_smallest` says: what is not read is not there."""
    rows = []
    offset = 0
    for (texture, wrap), most in zip(textures, smallest.tolist(), strict=True):
        h, w = texture.shape[:2]
        for level in range(samples.LEVELS):
            rows.append((offset, w, h, int(wrap)))
            if level < most and min(h, w) >= 4:
                offset += h * w
                h, w = h // 2, w // 2
        offset += h * w if most >= 0 else 0
    pixels = np.empty((offset, samples.TEXEL_BYTES), np.uint8)
    for n in np.flatnonzero(smallest >= 0):
        first, w, h, _ = rows[n * samples.LEVELS]
        samples.fill_texels(np.ascontiguousarray(textures[n][0]), pixels[first:])
        for start, w2, h2, _ in rows[n * samples.LEVELS + 1 : (n + 1) * samples.LEVELS]:
            if start > first:
                samples.halve_texels(pixels[first:], w, h2, w2, pixels[start:])
                first, w = start, w2
    return pixels.view(np.uint64).ravel(), np.array(rows, np.int64)


def _smallest(packed: Packed, vertices: Array, alive: Array, level: Array, view: View) -> Array:
    """(N,) number of the smallest stored size at which each texture may be read in this view, -1 = it is out of sight.

    Args:
        packed: the scene. vertices: (V, 3) in the camera frame. alive: (T,). level: (T,) from `_levels`. view: camera.
    """
    fx, fy, cx, cy = view.intrinsics
    z = np.maximum(vertices[:, 2], 0.02)
    u, v = fx * vertices[:, 0] / z + cx, fy * vertices[:, 1] / z + cy
    beyond = (u < -1) * 1 + (u > view.width) * 2 + (v < -1) * 4 + (v > view.height) * 8
    beyond[vertices[:, 2] < 0.02] = 0  # the side is not known
    corners = beyond[packed.triangles]
    seen = np.flatnonzero((alive > 0) & ((corners[:, 0] & corners[:, 1] & corners[:, 2]) == 0))
    smallest = np.full(len(packed.textures), -1, np.int32)
    np.maximum.at(smallest, packed.texture[seen], level[seen])
    return smallest


def _light_basis(direction: Array) -> Array:
    """(3, 3) rows: map column axis, map row axis, direction of travel."""
    travel = -direction / np.linalg.norm(direction)
    helper = np.array([1.0, 0.0, 0.0]) if abs(travel[0]) < 0.8 else np.array([0.0, 1.0, 0.0])
    a = cross(travel, helper)
    a /= np.linalg.norm(a)
    return np.stack([a, cross(travel, a), travel])


def _shadows(packed: Packed, lighting: Lighting, centre: Array, radius: float) -> tuple[Array, Array, Array]:
    """Rows of lights (L, 8), their moments (L, S, S, 2) and map frames (L, 3, 4)."""
    dome = Light(np.array([0.02, 0.03, 1.0]), np.zeros(3), False, lighting.dome_softness)
    lamps = [dome, *lighting.lights]
    rows = np.zeros((len(lamps), 8), np.float32)
    moments = np.empty((len(lamps), _MAP, _MAP, 2), np.float32)
    frames = np.zeros((len(lamps), 3, 4), np.float32)
    lowest = float(packed.attributes[:, 2].min())
    scale = _MAP / (2.0 * radius)
    for n, lamp in enumerate(lamps):
        towards = lamp.vector - centre if lamp.point else lamp.vector
        basis = _light_basis(np.asarray(towards, np.float64))
        frame = np.concatenate([basis, -(basis @ centre)[:, None]], 1)
        frame[:2] *= scale
        frame[:2, 3] += _MAP / 2
        frames[n] = frame
        place = packed.attributes[:, :3] @ frames[n, :, :3].T + frames[n, :, 3]
        depth = np.empty((_MAP, _MAP), np.float32)
        kernels.ground_depth(lowest - float(centre[2]), basis[:, 2].copy(), scale, depth)
        kernels.light_depth(place.astype(np.float32), packed.triangles, packed.casts, depth)
        blur = max(1, lamp.softness)
        both = cv2.merge([depth, depth * depth])
        moments[n] = cv2.blur(cv2.blur(both, (blur, blur)), (blur, blur))
        rows[n, :3] = lamp.vector if lamp.point else -basis[2]
        rows[n, 3] = float(lamp.point)
        rows[n, 4:7] = lamp.colour
        rows[n, 7] = 3e-5 if n else 4e-3
    return rows, moments, frames


def _occlusion(depth_m: Array) -> Array:
    """(H, W) float32 darkening of crevices from the depth picture alone."""
    small = depth_m[::2, ::2]
    small = np.where(small > 0, small, 5.0).astype(np.float32)
    dark = np.zeros_like(small)
    for size, reach, weight in ((5, 0.02, 0.3), (17, 0.06, 0.3), (45, 0.2, 0.25)):
        behind = (small - cv2.blur(small, (size, size))) / reach
        dark += weight * np.clip(behind, 0, 1)
    open_sky = np.clip(1.0 - dark, 0.25, 1.0)
    return np.asarray(cv2.resize(open_sky, depth_m.shape[::-1], interpolation=cv2.INTER_LINEAR))


def render(packed: Packed, lighting: Lighting, view: View, centre: Array, radius: float) -> Rendering:
    """Draws one view.

    Args:
        packed: the scene.
        lighting: lamps and sky.
        view: camera.
        centre: (3,) middle of the region that gets shadows, world, metres.
        radius: half side of that region, metres.
    """
    height, width = view.height, view.width
    origin = view.camera_to_world[:3, 3]
    k = np.asarray(view.intrinsics, np.float64)
    vertices, edges, alive = _projected(packed, view)
    shape = (2 * height + 1, 2 * width + 1)
    near, front = _buffer("near", shape, np.float32, 0), _buffer("front", shape, np.int32, -1)
    kernels.visibility(vertices, packed.triangles, edges, alive * (1 - packed.film), k, near, front)
    films = int(packed.film.any())
    film_near = _buffer("film_near", shape, np.float32, 0 if films else None)
    film = _buffer("film", shape, np.int32, -1 if films else None)
    if films:
        kernels.visibility(vertices, packed.triangles, edges, alive * packed.film, k, film_near, film)
    depth, ids = np.empty((height, width), np.float32), np.empty((height, width), np.int32)
    holes = np.empty((height, width), np.float32)
    kernels.gather(near, front, film_near, film, films, packed.instance, packed.material, packed.materials, depth, ids, holes)
    rows, moments, frames = _shadows(packed, lighting, centre, radius)
    level = _levels(packed, vertices, k)
    pixels, table = _stored(packed.textures, _smallest(packed, vertices, alive, level, view))
    needed = _buffer("needed", shape, np.uint8, 0)
    samples.mark_samples(front, film, films, packed.key, needed)
    colour = _buffer("colour", (*shape, 3), np.float32, None)
    sky = np.concatenate([lighting.sky, lighting.sky[6:9] * _BACKDROP]).astype(np.float32)
    occlusion = _occlusion(depth)
    for layer, blend in ((front, 0), (film, 1))[: 1 + films]:
        shading.shade(
            needed, layer, packed.attributes, packed.triangles, edges, packed.tangents, packed.texture,
            level, packed.material, packed.materials, pixels, table, _LINEAR,
            origin.astype(np.float32), rows, moments, frames, lighting.strips.astype(np.float32),
            sky, occlusion, colour, blend,
        )  # fmt: skip
    picture = np.empty((height, width, 3), np.float32)
    samples.resolve(needed, colour, picture)
    counts = _counts(packed, view, vertices, edges, alive)
    return Rendering(picture, depth, ids, holes, counts)


def _counts(packed: Packed, view: View, vertices: Array, edges: Array, alive: Array) -> Array:
    """(N+1, 2) int64 pixels of each instance alone: anywhere, inside the picture."""
    height, width = view.height, view.width
    margin = np.array([height, width, height, width], np.int32)
    counts = np.zeros((int(packed.instance.max()) + 1, 2), np.int64)
    stamp = _buffer("stamp", (3 * height, 3 * width), np.int32, 0)
    k = np.asarray(view.intrinsics, np.float64)
    kernels.coverage(vertices, packed.triangles, edges, alive, packed.instance, k, stamp, margin, counts)
    return counts


def alone_counts(packed: Packed, view: View) -> Array:
    """(N+1, 2) int64 pixels that each instance would cover if nothing hid it: anywhere, inside the picture."""
    vertices, edges, alive = _projected(packed, view)
    return _counts(packed, view, vertices, edges, alive)


def _projected(packed: Packed, view: View) -> tuple[Array, Array, Array]:
    """Vertices in the camera frame (V, 3), edge functions (T, 9) and which triangles can be seen (T,)."""
    rotation = view.camera_to_world[:3, :3]
    vertices = (packed.attributes[:, :3].astype(np.float64) - view.camera_to_world[:3, 3]) @ rotation
    normals = (packed.attributes[:, 3:6] @ rotation.astype(np.float32)).astype(np.float32)
    edges = np.zeros((len(packed.triangles), 9))
    alive = np.zeros(len(packed.triangles), np.uint8)
    k = np.asarray(view.intrinsics, np.float64)
    kernels.setup_triangles(vertices, normals, packed.triangles, k, edges, alive)
    return vertices, edges, alive


def _levels(packed: Packed, vertices: Array, k: Array) -> Array:
    """(T,) int32 stored texture size for each triangle in this view."""
    z = np.maximum(vertices[packed.triangles, 2].mean(1), 0.1)
    ratio = packed.texel_density * z / k[0]
    level: Array = np.clip(np.round(np.log2(np.maximum(ratio, 1e-3)) + 0.2), 0, samples.LEVELS - 1).astype(np.int32)
    return level


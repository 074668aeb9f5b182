"""Compiled loops of the renderer: visibility, shadow depth and coverage.

Everything here works on plain arrays so that numba can compile it. Rasterisation is
homogeneous: for a triangle with corners ``p0 p1 p2`` in the camera frame the inverse of the
matrix ``[p0 p1 p2]`` maps a viewing ray ``((u-cx)/fx, (v-cy)/fy, 1)`` to unnormalised
barycentric coordinates whose sum is ``1/z``. No clipping at the near plane is needed.

Source: M. Olano, T. Greer, "Triangle scan conversion using 2D homogeneous coordinates", 1997.
"""

from __future__ import annotations

import math

import numpy as np

from perception_node.sim.meshes import Array
from perception_node.sim.needs import njit

_EDGE = 1e-5
"""Tolerance of the inside test, as a fraction: closes hairline cracks between neighbours."""


@njit(cache=True, fastmath=True, error_model="numpy")
def setup_triangles(
    vertices: Array, normals: Array, triangles: Array, intrinsics: Array, edges: Array, alive: Array
) -> None:
    """Fills per-triangle edge functions over pixel coordinates.

    Args:
        vertices: (V, 3) float64 corner positions in the camera frame, metres.
        normals: (V, 3) float32 outward normals in the camera frame.
        triangles: (T, 3) int32 corner indices.
        intrinsics: (4,) float64 fx, fy, cx, cy in pixels.
        edges: (T, 9) float64, written: three times (per u, per v, constant).
        alive: (T,) uint8, written: 0 for triangles that cannot be seen.
    """
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        alive[t] = 0
        if vertices[i, 2] < 0.02 and vertices[j, 2] < 0.02 and vertices[k, 2] < 0.02:
            continue
        facing = False
        for q in (i, j, k):
            dot = (
                vertices[q, 0] * normals[q, 0]
                + vertices[q, 1] * normals[q, 1]
                + vertices[q, 2] * normals[q, 2]
            )
            if dot < 0.0:
                facing = True
        if not facing:
            continue
        ax, ay, az = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        bx, by, bz = vertices[j, 0], vertices[j, 1], vertices[j, 2]
        gx, gy, gz = vertices[k, 0], vertices[k, 1], vertices[k, 2]
        r0x, r0y, r0z = by * gz - bz * gy, bz * gx - bx * gz, bx * gy - by * gx
        r1x, r1y, r1z = gy * az - gz * ay, gz * ax - gx * az, gx * ay - gy * ax
        r2x, r2y, r2z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        det = ax * r0x + ay * r0y + az * r0z
        if abs(det) < 1e-12:
            continue
        inv = 1.0 / det
        alive[t] = 1
        edges[t, 0] = r0x * inv / fx
        edges[t, 1] = r0y * inv / fy
        edges[t, 2] = (r0z - r0x * cx / fx - r0y * cy / fy) * inv
        edges[t, 3] = r1x * inv / fx
        edges[t, 4] = r1y * inv / fy
        edges[t, 5] = (r1z - r1x * cx / fx - r1y * cy / fy) * inv
        edges[t, 6] = r2x * inv / fx
        edges[t, 7] = r2y * inv / fy
        edges[t, 8] = (r2z - r2x * cx / fx - r2y * cy / fy) * inv


@njit(cache=True, error_model="numpy")
def tangents(attributes: Array, triangles: Array, texture: Array, directions: Array, density: Array) -> None:
    """How textures lie on triangles.

    Args:
        attributes: (V, 8) float32 position, normal, texture coordinates.
        triangles: (T, 3) int32.
        texture: (T, 4) int64 rows of the texture table: offset, width, height, wrap.
        directions: (T, 6) float32, written: unit directions of u and of v.
        density: (T,) float32, written: texels per metre.
    """
    least, small = np.float32(1e-12), np.float32(1e-9)
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = attributes[j, 0] - attributes[i, 0], attributes[j, 1] - attributes[i, 1], attributes[j, 2] - attributes[i, 2]
        bx, by, bz = attributes[k, 0] - attributes[i, 0], attributes[k, 1] - attributes[i, 1], attributes[k, 2] - attributes[i, 2]
        au, av = attributes[j, 6] - attributes[i, 6], attributes[j, 7] - attributes[i, 7]
        bu, bv = attributes[k, 6] - attributes[i, 6], attributes[k, 7] - attributes[i, 7]
        det = au * bv - bu * av
        safe = least if abs(det) < least else det
        ux, uy, uz = (ax * bv - bx * av) / safe, (ay * bv - by * av) / safe, (az * bv - bz * av) / safe
        vx, vy, vz = (bx * au - ax * bu) / safe, (by * au - ay * bu) / safe, (bz * au - az * bu) / safe
        scale = math.sqrt(ux * ux + uy * uy + uz * uz) + small
        directions[t, 0], directions[t, 1], directions[t, 2] = ux / scale, uy / scale, uz / scale
        scale = math.sqrt(vx * vx + vy * vy + vz * vz) + small
        directions[t, 3], directions[t, 4], directions[t, 5] = vx / scale, vy / scale, vz / scale
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        area = math.sqrt(nx * nx + ny * ny + nz * nz)
        density[t] = math.sqrt(abs(det) * texture[t, 1] * texture[t, 2] / (area + least))


@njit(cache=True, fastmath=True, error_model="numpy")
def pixel_box(
    vertices: Array, triangles: Array, t: int, intrinsics: Array
) -> tuple[float, float, float, float]:
    """Bounds (u0, v0, u1, v1) of a triangle in pixels; everything where it crosses the camera."""
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    u0, v0, u1, v1 = 1e9, 1e9, -1e9, -1e9
    for c in range(3):
        q = triangles[t, c]
        z = vertices[q, 2]
        if z < 0.02:
            return -1e9, -1e9, 1e9, 1e9
        u = fx * vertices[q, 0] / z + cx
        v = fy * vertices[q, 1] / z + cy
        u0, u1 = min(u0, u), max(u1, u)
        v0, v1 = min(v0, v), max(v1, v)
    return u0, v0, u1, v1


@njit(inline="always", error_model="numpy")
def _inside(edges: Array, t: int, v: float, step: float, start: float, low: int, high: int) -> tuple[int, int]:
    """First and last of the columns `low` to `high` of a row that a triangle covers; u = step * column + start, in pixels as v."""
    lo, hi = float(low), float(high)
    su = (edges[t, 0] + edges[t, 3] + edges[t, 6]) * step
    s_row = (edges[t, 1] + edges[t, 4] + edges[t, 7]) * v + edges[t, 2] + edges[t, 5] + edges[t, 8] + su * (start / step)
    for e in range(3):
        a = edges[t, 3 * e] * step + _EDGE * su
        b = edges[t, 3 * e + 1] * v + edges[t, 3 * e + 2] + edges[t, 3 * e] * start + _EDGE * s_row
        if a > 1e-14:
            lo = max(lo, -b / a)
        elif a < -1e-14:
            hi = min(hi, -b / a)
        elif b < 0.0:
            hi = -1.0
    return int(math.ceil(lo)), int(math.floor(hi))


@njit(inline="always")
def _others(row: Array, number: int) -> int:
    """How many of a row are not `number`."""
    count = 0
    for n in range(row.shape[0]):
        count += row[n] != number
    return count


@njit(cache=True, fastmath=True, error_model="numpy")
def visibility(
    vertices: Array,
    triangles: Array,
    edges: Array,
    select: Array,
    intrinsics: Array,
    inverse_depth: Array,
    winner: Array,
) -> None:
    """Writes the nearest triangle at each sample of a grid with half a pixel of spacing.

    Sample (row r, column c) lies at pixel coordinates ``((c - 1) / 2, (r - 1) / 2)``, so odd
    rows and columns are the pixel centres.

    Args:
        vertices: (V, 3) float64, camera frame, metres.
        triangles: (T, 3) int32.
        edges: (T, 9) float64 from `setup_triangles`.
        select: (T,) uint8, 1 = draw this triangle.
        intrinsics: (4,) float64.
        inverse_depth: (2H+1, 2W+1) float32, updated, 1/m, 0 = nothing.
        winner: (2H+1, 2W+1) int32, updated, triangle index or -1.
    """
    rows, columns = winner.shape
    for t in range(triangles.shape[0]):
        if select[t] == 0:
            continue
        u0, v0, u1, v1 = pixel_box(vertices, triangles, t, intrinsics)
        r0 = max(0, int(math.ceil(max(-1.0, v0) * 2.0 + 1.0)))
        r1 = min(rows - 1, int(math.floor(min(1e6, v1) * 2.0 + 1.0)))
        c_low = max(0, int(math.ceil(max(-1.0, u0) * 2.0 + 1.0)))
        c_high = min(columns - 1, int(math.floor(min(1e6, u1) * 2.0 + 1.0)))
        if r1 < r0 or c_high < c_low:
            continue
        t32 = np.int32(t)
        su = (edges[t, 0] + edges[t, 3] + edges[t, 6]) * 0.5
        sv = edges[t, 1] + edges[t, 4] + edges[t, 7]
        sc = edges[t, 2] + edges[t, 5] + edges[t, 8]
        for r in range(r0, r1 + 1):
            v = 0.5 * (r - 1)
            s_row = sv * v + sc - su
            first, last = _inside(edges, t, v, 0.5, -0.5, c_low, c_high)
            near, front = inverse_depth[r, first:], winner[r, first:]
            for n in range(last + 1 - first):  # from 0 and without a branch: vector instructions
                s = np.float32(s_row + su * (first + n))
                nearer = s > near[n]
                near[n] = s if nearer else near[n]
                front[n] = t32 if nearer else front[n]


@njit(cache=True, fastmath=True, error_model="numpy")
def coverage(
    vertices: Array,
    triangles: Array,
    edges: Array,
    alive: Array,
    instance: Array,
    intrinsics: Array,
    stamp: Array,
    margin: Array,
    counts: Array,
) -> None:
    """Counts the pixels that each instance would cover alone, also outside of the picture.

    Args:
        vertices: (V, 3) float64, camera frame.
        triangles: (T, 3) int32, those of one instance next to each other.
        edges: (T, 9) float64.
        alive: (T,) uint8.
        instance: (T,) int32, 0 = background (not counted).
        intrinsics: (4,) float64.
        stamp: (Hs, Ws) int32 scratch canvas, zeros.
        margin: (4,) int32: offset of the canvas (rows, columns), picture height, width.
        counts: (N+1, 2) int64, written: pixels in all, pixels inside the picture.
    """
    rows, columns = stamp.shape
    mr, mc, height, width = margin[0], margin[1], margin[2], margin[3]
    for t in range(triangles.shape[0]):
        n = instance[t]
        if n == 0 or alive[t] == 0:
            continue
        u0, v0, u1, v1 = pixel_box(vertices, triangles, t, intrinsics)
        if u0 < -1e8:
            continue
        r0 = max(0, int(math.ceil(v0)) + mr)
        r1 = min(rows - 1, int(math.floor(v1)) + mr)
        c0 = max(0, int(math.ceil(u0)) + mc)
        c1 = min(columns - 1, int(math.floor(u1)) + mc)
        for r in range(r0, r1 + 1):
            first, last = _inside(edges, t, float(r - mr), 1.0, float(-mc), c0, c1)
            if last < first:
                continue
            if mr <= r < mr + height:
                counts[n, 1] += _others(stamp[r, max(first, mc):min(last, mc + width - 1) + 1], n)
            counts[n, 0] += _others(stamp[r, first:last + 1], n)
            stamp[r, first:last + 1] = n


@njit(cache=True, fastmath=True, error_model="numpy")
def light_depth(positions: Array, triangles: Array, casts: Array, depth: Array) -> None:
    """Draws the depth map of a parallel light.

    Args:
        positions: (V, 3) float32: column, row (map pixels) and distance along the light, metres.
        triangles: (T, 3) int32.
        casts: (T,) uint8, 1 = throws a shadow.
        depth: (S, S) float32, updated: smallest distance.
    """
    size = depth.shape[0]
    for t in range(triangles.shape[0]):
        if casts[t] == 0:
            continue
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = positions[i, 0], positions[i, 1], positions[i, 2]
        bx, by, bz = positions[j, 0], positions[j, 1], positions[j, 2]
        gx, gy, gz = positions[k, 0], positions[k, 1], positions[k, 2]
        area = (bx - ax) * (gy - ay) - (by - ay) * (gx - ax)
        if abs(area) < 1e-9:
            continue
        inv = 1.0 / area
        c0 = max(0, int(math.ceil(min(ax, bx, gx))))
        c1 = min(size - 1, int(math.floor(max(ax, bx, gx))))
        r0 = max(0, int(math.ceil(min(ay, by, gy))))
        r1 = min(size - 1, int(math.floor(max(ay, by, gy))))
        for r in range(r0, r1 + 1):
            row = depth[r, c0:]
            for n in range(c1 + 1 - c0):  # from 0 and without a branch: vector instructions
                c = c0 + n
                w1 = ((c - ax) * (gy - ay) - (r - ay) * (gx - ax)) * inv
                w2 = ((bx - ax) * (r - ay) - (by - ay) * (c - ax)) * inv
                w0 = 1.0 - w1 - w2
                d = np.float32(w0 * az + w1 * bz + w2 * gz)
                inside = (w0 >= -0.01) & (w1 >= -0.01) & (w2 >= -0.01)
                row[n] = d if inside & (d < row[n]) else row[n]


@njit(cache=True, error_model="numpy")
def ground_depth(height_m: float, slope: Array, scale: float, depth: Array) -> None:
    """Depth map of a parallel light with nothing but the ground.

    Args:
        height_m: of the ground above the middle of the map. slope: (3,) float64 z of the map's column axis, of its row axis and
            of the light's direction. scale: texels per metre.
        depth: (S, S) float32, written: distance along the light.
    """
    half = depth.shape[0] / 2
    for r in range(depth.shape[0]):
        for c in range(depth.shape[1]):
            depth[r, c] = (height_m - (slope[0] * (c - half) + slope[1] * (r - half)) / scale) / slope[2]


@njit(cache=True, fastmath=True, error_model="numpy")
def gather(
    near: Array, front: Array, film_near: Array, film: Array, films: int, instance: Array, material: Array,
    materials: Array, depth: Array, ids: Array, holes: Array,
) -> None:  # fmt: skip
    """Depth, ids and hole tendency at the pixel centres; drops film that lies behind something opaque.

    Args:
        near, front: (2H+1, 2W+1) float32, int32 of the opaque layer from `visibility`.
        film_near, film: the same of the translucent layer, not read when `films` is 0; hidden samples of `film` become -1.
        instance: (T,) int32; material: (T,) int32; materials: (M, 8) float32.
        depth, ids, holes: (H, W) float32, int32, float32, written; depth 0 = nothing.
    """
    rows, columns = front.shape
    if films:
        for r in range(rows):
            for c in range(columns):
                if film[r, c] >= 0 and film_near[r, c] <= near[r, c]:
                    film[r, c] = -1
    for r in range(1, rows, 2):
        for c in range(1, columns, 2):
            y, x = r // 2, c // 2
            t = front[r, c]
            inverse = near[r, c]
            if films and film[r, c] >= 0:
                t = film[r, c]
                inverse = film_near[r, c]
            if t < 0:
                depth[y, x] = 0.0
                ids[y, x] = 0
                holes[y, x] = 0.0
            else:
                depth[y, x] = np.float32(1.0) / inverse
                ids[y, x] = instance[t]
                holes[y, x] = materials[material[t], 6]


@njit(cache=True)
def extents(ids: Array, area: Array, box: Array) -> None:
    """Where each instance is.

    Args:
        ids: (H, W) whole numbers, 0 = none, at most N.
        area: (N+1,) int64 zeros, written: pixels.
        box: (N+1, 4) int64, written where there are pixels: first column and row, last column and row.
    """
    height, width = ids.shape
    for y in range(height):
        for x in range(width):
            n = ids[y, x]
            if n == 0:
                continue
            if area[n] == 0:
                box[n, 0], box[n, 1], box[n, 2] = x, y, x
            area[n] += 1
            box[n, 0] = min(box[n, 0], x)
            box[n, 2] = max(box[n, 2], x)
            box[n, 3] = y

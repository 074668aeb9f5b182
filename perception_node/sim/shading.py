"""Compiled shading: textures, lights with soft shadows, reflections, film.

Samples are shaded some hundred at a time, in short loops over one array each, so that the compiler turns most of them into vector
instructions. Neighbours of one triangle in one row are a span: its corners, texture and material are read once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from perception_node.sim.meshes import CHANNELS, Array
from perception_node.sim.needs import njit
from perception_node.sim.samples import LEVELS

_BATCH = 256
"""Samples of a batch: its work arrays fit the processor's nearest cache."""

# Where each quantity of a batch begins in its float32 work array; the components of a vector follow each other.
_P, _N, _UV = 0 * _BATCH, 3 * _BATCH, 6 * _BATCH  # place and normal in the world, texture coordinates
_AX, _AY, _TEXEL = 8 * _BATCH, 9 * _BATCH, 10 * _BATCH  # shares of the right and the lower texels, the mixed channels 0..255
_V, _NDV = 16 * _BATCH, 19 * _BATCH  # unit vector to the camera, its cosine with the normal
_ALBEDO, _OPEN = 20 * _BATCH, 23 * _BATCH  # linear colour, crevice darkening
_L, _NDL, _FALL = 24 * _BATCH, 27 * _BATCH, 28 * _BATCH  # unit vector to the lamp (or a reflected ray), its cosine, what arrives
_Q = 29 * _BATCH  # place in the lamp's map, and other passing things
_DIFFUSE, _SHINE = 32 * _BATCH, 35 * _BATCH  # light that takes the surface's colour, and light that does not
_FLOATS = 38 * _BATCH
# The same in its int32 work array: row and column, the four texels, spans' first samples (and the end) and triangles.
_ROW, _COLUMN, _CORNER = 0 * _BATCH, 1 * _BATCH, 2 * _BATCH
_SPAN, _SPAN_T = 6 * _BATCH, 7 * _BATCH + 1
_INTS = 8 * _BATCH + 1


_part = njit(fastmath=True, error_model="numpy", inline="always")
"""For the pieces of `shade`: one compiled function. With a copy of each piece of its own, which copy ran, and so the last bits,
would depend on whether the code was compiled or came from the cache."""


@_part
def _interpolate(
    first: int, last: int, t: int, v_px: float, attributes: Array, triangles: Array, edges: Array,
    base: int, w: int, h: int, wrap: int, f: Array, q: Array,
) -> None:
    """Place, normal and texture position of a span of one triangle; loops start at 0 so that they become vector instructions."""
    f, q, count = f[first:], q[first:], last - first
    e0, e1, e2 = edges[t, 0], edges[t, 1] * v_px + edges[t, 2], edges[t, 3]
    e3, e4, e5 = edges[t, 4] * v_px + edges[t, 5], edges[t, 6], edges[t, 7] * v_px + edges[t, 8]
    i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    i0, i1, i2, i3, i4, i5, i6, i7 = (
        attributes[i, 0], attributes[i, 1], attributes[i, 2], attributes[i, 3],
        attributes[i, 4], attributes[i, 5], attributes[i, 6], attributes[i, 7])
    j0, j1, j2, j3, j4, j5, j6, j7 = (
        attributes[j, 0], attributes[j, 1], attributes[j, 2], attributes[j, 3],
        attributes[j, 4], attributes[j, 5], attributes[j, 6], attributes[j, 7])
    k0, k1, k2, k3, k4, k5, k6, k7 = (
        attributes[k, 0], attributes[k, 1], attributes[k, 2], attributes[k, 3],
        attributes[k, 4], attributes[k, 5], attributes[k, 6], attributes[k, 7])
    wf, hf, half = np.float32(w), np.float32(h), np.float32(0.5)
    w32, h32, base32, one = np.int32(w), np.int32(h), np.int32(base), np.int32(1)
    zero32 = np.int32(0)
    for s in range(count):
        u_px = 0.5 * (q[_COLUMN + s] - 1)
        b0, b1, b2 = e0 * u_px + e1, e2 * u_px + e3, e4 * u_px + e5
        inv = 1.0 / (b0 + b1 + b2)
        w0 = np.float32(min(max(b0 * inv, 0.0), 1.0))
        w1 = np.float32(min(max(b1 * inv, 0.0), 1.0))
        w2 = np.float32(1.0) - w0 - w1
        f[_P + s] = w0 * i0 + w1 * j0 + w2 * k0
        f[_P + _BATCH + s] = w0 * i1 + w1 * j1 + w2 * k1
        f[_P + 2 * _BATCH + s] = w0 * i2 + w1 * j2 + w2 * k2
        f[_N + s] = w0 * i3 + w1 * j3 + w2 * k3
        f[_N + _BATCH + s] = w0 * i4 + w1 * j4 + w2 * k4
        f[_N + 2 * _BATCH + s] = w0 * i5 + w1 * j5 + w2 * k5
        f[_UV + s] = w0 * i6 + w1 * j6 + w2 * k6
        f[_UV + _BATCH + s] = w0 * i7 + w1 * j7 + w2 * k7
    if wrap == 1:
        for s in range(count):
            u, v = f[_UV + s], f[_UV + _BATCH + s]
            whole_u, whole_v = np.int32(u), np.int32(v)
            u -= np.float32(whole_u - np.int32(u < np.float32(whole_u)))
            v -= np.float32(whole_v - np.int32(v < np.float32(whole_v)))
            x, y = u * wf - half, v * hf - half
            x0, y0 = np.int32(x), np.int32(y)
            x0 -= np.int32(x < np.float32(x0))
            y0 -= np.int32(y < np.float32(y0))
            f[_AX + s], f[_AY + s] = x - np.float32(x0), y - np.float32(y0)
            x1 = x0 + one if x0 + one < w32 else zero32
            y1 = y0 + one if y0 + one < h32 else zero32
            x0 = x0 if x0 >= zero32 else w32 - one
            y0 = y0 if y0 >= zero32 else h32 - one
            q[_CORNER + s] = base32 + y0 * w32 + x0
            q[_CORNER + _BATCH + s] = base32 + y0 * w32 + x1
            q[_CORNER + 2 * _BATCH + s] = base32 + y1 * w32 + x0
            q[_CORNER + 3 * _BATCH + s] = base32 + y1 * w32 + x1
    else:
        for s in range(count):
            x, y = f[_UV + s] * wf - half, f[_UV + _BATCH + s] * hf - half
            x0, y0 = np.int32(x), np.int32(y)
            x0 -= np.int32(x < np.float32(x0))
            y0 -= np.int32(y < np.float32(y0))
            f[_AX + s], f[_AY + s] = x - np.float32(x0), y - np.float32(y0)
            x1 = min(max(x0 + one, zero32), w32 - one)
            y1 = min(max(y0 + one, zero32), h32 - one)
            x0 = min(max(x0, zero32), w32 - one)
            y0 = min(max(y0, zero32), h32 - one)
            q[_CORNER + s] = base32 + y0 * w32 + x0
            q[_CORNER + _BATCH + s] = base32 + y0 * w32 + x1
            q[_CORNER + 2 * _BATCH + s] = base32 + y1 * w32 + x0
            q[_CORNER + 3 * _BATCH + s] = base32 + y1 * w32 + x1


@_part
def _fetch(count: int, pixels: Array, q: Array, corners: Array, f: Array) -> None:
    """Bilinear texels of all samples; a texel is one 64-bit number (`samples.TEXEL_BYTES`)."""
    for s in range(count):
        corners[s] = pixels[np.uint32(q[_CORNER + s])]
        corners[_BATCH + s] = pixels[np.uint32(q[_CORNER + _BATCH + s])]
        corners[2 * _BATCH + s] = pixels[np.uint32(q[_CORNER + 2 * _BATCH + s])]
        corners[3 * _BATCH + s] = pixels[np.uint32(q[_CORNER + 3 * _BATCH + s])]
    byte = np.uint64(255)
    for ch in range(CHANNELS):
        shift = np.uint64(8 * ch)
        to = _TEXEL + ch * _BATCH
        for s in range(count):
            ax, ay = f[_AX + s], f[_AY + s]
            w11 = ax * ay
            w01 = ax - w11
            w10 = ay - w11
            w00 = np.float32(1.0) - ax - ay + w11
            f[to + s] = (w00 * np.float32(np.int32((corners[s] >> shift) & byte))
                         + w01 * np.float32(np.int32((corners[_BATCH + s] >> shift) & byte))
                         + w10 * np.float32(np.int32((corners[2 * _BATCH + s] >> shift) & byte))
                         + w11 * np.float32(np.int32((corners[3 * _BATCH + s] >> shift) & byte)))


@_part
def _turn(first: int, last: int, t: int, tangents: Array, strength: Any, camera: Array, f: Array) -> None:
    """Normals with the texture's slopes, and directions of view, of a span."""
    f, count = f[first:], last - first
    t0, t1, t2, t3, t4, t5 = tangents[t, 0], tangents[t, 1], tangents[t, 2], tangents[t, 3], tangents[t, 4], tangents[t, 5]
    bump = strength * np.float32(1.0 / 127.0)
    cx, cy, cz = camera[0], camera[1], camera[2]
    for s in range(count):
        sx = (f[_TEXEL + 3 * _BATCH + s] - np.float32(128.0)) * bump
        sy = (f[_TEXEL + 4 * _BATCH + s] - np.float32(128.0)) * bump
        nx = f[_N + s] - (sx * t0 + sy * t3)
        ny = f[_N + _BATCH + s] - (sx * t1 + sy * t4)
        nz = f[_N + 2 * _BATCH + s] - (sx * t2 + sy * t5)
        scale = np.float32(1.0) / math.sqrt(nx * nx + ny * ny + nz * nz + np.float32(1e-9))
        nx, ny, nz = nx * scale, ny * scale, nz * scale
        vx, vy, vz = cx - f[_P + s], cy - f[_P + _BATCH + s], cz - f[_P + 2 * _BATCH + s]
        scale = np.float32(1.0) / math.sqrt(vx * vx + vy * vy + vz * vz)
        vx, vy, vz = vx * scale, vy * scale, vz * scale
        f[_N + s], f[_N + _BATCH + s], f[_N + 2 * _BATCH + s] = nx, ny, nz
        f[_V + s], f[_V + _BATCH + s], f[_V + 2 * _BATCH + s] = vx, vy, vz
        f[_NDV + s] = max(nx * vx + ny * vy + nz * vz, np.float32(0.02))


@_part
def _into_map(count: int, frame: Array, f: Array) -> None:
    """Places in a light's map: column, row, distance."""
    for k in range(3):
        a, b, c, d = frame[k, 0], frame[k, 1], frame[k, 2], frame[k, 3]
        to = _Q + k * _BATCH
        for s in range(count):
            f[to + s] = a * f[_P + s] + b * f[_P + _BATCH + s] + c * f[_P + 2 * _BATCH + s] + d


@_part
def _lit(moments: Array, x: Any, y: Any, depth: Any, floor_variance: Any) -> Any:
    """Share of a light that arrives (float32, 0..1), from the blurred moments (S, S, 2) of its depth map.

    Source: W. Donnelly, A. Lauritzen, "Variance shadow maps", 2006.
    """
    one = np.float32(1.0)
    size = moments.shape[1]
    if x < 1 or y < 1 or x >= size - 2 or y >= size - 2:
        return one
    x0 = np.uint32(x)
    y0 = np.uint32(y)
    x1 = np.uint32(x0 + 1)
    y1 = np.uint32(y0 + 1)
    ax = x - np.float32(x0)
    ay = y - np.float32(y0)
    w11 = ax * ay
    w01 = ax - w11
    w10 = ay - w11
    w00 = one - ax - ay + w11
    m1 = w00 * moments[y0, x0, 0] + w01 * moments[y0, x1, 0] + w10 * moments[y1, x0, 0] + w11 * moments[y1, x1, 0]
    if depth <= m1:
        return one
    m2 = w00 * moments[y0, x0, 1] + w01 * moments[y0, x1, 1] + w10 * moments[y1, x0, 1] + w11 * moments[y1, x1, 1]
    variance = max(m2 - m1 * m1, floor_variance)
    d = depth - m1
    p = variance / (variance + d * d)
    return min(one, max(np.float32(0.0), (p - np.float32(0.25)) * np.float32(1.0 / 0.75)))


@_part
def _ambient(count: int, sky: Array, moments: Array, frame: Array, floor_variance: Any, f: Array) -> None:
    """Light from the sky; starts the sums of `_DIFFUSE` and `_SHINE`."""
    _into_map(count, frame, f)
    for s in range(count):
        f[_FALL + s] = _lit(moments, f[_Q + s], f[_Q + _BATCH + s], f[_Q + 2 * _BATCH + s], floor_variance)
    for k in range(3):
        above, below = sky[k], sky[3 + k]
        to, shine = _DIFFUSE + k * _BATCH, _SHINE + k * _BATCH
        for s in range(count):
            up = np.float32(0.5) * (f[_N + 2 * _BATCH + s] + np.float32(1.0))
            dome = (np.float32(0.35) + np.float32(0.65) * f[_FALL + s]) * f[_OPEN + s]
            f[to + s] = (above * up + below * (np.float32(1.0) - up)) * dome
            f[shine + s] = np.float32(0.0)


@_part
def _lamp(count: int, light: Array, moments: Array, frame: Array, f: Array) -> None:
    """Diffuse light of one lamp; leaves its direction in `_L` and what arrives in `_FALL`."""
    lx, ly, lz = light[0], light[1], light[2]
    if light[3] > 0.5:
        for s in range(count):
            dx, dy, dz = lx - f[_P + s], ly - f[_P + _BATCH + s], lz - f[_P + 2 * _BATCH + s]
            d2 = dx * dx + dy * dy + dz * dz
            scale = np.float32(1.0) / math.sqrt(d2)
            f[_L + s], f[_L + _BATCH + s], f[_L + 2 * _BATCH + s] = dx * scale, dy * scale, dz * scale
            f[_FALL + s] = np.float32(1.0) / max(d2, np.float32(0.05))
    else:
        for s in range(count):
            f[_L + s], f[_L + _BATCH + s], f[_L + 2 * _BATCH + s] = lx, ly, lz
            f[_FALL + s] = np.float32(1.0)
    for s in range(count):
        f[_NDL + s] = (f[_N + s] * f[_L + s] + f[_N + _BATCH + s] * f[_L + _BATCH + s]
                       + f[_N + 2 * _BATCH + s] * f[_L + 2 * _BATCH + s])
    _into_map(count, frame, f)
    variance = light[7]
    for s in range(count):
        if f[_NDL + s] <= 0.0:
            f[_FALL + s] = np.float32(0.0)
        else:
            f[_FALL + s] *= _lit(moments, f[_Q + s], f[_Q + _BATCH + s], f[_Q + 2 * _BATCH + s] - np.float32(0.004), variance)
    for k in range(3):
        colour = light[4 + k]
        to = _DIFFUSE + k * _BATCH
        for s in range(count):
            f[to + s] += colour * f[_NDL + s] * f[_FALL + s]


@_part
def _shine(first: int, last: int, light: Array, material: Array, f: Array) -> None:
    """Highlights of one lamp on a span."""
    f, count = f[first:], last - first
    shininess = material[1]
    strength = material[0] * (shininess + np.float32(8.0)) * np.float32(0.04)
    for s in range(count):
        ax, ay, az = f[_L + s] + f[_V + s], f[_L + _BATCH + s] + f[_V + _BATCH + s], f[_L + 2 * _BATCH + s] + f[_V + 2 * _BATCH + s]
        scale = np.float32(1.0) / math.sqrt(ax * ax + ay * ay + az * az + np.float32(1e-9))
        f[_Q + s] = (f[_N + s] * ax + f[_N + _BATCH + s] * ay + f[_N + 2 * _BATCH + s] * az) * scale
    for s in range(count):
        if f[_FALL + s] > 0.0 and f[_Q + s] > 0.5:
            gloss = min(np.float32(1.0), f[_TEXEL + 5 * _BATCH + s] * np.float32(1.0 / 255.0) + material[7])
            power = math.exp(shininess * math.log(f[_Q + s])) * strength * gloss * f[_FALL + s]
            f[_SHINE + s] += light[4] * power
            f[_SHINE + _BATCH + s] += light[5] * power
            f[_SHINE + 2 * _BATCH + s] += light[6] * power


@_part
def _mirror(first: int, last: int, material: Array, strips: Array, sky: Array, f: Array) -> None:
    """Reflected surroundings on a span: what a ray meets that leaves along the mirrored direction of view."""
    f, count = f[first:], last - first
    one, two = np.float32(1.0), np.float32(2.0)
    shiny, more, tint = material[2], material[7], material[5]
    for s in range(count):
        ndv = f[_NDV + s]
        f[_L + s] = two * ndv * f[_N + s] - f[_V + s]
        f[_L + _BATCH + s] = two * ndv * f[_N + _BATCH + s] - f[_V + _BATCH + s]
        f[_L + 2 * _BATCH + s] = two * ndv * f[_N + 2 * _BATCH + s] - f[_V + 2 * _BATCH + s]
        f[_FALL + s] = np.float32(0.0)
    for n in range(strips.shape[0]):
        cx, cy, cz, half_length, half_width = strips[n, 0], strips[n, 1], strips[n, 2], strips[n, 3], strips[n, 4]
        ca, strength, softness, sa = strips[n, 5], strips[n, 6], strips[n, 7], strips[n, 8]
        for s in range(count):
            rz = f[_L + 2 * _BATCH + s]
            reach = (cz - f[_P + 2 * _BATCH + s]) / max(rz, np.float32(0.05))
            ox = f[_P + s] + f[_L + s] * reach - cx
            oy = f[_P + _BATCH + s] + f[_L + _BATCH + s] * reach - cy
            along = abs(ox * ca + oy * sa) - half_length
            across = abs(oy * ca - ox * sa) - half_width
            glow = min(max(one - max(along, across) / softness, np.float32(0.0)), one) * strength
            f[_FALL + s] += glow if (rz > np.float32(0.05)) & (reach > np.float32(0.0)) else np.float32(0.0)
    for s in range(count):
        gloss = min(one, f[_TEXEL + 5 * _BATCH + s] * np.float32(1.0 / 255.0) + more)
        mirror = shiny * gloss
        grazing = one - f[_NDV + s]
        g2 = grazing * grazing
        share = mirror + (one - mirror) * (g2 * g2 * grazing) * gloss
        f[_Q + s] = share if mirror > np.float32(0.004) else np.float32(0.0)
        f[_Q + _BATCH + s] = np.float32(0.25) + np.float32(0.75) * max(f[_L + 2 * _BATCH + s], np.float32(0.0))
    for k in range(3):
        around, shine, albedo, diffuse = sky[6 + k], _SHINE + k * _BATCH, _ALBEDO + k * _BATCH, _DIFFUSE + k * _BATCH
        for s in range(count):
            share = f[_Q + s]
            seen = (around * f[_Q + _BATCH + s] + f[_FALL + s]) * f[_OPEN + s]
            f[shine + s] += seen * share * (one - tint + tint * f[albedo + s])
            f[diffuse + s] *= one - min(share, np.float32(0.9)) * (np.float32(0.3) + np.float32(0.7) * tint)


@_part
def _cover(first: int, last: int, opacity: Any, q: Array, f: Array, colour: Array) -> None:
    """Film of a span over what has been drawn."""
    f, q, count = f[first:], q[first:], last - first
    f15, f85, one = np.float32(0.15), np.float32(0.85), np.float32(1.0)
    for s in range(count):
        grazing = one - f[_NDV + s]
        cover = min(one, opacity + (one - opacity) * grazing * grazing * np.float32(0.7))
        if f[_TEXEL + 5 * _BATCH + s] < 60.0:
            cover = one
        r, c = q[_ROW + s], q[_COLUMN + s]
        for k in range(3):
            albedo = f[_ALBEDO + k * _BATCH + s]
            colour[r, c, k] = (
                colour[r, c, k] * (f15 + f85 * albedo) * (one - cover)
                + albedo * f[_DIFFUSE + k * _BATCH + s] * cover + f[_SHINE + k * _BATCH + s]
            )


@_part
def _batch(
    count: int, spans: int, q: Array, f: Array, corners: Array,
    attributes: Array, triangles: Array, edges: Array, tangents: Array, tri_texture: Array, tri_level: Array,
    tri_material: Array, materials: Array, pixels: Array, table: Array, linear: Array, camera: Array, lights: Array,
    moments: Array, light_frames: Array, strips: Array, sky: Array, occlusion: Array, colour: Array, blend: int,
) -> None:
    """Shades `count` samples in `spans` spans; arguments as for `shade`."""
    q[_SPAN + spans] = count
    for n in range(spans):
        first, last, t = q[_SPAN + n], q[_SPAN + n + 1], q[_SPAN_T + n]
        row = tri_texture[t] * LEVELS + tri_level[t]
        _interpolate(first, last, t, 0.5 * (q[_ROW + first] - 1), attributes, triangles, edges,
                     table[row, 0], table[row, 1], table[row, 2], table[row, 3], f, q)
    _fetch(count, pixels, q, corners, f)
    for s in range(count):
        f[_ALBEDO + s] = linear[np.uint32(f[_TEXEL + s])]
        f[_ALBEDO + _BATCH + s] = linear[np.uint32(f[_TEXEL + _BATCH + s])]
        f[_ALBEDO + 2 * _BATCH + s] = linear[np.uint32(f[_TEXEL + 2 * _BATCH + s])]
        f[_OPEN + s] = occlusion[min(q[_ROW + s] >> 1, occlusion.shape[0] - 1), min(q[_COLUMN + s] >> 1, occlusion.shape[1] - 1)]
    for n in range(spans):
        t = q[_SPAN_T + n]
        _turn(q[_SPAN + n], q[_SPAN + n + 1], t, tangents, materials[tri_material[t], 3], camera, f)
    _ambient(count, sky, moments[0], light_frames[0], lights[0, 7], f)
    runs = 0  # spans of one material in a row become one
    for n in range(spans):
        m = tri_material[q[_SPAN_T + n]]
        if runs == 0 or q[_SPAN_T + runs - 1] != m:
            q[_SPAN + runs], q[_SPAN_T + runs] = q[_SPAN + n], m
            runs += 1
    q[_SPAN + runs] = count
    for k in range(1, lights.shape[0]):
        _lamp(count, lights[k], moments[k], light_frames[k], f)
        for n in range(runs):
            m = q[_SPAN_T + n]
            if materials[m, 0] > 0.0:
                _shine(q[_SPAN + n], q[_SPAN + n + 1], lights[k], materials[m], f)
    for n in range(runs):
        first, last, m = q[_SPAN + n], q[_SPAN + n + 1], q[_SPAN_T + n]
        if materials[m, 2] > 0.004:
            _mirror(first, last, materials[m], strips, sky, f)
        if blend == 1:
            _cover(first, last, materials[m, 4], q, f, colour)
    if blend == 0:
        for s in range(count):
            r, c = q[_ROW + s], q[_COLUMN + s]
            for k in range(3):
                colour[r, c, k] = f[_ALBEDO + k * _BATCH + s] * f[_DIFFUSE + k * _BATCH + s] + f[_SHINE + k * _BATCH + s]


@njit(cache=True, fastmath=True, error_model="numpy")
def shade(
    needed: Array, winner: Array, attributes: Array, triangles: Array, edges: Array, tangents: Array, tri_texture: Array,
    tri_level: Array, tri_material: Array, materials: Array, pixels: Array, table: Array, linear: Array, camera: Array,
    lights: Array, moments: Array, light_frames: Array, strips: Array, sky: Array, occlusion: Array, colour: Array, blend: int,
) -> None:
    """Colours every needed sample.

    Args:
        needed: (2H+1, 2W+1) uint8 from `mark_samples`.
        winner: (2H+1, 2W+1) int32 triangle of the layer being drawn, -1 = none.
        attributes: (V, 8) float32: position (3, world, metres), normal (3, world), uv (2).
        triangles: (T, 3) int32.
        edges: (T, 9) float64.
        tangents: (T, 6) float32 unit vectors along u and v, world.
        tri_texture, tri_level, tri_material: (T,) int32.
        materials: (M, 8) float32 rows of `Material.row`.
        pixels: (P,) uint64 all texels; table: (N * LEVELS, 4) int64 offset, width, height, wrap.
        linear: (256,) float32 sRGB byte to linear light.
        camera: (3,) float32 position in the world.
        lights: (L, 8) float32: direction to the light or position (3), kind (0 parallel, 1 point),
            colour times strength (3), variance floor of its shadow (square metres).
        moments: (L, S, S, 2) float32 blurred shadow moments; light 0 is the dome from above.
        light_frames: (L, 3, 4) float32: world to map column, row, distance.
        strips: (K, 9) float32 lamps overhead: centre x, y, height, half length, half width,
            cosine of the angle, strength, softness, sine of the angle.
        sky: (12,) float32 ambient colour from above, from below, the reflected surroundings, and what
            is seen where a ray meets nothing.
        occlusion: (H, W) float32 crevice darkening 0..1.
        colour: (2H+1, 2W+1, 3) float32 linear light, written; blended over where blend = 1.
        blend: 1 = film over what is in `colour` already.
    """
    rows, columns = winner.shape
    f, q, corners = np.empty(_FLOATS, np.float32), np.empty(_INTS, np.int32), np.empty(4 * _BATCH, np.uint64)
    r, c = 0, 0
    while r < rows:
        count, spans = 0, 0
        while r < rows and count < _BATCH:
            current = -1
            while c < columns and count < _BATCH:
                if needed[r, c] != 0:
                    t = winner[r, c]
                    if t >= 0:
                        if t != current:
                            q[_SPAN + spans], q[_SPAN_T + spans] = count, t
                            spans += 1
                            current = t
                        q[_ROW + count], q[_COLUMN + count] = r, c
                        count += 1
                    elif blend == 0:
                        for ch in range(3):
                            colour[r, c, ch] = sky[9 + ch]
                c += 1
            if c == columns:
                r, c = r + 1, 0
        _batch(count, spans, q, f, corners, attributes, triangles, edges, tangents, tri_texture, tri_level, tri_material,
               materials, pixels, table, linear, camera, lights, moments, light_frames, strips, sky, occlusion, colour, blend)

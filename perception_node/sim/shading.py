"""Compiled per-sample shading: textures, lights with soft shadows, reflections, film, resolve."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from perception_node.sim.meshes import CHANNELS, Array
from perception_node.sim.needs import njit

LEVELS = 4
"""Stored sizes of each texture (1, 1/2, 1/4, 1/8)."""


@njit(cache=True, fastmath=True, error_model="numpy")
def _edge(winner: Array, r: int, c: int, key: Array) -> bool:
    """Does another surface than the centre's show at one of the nine samples of a pixel?"""
    above, row, below = np.uint32(r - 1), np.uint32(r), np.uint32(r + 1)  # unsigned: no test for indices from the end
    left, column, right = np.uint32(c - 1), np.uint32(c), np.uint32(c + 1)
    w0 = winner[row, column]
    differ = (winner[above, left] ^ w0) | (winner[above, column] ^ w0) | (winner[above, right] ^ w0)
    differ |= (winner[row, left] ^ w0) | (winner[row, right] ^ w0)
    differ |= (winner[below, left] ^ w0) | (winner[below, column] ^ w0) | (winner[below, right] ^ w0)
    if differ == 0:  # one triangle everywhere, as nearly always
        return False
    k0 = key[w0] if w0 >= 0 else -1
    for dr in range(-1, 2):
        for dc in range(-1, 2):
            w = winner[r + dr, c + dc]
            if w != w0 and (key[w] if w >= 0 else -1) != k0:
                return True
    return False


@njit(cache=True, fastmath=True, error_model="numpy")
def mark_samples(winner: Array, film: Array, films: int, key: Array, needed: Array) -> None:
    """Marks the samples whose colour matters: all pixel centres, and all nine at an edge.

    Args:
        winner: (2H+1, 2W+1) int32 nearest opaque triangle or -1.
        film: the same for translucent triangles, not read when `films` is 0.
        key: (T,) int32 surface number; different numbers are an edge.
        needed: (2H+1, 2W+1) uint8, written: 1 centre, 2 shaded, 3 centre at an edge.
    """
    rows, columns = winner.shape
    for r in range(1, rows, 2):
        for c in range(1, columns, 2):
            needed[r, c] = 1
            edge = _edge(winner, r, c, key)
            if films and not edge:
                edge = _edge(film, r, c, key)
            if edge:
                for dr in range(-1, 2):
                    for dc in range(-1, 2):
                        needed[r + dr, c + dc] = 2
                needed[r, c] = 3


@njit(cache=True, fastmath=True, error_model="numpy")
def _floor(x: Any) -> Any:
    """Largest whole number that is not above x; `math.floor` would be a call into the C library."""
    whole = np.int64(x)
    return whole - np.int64(x < np.float32(whole))


@njit(cache=True, fastmath=True, error_model="numpy")
def fetch(pixels: Array, table: Array, tex: int, level: int, u: Any, v: Any, out: Array) -> None:
    """Bilinear texel (6 values, 0..255 floats) at texture coordinates; wraps or clamps."""
    row = tex * LEVELS + level
    base, w, h, wrap = table[row, 0], table[row, 1], table[row, 2], table[row, 3]
    if wrap == 1:
        u -= np.float32(_floor(u))
        v -= np.float32(_floor(v))
    x = u * np.float32(w) - np.float32(0.5)
    y = v * np.float32(h) - np.float32(0.5)
    x0 = _floor(x)
    y0 = _floor(y)
    ax = np.float32(x - x0)
    ay = np.float32(y - y0)
    if wrap == 1:
        x1 = x0 + 1 if x0 + 1 < w else 0
        y1 = y0 + 1 if y0 + 1 < h else 0
        x0 = x0 if x0 >= 0 else w - 1
        y0 = y0 if y0 >= 0 else h - 1
    else:
        x1 = min(max(x0 + 1, 0), w - 1)
        y1 = min(max(y0 + 1, 0), h - 1)
        x0 = min(max(x0, 0), w - 1)
        y0 = min(max(y0, 0), h - 1)
    i00 = np.uint32(base + y0 * w + x0)
    i01 = np.uint32(base + y0 * w + x1)
    i10 = np.uint32(base + y1 * w + x0)
    i11 = np.uint32(base + y1 * w + x1)
    w11 = ax * ay
    w01 = ax - w11
    w10 = ay - w11
    w00 = np.float32(1.0) - ax - ay + w11
    for ch in range(6):
        out[ch] = (
            w00 * pixels[i00, ch] + w01 * pixels[i01, ch] + w10 * pixels[i10, ch] + w11 * pixels[i11, ch]
        )


@njit(cache=True, fastmath=True, error_model="numpy")
def lit(moments: Array, n: int, x: Any, y: Any, depth: Any, floor_variance: Any) -> Any:
    """Share of light `n` that arrives (float32, 0..1), from the blurred moments (L, S, S, 2) of its depth map.

    Source: W. Donnelly, A. Lauritzen, "Variance shadow maps", 2006.
    """
    one = np.float32(1.0)
    size = moments.shape[1]
    if x < 1 or y < 1 or x >= size - 2 or y >= size - 2:
        return one
    x0 = np.uint32(x)
    y0 = np.uint32(y)
    x1 = np.uint32(x + one)
    y1 = np.uint32(y + one)
    ax = x - np.float32(x0)
    ay = y - np.float32(y0)
    w11 = ax * ay
    w01 = ax - w11
    w10 = ay - w11
    w00 = one - ax - ay + w11
    m1 = (
        w00 * moments[n, y0, x0, 0]
        + w01 * moments[n, y0, x1, 0]
        + w10 * moments[n, y1, x0, 0]
        + w11 * moments[n, y1, x1, 0]
    )
    if depth <= m1:
        return one
    m2 = (
        w00 * moments[n, y0, x0, 1]
        + w01 * moments[n, y0, x1, 1]
        + w10 * moments[n, y1, x0, 1]
        + w11 * moments[n, y1, x1, 1]
    )
    variance = max(m2 - m1 * m1, floor_variance)
    d = depth - m1
    p = variance / (variance + d * d)
    return min(one, max(np.float32(0.0), (p - np.float32(0.25)) * np.float32(1.0 / 0.75)))


@njit(cache=True, fastmath=True, error_model="numpy")
def shade(
    needed: Array,
    winner: Array,
    attributes: Array,
    triangles: Array,
    edges: Array,
    tangents: Array,
    tri_texture: Array,
    tri_level: Array,
    tri_material: Array,
    materials: Array,
    pixels: Array,
    table: Array,
    linear: Array,
    camera: Array,
    lights: Array,
    moments: Array,
    light_frames: Array,
    strips: Array,
    sky: Array,
    occlusion: Array,
    colour: Array,
    blend: int,
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
        pixels: (P, 6) uint8 all texels; table: (N * LEVELS, 4) int64 offset, width, height, wrap.
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
    texel = np.zeros(CHANNELS, np.float32)
    one, f15, f85 = np.float32(1.0), np.float32(0.15), np.float32(0.85)
    for r in range(rows):
        v_px = 0.5 * (r - 1)
        for c in range(columns):
            t = winner[r, c]
            if needed[r, c] == 0:
                continue
            if t < 0:
                if blend == 0:
                    for ch in range(3):
                        colour[r, c, ch] = sky[9 + ch]
                continue
            t = np.uint32(t)
            u_px = 0.5 * (c - 1)
            b0 = edges[t, 0] * u_px + edges[t, 1] * v_px + edges[t, 2]
            b1 = edges[t, 3] * u_px + edges[t, 4] * v_px + edges[t, 5]
            b2 = edges[t, 6] * u_px + edges[t, 7] * v_px + edges[t, 8]
            inv = 1.0 / (b0 + b1 + b2)
            w0 = np.float32(min(max(b0 * inv, 0.0), 1.0))
            w1 = np.float32(min(max(b1 * inv, 0.0), 1.0))
            w2 = np.float32(1.0) - w0 - w1
            i, j, k = np.uint32(triangles[t, 0]), np.uint32(triangles[t, 1]), np.uint32(triangles[t, 2])
            px = w0 * attributes[i, 0] + w1 * attributes[j, 0] + w2 * attributes[k, 0]
            py = w0 * attributes[i, 1] + w1 * attributes[j, 1] + w2 * attributes[k, 1]
            pz = w0 * attributes[i, 2] + w1 * attributes[j, 2] + w2 * attributes[k, 2]
            nx = w0 * attributes[i, 3] + w1 * attributes[j, 3] + w2 * attributes[k, 3]
            ny = w0 * attributes[i, 4] + w1 * attributes[j, 4] + w2 * attributes[k, 4]
            nz = w0 * attributes[i, 5] + w1 * attributes[j, 5] + w2 * attributes[k, 5]
            tu = w0 * attributes[i, 6] + w1 * attributes[j, 6] + w2 * attributes[k, 6]
            tv = w0 * attributes[i, 7] + w1 * attributes[j, 7] + w2 * attributes[k, 7]
            fetch(pixels, table, tri_texture[t], tri_level[t], tu, tv, texel)
            m = np.uint32(tri_material[t])
            bump = materials[m, 3] * np.float32(1.0 / 127.0)
            sx = (texel[3] - np.float32(128.0)) * bump
            sy = (texel[4] - np.float32(128.0)) * bump
            nx -= sx * tangents[t, 0] + sy * tangents[t, 3]
            ny -= sx * tangents[t, 1] + sy * tangents[t, 4]
            nz -= sx * tangents[t, 2] + sy * tangents[t, 5]
            scale = np.float32(1.0) / math.sqrt(nx * nx + ny * ny + nz * nz + np.float32(1e-9))
            nx, ny, nz = nx * scale, ny * scale, nz * scale
            vx, vy, vz = camera[0] - px, camera[1] - py, camera[2] - pz
            scale = np.float32(1.0) / math.sqrt(vx * vx + vy * vy + vz * vz)
            vx, vy, vz = vx * scale, vy * scale, vz * scale
            ndv = max(nx * vx + ny * vy + nz * vz, np.float32(0.02))
            ar = linear[np.uint32(texel[0])]
            ag = linear[np.uint32(texel[1])]
            ab = linear[np.uint32(texel[2])]
            gloss = min(np.float32(1.0), texel[5] * np.float32(1.0 / 255.0) + materials[m, 7])
            up = np.float32(0.5) * (nz + np.float32(1.0))
            open_sky = occlusion[min(r >> 1, occlusion.shape[0] - 1), min(c >> 1, occlusion.shape[1] - 1)]
            q0 = (
                light_frames[0, 0, 0] * px
                + light_frames[0, 0, 1] * py
                + light_frames[0, 0, 2] * pz
                + light_frames[0, 0, 3]
            )
            q1 = (
                light_frames[0, 1, 0] * px
                + light_frames[0, 1, 1] * py
                + light_frames[0, 1, 2] * pz
                + light_frames[0, 1, 3]
            )
            q2 = (
                light_frames[0, 2, 0] * px
                + light_frames[0, 2, 1] * py
                + light_frames[0, 2, 2] * pz
                + light_frames[0, 2, 3]
            )
            dome = (np.float32(0.35) + np.float32(0.65) * lit(moments, 0, q0, q1, q2, lights[0, 7])) * open_sky
            dr = (sky[0] * up + sky[3] * (np.float32(1.0) - up)) * dome
            dg = (sky[1] * up + sky[4] * (np.float32(1.0) - up)) * dome
            db = (sky[2] * up + sky[5] * (np.float32(1.0) - up)) * dome
            hr = np.float32(0.0)
            hg = np.float32(0.0)
            hb = np.float32(0.0)
            spec = materials[m, 0] * gloss
            shininess = materials[m, 1]
            for n in range(1, lights.shape[0]):
                lx, ly, lz = lights[n, 0], lights[n, 1], lights[n, 2]
                fall = np.float32(1.0)
                if lights[n, 3] > 0.5:
                    lx, ly, lz = lx - px, ly - py, lz - pz
                    d2 = lx * lx + ly * ly + lz * lz
                    scale = np.float32(1.0) / math.sqrt(d2)
                    lx, ly, lz = lx * scale, ly * scale, lz * scale
                    fall = np.float32(1.0) / max(d2, np.float32(0.05))
                ndl = nx * lx + ny * ly + nz * lz
                if ndl <= 0.0:
                    continue
                q0 = (
                    light_frames[n, 0, 0] * px
                    + light_frames[n, 0, 1] * py
                    + light_frames[n, 0, 2] * pz
                    + light_frames[n, 0, 3]
                )
                q1 = (
                    light_frames[n, 1, 0] * px
                    + light_frames[n, 1, 1] * py
                    + light_frames[n, 1, 2] * pz
                    + light_frames[n, 1, 3]
                )
                q2 = (
                    light_frames[n, 2, 0] * px
                    + light_frames[n, 2, 1] * py
                    + light_frames[n, 2, 2] * pz
                    + light_frames[n, 2, 3]
                )
                reach = lit(moments, n, q0, q1, q2 - np.float32(0.004), lights[n, 7]) * fall
                if reach <= 0.0:
                    continue
                dr += lights[n, 4] * ndl * reach
                dg += lights[n, 5] * ndl * reach
                db += lights[n, 6] * ndl * reach
                if spec > 0.0:
                    ax, ay, az = lx + vx, ly + vy, lz + vz
                    scale = np.float32(1.0) / math.sqrt(ax * ax + ay * ay + az * az + np.float32(1e-9))
                    ndh = (nx * ax + ny * ay + nz * az) * scale
                    if ndh > 0.5:
                        power = math.exp(shininess * math.log(ndh))
                        power *= spec * reach * (shininess + np.float32(8.0)) * np.float32(0.04)
                        hr += lights[n, 4] * power
                        hg += lights[n, 5] * power
                        hb += lights[n, 6] * power
            mirror = materials[m, 2] * gloss
            opacity = materials[m, 4]
            grazing = np.float32(1.0) - ndv
            g2 = grazing * grazing
            fresnel = g2 * g2 * grazing
            if mirror > 0.004:
                share = mirror + (np.float32(1.0) - mirror) * fresnel * gloss
                rx = np.float32(2.0) * ndv * nx - vx
                ry = np.float32(2.0) * ndv * ny - vy
                rz = np.float32(2.0) * ndv * nz - vz
                er, eg, eb = sky[6], sky[7], sky[8]
                dim = np.float32(0.25) + np.float32(0.75) * max(rz, np.float32(0.0))
                er, eg, eb = er * dim, eg * dim, eb * dim
                if rz > 0.05:
                    for s in range(strips.shape[0]):
                        reach = (strips[s, 2] - pz) / rz
                        if reach > 0.0:
                            ox = px + rx * reach - strips[s, 0]
                            oy = py + ry * reach - strips[s, 1]
                            ca = strips[s, 5]
                            sa = strips[s, 8]
                            along = abs(ox * ca + oy * sa) - strips[s, 3]
                            across = abs(oy * ca - ox * sa) - strips[s, 4]
                            far = max(along, across)
                            glow = np.float32(1.0) - far / strips[s, 7]
                            if glow > 0.0:
                                glow = min(glow, np.float32(1.0)) * strips[s, 6]
                                er += glow
                                eg += glow
                                eb += glow
                tint = materials[m, 5]
                keep = np.float32(1.0) - tint
                er *= open_sky
                eg *= open_sky
                eb *= open_sky
                hr += er * share * (keep + tint * ar)
                hg += eg * share * (keep + tint * ag)
                hb += eb * share * (keep + tint * ab)
                less = np.float32(1.0) - min(share, np.float32(0.9)) * (np.float32(0.3) + np.float32(0.7) * tint)
                dr, dg, db = dr * less, dg * less, db * less
            if blend == 1:
                cover = min(np.float32(1.0), opacity + (np.float32(1.0) - opacity) * g2 * np.float32(0.7))
                if texel[5] < 60.0:
                    cover = np.float32(1.0)
                colour[r, c, 0] = (colour[r, c, 0] * (f15 + f85 * ar)) * (one - cover) + ar * dr * cover + hr
                colour[r, c, 1] = (colour[r, c, 1] * (f15 + f85 * ag)) * (one - cover) + ag * dg * cover + hg
                colour[r, c, 2] = (colour[r, c, 2] * (f15 + f85 * ab)) * (one - cover) + ab * db * cover + hb
            else:
                colour[r, c, 0] = ar * dr + hr
                colour[r, c, 1] = ag * dg + hg
                colour[r, c, 2] = ab * db + hb


@njit(cache=True, fastmath=True, error_model="numpy")
def resolve(needed: Array, colour: Array, picture: Array) -> None:
    """Averages the samples of each pixel with a 1-2-1 tent; flat areas take the centre.

    Args:
        needed: (2H+1, 2W+1) uint8, 3 = all neighbours are shaded.
        colour: (2H+1, 2W+1, 3) float32.
        picture: (H, W, 3) float32, written.
    """
    height, width, _ = picture.shape
    for y in range(height):
        r = 2 * y + 1
        for x in range(width):
            c = 2 * x + 1
            edge = needed[r, c] == 3
            for ch in range(3):
                if edge:
                    total = np.float32(0.0)
                    for dr in range(-1, 2):
                        for dc in range(-1, 2):
                            weight = np.float32((2 - abs(dr)) * (2 - abs(dc)))
                            total += weight * min(colour[r + dr, c + dc, ch], np.float32(4.0))
                    picture[y, x, ch] = total / np.float32(16.0)
                else:
                    picture[y, x, ch] = colour[r, c, ch]


@njit(cache=True)
def halve(texture: Array) -> Array:
    """(H/2, W/2, 6) uint8 mean of 2 x 2 texels; H and W must be even."""
    h, w, channels = texture.shape[0] // 2, texture.shape[1] // 2, texture.shape[2]
    out = np.empty((h, w, channels), np.uint8)
    for y in range(h):
        for x in range(w):
            for ch in range(channels):
                total = (
                    np.int32(texture[2 * y, 2 * x, ch])
                    + texture[2 * y, 2 * x + 1, ch]
                    + texture[2 * y + 1, 2 * x, ch]
                    + texture[2 * y + 1, 2 * x + 1, ch]
                )
                out[y, x, ch] = (total + 2) // 4
    return out

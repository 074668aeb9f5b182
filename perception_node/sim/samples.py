"""Compiled: which samples of a picture are shaded, what becomes of them, and the stored sizes of textures."""

from __future__ import annotations

import numpy as np

from perception_node.sim.meshes import Array
from perception_node.sim.needs import njit

LEVELS = 4
"""Stored sizes of each texture (1, 1/2, 1/4, 1/8)."""

TEXEL_BYTES = 8
"""A texel's channels and padding: one 64-bit number."""


@njit(cache=True, fastmath=True, error_model="numpy")
def _edge(winner: Array, r: int, c: int, key: Array) -> bool:
    """Does another surface than the centre's show at one of the nine samples of a pixel?"""
    w0 = winner[r, c]
    k0 = key[w0] if w0 >= 0 else -1
    for dr in range(-1, 2):
        for dc in range(-1, 2):
            w = winner[r + dr, c + dc]
            if w != w0 and (key[w] if w >= 0 else -1) != k0:
                return True
    return False


@njit(cache=True, fastmath=True, error_model="numpy")
def _differences(above: Array, row: Array, below: Array, differ: Array, more: int) -> None:
    """Where a row differs from the one above, the one below or its next column; `more` = 1 adds to what is there."""
    last = row.shape[0] - 1
    if more:
        for c in range(last):
            differ[c] |= (above[c] ^ row[c]) | (below[c] ^ row[c]) | (row[c] ^ row[c + 1])
        differ[last] |= (above[last] ^ row[last]) | (below[last] ^ row[last])
    else:
        for c in range(last):
            differ[c] = (above[c] ^ row[c]) | (below[c] ^ row[c]) | (row[c] ^ row[c + 1])
        differ[last] = (above[last] ^ row[last]) | (below[last] ^ row[last])


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
    differ = np.zeros(columns, np.int32)  # 0 at three columns: one triangle everywhere, as nearly always
    for r in range(1, rows, 2):
        _differences(winner[r - 1], winner[r], winner[r + 1], differ, 0)
        if films:
            _differences(film[r - 1], film[r], film[r + 1], differ, 1)
        for c in range(1, columns, 2):
            needed[r, c] = 1
            if (differ[c - 1] | differ[c] | differ[c + 1]) == 0:
                continue
            if _edge(winner, r, c, key) or (films and _edge(film, r, c, key)):
                for dr in range(-1, 2):
                    for dc in range(-1, 2):
                        needed[r + dr, c + dc] = 2
                needed[r, c] = 3


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
def fill_texels(texture: Array, to: Array) -> None:
    """Copies (h, w, CHANNELS) uint8 into (h * w, TEXEL_BYTES); the padding stays as it is."""
    h, w, channels = texture.shape
    for y in range(h):
        for x in range(w):
            for ch in range(channels):
                to[y * w + x, ch] = texture[y, x, ch]


@njit(cache=True)
def halve_texels(large: Array, w: int, h2: int, w2: int, small: Array) -> None:
    """(h2 * w2, TEXEL_BYTES) uint8 mean of 2 x 2 texels out of a picture that is `w` texels wide, padding included."""
    for y in range(h2):
        for x in range(w2):
            a = 2 * y * w + 2 * x
            for ch in range(TEXEL_BYTES):
                total = np.int32(large[a, ch]) + large[a + 1, ch] + large[a + w, ch] + large[a + w + 1, ch]
                small[y * w2 + x, ch] = (total + 2) // 4

"""Pictures at another size: each new pixel is the mean of the area that it covers, of the readings alone where some are missing.

The same means as OpenCV's INTER_AREA, to rounding, in a third of the time on sizes that are not a whole part of each other.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled, steady
from perception_node.types import F32

Bytes = NDArray[np.uint8]
Whole = NDArray[np.int64]

_SLIVER = 1e-6
"""A smaller share of a pixel is the rounding of its borders."""
_LEAST_SHARE = 1e-3
"""Where less than this share was read, nothing was."""


def shrunk_rgb(rgb: Bytes, size: tuple[int, int]) -> Bytes:
    """(h, w, 3) uint8 from (H, W, 3); size: (w, h)."""
    height, width = rgb.shape[:2]
    out = np.empty((size[1], size[0], 3), np.uint8)
    _rgb(steady(rgb.reshape(height, -1)), *_shares(width, size[0]), *_shares(height, size[1]), out)
    return out


def shrunk_depth(depth_m: F32, size: tuple[int, int]) -> tuple[F32, F32]:
    """Means over valid readings.

    Args:
        depth_m: (H, W) float32 metres; NaN, infinite or <= 0 = no reading. size: (w, h).

    Returns:
        (h, w) float32 depth in metres, 0 where next to nothing was read, and (h, w) float32 share of valid readings, 0..1.
    """
    height, width = depth_m.shape
    mean, share = np.empty((size[1], size[0]), np.float32), np.empty((size[1], size[0]), np.float32)
    if (width, height) == (2 * size[0], 2 * size[1]):
        _halved_depth(steady(depth_m), mean, share)
    else:
        _depth(steady(depth_m), *_shares(width, size[0]), *_shares(height, size[1]), mean, share)
    return mean, share


@functools.lru_cache(maxsize=32)
def _shares(old: int, new: int) -> tuple[Whole, F32]:
    """What `new` pixels are made of that cover `old` ones: (new,) the first of them and (taps, new) shares of it and the next."""
    scale = old / new
    taps = min(math.ceil(scale) + (old % new > 0), old)
    begin, end = np.arange(new) * scale, np.minimum((np.arange(new) + 1) * scale, old)
    first = np.clip(np.floor(begin + _SLIVER).astype(np.int64), 0, old - taps)
    pixels = first + np.arange(taps)[:, None]
    covered = np.minimum(end, pixels + 1.0) - np.maximum(begin, pixels)
    return steady(first), steady((np.where(covered > _SLIVER, covered, 0.0) / scale).astype(np.float32))


@compiled
def _rgb(rgb: Bytes, first_x: Whole, share_x: F32, first_y: Whole, share_y: F32, out: Bytes) -> None:
    """rgb: (H, 3 W). first_x, share_x, first_y, share_y: of `_shares`. out: (h, w, 3), written."""
    width = rgb.shape[1]
    row = np.empty(width, np.float32)  # the mean of the rows of the picture that one row of the result covers
    one, half = np.uint64(1), np.float32(0.5)
    for v in range(out.shape[0]):
        for t in range(len(share_y)):
            share, line = share_y[t, v], rgb[first_y[v] + t]
            if t == 0:
                for u in range(width):
                    row[u] = share * np.float32(line[u])
            elif share > np.float32(0.0):
                for u in range(width):
                    row[u] += share * np.float32(line[u])
        here = out[v]
        for u in range(out.shape[1]):
            at = np.uint64(3 * first_x[u])
            red, green, blue = half, half, half  # rounded to the nearest
            for t in range(len(share_x)):
                share = share_x[t, u]
                red += share * row[at]
                green += share * row[at + one]
                blue += share * row[at + one + one]
                at += np.uint64(3)
            here[u, 0], here[u, 1], here[u, 2] = np.uint8(red), np.uint8(green), np.uint8(blue)


@compiled
def _depth(depth_m: F32, first_x: Whole, share_x: F32, first_y: Whole, share_y: F32, mean: F32, share: F32) -> None:
    """depth_m: (H, W). first_x, share_x, first_y, share_y: of `_shares`. mean, share: (h, w), written as `shrunk_depth` says."""
    width = depth_m.shape[1]
    total, known = np.empty(width, np.float32), np.empty(width, np.float32)
    zero, endless = np.float32(0.0), np.float32(np.inf)
    for v in range(mean.shape[0]):
        total[:], known[:] = zero, zero
        for t in range(len(share_y)):
            part = share_y[t, v]
            if part > zero:
                line = depth_m[first_y[v] + t]
                for u in range(width):
                    z = line[u]
                    read = (z > zero) & (z < endless)
                    total[u] += part * z if read else zero
                    known[u] += part if read else zero
        for u in range(mean.shape[1]):
            at = np.uint64(first_x[u])
            sum_z, sum_known = zero, zero
            for t in range(len(share_x)):
                part = share_x[t, u]
                sum_z += part * total[at]
                sum_known += part * known[at]
                at += np.uint64(1)
            share[v, u] = sum_known
            mean[v, u] = sum_z / sum_known if sum_known > np.float32(_LEAST_SHARE) else zero


@compiled
def _halved_depth(depth_m: F32, mean: F32, share: F32) -> None:
    """As `_depth`, for pictures of exactly twice the size: each result is of four pixels."""
    zero, endless, quarter = np.float32(0.0), np.float32(np.inf), np.float32(0.25)
    one = np.float32(1.0)
    for v in range(mean.shape[0]):
        upper, lower = depth_m[2 * v], depth_m[2 * v + 1]
        for u in range(mean.shape[1]):
            a, b, c, d = upper[2 * u], upper[2 * u + 1], lower[2 * u], lower[2 * u + 1]
            has_a, has_b, has_c, has_d = (a > zero) & (a < endless), (b > zero) & (b < endless), (c > zero) & (c < endless), (
                d > zero) & (d < endless)
            sum_z = ((a if has_a else zero) + (b if has_b else zero)) + ((c if has_c else zero) + (d if has_d else zero))
            known = (one if has_a else zero) + (one if has_b else zero) + (one if has_c else zero) + (one if has_d else zero)
            share[v, u] = known * quarter
            mean[v, u] = (sum_z * quarter) / (known * quarter) if known > zero else zero

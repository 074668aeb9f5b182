"""What the network sees and says: sizes, channels and the encoding of depth. Training and inference share this file.

The network works on a grid of half the network picture's resolution ("grid pixels").
"""

from __future__ import annotations

import functools
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled, steady
from perception_node.geometry import plane_normal
from perception_node.segment.shrink import shrunk_depth, shrunk_rgb
from perception_node.types import F32, F64, CameraModel, Frame

INPUT_RGB, INPUT_DEPTH, OUTPUT_HEADS = "rgb", "depth", "heads"
"""Names of the exported model's inputs and output (the model contract, docs/segmenter.md)."""

DEPTH_CHANNELS = 3
CLASS_CHANNELS = slice(0, -4)
BOUNDARY_CHANNEL, CENTRE_CHANNEL = -4, -3
OFFSET_CHANNELS = slice(-2, None)
"""The heads' channels: background and the model's classes (as many as its card names), boundary, centre, offset x, y. The last four
are counted from the end, so that they mean the same for every number of classes."""

STRIDE = 32
"""The network picture's sides are multiples of this (five halvings)."""
NETWORK_AREA_PX = 640 * 480
OFFSET_UNIT_PX = 32.0
"""The offset heads are in units of this many grid pixels, so that they are of order one."""

KNOWN_SHARE = 0.3
"""A grid pixel is known when more than this share of it was read."""

_HEIGHT_KNEE_M = 0.02  # asinh's knee: a padded mailer's thickness. Source: measured: docs/segmenter.md
_RELIEF_WINDOW_PX = 15  # grid pixels; about the width of the smallest package worth picking
_RELIEF_UNIT_M = 0.01
_RELIEF_LIMIT = 2.0


def output_channels(classes: int) -> int:
    """How many channels the heads of a model have that knows so many classes."""
    return 1 + classes + 4


def network_size(width: int, height: int) -> tuple[int, int]:
    """Choose the network picture's (width, height) for a camera picture.

    The area stays near 640x480 and the sides are multiples of 32, so that any aspect ratio is scaled (by at most a few
    per cent unevenly) instead of being padded.
    """
    scale = math.sqrt(NETWORK_AREA_PX / (width * height))
    return (max(STRIDE, STRIDE * round(width * scale / STRIDE)), max(STRIDE, STRIDE * round(height * scale / STRIDE)))


def grid_rays(camera: CameraModel, grid_size: tuple[int, int]) -> tuple[F32, F32]:
    """Slopes x/z (w,) and y/z (h,) of the viewing rays through the grid's pixel centres (pinhole part only)."""
    width, height = grid_size
    u = (np.arange(width, dtype=np.float32) + 0.5) * (camera.width / width) - 0.5
    v = (np.arange(height, dtype=np.float32) + 0.5) * (camera.height / height) - 0.5
    return (u - np.float32(camera.cx)) / np.float32(camera.fx), (v - np.float32(camera.cy)) / np.float32(camera.fy)


def height_above_plane(depth: F32, slopes: tuple[F32, F32], plane: F64) -> F32:
    """Height in metres of each grid pixel above the plane (nx, ny, nz, d), n.X + d = 0, n towards the camera."""
    nx, ny, nz, d = (np.float32(p) for p in plane)
    along = (slopes[0] * nx)[None, :] + (slopes[1] * ny + nz)[:, None]
    height: F32 = depth * along + d
    return height


def encode_height(height_m: F32, share: F32) -> F32:
    """Make the depth channels out of heights.

    Args:
        height_m: (h, w) float32 metres above the belt plane, anything where `share` is 0.
        share: (h, w) float32 share of valid readings.

    Returns:
        (h, w, 3) float32: asinh-compressed height, height against the neighbourhood's mean, 1 where known; all
        zero where nothing was read (a frame without depth is all zero).
    """
    known = (share > KNOWN_SHARE).astype(np.float32)
    height = height_m * known
    window = (_RELIEF_WINDOW_PX, _RELIEF_WINDOW_PX)
    total = np.asarray(cv2.boxFilter(height, -1, window, normalize=False, borderType=cv2.BORDER_CONSTANT), dtype=np.float32)
    count = np.asarray(cv2.boxFilter(known, -1, window, normalize=False, borderType=cv2.BORDER_CONSTANT), dtype=np.float32)
    out = np.empty((*height.shape, DEPTH_CHANNELS), dtype=np.float32)
    _channels(height, known, total, count, np.arcsinh(height * np.float32(1.0 / _HEIGHT_KNEE_M)), out)
    return out


@compiled
def _channels(height: F32, known: F32, total: F32, count: F32, squeezed: F32, out: F32) -> None:
    """Write `out` (h, w, 3) of `encode_height`: half of `squeezed`, height against the mean of `total` over `count`, `known`."""
    unit, limit = np.float32(_RELIEF_UNIT_M), np.float32(_RELIEF_LIMIT)
    for v in range(height.shape[0]):
        for u in range(height.shape[1]):
            relief = (height[v, u] - total[v, u] / max(count[v, u], np.float32(1.0))) * (known[v, u] / unit)
            out[v, u, 0] = np.float32(0.5) * squeezed[v, u]
            out[v, u, 1] = min(max(relief, -limit), limit)
            out[v, u, 2] = known[v, u]


def fit_belt_plane(depth: F32, share: F32, slopes: tuple[F32, F32], hypotheses: int = 64) -> F64 | None:
    """Find the plane that most of the picture lies on, for frames whose belt plane nobody gave.

    Random sample consensus on a coarse sub-grid with a fixed seed, then a least-squares polish. Planes with many points
    far *below* them (a big box's top) are punished.

    Args:
        depth: (h, w) metres. share: (h, w) share of valid readings. slopes: of `grid_rays`.
        hypotheses: number of random triples.

    Returns:
        (4,) plane (nx, ny, nz, d), n towards the camera, or None with fewer than 50 usable readings.

    Source: Fischler and Bolles, "Random sample consensus", CACM 24(6), 1981.
    """
    step = max(1, round(math.sqrt(depth.size / 1200)))
    points = _coarse_points(steady(depth), steady(share), slopes[0], slopes[1], step)
    if len(points) < 50:
        return None
    triples = _triples(len(points), hypotheses)
    near = 0.008 + 0.004 * float(np.median(points[:, 2])) ** 2  # stereo noise grows with the square of the range
    plane = np.empty(4)
    return plane if _most_supported(points, triples, near, plane) else None


@functools.lru_cache(maxsize=256)
def _triples(count: int, hypotheses: int) -> NDArray[np.int64]:
    """(hypotheses, 3) which of `count` points the planes go through; computed once, read-only."""
    return steady(np.random.default_rng(0).integers(0, count, (hypotheses, 3)))


@compiled
def _coarse_points(depth: F32, share: F32, slope_x: F32, slope_y: F32, step: int) -> F32:
    """(N, 3) readings on every `step`-th row and column where more than half was read."""
    points = np.empty((depth.size, 3), np.float32)
    count = 0
    for v in range(0, depth.shape[0], step):
        for u in range(0, depth.shape[1], step):
            if share[v, u] > np.float32(0.5):
                z = depth[v, u]
                points[count, 0], points[count, 1], points[count, 2] = slope_x[u] * z, slope_y[v] * z, z
                count += 1
    return points[:count].copy()


@compiled
def _most_supported(points: F32, triples: NDArray[np.int64], near_m: float, plane: F64) -> bool:
    """The best of the planes through triples of (N, 3) points, refined by least squares. plane: (4,), written.

    Returns:
        Whether there is one; else `plane` is undefined.
    """
    hypotheses = len(triples)
    planes, score = np.zeros((4, hypotheses), np.float32), np.zeros(hypotheses, np.float32)
    for h in range(hypotheses):
        i, j, k = triples[h, 0], triples[h, 1], triples[h, 2]
        ax, ay, az = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1], points[j, 2] - points[i, 2]
        bx, by, bz = points[k, 0] - points[i, 0], points[k, 1] - points[i, 1], points[k, 2] - points[i, 2]
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        length = np.sqrt(nx * nx + ny * ny + nz * nz)
        if length > np.float32(1e-6):
            length = -length if nz > 0 else length
            nx, ny, nz = nx / length, ny / length, nz / length
            planes[0, h], planes[1, h], planes[2, h] = nx, ny, nz
            planes[3, h] = -(nx * points[i, 0] + ny * points[i, 1] + nz * points[i, 2])
    near, far = np.float32(near_m), np.float32(-3.0 * near_m)
    for n in range(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        for h in range(hypotheses):
            rise = planes[0, h] * x + planes[1, h] * y + planes[2, h] * z + planes[3, h]
            score[h] += np.float32(1.0) if abs(rise) < near else (np.float32(-0.5) if rise < far else np.float32(0.0))
    best = -1
    for h in range(hypotheses):  # steeper than 70 degrees is no support
        if planes[2, h] < np.float32(-0.35) and (best < 0 or score[h] > score[best]):
            best = h
    if best < 0:
        return False
    nx, ny, nz, d = planes[0, best], planes[1, best], planes[2, best], planes[3, best]
    on, sx, sy, sz = 0, 0.0, 0.0, 0.0
    xx, xy, xz, yy, yz, zz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for centred in (False, True):
        for n in range(len(points)):
            if abs(nx * points[n, 0] + ny * points[n, 1] + nz * points[n, 2] + d) < near:
                x, y, z = float(points[n, 0]), float(points[n, 1]), float(points[n, 2])
                if centred:
                    x, y, z = x - sx, y - sy, z - sz
                    xx, xy, xz, yy, yz, zz = xx + x * x, xy + x * y, xz + x * z, yy + y * y, yz + y * z, zz + z * z
                else:
                    on += 1
                    sx, sy, sz = sx + x, sy + y, sz + z
        if not centred:
            if on < 10:
                return False
            sx, sy, sz = sx / on, sy / on, sz / on
    ax, ay, az = plane_normal(xx, xy, xz, yy, yz, zz)
    if az > 0:
        ax, ay, az = -ax, -ay, -az
    plane[0], plane[1], plane[2], plane[3] = ax, ay, az, -(ax * sx + ay * sy + az * sz)
    return True


def encode_depth(depth_m: F32 | None, camera: CameraModel, grid_size: tuple[int, int],
                 belt_plane: F64 | None) -> F32:
    """Encode one frame's depth for the network.

    Args:
        depth_m: (H, W) float32 metres, NaN = no reading, or None. camera: calibration of that picture.
        grid_size: (width, height) of the grid.
        belt_plane: (4,) calibrated plane (nx, ny, nz, d) in the optical frame, n.X + d = 0 in metres; None = fit one.

    Returns:
        (h, w, 3) float32 as `encode_height` makes it; zeros without depth or without a plane.
    """
    blank = np.zeros((grid_size[1], grid_size[0], DEPTH_CHANNELS), dtype=np.float32)
    if depth_m is None:
        return blank
    depth, share = shrunk_depth(depth_m, grid_size)
    slopes = grid_rays(camera, grid_size)
    plane = fit_belt_plane(depth, share, slopes) if belt_plane is None else belt_plane
    return blank if plane is None else encode_height(height_above_plane(depth, slopes, plane), share)


def encode_frame(frame: Frame, belt_plane: F64 | None) -> dict[str, NDArray[Any]]:
    """Make the network's inputs out of a frame.

    Args:
        frame: colour picture of any size, with or without depth. belt_plane: as for `encode_depth`.

    Returns:
        "rgb": (1, H, W, 3) uint8 and "depth": (1, H/2, W/2, 3) float32, H and W as `network_size` says.
    """
    width, height = network_size(frame.camera.width, frame.camera.height)
    rgb: NDArray[Any] = frame.rgb
    if rgb.shape[:2] != (height, width):
        size, shrinks = (width, height), width < rgb.shape[1]
        rgb = shrunk_rgb(rgb, size) if shrinks else cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR)
    depth = encode_depth(frame.depth_m, frame.camera, (width // 2, height // 2), belt_plane)
    return {INPUT_RGB: np.ascontiguousarray(rgb)[None], INPUT_DEPTH: depth[None]}

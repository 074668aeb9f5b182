"""What the network sees and says: sizes, channels and the encoding of depth. Training and inference share this file.

The network works on a grid of half the network picture's resolution ("grid pixels").
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

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


def grid_depth(depth_m: F32, grid_size: tuple[int, int]) -> tuple[F32, F32]:
    """Average depth onto the grid, counting valid readings only.

    Args:
        depth_m: (H, W) float32 metres; NaN, infinite or <= 0 = no reading.
        grid_size: (width, height) of the grid.

    Returns:
        (h, w) float32 depth in metres (0 where nothing was read) and (h, w) float32 share of valid readings, 0..1.
    """
    valid = (depth_m > 0) & (depth_m < np.float32(np.inf))
    depth = np.where(valid, depth_m, np.float32(0))
    share: F32 = cv2.resize(valid.astype(np.float32), grid_size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    total: F32 = cv2.resize(depth, grid_size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    mean = np.divide(total, share, out=np.zeros_like(total), where=share > 1e-3)
    return mean, share


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
    total = cv2.boxFilter(height, -1, window, normalize=False, borderType=cv2.BORDER_CONSTANT)
    count = cv2.boxFilter(known, -1, window, normalize=False, borderType=cv2.BORDER_CONSTANT)
    relief = (height - total / np.maximum(count, 1.0)) * (known / np.float32(_RELIEF_UNIT_M))
    out = np.empty((*height.shape, DEPTH_CHANNELS), dtype=np.float32)
    np.arcsinh(height * np.float32(1.0 / _HEIGHT_KNEE_M), out=out[..., 0])
    out[..., 0] *= 0.5
    np.clip(relief, -_RELIEF_LIMIT, _RELIEF_LIMIT, out=out[..., 1])
    out[..., 2] = known
    return out


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
    z = depth[::step, ::step]
    usable = share[::step, ::step] > 0.5
    if int(usable.sum()) < 50:
        return None
    x, y = np.meshgrid(slopes[0][::step], slopes[1][::step])
    points: NDArray[np.float32] = np.stack([x * z, y * z, z], axis=-1)[usable]
    rng = np.random.default_rng(0)
    triples = points[rng.integers(0, len(points), (hypotheses, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    good = lengths > 1e-6
    if not good.any():
        return None
    normals = normals[good] / lengths[good, None]
    normals = np.where(normals[:, 2:] > 0, -normals, normals).astype(np.float32)
    offsets = -np.einsum("ij,ij->i", normals, triples[good, 0])
    heights = points @ normals.T + offsets
    near = 0.008 + 0.004 * float(np.median(points[:, 2])) ** 2  # stereo noise grows with the square of the range
    score = (np.abs(heights) < near).sum(axis=0) - 0.5 * (heights < -3 * near).sum(axis=0)
    score = np.where(normals[:, 2] < -0.35, score, -np.inf)  # steeper than 70 degrees is no support
    best = int(np.argmax(score))
    inliers = points[np.abs(heights[:, best]) < near].astype(np.float64)
    if not np.isfinite(score[best]) or len(inliers) < 10:
        return None
    centre = inliers.mean(axis=0)
    normal = np.linalg.eigh((inliers - centre).T @ (inliers - centre))[1][:, 0]
    normal = -normal if normal[2] > 0 else normal
    return np.append(normal, -normal @ centre)


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
    depth, share = grid_depth(depth_m, grid_size)
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
        shrink = width < rgb.shape[1]
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
    depth = encode_depth(frame.depth_m, frame.camera, (width // 2, height // 2), belt_plane)
    return {INPUT_RGB: np.ascontiguousarray(rgb)[None], INPUT_DEPTH: depth[None]}

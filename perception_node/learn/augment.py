"""One cached picture becomes one training sample: zoom, turn, crop, light, noise, occluders, worse or no depth.

Everything random comes from the generator that is handed in, so a sample depends on (seed, step, place in the batch) only.
Source of the choice: J. Tobin et al., "Domain randomization", IROS 2017; ranges measured: docs/segmenter.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.learn.cache import CACHE_IGNORE, CachedSet
from perception_node.segment.encode import DEPTH_CHANNELS, encode_height

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Augmentation:
    """How much is varied; probabilities 0..1.

    Attributes:
        zoom: (smallest, largest) magnification. turn_rad: largest rotation either way.
        drop_depth: probability of a sample without depth. colour: 0 = leave colours alone, 1 = full strength.
        occluders: probability of bars that are no packages.
        background: probability that what is no package gets another pattern. shadows: probability of cast shadows.
        lens: probability of a lens that bends straight lines.
    """

    zoom: tuple[float, float] = (0.7, 1.6)
    turn_rad: float = 0.35
    drop_depth: float = 0.5
    colour: float = 1.0
    occluders: float = 0.2
    background: float = 0.25
    shadows: float = 0.25
    lens: float = 0.1


def augment(data: CachedSet, index: int, size: tuple[int, int], how: Augmentation,
            rng: np.random.Generator) -> tuple[U8, F32, U8, U8]:
    """Make one training sample.

    Args:
        data: a cached data set. index: of the picture. size: (width, height) of the sample, multiples of 32.
        how: ranges. rng: the only source of randomness.

    Returns:
        rgb (height, width, 3) uint8; depth (height/2, width/2, 3) float32 as the network takes it; labels on the grid
        (height/2, width/2) uint8 with 255 = ignore; class id by label (256,) uint8.
    """
    width, height = size
    grid = (width // 2, height // 2)
    affine = _affine(data.rgb.shape[2], data.rgb.shape[1], size, how, rng)
    bend = float(rng.uniform(-0.25, 0.25)) if rng.random() < how.lens else 0.0
    rgb: U8 = _warp(data.rgb[index], affine, size, bend, cv2.INTER_LINEAR, None)
    to_half = np.array([[0.5, 0.0, -0.25], [0.0, 0.5, -0.25], [0.0, 0.0, 1.0]])
    half_affine = (to_half @ np.vstack([affine, [0.0, 0.0, 1.0]]))[:2]
    labels: U8 = _warp(data.labels[index], half_affine, grid, bend, cv2.INTER_NEAREST, CACHE_IGNORE)
    height_m, known = _height(data, index, how, rng)
    if known is not None:
        double = np.array([[2.0, 0.0, 0.5], [0.0, 2.0, 0.5], [0.0, 0.0, 1.0]])  # grid of the cached picture -> its pixels
        grid_affine = half_affine @ double
        height_m = _warp(height_m, grid_affine, grid, bend, cv2.INTER_NEAREST, 0)
        known = _warp(known, grid_affine, grid, bend, cv2.INTER_NEAREST, 0)
    if rng.random() < how.background:
        on_picture = _warp(data.labels[index], affine, size, bend, cv2.INTER_NEAREST, CACHE_IGNORE)
        rgb = replace_background(rgb, on_picture == 0, rng)
    else:
        rgb = _tint_background(rgb, labels, how, rng)
    rgb, labels, height_m, known = _occlude(rgb, labels, height_m, known, how, rng)
    if rng.random() < how.shadows:
        rgb = cast_shadow(rgb, rng)
    rgb = _light(rgb, how, rng)
    if known is None:
        depth = np.zeros((grid[1], grid[0], DEPTH_CHANNELS), np.float32)
    else:
        height_m, known = _worsen_depth(height_m, known, rng)
        depth = encode_height(height_m, known.astype(np.float32))
    return rgb, depth, labels, data.class_ids[index]


def _warp(image: Any, affine: NDArray[np.float64], size: tuple[int, int], bend: float, how: int, outside: int | None) -> Any:
    """Map a picture by a (2, 3) matrix, then bend it like a lens with distortion `bend` at the corners, 0 = none.

    `outside` fills what the picture does not reach, None = its mirror image. Source: OpenCV's radial model, one coefficient.
    """
    border = cv2.BORDER_REFLECT_101 if outside is None else cv2.BORDER_CONSTANT
    if bend == 0.0:
        return cv2.warpAffine(image, affine, size, flags=how, borderMode=border, borderValue=outside or 0)
    cx, cy = (size[0] - 1) / 2, (size[1] - 1) / 2
    x = np.arange(size[0], dtype=np.float32)[None, :] - np.float32(cx)
    y = np.arange(size[1], dtype=np.float32)[:, None] - np.float32(cy)
    scale = (1 + (x * x + y * y) * np.float32(bend / (cx * cx + cy * cy))) * np.float32(1 / (1 + max(bend, 0.0)))
    x, y = x * scale + np.float32(cx), y * scale + np.float32(cy)
    (a, b, c), (d, e, f) = cv2.invertAffineTransform(affine).astype(np.float32)
    return cv2.remap(image, a * x + b * y + c, d * x + e * y + f, how, borderMode=border, borderValue=outside or 0)


def _affine(from_width: int, from_height: int, size: tuple[int, int], how: Augmentation,
            rng: np.random.Generator) -> NDArray[np.float64]:
    """(2, 3) map from pixels of the cached picture to pixels of the sample; it keeps most of the sample inside the picture."""
    zoom = float(np.exp(rng.uniform(*np.log(how.zoom))))
    angle = rng.uniform(-how.turn_rad, how.turn_rad) if rng.random() < 0.5 else 0.0
    flip = np.array([rng.choice((-1.0, 1.0)), rng.choice((-1.0, 1.0))])
    c, s = np.cos(angle), np.sin(angle)
    linear = zoom * np.array([[c, -s], [s, c]]) * flip[None, :]
    span = np.array([from_width, from_height], dtype=np.float64)
    inside = np.abs(np.linalg.inv(linear)) @ (np.array(size) / 2)  # half extent of the sample in the picture
    room = np.maximum(span / 2 - inside, 0.0)
    centre = span / 2 + rng.uniform(-1, 1, 2) * room
    offset = np.array(size) / 2 - linear @ centre
    return np.column_stack([linear, offset])


def _height(data: CachedSet, index: int, how: Augmentation, rng: np.random.Generator) -> tuple[F32, U8 | None]:
    planes = [plane for plane in data.planes[index] if np.isfinite(plane).all()]
    drop = rng.random() < how.drop_depth
    if drop or not planes:
        return np.zeros((1, 1), np.float32), None
    height, known = data.heights(index, planes[int(rng.integers(len(planes)))])
    return height, known.astype(np.uint8)


def _tint_background(rgb: U8, labels: U8, how: Augmentation, rng: np.random.Generator) -> U8:
    """Recolour what is no package, so that the belt's colour means nothing."""
    if rng.random() > 0.3 * how.colour:
        return rgb
    background = cv2.resize((labels == 0).astype(np.uint8), (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_NEAREST)
    gain, lift = rng.uniform(0.5, 1.4, 3) * rng.uniform(0.6, 1.4), rng.uniform(-20, 60)
    table = np.clip(np.arange(256)[:, None] * gain + lift, 0, 255).astype(np.uint8)
    tinted = cv2.LUT(rgb, table[:, None, :].transpose(1, 0, 2).copy())
    if rng.random() < 0.3:
        tinted = cv2.add(tinted, _cloud(rgb.shape[:2], 40.0, rng, int(rng.integers(4, 60))))
    return np.where(background[..., None] > 0, tinted, rgb)


def _cloud(size: tuple[int, int], strength: float, rng: np.random.Generator, cells: int) -> U8:
    """(H, W, 3) uint8 smooth random texture."""
    small = rng.uniform(0, strength, (max(2, cells * size[0] // size[1]), cells, 3)).astype(np.float32)
    return cv2.resize(small, (size[1], size[0]), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def _pattern(size: tuple[int, int], rng: np.random.Generator) -> F32:
    """(H, W, 3) float32 0..255 random pattern: film, stripes, tiles, blocks, leaves, gravel."""
    h, w = size
    low, high = rng.uniform(0, 255, 3), rng.uniform(0, 255, 3)
    if rng.random() < 0.5:  # most grounds are of one colour
        high = np.clip(low * rng.uniform(0.5, 1.5), 0, 255)
    kind = int(rng.integers(5))
    share: NDArray[Any] = np.zeros((h, w), np.float32)
    if kind == 0:
        for cells in (4, 16, 90):
            few = rng.random((max(2, cells * h // w), cells)).astype(np.float32)
            share += cv2.resize(few, (w, h), interpolation=cv2.INTER_CUBIC) * np.float32(rng.uniform(0, 0.7))
    elif kind in (1, 2):
        turn, pitch = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(6), np.log(160)))
        x = np.arange(w, dtype=np.float32)[None, :] * np.float32(2 * np.pi / pitch)
        y = np.arange(h, dtype=np.float32)[:, None] * np.float32(2 * np.pi / pitch)
        c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        wave = np.sin(c * x + s * y) + np.float32(rng.uniform(-0.98, 0.98))
        if kind == 2:
            wave = np.maximum(wave, np.sin(c * y - s * x) + np.float32(rng.uniform(-0.98, 0.9)))
        share = np.clip(wave * np.float32(rng.uniform(0.5, 8)) + 0.5, 0, 1)
    elif kind == 3:
        cells = int(rng.integers(3, 60))
        few = rng.random((max(2, cells * h // w), cells)).astype(np.float32)
        share = cv2.resize(few, (w, h), interpolation=cv2.INTER_NEAREST)
    else:
        leaf = np.exp(rng.uniform(np.log(4), np.log(26)))
        leaves = np.full((h, w, 3), low * 0.4, np.float32)
        for _ in range(int(min(900, 1.6 * h * w / leaf**2))):
            at = rng.uniform((0, 0), (w, h)).astype(int)
            axes = (max(1, int(leaf * rng.uniform(0.5, 1.0))), max(1, int(leaf * rng.uniform(0.2, 0.6))))
            tone = (low + (high - low) * rng.random()) * rng.uniform(0.4, 1.3)
            cv2.ellipse(leaves, at.tolist(), axes, float(rng.uniform(0, 360)), 0, 360, tone.tolist(), -1)
        return leaves
    return np.asarray(low + (high - low) * share[..., None], np.float32)


def replace_background(rgb: U8, background: NDArray[np.bool_], rng: np.random.Generator) -> U8:
    """Give what is no package another pattern, and keep its fine shading (shadows at the packages' feet).

    Args:
        rgb: (H, W, 3) uint8. background: (H, W) where the pattern goes. rng: choices.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    level = float(np.median(grey[background])) if background.any() else 128.0
    shade = np.clip((grey + 8) / (level + 8), 0.3, 1.4)[..., None] ** np.float32(rng.uniform(0.3, 1.0))
    pattern = np.clip(_pattern(background.shape, rng) * shade, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(0, 5)) if rng.random() < 0.5 else 0):  # seams, painted lines, cables
        ends = rng.uniform(-0.2, 1.2, (2, 2)) * background.shape[::-1]
        ink = rng.integers(0, 256, 3).tolist()
        cv2.line(pattern, ends[0].astype(int).tolist(), ends[1].astype(int).tolist(), ink, int(rng.integers(1, 9)), cv2.LINE_AA)
    if rng.random() < 0.3:
        pattern = cv2.GaussianBlur(pattern, (0, 0), rng.uniform(0.5, 3.0))  # type: ignore[assignment]
    return np.where(background[..., None], pattern, rgb)


def cast_shadow(rgb: U8, rng: np.random.Generator) -> U8:
    """Darken or lighten polygons or bars of the picture, sharp or soft: light has edges that are no packages."""
    h, w = rgb.shape[:2]
    factor = rng.uniform(0.25, 0.8) if rng.random() < 0.75 else rng.uniform(1.15, 1.7)
    mask = np.ones((h, w), np.float32)
    if rng.random() < 0.35:
        turn, pitch = rng.uniform(0, np.pi), rng.uniform(20, 150)
        for k in range(int(rng.integers(2, 12))):
            middle = rng.uniform(0, 30) + (k - 5) * pitch * np.array([-np.sin(turn), np.cos(turn)]) + np.array([w, h]) / 2
            box = cv2.boxPoints(((float(middle[0]), float(middle[1])), (2.0 * (w + h), float(pitch * rng.uniform(0.15, 0.6))),
                                 float(np.degrees(turn))))
            cv2.fillConvexPoly(mask, np.rint(box).astype(np.int32), factor)
    else:
        for _ in range(int(rng.integers(1, 4))):
            count = int(rng.integers(3, 8))
            angles = np.sort(rng.uniform(0, 2 * np.pi, count))
            reach = np.exp(rng.uniform(np.log(30), np.log(400))) * rng.uniform(0.4, 1.0, count)
            corners = rng.uniform((0, 0), (w, h)) + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]
            cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], factor)
    if rng.random() < 0.6:
        mask = cv2.GaussianBlur(mask, (0, 0), float(np.exp(rng.uniform(np.log(0.7), np.log(12)))))  # type: ignore[assignment]
    return cv2.multiply(rgb, np.repeat(mask[..., None], 3, axis=2), dtype=cv2.CV_8U)  # type: ignore[return-value]


def _occlude(rgb: U8, labels: U8, height_m: F32, known: U8 | None, how: Augmentation,
             rng: np.random.Generator) -> tuple[U8, U8, F32, U8 | None]:
    """Lay bars over the picture, most of them from beyond its rim: arms, posts, rails, cables; background for the labels.

    Compact patches would contradict the plain packages among the training data.
    """
    if rng.random() > how.occluders:
        return rgb, labels, height_m, known
    h, w = labels.shape
    for _ in range(int(rng.integers(1, 4))):
        start = rng.uniform((0, 0), (w, h))
        turn = rng.uniform(0, 2 * np.pi)
        length = float(w + h) if rng.random() < 0.8 else float(rng.uniform(20, 100))
        middle = start + 0.5 * length * np.array([np.cos(turn), np.sin(turn)])
        thick = float(np.exp(rng.uniform(np.log(2), np.log(45 if length >= w + h else 10))))
        box = cv2.boxPoints(((float(middle[0]), float(middle[1])), (length, thick), float(np.degrees(turn))))
        on_grid, on_picture = np.rint(box).astype(np.int32), np.rint(box * 2).astype(np.int32)
        colour = rng.integers(0, 256, 3) if rng.random() < 0.5 else np.full(3, rng.integers(0, 256))
        cv2.fillPoly(rgb, [on_picture], [int(c) for c in colour])
        if rng.random() < 0.5:
            cv2.polylines(rgb, [on_picture], True, [int(c) for c in np.clip(colour * 0.6, 0, 255)], int(rng.integers(1, 5)))
        cv2.fillPoly(labels, [on_grid], 0)
        if known is not None:
            cv2.fillPoly(height_m, [on_grid], float(rng.uniform(0.0, 0.4)))
            cv2.fillPoly(known, [on_grid], 1)
    return rgb, labels, height_m, known


def _light(rgb: U8, how: Augmentation, rng: np.random.Generator) -> U8:
    """Exposure, white balance, saturation, gradients of light, blur, noise and compression."""
    k = how.colour
    if k <= 0:
        return rgb
    level = np.arange(256, dtype=np.float32)[:, None] / 255
    gamma = np.exp(rng.uniform(-0.45, 0.45) * k)
    gain = np.exp(rng.uniform(-0.35, 0.35) * k) * np.exp(rng.uniform(-0.15, 0.15, 3) * k)
    contrast = 1 + rng.uniform(-0.3, 0.3) * k
    if rng.random() < 0.12 * k:  # a wrong white balance or a coloured lamp
        gain = gain * np.exp(rng.normal(0, 0.3, 3))
    if rng.random() < 0.12 * k:
        gamma *= np.exp(rng.uniform(-0.6, 0.6))
    table = ((level**gamma) * gain - 0.45) * contrast + 0.45 + rng.uniform(-0.1, 0.1) * k
    rgb = cv2.LUT(rgb, np.clip(table * 255, 0, 255).astype(np.uint8)[None])  # type: ignore[assignment]
    if rng.random() < 0.6 * k:
        rgb = _hue_and_saturation(rgb, rng)
    if rng.random() < 0.3 * k:
        field = rng.uniform(0.55, 1.3, (int(rng.integers(2, 6)), int(rng.integers(2, 6)), 1)).astype(np.float32)
        wide = cv2.resize(field, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_CUBIC)[..., None]
        rgb = cv2.multiply(rgb, np.repeat(wide, 3, axis=2), dtype=cv2.CV_8U)  # type: ignore[assignment]
    blur = rng.random()
    if blur < 0.25 * k:
        rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.4, 1.6))  # type: ignore[assignment]
    elif blur < 0.35 * k:
        length = int(rng.integers(3, 9))
        kernel = np.ones((1, length), np.float32) / length
        rgb = cv2.filter2D(rgb, -1, kernel if rng.random() < 0.5 else kernel.T)  # type: ignore[assignment]
    elif blur < 0.5 * k:
        soft = cv2.GaussianBlur(rgb, (0, 0), 1.2)
        rgb = cv2.addWeighted(rgb, 1.0 + (amount := rng.uniform(0.3, 1.2)), soft, -amount, 0)  # type: ignore[assignment]
    if rng.random() < 0.5 * k:
        sigma = rng.uniform(1, 10)
        noise = np.empty((rgb.shape[0], rgb.shape[1] * 3), np.int16)
        cv2.setRNGSeed(int(rng.integers(1 << 30)))
        cv2.randn(noise, np.zeros(1), np.full(1, sigma))
        rgb = cv2.add(rgb, noise.reshape(rgb.shape), dtype=cv2.CV_8U)  # type: ignore[assignment]
    if rng.random() < 0.25 * k:
        code = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])[1]
        rgb = cv2.imdecode(code, cv2.IMREAD_COLOR)  # type: ignore[assignment]
    return rgb


def _hue_and_saturation(rgb: U8, rng: np.random.Generator) -> U8:
    """Turn colours about the grey axis and stretch them, by one matrix; now and then without any limit."""
    angle = rng.normal(0, 0.35) if rng.random() < 0.8 else rng.uniform(-np.pi, np.pi)
    axis = np.ones(3) / np.sqrt(3)
    turn = cv2.Rodrigues(axis * angle)[0]
    grey = np.full((3, 3), 1 / 3)
    saturation = 0.0 if rng.random() < 0.08 else rng.uniform(0.3, 1.6)
    matrix = (grey + saturation * (np.eye(3) - grey)) @ turn
    return cv2.transform(rgb, matrix.astype(np.float32))  # type: ignore[return-value]


def _worsen_depth(height_m: F32, known: U8, rng: np.random.Generator) -> tuple[F32, U8]:
    """Another calibration, another sensor: tilt, offset, scale, noise, smear and holes."""
    h, w = height_m.shape
    if rng.random() < 0.6:
        slope = rng.normal(0, 0.02, 2)
        x = np.linspace(-0.5, 0.5, w, dtype=np.float32)
        y = np.linspace(-0.5, 0.5, h, dtype=np.float32)
        tilt = (slope[0] * x)[None, :] + (slope[1] * y)[:, None] + rng.normal(0, 0.006)
        height_m = height_m * np.float32(np.exp(rng.normal(0, 0.1))) + tilt.astype(np.float32)
    if rng.random() < 0.3:
        noise = np.empty(height_m.shape, np.float32)
        cv2.setRNGSeed(int(rng.integers(1 << 30)))
        cv2.randn(noise, np.zeros(1), np.full(1, rng.uniform(0.0005, 0.004)))
        height_m = height_m + noise
    if rng.random() < 0.25:
        height_m = np.where(known > 0, cv2.blur(height_m * known, (3, 3)) / np.maximum(cv2.blur(known.astype(np.float32), (3, 3)),
                                                                                    1e-3), 0.0).astype(np.float32)
    if rng.random() < 0.3:
        cells = int(rng.integers(8, 64))
        field = rng.random((max(2, cells * h // w), cells)).astype(np.float32)
        holes = cv2.resize(field, (w, h), interpolation=cv2.INTER_CUBIC) > rng.uniform(0.75, 0.98)
        known = np.where(holes, 0, known).astype(np.uint8)
    return height_m, known

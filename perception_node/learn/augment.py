"""One cached picture becomes one training sample: zoom, turn, crop, light, noise, occluders, worse or no depth.

Everything random comes from the generator that is handed in, so a sample depends on (seed, step, place in the batch) only.
Source of the choice: J. Tobin et al., "Domain randomization", IROS 2017; ranges measured: docs/segmenter.md.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        occluders: probability of patches that are no packages.
    """

    zoom: tuple[float, float] = (0.7, 1.6)
    turn_rad: float = 0.35
    drop_depth: float = 0.5
    colour: float = 1.0
    occluders: float = 0.3


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
    rgb: U8 = cv2.warpAffine(data.rgb[index], affine, size, flags=cv2.INTER_LINEAR,  # type: ignore[assignment]
                             borderMode=cv2.BORDER_REFLECT_101)
    to_half = np.array([[0.5, 0.0, -0.25], [0.0, 0.5, -0.25]])
    half_affine = to_half[:, :2] @ affine
    half_affine[:, 2] += to_half[:, 2]
    labels: U8 = cv2.warpAffine(data.labels[index], half_affine, grid, flags=cv2.INTER_NEAREST,  # type: ignore[assignment]
                                borderValue=CACHE_IGNORE)
    height_m, known = _height(data, index, how, rng)
    double = np.array([[2.0, 0.0, 0.5], [0.0, 2.0, 0.5], [0.0, 0.0, 1.0]])  # grid of the cached picture -> its pixels
    depth_affine = half_affine @ double
    if known is not None:
        height_m = cv2.warpAffine(height_m, depth_affine, grid, flags=cv2.INTER_NEAREST)  # type: ignore[assignment]
        known = cv2.warpAffine(known, depth_affine, grid, flags=cv2.INTER_NEAREST)  # type: ignore[assignment]
    rgb = _tint_background(rgb, labels, how, rng)
    rgb, labels, height_m, known = _occlude(rgb, labels, height_m, known, how, rng)
    rgb = _light(rgb, how, rng)
    if known is None:
        depth = np.zeros((grid[1], grid[0], DEPTH_CHANNELS), np.float32)
    else:
        height_m, known = _worsen_depth(height_m, known, rng)
        depth = encode_height(height_m, known.astype(np.float32))
    return rgb, depth, labels, data.class_ids[index]


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


def _occlude(rgb: U8, labels: U8, height_m: F32, known: U8 | None, how: Augmentation,
             rng: np.random.Generator) -> tuple[U8, U8, F32, U8 | None]:
    """Lay random bars and patches over the picture: arms, tools, posts; background for the labels."""
    if rng.random() > how.occluders:
        return rgb, labels, height_m, known
    h, w = labels.shape
    for _ in range(int(rng.integers(1, 4))):
        centre = rng.uniform((0, 0), (w, h))
        extent = np.exp(rng.uniform(np.log(6), np.log(70), 2))
        box = cv2.boxPoints(((float(centre[0]), float(centre[1])), (float(extent[0]), float(extent[1])),
                             float(rng.uniform(0, 180))))
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
    """Turn colours about the grey axis and stretch them, by one matrix."""
    angle = rng.normal(0, 0.35)
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

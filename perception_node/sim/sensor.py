"""From ideal pictures to what cameras deliver: exposure, noise, blur, JPEG; depth with its faults."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from perception_node.sim import noise
from perception_node.sim.meshes import Array
from perception_node.sim.needs import njit


@dataclass(frozen=True)
class ColourSensor:
    """Settings of a colour camera.

    Attributes:
        exposure: brightness that bright parts of the picture are brought to, 0..1 display.
        white: (3,) gain of each colour.
        gamma: exponent of the display curve (2.2 usual).
        contrast: strength of an S-curve, 0 = none.
        saturation: 1 = as seen.
        vignette: darkening of the corners, 0..1.
        grain: noise deviation in display units at mid grey, 0..255.
        blotch: size of the grain, 0 = per pixel.
        blur_px: deviation of the defocus blur.
        motion_px: length of motion blur, direction in radians.
        motion_rad: direction of the motion blur.
        sharpen: strength of unsharp masking.
        jpeg: quality of the camera's own compression, 0 = none.
    """

    exposure: float = 0.7
    white: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 2.2
    contrast: float = 0.0
    saturation: float = 1.0
    vignette: float = 0.1
    grain: float = 2.0
    blotch: float = 0.0
    blur_px: float = 0.0
    motion_px: float = 0.0
    motion_rad: float = 0.0
    sharpen: float = 0.0
    jpeg: int = 0


def random_colour_sensor(rng: np.random.Generator) -> ColourSensor:
    """A camera drawn from a wide family; most are decent."""
    warm = rng.normal(0, 0.07)
    tint = rng.normal(0, 0.025)
    if rng.random() < 0.08:  # a wrong white balance
        warm, tint = rng.normal(0, 0.25), rng.normal(0, 0.12)
    return ColourSensor(
        exposure=float(np.clip(rng.normal(0.76, 0.12), 0.5, 1.1)),
        white=(1.0 + warm, 1.0 + tint, 1.0 - warm),
        gamma=float(rng.uniform(1.9, 2.5)),
        contrast=float(max(0.0, rng.normal(0.15, 0.2))),
        saturation=float(rng.uniform(0.6, 1.35)) if rng.random() < 0.96 else 0.0,
        vignette=float(max(0.0, rng.normal(0.08, 0.1))),
        grain=float(rng.gamma(1.6, 1.6)),
        blotch=float(rng.choice([0.0, 0.7])),
        blur_px=float(rng.choice([0.0, rng.uniform(0.3, 0.8), rng.uniform(0.6, 1.4)], p=[0.5, 0.4, 0.1])),
        motion_px=float(rng.uniform(1.5, 6)) if rng.random() < 0.08 else 0.0,
        motion_rad=float(rng.uniform(0, np.pi)),
        sharpen=float(rng.uniform(0, 1.0)) if rng.random() < 0.4 else 0.0,
        jpeg=int(rng.integers(45, 95)) if rng.random() < 0.4 else 0,
    )


def expose(linear: Array, sensor: ColourSensor) -> float:
    """Gain that brings bright and middle tones near the wished brightness."""
    grey = linear[::4, ::4].mean(-1)
    bright, middle = np.percentile(grey, [88, 50])
    by_bright = sensor.exposure**sensor.gamma / max(float(bright), 1e-4)
    by_middle = (0.62 * sensor.exposure) ** sensor.gamma / max(float(middle), 1e-4)
    return float(by_bright**0.55 * by_middle**0.45)


def colour_picture(
    linear: Array, sensor: ColourSensor, rng: np.random.Generator, gain: float | None = None
) -> Array:
    """(H, W, 3) uint8 RGB picture of (H, W, 3) linear light; `gain` fixes the exposure (video)."""
    height, width = linear.shape[:2]
    gains = np.asarray(sensor.white, np.float32) * np.float32(gain or expose(linear, sensor))
    image = (linear.reshape(height, -1) * np.tile(gains, width)).reshape(linear.shape)  # long rows: several times quicker
    if sensor.blur_px > 0:
        image = cv2.GaussianBlur(image, (0, 0), sensor.blur_px)
    if sensor.motion_px > 1:
        n = int(np.ceil(sensor.motion_px)) | 1
        kernel = np.zeros((n, n), np.float32)
        dx, dy = np.cos(sensor.motion_rad) * n / 2, np.sin(sensor.motion_rad) * n / 2
        c = n // 2
        cv2.line(kernel, (round(c - dx), round(c - dy)), (round(c + dx), round(c + dy)), 1.0, 1, cv2.LINE_AA)
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    curve = (np.linspace(0, 1, 1025) ** (1.0 / sensor.gamma)).astype(np.float32)
    if sensor.contrast > 0:
        curve = (1 - sensor.contrast) * curve + sensor.contrast * curve * curve * (3 - 2 * curve)
    light = np.linspace(0, 1.6, 1025)
    shoulder = np.where(light > 0.8, 0.8 + 0.2 * np.tanh((light - 0.8) / 0.2), light)
    response = (np.interp(shoulder, np.linspace(0, 1, 1025), curve) * 255.0).astype(np.float32)
    develop(image, response, np.float32(sensor.vignette), np.float32(sensor.saturation))
    if sensor.sharpen > 0:
        soft = cv2.GaussianBlur(image, (0, 0), 1.2)
        image = image + sensor.sharpen * (image - soft)
    tile = noise.bank()["pixel"]
    if sensor.blotch > 0:
        tile = _coarse_grain()
    y, x = (int(v) for v in rng.integers(tile.shape[0], size=2))
    out = np.empty((height, width, 3), np.uint8)
    _finish(image, tile, y, x, np.float32(sensor.grain), out)
    if sensor.jpeg:
        coded = cv2.imencode(".jpg", cv2.cvtColor(out, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, sensor.jpeg])[1]
        delivered: Any = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        cv2.cvtColor(delivered, cv2.COLOR_BGR2RGB, dst=out)
    return out


@lru_cache(maxsize=1)
def _coarse_grain() -> Array:
    """The noise tile with grains of several pixels, same deviation."""
    return np.asarray(cv2.GaussianBlur(noise.bank()["pixel"], (0, 0), 0.7) * np.float32(2.2))


def _grain(rng: np.random.Generator, height: int, width: int) -> Array:
    """(H, W, 3) float32 normal noise from the tile, from a random place."""
    tile = noise.bank()["pixel"]
    if height <= tile.shape[0] // 2 and width <= tile.shape[1] * 3 // 4:
        y = int(rng.integers(tile.shape[0] - height))
        x = int(rng.integers(tile.shape[1] - width))
        return np.asarray(tile[y : y + height, x : x + width])
    y, x = (int(v) for v in rng.integers(tile.shape[0], size=2))
    return noise.repeated(tile, height, width, y, x, tile.shape[0])


def brightest(rgb: Array) -> Array:
    """(H, W) uint8 largest of the three colours."""
    return np.asarray(cv2.max(cv2.max(rgb[..., 0], rgb[..., 1]), rgb[..., 2]))


@njit(cache=True, fastmath=True, error_model="numpy")
def develop(image: Array, response: Array, vignette: Any, saturation: Any) -> None:
    """Linear light (H, W, 3) to display values 0..255, in place, by a response curve over 0..1.6."""
    height, width, _ = image.shape
    top = np.float32(1024.0)
    scale = np.float32(1024.0 / 1.6)
    for y in range(height):
        fy = np.float32(2.0) * np.float32(y) / np.float32(height) - np.float32(1.0)
        for x in range(width):
            fx = np.float32(2.0) * np.float32(x) / np.float32(width) - np.float32(1.0)
            dim = scale * (np.float32(1.0) - vignette * np.float32(0.5) * (fx * fx + fy * fy))
            r = response[int(min(max(image[y, x, 0] * dim, np.float32(0.0)), top))]
            g = response[int(min(max(image[y, x, 1] * dim, np.float32(0.0)), top))]
            b = response[int(min(max(image[y, x, 2] * dim, np.float32(0.0)), top))]
            grey = np.float32(0.299) * r + np.float32(0.587) * g + np.float32(0.114) * b
            image[y, x, 0] = grey + saturation * (r - grey)
            image[y, x, 1] = grey + saturation * (g - grey)
            image[y, x, 2] = grey + saturation * (b - grey)


@njit(cache=True, fastmath=True, error_model="numpy")
def _finish(image: Array, tile: Array, y0: int, x0: int, grain: Any, out: Array) -> None:
    """Adds noise from a tile and rounds to bytes: (H, W, 3) float32 to uint8."""
    height, width, _ = image.shape
    rows, columns, _ = tile.shape
    for y in range(height):
        ty = (y + y0) % rows
        for x in range(width):
            tx = x + x0
            while tx >= columns:
                tx -= columns
            for ch in range(3):
                value = image[y, x, ch] + grain * tile[ty, tx, ch] + np.float32(0.5)
                out[y, x, ch] = np.uint8(min(max(value, np.float32(0.0)), np.float32(255.0)))


@dataclass(frozen=True)
class DepthSensor:
    """Settings of a depth camera.

    The defaults are those of a small stereo camera: 50 mm of baseline, about 800 pixels of focal length, sub-pixel steps
    of 1/32, noise of about 1 mm at 1 m. Source: Intel RealSense D400 series datasheet (337029), depth quality section.

    Attributes:
        baseline_px_m: focal length x baseline (pixel metres), which sets shadows and quantisation.
        noise_m: deviation at 1 m, growing with the square of the range (stereo) or linearly.
        power: exponent of that growth.
        ripple_m: amplitude of slow waves.
        step_px: quantisation in disparity, pixels, 0 = none.
        side: +1 or -1, the side on which shadows fall.
        shadows: whether there is parallax shadow at all (not for coaxial time of flight).
        edge_px: width of the unreliable band at depth edges.
        dropout: share of pixels lost at random.
        blotches: strength of missing patches on film.
        coarse: the sensor's pixels are this many times larger than the colour camera's.
        shift_px: error of its alignment to the colour picture (right, down).
        filled: small holes are closed by the camera's own filter.
    """

    baseline_px_m: float = 40.0
    noise_m: float = 0.001
    power: float = 2.0
    ripple_m: float = 0.001
    step_px: float = 0.03
    side: int = 1
    shadows: bool = True
    edge_px: int = 1
    dropout: float = 0.002
    blotches: float = 1.0
    coarse: int = 1
    shift_px: tuple[float, float] = (0.0, 0.0)
    filled: bool = False


def random_depth_sensor(rng: np.random.Generator) -> DepthSensor:
    """A depth camera drawn from a family of stereo, structured light and time of flight."""
    stereo = rng.random() < 0.75
    return DepthSensor(
        baseline_px_m=float(rng.uniform(18, 60)),
        noise_m=float(rng.uniform(0.0003, 0.0022)),
        power=2.0 if stereo else 1.0,
        ripple_m=float(rng.uniform(0, 0.003)),
        step_px=float(rng.choice([0.0, 0.03125, 0.0625])) if stereo else 0.0,
        side=int(rng.choice([-1, 1])),
        shadows=bool(stereo or rng.random() < 0.3),
        edge_px=int(rng.integers(0, 4)),
        dropout=float(rng.choice([0.0, rng.uniform(0, 0.02)])),
        blotches=float(rng.uniform(0.2, 1.4)),
        coarse=2 if rng.random() < 0.12 else 1,
        shift_px=(float(rng.normal(0, 0.9)), float(rng.normal(0, 0.5))) if rng.random() < 0.3 else (0.0, 0.0),
        filled=bool(rng.random() < 0.12),
    )


@njit(cache=True)
def _shadow(depth: Array, baseline_px_m: float, side: int, out: Array) -> None:
    """Removes what the second eye cannot see: (H, W) float32 depth, out updated to 0 there."""
    height, width = depth.shape
    for r in range(height):
        limit = 1e9
        for n in range(width):
            c = width - 1 - n if side > 0 else n
            z = depth[r, c]
            if z <= 0:
                continue
            x = side * c - baseline_px_m / z
            if x > limit + 0.5:
                out[r, c] = 0.0
            limit = min(limit, x)


def depth_picture(
    depth_m: Array,
    holes: Array,
    sensor: DepthSensor,
    rng: np.random.Generator,
    brightness: Array | None = None,
    pattern: np.random.Generator | None = None,
) -> Array:
    """(H, W) float32 measured depth in metres, 0 = no reading.

    Args:
        depth_m: (H, W) float32 true depth, 0 = nothing there.
        holes: (H, W) float32 tendency to fail, 0..1 (film, polished metal).
        sensor: settings.
        rng: noise.
        brightness: (H, W) uint8 picture; very bright or very dark places fail more; or None.
        pattern: source of the slow waves and patches, to keep them in place in a video; None = `rng`.
    """
    slow = rng if pattern is None else pattern
    height, width = depth_m.shape
    z = depth_m
    if sensor.edge_px > 0:
        soft = cv2.medianBlur(z, 3 if sensor.edge_px < 3 else 5)
        z = np.where(z > 0, soft, z)
    near = cv2.erode(z, np.ones((3, 3), np.uint8))
    far = cv2.dilate(z, np.ones((3, 3), np.uint8))
    pixel = _grain(rng, height, width)
    y, x = (int(v) for v in rng.integers(noise.bank()["pixel"].shape[0], size=2))
    ripple = noise.patch(slow, "soft", height, width, float(slow.uniform(0.4, 1.2)))
    field = noise.patch(slow, "cloud", height, width, float(slow.uniform(0.5, 1.4)))
    drops = noise.patch(rng, "fine", height, width)
    bright = np.full((1, 1), 128, np.uint8) if brightness is None else brightness
    scale = sensor.baseline_px_m / sensor.step_px if sensor.step_px > 0 else 0.0
    numbers = np.array(
        [
            sensor.noise_m, sensor.power, sensor.ripple_m, scale, sensor.edge_px, sensor.blotches,
            3.2 - 60 * sensor.dropout if sensor.dropout > 0 else 1e9,
        ],
        np.float32,
    )  # fmt: skip
    out = np.empty_like(z)
    _measure(z, near, far, pixel, _speckle(), y, x, ripple, field, drops, holes, bright, numbers, out)
    if sensor.shadows:
        _shadow(z, sensor.baseline_px_m, sensor.side, out)
    return _delivered(out, sensor)


def _delivered(depth: Array, sensor: DepthSensor) -> Array:
    """(H, W) float32 after the camera's own filter, resolution and alignment."""
    height, width = depth.shape
    if sensor.filled:
        closed = cv2.medianBlur(cv2.dilate(depth, np.ones((5, 5), np.uint8)), 5)
        depth = np.where(depth > 0, depth, closed)
    if sensor.coarse > 1:
        small = np.ascontiguousarray(depth[:: sensor.coarse, :: sensor.coarse])
        depth = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    if sensor.shift_px != (0.0, 0.0):
        matrix = np.array([[1.0, 0.0, sensor.shift_px[0]], [0.0, 1.0, sensor.shift_px[1]]])
        depth = cv2.warpAffine(depth, matrix, (width, height), flags=cv2.INTER_NEAREST)
    return np.asarray(depth)


@lru_cache(maxsize=1)
def _speckle() -> Array:
    """(S, S) float32 noise with grains of a few pixels, as block matching leaves it."""
    return np.ascontiguousarray(cv2.GaussianBlur(noise.bank()["pixel"][..., 1], (0, 0), 1.3) * np.float32(3.0))


@njit(cache=True, fastmath=True, error_model="numpy")
def _measure(
    z: Array, near: Array, far: Array, pixel: Array, speckle: Array, y0: int, x0: int,
    ripple: Array, field: Array, drops: Array, holes: Array, bright: Array, numbers: Array, out: Array,
) -> None:  # fmt: skip
    """Noise, waves, quantisation, flying pixels and missing patches; see `depth_picture`."""
    height, width = z.shape
    side = speckle.shape[0]
    for r in range(height):
        row = (r + y0) % side
        column = x0 - 1
        for c in range(width):
            column = column + 1 if column + 1 < side else 0
            true = z[r, c]
            out[r, c] = 0.0
            if true <= 0.0:
                continue
            base = max(true, np.float32(0.1))
            sigma = numbers[0] * (base * base if numbers[1] > 1.5 else base)
            grain = speckle[row, column]
            value = true + sigma * (np.float32(0.6) * pixel[r, c, 0] + np.float32(0.8) * grain)
            value += ripple[r, c] * numbers[2]
            if numbers[3] > 0.0:
                value = numbers[3] / max(np.float32(round(numbers[3] / max(value, np.float32(0.1)))), np.float32(1.0))
            if far[r, c] - near[r, c] > np.float32(0.012) + np.float32(0.01) * near[r, c]:
                chance = abs(pixel[r, c, 2])
                if numbers[4] > 0.0 and chance < np.float32(0.45) * min(numbers[4], np.float32(2.0)):
                    continue
                if chance > 0.9:
                    mix = min(max(np.float32(0.5) + np.float32(0.5) * pixel[r, c, 0], np.float32(0.0)), np.float32(1.0))
                    value = near[r, c] * mix + far[r, c] * (np.float32(1.0) - mix)
            if numbers[5] > 0.0:
                fail = holes[r, c] * numbers[5]
                if bright.shape[0] == height:
                    level = np.float32(bright[r, c])
                    glare = min(max((level - np.float32(235.0)) / np.float32(20.0), np.float32(0.0)), np.float32(1.0))
                    dark = max((np.float32(28.0) - level) / np.float32(28.0), np.float32(0.0))
                    fail = fail * (1 + glare + dark) + np.float32(0.12) * glare + np.float32(0.15) * dark
                if field[r, c] * np.float32(0.5) + np.float32(1.35) < fail * np.float32(1.6):
                    continue
            if drops[r, c] > numbers[6] or value < 0.1:
                continue
            out[r, c] = value

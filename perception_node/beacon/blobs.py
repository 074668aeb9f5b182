"""Bright spots of a gray picture with sub-pixel centres and how sure these are.

Threshold and connected components inside windows, then an intensity-weighted middle. OpenCV's SimpleBlobDetector does the same
at many thresholds over the whole picture and weights nothing; docs/results.md compares times and centres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.beacon.limits import ANY, Limits
from perception_node.errors import FrameError

Gray = NDArray[Any]
Window = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, the latter two exclusive."""

MAX_SPOTS = 40
"""Components measured in one window at most, the largest first: a picture full of lights must not stop the clock."""
_ROUND_FROM_PX = 30.0
"""Perimeters of smaller areas say nothing about roundness. Source: 4 pi A / P^2 of a digital disc of 6 px varies by 0.15."""
_SHARE = 0.08
"""Light below this share of a spot's height does not count for its middle: halos of neighbours are there. Source: measured."""
_SHOT = 0.03
"""Variance of shot noise per count of an 8 bit picture. Source: a full well of 8,500 electrons, small pixels (judgement)."""
_GRID_PX = 0.03
"""Error of the middle of a spot of 1 px sigma from the pixel grid and uneven pixels. Source: judgement; measured 0.02."""
_LOPSIDED = 0.006
"""Error of the middle as a share of the spot's diameter, flare and blooming are never quite even. Source: judgement."""
_CELL_PX = 24
"""Background cells; five by five of them hold a 60 px light several times. Source: the largest lights, flare at 0.1 m."""
_FULL_SCALES = (255, 1023, 4095, 16383, 65535)


@dataclass(frozen=True)
class Spot:
    """A bright spot: centre and its standard deviation in px, area above the threshold in px^2, height above the background and
    sum of it in counts, diameter of a disc of that area in px, and whether it saturates."""

    u: float
    v: float
    sigma_px: float
    area_px: float
    peak: float
    flux: float
    saturated: bool

    @property
    def diameter_px(self) -> float:
        """Of a disc of the same area."""
        return float(2.0 * np.sqrt(self.area_px / np.pi))


def check_picture(gray: Any, width: int, height: int) -> Gray:
    """The picture, when it can be used.

    Raises:
        FrameError: not an array (H, W) of uint8 or uint16 in the camera's size.
    """
    if not isinstance(gray, np.ndarray) or gray.ndim != 2 or gray.dtype not in (np.uint8, np.uint16):
        got = f"{gray.shape} {gray.dtype}" if isinstance(gray, np.ndarray) else type(gray).__name__
        raise FrameError(f"picture: expected (H, W) uint8 or uint16, got {got}")
    if gray.shape != (height, width):
        raise FrameError(f"picture is {gray.shape[1]}x{gray.shape[0]}, the calibration says {width}x{height}")
    return gray


def full_scale(gray: Gray, at_least: int = 255) -> int:
    """Value at which the picture saturates: 255, or the smallest usual one of a uint16 picture that holds its largest value."""
    if gray.dtype == np.uint8:
        return 255
    largest = max(int(gray.max()), at_least)
    return next(value for value in _FULL_SCALES if value >= largest)


def find_spots(gray: Gray, windows: Sequence[Window], limits: Limits, top: int, peak: float | None = None) -> list[Spot]:
    """Spots within windows that keep the limits.

    Args:
        gray: (H, W) uint8 or uint16. windows: where to look; they must not overlap. limits: what a spot must be like.
        top: full scale. peak: expected height above the background; None = the window's brightest pixel.

    Returns:
        In no particular order. Spots that a window or the picture cuts off are left out.
    """
    found: list[Spot] = []
    for x0, y0, x1, y1 in windows:
        crop = gray[y0:y1, x0:x1]
        if min(crop.shape) < 5:
            continue
        base, noise = _background(crop)
        height = float(cv2.minMaxLoc(crop)[1]) - base if peak is None else min(peak, top - base)
        threshold = base + max(limits.level * height, 5.0 * noise + 2.0 * top / 255.0)
        found += _measure(crop, crop, x0, y0, threshold, noise, limits, top)
    return found


def search_spots(gray: Gray, top: int) -> list[Spot]:
    """Spots of the whole picture when nothing is known.

    The background, median over some hundred pixels, is taken away: a light in a bright corner counts as one in a dark corner,
    and sun patches vanish. Three thresholds, so that dim lights beside bright ones are found; a spot found at several is kept as
    the lowest one shows it: there most of its light counts.
    """
    height, width = gray.shape
    small = cv2.resize(gray, (max(width // _CELL_PX, 1), max(height // _CELL_PX, 1)), interpolation=cv2.INTER_AREA)
    ground = cv2.resize(cv2.medianBlur(small, 5), (width, height), interpolation=cv2.INTER_LINEAR)
    light = cv2.subtract(gray, ground)
    step = max(1, int(np.sqrt(gray.size / 20_000)))
    sample = np.abs(gray[::step, ::step].astype(np.float32) - ground[::step, ::step]).ravel()
    middle = len(sample) // 2
    noise = max(float(np.partition(sample, middle)[middle]) / 0.6745, 0.5)
    above = float(cv2.minMaxLoc(light)[1])
    kept: list[Spot] = []
    for level in (0.08, 0.25, 0.6):
        threshold = max(level * above, 6.0 * noise + 3.0 * top / 255.0)
        for spot in _measure(gray, light, 0, 0, threshold, noise, ANY, top):
            if all(abs(spot.u - other.u) + abs(spot.v - other.v) > 3.0 + 0.5 * other.diameter_px for other in kept):
                kept.append(spot)
    return kept


def _background(crop: Gray) -> tuple[float, float]:
    """Median and standard deviation (from the quartiles) of a sample of the pixels. Source: 1.349 sigma between the quartiles."""
    step = max(1, int(np.sqrt(crop.size / 4000)))
    sample = crop[::step, ::step].ravel()
    k = len(sample)
    low, middle, high = np.partition(sample, (k // 4, k // 2, 3 * k // 4))[[k // 4, k // 2, 3 * k // 4]].astype(float)
    return middle, max((high - low) / 1.349, 0.5)


def _measure(crop: Gray, light: Gray, left: int, upper: int, threshold: float, noise: float, limits: Limits, top: int,
             ) -> list[Spot]:
    """Spots of a crop, where `light` (the crop itself, or without its background) exceeds the threshold."""
    mask: Any = cv2.compare(light, math.floor(threshold), cv2.CMP_GT)  # type: ignore[call-overload]
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)
    height, width = crop.shape
    x, y, w, h, area = stats.T
    good = (area >= limits.area_px[0]) & (area <= limits.area_px[1]) & (x > 0) & (y > 0) & (x + w < width) & (y + h < height)
    good[0] = False
    numbers = np.flatnonzero(good)
    if len(numbers) > MAX_SPOTS:
        numbers = numbers[np.argsort(area[numbers])[::-1][:MAX_SPOTS]]
    spots = []
    for number in numbers:
        spot = _one(crop, labels, int(number), stats[number], noise, limits, top)
        if spot is not None:
            spots.append(replace(spot, u=spot.u + left, v=spot.v + upper))
    return spots


def _one(crop: Gray, labels: NDArray[np.int32], number: int, stat: NDArray[np.int32], noise: float, limits: Limits, top: int,
         ) -> Spot | None:
    """Measure one component; None when it is not round enough."""
    x, y, w, h, area = (int(n) for n in stat)
    margin = 3 + max(w, h) // 3
    x0, y0 = max(x - margin, 0), max(y - margin, 0)
    x1, y1 = min(x + w + margin, crop.shape[1]), min(y + h + margin, crop.shape[0])
    own = labels[y0:y1, x0:x1]
    light = crop[y0:y1, x0:x1].astype(np.float32)
    edge = np.concatenate([light[0], light[-1], light[:, 0], light[:, -1]])
    base = float(np.partition(edge, len(edge) // 2)[len(edge) // 2])
    peak = float(cv2.minMaxLoc(light[y - y0 : y - y0 + h, x - x0 : x - x0 + w])[1]) - base
    if peak <= 0:
        return None
    light -= base + max(_SHARE * peak, 2.0 * noise)
    weight = np.maximum(light, np.float32(0.0))
    if (own > 0).sum() > area:
        weight[(own > 0) & (own != number)] = 0.0
    along_x, along_y = weight.sum(axis=0, dtype=np.float64), weight.sum(axis=1, dtype=np.float64)
    total = float(along_x.sum())
    if total <= 0:
        return None
    us, vs = np.arange(x0, x1), np.arange(y0, y1)
    u, v = float(along_x @ us) / total, float(along_y @ vs) / total
    du, dv = us - u, vs - v
    uu, vv = float(along_x @ (du * du)) / total, float(along_y @ (dv * dv)) / total
    uv = float(dv @ (weight @ du)) / total
    root = np.sqrt((uu - vv) ** 2 + 4 * uv * uv)
    if (uu + vv - root) < limits.inertia * (uu + vv + root):
        return None
    if area >= _ROUND_FROM_PX and _circularity(own[y - y0 : y - y0 + h, x - x0 : x - x0 + w] == number, area) < limits.circularity:
        return None
    # Source: error of a weighted mean, var = sum(var_i (x_i - x)^2) / (sum w)^2, with background and shot noise.
    spread = uu + vv
    support = max(float(cv2.countNonZero(weight)), 1.0)
    variance = (noise**2 * support + _SHOT * (top / 255.0) * total) * spread / 2 / total**2
    across = 2.0 * np.sqrt(area / np.pi)
    lopsided = _LOPSIDED * max(across - 4.0, 0.0)
    sigma = math.sqrt(variance + _GRID_PX**2 + lopsided**2)
    return Spot(u, v, sigma, float(area), peak, total, bool(peak + base >= top))


def _circularity(mask: NDArray[np.bool_], area: float) -> float:
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    perimeter = max((cv2.arcLength(line, True) for line in outlines), default=0.0)
    return 4.0 * np.pi * area / max(perimeter, 1.0) ** 2

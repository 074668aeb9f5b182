"""Which spot is which LED, without a prediction: every way in which spots and LEDs can fit is tried, the good ones are returned."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perception_node.beacon.blobs import Spot
from perception_node.beacon.layout import Layout
from perception_node.beacon.settings import BeaconSettings
from perception_node.beacon.solve import Fit, refine, three_point_poses
from perception_node.geometry import pixel_rays
from perception_node.types import F64, CameraModel

MAX_CANDIDATES = 11
"""Spots that take part in a search; the time grows with its third power. Source: measured, 11 take 20 ms."""
MAX_RANGE_M = 20.0
MIN_FACING = 0.17
"""Cosine of the largest angle at which the beacon is seen: 80 degrees, LEDs shine no further. Source: judgement."""
WORSE = 60.0
"""A solution whose chi-square is worse than the best by more is none. Source: tracker.GIVE_UP, the same for later pictures."""
_TRY = 16
_NEAR_PX, _NEAR_SHARE = 2.5, 0.04
"""How far a projected LED may be from its spot before refinement: px, or a share of the beacon's size in the picture."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Spots as the solver wants them.

    Attributes:
        pixels, rays: (N, 2) centres in px, and as normalised undistorted coordinates.
        sigma, radial: (N,) standard deviations (normalised): of a coordinate; of what all centres are off outwards alike.
        focal_px: pixels per normalised unit. led_sigma_m: where an LED's light comes from. spots: themselves.
    """

    pixels: F64
    rays: F64
    sigma: F64
    radial: F64
    focal_px: float
    led_sigma_m: float
    spots: tuple[Spot, ...]


@dataclass(frozen=True, eq=False)
class Solution:
    """A pose and which spot is which LED: `spot_of[led]` is the spot's number, -1 = hidden."""

    fit: Fit
    spot_of: tuple[int, ...]


def measured(spots: Sequence[Spot], camera: CameraModel, settings: BeaconSettings) -> Measured:
    """Centres of spots as rays, with their uncertainties."""
    pixels = np.array([(spot.u, spot.v) for spot in spots]).reshape(-1, 2)
    focal = float(np.sqrt(camera.fx * camera.fy))
    sigma = np.array([np.hypot(spot.sigma_px, settings.centre_sigma_px) for spot in spots]) / focal
    radial = np.array([settings.flare_lean * max(spot.diameter_px - 4.0, 0.0) if spot.saturated else 0.0 for spot in spots]) / focal
    return Measured(pixels, pixel_rays(camera, pixels)[:, :2], sigma, radial, focal, settings.led_sigma_m, tuple(spots))


def fit_lights(T: F64, spot_of: Sequence[int], data: Measured, layout: Layout) -> Fit | None:
    """The pose near T under which the LEDs are where their spots say; None with fewer than three, or when there is none."""
    leds = [led for led, n in enumerate(spot_of) if n >= 0]
    if len(leds) < 3:
        return None
    used = [n for n in spot_of if n >= 0]
    sigma = np.sqrt(data.sigma[used] ** 2 + (data.led_sigma_m / max(float(T[2, 3]), 0.02)) ** 2)
    return refine(T, layout.leds_m[leds], data.rays[used], sigma, data.radial[used])


def candidates(spots: Sequence[Spot]) -> list[Spot]:
    """The spots that a search considers: those whose brightness has the most company, since the LEDs of a beacon are alike."""
    if len(spots) <= MAX_CANDIDATES:
        return list(spots)
    flux = np.log([spot.flux for spot in spots])
    company = np.exp(-0.5 * ((flux[:, None] - flux[None]) / 0.5) ** 2).sum(axis=1)
    order = np.lexsort((-flux, -np.round(company, 1)))
    return [spots[k] for k in order[:MAX_CANDIDATES]]


def identify(data: Measured, layout: Layout, *, max_roll_rad: float, max_chi2: float) -> list[Solution]:
    """All poses that the spots allow, best first; empty when there are none.

    Four LEDs must all be seen; of more, one may be hidden.

    Args:
        max_roll_rad: largest turn of the beacon about its z, see `roll_rad`. max_chi2: per degree of freedom.
    """
    least = max(layout.count - 1, 4)
    if len(data.spots) < least:
        return []
    for base in layout.bases:
        found = _from_base(data, layout, base, least, max_roll_rad, max_chi2)
        if found:
            return found
    return []


def roll_rad(T: F64) -> float:
    """Turn of the beacon about the line of sight: 0 when its x points to the right in the picture."""
    return float(np.arctan2(T[1, 0], T[0, 0]))


def plausible(T: F64, max_roll_rad: float) -> bool:
    """Before the camera, seen from the side to which the lights shine, not turned more than allowed."""
    centre = T[:3, 3]
    distance = float(np.linalg.norm(centre))
    facing = -float(T[:3, 2] @ centre) / max(distance, 1e-9)
    return bool(centre[2] > 0.02 and distance < MAX_RANGE_M and facing > MIN_FACING and abs(roll_rad(T)) <= max_roll_rad)


def _from_base(data: Measured, layout: Layout, base: tuple[int, int, int], least: int, max_roll_rad: float, max_chi2: float,
               ) -> list[Solution]:
    corners = layout.leds_m[list(base)]
    outward = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    outward /= np.linalg.norm(outward)
    turning = 0.0 if abs(outward[2]) < 0.94 else float(np.sign(outward[2]))  # the way round in the picture is known
    poses, firsts = [], []
    for triple in itertools.permutations(range(len(data.spots)), 3):
        rays = data.rays[list(triple)]
        (ax, ay), (bx, by) = rays[1] - rays[0], rays[2] - rays[0]
        if turning * (ax * by - ay * bx) > 0:  # the picture's y points down: seen from the front the way round is reversed
            continue
        for T in three_point_poses(corners, rays):
            if plausible(T, np.pi):
                poses.append(T)
                firsts.append(triple)
    if not poses:
        return []
    return _verify(data, layout, base, np.array(poses), np.array(firsts), least, max_roll_rad, max_chi2)


def _verify(data: Measured, layout: Layout, base: tuple[int, int, int], poses: F64, firsts: np.ndarray, least: int,
            max_roll_rad: float, max_chi2: float) -> list[Solution]:
    """Keep the poses under which the other LEDs meet spots, too; refine the best of them."""
    points = np.einsum("nij,kj->nki", poses[:, :3, :3], layout.leds_m) + poses[:, None, :3, 3]
    ahead = (points[..., 2] > 0.01).all(axis=1)
    flat = points[..., :2] / np.where(points[..., 2:] > 0.01, points[..., 2:], 1.0)
    gaps = np.linalg.norm(flat[:, :, None] - data.rays[None, None], axis=3)
    size = np.linalg.norm(flat - flat.mean(axis=1, keepdims=True), axis=2).max(axis=1)
    near = np.maximum(_NEAR_PX / data.focal_px, _NEAR_SHARE * size)
    nearest, distance = gaps.argmin(axis=2), gaps.min(axis=2)
    nearest[distance > near[:, None]] = -1
    nearest[:, list(base)] = firsts
    seen = (nearest >= 0).sum(axis=1)
    score = np.where(distance > near[:, None], near[:, None], distance).sum(axis=1) / near
    solutions: dict[tuple[int, ...], Solution] = {}
    tried = 0
    for k in np.lexsort((score, -seen)):
        spot_of = tuple(int(n) for n in nearest[k])
        used = [n for n in spot_of if n >= 0]
        if seen[k] < least or tried >= 4 * _TRY:
            break
        if not ahead[k] or len(set(used)) < len(used):
            continue
        tried += 1
        fit = fit_lights(poses[k], spot_of, data, layout)
        if fit is None or not plausible(fit.T, max_roll_rad) or fit.chi2 > max_chi2 * (2 * len(used) - 6):
            continue
        known = solutions.get(spot_of)
        if known is None or fit.chi2 < known.fit.chi2:
            solutions[spot_of] = Solution(fit, spot_of)
        if len(solutions) >= _TRY:
            break
    ranked = sorted(solutions.values(), key=lambda s: (-sum(n >= 0 for n in s.spot_of), s.fit.chi2))
    if not ranked:
        return []
    most = sum(n >= 0 for n in ranked[0].spot_of)
    return [s for s in ranked if sum(n >= 0 for n in s.spot_of) == most and s.fit.chi2 - ranked[0].fit.chi2 < WORSE]

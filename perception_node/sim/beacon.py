"""Pictures of an infrared LED beacon as a camera delivers them, made from light and optics, with the true pose.

Built apart from the solver (`perception_node/beacon`): its own projection and distortion, extended sources in place of points,
and a lens and a sensor that do what real ones do. In this order: each LED is a small disc of even radiance that shines mostly
along the beacon's z; its points are projected along the exposure (motion blur, perspective of the disc); the lens spreads the
light (core and two wings: bloom), adds a rectangular flare at close range and a ghost mirrored at the principal point; the
floor reflects; other lamps and sun patches shine; the sensor adds shot, read and row noise and hot pixels, saturates and
quantises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.geometry import transform_points
from perception_node.types import F32, F64, CameraModel

PoseAt = Callable[[float], F64]
"""Time in seconds -> (4, 4) T_cam_beacon."""

_CORE_SHARE, _WINGS = 0.92, ((0.055, 4.0), (0.025, 13.0))
"""Light in the core of the point spread, and (share, sigma in px) of its wings. Source: the shape, a core with wings that fall
over some ten pixels, is that of cheap lenses with a dusty front (judgement; no particular lens)."""

_DISC_POINTS = 240


@dataclass(frozen=True)
class Optics:
    """The lens.

    Attributes:
        psf_sigma_px: of the core of the point spread.
        flare_below_m: from this range on towards the camera the spots turn into rectangles; 0 = never.
        flare_px: half side of a rectangle at half of that range, in px. flare_aspect: width / height. flare_turn_rad: its turn.
        flare_shift: how far its middle is off the light, radially, as a share of its half side.
        ghost: brightness of the mirrored ghost as a share of the light.
        miscalibrated_px: root mean square of what the lens does besides its calibration, a smooth field over the picture.
    """

    psf_sigma_px: float = 1.0
    flare_below_m: float = 0.6
    flare_px: float = 8.0
    flare_aspect: float = 1.4
    flare_turn_rad: float = 0.1
    flare_shift: float = 0.03
    ghost: float = 2e-4
    miscalibrated_px: float = 0.04


@dataclass(frozen=True)
class Sensor:
    """The sensor.

    Attributes:
        bits: 8 gives uint8, more give uint16. exposure_s: time that the shutter is open, the stamp is its middle.
        full_well: electrons at full scale. read_noise: electrons. row_noise: electrons, common to a row.
        ambient: mean brightness of the surroundings as a share of full scale. hot_pixels: their number.
        uneven: standard deviation of the pixels' sensitivity.
    """

    bits: int = 8
    exposure_s: float = 0.002
    full_well: float = 10_000.0
    read_noise: float = 20.0
    row_noise: float = 6.0
    ambient: float = 0.06
    hot_pixels: int = 40
    uneven: float = 0.01


@dataclass(frozen=True)
class Lamp:
    """A light that is not the beacon's: position in the beacon's frame, radius and brightness (1 = as an LED of the beacon)."""

    position_m: tuple[float, float, float]
    radius_m: float
    brightness: float


@dataclass(frozen=True, eq=False)
class BeaconScene:
    """What stands before the camera.

    Attributes:
        leds_m: (N, 3) in the beacon's frame. radius_m: of an LED. brightness: (N,) relative to each other.
        power: flux of one LED at 1 m, in full scales summed over its pixels.
        lamps, sun: other lamps; (K, P, 3) corners of sun patches in the beacon's frame.
        floor_m: y of a glossy floor in the beacon's frame (None = none). floor_gain: share that it reflects.
        hidden: LEDs that something covers.
        plate_m: half side of the square plate at z = 0 that carries the LEDs and hides what lies behind it; 0 = an open frame.
        uneven: (N, 2) slope of each LED's radiance across its disc, 0.2 = 20 % brighter at one edge than in the middle.
    """

    leds_m: F64
    radius_m: float = 0.0018
    brightness: tuple[float, ...] = ()
    power: float = 45.0
    lamps: tuple[Lamp, ...] = ()
    sun: tuple[F64, ...] = ()
    floor_m: float | None = None
    floor_gain: float = 0.15
    hidden: frozenset[int] = frozenset()
    plate_m: float = 0.0
    uneven: F64 | None = None


class BeaconCamera:
    """Takes pictures of a scene; the same seed gives the same pictures."""

    def __init__(self, camera: CameraModel, optics: Optics, sensor: Sensor, seed: int) -> None:
        self.camera, self.optics, self.sensor = camera, optics, sensor
        self._rng = np.random.default_rng(seed)
        size = (camera.height, camera.width)
        rough = self._rng.standard_normal((size[0] // 64 + 2, size[1] // 64 + 2)).astype(np.float32)
        soft = cv2.resize(rough, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
        fine = cv2.GaussianBlur(self._rng.standard_normal(size).astype(np.float32), (0, 0), 1.5)
        slope = np.linspace(-0.3, 0.3, size[1], dtype=np.float32)[None]
        self._ambient = np.clip(sensor.ambient * (1.0 + 0.25 * soft + 0.15 * fine + slope), 0.0, None).astype(np.float32)
        self._noise = self._rng.standard_normal((size[0] + 97, size[1] + 101)).astype(np.float32)
        self._field = self._rng.standard_normal((2, 6))
        self._gain = (1.0 + sensor.uneven * self._rng.standard_normal(size)).astype(np.float32)
        hot = self._rng.integers(0, size[0] * size[1], sensor.hot_pixels)
        self._ambient.ravel()[hot] += self._rng.uniform(0.1, 0.9, len(hot)).astype(np.float32)

    def take(self, scene: BeaconScene, pose_at: PoseAt, stamp_s: float) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """(H, W) picture whose exposure has its middle at `stamp_s`."""
        light = self._ambient.copy()
        poses = self._poses(scene, pose_at, stamp_s)
        middle = poses[len(poses) // 2]
        for patch in scene.sun:
            self._sunlight(light, patch, middle)
        if scene.plate_m:
            self._shade(light, scene.plate_m, middle)
        for lamp in scene.lamps:
            if scene.plate_m and _behind(np.array(lamp.position_m), lamp.radius_m + scene.plate_m, middle):
                continue
            self._add(light, np.array(lamp.position_m), lamp.radius_m, lamp.brightness * scene.power, poses, beam=False)
        shine = scene.brightness or (1.0,) * len(scene.leds_m)
        for index, led in enumerate(scene.leds_m):
            if index in scene.hidden:
                continue
            self._add(light, led, scene.radius_m, shine[index] * scene.power, poses, beam=True,
                      uneven=None if scene.uneven is None else scene.uneven[index])
            if scene.floor_m is not None:
                mirrored = led * (1, -1, 1) + (0.0, 2.0 * scene.floor_m, 0.0)
                self._add(light, mirrored, 2.5 * scene.radius_m, shine[index] * scene.power * scene.floor_gain, poses, beam=True)
        return self._sense(light)

    def _poses(self, scene: BeaconScene, pose_at: PoseAt, stamp_s: float) -> list[F64]:
        """Poses along the exposure, so many that the lights move by less than a pixel between two of them."""
        half = self.sensor.exposure_s / 2
        ends = [self.project(transform_points(pose_at(t), scene.leds_m)) for t in (stamp_s - half, stamp_s + half)]
        moved = float(np.nanmax(np.abs(ends[1] - ends[0]), initial=0.0))
        count = int(np.clip(np.ceil(moved), 1, 24))
        return [pose_at(stamp_s + half * (2 * (k + 0.5) / count - 1)) for k in range(count)]

    def project(self, points: F64) -> F64:
        """(N, 2) pixels of (N, 3) points of the camera's frame, NaN behind it. Source: the Brown-Conrady lens model."""
        z = np.where(points[:, 2] > 0.02, points[:, 2], np.nan)
        x, y = points[:, 0] / z, points[:, 1] / z
        k1, k2, p1, p2, k3 = (*self.camera.distortion[:5], 0.0, 0.0, 0.0, 0.0, 0.0)[:5]
        r2 = x * x + y * y
        radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
        u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
        pixels = np.column_stack([self.camera.fx * u + self.camera.cx, self.camera.fy * v + self.camera.cy])
        across, down = 2 * pixels[:, 0] / self.camera.width - 1, 2 * pixels[:, 1] / self.camera.height - 1
        waves = np.column_stack([across, down, across * down, across**2 - 0.33, down**2 - 0.33, np.sin(5 * across + 4 * down)])
        off: F64 = pixels + self.optics.miscalibrated_px * 0.7 * waves @ self._field.T
        return off

    def _add(self, light: F32, place: F64, radius_m: float, power: float, poses: list[F64], *, beam: bool,
             uneven: F64 | None = None) -> None:
        """Add one disc-shaped light with everything that the lens makes of it. `beam`: shines along +z of the beacon only."""
        turn = np.arange(_DISC_POINTS) * 2.399963
        spread = radius_m * np.sqrt((np.arange(_DISC_POINTS) + 0.5) / _DISC_POINTS)
        share = np.ones(_DISC_POINTS)
        if uneven is not None:
            share += np.sqrt((np.arange(_DISC_POINTS) + 0.5) / _DISC_POINTS) * (uneven[0] * np.cos(turn) + uneven[1] * np.sin(turn))
        disc = place + np.column_stack([spread * np.cos(turn), spread * np.sin(turn), np.zeros(_DISC_POINTS)])
        pixels = np.concatenate([self.project(transform_points(pose, disc)) for pose in poses])
        middle = transform_points(poses[len(poses) // 2], place[None])[0]
        if not np.isfinite(pixels).all() or middle[2] <= 0.03:
            return
        range_m = float(np.linalg.norm(middle))
        towards = -poses[len(poses) // 2][:3, 2] @ middle / range_m
        # Source: an LED with a lens of 60 degrees half angle shines with the cosine of the angle; power falls with the square.
        flux = power / range_m**2 * (max(towards, 0.0) if beam else 1.0)
        if flux < 0.05:
            return
        shares = np.tile(share, len(poses))
        spot = self._spot(pixels, shares, flux)
        _paste(light, *spot)
        centre = pixels.mean(axis=0)
        self._flare(light, centre, range_m, flux)
        if self.optics.ghost * flux > 0.5:
            mirror = np.array([2 * self.camera.cx - centre[0], 2 * self.camera.cy - centre[1]])
            ghost = self._spot(mirror + 2.0 * (pixels - centre), shares, flux * self.optics.ghost)
            _paste(light, *ghost)

    def _spot(self, pixels: F64, shares: F64, flux: float) -> tuple[F32, int, int]:
        """Image of a light, spread by the lens: patch, and the column and row of its corner."""
        margin = 42
        low = np.floor(pixels.min(axis=0)).astype(int) - margin
        high = np.ceil(pixels.max(axis=0)).astype(int) + margin
        patch = np.zeros((high[1] - low[1], high[0] - low[0]), np.float32)
        u, v = (pixels - low).T
        column, row = np.floor(u).astype(int), np.floor(v).astype(int)
        du, dv = u - column, v - row
        for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):
            weight = (du if right else 1 - du) * (dv if below else 1 - dv)
            np.add.at(patch, (row + below, column + right), weight * shares)
        patch *= flux / float(shares.sum())
        spread = _CORE_SHARE * cv2.GaussianBlur(patch, (0, 0), self.optics.psf_sigma_px)
        for share, sigma in _WINGS:
            spread += share * cv2.GaussianBlur(patch, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
        return spread, int(low[0]), int(low[1])

    def _flare(self, light: F32, centre: F64, range_m: float, flux: float) -> None:
        """The rectangle that bright spots become at close range: it grows as the light comes nearer, its edges are soft."""
        optics = self.optics
        if range_m >= optics.flare_below_m:
            return
        closeness = optics.flare_below_m / range_m - 1.0
        half = np.array([1.0, 1.0 / optics.flare_aspect]) * optics.flare_px * closeness**0.7
        out = centre - (self.camera.cx, self.camera.cy)
        centre = centre + optics.flare_shift * half[0] * out / max(float(np.linalg.norm(out)), 1.0)
        reach = int(np.ceil(1.5 * half[0])) + 6
        low = np.floor(centre).astype(int) - reach
        rows, columns = np.mgrid[0 : 2 * reach + 1, 0 : 2 * reach + 1]
        x, y = columns + low[0] - centre[0], rows + low[1] - centre[1]
        c, s = np.cos(optics.flare_turn_rad), np.sin(optics.flare_turn_rad)
        edge = 1.5
        inside = [1.0 / (1.0 + np.exp((np.abs(along) - side) / (edge / 2)))
                  for along, side in ((c * x + s * y, half[0]), (c * y - s * x, half[1]))]
        level = min(0.02 * flux, 6.0) * min(closeness * 4.0, 1.0)
        _paste(light, (level * inside[0] * inside[1]).astype(np.float32), int(low[0]), int(low[1]))

    def _sunlight(self, light: F32, corners: F64, pose: F64) -> None:
        pixels = self.project(transform_points(pose, corners))
        if not np.isfinite(pixels).all() or np.abs(pixels).max() > 20_000:
            return
        mask = np.zeros(light.shape, np.uint8)
        cv2.fillPoly(mask, [np.round(pixels * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        x, y, w, h = cv2.boundingRect(np.round(pixels).astype(np.int32))
        x0, y0, x1, y1 = max(x - 8, 0), max(y - 8, 0), min(x + w + 8, light.shape[1]), min(y + h + 8, light.shape[0])
        if x0 < x1 and y0 < y1:
            light[y0:y1, x0:x1] += 1.6 * cv2.GaussianBlur(mask[y0:y1, x0:x1].astype(np.float32) / 255, (0, 0), 2.0)

    def _shade(self, light: F32, half_m: float, pose: F64) -> None:
        """The plate: as dark as the rest, without what shines behind it."""
        corners = self.project(transform_points(pose, half_m * np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])))
        if np.isfinite(corners).all() and np.abs(corners).max() < 20_000:
            mask = np.zeros(light.shape, np.uint8)
            cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
            np.copyto(light, self._ambient, where=mask > 0)

    def _sense(self, light: F32) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Electrons to numbers."""
        sensor, (height, width) = self.sensor, light.shape
        row, column = int(self._rng.integers(97)), int(self._rng.integers(101))
        noise = self._noise[row : row + height, column : column + width]
        electrons = cv2.multiply(np.minimum(light, np.float32(4.0)), self._gain, scale=sensor.full_well)
        deviation = cv2.sqrt(electrons + np.float32(sensor.read_noise**2))
        electrons = cv2.add(electrons, cv2.multiply(deviation, noise))
        electrons += (sensor.row_noise * self._rng.standard_normal((height, 1))).astype(np.float32)
        top = float(2**sensor.bits - 1)
        counts = np.clip(electrons * np.float32(top / sensor.full_well) + np.float32(0.5), 0.0, top)
        picture: NDArray[np.uint8] | NDArray[np.uint16] = counts.astype(np.uint8 if sensor.bits == 8 else np.uint16)
        return picture


def _behind(place: F64, half_m: float, pose: F64) -> bool:
    """Does the way from the camera to a place in the beacon's frame cross the plate z = 0 within half a side?"""
    camera = -pose[:3, :3].T @ pose[:3, 3]
    if place[2] >= 0.0 or camera[2] <= 0.0:
        return False
    crossing = camera + (place - camera) * camera[2] / (camera[2] - place[2])
    return bool(np.abs(crossing[:2]).max() < half_m)


def _paste(light: F32, patch: F32, column: int, row: int) -> None:
    """Add a patch, as far as it lies within the picture."""
    x0, y0 = max(column, 0), max(row, 0)
    x1, y1 = min(column + patch.shape[1], light.shape[1]), min(row + patch.shape[0], light.shape[0])
    if x0 < x1 and y0 < y1:
        light[y0:y1, x0:x1] += patch[y0 - row : y1 - row, x0 - column : x1 - column]

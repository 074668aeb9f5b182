"""Docking runs towards an LED beacon: a camera comes nearer on a shaky path, between lamps, sun patches and reflections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.geometry import transform_points
from perception_node.sim.beacon import BeaconCamera, BeaconScene, Lamp, Optics, PoseAt, Sensor
from perception_node.types import F64, CameraModel

CAMERA = CameraModel(fx=1000.0, fy=1000.0, cx=639.5, cy=511.5, width=1280, height=1024, distortion=(-0.08, 0.02, 0.0005, -0.0003))
"""The camera of the benchmark: f = 1000 px, 1280x1024, with some distortion."""

_SIDE_M = 0.05
RAISED = np.array([[-_SIDE_M, -_SIDE_M, 0.0], [_SIDE_M, -_SIDE_M, 0.0], [_SIDE_M, _SIDE_M, 0.0], [-_SIDE_M, _SIDE_M, 0.04]])
"""Four LEDs: a square of 10 cm, one of them raised by 4 cm."""
SQUARE = RAISED * (1.0, 1.0, 0.0)
"""The same, flat: it looks the same after a quarter turn."""
FLAT = SQUARE + np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.035, -0.01, 0.0]])
"""Flat, and one LED moved along the plane, so that each light can be told."""
FIVE = np.vstack([RAISED, [0.02, 0.0, 0.02]])
"""The square with the raised LED and a fifth one."""


EIGHT = np.vstack([RAISED, 0.36 * RAISED[:, [1, 0, 2]] * (1, -1, 1) + (0.004, 0.0, 0.0)])
"""The square with the raised LED and a small copy of it inside, which stays in sight at 0.1 m."""

PLACEMENT_M = 0.00003
"""Standard deviation of where an LED really is. Source: chip placers promise 0.05 to 0.1 mm at 3 sigma."""
UNEVEN = 0.15
"""Largest slope of an LED's radiance across its disc."""


@dataclass(frozen=True, eq=False)
class BeaconFrame:
    """One picture and its truth: (H, W) gray, stamp in ns, (4, 4) T_cam_beacon at the middle of the exposure, and (N, 2) pixels
    of the lights then."""

    gray: NDArray[np.uint8] | NDArray[np.uint16]
    stamp_ns: int
    T_cam_beacon: F64
    lights_px: F64

    @property
    def range_m(self) -> float:
        """Distance of the beacon's origin from the camera."""
        return float(np.linalg.norm(self.T_cam_beacon[:3, 3]))


@dataclass(frozen=True)
class Conditions:
    """What a run is like.

    Attributes:
        start_m, end_m: range at the beginning and at the end. hz: pictures per second. speed_m_s: fastest approach.
        tilt_rad: largest angle at which the beacon is seen at the start; it falls to a tenth at the end.
        clutter: number of other lamps (and half as many sun patches). floor: a glossy floor reflects the lights.
        hide: (LED, from second, to second) or None: something covers an LED for a while.
        plate: the LEDs are on a plate that hides lamps behind it; False = an open frame.
        bits: of the pictures.
    """

    start_m: float = 3.0
    end_m: float = 0.15
    hz: float = 30.0
    speed_m_s: float = 0.4
    tilt_rad: float = 0.35
    clutter: int = 4
    floor: bool = True
    hide: tuple[int, float, float] | None = None
    plate: bool = True
    bits: int = 8


def docking_run(seed: int, leds_m: F64, conditions: Conditions | None = None) -> Iterator[BeaconFrame]:
    """The pictures of one run, in order.

    Args:
        seed: of the path, lamps, lens and noise. leds_m: (N, 3) LEDs in the beacon's frame.
        conditions: default: a docking run from 3 m to 0.15 m at 30 Hz.
    """
    conditions = conditions or Conditions()
    rng = np.random.default_rng(seed)
    ranges = _approach(conditions)
    pose_at = _path(rng, conditions, ranges)
    scene = _scene(rng, leds_m, conditions)
    optics = Optics(psf_sigma_px=rng.uniform(0.8, 1.3), flare_px=rng.uniform(6.0, 10.0), flare_aspect=rng.uniform(1.0, 1.8),
                    flare_turn_rad=rng.uniform(-0.4, 0.4), flare_shift=rng.uniform(-0.03, 0.03))
    sensor = Sensor(bits=conditions.bits, exposure_s=rng.uniform(0.001, 0.004), ambient=rng.uniform(0.02, 0.15))
    lens = BeaconCamera(CAMERA, optics, sensor, seed + 1)
    for number in range(len(ranges)):
        stamp_s = number / conditions.hz
        hidden: frozenset[int] = frozenset()
        if conditions.hide is not None and conditions.hide[1] <= stamp_s < conditions.hide[2]:
            hidden = frozenset({conditions.hide[0]})
        gray = lens.take(replace(scene, hidden=hidden), pose_at, stamp_s)
        T = pose_at(stamp_s)
        lights = lens.project(transform_points(T, scene.leds_m))
        yield BeaconFrame(gray, 1_000_000_000 + round(stamp_s * 1e9), T, lights)


def _approach(conditions: Conditions) -> F64:
    """(N,) range of each picture: full speed far away, slower and slower near the end."""
    ranges, now = [], conditions.start_m
    while now > conditions.end_m:
        ranges.append(now)
        now -= float(np.clip(0.5 * now, 0.06, conditions.speed_m_s)) / conditions.hz
    return np.array(ranges)


def _path(rng: np.random.Generator, conditions: Conditions, ranges: F64) -> PoseAt:
    """A smooth path: the beacon drifts in the picture, its tilt goes away, everything shakes a little."""
    times = np.arange(len(ranges)) / conditions.hz
    tilt = conditions.tilt_rad * rng.uniform(-1.0, 1.0, 2)
    roll = rng.uniform(-0.5, 0.5)
    drift = rng.uniform(-0.08, 0.08, 2)
    shake = rng.uniform(0.2, 1.0, 5) * (0.003, 0.003, 0.006, 0.006, 0.006)
    hertz, phase = rng.uniform(0.5, 4.0, 5), rng.uniform(0.0, 6.28, 5)

    def pose_at(t: float) -> F64:
        distance = _smooth(times, ranges, t)
        far = np.clip((distance - conditions.end_m) / max(conditions.start_m - conditions.end_m, 1e-6), 0.0, 1.0)
        wobble = shake * np.sin(6.2832 * hertz * t + phase) * (0.3 + 0.7 * far)
        x, y = drift * far + wobble[:2]
        angles = np.array([*(tilt * (0.1 + 0.9 * far) + wobble[2:4]), roll * far + wobble[4]])
        T = np.eye(4)
        front = np.diag([1.0, -1.0, -1.0])  # the beacon's z looks at the camera, whose z looks at the beacon
        T[:3, :3] = cv2.Rodrigues(np.array([0.0, 0.0, angles[2]]))[0] @ cv2.Rodrigues(np.array([*angles[:2], 0.0]))[0] @ front
        T[:3, 3] = np.array([x, y, 1.0]) * distance / np.sqrt(1 + x * x + y * y)
        return T

    return pose_at


def _smooth(times: F64, values: F64, t: float) -> float:
    """Linear between two pictures, and beyond the ends."""
    if t >= times[-1]:
        return float(values[-1] + (values[-1] - values[-2]) * (t - times[-1]) / (times[-1] - times[-2]))
    if t <= 0.0:
        return float(values[0] + (values[1] - values[0]) * t / times[1])
    return float(np.interp(t, times, values))


def _scene(rng: np.random.Generator, leds_m: F64, conditions: Conditions) -> BeaconScene:
    lamps = []
    for _ in range(conditions.clutter):
        angle, away = rng.uniform(0.0, 6.2832), rng.uniform(0.25, 0.9)
        lamps.append(Lamp((away * np.cos(angle), away * np.sin(angle), rng.uniform(-0.8, 0.0)), rng.uniform(0.002, 0.03),
                          10.0 ** rng.uniform(-1.0, 2.0)))
    sun = []
    for _ in range(conditions.clutter // 2):
        middle = np.array([rng.choice([-1, 1]) * rng.uniform(0.3, 0.8), rng.uniform(-0.6, 0.6), -0.3])
        turn = np.sort(rng.uniform(0.0, 6.2832, 6))
        size = rng.uniform(0.02, 0.15) * rng.uniform(0.5, 1.0, (6, 1))
        sun.append(middle + size * np.column_stack([np.cos(turn), np.sin(turn), np.zeros(6)]))
    floor_m = rng.uniform(0.12, 0.3) * rng.choice([-1, 1]) if conditions.floor else None
    return BeaconScene(leds_m=leds_m + PLACEMENT_M * rng.standard_normal(leds_m.shape), power=rng.uniform(35.0, 70.0),
                       brightness=tuple(rng.uniform(0.8, 1.2, len(leds_m))), uneven=rng.uniform(-UNEVEN, UNEVEN, (len(leds_m), 2)),
                       lamps=tuple(lamps), sun=tuple(sun), floor_m=floor_m, plate_m=_SIDE_M + 0.015 if conditions.plate else 0.0,
                       floor_gain=rng.uniform(0.05, 0.3))

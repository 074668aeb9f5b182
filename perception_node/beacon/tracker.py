"""Following a beacon from picture to picture: `BeaconTracker.update(gray, stamp_ns) -> BeaconPose | None`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from perception_node.beacon import blobs, hypotheses, windows
from perception_node.beacon.hypotheses import Hypothesis
from perception_node.beacon.identify import candidates, identify, measured, plausible
from perception_node.beacon.layout import make_layout
from perception_node.beacon.limits import Limits
from perception_node.beacon.settings import BeaconSettings
from perception_node.errors import FrameError, one_line
from perception_node.geometry import project, transform_points
from perception_node.types import F64, CameraModel

State = Literal["searching", "tracking", "lost"]

RESTART_NS = 1_000_000_000
"""Stamps that go back by more are a new beginning (a looped recording). Source: as in ros/worker.py."""


@dataclass(frozen=True, eq=False)
class BeaconPose:
    """Where the beacon was when a picture was taken.

    Attributes:
        stamp_ns: of the picture.
        T_cam_beacon: (4, 4), beacon's frame -> camera's optical frame.
        covariance: (6, 6) of (x, y, z, rotation about x, y, z) in the camera's frame, m^2 and rad^2. When ambiguous it spans the
            alternatives.
        range_m: distance of the beacon's origin. attitude_rpy_rad: roll, pitch, yaw of the beacon's frame in the camera's
            (rotation = Rz(yaw) Ry(pitch) Rx(roll)).
        reprojection_px: root mean square distance of measured and projected lights.
        seen: numbers of the LEDs that took part. hidden: of the others.
        state: "tracking" always; what the tracker says when there is no pose is in `BeaconTracker.state` and `.why`.
        why: what is not as it should be, "" = nothing.
        degraded: True with three lights of four: nothing can be checked against the layout.
        alternatives: other poses that explain the pictures as well; empty = the pose is not ambiguous.
    """

    stamp_ns: int
    T_cam_beacon: F64
    covariance: F64
    range_m: float
    attitude_rpy_rad: tuple[float, float, float]
    reprojection_px: float
    seen: tuple[int, ...]
    hidden: tuple[int, ...]
    state: State
    why: str
    degraded: bool
    alternatives: tuple[F64, ...]

    @property
    def good(self) -> bool:
        """One pose, checked against the layout: neither ambiguous nor degraded."""
        return not self.degraded and not self.alternatives


class BeaconTracker:
    """Finds the beacon, follows it, and says when it cannot.

    Args:
        camera: calibration of the pictures. leds_m: (4..8, 3) LEDs in the beacon's frame, metres; they shine towards +z.
        settings: limits and uncertainties. limits: fixed limits in place of the schedule (for comparison only).

    Attributes:
        state: "searching" (no beacon known), "tracking" (the last picture gave a pose), "lost" (a beacon was followed, the last
            picture gave no pose, and the search goes on near by and everywhere). why: the reason in words; "" while all is well.
        windows: where the last picture was looked at. centres_px: (N, 2) spots found near the prediction there.

    Raises:
        ConfigError: LEDs or settings that cannot be used.
    """

    def __init__(self, camera: CameraModel, leds_m: Any, settings: BeaconSettings | None = None, *, limits: Limits | None = None,
                 ) -> None:
        self.camera = camera
        self.layout = make_layout(leds_m)
        self.settings = settings or BeaconSettings()
        self._fixed = limits
        self._top = 255
        self.reset()

    def reset(self) -> None:
        """Forget everything seen so far."""
        self.state: State = "searching"
        self.why = "no picture came yet"
        self.windows: list[blobs.Window] = []
        self.centres_px: F64 = np.zeros((0, 2))
        self._alive: list[Hypothesis] = []
        self._last_ns: int | None = None

    def update(self, gray: Any, stamp_ns: int) -> BeaconPose | None:
        """Take in the next picture.

        Args:
            gray: (H, W) uint8 or uint16. stamp_ns: when it was taken (middle of the exposure).

        Returns:
            The pose at `stamp_ns` as this picture shows it, or None: `state` and `why` then say more. Never raises because of a
            picture, and never gives an older pose.
        """
        try:
            picture = blobs.check_picture(gray, self.camera.width, self.camera.height)
        except FrameError as error:
            self._none(str(error))
            return None
        if self._last_ns is not None and stamp_ns < self._last_ns - RESTART_NS:
            self.reset()
        if self._last_ns is not None and stamp_ns <= self._last_ns:
            self._none(f"expected a stamp after the last one, got one {1e-6 * (self._last_ns - stamp_ns):.1f} ms older")
            return None
        self._last_ns = stamp_ns
        self._top = blobs.full_scale(picture, self._top)
        forget_s = self.settings.forget_after_s
        self._alive = [h for h in self._alive if 1e-9 * (stamp_ns - h.stamp_ns) <= forget_s]
        try:
            followed = self._follow(picture, stamp_ns) if self._alive else []
            followed = followed or self._search(picture, stamp_ns)
            if not followed:
                return None
            self._alive = hypotheses.judge(followed, self.layout)
            return self._report(stamp_ns)
        except (np.linalg.LinAlgError, cv2.error) as error:  # geometry without a solution, found deep inside
            self._none(f"the lights have no pose: {one_line(error, 200)}")
            self._alive = []
            return None

    def _follow(self, picture: blobs.Gray, stamp_ns: int) -> list[Hypothesis]:
        """Look near the predictions."""
        best = self._alive[0]
        alive = [(h, T) for h in self._alive if plausible(T := h.at(stamp_ns), np.pi)]
        if not alive:
            return []
        ahead = [T for _, T in alive]
        places = [project(self.camera, transform_points(T, self.layout.leds_m)) for T in ahead]
        self.windows, limits, peak = windows.plan(self.camera, self.layout, best, places, ahead[0], stamp_ns)
        spots = blobs.find_spots(picture, self.windows, self._fixed or limits, self._top, None if self._fixed else peak)
        if len(spots) < 3:
            self._none(f"{len(spots)} lights near the prediction, at least 3 are needed")
            return []
        data = measured(spots, self.camera, self.settings)
        self.centres_px = data.pixels
        followed = [new for (h, T), place in zip(alive, places, strict=True)
                    for new in hypotheses.step(h, T, place, data, self.layout, stamp_ns, self.settings)]
        if not followed:
            self._none("the lights near the prediction do not fit the layout")
        return followed

    def _search(self, picture: blobs.Gray, stamp_ns: int) -> list[Hypothesis]:
        """Look everywhere, without a prediction."""
        self.windows = [(0, 0, self.camera.width, self.camera.height)]
        if self._fixed is not None:
            spots = blobs.find_spots(picture, self.windows, self._fixed, self._top)
        else:
            spots = blobs.search_spots(picture, self._top)
        needed = max(self.layout.count - 1, 4)
        if len(spots) < needed:
            self._none(f"{len(spots)} lights in the picture, at least {needed} are needed{_light_words(picture, self._top)}")
            return []
        data = measured(candidates(spots), self.camera, self.settings)
        found = identify(data, self.layout, max_roll_rad=self.settings.max_roll_rad, max_chi2=hypotheses.MAX_CHI2)
        if not found:
            self._none(f"{len(spots)} lights in the picture, no {needed} of them fit the layout")
            return []
        return hypotheses.begin(found, self._alive, data, self.layout, stamp_ns, self.settings)

    def _report(self, stamp_ns: int) -> BeaconPose | None:
        best = self._alive[0]
        if best.age < self.settings.confirm_pictures:
            self.state = "searching"
            self.why = f"a beacon was found, {best.age} of {self.settings.confirm_pictures} pictures confirm it"
            return None
        others = hypotheses.alternatives(self._alive, self.layout, self.settings.max_roll_rad)
        covariance = best.inflated()
        for T in others:
            gap = hypotheses.difference(T, best.fit.T)
            covariance = covariance + np.outer(gap, gap)
        hidden = tuple(led for led, n in enumerate(best.spot_of) if n < 0)
        words = []
        if hidden:
            words.append(f"{len(hidden)} of {self.layout.count} lights hidden ({', '.join(map(str, hidden))})")
        if others:
            words.append(f"ambiguous: {len(others)} other pose(s) explain the pictures as well")
        degraded = self.layout.count - len(hidden) < 4
        if degraded:
            words.append("degraded: three lights fit any layout")
        self.state, self.why = "tracking", "; ".join(words)
        T = best.fit.T
        pixels = best.fit.residuals * (self.camera.fx, self.camera.fy)
        return BeaconPose(
            stamp_ns=stamp_ns, T_cam_beacon=T, covariance=covariance, range_m=float(np.linalg.norm(T[:3, 3])),
            attitude_rpy_rad=attitude_rpy_rad(T), reprojection_px=float(np.sqrt((pixels**2).sum(axis=1).mean())),
            seen=tuple(led for led in range(self.layout.count) if led not in hidden), hidden=hidden, state="tracking",
            why=self.why, degraded=degraded, alternatives=tuple(others))

    def _none(self, why: str) -> None:
        self.state = "lost" if self._alive and self._alive[0].age >= self.settings.confirm_pictures else "searching"
        self.why = why


def attitude_rpy_rad(T: F64) -> tuple[float, float, float]:
    """Roll, pitch and yaw in rad: rotation = Rz(yaw) Ry(pitch) Rx(roll). Source: REP-103, fixed axes."""
    R = T[:3, :3]
    return (float(np.arctan2(R[2, 1], R[2, 2])), float(np.arcsin(np.clip(-R[2, 0], -1.0, 1.0))),
            float(np.arctan2(R[1, 0], R[0, 0])))


def _light_words(picture: blobs.Gray, top: int) -> str:
    mean = float(picture[::8, ::8].mean()) / top
    return ": the picture is saturated" if mean > 0.7 else ": the picture is dark" if mean < 0.004 else ""

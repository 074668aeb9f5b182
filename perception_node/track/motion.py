"""How fast the belt runs: one velocity shared by all packages, from their positions over the last moments."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from perception_node.types import F64

WINDOWS_S = (0.8, 0.4, 0.2)
"""Baselines tried, longest first: a long one averages noise, a short one follows a belt that changes its speed."""
_HISTORY = 32
_MIN_BASELINE_S = 0.02
_CHANGE_SIGMAS = 3.0
_CHANGE_FLOOR_M_S = 0.01
_OUTLIER_SIGMAS = 3.0
_OUTLIER_FLOOR_M_S = 0.03
"""Packages that settle, roll or are pushed differ from the belt by centimetres per second: they must not carry the estimate."""
_TRUST_M = 0.02
"""A position with a larger sigma (cut off by the picture's border, mostly covered) tells nothing about motion."""


@dataclass
class History:
    """The last positions of one track: times in seconds, positions in metres in the camera frame, sigmas in metres."""

    time_s: deque[float] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    position: deque[F64] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    sigma_m: deque[float] = field(default_factory=lambda: deque(maxlen=_HISTORY))

    def append(self, time_s: float, position: F64, sigma_m: float) -> None:
        """Add a measurement, unless it is too uncertain to tell motion."""
        if sigma_m <= _TRUST_M:
            self.time_s.append(time_s)
            self.position.append(position)
            self.sigma_m.append(sigma_m)


@dataclass(frozen=True, eq=False)
class Velocity:
    """A velocity (3,) in m/s in the camera frame, and its variance per axis in m^2/s^2."""

    value: F64
    variance: float


def slopes(histories: list[History], now_s: float, window_s: float) -> tuple[F64, F64]:
    """Velocity of each track over a window by weighted least squares.

    Returns:
        (T, 3) velocities and (T,) variances per axis; infinite variance where the window holds too little.
    """
    velocity, variance = np.zeros((len(histories), 3)), np.full(len(histories), np.inf)
    for i, history in enumerate(histories):
        time = np.array(history.time_s)
        recent = time >= now_s - window_s - 1e-6
        if recent.sum() < 2:
            continue
        time = time[recent]
        if time[-1] - time[0] < _MIN_BASELINE_S:
            continue
        position = np.array(history.position)[recent]
        weight = 1.0 / np.array(history.sigma_m)[recent] ** 2
        total = weight.sum()
        centred = time - (weight @ time) / total
        spread = float(weight @ centred**2)
        if spread <= 0:
            continue
        velocity[i] = (weight * centred) @ position / spread
        variance[i] = 1.0 / spread
    return velocity, variance


def common_velocity(velocity: F64, variance: F64) -> Velocity | None:
    """The velocity that most tracks share: a weighted median, then the weighted mean of those near it.

    Args:
        velocity: (T, 3). variance: (T,), infinite = unknown.

    Returns:
        The estimate, its variance raised by the disagreement of those that took part; None without any track.
    """
    known = np.isfinite(variance)
    if not known.any():
        return None
    velocity, variance = velocity[known], variance[known]
    weight = 1.0 / variance
    middle = np.array([_weighted_median(velocity[:, axis], weight) for axis in range(3)])
    away = np.linalg.norm(velocity - middle, axis=1)
    near = away <= np.maximum(_OUTLIER_SIGMAS * np.sqrt(3 * variance), _OUTLIER_FLOOR_M_S)
    if not near.any():
        near = away <= away.min()
    mean = weight[near] @ velocity[near] / weight[near].sum()
    chi = float((weight[near][:, None] * (velocity[near] - mean) ** 2).sum() / (3 * max(near.sum() - 1, 1)))
    return Velocity(mean, max(chi, 1.0) / float(weight[near].sum()))


def belt_velocity(histories: list[History], now_s: float) -> Velocity | None:
    """Velocity over the longest window whose answer the shorter ones do not contradict."""
    answers = [common_velocity(*slopes(histories, now_s, window)) for window in WINDOWS_S]
    known = [answer for answer in answers if answer is not None]
    for i, answer in enumerate(known):
        steady = all(
            np.linalg.norm(answer.value - shorter.value)
            <= _CHANGE_SIGMAS * np.sqrt(3 * (answer.variance + shorter.variance)) + _CHANGE_FLOOR_M_S
            for shorter in known[i + 1 :])
        if steady:
            return answer
    return None


def _weighted_median(values: F64, weights: F64) -> float:
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    return float(values[order][int(np.searchsorted(cumulative, cumulative[-1] / 2))])

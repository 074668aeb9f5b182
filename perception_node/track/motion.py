"""How fast the belt runs: one velocity shared by all packages, from their positions over the last moments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception_node.types import F64

WINDOWS_S = (0.8, 0.4, 0.2)
"""Baselines tried, longest first: a long one averages noise, a short one follows a belt that changes its speed."""
NEWEST_S = 0.14
"""How far back the newest readings go that bound what a changing belt is credited with: two intervals at 15 Hz."""
OWN_WINDOW_S = 0.4
"""Baseline over which a package's own motion is compared with the belt's."""
HISTORY = 32
"""Measurements kept of each track."""
_MIN_BASELINE_S = 0.02
_CHANGE_SIGMAS = 3.0
_CHANGE_FLOOR_M_S = 0.01
_OUTLIER_SIGMAS = 3.0
_OUTLIER_FLOOR_M_S = 0.03
"""Packages that settle, roll or are pushed differ from the belt by centimetres per second: they must not carry the estimate."""
_TRUST_M = 0.02
"""A position with a larger sigma (cut off by the picture's border, mostly covered) tells nothing about motion."""


class History:
    """The last positions of one track."""

    def __init__(self) -> None:
        self.rows = np.zeros((HISTORY, 5))
        """Time in seconds, x, y, z in metres in the camera frame, weight in 1/m^2; weight 0 = not filled yet."""
        self.count = 0

    def append(self, time_s: float, position: F64, sigma_m: float) -> None:
        """Add a measurement, unless it is too uncertain to tell motion."""
        if sigma_m <= _TRUST_M:
            self.rows[self.count % HISTORY] = time_s, *position, 1.0 / sigma_m**2
            self.count += 1


@dataclass(frozen=True, eq=False)
class Velocity:
    """A velocity (3,) in m/s in the camera frame, and its variance per axis in m^2/s^2."""

    value: F64
    variance: float


def slopes(rows: F64, now_s: float, window_s: float) -> tuple[F64, F64]:
    """Velocity of each track over a window by weighted least squares.

    Args:
        rows: (T, N, 5) of the tracks' histories.

    Returns:
        (T, 3) velocities and (T,) variances per axis; infinite variance where the window holds too little.
    """
    time = rows[..., 0] - now_s
    weight = np.where(time >= -window_s - 1e-6, rows[..., 4], 0.0)
    used = weight > 0
    baseline = np.where(used, time, -np.inf).max(axis=1, initial=-np.inf) - np.where(used, time, np.inf).min(axis=1, initial=np.inf)
    total = np.maximum(weight.sum(axis=1), 1e-300)
    centred = np.where(used, time - ((weight * time).sum(axis=1) / total)[:, None], 0.0)
    spread = (weight * centred**2).sum(axis=1)
    known = (used.sum(axis=1) >= 2) & (baseline >= _MIN_BASELINE_S) & (spread > 0)
    safe = np.where(known, spread, 1.0)
    # Positions count from the first one used: products of large weights and metres would cost digits.
    offset = rows[..., 1:4] - rows[np.arange(len(rows)), used.argmax(axis=1), 1:4][:, None]
    velocity = np.einsum("tn,tnk->tk", weight * centred, offset) / safe[:, None]
    return np.where(known[:, None], velocity, 0.0), np.where(known, 1.0 / safe, np.inf)


def own_slopes(rows: F64, now_s: float) -> tuple[F64, F64]:
    """Velocity of each track by itself, as `slopes`; variances are raised by the scatter about the line: a leap (another part of
    the package came into sight) is no motion."""
    velocity, variance = slopes(rows, now_s, OWN_WINDOW_S)
    time = rows[..., 0] - now_s
    weight = np.where(time >= -OWN_WINDOW_S - 1e-6, rows[..., 4], 0.0)
    total = np.maximum(weight.sum(axis=1), 1e-300)
    offset = rows[..., 1:4] - rows[:, :1, 1:4] - time[..., None] * velocity[:, None]
    offset = offset - (np.einsum("tn,tnk->tk", weight, offset) / total[:, None])[:, None]
    freedom = 3 * np.maximum((weight > 0).sum(axis=1) - 2, 1)
    chi = (weight[..., None] * offset**2).sum(axis=(1, 2)) / freedom
    return velocity, variance * np.maximum(chi, 1.0)


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


def belt_velocity(rows: F64, now_s: float) -> Velocity | None:
    """Velocity over the longest window whose answer the shorter ones do not contradict.

    While the belt changes its speed every window lags behind: the answer is carried on by the change from the next longer one, and
    its doubt grows by it.

    Args:
        rows: (T, N, 5) of the tracks' histories.
    """
    answers = [common_velocity(*slopes(rows, now_s, window)) for window in WINDOWS_S]
    known = [answer for answer in answers if answer is not None]
    for i, answer in enumerate(known):
        if not any(_differ(answer, shorter) for shorter in known[i + 1 :]):
            change = answer.value - known[max(i - 1, 0)].value
            if i == 0:
                return answer
            newest = common_velocity(*slopes(rows, now_s, NEWEST_S))
            value = answer.value + change if newest is None else _towards(answer.value, newest.value, change)
            return Velocity(value, answer.variance + float(change @ change) / 3)
    return None


def _towards(value: F64, newest: F64, change: F64) -> F64:
    """A belt that speeds up steadily is ahead of the mean of a window by as much as that is ahead of the window twice as long;
    but never further on than the newest readings say."""
    length = float(np.linalg.norm(change))
    if length < 1e-9:
        return value
    way = float(np.clip((newest - value) @ change / length, 0.0, length))
    return value + change * (way / length)


def _differ(a: Velocity, b: Velocity) -> bool:
    limit = _CHANGE_SIGMAS * np.sqrt(3 * (a.variance + b.variance)) + _CHANGE_FLOOR_M_S
    return float(np.linalg.norm(a.value - b.value)) > float(limit)


def _weighted_median(values: F64, weights: F64) -> float:
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    return float(values[order][int(np.searchsorted(cumulative, cumulative[-1] / 2))])

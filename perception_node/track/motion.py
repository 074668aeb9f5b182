"""How fast the belt runs: one velocity shared by all packages, from their positions over the last moments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perception_node.compiled import compiled
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

    def append(self, time_s: float, position: Sequence[float], sigma_m: float) -> None:
        """Add a measurement, unless it is too uncertain to tell motion."""
        if sigma_m <= _TRUST_M:
            self.rows[self.count % HISTORY] = time_s, *position, 1.0 / sigma_m**2
            self.count += 1


@dataclass(frozen=True, eq=False)
class Velocity:
    """A velocity (3,) in m/s in the camera frame, and its variance per axis in m^2/s^2."""

    value: F64
    variance: float


@compiled
def slopes(rows: F64, now_s: float, window_s: float) -> tuple[F64, F64]:
    """Velocity of each track over a window by weighted least squares.

    Args:
        rows: (T, N, 5) of the tracks' histories.

    Returns:
        (T, 3) velocities and (T,) variances per axis; infinite variance where the window holds too little.
    """
    velocity, variance = np.zeros((len(rows), 3)), np.full(len(rows), np.inf)
    for t in range(len(rows)):
        used, first, earliest, latest, total, mean = 0, -1, np.inf, -np.inf, 0.0, 0.0
        for n in range(rows.shape[1]):
            time, weight = rows[t, n, 0] - now_s, rows[t, n, 4]
            if weight > 0.0 and time >= -window_s - 1e-6:
                if first < 0:
                    first = n
                used += 1
                earliest, latest = min(earliest, time), max(latest, time)
                total += weight
                mean += weight * time
        if used < 2 or latest - earliest < _MIN_BASELINE_S:
            continue
        mean /= total
        spread, x, y, z = 0.0, 0.0, 0.0, 0.0
        for n in range(rows.shape[1]):
            time, weight = rows[t, n, 0] - now_s, rows[t, n, 4]
            if weight > 0.0 and time >= -window_s - 1e-6:
                centred = time - mean
                spread += weight * centred * centred
                # Positions count from the first one used: products of large weights and metres would cost digits.
                x += weight * centred * (rows[t, n, 1] - rows[t, first, 1])
                y += weight * centred * (rows[t, n, 2] - rows[t, first, 2])
                z += weight * centred * (rows[t, n, 3] - rows[t, first, 3])
        if spread > 0.0:
            velocity[t, 0], velocity[t, 1], velocity[t, 2], variance[t] = x / spread, y / spread, z / spread, 1.0 / spread
    return velocity, variance


@compiled
def own_slopes(rows: F64, now_s: float) -> tuple[F64, F64]:
    """Velocity of each track by itself, as `slopes`; variances are raised by the scatter about the line: a leap (another part of
    the package came into sight) is no motion."""
    velocity, variance = slopes(rows, now_s, OWN_WINDOW_S)
    for t in range(len(rows)):
        used, total, square = 0, 0.0, 0.0
        for k in range(3):
            used, total, mean, second = 0, 0.0, 0.0, 0.0
            for turn in range(2):
                for n in range(rows.shape[1]):
                    time, weight = rows[t, n, 0] - now_s, rows[t, n, 4]
                    if weight > 0.0 and time >= -OWN_WINDOW_S - 1e-6:
                        offset = rows[t, n, 1 + k] - rows[t, 0, 1 + k] - time * velocity[t, k]
                        if turn == 0:
                            used += 1
                            total += weight
                            mean += weight * offset
                        else:
                            second += weight * (offset - mean) ** 2
                if turn == 0 and total > 0.0:
                    mean /= total
            square += second
        variance[t] *= max(square / (3 * max(used - 2, 1)), 1.0)
    return velocity, variance


@compiled
def common_velocity(velocity: F64, variance: F64) -> F64:
    """The velocity that most tracks share: a weighted median, then the weighted mean of those near it.

    Args:
        velocity: (T, 3). variance: (T,), infinite = unknown.

    Returns:
        (4,) the estimate and its variance, raised by the disagreement of those that took part; infinite without any track.
    """
    known = np.flatnonzero(np.isfinite(variance))
    answer = np.array((0.0, 0.0, 0.0, np.inf))
    if len(known) == 0:
        return answer
    middle = np.empty(3)
    for k in range(3):
        values = np.empty(len(known))
        half = 0.0
        for i in range(len(known)):
            values[i] = velocity[known[i], k]
            half += 0.5 / variance[known[i]]
        passed = 0.0
        order = np.argsort(values, kind="mergesort")
        middle[k] = values[order[-1]]
        for i in range(len(known)):
            passed += 1.0 / variance[known[order[i]]]
            if passed >= half:
                middle[k] = values[order[i]]
                break
    away = np.empty(len(known))
    near, nearest = 0, np.inf
    for i in range(len(known)):
        step = velocity[known[i]] - middle
        away[i] = math.sqrt(step[0] * step[0] + step[1] * step[1] + step[2] * step[2])
        nearest = min(nearest, away[i])
        near += away[i] <= max(_OUTLIER_SIGMAS * math.sqrt(3.0 * variance[known[i]]), _OUTLIER_FLOOR_M_S)
    total, mean, count = 0.0, np.zeros(3), 0
    taken = np.zeros(len(known), dtype=np.bool_)
    for i in range(len(known)):
        limit = max(_OUTLIER_SIGMAS * math.sqrt(3.0 * variance[known[i]]), _OUTLIER_FLOOR_M_S) if near else nearest
        taken[i] = away[i] <= limit
        if taken[i]:
            count += 1
            total += 1.0 / variance[known[i]]
            mean += velocity[known[i]] / variance[known[i]]
    mean /= total
    chi = 0.0
    for i in range(len(known)):
        if taken[i]:
            for k in range(3):
                chi += (velocity[known[i], k] - mean[k]) ** 2 / variance[known[i]]
    answer[:3] = mean
    answer[3] = max(chi / (3 * max(count - 1, 1)), 1.0) / total
    return answer


@compiled
def _belt_answer(rows: F64, now_s: float) -> F64:
    """(4,) the belt's velocity and its variance, infinite = unknown; as `belt_velocity`."""
    known, count = np.empty((len(WINDOWS_S), 4)), 0
    for window in WINDOWS_S:
        velocity, variance = slopes(rows, now_s, window)
        known[count] = common_velocity(velocity, variance)
        count += np.isfinite(known[count, 3])
    for i in range(count):
        contradicted = False
        for j in range(i + 1, count):
            contradicted = contradicted or _differ(known[i], known[j])
        if contradicted:
            continue
        answer: F64 = known[i].copy()
        if i == 0:
            return answer
        change = known[i, :3] - known[i - 1, :3]
        square = change[0] * change[0] + change[1] * change[1] + change[2] * change[2]
        velocity, variance = slopes(rows, now_s, NEWEST_S)
        newest = common_velocity(velocity, variance)
        way = math.sqrt(square)
        # A belt that speeds up steadily is ahead of the mean of a window by as much as that is ahead of the window twice as long;
        # but never further on than the newest readings say.
        if way >= 1e-9:
            share = 1.0
            if np.isfinite(newest[3]):
                ahead = newest[:3] - answer[:3]
                along = (ahead[0] * change[0] + ahead[1] * change[1] + ahead[2] * change[2]) / way
                share = min(max(along, 0.0), way) / way
            answer[:3] += change * share
        answer[3] += square / 3.0
        return answer
    return np.array((0.0, 0.0, 0.0, np.inf))


@compiled
def _differ(a: F64, b: F64) -> bool:
    limit = _CHANGE_SIGMAS * math.sqrt(3.0 * (a[3] + b[3])) + _CHANGE_FLOOR_M_S
    return math.sqrt((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2) > limit


def belt_velocity(rows: F64, now_s: float) -> Velocity | None:
    """Velocity over the longest window whose answer the shorter ones do not contradict.

    While the belt changes its speed every window lags behind: the answer is carried on by the change from the next longer one, and
    its doubt grows by it.

    Args:
        rows: (T, N, 5) of the tracks' histories.
    """
    answer = _belt_answer(rows, now_s)
    variance = float(answer[3])
    return Velocity(answer[:3], variance) if math.isfinite(variance) else None

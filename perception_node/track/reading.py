"""Does the drive's reading of the belt's velocity fit what the packages do? A wrong scale, sign, axis or frame puts every predicted
grasp beside its package, in silence.

Each package's places are compared with the way that the belt has gone by the readings at the same moments, so a belt that starts,
stops, turns or speeds up agrees with a right reading as a steady one does. Three things can be found of a package:

* it moves as the reading says;
* it moves otherwise: it contradicts the reading;
* it stands on a belt that moves by the reading: held back, machinery, or a belt that stands. From the picture these look alike, so
  it says nothing about the reading.

The reading is contradicted when packages that move alike, two or more, have contradicted it for `DOUBT_S` and hardly any agrees; it
counts again when it has agreed for as long at a speed at which the fault would show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled
from perception_node.track.motion import common_velocity
from perception_node.types import F64

WINDOW_S = 0.8
"""Baseline over which packages and readings are compared."""
DOUBT_S = 1.0
"""So long, in frames with packages that tell, it takes to lose or to win trust. More than the window: one step of a belt that is
told late is gone from the window by then."""
_LONGEST_STEP_S = 0.2
"""A gap between frames counts as this long at most."""
_FLOOR_M_S, _SHARE = 0.012, 0.08
"""Differences below the floor, or this share of the speed, are none. Source: a belt's slip and a camera's calibration are some
percent; measured: docs/reliability.md."""
_STANDS_M_S, _STANDS_FOR_S = 0.03, 0.2
"""What moves slower stands, and what has come to a stop for so long: by then it is mostly a stop that the window shows."""
_COMES_TO_REST = 0.3
"""Share of its speed over the window that it has kept at most."""
_SIGMAS = 2.0
_DELAY_S = 0.1
"""A reading may be so late: while it changes, that is no contradiction."""
_STEP_SLOPE = 1.5
"""A fitted line's slope through a step, against the step over the line's length. Source: least squares, step in the middle."""
_AGREES = 0.7
"""A contradicted reading agrees again within this part of the limits."""
_SEVERAL = 2
_LEAST_POINTS, _LEAST_BASELINE_S = 4, 0.15
_KEPT = 64
"""Readings kept: a second at 60 Hz."""

_UNKNOWN, _AGREED, _STANDING, _AGAINST = 0, 1, 2, 3


@compiled
def _votes(rows: F64, now_s: float, path: F64, normal: F64, scale_doubt: F64, part: float) -> tuple[NDArray[np.int64], F64]:
    """What each track says of the readings.

    Args:
        rows: (T, N, 5) of the tracks' histories. path: (P, 7) time, way (3) and reading (3) of each frame, oldest first.
        normal: (3,) of the belt's plane, zeros = unknown. scale_doubt: (T,) relative sigma of each track's distance.
        part: of the limits that counts.

    Returns:
        (T,) `_UNKNOWN`, `_AGREED`, `_STANDING`, `_AGAINST`; and (6,) what those that are against do, and what the readings say
        they should, m/s.
    """
    count = len(rows)
    votes = np.zeros(count, dtype=np.int64)
    moves, told = np.zeros((count, 3)), np.zeros((count, 3))
    spread, limits = np.full(count, np.inf), np.zeros(count)
    low, high = path[-1, 4:7].copy(), path[-1, 4:7].copy()
    for i in range(len(path)):
        if path[i, 0] >= now_s - WINDOW_S - _DELAY_S:
            for k in range(3):
                low[k], high[k] = min(low[k], path[i, 4 + k]), max(high[k], path[i, 4 + k])
    change = math.sqrt((high[0] - low[0]) ** 2 + (high[1] - low[1]) ** 2 + (high[2] - low[2]) ** 2)
    oldest_s = max(now_s - WINDOW_S, path[0, 0]) - 1e-6
    places = np.empty(rows.shape[1], dtype=np.int64)
    for t in range(count):
        used, total, mean, earliest, latest = 0, 0.0, 0.0, np.inf, -np.inf
        for n in range(rows.shape[1]):
            places[n] = -1
            if rows[t, n, 4] > 0.0 and rows[t, n, 0] >= oldest_s:
                places[n] = min(np.searchsorted(path[:, 0], rows[t, n, 0] - 1e-6), len(path) - 1)
                used += 1
                time = rows[t, n, 0] - now_s
                earliest, latest = min(earliest, time), max(latest, time)
                total += rows[t, n, 4]
                mean += rows[t, n, 4] * time
        if used < _LEAST_POINTS or latest - earliest < _LEAST_BASELINE_S:
            continue
        mean /= total
        square = 0.0
        for n in range(rows.shape[1]):
            if places[n] >= 0:
                square += rows[t, n, 4] * (rows[t, n, 0] - now_s - mean) ** 2
        scatter = 0.0
        for k in range(3):
            off, way, middle = 0.0, 0.0, 0.0
            for n in range(rows.shape[1]):
                if places[n] >= 0:
                    centred = rows[t, n, 4] * (rows[t, n, 0] - now_s - mean)
                    step = path[places[n], 1 + k] - path[-1, 1 + k]
                    way += centred * step
                    off += centred * (rows[t, n, 1 + k] - step)
                    middle += rows[t, n, 4] * (rows[t, n, 1 + k] - step)
            told[t, k], moves[t, k] = way / square, (way + off) / square
            middle /= total
            for n in range(rows.shape[1]):
                if places[n] >= 0:
                    step = path[places[n], 1 + k] - path[-1, 1 + k]
                    beside = rows[t, n, 1 + k] - step - middle - off / square * (rows[t, n, 0] - now_s - mean)
                    scatter += rows[t, n, 4] * beside * beside
        for vector in (moves[t], told[t]):
            away = vector[0] * normal[0] + vector[1] * normal[1] + vector[2] * normal[2]
            for k in range(3):
                vector[k] -= away * normal[k]
        spread[t] = max(scatter / (3.0 * (used - 2)), 1.0) / square
        speed, said = _length(moves[t]), _length(told[t])
        base = part * max(_FLOOR_M_S, _SHARE * max(speed, said))
        noise = (_SIGMAS * (math.sqrt(3.0 * spread[t]) + scale_doubt[t] * speed)
                 + _STEP_SLOPE * _DELAY_S * change / (latest - earliest))
        limits[t] = base + noise
        if _length(moves[t] - told[t]) <= base + noise:
            votes[t] = _AGREED if noise <= base else _UNKNOWN
        else:
            rest = speed <= _STANDS_M_S or _stopped(rows[t], now_s + latest, max(_STANDS_M_S, _COMES_TO_REST * speed))
            votes[t] = _STANDING if rest else _AGAINST
    against = np.zeros(6)
    if not (votes == _AGAINST).any():
        return votes, against
    for t in range(count):
        if votes[t] != _AGAINST:
            spread[t] = np.inf
    common = common_velocity(moves, spread)[:3]
    against[:3], many = common, 0
    for t in range(count):
        if votes[t] == _AGAINST:
            if _length(moves[t] - common) <= limits[t]:
                against[3:] += told[t]
                many += 1
            else:
                votes[t] = _UNKNOWN
    against[3:] /= max(many, 1)
    return votes, against


@compiled
def _stopped(rows: F64, latest_s: float, speed_m_s: float) -> bool:
    """Whether a track has moved at most so fast of late; (N, 5) its history, and the time of the newest place in it."""
    first, last = -1, -1
    for n in range(len(rows)):
        if rows[n, 4] > 0.0 and rows[n, 0] >= latest_s - _STANDS_FOR_S - 1e-6:
            first = n if first < 0 or rows[n, 0] < rows[first, 0] else first
            last = n if last < 0 or rows[n, 0] > rows[last, 0] else last
    elapsed_s = rows[last, 0] - rows[first, 0]
    return bool(elapsed_s >= 0.5 * _STANDS_FOR_S and _length(rows[last, 1:4] - rows[first, 1:4]) <= speed_m_s * elapsed_s)


@compiled
def _length(vector: F64) -> float:
    return math.sqrt(vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2])


class ReadingCheck:
    """Whether the drive's reading can be used.

    Attributes:
        believed: the reading counts now. confirmed: packages have agreed with it, and do not contradict it now.
        words: what has been wrong with it for a while, with numbers; "" = nothing that shows.
    """

    def __init__(self) -> None:
        self.believed, self.confirmed, self.words = True, False, ""
        self._contradicted = False
        self._path, self._count = np.zeros((_KEPT, 7)), 0
        self._against_s, self._agreed_s, self._stand_s = 0.0, 0.0, 0.0
        self._ids: set[int] = set()
        self._error = 0.0
        """How wrong the reading was at last, as a share of the faster of both, 1 at most."""

    def silent(self) -> None:
        """No reading came with this frame: nothing is contradicted, but what was is not forgiven."""
        self._count, self.confirmed, self.words = 0, False, ""

    def look(self, reading_m_s: F64, rows: F64, scale_doubt: F64, ids: Sequence[int], rode: Sequence[bool], plane: F64 | None,
             stamp_ns: int) -> None:
        """Take a frame in, once for each stamp.

        Args:
            reading_m_s: (3,) of this frame, in the camera frame. rows: (T, N, 5) histories of the tracks in sight.
            scale_doubt: (T,) relative sigma of their distance from the camera. ids: their track ids. rode: whether each has moved
                with the belt before. plane: (4,) the belt's, None = unknown.
        """
        now_s = stamp_ns * 1e-9
        path = self._path
        way, step_s = np.zeros(3), 0.0
        if self._count:
            step_s = now_s - path[-1, 0]
            way = path[-1, 1:4] + 0.5 * step_s * (path[-1, 4:] + reading_m_s)
        path[:-1] = path[1:]
        path[-1, 0], path[-1, 1:4], path[-1, 4:] = now_s, way, reading_m_s
        self._count = min(self._count + 1, _KEPT)
        if self._count < _LEAST_POINTS or not len(rows):
            return
        normal = np.zeros(3) if plane is None else np.array(plane[:3])
        part = _AGREES if self._contradicted else 1.0
        votes, numbers = _votes(rows, now_s, path[_KEPT - self._count:], normal, scale_doubt, part)
        self._judge(votes.tolist(), numbers, ids, rode, float(np.linalg.norm(reading_m_s)), min(step_s, _LONGEST_STEP_S))

    def _judge(self, votes: list[int], numbers: F64, ids: Sequence[int], rode: Sequence[bool], speed: float,
               step_s: float) -> None:
        against, agreed = votes.count(_AGAINST), votes.count(_AGREED)
        doubted = against > 2 * agreed
        if doubted:
            self._against_s += step_s
            self._agreed_s = 0.0
            self._ids.update(track_id for track_id, vote in zip(ids, votes, strict=True) if vote == _AGAINST)
            self._contradicted |= self._against_s >= DOUBT_S and len(self._ids) >= _SEVERAL
            self._error, words = _words(numbers, against)
        elif agreed > 2 * against and self._error * speed > _AGREES * max(_FLOOR_M_S, _SHARE * speed):
            self._agreed_s += step_s
            if self._agreed_s >= DOUBT_S:
                self._contradicted, self._against_s = False, 0.0
                self._ids.clear()
        self.believed = not self._contradicted and not (doubted and len(self._ids) >= _SEVERAL)
        self.confirmed = self.believed and not doubted and (self.confirmed or agreed > 0)
        held = sum(vote == _STANDING and before for vote, before in zip(votes, rode, strict=True))
        self._stand_s = self._stand_s + step_s if held >= _SEVERAL and not against and not agreed else 0.0
        if self._contradicted:
            self.words = words if doubted else self.words
        elif self._stand_s >= DOUBT_S:
            self.words = (f"belt_velocity says {speed:.3f} m/s, but {held} packages that came along the belt stand and none moves: "
                          "are they held back, or does the belt stand?")
        else:
            self.words = ""


def _words(numbers: F64, count: int) -> tuple[float, str]:
    """By what share of the faster of both a reading is wrong, and that in words."""
    moves, told = float(np.linalg.norm(numbers[:3])), float(np.linalg.norm(numbers[3:]))
    angle_rad = math.acos(min(1.0, max(-1.0, float(numbers[:3] @ numbers[3:]) / max(moves * told, 1e-9)))) if told > 1e-3 else 0.0
    error = min(1.0, float(np.linalg.norm(numbers[:3] - numbers[3:])) / max(moves, told, 1e-9))
    who = "1 package moves" if count == 1 else f"{count} packages move"
    return error, (f"belt_velocity is contradicted: it says {told:.3f} m/s, {who} at {moves:.3f} m/s (ratio "
                   f"{told / max(moves, 1e-3):.2f}, {math.degrees(angle_rad):.0f} degrees apart); estimated from the packages "
                   "instead: check the drive's scale and sign, the reading's frame_id, belt.direction")

"""Packages of successive frames -> tracks with stable ids, velocities and predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from perception_node.config import BeltConfig, TrackConfig
from perception_node.track.assign import assign
from perception_node.track.masks import Grid, grid_of
from perception_node.track.match import ALONE, PLAIN, Outlines, fit_cost, likely_shift, outlines_of
from perception_node.track.motion import HISTORY, History, Velocity, belt_velocity, own_slopes
from perception_node.track.pose import MIN_POSITION_SIGMA_M, correct
from perception_node.track.reading import ReadingCheck
from perception_node.track.shapes import Shapes, by_track, holders, pieces, predicted, rectangles
from perception_node.track.still import Stay, StillWatch
from perception_node.types import F64, Package, Packages, Track

_MAX_GAP_S = 10.0
"""A stamp that leaps further ahead is a jump of the clock, not a pause."""
_BELT_MEMORY_S = 2.0
"""The belt's last known velocity is used for this long without a package to confirm it."""
_PROCESS_M_PER_S = 0.01
"""Drift of a package against the belt (settling, slip) that is not called motion of its own, metres per second."""
_OWN_MOTION_SIGMAS = 4.0
_OWN_MOTION_FLOOR_M_S = 0.04
_EYE = np.eye(3)
_UNKNOWN_SPEED_SIGMA_M_S = 0.5
"""One sigma of the velocity of a package that was seen once, on a belt of unknown speed."""
_STEP_M = 0.005
"""A belt that is this far from where its speed puts it has changed its speed."""
_LEAP_COST = 1.5
"""Price of a leap of a belt whose speed is known, by the gate's length, in tracks without a package: it must explain two or more.
With one it could not be told from one package that is missed while another comes."""
_STALE_COST = 0.05
"""What a track costs more that was not seen in the last frame: of two in the same place the one in sight is continued."""
_LONG_S = 0.6
"""A track that was not seen for longer only gets back what is beyond doubt. Source: judgement."""
_OLD_SHAPE_COST = 0.1
"""What a shape costs more that is not the one a track was last seen in."""


@dataclass(frozen=True)
class TrackUpdate:
    """What one frame did to the tracks.

    Attributes:
        tracks: one per package of the frame, in its order. belt_velocity_m_s: (3,) in the camera frame as used, None = unknown.
        reset: True when the clock had jumped and everything before was forgotten. still: by label, what has not moved with the
            moving belt since it was first seen. reading_used: False when there was no measured velocity, or the packages contradict
            it. reading_words: what is wrong with it, "" = nothing that shows.
    """

    tracks: tuple[Track, ...]
    belt_velocity_m_s: F64 | None
    reset: bool
    still: Mapping[int, Stay] = field(default_factory=dict)
    reading_used: bool = False
    reading_words: str = ""


@dataclass
class _State:
    """One followed package: filtered pose, its covariance and size, as of `stamp_ns`; `package`: the last measurement; `drift_m`:
    (3,) how far it has been carried since then; `held_ns`: when a mask last held it together with others; `scale_doubt`: relative
    sigma of its distance, and so of its speed."""

    track_id: int
    class_name: str
    pose: F64
    covariance: F64
    size_m: F64
    velocity: Velocity | None
    stamp_ns: int
    package: Package
    drift_m: F64 = field(default_factory=lambda: np.zeros(3))
    history: History = field(default_factory=History)
    shapes: Shapes = field(default_factory=Shapes)
    held_ns: int = 0
    scale_doubt: float = 0.0


class Tracker:
    """Follows packages along the belt. Deterministic: the same frames give the same ids.

    A track's position is a Kalman filter driven by the belt's velocity (or its own, where it plainly moves otherwise). Ids
    start at 1 and are not used twice, except after `reset`.

    Args:
        track, belt: live parameters; assign new ones at any time between updates.
    """

    def __init__(self, track: TrackConfig, belt: BeltConfig) -> None:
        self.track = track
        self.belt = belt
        self.reset()

    def reset(self) -> None:
        """Forget all tracks, the belt's velocity and the ids given out."""
        self._next_id = 1
        self._forget()

    def _forget(self) -> None:
        self._states: list[_State] = []
        self._belt: Velocity | None = None
        self._belt_ns = 0
        self._stamp_ns: int | None = None
        self._watch = StillWatch()
        self._reading = ReadingCheck()

    def update(self, packages: Packages, stamp_ns: int, belt_velocity_m_s: Sequence[float] | F64 | None = None) -> TrackUpdate:
        """Take one frame's packages in.

        Args:
            packages: located in the camera frame. stamp_ns: of the frame; earlier than the last one = the clock jumped, all
                is forgotten; equal to the last one = the same frame again, ids are kept and nothing is learned.
            belt_velocity_m_s: (3,) in the camera frame as measured by the belt's drive, None = estimate it. It is estimated as
                well while the packages contradict the reading (`ReadingCheck`).

        Returns:
            One track per package in the packages' order; `track_id` 0 where a package could not be placed.
        """
        jumped = self._stamp_ns is not None and not 0 <= (stamp_ns - self._stamp_ns) * 1e-9 <= _MAX_GAP_S
        if jumped:
            self._forget()
        again = self._stamp_ns == stamp_ns
        step_s = 0.0 if self._stamp_ns is None or jumped else (stamp_ns - self._stamp_ns) * 1e-9
        self._stamp_ns = stamp_ns
        oldest_ns = stamp_ns - round((self.track.max_missed_s + 1e-9) * 1e9)
        self._states = [s for s in self._states if max(s.stamp_ns, s.held_ns) >= oldest_ns]
        measured = None if belt_velocity_m_s is None else np.asarray(belt_velocity_m_s, dtype=np.float64)
        if measured is not None and self._reading.believed:
            self._belt, self._belt_ns = Velocity(measured, (0.01 * float(np.linalg.norm(measured)) + 0.001) ** 2), stamp_ns
        elif self._belt is not None and (stamp_ns - self._belt_ns) * 1e-9 > _BELT_MEMORY_S:
            self._belt = None
        placed = [package for package in packages.items if package.placed]
        found = outlines_of(placed)
        grid = grid_of(packages, placed)
        sure = self._belt is not None and (measured is None or self._reading.confirmed)
        pairs, held = self._match(found, grid, step_s, sure)
        by_label = {placed[column].label: self._states[row] for row, column in pairs}
        if pairs and not again:
            self._take_in(pairs, held, placed, found, grid, stamp_ns)
        for column, package in enumerate(placed):
            if package.label not in by_label:
                by_label[package.label] = self._start(package, stamp_ns)
                by_label[package.label].shapes.see(found, column, stamp_ns, grid)
        if not again:
            self._learn_velocity(packages.belt_plane, stamp_ns, measured)
        tracks = self._tracks(packages.items, by_label, stamp_ns)
        velocity = None if self._belt is None else self._belt.value.copy()
        still = self._watch.update(tracks, velocity, stamp_ns, self.track.still_s, self.track.max_missed_s)
        return TrackUpdate(tracks, velocity, jumped, still, measured is not None and self._reading.believed,
                           self._reading.words)

    def _match(self, found: Outlines, grid: Grid | None, step_s: float,
               sure: bool) -> tuple[list[tuple[int, int]], dict[int, list[int]]]:
        """Carry all tracks on by the time since the last frame and pair them with packages.

        A belt that stops or turns moves all of its packages otherwise than predicted, and alike: where that explains the picture
        better, it is how far every track is carried, those out of sight included. `sure`: the belt's speed is known.
        """
        if not self._states:
            return [], {}
        self._carry(np.array([self._velocity(state).value for state in self._states]) * step_s)
        if not len(found.bounds):
            return [], {}
        newest_ns = max(state.stamp_ns for state in self._states)
        in_sight = np.flatnonzero(~self._long_missed())
        stale = np.where([state.stamp_ns < newest_ns for state in self._states], _STALE_COST, 0.0)
        pairs, held, cost, main = self._pair(found, grid, stale)
        if step_s > 0:
            shift = likely_shift(main.some(in_sight), found, self.track.max_speed_m_s * step_s)
            length_m = float(np.linalg.norm(shift))
            if length_m > _STEP_M:
                price = 0.0 if not sure else _LEAP_COST * ALONE * min(length_m / self.track.gate_m, 1.0)
                self._carry(shift)
                shifted, other_held, other_cost, _ = self._pair(found, grid, stale)
                if other_cost + price < cost:
                    return shifted, other_held
                self._carry(-shift)
        return pairs, held

    def _long_missed(self) -> NDArray[np.bool_]:
        """Of each track, whether it was not seen for longer than `_LONG_S`."""
        oldest_ns = (self._stamp_ns or 0) - round((_LONG_S + 1e-9) * 1e9)
        return np.array([max(state.stamp_ns, state.held_ns) < oldest_ns for state in self._states])

    def _carry(self, way_m: F64) -> None:
        """Move all tracks on: (3,) all alike, or (T, 3)."""
        drifts_m = np.array([state.drift_m for state in self._states]) + way_m
        carried_m = np.array([state.shapes.carried_m for state in self._states]) + way_m
        for state, drift_m, whole_m in zip(self._states, drifts_m, carried_m, strict=True):
            state.drift_m, state.shapes.carried_m = drift_m, whole_m

    def _pair(self, found: Outlines, grid: Grid | None,
              stale: F64) -> tuple[list[tuple[int, int]], dict[int, list[int]], float, Outlines]:
        """Pairs, which packages hold several tracks, what the pairs cost, and the main shapes of all tracks where they should be.
        A package that holds several goes by the one that was this package before, or the largest; a track that falls apart goes on
        as its largest piece.

        What plainly fits comes first, so that no doubtful pair takes its partner; then the best of what is left. Each package or
        track without a partner, whichever are fewer, costs `ALONE`.
        """
        shapes = [shape for state in self._states for shape in state.shapes.kept]
        counts = [len(state.shapes.kept) for state in self._states]
        starts = np.cumsum([0, *counts])
        rows_of_main = starts[:-1] + [state.shapes.main_place for state in self._states]
        rows_of_last = starts[:-1] + [state.shapes.last_place for state in self._states]
        expected, masks = predicted(shapes, np.repeat([state.shapes.carried_m for state in self._states], counts, axis=0), grid)
        old = np.full((len(shapes), 1), _OLD_SHAPE_COST)
        old[rows_of_last] = 0.0
        costs = fit_cost(expected, found, self.track.gate_m, masks) + old
        masks = rectangles(expected, found) if masks is None else masks
        cost, been_ns = by_track(costs, masks.both, masks.ours, masks.theirs, expected.depth_m, found.depth_m,
                                 np.array([shape.stamp_ns for shape in shapes]), starts, self._long_missed())
        cost += stale[:, None]
        main = expected.some(rows_of_main)
        held = holders(masks.some(rows_of_main), costs[rows_of_main], PLAIN, been_ns)
        members = {row for rows in held.values() for row in rows}
        settled = [(row, column) for row, column in pieces(masks.some(rows_of_last), cost, PLAIN, been_ns).items()
                   if row not in members and column not in held]
        for row, column in settled + [(rows[0], column) for column, rows in held.items()]:
            cost[:, column] = np.inf
            cost[row, :] = np.inf
            cost[row, column] = 0.0
        pairs = assign(cost, PLAIN)
        if len(pairs) < min(cost.shape):
            rest = cost.copy()
            rest[[row for row, _ in pairs]] = np.inf
            rest[:, [column for _, column in pairs]] = np.inf
            pairs = pairs + assign(rest, ALONE)
        return pairs, held, sum(float(cost[pair]) for pair in pairs) + ALONE * (min(cost.shape) - len(pairs)), main

    def _velocity(self, state: _State) -> Velocity:
        if state.velocity is not None:
            return state.velocity
        if self._belt is not None:
            return self._belt
        return Velocity(np.zeros(3), _UNKNOWN_SPEED_SIGMA_M_S**2)

    def _take_in(self, pairs: list[tuple[int, int]], held: dict[int, list[int]], placed: list[Package], found: Outlines,
                 grid: Grid | None, stamp_ns: int) -> None:
        """Correct the tracks by what was found to be theirs alone; what is held together with others goes on as predicted."""
        alone, plain = [], []
        for row, column in pairs:
            is_main = self._states[row].shapes.see(found, column, stamp_ns, grid, column in held)
            if column in held:
                for member in held[column]:
                    self._states[member].held_ns = stamp_ns
            else:
                alone.append((row, column))
                plain.append(is_main)
        if alone:
            self._correct([self._states[row] for row, _ in alone], [placed[column] for _, column in alone], stamp_ns, plain)

    def _correct(self, states: list[_State], packages: list[Package], stamp_ns: int, main: list[bool]) -> None:
        """Kalman step of the positions; orientation and size follow with the same trust."""
        elapsed_s = np.array([(stamp_ns - state.stamp_ns) * 1e-9 for state in states])
        doubt = (np.array([self._velocity(state).variance for state in states]) + _PROCESS_M_PER_S**2) * elapsed_s**2
        poses, covariances = np.array([state.pose for state in states]), np.array([state.covariance for state in states])
        sizes, drifts = np.array([state.size_m for state in states]), np.array([state.drift_m for state in states])
        truncated = np.array([package.truncated for package in packages])
        # When more is in sight, what was believed is void.
        void = truncated | np.array([state.package.truncated for state in states])
        correct(poses, covariances, sizes, drifts, doubt, np.array([package.T_cam_package for package in packages]),
                np.array([package.covariance for package in packages]),
                np.array([package.size_m for package in packages], dtype=np.float64), truncated, void)
        for i, (state, package) in enumerate(zip(states, packages, strict=True)):
            state.pose, state.covariance, state.size_m = poses[i], covariances[i], sizes[i]
            state.class_name, state.package, state.stamp_ns, state.drift_m = package.class_name, package, stamp_ns, np.zeros(3)
        self._remember([state for state, usual in zip(states, main, strict=True) if usual], stamp_ns)

    def _start(self, package: Package, stamp_ns: int) -> _State:
        state = _State(self._next_id, package.class_name, package.T_cam_package.copy(), package.covariance.copy(),
                       np.array(package.size_m), None, stamp_ns, package)
        self._next_id += 1
        self._remember([state], stamp_ns)
        self._states.append(state)
        return state

    @staticmethod
    def _remember(states: list[_State], stamp_ns: int) -> None:
        if not states:
            return
        # The middle one: one direction (the height, or the viewing ray without depth) may be in doubt, but always by the same.
        sigmas = np.sqrt(np.maximum(np.linalg.eigvalsh(np.array([state.package.covariance[:3, :3] for state in states])),
                                    MIN_POSITION_SIGMA_M**2))[:, 1:].tolist()
        for state, (sigma, most) in zip(states, sigmas, strict=True):
            state.scale_doubt = most / max(math.hypot(*state.package.T_cam_package[:3, 3].tolist()), 1e-3)
            state.history.append(stamp_ns * 1e-9, state.package.T_cam_package[:3, 3].tolist(),
                                 1.0 if state.package.truncated else sigma)

    def _learn_velocity(self, plane: F64 | None, stamp_ns: int, measured: F64 | None) -> None:
        """Estimate the belt's velocity (unless it was given and fits), then which packages plainly move otherwise."""
        current = [state for state in self._states if state.stamp_ns == stamp_ns]
        now_s = stamp_ns * 1e-9
        rows = np.array([state.history.rows for state in current])
        rows = rows.reshape(len(current), HISTORY, 5)
        if measured is None:
            self._reading.silent()
        else:
            self._reading.look(measured, rows, np.array([state.scale_doubt for state in current]),
                               [state.track_id for state in current],
                               [self._watch.rode(state.track_id) for state in current], plane, stamp_ns)
        if measured is None or not self._reading.believed:
            estimate = belt_velocity(rows, now_s)
            if estimate is not None:
                value = self._along_belt(estimate.value, plane, measured is None)
                speed = float(np.linalg.norm(value))
                if speed > self.track.max_speed_m_s:
                    value = value * (self.track.max_speed_m_s / speed)
                self._belt, self._belt_ns = Velocity(value, estimate.variance), stamp_ns
        own, variance = own_slopes(rows, now_s)
        if self._belt is None:
            plain = np.isfinite(variance)
        else:
            limit = _OWN_MOTION_FLOOR_M_S + _OWN_MOTION_SIGMAS * np.sqrt(3 * (variance + self._belt.variance))
            counts = np.array([state.history.count for state in current])
            plain = (counts >= 4) & (np.linalg.norm(own - self._belt.value, axis=1) > limit)
        for state, moves, velocity, spread in zip(current, plain.tolist(), own, variance.tolist(), strict=True):
            state.velocity = Velocity(velocity, spread) if moves else None

    def _along_belt(self, velocity: F64, plane: F64 | None, sure: bool) -> F64:
        """The part of a velocity that a belt can have: along its configured direction where that is sure, or in its plane."""
        direction = np.array(self.belt.direction)
        if sure and direction.any():
            return direction * float(direction @ velocity)
        return velocity if plane is None else velocity - plane[:3] * float(plane[:3] @ velocity)

    def _tracks(self, packages: Sequence[Package], states: Mapping[int, _State], stamp_ns: int) -> tuple[Track, ...]:
        """One track of each package, by label from `states`; what has none there is not tracked."""
        poses, covariances, velocities, spreads, fields = [], [], [], [], []
        for package in packages:
            state = states.get(package.label)
            if state is None:
                velocity = Velocity(np.zeros(3), self.track.max_speed_m_s**2)
                track_id, class_name, size_m = 0, package.class_name, package.size_m
                pose, covariance, spread = package.T_cam_package, package.covariance, _EYE * velocity.variance
            else:
                velocity = self._velocity(state)
                track_id, class_name, size_m = state.track_id, state.class_name, tuple(state.size_m.tolist())
                pose, covariance, spread = state.pose, state.covariance, _EYE * velocity.variance
                elapsed_s = (stamp_ns - state.stamp_ns) * 1e-9
                if elapsed_s > 0:  # held by a mask together with others: where it should be by now
                    pose, covariance = pose.copy(), covariance.copy()
                    pose[:3, 3] += state.drift_m
                    covariance[:3, :3] += _EYE * (velocity.variance + _PROCESS_M_PER_S**2) * elapsed_s**2
                if not package.from_depth:  # how fast a picture moves depends on the distance, and that is in doubt
                    position = package.T_cam_package[:3, 3]
                    doubt = float(np.linalg.eigvalsh(package.covariance[:3, :3])[2]) / max(float(position @ position), 1e-9)
                    spread += np.outer(velocity.value, velocity.value) * doubt
            poses.append(pose)
            covariances.append(covariance)
            velocities.append(velocity.value)
            spreads.append(spread)
            fields.append({"track_id": track_id, "label": package.label, "class_name": class_name, "size_m": size_m,
                           "stamp_ns": stamp_ns, "package": package})
        return tuple(Track.many(fields, poses, covariances, velocities, spreads))

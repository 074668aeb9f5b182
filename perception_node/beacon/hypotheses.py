"""What the lights may mean: poses with identities that explain the pictures, each followed by itself until only one is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from perception_node.beacon.identify import Measured, Solution, fit_lights, plausible, roll_rad
from perception_node.beacon.layout import Layout
from perception_node.beacon.settings import BeaconSettings
from perception_node.beacon.solve import Fit, mirrored, rotation, rotation_vector, three_point_poses
from perception_node.geometry import transform_points
from perception_node.types import F64

MAX_CHI2 = 16.0
"""Chi-square per degree of freedom above which lights do not fit the layout: residuals of four standard deviations."""
GIVE_UP = 60.0
"""A hypothesis whose cost is worse than the best one's by more is given up: with `_FADE` a chi-square that is worse by 12 in
every picture, 3.5 standard deviations. Source: judgement; wrong decisions are counted by `perception bench beacon`."""
_FADE, _CAP = 0.8, 60.0
"""Costs fade: errors of neighbouring pictures have the same causes, so a hundred of them are not a hundred witnesses."""
_SAME = 9.0
"""Squared Mahalanobis distance below which two poses are one: the covariance covers both. Source: 3 standard deviations."""
_MAX_ALIVE = 8
_BRIGHTER = 1.5
"""Of two sets of different lights that both fit, the one that is so much brighter is the beacon, the other its reflection."""
_JUMP_RAD = 0.25
"""A mirrored solution whose attitude is further from the predicted one cannot have been reached since the last picture."""
_MISSED_PX = 3.0
"""Source: refinement takes away about four fifths of such a residual; what is left of 3 px is 10 standard deviations."""
_SMOOTH = 0.5
"""Share of the newest velocity in the smoothed one."""


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """One meaning of the lights.

    Attributes:
        fit: pose of the last picture that showed it. stamp_ns: of that picture. spot_of: spot of each LED there, -1 = hidden.
        velocity: (6,) m/s of the origin and rad/s, in the camera's frame. cost: faded sum of chi-squares.
        excess: faded mean of chi-square per degree of freedom. age: pictures that showed it.
        area_px, peak, flux: medians over its spots.
    """

    fit: Fit
    stamp_ns: int
    spot_of: tuple[int, ...]
    velocity: F64
    cost: float
    excess: float
    age: int
    area_px: float
    peak: float
    flux: float

    def at(self, stamp_ns: int) -> F64:
        """(4, 4) predicted pose: constant velocity."""
        dt_s = 1e-9 * (stamp_ns - self.stamp_ns)
        T = self.fit.T.copy()
        T[:3, :3] = rotation(self.velocity[3:] * dt_s) @ T[:3, :3]
        T[:3, 3] += self.velocity[:3] * dt_s
        return T

    def inflated(self) -> F64:
        """(6, 6) covariance, larger when residuals of the last pictures were larger than they should be."""
        return self.fit.covariance * max(self.excess, 1.0)


def difference(T: F64, T_from: F64) -> F64:
    """(6,) metres and rad from one pose to another, in the camera's frame."""
    return np.concatenate([T[:3, 3] - T_from[:3, 3], rotation_vector(T[:3, :3] @ T_from[:3, :3].T)])


def begin(found: Sequence[Solution], before: Sequence[Hypothesis], data: Measured, layout: Layout, stamp_ns: int,
          settings: BeaconSettings) -> list[Hypothesis]:
    """Hypotheses of a search. What fits to where a beacon was expected goes on as that one."""
    made = []
    for solution in found:
        hypothesis = _make(solution.fit, solution.spot_of, data, stamp_ns, solution.fit.chi2)
        for old in before:
            gap = difference(solution.fit.T, old.at(stamp_ns))
            allowed = 0.1 * float(np.linalg.norm(solution.fit.T[:3, 3])) + 0.02
            if np.linalg.norm(gap[:3]) < allowed and np.linalg.norm(gap[3:]) < 2 * _JUMP_RAD:
                hypothesis = replace(hypothesis, age=old.age + 1, velocity=old.velocity)
                break
        made += [hypothesis, *_mirrors(hypothesis, None, data, layout, settings)]
    bright = max(h.flux for h in made)
    sets = {frozenset(h.spot_of) - {-1} for h in made if h.flux * _BRIGHTER >= bright}
    return [h for h in made if h.flux * _BRIGHTER >= bright or any(frozenset(h.spot_of) & one for one in sets)]


def step(old: Hypothesis, T: F64, places: F64, data: Measured, layout: Layout, stamp_ns: int, settings: BeaconSettings,
         ) -> list[Hypothesis]:
    """What becomes of a hypothesis with the next picture's spots: itself, its mirror image, or nothing.

    Args:
        T: (4, 4) predicted pose. places: (N, 2) pixels of the LEDs there. data: the spots.
    """
    spot_of = _associate(places, data)
    fitted = _robust(T, spot_of, data, layout)
    if fitted is None:
        return []
    fit, spot_of = fitted
    if not plausible(fit.T, settings.max_roll_rad):
        return []
    free = 2 * sum(n >= 0 for n in spot_of) - 6
    new = _make(fit, spot_of, data, stamp_ns, min(fit.chi2, _CAP) + _FADE * old.cost)
    dt_s = 1e-9 * (stamp_ns - old.stamp_ns)
    velocity = difference(fit.T, old.fit.T) / dt_s
    share = _SMOOTH if old.age > 1 else 1.0
    excess = old.excess if free <= 0 else old.excess + 0.1 * (fit.chi2 / free - old.excess)
    new = replace(new, velocity=share * velocity + (1 - share) * old.velocity, age=old.age + 1, excess=excess)
    return [new, *_mirrors(new, T, data, layout, settings)]


def spacing_px(places: F64) -> float:
    """Distance of the two nearest of (N, 2) pixels; those that are NaN (behind the camera) do not count."""
    gaps = np.hypot(*(places[:, None] - places[None]).T) + np.eye(len(places)) * 1e9
    return float(np.nanmin(gaps, initial=1e9))


def judge(hypotheses: Sequence[Hypothesis], layout: Layout) -> list[Hypothesis]:
    """Those that live on, best first: duplicates and copies by the layout's symmetry are joined, hopeless ones given up."""
    kept: list[Hypothesis] = []
    for hypothesis in sorted(hypotheses, key=lambda h: (-sum(n >= 0 for n in h.spot_of), h.cost, -h.age)):
        if kept and hypothesis.cost > kept[0].cost + GIVE_UP:
            continue
        twin = next((one for one in kept if _same(one, hypothesis, layout)), None)
        if twin is None:
            kept.append(hypothesis)
        elif hypothesis.age > twin.age:
            kept[kept.index(twin)] = replace(twin, age=hypothesis.age, velocity=hypothesis.velocity, excess=hypothesis.excess)
    return kept[:_MAX_ALIVE]


def alternatives(alive: Sequence[Hypothesis], layout: Layout, max_roll_rad: float) -> list[F64]:
    """(4, 4) poses besides the first one that the pictures allow, copies by the layout's symmetry among them."""
    poses = [h.fit.T for h in alive]
    copies = [T @ S for T in poses for S in layout.same]
    return poses[1:] + [T for T in copies if abs(roll_rad(T)) <= max_roll_rad]


def _make(fit: Fit, spot_of: tuple[int, ...], data: Measured, stamp_ns: int, cost: float) -> Hypothesis:
    spots = [data.spots[n] for n in spot_of if n >= 0]
    area, peak, flux = (sorted(getattr(s, name) for s in spots)[len(spots) // 2] for name in ("area_px", "peak", "flux"))
    free = 2 * len(spots) - 6
    excess = max(fit.chi2 / free, 1.0) if free > 0 else 1.0
    return Hypothesis(fit, stamp_ns, spot_of, np.zeros(6), cost, excess, 1, area, peak, flux)


def _same(one: Hypothesis, other: Hypothesis, layout: Layout) -> bool:
    if set(one.spot_of) != set(other.spot_of):
        return False
    inverse = np.linalg.inv(one.inflated())
    gaps = [difference(T, one.fit.T) for T in (other.fit.T, *(other.fit.T @ S for S in layout.same))]
    return min(float(gap @ inverse @ gap) for gap in gaps) < _SAME


def _associate(places: F64, data: Measured) -> tuple[int, ...]:
    """The spot nearest to each predicted LED, none twice, after the shift that all have in common is taken away."""
    gate = 0.4 * spacing_px(places)
    away = places[:, None] - data.pixels[None]
    away[~np.isfinite(away)] = 1e9
    shift = np.zeros(2)
    for _ in range(2):
        distance = np.hypot(away[..., 0] + shift[0], away[..., 1] + shift[1])
        nearest = distance.argmin(axis=1)
        best = distance[np.arange(len(places)), nearest]
        good = (best < max(gate, 6.0)) & (distance.argmin(axis=0)[nearest] == np.arange(len(places)))
        if not good.any():
            break
        offsets = np.sort(data.pixels[nearest[good]] - places[good], axis=0)
        shift = (offsets[len(offsets) // 2] + offsets[(len(offsets) - 1) // 2]) / 2
    return tuple(int(n) if ok else -1 for n, ok in zip(nearest, good, strict=True))


def _robust(T: F64, spot_of: tuple[int, ...], data: Measured, layout: Layout) -> tuple[Fit, tuple[int, ...]] | None:
    """Fit; when the lights do not fit together, leave out the one without which they do."""
    fit = fit_lights(T, spot_of, data, layout)
    seen = [led for led, n in enumerate(spot_of) if n >= 0]
    if len(seen) < 3:
        return None
    if fit is not None and fit.chi2 <= MAX_CHI2 * max(2 * len(seen) - 6, 1):
        return fit, spot_of
    if len(seen) < 4:
        return None
    trials = []
    for led in seen:
        without = tuple(-1 if other == led else n for other, n in enumerate(spot_of))
        trial = fit_lights(T, without, data, layout)
        if trial is not None and trial.chi2 <= MAX_CHI2 * max(2 * len(seen) - 8, 1):
            away = difference(trial.T, T)
            trials.append((trial.chi2 if len(seen) > 4 else float(np.linalg.norm(away[3:])), trial, without))
    if not trials:
        return None
    _, trial, without = min(trials, key=lambda item: item[0])
    return trial, without


def _mirrors(new: Hypothesis, predicted: F64 | None, data: Measured, layout: Layout, settings: BeaconSettings) -> list[Hypothesis]:
    """The other pose that explains the same identities, where there is one and it could have been reached."""
    leds = [led for led, n in enumerate(new.spot_of) if n >= 0]
    used = [n for n in new.spot_of if n >= 0]
    if len(leds) == 3:
        starts = three_point_poses(layout.leds_m[leds], data.rays[used])
    else:
        start = mirrored(new.fit.T, layout.normal, layout.leds_m.mean(axis=0))
        starts = [start] if layout.flat or _near(start, leds, used, data, layout) else []
    others = []
    for start in starts:
        if predicted is not None and _turn(start, predicted) > 2 * _JUMP_RAD:
            continue
        fit = fit_lights(start, new.spot_of, data, layout)
        if fit is None or fit.chi2 > new.fit.chi2 + GIVE_UP or not plausible(fit.T, settings.max_roll_rad):
            continue
        if predicted is not None and _turn(fit.T, predicted) > _JUMP_RAD:
            continue
        others.append(replace(new, fit=fit, cost=new.cost + max(fit.chi2 - new.fit.chi2, 0.0)))
    return others


def _near(T: F64, leds: list[int], used: list[int], data: Measured, layout: Layout) -> bool:
    """Can a pose of a layout that is not flat explain the lights after refinement? Not when it misses them by far."""
    points = transform_points(T, layout.leds_m[leds])
    missed = points[:, :2] / points[:, 2:] - data.rays[used]
    return bool(np.abs(missed).max() * data.focal_px < _MISSED_PX)


def _turn(T: F64, other: F64) -> float:
    """Angle between two attitudes, rad. Source: trace(R) = 1 + 2 cos(angle)."""
    cosine = (float(np.einsum("ij,ij->", T[:3, :3], other[:3, :3])) - 1.0) / 2.0
    return float(np.arccos(np.clip(cosine, -1.0, 1.0)))

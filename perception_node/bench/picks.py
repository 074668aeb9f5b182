"""Simulated picking with a new kind of package half-way: does a ranking that learns fail less, and how fast does it recover?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from perception_node.advise.ranking import Candidate, Ranking
from perception_node.files import aside
from perception_node.grasp.score import PRIORS
from perception_node.types import GRASP_KINDS, GraspKind

WINDOW = 5
"""Packages within the arm's reach at a time."""
ATTEMPTS, PATIENCE = 2, 12
"""A package passes by after so many failed picks, or when so many picks were made of others."""
SPREAD = 40.0
"""Of the terms: the larger, the nearer to their mean."""
FOLLOWING = 200
WITHIN = 0.03


@dataclass(frozen=True)
class Sort:
    """A sort of packages: class, sides and height in metres, share of arrivals before and after the change, by how much the
    proposed log-odds are wrong for each gripper, and the mean of its grasps' terms (0..1) for each."""

    class_name: str
    side_m: float
    height_m: float
    before: float
    after: float
    wrong: Mapping[GraspKind, float]
    terms: Mapping[GraspKind, float]


_USUAL: Mapping[GraspKind, float] = {"suction": 0.80, "parallel_jaw": 0.80}
SORTS = (
    Sort("box", 0.28, 0.20, 0.45, 0.30, {"suction": -0.2, "parallel_jaw": -0.6}, _USUAL),
    Sort("padded_mailer", 0.22, 0.02, 0.30, 0.20, {"suction": -0.8, "parallel_jaw": -2.0}, _USUAL),
    Sort("poly_bag", 0.25, 0.04, 0.25, 0.15, {"suction": -1.3, "parallel_jaw": 0.6}, _USUAL),
    Sort("box", 0.13, 0.08, 0.00, 0.35, {"suction": -0.7, "parallel_jaw": 2.3},
         {"suction": 0.80, "parallel_jaw": 0.64}),
)
"""The last one is new: small waxed cartons on which the cup slips now and then, and which jaws hold well although their score says
less (about 0.7). Source: invented; scores that are too high for one gripper and too low for the other are what a ranking that only
repeats what worked does not find out."""


@dataclass(frozen=True, eq=False)
class Parcel:
    """One simulated package: its candidates, their true probabilities, and what fate holds for each attempt (0..1)."""

    candidates: tuple[Candidate, ...]
    truth: tuple[float, ...]
    fate: tuple[float, ...]
    new: bool


@dataclass(frozen=True, eq=False)
class Run:
    """One policy's run: for each pick whether it failed, was of the new sort, and explored; packages that passed by unpicked; the
    lowest proposed score among exploring picks."""

    failed: NDArray[np.bool_]
    new: NDArray[np.bool_]
    explored: NDArray[np.bool_]
    passed: int
    lowest_explored: float

    def recovery_picks(self, change: int, attainable: float) -> int:
        """Picks after the change until the failure rate of the following 200 is within 3 points of what is attainable."""
        sums = np.cumsum(np.concatenate([[0.0], self.failed.astype(float)]))
        for start in range(change, len(self.failed) - FOLLOWING):
            if (sums[start + FOLLOWING] - sums[start]) / FOLLOWING <= attainable + WITHIN:
                return start - change
        return len(self.failed) - change


@lru_cache(maxsize=40_000)
def parcel(number: int, seed: int, changed: bool) -> Parcel:
    """The package that arrives as number `number`: the same for every policy."""
    random = np.random.default_rng([seed, number])
    shares = np.array([sort.after if changed else sort.before for sort in SORTS])
    place = int(random.choice(len(SORTS), p=shares / shares.sum()))
    sort = SORTS[place]
    side = sort.side_m * float(np.exp(random.normal(0.0, 0.12)))
    size = (side * 1.2, side / 1.2, sort.height_m)
    candidates, truth = [], []
    for kind in GRASP_KINDS:
        model = PRIORS[kind]
        mean = sort.terms[kind]
        terms = {name: float(random.beta(SPREAD * mean, SPREAD * (1.0 - mean))) for name in model.weights}
        score = float(model.probability({name: np.array(value) for name, value in terms.items()}))
        odds = np.log(score / (1.0 - score)) + sort.wrong[kind]
        candidates.append(Candidate(kind, sort.class_name, score, size, terms))
        truth.append(float(1.0 / (1.0 + np.exp(-odds))))
    return Parcel(tuple(candidates), tuple(truth), tuple(random.random(ATTEMPTS).tolist()), place == len(SORTS) - 1)


Policy = Literal["truth", "prior", "learns"]


def simulate(picks: int, seed: int, policy: Policy, explore_share: float = 0.0, floor: float = 0.6) -> Run:
    """Pick `picks` times; half-way the arrivals change.

    Args:
        policy: what the window's best grasp is chosen by: the true probability, the proposed score, or the ranking that learns.
        explore_share, floor: of the ranking.
    """
    learns = policy == "learns"
    ranking = Ranking(explore_share, floor, seed=seed)
    arrived = 0
    belt: list[list[int]] = []
    parcels: dict[int, Parcel] = {}
    failed, new, explored = np.zeros(picks, bool), np.zeros(picks, bool), np.zeros(picks, bool)
    passed, lowest = 0, 1.0
    for pick in range(picks):
        while len(belt) < WINDOW:
            parcels[arrived] = parcel(arrived, seed, pick >= picks // 2)
            belt.append([arrived, 0, 0])
            arrived += 1
        options = [(entry, place) for entry in belt for place in range(len(parcels[entry[0]].candidates))]
        candidates = [parcels[entry[0]].candidates[place] for entry, place in options]
        truth = np.array([parcels[entry[0]].truth[place] for entry, place in options])
        proposed = np.array([candidate.score for candidate in candidates])
        merit = ranking.probability(candidates) if learns else truth if policy == "truth" else proposed
        best = int(np.argmax(merit))
        if learns and ranking.exploring:
            drawn = ranking.explored(candidates)
            if drawn.max() > 0 and int(np.argmax(drawn)) != best:
                best, explored[pick] = int(np.argmax(drawn)), True
                lowest = min(lowest, candidates[best].score)
        entry, place = options[best]
        chosen = parcels[entry[0]]
        success = chosen.fate[entry[1]] < chosen.truth[place]
        failed[pick], new[pick] = not success, chosen.new
        if learns:
            ranking.learn(candidates[best], success)
        entry[1] += 1
        for other in belt:
            other[2] += 1
        gone = [other for other in belt if (other is entry and success) or other[1] >= ATTEMPTS or other[2] >= PATIENCE]
        passed += len(gone) - int(success)
        for other in gone:
            belt.remove(other)
            del parcels[other[0]]
    return Run(failed, new, explored, passed, lowest)


def rolling(values: NDArray[np.bool_], width: int = 100) -> NDArray[np.float64]:
    """Mean of the last `width` values at each place, fewer at the start."""
    sums = np.cumsum(np.concatenate([[0.0], values.astype(float)]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    means: NDArray[np.float64] = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def plot(runs: Mapping[str, Sequence[Run]], picks: int, path: Path) -> None:
    """Draw the rolling failure rate of each policy, mean over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 3.6), dpi=110)
    for (name, several), colour in zip(runs.items(), ("#111827", "#8a8f98", "#d97706", "#2563eb"), strict=False):
        curves = np.array([rolling(run.failed) for run in several])
        axes.plot(100 * curves.mean(axis=0), label=name, color=colour, linewidth=1.6)
        low, high = 100 * curves.min(axis=0), 100 * curves.max(axis=0)
        axes.fill_between(np.arange(picks), low, high, color=colour, alpha=0.15, linewidth=0)
    axes.axvline(picks // 2, color="black", linestyle=":", linewidth=1)
    axes.text(picks // 2, axes.get_ylim()[1] * 0.97, " a new sort appears", va="top", fontsize=9)
    axes.set(xlabel="pick", ylabel="failed, % of the last 100", xlim=(0, picks))
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="upper left")
    figure.tight_layout()
    with aside(path) as part:
        figure.savefig(part, format="png")
    plt.close(figure)

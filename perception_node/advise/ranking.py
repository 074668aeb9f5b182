"""The ranking that learns: what outcomes say about scores, by gripper, class, size and grasp terms; exploration with a floor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from perception_node.types import CLASS_NAMES, F64, GRASP_KINDS, GraspKind

TERMS: Mapping[GraspKind, Mapping[str, str]] = {
    "suction": {
        "seal": "the surface under the cup is rough",
        "edge": "the cup's lip reaches the package's edge",
        "margin": "the spot is close to the package's edge",
        "reading": "the camera measures little depth at the spot",
        "spread": "the surface bends at the spot",
        "upright": "the spot is tilted",
        "open": "something stands higher beside the spot",
        "centre": "the spot is far from the package's middle",
    },
    "parallel_jaw": {
        "clear": "there is little free space under the finger tips",
        "seen": "the places of the fingers are partly out of sight",
        "reach": "the fingers reach down only a little",
        "room": "the jaws must open almost all the way",
        "centre": "the grasp is far from the package's middle",
        "rigid": "the package gives way when it is squeezed",
        "upright": "the package is tilted",
    },
}
"""The terms of a grasp's score that corrections may depend on, each 0 (bad) to 1 (good), and an operator's words for a bad one."""
USUAL_TERM = 0.8
"""A term's usual value, from which deviations count. Source: judgement; proposed grasps have passed every check."""
USUAL_SIDE_M = 0.2
_SPREAD = {"bias": 0.7, "class": 1.0, "size": 2.0, "height": 1.5, "term": 0.5}
"""Standard deviations of the corrections before any outcome, in log-odds (of sizes: per doubling). Source: judgement: scores that
are off by more than two to three times in the odds for a whole class would have been noticed when they were set; sorts within a
class differ by size. Size, height and memory chosen by simulated picking on other seeds than those reported (docs/results.md)."""
_SIZE = 1 + len(CLASS_NAMES) + 2 + max(len(names) for names in TERMS.values())
_CLIP = 0.02
_PI_8 = np.pi / 8
CHOICE_RATE, CHOICE_LIMIT = 0.25, 0.6
"""Log-odds by which one choice of the operator's moves the order, and by how much all of them at most: a choice may swap packages
whose odds differ by less than a factor of two, and never lifts a grasp that is likely to fail. Source: judgement."""


def weak_points(kind: GraspKind, terms: Mapping[str, float], below: float) -> list[str]:
    """What is wrong with a grasp, in an operator's words, the worst first: of its terms that are `below`."""
    return [TERMS[kind][name] for _, name in sorted((value, name) for name, value in terms.items()
                                                    if name in TERMS[kind] and value < below)]


@dataclass(frozen=True, eq=False)
class Candidate:
    """What the ranking knows of one grasp.

    Attributes:
        kind, class_name: gripper and package class. score: probability as proposed. size_m: (length, width, height) of the package.
        terms: of the score. degraded: True when made without depth.
    """

    kind: GraspKind
    class_name: str
    score: float
    size_m: tuple[float, float, float] | None = None
    terms: Mapping[str, float] | None = None
    degraded: bool = False

    @cached_property
    def features(self) -> F64:
        """(D,) features of the correction to this grasp's log-odds."""
        row = np.zeros(_SIZE)
        row[0] = 1.0
        if self.class_name in CLASS_NAMES:
            row[1 + CLASS_NAMES.index(self.class_name)] = 1.0
        place = 1 + len(CLASS_NAMES)
        if self.size_m is not None:
            side = np.sqrt(max(self.size_m[0] * self.size_m[1], 1e-4))
            row[place] = np.clip(np.log2(side / USUAL_SIDE_M), -2.0, 2.0)
            row[place + 1] = np.clip(self.size_m[2] / max(side, 1e-3) - 0.5, -0.5, 1.0)
        for k, name in enumerate(TERMS[self.kind]):
            if self.terms is not None and name in self.terms:
                row[place + 2 + k] = np.clip(self.terms[name], 0.0, 1.0) - USUAL_TERM
        return row

    @property
    def log_odds(self) -> float:
        """Of the score as proposed."""
        p = min(max(self.score, _CLIP), 1.0 - _CLIP)
        return float(np.log(p / (1.0 - p)))


class Ranking:
    """Bayesian logistic correction of the proposed scores, learned from each outcome, and the picks that explore.

    The correction's weights are Gaussian, one set for each gripper; an outcome moves them by one step of the Laplace approximation.
    Source: Spiegelhalter and Lauritzen, "Sequential updating of conditional probabilities", Networks 1990 (the update); Chapelle
    and Li, "An empirical evaluation of Thompson sampling", NIPS 2011 (posterior sampling with it); MacKay 1992 (the mean of a
    logistic function under a Gaussian).

    Args:
        explore_share: share of picks, 0..1, that try what is uncertain. floor: no exploring pick has a proposed or expected
            probability below this. memory_picks: outcomes after which a weight is half as certain again. seed: of the exploration.
    """

    def __init__(self, explore_share: float = 0.1, floor: float = 0.6, memory_picks: int = 2000, seed: int = 0) -> None:
        self.explore_share, self.floor, self.seed = explore_share, floor, seed
        deviation = np.array([_SPREAD["bias"], *[_SPREAD["class"]] * len(CLASS_NAMES), _SPREAD["size"], _SPREAD["height"],
                              *[_SPREAD["term"]] * (_SIZE - 3 - len(CLASS_NAMES))])
        self._prior = np.diag(deviation**2)
        self._keep = 0.5 ** (1.0 / max(memory_picks, 1))
        self._mean: dict[GraspKind, F64] = {kind: np.zeros(_SIZE) for kind in GRASP_KINDS}
        self._spread = {kind: self._prior.copy() for kind in GRASP_KINDS}
        self._liking = np.zeros(_SIZE)
        self.outcomes = 0
        self._draw()

    def probability(self, candidates: list[Candidate]) -> NDArray[np.float64]:
        """(N,) expected probability of success of each grasp, after all outcomes so far."""
        return self._evaluate(candidates, None)

    def explored(self, candidates: list[Candidate]) -> NDArray[np.float64]:
        """(N,) probabilities under the weights drawn for the present pick; 0 for what lies below the floor or is degraded."""
        drawn = self._evaluate(candidates, self._drawn)
        expected = self.probability(candidates)
        safe = [expected[i] >= self.floor and c.score >= self.floor and not c.degraded for i, c in enumerate(candidates)]
        return np.where(safe, drawn, 0.0)

    def liking(self, candidates: list[Candidate]) -> NDArray[np.float64]:
        """(N,) log-odds by which the operators' choices so far move each grasp in the order; probabilities stay."""
        shift: F64 = np.array([c.features @ self._liking for c in candidates])
        return shift.clip(-CHOICE_LIMIT, CHOICE_LIMIT)

    @property
    def exploring(self) -> bool:
        """True when the present pick is one of those that explore."""
        return self._exploring

    def learn(self, candidate: Candidate, success: bool) -> None:
        """One outcome; the next pick begins."""
        kind, row = candidate.kind, candidate.features
        mean = self._mean[kind]
        for each in GRASP_KINDS:  # what was learned long ago is less certain, what is expected stays
            self._spread[each] = self._prior + self._keep * (self._spread[each] - self._prior)
        spread = self._spread[kind]
        reach = spread @ row
        variance = float(row @ reach)
        p = _sigmoid(candidate.log_odds + float(row @ mean))
        weight = p * (1.0 - p)
        self._mean[kind] = mean + reach * ((float(success) - p) / (1.0 + weight * variance))
        self._spread[kind] = spread - np.outer(reach, reach) * (weight / (1.0 + weight * variance))
        self._liking *= self._keep
        self.outcomes += 1
        self._draw()

    def chosen(self, candidate: Candidate, instead_of: Candidate | None, sign: float = 1.0) -> None:
        """The operator wanted this one (sign 1), or did not (-1), in place of another."""
        row = candidate.features - (0.0 if instead_of is None else instead_of.features)
        row[0] = 0.0
        row[1 + len(CLASS_NAMES) + 2:] = 0.0
        self._liking = np.clip(self._liking + sign * CHOICE_RATE * row, -CHOICE_LIMIT, CHOICE_LIMIT)

    def _draw(self) -> None:
        """Whether the present pick explores, and with which weights: by seed and number of the pick alone."""
        random = np.random.default_rng([self.seed, self.outcomes])
        self._exploring = bool(random.random() < self.explore_share)
        self._drawn: dict[GraspKind, F64] = dict(self._mean)
        for kind in GRASP_KINDS if self._exploring else ():
            root = np.linalg.cholesky(self._spread[kind] + 1e-9 * np.eye(_SIZE))
            self._drawn[kind] = self._mean[kind] + root @ random.normal(size=_SIZE)

    def _evaluate(self, candidates: list[Candidate], weights: Mapping[GraspKind, F64] | None) -> NDArray[np.float64]:
        if not candidates:
            return np.zeros(0)
        rows = np.array([c.features for c in candidates])
        logits = np.array([c.log_odds for c in candidates])
        for kind in GRASP_KINDS:
            mine = np.array([c.kind == kind for c in candidates])
            if not mine.any():
                continue
            if weights is not None:
                logits[mine] += rows[mine] @ weights[kind]
                continue
            own = rows[mine]
            variance = np.einsum("ni,ij,nj->n", own, self._spread[kind], own)
            known = np.einsum("ni,ij,nj->n", own, self._prior, own)
            moved = own @ self._mean[kind]
            shrink = np.sqrt((1.0 + _PI_8 * known) / (1.0 + _PI_8 * variance))  # no outcome: the score as proposed
            logits[mine] = (logits[mine] + moved) * np.minimum(shrink, 1.0)
        probability: F64 = 1.0 / (1.0 + np.exp(-logits))
        return probability


def _sigmoid(x: float) -> float:
    return float(1.0 / (1.0 + np.exp(-np.clip(x, -40.0, 40.0))))

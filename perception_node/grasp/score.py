"""Terms of a grasp -> probability that the pick succeeds: a logistic model with named weights, replaceable by a fitted one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from perception_node.types import F64, GraspKind


@dataclass(frozen=True)
class RankingModel:
    """Logistic model: probability = 1 / (1 + exp(-(bias + sum of weight * term))).

    Attributes:
        bias: log-odds when all terms are 0. weights: by term name; every term is scaled to 0 (bad) .. 1 (good).
        source: where the numbers come from.
    """

    bias: float
    weights: Mapping[str, float]
    source: str

    def probability(self, terms: Mapping[str, F64]) -> F64:
        """(N,) probabilities of N grasps from (N,) values per term; terms without a weight do not count."""
        logit: F64 = self.bias + sum((weight * np.asarray(terms[name], dtype=np.float64)
                                      for name, weight in self.weights.items()), start=np.zeros(()))
        probability: F64 = 1.0 / (1.0 + np.exp(-np.clip(logit, -40.0, 40.0)))
        return probability


PRIOR_SUCTION = RankingModel(
    bias=-6.5,
    weights={"seal": 3.0, "edge": 2.0, "reading": 1.0, "spread": 1.0, "upright": 0.7, "centre": 1.3, "free": 1.2, "mask": 1.0},
    source="hand-set: flatness and distance to the edge lead (Cartman, Morrison et al., ICRA 2018: 0.75 edge + 0.25 flatness), "
           "then top object first (SuctionNet-1Billion, Cao et al., RA-L 2021)",
)
PRIOR_JAW = RankingModel(
    bias=-6.0,
    weights={"clear": 2.5, "seen": 1.2, "reach": 1.5, "room": 0.7, "centre": 1.3, "rigid": 1.2, "upright": 0.5, "free": 1.0,
             "mask": 0.8},
    source="hand-set: free fingers and their depth beside the package lead, then balance",
)
PRIORS: Mapping[GraspKind, RankingModel] = {"suction": PRIOR_SUCTION, "parallel_jaw": PRIOR_JAW}

DEGRADED_CAP = 0.3
"""Highest score of a grasp made without depth. Source: a contact at unknown height on an unknown surface; Dex-Net 3.0's figure for
adversarial objects (58 %) is an upper bound for a cup that is placed well, which nobody can say here; half of it."""

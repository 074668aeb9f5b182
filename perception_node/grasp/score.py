"""Terms of a grasp -> probability that the pick succeeds: logistic models with named weights, in a file that can be refitted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perception_node.errors import ConfigError
from perception_node.types import F64, GRASP_KINDS, GraspKind, Instance, Package

TERMS: Mapping[GraspKind, Mapping[str, str]] = {
    "suction": {
        "seal": "how flat the surface under the cup is, beyond the depth's own noise",
        "edge": "how much of the cup, with a margin, is on the package's mask",
        "margin": "room between the cup's lip and the mask's edge, 1 = a radius or more",
        "plain": "how even the brightness under the cup is: a seam, label or fold is not",
        "reading": "how much of the place under the cup has a depth reading, evenly spread",
        "spread": "how little the normal turns between a small and a full disc",
        "upright": "how level the place is, 0 = the steepest tilt allowed",
        "open": "how little stands above the place round the cup",
        "centre": "how near the middle of the upper face, in shares of its size",
        "near": "how near the middle of the upper face, 0 = 12 cm away",
        "light": "how small the package is, 1 = nothing, 0.5 = two litres",
        "ample": "width of the face, 1 = four cup radii or more",
        "free": "1 = nothing lies on the package",
        "mask": "confidence of mask and class",
        "sure": "confidence of mask and class above 0.75",
        "rigid": "1 = box, 0.5 = padded mailer, 0 = poly bag or item",
        "ground": "how sure the network is that the mask is no background, 0 = 60 %",
        "whole": "how little of a border between packages the network sees inside the mask, 0 = 50 %",
        "shown": "how much of the rectangle round the upper face the mask fills",
        "raised": "height of the place above the belt, 1 = 15 mm or more",
    },
    "parallel_jaw": {
        "clear": "free depth beyond the finger tips",
        "seen": "how much of the fingers' place is in sight",
        "reach": "how far the fingers get down beside the package",
        "room": "opening left beyond the one needed",
        "centre": "how near the middle of the side",
        "rigid": "how well the class resists being squeezed",
        "upright": "how level the upper face is",
        "light": "how small the package is, 1 = nothing, 0.5 = two litres",
        "free": "1 = nothing lies on the package",
        "mask": "confidence of mask and class",
        "sure": "confidence of mask and class above 0.75",
        "ground": "how sure the network is that the mask is no background, 0 = 60 %",
        "whole": "how little of a border between packages the network sees inside the mask, 0 = 50 %",
        "shown": "how much of the rectangle round the upper face the mask fills",
    },
}
"""The terms of each kind of grasp; every one is scaled to 0 (bad) .. 1 (good)."""

SMALL_M3 = 0.002
"""Volume at which the term `light` is a half."""

RAISED_M = 0.015
"""Height above the belt at which the term `raised` is 1. Source: simulated pictures: most places that cups hold are higher, a fifth
of what is wrongly taken for a package is flatter than a third of it."""
_GROUND, _GROUND_SPAN, _SEAMS_SPAN = 0.6, 0.4, 0.5
"""Where the terms `ground` and `whole` begin, and how far they reach. Source: range of the values on simulated pictures."""

OWN = "own"
OWN_FILE = Path(__file__).with_name("ranking.json")
FORMAT = 1


@dataclass(frozen=True)
class RankingModel:
    """Logistic model: probability = 1 / (1 + exp(-(bias + sum of weight * term))).

    Attributes:
        bias: log-odds when all terms are 0. weights: by term name, at least 0: no term that is better lowers the probability.
        source: where the numbers come from.
    """

    bias: float
    weights: Mapping[str, float]
    source: str

    def probability(self, terms: Mapping[str, F64]) -> F64:
        """(N,) probabilities of N grasps from (N,) values per term; terms without a weight do not count."""
        return _logistic(self._logit(terms))

    def probability_now_and_free(self, terms: Mapping[str, F64]) -> tuple[F64, F64]:
        """As `probability`; and those that they would have with nothing on their packages: what lies on them is picked first."""
        logit = self._logit(terms)
        return _logistic(logit), _logistic(logit + self.weights.get("free", 0.0) * (1.0 - terms["free"]))

    def _logit(self, terms: Mapping[str, F64]) -> F64:
        weights = np.array(list(self.weights.values()), dtype=np.float64)
        if not len(weights):
            return np.full(np.shape(next(iter(terms.values()), ())), self.bias)
        logit: F64 = self.bias + weights @ np.array([terms[name] for name in self.weights], dtype=np.float64)
        return logit


def _logistic(logit: F64) -> F64:
    probability: F64 = 1.0 / (1.0 + np.exp(-np.minimum(np.maximum(logit, -40.0), 40.0)))
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


def load_ranking(name: str = OWN) -> Mapping[GraspKind, RankingModel]:
    """The models of both kinds.

    Args:
        name: "own" = the file that comes with the package, or the path of a file that `perception fit-ranking` wrote.

    Raises:
        ConfigError: the file is missing, no JSON, of another format, or names terms that do not exist.
    """
    path = OWN_FILE if name == OWN else Path(name)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"grasp.ranking: {path}: expected a readable file: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"grasp.ranking: {path}: expected JSON: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT or not isinstance(document.get("models"), dict):
        raise ConfigError(f"grasp.ranking: {path}: expected format {FORMAT} with models, as `perception fit-ranking` writes it")
    return {kind: _model(document["models"].get(kind), kind, path) for kind in GRASP_KINDS}


def _model(entry: Any, kind: GraspKind, path: Path) -> RankingModel:
    where = f"grasp.ranking: {path}: models.{kind}"
    if not isinstance(entry, dict) or not isinstance(entry.get("weights"), dict):
        raise ConfigError(f"{where}: expected bias and weights, got {entry!r}")
    unknown = sorted(set(entry["weights"]) - set(TERMS[kind]))
    if unknown:
        raise ConfigError(f"{where}: expected terms among {', '.join(TERMS[kind])}, got {', '.join(unknown)}")
    numbers = {"bias": entry.get("bias"), **entry["weights"]}
    for term, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ConfigError(f"{where}.{term}: expected a finite number, got {value!r}")
        if term != "bias" and value < 0:
            raise ConfigError(f"{where}.{term}: expected a weight of at least 0, got {value:g}")
    weights = {name: float(value) for name, value in entry["weights"].items()}
    return RankingModel(float(numbers["bias"]), weights, str(entry.get("source", path.name)))


def evidence(packages: Sequence[Package], instances: Mapping[int, Instance]) -> F64:
    """(3, P) the terms `ground`, `whole` and `shown` of P packages; what the network said nothing of is taken to be right."""
    seen = [instances.get(package.label) for package in packages]
    rows = [(1.0, 0.0) if one is None else (one.foreground, one.seams) for one in seen]
    foreground, seams = np.array(rows, dtype=np.float64).reshape(-1, 2).T
    return unit(np.stack([(foreground - _GROUND) / _GROUND_SPAN, 1.0 - seams / _SEAMS_SPAN,
                          np.array([package.visible_fraction for package in packages], dtype=np.float64)]))


def volume_m3(package: Package) -> float:
    """A package's volume, as far as depth tells; what stands on others is taken to be no higher than wide."""
    length, width, height = package.size_m
    return length * width * min(height, max(width, 0.02))


def unit(values: F64) -> F64:
    """Values brought into 0..1, NaN kept; several times as fast as numpy's clip for few."""
    clipped: F64 = np.minimum(np.maximum(values, 0.0), 1.0)
    return clipped

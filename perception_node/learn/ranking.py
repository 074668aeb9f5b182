"""Fits the ranking's logistic models to outcomes, and measures them. Numpy only, deterministic."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_node.errors import DatasetError
from perception_node.grasp.score import TERMS, RankingModel
from perception_node.learn.outcome_log import Log, Outcomes
from perception_node.types import F64, GraspKind

HELD_OUT = 0.25
"""Share of the scenes that the fit does not see."""
_RIDGE = 1.0
"""Pull towards the model that the fit starts from, in picks per unit of weight: a handful of outcomes moves it a little."""
_STEPS = 400
_LOGIT_LIMIT = 30.0


@dataclass(frozen=True)
class Measured:
    """How well probabilities fit N outcomes: mean log loss (nats), expected calibration error, area under the ROC curve (None when
    all outcomes are the same), and the share that succeeded."""

    picks: int
    success: float
    log_loss: float
    calibration_error: float
    auc: float | None


def held_out(log: Log, outcomes: Outcomes) -> NDArray[np.bool_]:
    """(N,) True for the picks of the scenes that are kept for judging: chosen by a hash of the scene's name, so that a longer log
    leaves earlier scenes where they were."""
    share = np.array([int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big") / 2**32 for name in log.scenes])
    return np.asarray(share[outcomes.scene] < HELD_OUT)


def fit(outcomes: Outcomes, start: RankingModel, kind: GraspKind, source: str) -> RankingModel:
    """The logistic model with the highest likelihood, ridge towards `start`, all weights at least 0.

    Coordinate-wise Newton steps until nothing moves: convex, so the result does not depend on the order.

    Raises:
        DatasetError: the outcomes lack a term that `start` weighs.

    Source: logistic regression by coordinate descent, J. Friedman et al., J. Statistical Software 33(1), 2010.
    """
    _require_terms(start, outcomes)
    names = [name for name in TERMS[kind] if name in outcomes.terms]
    columns = [np.ones(len(outcomes)), *(outcomes.terms[name] for name in names)]
    anchor = np.array([start.bias, *(start.weights.get(name, 0.0) for name in names)])
    beta, y = anchor.copy(), outcomes.success.astype(np.float64)
    logit: F64 = np.zeros(len(y))
    for value, column in zip(beta, columns, strict=True):
        logit = logit + value * column
    for _ in range(_STEPS):
        moved = 0.0
        for j, column in enumerate(columns):
            probability = _sigmoid(logit)
            ridge = 0.0 if j == 0 else _RIDGE
            gradient = float(column @ (probability - y)) + ridge * (beta[j] - anchor[j])
            curvature = float((column * column) @ (probability * (1 - probability))) + ridge + 1e-6
            step = float(np.clip(-gradient / curvature, -1.0, 1.0))
            value = beta[j] + step if j == 0 else max(beta[j] + step, 0.0)
            logit += (value - beta[j]) * column
            moved, beta[j] = max(moved, abs(value - beta[j])), value
        if moved < 1e-6:
            break
    weights = {name: round(float(value), 4) for name, value in zip(names, beta[1:], strict=True) if value > 5e-5}
    return RankingModel(round(float(beta[0]), 4), weights, source)


def measure(probability: F64, success: NDArray[np.bool_]) -> Measured:
    """Judge probabilities by what happened."""
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    loss = -np.where(success, np.log(clipped), np.log(1 - clipped)).mean()
    return Measured(len(success), float(success.mean()), float(loss), calibration_error(probability, success),
                    _area(probability, success))


def calibration_error(score: F64, success: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error over equal bins of the score.

    Source: M. Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.
    """
    which = np.minimum((np.asarray(score) * bins).astype(int), bins - 1)
    return float(sum((which == b).mean() * abs(score[which == b].mean() - success[which == b].mean())
                     for b in range(bins) if (which == b).any()))


def probabilities(model: RankingModel, outcomes: Outcomes) -> F64:
    """(N,) what a model says of logged picks.

    Raises:
        DatasetError: the outcomes lack a term that the model weighs.
    """
    if len(outcomes) == 0:
        return np.zeros(0)
    _require_terms(model, outcomes)
    result: F64 = np.broadcast_to(model.probability(outcomes.terms), len(outcomes)).copy()
    return result


def _require_terms(model: RankingModel, outcomes: Outcomes) -> None:
    missing = [name for name in model.weights if name not in outcomes.terms]
    if missing:
        raise DatasetError(f"outcomes: expected the terms that the ranking weighs ({model.source}), {', '.join(missing)} missing: "
                           "logged by an older version? Use newer outcomes, or a ranking without these terms (prior)")


def _sigmoid(logit: F64) -> F64:
    value: F64 = 1.0 / (1.0 + np.exp(-np.clip(logit, -_LOGIT_LIMIT, _LOGIT_LIMIT)))
    return value


def _area(score: F64, success: NDArray[np.bool_]) -> float | None:
    good, bad = int(success.sum()), int((~success).sum())
    if good == 0 or bad == 0:
        return None
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = np.cumsum(counts) - (counts - 1) / 2
    return float((rank[inverse][success].sum() - good * (good + 1) / 2) / (good * bad))

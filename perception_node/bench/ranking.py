"""`perception bench ranking LOG...`: are scores probabilities, and does the learned order pick better than others?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from perception_node.arguments import file_to_write
from perception_node.errors import DatasetError
from perception_node.files import put_json
from perception_node.grasp.score import OWN, PRIORS, RankingModel, load_ranking
from perception_node.learn.outcome_log import Log, read_logs
from perception_node.learn.ranking import measure, probabilities
from perception_node.types import F64, GRASP_KINDS, GraspKind

TARGETS = {"calibration_error": 0.05}
ORDERS = {"learned": "top first, then the learned probability", "prior": "top first, then the hand-set score",
          "learned_anywhere": "highest learned probability anywhere", "prior_anywhere": "highest hand-set score anywhere"}


def order_figures(log: Log, learned: Mapping[GraspKind, RankingModel]) -> dict[str, dict[str, float]]:
    """How often the picks that come first succeed, by order.

    Returns:
        By order: `first`, the share of scenes whose first choice is picked; `third`, the mean over the first three packages of
        each scene; `package`, the share of all packages whose best grasp is picked. Suction and jaws compete.
    """
    parts: dict[str, list[F64]] = {name: [] for name in ("learned", "prior", "free", "scene", "label", "success")}
    for kind in GRASP_KINDS:
        outcomes = log.by_kind[kind]
        for name, value in (("learned", probabilities(learned[kind], outcomes)), ("prior", probabilities(PRIORS[kind], outcomes)),
                            ("free", outcomes.terms.get("free", np.ones(len(outcomes)))), ("scene", outcomes.scene),
                            ("label", outcomes.label), ("success", outcomes.success)):
            parts[name].append(np.asarray(value, dtype=np.float64))
    data = {name: np.concatenate(values) for name, values in parts.items()}
    result = {}
    for order in ORDERS:
        score, covered = data[order.split("_")[0]], (0.0 if order.endswith("anywhere") else 1.0) * (data["free"] < 0.5)
        rank = np.lexsort((np.arange(len(score)), -score, covered, data["scene"]))
        result[order] = _first_choices(data["scene"][rank], data["label"][rank], data["success"][rank])
    return result


def _first_choices(scene: F64, label: F64, success: F64) -> dict[str, float]:
    """Figures of picks in the order in which they would be made, scene after scene."""
    key = scene * (label.max(initial=0.0) + 1) + label
    _, first_of_package = np.unique(key, return_index=True)
    best = np.sort(first_of_package)
    starts = np.searchsorted(scene[best], np.unique(scene))
    rank = np.arange(len(best)) - np.repeat(starts, np.diff([*starts, len(best)]))
    hit = success[best]
    return {"first": float(hit[rank == 0].mean()), "third": float(hit[rank < 3].mean()), "package": float(hit.mean())}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `perception bench ranking`."""
    parser.add_argument("logs", nargs="+", type=Path, help="logs of `perception simulate-picks`, on pictures not fitted to")
    parser.add_argument("--ranking", default=OWN, help="own = the package's, or a file of `perception fit-ranking` (own)")
    parser.add_argument("--json", type=file_to_write, help="write the figures to this file")


def run(args: argparse.Namespace) -> int:
    """Measure and print two tables.

    Returns:
        0, or 1 when the calibration error is above its target or the learned order picks no better than the others.

    Raises:
        DatasetError, ConfigError: bad input.
    """
    log, learned = read_logs(args.logs), load_ranking(args.ranking)
    kinds = {kind: log.by_kind[kind] for kind in GRASP_KINDS if len(log.by_kind[kind])}
    if not kinds:
        raise DatasetError(f"{', '.join(map(str, args.logs))}: expected picks to measure with, got none")
    result: dict[str, Any] = {"scenes": len(log.scenes), "kinds": {}}
    print(f"{'probabilities':26s}{'picks':>7s}{'picked':>9s}{'calibration error':>19s}{'log loss':>10s}{'area under ROC':>16s}")
    for kind, outcomes in kinds.items():
        for name, model in (("learned", learned[kind]), ("hand-set", PRIORS[kind])):
            found = measure(probabilities(model, outcomes), outcomes.success)
            result["kinds"].setdefault(kind, {})[name] = asdict(found)
            area = "-" if found.auc is None else f"{found.auc:.3f}"
            print(f"{kind + ', ' + name:26s}{found.picks:7d}{100 * found.success:7.1f} %{found.calibration_error:19.3f}"
                  f"{found.log_loss:10.3f}{area:>16s}")
    if len(kinds) > 1:
        success = np.concatenate([outcomes.success for outcomes in kinds.values()])
        for name, models in (("learned", learned), ("hand-set", PRIORS)):
            score = np.concatenate([probabilities(models[kind], outcomes) for kind, outcomes in kinds.items()])
            found = measure(score, success)
            result.setdefault("both", {})[name] = asdict(found)
            print(f"{'both, ' + name:26s}{found.picks:7d}{100 * found.success:7.1f} %{found.calibration_error:19.3f}"
                  f"{found.log_loss:10.3f}{found.auc or 0.0:16.3f}")
    result["orders"] = order_figures(log, learned) if kinds else {}
    print(f"\n{'order':44s}{'first choice':>14s}{'first three':>13s}{'each package':>14s}   ({len(log.scenes)} scenes)")
    for order, figures in result["orders"].items():
        print(f"{ORDERS[order]:44s}" + "".join(f"{100 * figures[name]:{width}.1f} %" for name, width in
                                               (("first", 12), ("third", 11), ("package", 12))))
    if args.json:
        put_json(args.json, result)
    calibrated = all(entry["learned"]["calibration_error"] <= TARGETS["calibration_error"] for entry in result["kinds"].values())
    orders = result["orders"]
    best = not orders or all(orders["learned"]["first"] >= orders[other]["first"] for other in ("prior", "prior_anywhere"))
    return 0 if calibrated and best else 1

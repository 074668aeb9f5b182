"""`perception fit-ranking LOG... --out FILE`: refit the probabilities of grasps from what happened to picks."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from perception_node import __version__
from perception_node.arguments import file_to_write
from perception_node.files import put_json
from perception_node.grasp.score import FORMAT, OWN, OWN_FILE, PRIORS, RankingModel, load_ranking
from perception_node.learn.outcome_log import Log, read_logs
from perception_node.learn.ranking import fit, held_out, measure, probabilities
from perception_node.types import GRASP_KINDS, GraspKind

LEAST_PICKS = 40
LEAST_OF_EACH = 8
"""With fewer picks, or fewer successes or failures among them, a kind keeps its model. Source: ten outcomes per weight that is
free to move is the usual rule; the pull towards the old model stands in for most of them."""
_PRIOR = "prior"


def refit(log: Log, base: dict[GraspKind, RankingModel], source: str) -> tuple[dict[str, Any], bool, dict[GraspKind, RankingModel]]:
    """Fit each kind on three quarters of the scenes and judge it on the others.

    Returns:
        A report by kind, whether the held-out log loss of each refitted kind is no worse than the base's, and the models.
    """
    report: dict[str, Any] = {}
    models, better = dict(base), True
    for kind in GRASP_KINDS:
        outcomes = log.by_kind[kind]
        away = held_out(log, outcomes)
        seen, judged = outcomes.take(~away), outcomes.take(away)
        fewest = min(int(seen.success.sum()), int((~seen.success).sum())) if len(seen) else 0
        if len(seen) < LEAST_PICKS or fewest < LEAST_OF_EACH or len(judged) == 0:
            report[kind] = {"refitted": False, "picks": len(outcomes), "why":
                            f"{len(seen)} picks to learn from, {fewest} of the rarer result, {len(judged)} to judge by; needed "
                            f"{LEAST_PICKS}, {LEAST_OF_EACH} and 1"}
            continue
        model = fit(seen, base[kind], kind, source)
        before = measure(probabilities(base[kind], judged), judged.success)
        after = measure(probabilities(model, judged), judged.success)
        worse = after.log_loss > before.log_loss
        report[kind] = {"refitted": not worse, "picks": len(outcomes), "before": asdict(before), "after": asdict(after)}
        better &= not worse
        models[kind] = model
    return report, better, models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `perception fit-ranking`."""
    parser.add_argument("logs", nargs="+", type=Path, help="outcomes.jsonl of the node, or what `perception simulate-picks` wrote")
    parser.add_argument("--out", type=file_to_write, required=True, help="file to write, for the parameter grasp.ranking")
    parser.add_argument("--base", default=OWN, help="ranking to start from: own = the package's, prior = the hand-set one, or a "
                        "file (own)")
    parser.add_argument("--json", type=file_to_write, help="write the figures to this file")


def _lineage(base: str) -> list[Any]:
    """The logs that a ranking's file, already read without an error, was fitted to, its bases' included; none if hand-set."""
    if base == _PRIOR:
        return []
    document = json.loads((OWN_FILE if base == OWN else Path(base)).read_text(encoding="utf-8"))
    return [*document.get("logs", []), *document.get("base_logs", [])]


def run(args: argparse.Namespace) -> int:
    """Fit, judge, and write the file when it is no worse.

    Returns:
        0, or 1 when the refit is worse on held-out outcomes or there is too little to learn from; nothing is written then.

    Raises:
        DatasetError, ConfigError: bad input.
    """
    log = read_logs(args.logs)
    base = dict(PRIORS if args.base == _PRIOR else load_ranking(args.base))
    names = ", ".join(entry["name"] for entry in log.files)
    report, better, models = refit(log, base, f"fitted to {names} by perception fit-ranking")
    fitted = [kind for kind in GRASP_KINDS if report[kind]["refitted"]]
    _print(report, log)
    if args.json:
        put_json(args.json, {"kinds": report, "left_out": log.left_out, "repeated": log.repeated})
    if not better:
        print(f"refused: worse on held-out outcomes than {args.base}; {args.out} was not written")
        return 1
    if not fitted:
        print(f"refused: too little to learn from; {args.out} was not written")
        return 1
    document = {
        "format": FORMAT, "made_by": f"perception fit-ranking {__version__}", "base": str(args.base), "logs": list(log.files),
        "base_logs": _lineage(args.base),
        "held_out": {kind: {key: report[kind][key] for key in ("before", "after")} for kind in fitted},
        "models": {kind: {"bias": model.bias, "weights": dict(model.weights), "source": model.source}
                   for kind, model in models.items()}}
    put_json(args.out, document)
    print(f"{args.out}: refitted {', '.join(fitted)}")
    return 0


def _print(report: dict[str, Any], log: Log) -> None:
    print(f"{'held-out outcomes':16s}{'picks':>8s}{'picked':>9s}{'log loss':>20s}{'calibration error':>22s}")
    for kind, entry in report.items():
        if "why" in entry:
            print(f"{kind:16s}{entry['picks']:8d}  kept as it is: {entry['why']}")
            continue
        before, after = entry["before"], entry["after"]
        print(f"{kind:16s}{after['picks']:8d}{100 * after['success']:7.1f} %{before['log_loss']:10.4f} -> {after['log_loss']:.4f}"
              f"{before['calibration_error']:12.4f} -> {after['calibration_error']:.4f}")
    if log.left_out:
        print(f"{log.left_out} outcomes left out: made without depth, or the arm could not get there")
    if log.repeated:
        print(f"{log.repeated} outcomes left out: the same as another one, reported again")

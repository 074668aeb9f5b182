"""`perception simulate-picks DATASET... --out LOG`: propose grasps on simulated pictures, carry them out, log what happened."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from perception_node import config as configuration
from perception_node.arguments import file_to_write, one_or_more, zero_or_more
from perception_node.config import Config
from perception_node.files import aside
from perception_node.learn.picks import Cell
from perception_node.learn.scenes import MIN_TRUE_PX, TrueMasks, frames, true_ids
from perception_node.pipeline import Pipeline
from perception_node.types import Grasp, Scene

EXPLORED = 5
"""Grasps of each kind and package that are tried with `--explore`: more than are proposed, so that bad ones teach, too."""
_LEAST_SCORE = 0.3
"""Packages from this score on are tried with `--explore`: the fit must see uncertain masks."""


def simulate(datasets: list[Path], count: int | None, masks: str, config: Config, seed: int, explore: bool = False,
             ) -> Iterator[dict[str, Any]]:
    """One log line for each pick. Deterministic.

    Args:
        datasets: folders in the layout of `perception synthesize`. count: pictures of each at most. masks: "model" or "truth".
        config: of the cell; its gripper picks. seed: of weights, centres of mass and the arm's errors.
        explore: try more and worse grasps than would be proposed.
    """
    changes: dict[str, Any] = {"segment.score_threshold": 0.0, "segment.min_area_px": MIN_TRUE_PX} if masks == "truth" else {}
    if explore:
        changes |= {"grasp.max_per_package": EXPLORED, "grasp.min_score": 0.0}
        changes.setdefault("segment.score_threshold", _LEAST_SCORE)
    stand_in = TrueMasks()
    pipeline = Pipeline(configuration.from_flat(changes, config), stand_in if masks == "truth" else None)
    for place, dataset in enumerate(datasets):
        for number, (frame, truth, segmentation, _) in enumerate(frames(dataset, count)):
            if truth.plane is not None:
                values = changes | {"belt.plane": tuple(float(n) for n in truth.plane)}
                pipeline.update_config(configuration.from_flat(values, config))
            pipeline.reset()
            stand_in.next = segmentation
            scene = pipeline.process(frame)
            owners, cell = true_ids(scene, truth), Cell(truth, config.gripper)
            for k, grasp in enumerate(scene.grasps):
                pick = cell.pick(grasp, owners[grasp.label], np.random.default_rng((seed, place, number, k)))
                yield _line(scene, grasp, f"{dataset.name}/{number}", pick.success, pick.failure, pick.weight_kg)


def _line(scene: Scene, grasp: Grasp, picture: str, success: bool, failure: str, weight_kg: float) -> dict[str, Any]:
    package = scene.segmentation.instances[grasp.label - 1]
    return {
        "picture": picture, "scene_stamp_ns": scene.stamp_ns, "model_id": scene.model_id, "label": grasp.label,
        "class_name": package.class_name, "kind": grasp.kind, "success": success, "failure": failure,
        "weight_kg": round(weight_kg, 3), "score": round(grasp.score, 5), "degraded": grasp.degraded,
        "terms": {name: round(value, 5) for name, value in grasp.terms.items()}}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `perception simulate-picks`."""
    parser.add_argument("datasets", nargs="+", type=Path, help="folders that `perception synthesize` made")
    parser.add_argument("--out", type=file_to_write, required=True, help="log to write, JSON lines as the node's outcomes.jsonl")
    parser.add_argument("--masks", choices=("model", "truth"), default="model", help="whose masks the grasps are made from")
    parser.add_argument("--config", type=Path, help="cell.yaml with its gripper.yaml; default: the defaults")
    parser.add_argument("--frames", type=one_or_more, help="pictures of each data set, default: all")
    parser.add_argument("--explore", action="store_true", help="try more and worse grasps than are proposed, to learn from")
    parser.add_argument("--seed", type=zero_or_more, default=0, help="of weights, centres of mass and the arm's errors (0)")


def run(args: argparse.Namespace) -> int:
    """Write the log and print what became of the picks.

    Raises:
        DatasetError, ConfigError, ModelError: bad input.
    """
    config = configuration.load(args.config) if args.config else Config()
    tally: Counter[tuple[str, str]] = Counter()
    with aside(args.out) as part, part.open("w", encoding="utf-8") as log:
        for line in tqdm(simulate(args.datasets, args.frames, args.masks, config, args.seed, args.explore), unit="pick",
                         mininterval=1.0):
            log.write(json.dumps(line) + "\n")
            tally[line["kind"], line["failure"]] += 1
    for kind in sorted({kind for kind, _ in tally}):
        whole = sum(count for (of, _), count in tally.items() if of == kind)
        words = [f"{100 * count / whole:.1f} % {failure or 'picked'}" for (of, failure), count in tally.most_common() if of == kind]
        print(f"{kind}: {whole} picks: {', '.join(words)}")
    return 0

"""`perception bench grasp DATASET`: are the proposed grasps right, and how long do they take?"""

from __future__ import annotations

import argparse
import platform
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from perception_node import config as configuration
from perception_node.arguments import file_to_write, folder_to_write, one_or_more
from perception_node.bag.results import without_numbers
from perception_node.bench.grasp_pictures import grasp_picture
from perception_node.bench.verdicts import can_hold, judge_jaw, judge_suction
from perception_node.config import Config
from perception_node.errors import PerceptionError
from perception_node.files import put_json, put_png
from perception_node.learn.scenes import MIN_TRUE_PX, TrueMasks, Truth, frames, true_ids
from perception_node.pipeline import Pipeline, SegmenterLike
from perception_node.types import Scene

TARGETS = {"suction_valid": 0.97, "suction_first_valid": 0.99, "suction_proposed": 0.90, "jaw_free": 0.97}


@dataclass
class Tally:
    """Counts over a data set; `holdable`: packages whose visible face can hold the cup."""

    frames: int = 0
    packages: int = 0
    holdable: int = 0
    holdable_proposed: int = 0
    suction: int = 0
    suction_valid: int = 0
    first: int = 0
    first_valid: int = 0
    jaw: int = 0
    jaw_free: int = 0
    phantom: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    times_ms: dict[str, list[float]] = field(default_factory=dict)


def judge(scene: Scene, truth: Truth, config: Config, tally: Tally) -> None:
    """Add one frame's verdicts to a tally."""
    owners = true_ids(scene, truth)
    up = truth.plane[:3] if truth.plane is not None else np.array([0.0, 0.0, -1.0])
    tally.frames += 1
    tally.packages += len(truth.classes)
    for reason in scene.rejections:
        tally.reasons[f"{reason.kind}: {without_numbers(reason.reason)}"] += 1
    for kind in ("suction", "parallel_jaw"):
        mine = [grasp for grasp in scene.grasps if grasp.kind == kind]
        best: dict[int, Any] = {}
        for grasp in mine:
            if grasp.label not in best or grasp.score > best[grasp.label].score:
                best[grasp.label] = grasp
        for grasp in best.values():
            identity = owners[grasp.label]
            if identity == 0:
                tally.phantom += 1
                valid, fault = False, "no package"
            elif kind == "suction":
                verdict = judge_suction(grasp, truth, identity, config.gripper.suction)
                valid, fault = verdict.valid, verdict.fault
            else:
                verdict = judge_jaw(grasp, truth, identity, config.gripper.parallel_jaw)
                valid, fault = verdict.valid, verdict.fault
            if fault:
                tally.faults[f"{kind}: {fault}"] += 1
            if kind == "suction":
                tally.suction += 1
                tally.suction_valid += valid
            else:
                tally.jaw += 1
                tally.jaw_free += valid
            if kind == "suction" and grasp is mine[0]:
                tally.first += 1
                tally.first_valid += valid
        if kind == "suction":
            proposed = {owners[label] for label in best}
            for identity in truth.classes:
                if can_hold(truth, identity, config.gripper.suction, up):
                    tally.holdable += 1
                    tally.holdable_proposed += identity in proposed
    for stage, spent in scene.timing_ms.items():
        tally.times_ms.setdefault(stage, []).append(spent)
    together = sum(scene.timing_ms[stage] for stage in ("locate", "track", "grasp"))
    tally.times_ms.setdefault("locate+track+grasp", []).append(together)


def figures(tally: Tally) -> dict[str, Any]:
    """The tally as shares, counts and times."""
    def share(part: int, whole: int) -> float | None:
        return part / whole if whole else None

    return {
        "suction_valid": share(tally.suction_valid, tally.suction),
        "suction_first_valid": share(tally.first_valid, tally.first),
        "suction_proposed": share(tally.holdable_proposed, tally.holdable),
        "jaw_free": share(tally.jaw_free, tally.jaw),
        "frames": tally.frames, "packages": tally.packages, "holdable": tally.holdable, "suction_grasps": tally.suction,
        "jaw_grasps": tally.jaw, "on_phantoms": tally.phantom, "faults": dict(tally.faults.most_common()),
        "rejections": dict(tally.reasons.most_common(12)),
        "ms_p50": {stage: float(np.percentile(spent, 50)) for stage, spent in tally.times_ms.items()},
        "ms_p95": {stage: float(np.percentile(spent, 95)) for stage, spent in tally.times_ms.items()},
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `perception bench grasp`."""
    parser.add_argument("dataset", type=Path, help="folder in the layout of `perception synthesize`, with depth_true/ and meta/")
    parser.add_argument("--masks", choices=("truth", "model"), default="truth", help="whose masks the grasps are made from")
    parser.add_argument("--config", type=Path, help="cell.yaml; default: the defaults, with the data set's belt plane")
    parser.add_argument("--frames", type=one_or_more, help="number of frames, default: all")
    parser.add_argument("--fit-plane", action="store_true", help="fit the belt plane per frame instead of using the data set's")
    parser.add_argument("--pictures", type=folder_to_write, help="folder for drawings of grasps, rejections and what covers what")
    parser.add_argument("--every", type=one_or_more, default=10, help="one drawing every so many frames (10)")
    parser.add_argument("--json", type=file_to_write, help="write all figures to this file")


def run(args: argparse.Namespace) -> int:
    """Measure and print a table.

    Returns:
        0, or 1 when a target of `TARGETS` is missed.

    Raises:
        PerceptionError: bad input, or a file cannot be written.
    """
    if args.every < 1:
        raise PerceptionError(f"--every: expected 1 or more, got {args.every}")
    base = configuration.load(args.config) if args.config else Config()
    tally = Tally()
    truth_masks = TrueMasks()
    segmenter: SegmenterLike | None = truth_masks if args.masks == "truth" else None
    pipeline: Pipeline | None = None
    for frame, truth, segmentation, _ in frames(args.dataset, args.frames):
        config = base
        if truth.plane is not None and not args.fit_plane and not args.config:
            config = configuration.from_flat({"belt.plane": tuple(float(n) for n in truth.plane)}, base)
        if args.masks == "truth":
            config = configuration.from_flat({"segment.score_threshold": 0.0, "segment.min_area_px": MIN_TRUE_PX}, config)
        if pipeline is None:
            pipeline = Pipeline(config, segmenter)
        pipeline.update_config(config)
        pipeline.reset()
        truth_masks.next = segmentation
        scene = pipeline.process(frame)
        judge(scene, truth, config, tally)
        if args.pictures and (tally.frames - 1) % args.every == 0:
            put_png(args.pictures / f"{tally.frames - 1:04d}.png", grasp_picture(frame, scene))
    result = figures(tally)
    result["machine"] = platform.processor() or platform.machine()
    result["masks"] = args.masks
    _print(result)
    if args.json:
        put_json(args.json, result)
    return 0 if all(result[name] is None or result[name] >= wanted for name, wanted in TARGETS.items()) else 1


def _print(result: dict[str, Any]) -> None:
    words = {"suction_valid": "best suction grasp of a package is valid", "suction_first_valid": "first choice of a frame is valid",
             "suction_proposed": "proposed where the face can hold the cup", "jaw_free": "jaw grasps free of collision"}
    counts = {"suction_valid": "suction_grasps", "suction_first_valid": "frames", "suction_proposed": "holdable",
              "jaw_free": "jaw_grasps"}
    print(f"{'':44s}{'measured':>10s}{'target':>10s}{'of':>8s}")
    for name, text in words.items():
        value = "-" if result[name] is None else f"{100 * result[name]:.1f} %"
        print(f"{text:44s}{value:>10s}{100 * TARGETS[name]:8.0f} %{result[counts[name]]:8d}")
    print("faults: " + (", ".join(f"{count} {name}" for name, count in result["faults"].items()) or "none"))
    for name, count in result["rejections"].items():
        print(f"no grasp: {count} x {name}")
    print("ms p50 / p95 (target for locate+track+grasp: 8 at the median, 20 packages, two idle cores):")
    print("  " + ", ".join(f"{stage} {result['ms_p50'][stage]:.1f} / {result['ms_p95'][stage]:.1f}"
                                       for stage in result["ms_p50"]))

"""`perception evaluate DATASET`: how good the segmenter is, with and without depth, and a picture of where it fails."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from perception_node.arguments import file_to_write, zero_or_more, zero_to_one
from perception_node.errors import PerceptionError
from perception_node.files import put_json, put_png
from perception_node.learn.boxes import BOXES_FILE, judge_boxes
from perception_node.learn.dataset import Entry, load_sample, read_dataset, require_packages
from perception_node.learn.judge import Verdict, compare, outline, summarise
from perception_node.segment.draw import draw_segmentation, write_words
from perception_node.segment.infer import Segmenter
from perception_node.types import CLASS_NAMES

MODES = ("depth", "colour")
_WORST = 20
_TILE = (480, 360)


def verdicts_of(segmenter: Segmenter, entries: Sequence[Entry], mode: str, fit_plane: bool = False,
                progress: bool = True) -> list[Verdict]:
    """Judge a segmenter on pictures, one by one; arguments as of `evaluate`."""
    verdicts = []
    for entry in tqdm(entries, desc=f"judge ({mode})", unit="picture", disable=not progress, leave=False):
        sample = load_sample(entry, with_depth=mode == "depth")
        found = segmenter.segment(sample.frame, None if fit_plane else sample.belt_plane)
        verdicts.append(compare(entry.name, sample.labels, sample.class_ids, sample.visible, found))
    return verdicts


def evaluate(segmenter: Segmenter, entries: Sequence[Entry], mode: str, fit_plane: bool = False,
             progress: bool = True) -> tuple[dict[str, Any], list[Verdict]]:
    """Judge a segmenter on pictures.

    Args:
        segmenter: the segmenter. entries: the pictures. mode: "depth" or "colour" (depth is withheld).
        fit_plane: withhold the calibrated belt plane. progress: show a progress bar.

    Returns:
        The figures of `judge.summarise` and the verdict of each picture.
    """
    verdicts = verdicts_of(segmenter, entries, mode, fit_plane, progress)
    return summarise(verdicts), verdicts


def modes_of(entries: Sequence[Entry]) -> list[str]:
    """The modes that pictures can be judged in: "colour", and "depth" where one of them has depth."""
    return [mode for mode in MODES if mode == "colour" or any(entry.depth for entry in entries)]


def badness(verdict: Verdict) -> float:
    """How bad a picture is: what pickable packages lack of IoU, plus half for each confident prediction of nothing."""
    best = verdict.iou.max(axis=1, initial=0.0)[verdict.pickable]
    invented = (verdict.iou.max(axis=0, initial=0.0) < 0.3) & (verdict.scores > 0.4)
    return float((1 - best[best < 0.75]).sum() + 0.5 * invented.sum())


def draw_worst(segmenter: Segmenter, entries: Sequence[Entry], verdicts: Sequence[Verdict], mode: str, path: Path,
               fit_plane: bool = False, count: int = _WORST) -> list[str]:
    """Write a PNG of the worst pictures: predictions tinted, the truth outlined in white.

    Returns:
        Their names, worst first.
    """
    order = sorted(range(len(verdicts)), key=lambda i: -badness(verdicts[i]))[:count]
    tiles: list[NDArray[np.uint8]] = []
    for i in order:
        sample = load_sample(entries[i], with_depth=mode == "depth")
        picture = draw_segmentation(sample.frame.rgb, segmenter.segment(sample.frame, None if fit_plane else sample.belt_plane))
        outline(picture, sample.labels, (255, 255, 255))
        tile = np.asarray(cv2.resize(picture, _TILE, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        words = f"{entries[i].name}  {mode}  badness {badness(verdicts[i]):.1f}"
        write_words(tile, words, (0, 12), 0.45)
        tiles.append(tile)
    columns = 4
    while len(tiles) % columns:
        tiles.append(np.zeros((_TILE[1], _TILE[0], 3), np.uint8))
    sheet = np.vstack([np.hstack(tiles[k:k + columns]) for k in range(0, len(tiles), columns)])
    put_png(path, sheet)
    return [entries[i].name for i in order]


def _table(figures: dict[str, dict[str, Any]]) -> str:
    lines = [f"{'':34}" + "".join(f"{mode:>12}" for mode in figures)]

    def row(words: str, values: list[float], digits: int = 3) -> None:
        lines.append(f"{words:34}" + "".join(f"{value:12.{digits}f}" for value in values))

    for group, words in (("pickable_mask", "pickable packages"), ("all_mask", "all packages"),
                         ("pickable_mask_by_class", "pickable, by class")):
        for key in ("AP", "AP50", "AP75"):
            row(f"{words} {key}", [f[group][key] for f in figures.values()])
    row("touching packages found at 0.75", [f["touching_recall_75"] for f in figures.values()])
    row("merges per 100 packages", [f["merges_per_100"] for f in figures.values()], 1)
    row("splits per 100 packages", [f["splits_per_100"] for f in figures.values()], 1)
    row("class accuracy", [f["class_accuracy"] for f in figures.values()])
    row("calibration error", [f["calibration_error"] for f in figures.values()])
    row("packages that need no correction", [f["corrections"]["untouched_share"] for f in figures.values()])
    row("corrections per picture", [f["corrections"]["corrections_per_picture"] for f in figures.values()], 2)
    for mode, f in figures.items():
        lines.append(f"found as (columns), {mode:<14}" + "".join(f"{name:>15}" for name in CLASS_NAMES))
        lines += [f"  in truth {name:<22}" + "".join(f"{count:15d}" for count in counts)
                  for name, counts in zip(CLASS_NAMES, f["class_confusion"]["counts"], strict=True)]
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `perception evaluate`."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder with annotations.json, rgb/, depth/, labels/, meta/; "
                        "or photographs with boxes.json (COCO boxes without masks)")
    parser.add_argument("--min-score", type=zero_to_one, default=0.5, help="with boxes.json: predictions below do not count (0..1)")
    parser.add_argument("--model", type=Path, help=".onnx or .safetensors file (default: the universal model)")
    parser.add_argument("--runtime", default="auto", choices=("auto", "openvino", "onnxruntime", "torch"),
                        help="what runs the model")
    parser.add_argument("--mode", default="both", choices=(*MODES, "both"), help="with depth, colour only, or both")
    parser.add_argument("--fit-plane", action="store_true",
                        help="fit the belt plane to each picture instead of using the given one")
    parser.add_argument("--first", type=zero_or_more, default=0, metavar="N", help="judge the first N pictures only (0: all)")
    parser.add_argument("--last", type=zero_or_more, default=0, metavar="N", help="judge the last N pictures only (0: all)")
    parser.add_argument("--worst", type=file_to_write, metavar="PNG",
                        help="write a picture of the twenty worst cases (with depth if judged so)")
    parser.add_argument("--min-ap50", type=zero_to_one, default=0.0,
                        help="exit 1 when AP50 of pickable packages falls short (0..1)")
    parser.add_argument("--threads", type=zero_or_more, default=2, help="CPU threads (0: the runtime's choice)")
    parser.add_argument("--json", type=file_to_write, help="write all figures to this file")


def run(args: argparse.Namespace) -> int:
    """Evaluate; exit status 0, 1 when the result falls short, 2 for bad input."""
    try:
        if (args.dataset / BOXES_FILE).is_file() and not (args.dataset / "annotations.json").is_file():
            return _run_boxes(args)
        entries = read_dataset(args.dataset)
        entries = entries[:args.first] if args.first > 0 else entries
        entries = entries[-args.last:] if args.last > 0 else entries
        require_packages(args.dataset, entries)
        segmenter = Segmenter(args.model, runtime=args.runtime, threads=args.threads)
        modes = [mode for mode in modes_of(entries) if args.mode in (mode, "both")]
        if not modes:
            raise PerceptionError(f"{args.dataset}: expected depth pictures for --mode depth, found none")
        figures: dict[str, dict[str, Any]] = {}
        for mode in modes:
            figures[mode], verdicts = evaluate(segmenter, entries, mode, args.fit_plane)
            if args.worst and mode == modes[0]:
                figures[mode]["worst"] = draw_worst(segmenter, entries, verdicts, mode, args.worst, args.fit_plane)
        print(f"{segmenter.model_id} ({segmenter.runtime}) on {args.dataset.name}: {len(entries)} pictures, "
              f"{figures[modes[0]]['pickable']} pickable of {figures[modes[0]]['packages']} packages\n{_table(figures)}")
        if args.json:
            put_json(args.json, {"model_id": segmenter.model_id, "dataset": args.dataset.name, **figures})
    except (PerceptionError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    return 1 if min(f["pickable_mask"]["AP50"] for f in figures.values()) < args.min_ap50 else 0


def _run_boxes(args: argparse.Namespace) -> int:
    segmenter = Segmenter(args.model, runtime=args.runtime, threads=args.threads)
    figures = judge_boxes(segmenter, args.dataset, args.min_score)
    print(f"{segmenter.model_id} ({segmenter.runtime}) on {args.dataset.name}: {figures['pictures']} pictures, "
          f"{figures['boxes']} boxes, recall {figures['recall_50']:.3f}, precision {figures['precision_50']:.3f} at IoU 0.5")
    if args.json:
        put_json(args.json, {"model_id": segmenter.model_id, **figures})
    return 0


def fit_calibration(verdicts: Sequence[Verdict]) -> tuple[float, float]:
    """Fit (weight, bias) of a logistic map from the scores' logits to "IoU at least 0.5".

    The verdicts must come from a segmenter whose calibration is (1, 0).

    Source: J. Platt, "Probabilistic outputs for support vector machines", 1999.
    """
    scores = np.concatenate([v.scores for v in verdicts])
    right = np.concatenate([v.iou.max(axis=0, initial=0.0) >= 0.5 for v in verdicts]).astype(np.float64)
    scores = np.clip(scores, 1e-6, 1 - 1e-6)
    features = np.column_stack([np.log(scores / (1 - scores)), np.ones(len(scores))])
    theta = np.array([1.0, 0.0])
    for _ in range(50):  # Newton's method on the regularised log-likelihood
        p = 1 / (1 + np.exp(-features @ theta))
        gradient = features.T @ (p - right) + 0.1 * (theta - [1.0, 0.0])
        hessian = (features * (p * (1 - p))[:, None]).T @ features + 0.1 * np.eye(2)
        theta = theta - np.linalg.solve(hessian, gradient)
    return float(theta[0]), float(theta[1])


def recalibrate(segmenter: Segmenter, entries: Sequence[Entry]) -> tuple[float, float]:
    """Fit a segmenter's score calibration on validation pictures, half of the verdicts without depth."""
    segmenter.grouping = replace(segmenter.grouping, calibration=(1.0, 0.0))
    verdicts = [v for mode in MODES for v in evaluate(segmenter, entries, mode, progress=False)[1]]
    return fit_calibration(verdicts)

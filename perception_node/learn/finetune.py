"""`perception finetune DATASET`: adapt the universal model to a cell with a handful of its own labelled pictures."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from perception_node.errors import DatasetError, PerceptionError
from perception_node.learn.augment import Augmentation
from perception_node.learn.dataset import read_dataset
from perception_node.learn.export import export_model, load_network
from perception_node.learn.train import TrainConfig, train
from perception_node.segment.weights import default_weights

_STEPS_PER_PICTURE, _MIN_STEPS, _MAX_STEPS = 12, 150, 600
"""Steps of batch 8: twenty pictures take some minutes on two cores. Source: measured: docs/segmenter.md."""


def finetune_config(dataset: Path, out: Path, images: int | None, first: int | None, steps: int | None, seed: int,
                    replay: list[str], cache: str, init: Path) -> TrainConfig:
    """Settings of an adaptation: few steps, a small learning rate, gentler colours, replayed old data where it is at hand.

    Args:
        dataset: the cell's own data set. out: folder of the run. images: number of pictures to draw, None = all.
        first: draw from the first so many pictures only, None = from all. steps: None = by the number of pictures.
        seed: of the draw and the training. replay: folders of the universal model's kind of data, mixed in half and
            half. cache: folder for decoded samples. init: weights to start from.

    Raises:
        DatasetError: fewer pictures than asked for.
    """
    total = len(read_dataset(dataset)[:first])
    count = total if images is None else images
    if not 1 <= count <= total:
        raise DatasetError(f"{dataset}: expected {count} pictures to draw from, found {total}")
    if steps is None:
        steps = min(_MAX_STEPS, max(_MIN_STEPS, math.ceil(_STEPS_PER_PICTURE * count)))
    return TrainConfig(
        data=(str(dataset), *replay), draw=(count, total), first_share=0.5 if replay else 0.0, out=str(out), cache=cache,
        init=str(init), seed=seed, steps=steps, batch=8, learning_rate=0.0008, warmup_steps=20, decay=0.5, full_from=0.0,
        full_zoom=(0.8, 1.5), ema=0.98, validate_every=steps, validation=(), checkpoint_every=50, name=out.name,
        augmentation=Augmentation(colour=0.6, occluders=0.15, turn_rad=0.2))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `perception finetune`."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="the cell's labelled pictures (COCO layout)")
    parser.add_argument("--images", type=int, metavar="K", help="draw K pictures (default: all)")
    parser.add_argument("--first", type=int, metavar="N", help="draw from the first N pictures only (default: all)")
    parser.add_argument("--steps", type=int, help="training steps of 8 samples (default: 12 per picture, 150 to 600)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw and the training (default: %(default)s)")
    parser.add_argument("--replay", nargs="*", default=[], metavar="FOLDER",
                        help="data sets to keep in mind (from `perception synthesize`)")
    parser.add_argument("--init", type=Path, help=".safetensors file to start from (default: the universal model)")
    parser.add_argument("--scratch", action="store_true", help="start from random weights instead (for comparison)")
    parser.add_argument("--cache", default="runs/cache", help="folder for decoded samples (default: %(default)s)")
    parser.add_argument("--name", default="adapted", help="name of the model (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's choice)")
    parser.add_argument("--out", type=Path, required=True,
                        help="folder for the run and NAME.onnx, NAME.safetensors, NAME.card.json")
    parser.add_argument("--json", type=Path, help="write the run's figures to this file")


def run(args: argparse.Namespace) -> int:
    """Adapt; exit status 0, or 2 for bad input."""
    try:
        if args.threads:
            torch.set_num_threads(args.threads)
        init = args.init or default_weights().with_suffix(".safetensors")
        config = finetune_config(args.dataset, args.out, args.images, args.first, args.steps, args.seed, args.replay,
                                 args.cache, init)
        if args.scratch:
            config = replace(config, init="", learning_rate=0.002)
        train(config)
        card: dict[str, Any] = json.loads((args.out / "best.card.json").read_text(encoding="utf-8"))
        path = export_model(load_network(args.out / "best.safetensors"), args.out, args.name, card["training"],
                            card["metrics"], card["grouping"])
        print(path)
        if args.json:
            args.json.write_text(json.dumps({"model": str(path), **card["training"]}, indent=1) + "\n", encoding="utf-8")
    except (PerceptionError, OSError) as error:
        print(f"finetune: {error}", file=sys.stderr)
        return 2
    return 0

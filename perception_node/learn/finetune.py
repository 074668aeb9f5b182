"""`perception finetune DATASET`: adapt the universal model to a cell with a handful of its own labelled pictures.

Three things keep the model universal while it learns the cell: simulated pictures are replayed between the cell's own, the run is
short, and the result is blended with the universal weights. Source of the blend: M. Wortsman et al., "Robust fine-tuning of
zero-shot models", CVPR 2022.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tqdm import tqdm

from perception_node.arguments import file_name, file_to_write, folder_to_write, one_or_more, zero_or_more, zero_to_one
from perception_node.errors import DatasetError, PerceptionError
from perception_node.files import put_json
from perception_node.learn.augment import Augmentation
from perception_node.learn.dataset import read_coco, read_dataset, require_packages
from perception_node.learn.evaluate import MODES
from perception_node.learn.export import export_model, load_network
from perception_node.learn.quantise import JUDGED, PICTURES, inputs_of, spread, write_int8
from perception_node.learn.train import TrainConfig, drawn_entries, train
from perception_node.segment.model import PackageNet, with_classes
from perception_node.segment.weights import card_path, default_weights, file_sha256, read_card
from perception_node.types import CLASS_NAMES

_STEPS_PER_PICTURE, _MIN_STEPS, _MAX_STEPS = 40, 120, 800
"""Steps of batch 8: twenty pictures take five to ten minutes on two cores. Source: measured: docs/adapting.md."""

_OWN_SHARE = 0.7
_REPLAY_PICTURES, _REPLAY_SEED = 100, 9_000_000
BLEND = 0.7
"""Share of samples from the cell's own pictures, number of replayed ones, share of the adapted weights in the result.
Source: measured: docs/results.md, "Adaptation"."""

_STATE = "finetune.json"


def finetune_config(dataset: Path, out: Path, images: int | None, first: int | None, steps: int | None, seed: int,
                    replay: list[str], cache: str, init: Path) -> TrainConfig:
    """Settings of an adaptation: few steps, a small learning rate, gentler colours, replayed old data.

    Args:
        dataset: the cell's own data set. out: folder of the run. images: number of pictures to draw, None = all.
        first: draw from the first so many pictures only, None = from all. steps: None = by the number of pictures.
        seed: of the draw and the training. replay: folders of the universal model's kind of data, mixed in.
            cache: folder for decoded samples. init: weights to start from.

    Raises:
        DatasetError: fewer pictures than asked for, or none with a labelled package.
    """
    entries = read_dataset(dataset)[:first]
    require_packages(dataset, entries)
    total = len(entries)
    count = total if images is None else images
    if not 1 <= count <= total:
        raise DatasetError(f"{dataset}: expected {count} pictures to draw from, found {total}")
    if steps is None:
        steps = min(_MAX_STEPS, max(_MIN_STEPS, math.ceil(_STEPS_PER_PICTURE * count)))
    return TrainConfig(
        data=(str(dataset), *replay), draw=(count, total), first_share=_OWN_SHARE if replay else 0.0, out=str(out), cache=cache,
        init=str(init), seed=seed, steps=steps, batch=8, learning_rate=0.0012, warmup_steps=20, decay=0.5, full_from=1.0,
        ema=0.98, validate_every=steps, validation=(), checkpoint_every=50, name=out.name,
        augmentation=Augmentation(zoom=(0.8, 1.5), colour=0.6, occluders=0.15, turn_rad=0.2, background=0.0, shadows=0.1,
                                  lens=0.0))


def scratch_config(config: TrainConfig) -> TrainConfig:
    """The same run from random weights, for comparison: a higher learning rate, no replay."""
    return replace(config, init="", data=config.data[:1], first_share=0.0, learning_rate=0.003, warmup_steps=50, decay=0.4,
                   ema=0.99)


def simulated_replay(cache: Path, pictures: int = _REPLAY_PICTURES, classes: Sequence[str] | None = None) -> Path:
    """Folder of simulated pictures to keep the universal model in mind; made when it is not there yet.

    Args:
        cache: folder above it. pictures: how many. classes: that the adapted model will know, None = those of the shipped one;
            loose goods are shown only to a model that has a class for them.

    Raises:
        PerceptionError: the simulator's libraries are missing or the disk is full.
    """
    known = read_card(default_weights()).classes if classes is None else classes
    content = "mixed" if "item" in known else "packages"
    folder = cache / f"simulated-{content}-{pictures}"
    if not (folder / "annotations.json").is_file():
        from perception_node.sim.synthesize import synthesize

        cache.mkdir(parents=True, exist_ok=True)
        synthesize(folder, pictures, _REPLAY_SEED, workers=2, content=content)
    return folder


def adapted_classes(base: Sequence[str], config: TrainConfig) -> tuple[str, ...]:
    """What an adapted model tells apart: the classes that it started with, and those that the cell's drawn pictures show.

    Nothing of another kind may come out of it unasked.
    """
    own = drawn_entries(config) or read_dataset(Path(config.data[0]))
    shown = {CLASS_NAMES[class_id - 1] for entry in own for _, class_id, _ in entry.instances if class_id}
    return tuple(name for name in CLASS_NAMES if name in shown.union(base))


def blend(base: PackageNet, adapted: PackageNet, share: float) -> PackageNet:
    """Mean of two networks' weights (and normalisation statistics), `share` of the adapted one."""
    ours, theirs = adapted.state_dict(), base.state_dict()
    adapted.load_state_dict({key: torch.lerp(theirs[key], value, share) if value.is_floating_point() else value
                             for key, value in ours.items()})
    return adapted


def finetune(config: TrainConfig, name: str = "adapted", share: float = BLEND, progress: bool = True) -> dict[str, Any]:
    """Adapt and export; a broken run in the same folder goes on.

    Args:
        config: of `finetune_config` or `scratch_config`. name: of the model. share: of the adapted weights in the result; 1 for
            a run from random weights. progress: show a bar.

    Returns:
        "model": path of the ONNX file, "int8": what `write_int8` says of the file in 8-bit integers, and the training record with
        "wall_s" and "cpu_s" of this call.

    Raises:
        PerceptionError: broken data, model or checkpoint, or the folder holds another run.
    """
    out, init = Path(config.out), Path(config.init) if config.init else None
    state = {"config": json.loads(json.dumps({**asdict(config), "out": "", "cache": "", "name": ""})), "share": share,
             "init_sha256": file_sha256(init) if init and init.is_file() else ""}
    _check_folder(out, state)
    wall, cpu = time.monotonic(), time.process_time()
    base = load_network(init) if init else None
    train(config, progress)
    net = load_network(out / "best.safetensors")
    if base is not None:
        net = with_classes(net, adapted_classes(base.classes, config))
        net = blend(with_classes(base, net.classes), net, share)
    card: dict[str, Any] = json.loads((out / "best.card.json").read_text(encoding="utf-8"))
    record = {**card["training"], "blend": share if base is not None else 1.0, "learning_rate": config.learning_rate}
    grouping = dict(read_card(init).grouping) if init and card_path(init).is_file() else card["grouping"]
    path = export_model(net, out, name, record, {}, grouping)
    int8 = _add_int8(path, config)
    return {"model": str(path), "int8": int8, **record, "wall_s": round(time.monotonic() - wall, 1),
            "cpu_s": round(time.process_time() - cpu, 1)}


def _add_int8(weights: Path, config: TrainConfig) -> dict[str, Any]:
    """The adapted model in 8-bit integers: ranges from the drawn pictures and as many replayed ones, judged on the drawn ones."""
    own = drawn_entries(config) or []
    old = [entry for folder in config.data[1:] for entry in read_dataset(Path(folder))]
    share = PICTURES // 2 if old else PICTURES
    arrays = inputs_of(spread(own, share)) + (inputs_of(spread(old, share)) if old else [])
    return write_int8(weights, arrays, [Path(folder) for folder in config.data], spread(own, JUDGED))


def _check_folder(out: Path, state: dict[str, Any]) -> None:
    """Make sure that a run in `out` is this one; then note it down."""
    path = out / _STATE
    if path.is_file():
        try:
            same = json.loads(path.read_text(encoding="utf-8")) == state
        except ValueError:
            same = False
        if not same:
            raise DatasetError(f"{out}: holds a run with other settings, pictures or weights; choose another --out or remove it")
    elif (out / "last.safetensors").is_file():
        raise DatasetError(f"{out}: holds a run of `perception train`; choose another --out")
    put_json(path, state)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `perception finetune`."""
    parser.add_argument("dataset", type=Path, metavar="DATASET",
                        help="the cell's labelled pictures: folder (annotations.json or LabelMe files) or COCO file")
    parser.add_argument("--images", type=one_or_more, metavar="K", help="draw K pictures (default: all)")
    parser.add_argument("--first", type=one_or_more, metavar="N", help="draw from the first N pictures only (default: all)")
    parser.add_argument("--steps", type=one_or_more, help="training steps of 8 samples (default: 40 per picture, 120 to 800)")
    parser.add_argument("--seed", type=zero_or_more, default=0, help="seed of the draw and the training (default: %(default)s)")
    parser.add_argument("--replay", nargs="*", default=None, metavar="FOLDER",
                        help="data sets to keep in mind, from `perception synthesize`; --replay alone: none (default: "
                        f"{_REPLAY_PICTURES} pictures are simulated into the cache)")
    parser.add_argument("--replay-share", type=zero_to_one, default=round(1.0 - _OWN_SHARE, 3), metavar="SHARE",
                        help="share of samples from the replayed sets, 0 to below 1; more keeps more of what the model knew of "
                        "other cells (default: %(default)s)")
    parser.add_argument("--blend", type=zero_to_one, default=BLEND,
                        help="share of the adapted weights in the result, the rest are those it started from, 0..1 "
                        "(default: %(default)s)")
    parser.add_argument("--init", type=Path, help=".safetensors file to start from (default: the universal model)")
    parser.add_argument("--scratch", action="store_true", help="start from random weights instead, without replay (for comparison)")
    parser.add_argument("--cache", default="runs/cache", help="folder for decoded samples (default: %(default)s)")
    parser.add_argument("--name", type=file_name, default="adapted", help="name of the model (default: %(default)s)")
    parser.add_argument("--threads", type=zero_or_more, default=0, help="CPU threads (0: torch's choice)")
    parser.add_argument("--out", type=folder_to_write, required=True,
                        help="folder for the run and NAME.onnx, NAME.int8.onnx, NAME.safetensors, NAME.card.json; a broken run in "
                        "it goes on")
    parser.add_argument("--json", type=file_to_write, help="write the run's figures to this file")


def run(args: argparse.Namespace) -> int:
    """Adapt; exit status 0, or 2 for bad input."""
    try:
        if not 0 <= args.replay_share < 1:
            raise DatasetError(f"--replay-share: expected 0 to below 1, got {args.replay_share:g}")
        if args.threads:
            torch.set_num_threads(args.threads)
        init = args.init or default_weights().with_suffix(".safetensors")
        base = load_network(init)  # before pictures are simulated
        config = finetune_config(args.dataset, args.out, args.images, args.first, args.steps, args.seed, [], args.cache, init)
        _say_notes(args.dataset, args.first)
        if args.scratch:
            config = scratch_config(config)
        else:
            replay = args.replay
            if replay is None:
                replay = [str(simulated_replay(Path(args.cache), classes=adapted_classes(base.classes, config)))]
            for folder in replay:
                read_dataset(Path(folder))  # a wrong one is told before anything is written
            config = replace(config, data=(*config.data, *replay), first_share=1.0 - args.replay_share if replay else 0.0)
        figures = finetune(config, args.name, args.blend)
        print(figures["model"])
        print(_int8_words(figures["int8"]), file=sys.stderr)
        if args.json:
            put_json(args.json, figures)
    except PerceptionError as error:
        tqdm.write(f"finetune: {error}", file=sys.stderr)  # the training's bar may be on the line
        return 2
    except (OSError, SafetensorError) as error:
        tqdm.write(f"finetune: {args.out}: cannot go on ({getattr(error, 'strerror', None) or error})", file=sys.stderr)
        return 2
    return 0


def _int8_words(said: dict[str, Any]) -> str:
    if "refused" in said:
        return f"note: no 8-bit file, the model runs in floating point: {said['refused']}"
    aps = ", ".join(f"{said[mode]['AP']:.3f} -> {said[mode]['AP_int8']:.3f} ({mode})" for mode in MODES if mode in said)
    return f"8-bit file for processors with byte dot products: AP {aps} on {said['judged_on']} of the pictures trained on"


def _say_notes(dataset: Path, first: int | None) -> None:
    """Say what is no error but may be a mistake: pictures without a package, proposals that no one corrected."""
    empty = require_packages(dataset, read_dataset(dataset)[:first])
    if empty:
        names = ", ".join(empty[:5]) + (" ..." if len(empty) > 5 else "")
        print(f"note: {len(empty)} pictures have no labelled package and count as empty: {names}", file=sys.stderr)
    info = read_coco(dataset)[0].get("info")
    if isinstance(info, dict) and info.get("proposals_by"):
        print(f"note: {dataset} holds proposals of {info['proposals_by']} that no one has corrected", file=sys.stderr)

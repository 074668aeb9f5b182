"""`perception train`: one loop, top to bottom, on a CPU, a GPU or several (torchrun); a kill costs at most one checkpoint.

Sample i of step s depends on (seed, s, i) only, so a resumed run sees what an unbroken one would have seen.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.distributed as dist
import yaml
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from perception_node import __version__
from perception_node.arguments import file_to_write, folder_to_write, one_or_more, zero_or_more
from perception_node.errors import ConfigError, DatasetError, PerceptionError, one_line
from perception_node.files import aside, put_json
from perception_node.learn.augment import Augmentation, augment
from perception_node.learn.cache import CachedSet, cached
from perception_node.learn.content import dataset_sha256
from perception_node.learn.curve import draw_curve
from perception_node.learn.dataset import Entry, read_dataset
from perception_node.learn.export import export_model, load_network
from perception_node.learn.targets import LossWeights, compute_loss, make_targets
from perception_node.learn.validate import validate
from perception_node.segment.model import NetworkShape, PackageNet, with_classes
from perception_node.segment.weights import file_sha256, read_card
from perception_node.types import CLASS_NAMES


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a run depends on; `config/train.yaml` holds the same keys.

    Attributes:
        data, validation: folders of data sets. draw: (count, among the first) pictures of the first data set that are drawn by
            the seed, (0, 0) = all. first_share: share of samples from the first data set, 0 = by number of pictures.
        out: folder of the run. cache: folder for decoded samples.
        init: `.safetensors` file to start from, "" = from scratch; it may know fewer classes (`model.with_classes`).
        seed: of weights, order and augmentation.
        steps: in all. batch: samples per step over all processes. learning_rate: at batch 16 (scaled by the square root).
        warmup_steps: linear rise. decay: share of the steps, at the end, in which the rate falls to zero; between them it is
            constant, so a run can be stopped or prolonged.
        crop: (width, height) of the samples in pixels, multiples of 32. full_from: share of the steps after which whole
            pictures (640x480) are used instead.
        validate_every: steps. validation_pictures: at most. checkpoint_every: steps. ema: decay per step of the averaged weights.
        shape, augmentation, loss: of the network, the samples and the loss.
        bf16: use bfloat16 arithmetic. name: of the model.
    """

    data: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    draw: tuple[int, int] = (0, 0)
    first_share: float = 0.0
    out: str = "runs/train"
    cache: str = "runs/cache"
    init: str = ""
    seed: int = 0
    steps: int = 6000
    batch: int = 16
    learning_rate: float = 0.002
    weight_decay: float = 0.02
    warmup_steps: int = 200
    decay: float = 0.25
    crop: tuple[int, int] = (448, 352)
    full_from: float = 0.75
    full_zoom: tuple[float, float] = (0.85, 1.3)
    validate_every: int = 500
    validation_pictures: int = 60
    checkpoint_every: int = 100
    ema: float = 0.998
    bf16: bool = True
    name: str = "universal"
    shape: NetworkShape = field(default_factory=NetworkShape)
    augmentation: Augmentation = field(default_factory=Augmentation)
    loss: LossWeights = field(default_factory=LossWeights)


_NESTED: dict[str, Any] = {"shape": NetworkShape, "augmentation": Augmentation, "loss": LossWeights}


def read_config(path: Path | None, changes: dict[str, Any]) -> TrainConfig:
    """Read a YAML file over the defaults, then apply changes that are not None.

    Raises:
        ConfigError: unreadable file, unknown key or a value of the wrong kind.
    """
    data: dict[str, Any] = {}
    if path is not None:
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: cannot be read ({one_line(error)})") from None
        if not isinstance(data, dict):
            raise ConfigError(f"{path}: expected keys, got {type(data).__name__}")
    given = {key: value for key, value in changes.items() if value is not None}
    config: TrainConfig = _fill(TrainConfig(), {**data, **given}, str(path or "arguments"))
    if any(side <= 0 or side % 32 for side in config.crop):
        raise ConfigError(f"crop: expected multiples of 32 px, got {list(config.crop)}")
    if config.steps < 1 or config.batch < 1:
        raise ConfigError(f"steps and batch: expected 1 or more, got {config.steps} and {config.batch}")
    return config


def _fill(base: Any, data: dict[str, Any], where: str) -> Any:
    known = asdict(base)
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise ConfigError(f"{where}: expected keys among {sorted(known)}, got {unknown}")
    values: dict[str, Any] = {}
    for key, value in data.items():
        default = getattr(base, key)
        if key in _NESTED:
            values[key] = _fill(default, value, f"{where}: {key}") if isinstance(value, dict) else value
        elif isinstance(default, tuple):
            values[key] = tuple(value) if isinstance(value, list | tuple) else (value,)
        elif isinstance(default, (bool, str)):
            if not isinstance(value, type(default)):
                raise ConfigError(f"{where}: {key}: expected {type(default).__name__}, got {value!r}")
            values[key] = value
        else:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(f"{where}: {key}: expected a number, got {value!r}")
            values[key] = type(default)(value)
    return replace(base, **values)


def learning_rate(config: TrainConfig, step: int) -> float:
    """Warm-up, constant, linear decay.

    Source: S. Hu et al., "MiniCPM" (2024), the warm-up-stable-decay schedule.
    """
    peak = config.learning_rate * math.sqrt(config.batch / 16)
    decay_steps = max(1, round(config.decay * config.steps))
    return peak * min(1.0, (step + 1) / config.warmup_steps, max(0.0, (config.steps - step) / decay_steps))


def samples_of_step(config: TrainConfig, sets: Sequence[CachedSet], step: int, rank: int,
                    world: int) -> tuple[Tensor, Tensor, Tensor]:
    """The share of one process of a step's batch: rgb uint8, depth float32, targets float32."""
    full = step >= config.full_from * config.steps
    size = (sets[0].rgb.shape[2], sets[0].rgb.shape[1]) if full else config.crop
    how = replace(config.augmentation, zoom=config.full_zoom) if full else config.augmentation
    ends = np.cumsum([len(data) for data in sets])
    parts = []
    for i in range(rank, config.batch, world):
        rng = np.random.default_rng([config.seed, step, i])
        first = len(sets) == 1 or rng.random() < config.first_share
        place = int(rng.integers(ends[0] if first else ends[-1]))
        which = int(np.searchsorted(ends, place, side="right"))
        rgb, depth, labels, class_ids = augment(sets[which], place - int(ends[which]) + len(sets[which]), size, how, rng)
        parts.append((rgb, depth, make_targets(labels, class_ids)))
    stacked = [torch.from_numpy(np.stack(column)) for column in zip(*parts, strict=True)]
    return stacked[0], stacked[1], stacked[2]


def batches(config: TrainConfig, sets: Sequence[CachedSet], start: int, rank: int,
            world: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches from step `start` on, made ahead of time in a thread."""
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(samples_of_step, config, sets, start + k, rank, world) for k in range(3)]
        for step in range(start, config.steps):
            yield ahead.pop(0).result()
            ahead.append(pool.submit(samples_of_step, config, sets, min(step + 3, config.steps), rank, world))
        for rest in ahead:
            rest.cancel()


def save_checkpoint(path: Path, net: PackageNet, average: PackageNet, optimiser: torch.optim.Optimizer,
                    state: dict[str, Any]) -> None:
    """Write weights, averaged weights, optimiser state and `state` (as JSON) into one safetensors file, aside, then rename."""
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for index, slots in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in slots.items()}
    with aside(path) as part:
        save_file({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}, str(part),
                  metadata={"state": json.dumps(state)})


def load_checkpoint(path: Path, net: PackageNet, average: PackageNet, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote into the objects, and return its `state`.

    Raises:
        DatasetError: when the file is broken or of another network.
    """
    try:
        with safe_open(str(path), "pt") as file:
            state: dict[str, Any] = json.loads(file.metadata()["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        net.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net.")})
        average.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("average.")})
    except Exception as error:
        raise DatasetError(f"checkpoint {path}: cannot be resumed ({one_line(error, 200)})") from None
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".", 2)
            slots.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})
    return state


def train(config: TrainConfig, progress: bool = True) -> dict[str, Any]:
    """Train a segmenter; returns the best validation figures.

    The run's folder then holds `last.safetensors` (to resume), `best.safetensors` with `best.card.json` and `best.onnx`
    (the averaged weights of the best validation), `run.json` and `curve.png`.

    Raises:
        PerceptionError: broken data, configuration or checkpoint.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
    cv2.setNumThreads(1)
    torch.manual_seed(config.seed)
    chief = rank == 0
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    if not config.data:
        raise ConfigError("data: expected at least one data set, got none")
    if not chief:
        dist.barrier()  # the chief decodes
    sets = [cached(Path(folder), Path(config.cache), drawn_entries(config) if i == 0 else None, progress)
            for i, folder in enumerate(config.data)]
    entries = [e for folder in config.validation for e in read_dataset(Path(folder))]
    entries = entries[::max(1, len(entries) // max(1, config.validation_pictures))][:config.validation_pictures]
    contents = [dataset_sha256(Path(folder), read_dataset(Path(folder))) for folder in config.data] if chief else []
    if chief and world > 1:
        dist.barrier()

    net = with_classes(load_network(Path(config.init)), CLASS_NAMES) if config.init else PackageNet(config.shape)
    net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = PackageNet(net.shape, net.classes).to(device)
    average.load_state_dict(net.state_dict())
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": config.weight_decay},
                                   {"params": plain, "weight_decay": 0.0}], lr=config.learning_rate, betas=(0.9, 0.99))
    state: dict[str, Any] = {"step": 0, "seconds": 0.0, "best": -1e9, "history": [], "metrics": {}}
    if (out / "last.safetensors").is_file():
        state = load_checkpoint(out / "last.safetensors", net, average, optimiser)
    model = DistributedDataParallel(net) if world > 1 else net
    started, before = time.monotonic(), float(state["seconds"])
    sums: dict[str, float] = {}
    counted = 0
    bar = tqdm(total=config.steps, initial=state["step"], desc="train", unit="step", disable=not (chief and progress))
    for step, (rgb, depth, targets) in enumerate(batches(config, sets, state["step"], rank, world), state["step"]):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
            heads = model(rgb.to(device, non_blocking=True), depth.to(device, non_blocking=True))
        losses = compute_loss(heads, targets.to(device, non_blocking=True), config.loss)
        optimiser.zero_grad(set_to_none=True)
        losses["total"].backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        if bool(torch.isfinite(norm)):
            optimiser.step()
        _blend(average, net, min(config.ema, (1 + step) / (10 + step)))
        for key, value in losses.items():
            sums[key] = sums.get(key, 0.0) + float(value.detach())
        counted += 1
        done = step + 1
        bar.update()
        if not chief:
            continue
        state["step"], state["seconds"] = done, before + time.monotonic() - started
        if done % config.validate_every == 0 or done == config.steps:
            means = {key: value / counted for key, value in sums.items()}
            sums, counted = {}, 0
            metrics = validate(average, entries) if entries else {"selection": -means["total"]}
            state["history"].append({"step": done, "seconds": round(state["seconds"], 1), "lr": learning_rate(config, step),
                                     **{f"loss_{k}": round(v, 5) for k, v in means.items()}, **metrics})
            if metrics["selection"] > state["best"]:
                state["best"], state["metrics"] = metrics["selection"], metrics
                export_model(average, out, "best", _training_record(config, state, sets, contents), metrics)
            bar.write(json.dumps(state["history"][-1]), file=sys.stdout)
            sys.stdout.flush()
            draw_curve(state["history"], out / "curve.png")
            put_json(out / "run.json", {"config": asdict(config), "data": _training_record(config, state, sets, contents), **state})
        if done % config.checkpoint_every == 0 or done == config.steps:
            save_checkpoint(out / "last.safetensors", net, average, optimiser, state)
    bar.close()
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()
    return dict(state["metrics"])


def drawn_entries(config: TrainConfig) -> list[Entry] | None:
    """The drawn pictures of the first data set, None = all."""
    count, among = config.draw
    if count == 0:
        return None
    entries = read_dataset(Path(config.data[0]))[:among or None]
    if count > len(entries):
        raise DatasetError(f"{config.data[0]}: expected {count} pictures to draw from, found {len(entries)}")
    chosen = np.random.default_rng(config.seed).permutation(len(entries))[:count]
    return [entries[i] for i in sorted(chosen)]


@torch.no_grad()
def _blend(average: PackageNet, net: PackageNet, decay: float) -> None:
    """Exponential moving average of weights and of normalisation statistics."""
    target, source = average.state_dict(), net.state_dict()
    floats = [key for key, value in target.items() if value.is_floating_point()]
    torch._foreach_lerp_([target[key] for key in floats], [source[key] for key in floats], 1.0 - decay)


def _training_record(config: TrainConfig, state: dict[str, Any], sets: Sequence[CachedSet],
                     contents: Sequence[str]) -> dict[str, Any]:
    """Lineage for the card: data by name and content, version of this software, settings, the model that it started from."""
    names, checks = (["/".join(Path(folder).parts[-2:]) for folder in folders] for folders in (config.data, config.validation))
    record = {"data": names, "data_sha256": list(contents), "version": __version__, "pictures": sum(len(data) for data in sets),
              "validation": checks, "seed": config.seed, "steps": state["step"], "batch": config.batch,
              "seconds": round(float(state["seconds"]), 1)}
    if config.init:
        card = read_card(Path(config.init))
        record["parent"] = {"sha256": file_sha256(Path(config.init)), "training": dict(card.training)}
    return record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `perception train`."""
    parser.add_argument("--config", type=Path, help="YAML file with training settings (config/train.yaml)")
    parser.add_argument("--data", nargs="+", help="folders of training data sets")
    parser.add_argument("--validation", nargs="+", help="folders of validation data sets, of another make than the training data")
    parser.add_argument("--out", type=folder_to_write, help="folder of the run; an interrupted run in it is resumed")
    parser.add_argument("--cache", type=folder_to_write, help="folder for decoded samples (1.4 MB per picture)")
    parser.add_argument("--init", help=".safetensors file to start from")
    parser.add_argument("--seed", type=zero_or_more, help="seed of weights, order and augmentation")
    parser.add_argument("--steps", type=one_or_more, help="training steps in all")
    parser.add_argument("--batch", type=one_or_more, help="samples per step over all processes")
    parser.add_argument("--threads", type=zero_or_more, default=0, help="CPU threads of each process (0: torch's choice)")
    parser.add_argument("--json", type=file_to_write, help="write the best validation figures to this file")


def run(args: argparse.Namespace) -> int:
    """Train; exit status 0, or 2 for bad input."""
    names = ("data", "validation", "out", "cache", "init", "seed", "steps", "batch")
    try:
        config = read_config(args.config, {name: str(value) if isinstance(value := getattr(args, name), Path) else value
                                           for name in names})
        if args.threads:
            torch.set_num_threads(args.threads)
        metrics = train(config)
        if args.json:
            put_json(args.json, metrics)
    except (PerceptionError, OSError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    return 0

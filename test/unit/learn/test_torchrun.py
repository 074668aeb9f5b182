"""Training by two processes: the same bits as one process that computes the two parts of each batch one after the other.

Against one process with the undivided batch there is a tolerance, not equality: batch normalisation and the loss's own norms are
those of the part that a process has.
"""

import copy
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from perception_node.learn import train
from perception_node.learn.cache import cached
from perception_node.learn.targets import compute_loss
from perception_node.segment.model import NetworkShape, PackageNet

ROOT = Path(__file__).resolve().parents[3]
TINY = NetworkShape(widths=(8, 8, 8, 8, 8), blocks=(1, 1, 1, 1))


@pytest.fixture
def config(dataset: Path, tmp_path: Path) -> train.TrainConfig:
    torch.set_num_threads(1)
    return train.TrainConfig(data=(str(dataset),), out=str(tmp_path / "two"), cache=str(tmp_path / "cache"), shape=TINY, steps=4,
                             batch=4, crop=(96, 64), full_from=1.0, validate_every=4, checkpoint_every=4, warmup_steps=1)


def part_by_part(config: train.TrainConfig) -> dict[str, torch.Tensor]:
    """The run's weights after its steps, gradients averaged over two halves of each batch that are computed one after the other."""
    torch.manual_seed(config.seed)
    sets = [cached(Path(config.data[0]), Path(config.cache), None, False)]
    net = PackageNet(config.shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    groups = [[p for p in net.parameters() if (p.ndim > 1) == decayed] for decayed in (True, False)]
    optimiser = torch.optim.AdamW([{"params": groups[0], "weight_decay": config.weight_decay},
                                   {"params": groups[1], "weight_decay": 0.0}], lr=config.learning_rate, betas=(0.9, 0.99))
    for step in range(config.steps):
        parts = [net, copy.deepcopy(net)]  # the first process's running statistics count
        for rank, part in enumerate(parts):
            rgb, depth, targets = train.samples_of_step(config, sets, step, rank, 2)
            part.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
                heads = part(rgb, depth)
            compute_loss(heads, targets, config.loss)["total"].backward()  # type: ignore[no-untyped-call]
        for mine, other in zip(net.parameters(), parts[1].parameters(), strict=True):
            assert mine.grad is not None
            assert other.grad is not None
            mine.grad = mine.grad / 2 + other.grad / 2
        for group in optimiser.param_groups:
            group["lr"] = train.learning_rate(config, step)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
    return {f"net.{name}": value for name, value in net.state_dict().items()}


def test_two_processes_compute_what_one_computes_part_by_part(config: train.TrainConfig, tmp_path: Path) -> None:
    settings = tmp_path / "train.yaml"
    settings.write_text(json.dumps(asdict(config)))
    subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m",
                    "perception_node.cli", "train", "--config", str(settings), "--threads", "1"], check=True, timeout=100, cwd=ROOT,
                   env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}, capture_output=True)
    two = load_file(str(Path(config.out) / "last.safetensors"))
    for name, value in part_by_part(config).items():
        assert torch.equal(two[name], value), name
    assert json.loads((Path(config.out) / "best.card.json").read_text())["training"]["steps"] == 4


def test_the_parts_of_a_batch_are_the_batch(config: train.TrainConfig) -> None:
    sets = [cached(Path(config.data[0]), Path(config.cache), None, False)]
    whole = train.samples_of_step(config, sets, 2, 0, 1)
    parts = [train.samples_of_step(config, sets, 2, rank, 2) for rank in range(2)]
    for column, rows in zip(whole, zip(*parts, strict=True), strict=True):
        for rank, row in enumerate(rows):
            assert torch.equal(column[rank::2], row)


def test_a_divided_batch_pulls_nearly_the_same_way(config: train.TrainConfig) -> None:
    config = replace(config, batch=16)
    torch.manual_seed(config.seed)
    net = PackageNet(config.shape)
    sets = [cached(Path(config.data[0]), Path(config.cache), None, False)]
    losses, gradients = [], []
    for world in (1, 2):
        parts = []
        net.zero_grad(set_to_none=True)
        for rank in range(world):
            rgb, depth, targets = train.samples_of_step(config, sets, 0, rank, world)
            parts.append(compute_loss(net(rgb, depth), targets, config.loss)["total"] / world)
            parts[-1].backward()  # type: ignore[no-untyped-call]
        losses.append(sum(float(part.detach()) for part in parts))
        gradients.append(torch.cat([p.grad.ravel() for p in net.parameters() if p.grad is not None]))
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert float(torch.cosine_similarity(*gradients, dim=0)) > 0.8
    assert not torch.equal(*gradients)

"""The segmentation network in torch: the only file of `segment` that needs torch (training, export, GPU inference).

A plain-convolution U-Net that works at half the picture's resolution. The colour picture enters at full resolution by
space-to-depth, so fine edges are not lost; depth enters at half resolution as three channels (`encode.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception_node.segment.encode import (
    BOUNDARY_CHANNEL,
    CENTRE_CHANNEL,
    CLASS_CHANNELS,
    DEPTH_CHANNELS,
    OFFSET_CHANNELS,
    OFFSET_UNIT_PX,
    output_channels,
)
from perception_node.types import CLASS_NAMES

MAX_WIDTH, MAX_BLOCKS = 2048, 32
"""Largest network that a card may ask for. Source: judgement; a hundred times what two cores can run."""

_RARE = 2.0
"""How much less likely than the mean of the known classes a new one is at first, in logits: the odds of a package rise by 14 %
(exp(-2)) at most, where one class is known, and by less where there are several."""


@dataclass(frozen=True)
class NetworkShape:
    """Widths (channels) of the five levels, 1/2 to 1/32 resolution, and residual blocks of the four lower levels.

    Source: measured: docs/segmenter.md (what two CPU cores can run inside 25 ms per picture).
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 160)
    blocks: tuple[int, ...] = (1, 1, 1, 2)

    def to_json(self) -> dict[str, Any]:
        """Return a mapping that `from_json` reads."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> NetworkShape:
        """Read what `to_json` wrote.

        Raises:
            ValueError: not five widths of 1 to `MAX_WIDTH` and four numbers of blocks of 0 to `MAX_BLOCKS`: checked before memory
                is taken for them.
        """
        shape = NetworkShape(widths=tuple(int(w) for w in data["widths"]), blocks=tuple(int(b) for b in data["blocks"]))
        if len(shape.widths) != 5 or not all(1 <= w <= MAX_WIDTH for w in shape.widths):
            raise ValueError(f"widths: expected five of 1 to {MAX_WIDTH}, got {shape.widths}"[:200])
        if len(shape.blocks) != 4 or not all(0 <= b <= MAX_BLOCKS for b in shape.blocks):
            raise ValueError(f"blocks: expected four of 0 to {MAX_BLOCKS}, got {shape.blocks}"[:200])
        return shape


def _conv(n_in: int, n_out: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_in, n_out, size, stride, size // 2, bias=False), nn.BatchNorm2d(n_out),
                         nn.ReLU(inplace=True))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)), inplace=True)


class PackageNet(nn.Module):
    """Colour and encoded depth in, per-pixel heads out.

    Args:
        shape: the network's widths. classes: names of the class channels after background.
    """

    def __init__(self, shape: NetworkShape | None = None, classes: Sequence[str] = CLASS_NAMES) -> None:
        super().__init__()
        self.shape, self.classes = shape or NetworkShape(), tuple(classes)
        outputs = output_channels(len(self.classes))
        w = self.shape.widths
        self.stem = _conv(12 + DEPTH_CHANNELS, w[0])
        self.down = nn.ModuleList([
            nn.Sequential(_conv(w[i], w[i + 1], stride=2), *[_Residual(w[i + 1]) for _ in range(count)])
            for i, count in enumerate(self.shape.blocks)])
        self.reduce = nn.ModuleList([_conv(w[i + 1], w[i], size=1) for i in range(len(w) - 1)])
        self.up = nn.ModuleList([_conv(w[i], w[i]) for i in range(len(w) - 1)])
        self.neck = _conv(w[0], w[0])
        self.head = nn.Conv2d(w[0], outputs, 1)
        # Classes and the long part of the offsets are a matter of regions: the few channels of the finest level have no room
        # for them, so coarser levels add their own opinion, sharpened by each finer one.
        self.coarse = nn.ModuleList([nn.Conv2d(w[level], outputs, 1) for level in (1, 2, 3)])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.normal_(self.head.weight, std=0.05)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        for head in self.coarse.parameters():
            nn.init.zeros_(head)

    def forward(self, rgb: Tensor, depth: Tensor) -> Tensor:
        """Compute the raw heads.

        Args:
            rgb: (N, H, W, 3) uint8, H and W multiples of 32.
            depth: (N, H/2, W/2, 3) float32: compressed height, local relief, share of valid readings (`encode.py`).

        Returns:
            (N, C, H/2, W/2) logits and offsets, C = 5 + number of classes; the channels are named in `encode.py`.
        """
        x = F.pixel_unshuffle(rgb.permute(0, 3, 1, 2), 2).to(depth.dtype) * (1.0 / 64.0) - 2.0
        x = torch.cat([x, depth.permute(0, 3, 1, 2)], dim=1)
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        skips = [x]
        for down in self.down:
            x = down(x)
            skips.append(x)
        opinion: Tensor | None = None
        for level in range(len(skips) - 2, -1, -1):
            x = F.interpolate(self.reduce[level](x), scale_factor=2.0, mode="nearest")
            x = self.up[level](x + skips[level])
            mine = self.coarse[level - 1](x) if level > 0 else self.head(self.neck(x))
            if opinion is not None:
                opinion = F.interpolate(opinion, scale_factor=2.0, mode="bilinear", align_corners=False) + mine
            else:
                opinion = mine
        assert opinion is not None
        return opinion


def with_classes(net: PackageNet, classes: Sequence[str]) -> PackageNet:
    """The same network for another list of classes: channels are carried over by name.

    A class that `net` does not know starts from the mean of those it knows, and as rare, so that hardly anything becomes a package
    that was none before. Background, boundary, centre and offsets stay.
    """
    if tuple(classes) == net.classes:
        return net
    made = PackageNet(net.shape, classes)
    state = net.state_dict()
    known = [1 + k for k in range(len(net.classes))]
    for name in [key for key in state if key.startswith(("head.", "coarse."))]:
        old = state[name]
        fresh = old[known].mean(dim=0)
        if name == "head.bias":
            fresh = fresh - _RARE
        rows = [old[1 + net.classes.index(c)] if c in net.classes else fresh for c in classes]
        state[name] = torch.stack([old[0], *rows, *old[BOUNDARY_CHANNEL:]])
    made.load_state_dict(state)
    return made


class ExportedNet(nn.Module):
    """`PackageNet` with its activations: what the ONNX file computes.

    The output holds class probabilities, boundary and centre probabilities, and offsets in grid pixels.
    """

    def __init__(self, net: PackageNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, rgb: Tensor, depth: Tensor) -> Tensor:
        """See `PackageNet.forward`; returns (N, C, H/2, W/2) float32."""
        heads = self.net(rgb, depth).float()
        return torch.cat([torch.softmax(heads[:, CLASS_CHANNELS], dim=1),
                          torch.sigmoid(heads[:, BOUNDARY_CHANNEL:CENTRE_CHANNEL + 1]),
                          heads[:, OFFSET_CHANNELS] * OFFSET_UNIT_PX], dim=1)

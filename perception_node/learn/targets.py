"""What the heads should say for a label picture, and how much each pixel counts; and the loss that compares them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from perception_node.learn.cache import CACHE_IGNORE
from perception_node.segment.encode import (
    BOUNDARY_CHANNEL,
    CENTRE_CHANNEL,
    CLASS_CHANNELS,
    OFFSET_CHANNELS,
    OFFSET_UNIT_PX,
)

_MIN_CENTRE_AREA_PX = 20  # smaller visible parts get no centre, and no one is asked to find them
_CENTRE_SPREAD = (0.06, 1.8, 4.5)  # of the square root of the area; least and largest, grid pixels


@dataclass(frozen=True)
class LossWeights:
    """Weights of the parts of the loss; "kind" is the class among packages, which is lost between so much background.

    "kinds" says how much a pixel of each class counts in it: goods without a package are few and small, and were never called so
    after 1,000 steps of equal weights.

    Source: measured: docs/segmenter.md.
    """

    classes: float = 1.0
    kind: float = 1.0
    kinds: tuple[float, ...] = (1.0, 1.0, 1.0, 5.0)
    boundary: float = 0.4
    centre: float = 1.0
    offset: float = 3.0


def make_targets(labels: NDArray[np.uint8], class_ids: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Targets of one sample.

    Args:
        labels: (h, w) uint8 on the grid, 0 = background, 255 = ignore. class_ids: (256,) uint8 by label.

    Returns:
        (7, h, w) float32: class id, class weight, boundary, centre, offset x, offset y (units of `OFFSET_UNIT_PX`), offset
        weight. Weights are 0 where ignored.
    """
    h, w = labels.shape
    flat = labels.ravel()
    area = np.bincount(flat, minlength=256).astype(np.float32)
    rows, columns = np.indices((h, w), dtype=np.float32)
    safe = np.maximum(area, 1)
    mean_x = (np.bincount(flat, columns.ravel(), minlength=256) / safe).astype(np.float32)
    mean_y = (np.bincount(flat, rows.ravel(), minlength=256) / safe).astype(np.float32)
    present = (area >= _MIN_CENTRE_AREA_PX)
    present[0] = present[CACHE_IGNORE] = False
    small = (area > 0) & ~present
    small[0] = False

    out = np.zeros((7, h, w), np.float32)
    classes = class_ids.astype(np.float32)[labels]
    edge = cv2.dilate(labels, np.ones((3, 3), np.uint8)) != cv2.erode(labels, np.ones((3, 3), np.uint8))
    ignored = labels == CACHE_IGNORE
    tiny = small[labels] & ~ignored
    near_ignored = cv2.dilate(ignored.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    edge &= (labels > 0) & ~near_ignored
    factor = np.ones(256, np.float32)  # small packages count more per pixel
    factor[present] = np.clip(np.sqrt(1500.0 / area[present]), 0.7, 3.0)
    weight = factor[labels]
    weight[edge] *= 2.0
    weight[ignored] = 0.0
    out[0], out[1], out[2] = np.where(ignored, 0, classes), weight, edge
    ids = np.flatnonzero(present)
    if len(ids):
        seeds = np.ones((h, w), np.uint8)
        x, y = np.rint(mean_x[ids]).astype(int), np.rint(mean_y[ids]).astype(int)
        seeds[y, x] = 0
        distance, voronoi = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        spread = np.ones(int(voronoi.max()) + 1, np.float32)
        spread[voronoi[y, x]] = np.clip(_CENTRE_SPREAD[0] * np.sqrt(area[ids]), *_CENTRE_SPREAD[1:])
        out[3] = np.exp(-0.5 * (distance / spread[voronoi]) ** 2)
        out[4] = (mean_x[labels] - columns) / OFFSET_UNIT_PX
        out[5] = (mean_y[labels] - rows) / OFFSET_UNIT_PX
        inside = present[labels]
        out[6] = np.where(inside, factor[labels] / np.clip(0.02 * np.sqrt(area[labels]), 0.5, 4.0), 0.0)
        out[4:6] *= inside
    out[3][tiny | ignored] = -1.0  # no verdict on a centre there
    return out


def compute_loss(heads: Tensor, targets: Tensor, weights: LossWeights) -> dict[str, Tensor]:
    """Compare raw heads (N, C, h, w) of all `CLASS_NAMES` with targets (N, 7, h, w).

    Returns:
        The parts of the loss by name and their weighted sum as "total".
    """
    heads = heads.float()
    weight = targets[:, 1]
    norm = weight.sum().clamp(min=1.0)
    classes = (F.cross_entropy(heads[:, CLASS_CHANNELS], targets[:, 0].long(), reduction="none") * weight).sum() / norm
    package = heads.new_tensor((0.0, *weights.kinds))[targets[:, 0].long()] * weight
    kinds = heads[:, CLASS_CHANNELS.start + 1:CLASS_CHANNELS.stop]
    kind = F.cross_entropy(kinds, (targets[:, 0].long() - 1).clamp(min=0), reduction="none")
    kind = (kind * package).sum() / package.sum().clamp(min=1.0)
    boundary = F.binary_cross_entropy_with_logits(heads[:, BOUNDARY_CHANNEL], targets[:, 2], reduction="none")
    boundary = (boundary * weight * (1 + 2 * targets[:, 2])).sum() / norm
    heat = targets[:, 3].clamp(min=0.0)
    centre_weight = (targets[:, 3] >= 0).float() * (1 + 15 * heat)
    centre = F.binary_cross_entropy_with_logits(heads[:, CENTRE_CHANNEL], heat, reduction="none")
    centre = (centre * centre_weight).sum() / centre_weight.sum().clamp(min=1.0)
    miss = (heads[:, OFFSET_CHANNELS] - targets[:, 4:6]).abs().sum(dim=1)
    offset = (miss * targets[:, 6]).sum() / targets[:, 6].sum().clamp(min=1.0)
    total = weights.classes * classes + weights.kind * kind
    total = total + weights.boundary * boundary + weights.centre * centre + weights.offset * offset
    return {"total": total, "classes": classes, "kind": kind, "boundary": boundary, "centre": centre, "offset": offset}

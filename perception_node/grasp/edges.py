"""How far each place of a mask is from the mask's edge, and where a cup finds room."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.types import F32, Segmentation

_STEP = 2
"""Distances are found in a picture of half the size: good to a pixel, four times as fast; what they choose is judged in full."""


@dataclass(frozen=True, eq=False)
class EdgeMap:
    """Distances inside one mask: `distance_px` (h, w) of every other pixel to the mask's edge or the picture's border, 0 outside
    of the mask; its first entry is the picture's pixel (u, v) = `corner`."""

    distance_px: F32
    corner: tuple[int, int]

    @property
    def widest_px(self) -> float:
        """Radius of the largest disc that fits into the mask."""
        return float(self.distance_px.max(initial=0.0))

    def innermost(self) -> tuple[int, int]:
        """Pixel (u, v) that is farthest from the edge."""
        row, column = np.unravel_index(int(np.argmax(self.distance_px)), self.distance_px.shape)
        return int(column) * _STEP + self.corner[0], int(row) * _STEP + self.corner[1]

    def lattice(self, radius_px: float, count: int) -> NDArray[np.int64]:
        """(n, 2) pixels (u, v), about `count` at most, half a radius apart or more, where a disc of that radius nearly fits;
        the innermost pixel is always among them."""
        room = self.distance_px >= min(0.9 * radius_px, self.widest_px)
        stride = max(1, round(radius_px / (2 * _STEP)))
        rows, columns = np.nonzero(room[::stride, ::stride])
        if len(rows) > count:
            stride = int(np.ceil(stride * np.sqrt(len(rows) / count)))
            rows, columns = np.nonzero(room[::stride, ::stride])
        seeds = np.column_stack([columns, rows]) * (stride * _STEP) + self.corner
        return np.concatenate([seeds, [self.innermost()]]).astype(np.int64)


def edge_maps(segmentation: Segmentation) -> dict[int, EdgeMap]:
    """The distances inside each mask, by label."""
    labels = np.ascontiguousarray(segmentation.labels[::_STEP, ::_STEP])
    height, width = labels.shape
    inner = (labels > 0).astype(np.uint8)
    down, right = labels[1:] == labels[:-1], labels[:, 1:] == labels[:, :-1]
    inner[:-1] &= down
    inner[1:] &= down
    inner[:, :-1] &= right
    inner[:, 1:] &= right
    inner[0], inner[-1], inner[:, 0], inner[:, -1] = 0, 0, 0, 0
    distance = np.asarray(cv2.distanceTransform(inner, cv2.DIST_L2, 3), dtype=np.float32) * np.float32(_STEP)
    maps = {}
    for instance in segmentation.instances:
        x0, y0, x1, y1 = (side // _STEP for side in instance.bbox_xyxy)
        part = (slice(max(0, y0), min(height, y1 + 1)), slice(max(0, x0), min(width, x1 + 1)))
        mine = np.where(labels[part] == instance.label, distance[part], np.float32(0))
        maps[instance.label] = EdgeMap(mine, (max(0, x0) * _STEP, max(0, y0) * _STEP))
    return maps

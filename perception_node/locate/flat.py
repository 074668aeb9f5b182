"""Masks without relief: prints, patches, light and shadow on the belt lie in its surface, a package stands out of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled, steady
from perception_node.geometry import ray_image
from perception_node.types import F32, F64, Frame, Instance, Packages, Segmentation

_LOW_M = 0.03
"""Masks whose middle is higher above the belt are not looked at: what surrounds them is no measure of them."""
_ON_BELT_M = 0.02
"""What surrounds the mask is the belt when its middle is within this of the belt's plane (belts sag, rollers have gaps)."""
_EVEN_M = 0.015
"""And when it is even: 10th to 50th and 50th to 90th percentile within this."""
_RING_SHARE = 0.5
"""And when at least this share of the ring is belt with a reading: a package among others is not judged."""
_INNER_PX, _OUTER_PX, _CORE_PX = 4, 12, 3
"""The ring runs from 4 to 12 px outside of the mask; the mask's rim of 3 px is left out. Source: masks' edges are within 3 px."""
_RING_PERCENT, _CORE_PERCENT = np.array((10.0, 50.0, 90.0)), np.array((50.0, 90.0))
_MIN_READINGS = 500
"""Fewer readings are not judged: of slivers the mask's own error is as large as they are.

Source of all: simulated pictures of two engines (docs/segmenter.md, "What is no package")."""


@dataclass(frozen=True)
class Flat:
    """A mask that lies in the belt's surface: how far its middle and its upper tenth stand out of what surrounds it."""

    step_m: float
    upper_step_m: float


def flat_masks(frame: Frame, segmentation: Segmentation, packages: Packages, min_height_m: float) -> dict[int, Flat]:
    """Which masks show nothing that stands out of the belt around them.

    Args:
        frame: with depth, else nothing is judged. segmentation, packages: of this frame. min_height_m: what stands out by less is
            no package; 0 = nothing is judged.

    Returns:
        By label, of the flat masks only.
    """
    plane = packages.belt_plane
    if frame.depth_m is None or plane is None or min_height_m <= 0:
        return {}
    found = {}
    rays, depth_m, labels = ray_image(frame.camera), steady(frame.depth_m), steady(segmentation.labels)
    plane = np.array(plane)
    for instance, package in zip(segmentation.instances, packages.items, strict=True):
        if package.from_depth and package.size_m[2] > _LOW_M:
            continue
        flat = _step(depth_m, rays, labels, instance, plane, min_height_m)
        if flat is not None and flat.step_m < min_height_m and flat.upper_step_m < min_height_m + 0.001:
            found[instance.label] = flat
    return found


def _step(depth_m: NDArray[np.float32], rays: NDArray[np.float32], labels: NDArray[np.uint16], instance: Instance,
          plane: F64, min_height_m: float) -> Flat | None:
    """How far a mask stands out of the belt around it; None where that cannot be told, or is more than `min_height_m` for sure."""
    rows, columns = labels.shape
    x0, y0, x1, y1 = instance.bbox_xyxy
    left, top = max(x0 - _OUTER_PX, 0), max(y0 - _OUTER_PX, 0)
    window = labels[top:min(y1 + _OUTER_PX, rows), left:min(x1 + _OUTER_PX, columns)]
    mask = (window == instance.label).astype(np.uint8)
    core, ring = cv2.erode(mask, _square(_CORE_PX)), cv2.dilate(mask, _square(_OUTER_PX)) - cv2.dilate(mask, _square(_INNER_PX))
    part = np.asarray(core + 2 * ring, dtype=np.uint8)
    tenths = np.empty(5)
    if not relief(depth_m, rays, labels, part, left, top, plane, min_height_m, tenths):
        return None
    _, middle, high, own_middle, own_high = tenths.tolist()
    return Flat(own_middle - middle, own_high - high)


@compiled
def relief(depth_m: F32, rays: F32, labels: NDArray[np.uint16], part: NDArray[np.uint8], left: int, top: int, plane: F64,
           limit_m: float, tenths: F64) -> bool:
    """Percentiles of the heights above the belt: 10, 50 and 90 of the ring, 50 and 90 of the mask's core.

    Args:
        depth_m, rays, labels: of the picture. part: (h, w) of the window whose corner is left, top: 1 = core, 2 = ring.
        plane: (4,) belt. limit_m: step above which nothing more is asked. tenths: (5,), written.

    Returns:
        Whether both have readings enough, the ring is even belt, and more than half of the core is not above it by the limit; else
        `tenths` is undefined.
    """
    core, ring = np.empty(part.size), np.empty(part.size)
    of_core, of_ring, around = 0, 0, 0
    for row in range(part.shape[0]):
        for column in range(part.shape[1]):
            which = part[row, column]
            if which == 0:
                continue
            v, u = top + row, left + column
            along = rays[v, u, 0] * plane[0] + rays[v, u, 1] * plane[1] + plane[2]
            height = depth_m[v, u] * along + plane[3]
            if which == 1:
                if np.isfinite(height):
                    core[of_core] = height
                    of_core += 1
                continue
            around += 1
            if labels[v, u] == 0 and np.isfinite(height):
                ring[of_ring] = height
                of_ring += 1
    if of_core < _MIN_READINGS or of_ring == 0 or of_ring < _RING_SHARE * around:
        return False
    middle = np.percentile(ring[:of_ring], 50.0)
    above = 0
    for k in range(of_core):
        above += core[k] - middle > limit_m
    if above > of_core // 2 + 1 or abs(middle) > _ON_BELT_M:  # so is the core's middle, then: a package, as nearly always
        return False
    tenths[:3] = np.percentile(ring[:of_ring], _RING_PERCENT)
    if middle - tenths[0] > _EVEN_M or tenths[2] - middle > _EVEN_M:
        return False
    tenths[3:] = np.percentile(core[:of_core], _CORE_PERCENT)
    return True


def _square(reach_px: int) -> NDArray[np.uint8]:
    return np.ones((2 * reach_px + 1, 2 * reach_px + 1), np.uint8)

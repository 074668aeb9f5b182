"""What lies on what: depth steps where two masks meet, and the order of picking that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from perception_node.types import F32, F64

_GAP_PX = 3
"""Masks that come this close to each other are neighbours."""
_INSIDE_PX = 5
"""How far inside each mask the depth beside a border is read: stereo depth is smeared over some pixels at a step."""
_EVERY = 3
_MIN_BORDER = 4
"""So many places along a border, each third line in both directions, make a neighbour."""
_STEP_M = 0.008
"""Least step between two masks that counts. Source: twice the 99th percentile of the depth error measured on boxes."""


def border_steps(labels: NDArray[np.uint16], depth_m: F32, rays: F32, plane: F64) -> dict[tuple[int, int], tuple[float, int]]:
    """Height steps across the borders of neighbouring masks.

    Args:
        labels: (H, W). depth_m: (H, W), NaN = no reading. rays: (H, W, 2) x/z and y/z. plane: (4,) from which heights count.

    Returns:
        {(a, b): (median height of a minus b beside their border in metres, places looked at along it)}, a < b; only pairs with
        enough border and readings.
    """
    found_a, found_b, steps = [], [], []
    depth, ray = depth_m.ravel(), rays.reshape(-1, 2)
    for axis in (0, 1):
        first, second, outer, inner = _pairs(labels, axis)
        step = (ray[outer] @ plane[:2] + plane[2]) * depth[outer] - (ray[inner] @ plane[:2] + plane[2]) * depth[inner]
        swap = first > second
        found_a.append(np.where(swap, second, first))
        found_b.append(np.where(swap, first, second))
        steps.append(np.where(swap, -step, step))
    a, b, step = np.concatenate(found_a), np.concatenate(found_b), np.concatenate(steps)
    if len(a) == 0:
        return {}
    key = a.astype(np.int64) * (int(labels.max()) + 1) + b
    order = np.argsort(key, kind="stable")
    key, step = key[order], step[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    result = {}
    for start, end in zip(starts, [*starts[1:], len(key)], strict=True):
        known = step[start:end][np.isfinite(step[start:end])]
        if end - start >= _MIN_BORDER and len(known) >= _MIN_BORDER // 2:
            pair = divmod(int(key[start]), int(labels.max()) + 1)
            result[pair] = (float(np.median(known)), int(end - start))
    return result


def _pairs(labels: NDArray[np.uint16], axis: int) -> tuple[NDArray[np.intp], ...]:
    """Labels on both sides of each border along an axis, in every third line, and the flat indices where depth is read."""
    if axis:
        thin = labels[::_EVERY]
        line, at = np.nonzero(thin[:, :-_GAP_PX] != thin[:, _GAP_PX:])
        first, second = thin[line, at], thin[line, at + _GAP_PX]
    else:
        thin = np.ascontiguousarray(labels[:, ::_EVERY])
        at, line = np.nonzero(thin[:-_GAP_PX] != thin[_GAP_PX:])
        first, second = thin[at, line], thin[at + _GAP_PX, line]
    both = (first > 0) & (second > 0)
    first, second, line, at = first[both].astype(np.intp), second[both].astype(np.intp), line[both] * _EVERY, at[both]
    before, after = np.maximum(at - _INSIDE_PX, 0), np.minimum(at + _GAP_PX + _INSIDE_PX, labels.shape[axis] - 1)
    columns = labels.shape[1]
    outer, inner = (line * columns + before, line * columns + after) if axis else (before * columns + line, after * columns + line)
    flat = labels.ravel()
    same = (flat[outer] == first) & (flat[inner] == second)
    return first[same], second[same], outer[same], inner[same]


def covers(steps: Mapping[tuple[int, int], tuple[float, int]]) -> dict[int, tuple[int, ...]]:
    """{label: labels of what lies on top of it} from border steps."""
    above: dict[int, list[int]] = {}
    for (a, b), (step, _) in sorted(steps.items()):
        if abs(step) >= _STEP_M:
            lower, upper = (b, a) if step > 0 else (a, b)
            above.setdefault(lower, []).append(upper)
    return {label: tuple(sorted(upper)) for label, upper in above.items()}


def pick_order(labels: Sequence[int], covered_by: Mapping[int, tuple[int, ...]], height_m: Mapping[int, float],
               area_m2: Mapping[int, float]) -> tuple[int, ...]:
    """Labels in the order in which they can be lifted off: nothing before what lies on it.

    Among those free at the same time the higher comes first, then the larger, then the smaller label. A circle (a leans on b
    leans on a) is cut at the member with the fewest packages left on it.
    """
    remaining = set(labels)
    order = []
    while remaining:
        def rank(label: int) -> tuple[int, float, float, int]:
            left = sum(other in remaining for other in covered_by.get(label, ()))
            return left, -round(height_m.get(label, 0.0), 3), -round(area_m2.get(label, 0.0), 6), label

        best = min(remaining, key=rank)
        order.append(best)
        remaining.remove(best)
    return tuple(order)

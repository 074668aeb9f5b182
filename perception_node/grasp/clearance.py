"""What stands where the fingers want to go: seen surfaces, hidden parts of other packages, the belt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_node.config import JawConfig
from perception_node.grasp.patch import View
from perception_node.types import F32, F64, Package

_GRID_X, _GRID_Y, _GRID_Z = 4, 4, 3
_ABOVE_M = 0.2
"""Fingers come from above: what stands this much higher than the face is still in their way."""
_HIGH_M = (0.16, 0.1, 0.055)
"""The fingers' way is looked at this high above the face, too: at the side of the picture, tall neighbours lean into it."""
_FACE_M = 0.015
"""The highest look beside the face itself: a little above it, as faces bulge."""
_BEHIND_M = 0.006
"""A point this much behind the seen surface is out of sight. Source: 99th percentile of stereo depth error at 1.1 m."""
_FLYING = 1
"""So many readings in a finger's way may be flying pixels of a depth edge; the next one is an obstacle."""
_OWN_SLACK_M = 0.0005
"""The package's own sides may lie this much inside a finger's inner surface before they count: depth noise at a side is lateral."""


@dataclass(frozen=True, eq=False)
class Obstacles:
    """What the fingers of N candidates meet.

    Attributes:
        free_m: (N,) depth below the face's plane down to the first obstacle beside the package, less than 0 when it is above.
        blocker: (N,) label of that obstacle, 0 = belt or unknown. unseen: (N,) share of the worse finger's place out of sight.
    """

    free_m: F64
    blocker: NDArray[np.int64]
    unseen: F64


@dataclass(frozen=True, eq=False)
class Fingers:
    """Points that fill both fingers of N candidates, in the frame whose origin is on the face and whose z goes down: the points
    are all combinations of `down_m` (D,), `across_m` (N, 2 * _GRID_X), one finger after the other, and `along_m` (_GRID_Y,)."""

    across_m: F64
    along_m: F64
    down_m: F64

    def grid(self, axis: F64, start: F64) -> F32:
        """(N, D, 2 * _GRID_X, _GRID_Y) coordinate of all points along one axis of another frame.

        Args:
            axis: (N, 3) that axis's share in x, y and z of the fingers' frame. start: (N,) coordinate of the fingers' origin.
        """
        level = (axis[:, 0, None] * self.across_m)[:, :, None] + (axis[:, 1, None] * self.along_m)[:, None]
        down = axis[:, 2, None] * self.down_m + start[:, None]
        result: F32 = level.astype(np.float32)[:, None] + down.astype(np.float32)[:, :, None, None]
        return result


def finger_samples(opening_m: F64, depth_m: float, config: JawConfig) -> Fingers:
    """Points filling both fingers of candidates that open to `opening_m` (N,) and reach down to `depth_m`."""
    x = np.linspace(0.0, config.finger_thickness_m + config.clearance_m, _GRID_X) + opening_m[:, None] / 2
    y = np.linspace(-0.5, 0.5, _GRID_Y) * (config.finger_width_m + config.clearance_m)
    z = np.concatenate([-np.array(_HIGH_M), np.linspace(-_FACE_M, depth_m, _GRID_Z)])
    return Fingers(np.concatenate([x, -x], axis=1), y, z)


def look_beside(view: View, T_cam_face: F64, opening_m: F64, own: NDArray[np.int64], everything: Sequence[Package],
                plane: F64 | None, config: JawConfig) -> Obstacles:
    """Find what each candidate's fingers meet.

    The fingers' volume is projected into the picture; readings that lie in the column of a finger are obstacles at their
    depth. What the picture cannot see there is checked against the boxes of the other packages.

    Args:
        view: the frame. T_cam_face: (N, 4, 4). opening_m: (N,). own: (N,) label of each candidate's package.
        everything: all packages with a box. plane: (4,) belt.
    """
    count = len(opening_m)
    rotation, origin = T_cam_face[:, :3, :3], T_cam_face[:, :3, 3]
    depth = config.finger_depth_m + config.clearance_m
    fingers = finger_samples(opening_m, depth, config)
    place_x, place_y, place_z = (fingers.grid(rotation[:, i], origin[:, i]) for i in range(3))
    flat, inside = view.flat(*view.pixels(place_x, place_y, place_z))
    z = view.depth_m.ravel().take(flat)
    readable = inside & (z > 0)
    z = np.where(readable, z, np.float32(0))
    label = view.labels.ravel().take(flat)
    ray = view.rays.take(flat, axis=0)
    ray_x, ray_y = ray[..., 0], ray[..., 1]
    turn = rotation.astype(np.float32)[..., None, None, None]
    start = np.einsum("ni,nik->kn", origin, rotation).astype(np.float32)[..., None, None, None]
    x, y, height = (z * (ray_x * turn[:, 0, k] + ray_y * turn[:, 1, k] + turn[:, 2, k]) - start[k] for k in range(3))
    half = (opening_m / 2).astype(np.float32)[:, None, None, None]
    mine = label == own.astype(label.dtype)[:, None, None, None]
    inner = half + np.where(mine, np.float32(_OWN_SLACK_M), np.float32(-config.clearance_m / 2))
    x[:, :, _GRID_X:] *= -1
    in_column = readable & (x > inner) & (x < half + np.float32(config.finger_thickness_m + config.clearance_m))
    in_column &= (np.abs(y) < (config.finger_width_m + config.clearance_m) / 2) & (height > -_ABOVE_M)
    height = np.where(in_column, height, np.float32(np.inf)).reshape(count, -1)
    rows = np.arange(count)
    for _ in range(_FLYING):
        height[rows, height.argmin(axis=1)] = np.inf
    nth = height.argmin(axis=1)
    free, blocker = height[rows, nth].astype(np.float64), label.reshape(count, -1)[rows, nth].astype(np.int64)
    # Higher up nothing can hide: what is in front of it is nearer still.
    low = slice(len(_HIGH_M), None)
    hidden = ~readable[:, low] | (place_z[:, low] > z[:, low] + np.float32(_BEHIND_M))
    unseen = hidden.reshape(count, _GRID_Z, 2, -1).mean(axis=3).mean(axis=1).max(axis=1)
    below = Fingers(fingers.across_m, fingers.along_m, fingers.down_m[low])
    free, blocker = _hidden_packages(free, blocker, T_cam_face, below, hidden, own, everything, config)
    if plane is not None:
        level = _belt_depth(T_cam_face, opening_m, plane, config)
        blocker = np.where(level < free, 0, blocker)
        free = np.minimum(free, level)
    return Obstacles(np.where(np.isfinite(free), free, depth), blocker, unseen)


def _hidden_packages(free: F64, blocker: NDArray[np.int64], T_cam_face: F64, fingers: Fingers, hidden: NDArray[np.bool_],
                     own: NDArray[np.int64], everything: Sequence[Package], config: JawConfig) -> tuple[F64, NDArray[np.int64]]:
    """Lower `free` where an unseen part of a finger's place lies in another package's box."""
    if not everything:
        return free, blocker
    half = np.array([other.size_m for other in everything]) / 2 + config.clearance_m / 2
    pose = np.array([other.T_cam_package for other in everything])
    label = np.array([other.label for other in everything])
    # Fingers' frames in the boxes' frames, and half the extent of the fingers along the boxes' axes.
    axes = pose[:, :3, :3].transpose(1, 0, 2).reshape(3, -1)
    turn = (T_cam_face[:, :3, :3].transpose(0, 2, 1).reshape(-1, 3) @ axes).reshape(len(own), 3, -1, 3).transpose(0, 2, 3, 1)
    start = (T_cam_face[:, :3, 3] @ axes).reshape(len(own), -1, 3) - np.einsum("pi,pik->pk", pose[:, :3, 3], pose[:, :3, :3])
    lowest, highest = float(fingers.down_m.min()), float(fingers.down_m.max())
    extent = np.abs(turn[..., 0]) * fingers.across_m.max(axis=1)[:, None, None]
    extent += np.abs(turn[..., 1]) * float(fingers.along_m.max()) + np.abs(turn[..., 2]) * (highest - lowest) / 2
    middle = start + turn[..., 2] * (lowest + highest) / 2
    near = np.all(np.abs(middle) < half + extent, axis=2) & (own[:, None] != label) & np.any(hidden, axis=(1, 2, 3))[:, None]
    candidate, box = np.nonzero(np.asarray(near))
    if len(box) == 0:
        return free, blocker
    reach = Fingers(fingers.across_m[candidate], fingers.along_m, fingers.down_m)
    inside: NDArray[np.bool_] = hidden[candidate]
    for k in range(3):
        along = reach.grid(turn[candidate, box, k], start[candidate, box, k])
        inside &= np.abs(along) < half[box, k].astype(np.float32)[:, None, None, None]
    level = np.where(inside.reshape(len(box), len(fingers.down_m), -1).any(axis=2), fingers.down_m, np.inf).min(axis=1)
    free, blocker = free.copy(), blocker.copy()
    hit = np.flatnonzero(level < free[candidate])
    for k in hit[np.argsort(-level[hit], kind="stable")].tolist():  # the highest obstacle is written last
        free[candidate[k]], blocker[candidate[k]] = level[k], label[box[k]]
    return free, blocker


def _belt_depth(T_cam_face: F64, opening_m: F64, plane: F64, config: JawConfig) -> F64:
    """(N,) depth below the face at which the first corner of a finger meets the belt."""
    half = opening_m / 2 + config.finger_thickness_m
    x_axis, y_axis, z_axis = (T_cam_face[:, :3, i] @ plane[:3] for i in range(3))
    height = T_cam_face[:, :3, 3] @ plane[:3] + plane[3]
    lowest = height - np.abs(x_axis) * half - np.abs(y_axis) * config.finger_width_m / 2
    level: F64 = lowest / np.maximum(-z_axis, 0.2)
    return level

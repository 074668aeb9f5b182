"""What stands where the fingers want to go: seen surfaces, hidden parts of other packages, the belt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_node.config import JawConfig
from perception_node.grasp.patch import View
from perception_node.types import F64, Package

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


def finger_samples(opening_m: F64, depth_m: float, config: JawConfig) -> F64:
    """(N, 2, S, 3) points filling both fingers, in the frame whose origin is on the face and whose z goes down."""
    x = np.linspace(0.0, config.finger_thickness_m + config.clearance_m, _GRID_X)
    y = np.linspace(-0.5, 0.5, _GRID_Y) * (config.finger_width_m + config.clearance_m)
    z = np.concatenate([-np.array(_HIGH_M), np.linspace(-_FACE_M, depth_m, _GRID_Z)])
    grid = np.stack(np.meshgrid(x, y, z, indexing="ij"), axis=-1).reshape(-1, 3)
    both = np.stack([grid, grid * (-1, 1, 1)])
    points = np.broadcast_to(both, (len(opening_m), *both.shape)).copy()
    points[:, 0, :, 0] += opening_m[:, None] / 2
    points[:, 1, :, 0] -= opening_m[:, None] / 2
    return points


def look_beside(view: View, T_cam_face: F64, opening_m: F64, own: Sequence[Package], everything: Sequence[Package],
                plane: F64 | None, config: JawConfig) -> Obstacles:
    """Find what each candidate's fingers meet.

    The fingers' volume is projected into the picture; readings that lie in the column of a finger are obstacles at their
    depth. What the picture cannot see there is checked against the boxes of the other packages.

    Args:
        view: the frame. T_cam_face: (N, 4, 4). opening_m: (N,). own: package of each candidate. everything: with their boxes.
    """
    count = len(opening_m)
    rotation, origin = T_cam_face[:, :3, :3], T_cam_face[:, :3, 3]
    depth = config.finger_depth_m + config.clearance_m
    samples = finger_samples(opening_m, depth, config).reshape(count, -1, 3)
    world = samples @ rotation.transpose(0, 2, 1) + origin[:, None]
    flat, inside = view.flat(*view.pixels(world[..., 0], world[..., 1], world[..., 2]))
    z = view.depth_m.ravel()[flat].astype(np.float64)
    readable = inside & (z > 0)
    z = np.where(readable, z, 0.0)
    ray = view.rays[flat]
    seen = ray[..., 0] * z - origin[:, :1], ray[..., 1] * z - origin[:, 1:2], z - origin[:, 2:]
    x, y, height = (sum(seen[i] * rotation[:, i, k, None] for i in range(3)) for k in range(3))
    label = view.labels.ravel()[flat].astype(np.int64)
    owner = np.array([package.label for package in own])
    inner = opening_m[:, None] / 2 + np.where(label == owner[:, None], _OWN_SLACK_M, -config.clearance_m / 2)
    outer = opening_m[:, None] / 2 + config.finger_thickness_m + config.clearance_m
    x = x * np.repeat((1.0, -1.0), samples.shape[1] // 2)
    in_column = readable & (x > inner) & (x < outer) & (np.abs(y) < (config.finger_width_m + config.clearance_m) / 2)
    height = np.where(in_column & (height > -_ABOVE_M), height, np.inf)
    nth = np.argpartition(height, _FLYING, axis=1)[:, _FLYING]
    rows = np.arange(count)
    free, blocker = height[rows, nth], label[rows, nth]
    hidden = ~readable | (world[..., 2] > z + _BEHIND_M)
    unseen = hidden.reshape(count, 2, -1, _GRID_Z + len(_HIGH_M))[..., len(_HIGH_M):].mean(axis=(2, 3)).max(axis=1)
    # Higher up nothing can hide: what is in front of it is nearer still.
    low = np.flatnonzero(np.tile(np.arange(_GRID_Z + len(_HIGH_M)) >= len(_HIGH_M), samples.shape[1] // (_GRID_Z + len(_HIGH_M))))
    free, blocker = _hidden_packages(free, blocker, world[:, low], samples[:, low, 2], hidden[:, low], opening_m, owner, everything,
                                     config)
    if plane is not None:
        level = _belt_depth(T_cam_face, opening_m, plane, config)
        blocker = np.where(level < free, 0, blocker)
        free = np.minimum(free, level)
    return Obstacles(np.where(np.isfinite(free), free, depth), blocker, unseen)


def _hidden_packages(free: F64, blocker: NDArray[np.int64], world: F64, depth: F64, hidden: NDArray[np.bool_], opening_m: F64,
                     owner: NDArray[np.int64], everything: Sequence[Package], config: JawConfig) -> tuple[F64, NDArray[np.int64]]:
    """Lower `free` where an unseen part of a finger's place lies in another package's box."""
    if not everything or not hidden.any():
        return free, blocker
    half = np.array([other.size_m for other in everything]) / 2 + config.clearance_m / 2
    pose = np.array([other.T_cam_package for other in everything])
    label = np.array([other.label for other in everything])
    middle = np.einsum("pi,pij->pj", pose[:, :3, 3], pose[:, :3, :3])
    reach = opening_m / 2 + config.finger_thickness_m + config.finger_width_m + config.finger_depth_m
    across = np.tensordot(world.mean(axis=1), pose[:, :3, :3], axes=(1, 1)) - middle
    near = np.all(np.abs(across) < half + reach[:, None, None], axis=2) & (owner[:, None] != label)
    candidate, box = np.nonzero(np.asarray(near & np.any(hidden, axis=1)[:, None]))
    x, y, z = (world[candidate, :, i] for i in range(3))
    inside: NDArray[np.bool_] = hidden[candidate]
    for k in range(3):
        axis = pose[box, :3, k, None]
        along = x * axis[:, 0] + y * axis[:, 1] + z * axis[:, 2] - middle[box, k, None]
        inside &= np.abs(along) < half[box, k, None]
    level = np.where(inside, depth[candidate], np.inf).min(axis=1)
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

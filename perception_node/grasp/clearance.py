"""What stands where the fingers want to go: seen surfaces, hidden parts of other packages, the belt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_node.config import JawConfig
from perception_node.grasp.patch import View
from perception_node.types import F64, Package

_GRID_X, _GRID_Y, _GRID_Z = 4, 5, 4
_ABOVE_M = 0.08
"""Fingers come from above: what stands this much higher than the face is still in their way."""
_BEHIND_M = 0.006
"""A point this much behind the seen surface is out of sight. Source: 99th percentile of stereo depth error at 1.1 m."""
_FLYING = 2
"""So many readings in a finger's way may be flying pixels of a depth edge; the next one is an obstacle."""
_OWN_SLACK_M = 0.003
"""The package's own sides may lie this much inside a finger's inner surface before they count."""


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
    z = np.linspace(-_ABOVE_M / 4, depth_m, _GRID_Z)
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
    samples = finger_samples(opening_m, depth, config)
    world = samples @ rotation.transpose(0, 2, 1)[:, None] + origin[:, None, None]
    flat, inside = view.look(view.project(world))
    z = view.depth_m.ravel()[flat].astype(np.float64)
    readable = inside & (z > 0)
    z = np.where(readable, z, 0.0)
    xy = view.rays[flat]
    seen = np.concatenate([xy * z[..., None], z[..., None]], axis=-1)
    local = (seen - origin[:, None, None]) @ rotation[:, None]
    label = view.labels.ravel()[flat].astype(np.int64)
    is_own = label == np.array([package.label for package in own])[:, None, None]
    inner = opening_m[:, None, None] / 2 + np.where(is_own, _OWN_SLACK_M, -config.clearance_m / 2)
    outer = opening_m[:, None, None] / 2 + config.finger_thickness_m + config.clearance_m
    side = np.array([1.0, -1.0])[None, :, None]
    x = local[..., 0] * side
    in_column = readable & (x > inner) & (x < outer) & (np.abs(local[..., 1]) < (config.finger_width_m + config.clearance_m) / 2)
    in_column &= local[..., 2] > -_ABOVE_M
    height = np.where(in_column, local[..., 2], np.inf).reshape(count, -1)
    order = np.argsort(height, axis=1, kind="stable")
    nth = order[:, _FLYING]
    free = height[np.arange(count), nth]
    blocker = label.reshape(count, -1)[np.arange(count), nth]
    hidden = ~readable | (world[..., 2] > z + _BEHIND_M)
    unseen = hidden.mean(axis=2).max(axis=1)
    free, blocker = _hidden_packages(free, blocker, world, samples, hidden, own, everything, config)
    if plane is not None:
        level = _belt_depth(T_cam_face, opening_m, plane, config)
        blocker = np.where(level < free, 0, blocker)
        free = np.minimum(free, level)
    return Obstacles(np.where(np.isfinite(free), free, depth), blocker, unseen)


def _hidden_packages(free: F64, blocker: NDArray[np.int64], world: F64, samples: F64, hidden: NDArray[np.bool_],
                     own: Sequence[Package], everything: Sequence[Package], config: JawConfig) -> tuple[F64, NDArray[np.int64]]:
    """Lower `free` where an unseen part of a finger's place lies in another package's box."""
    free, blocker = free.copy(), blocker.copy()
    candidate, finger, sample = np.nonzero(hidden)
    if len(candidate) == 0 or not everything:
        return free, blocker
    points, depth = world[candidate, finger, sample], samples[candidate, finger, sample, 2]
    owner = np.array([package.label for package in own])
    centre = world.mean(axis=(1, 2))
    arm = config.opening_max_m / 2 + config.finger_thickness_m + config.finger_width_m + config.finger_depth_m
    for other in everything:
        half = np.array(other.size_m) / 2 + config.clearance_m / 2
        away = centre - other.T_cam_package[:3, 3]
        near = (np.einsum("ni,ni->n", away, away) < (arm + math.hypot(*half)) ** 2) & (owner != other.label)
        chosen = np.flatnonzero(near[candidate])
        if len(chosen) == 0:
            continue
        local = (points[chosen] - other.T_cam_package[:3, 3]) @ other.T_cam_package[:3, :3]
        inside = chosen[(np.abs(local) < half).all(axis=1)]
        for k, level in zip(candidate[inside].tolist(), depth[inside].tolist(), strict=True):
            if level < free[k]:
                free[k], blocker[k] = level, other.label
    return free, blocker


def _belt_depth(T_cam_face: F64, opening_m: F64, plane: F64, config: JawConfig) -> F64:
    """(N,) depth below the face at which the first corner of a finger meets the belt."""
    half = opening_m / 2 + config.finger_thickness_m
    x_axis, y_axis, z_axis = (T_cam_face[:, :3, i] @ plane[:3] for i in range(3))
    height = T_cam_face[:, :3, 3] @ plane[:3] + plane[3]
    lowest = height - np.abs(x_axis) * half - np.abs(y_axis) * config.finger_width_m / 2
    level: F64 = lowest / np.maximum(-z_axis, 0.2)
    return level

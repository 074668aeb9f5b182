"""How well packages fit tracks, and by how much a whole frame has moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perception_node.types import F64


@dataclass(frozen=True, eq=False)
class Look:
    """What tells packages apart: class name, (3,) size in metres, and how much further than the gate (metres) its centre may be
    found, because the picture's border hid a part of it."""

    class_name: str
    size_m: F64
    slack_m: float = 0.0


def border_slack_m(truncated: bool) -> float:
    """How far the middle of what is seen may run from its prediction while a package enters or leaves the picture."""
    return _SLACK_M if truncated else 0.0


_CLASS_COST = 0.3
"""A change of class costs as much as this share of the gate: classes flicker, packages do not jump."""
_SIZE_COST = 0.3
ALONE = 1.2
"""Cost of a track without a package: a package at the gate's edge that looks alike is still taken, one that does not is not."""
_SLACK_M = 0.08
"""Source: simulated belts: the middle of an entering package runs at half of the belt's speed (2 cm behind at 0.6 m/s and 15
pictures a second), and its depth changes by up to its height (here 12 cm) when the upper face follows a side into sight."""
_VOTE_M = 0.025
"""Two packages agree on a shift within this distance."""
_VOTE_SIZE = 0.6


def size_difference(a: F64, b: F64) -> float:
    """0 = same length and width, 1 = nothing alike; one may be hidden in part, so the sides are compared as ratios."""
    longer, shorter = np.maximum(a[:2], b[:2]), np.minimum(a[:2], b[:2])
    return float(1.0 - np.prod(shorter / np.maximum(longer, 1e-6)))


def gated_cost(predicted: F64, found: F64, tracked: Sequence[Look], seen: Sequence[Look], gate_m: float) -> F64:
    """(T, P) cost of calling package p track t, in gates (each pair's own, slack included); infinite beyond the gate.

    Args:
        predicted: (T, 3) and found: (P, 3), camera frame, metres. tracked, seen: what they look like.
    """
    distance = np.linalg.norm(predicted[:, None] - found[None], axis=2)
    gate = gate_m + np.maximum(np.array([look.slack_m for look in tracked])[:, None], [look.slack_m for look in seen])
    cost = np.full(distance.shape, np.inf)
    for t, p in np.argwhere(distance <= gate):
        a, b = tracked[t], seen[p]
        other = _CLASS_COST * (a.class_name != b.class_name) + _SIZE_COST * size_difference(a.size_m, b.size_m)
        cost[t, p] = distance[t, p] / gate[t, p] + other
    return cost


def likely_shift(predicted: F64, found: F64, tracked: Sequence[Look], seen: Sequence[Look], elapsed_s: F64,
                 max_speed_m_s: float) -> F64:
    """The velocity that brings most tracks onto packages of like class and size; the slowest of several equals.

    Returns:
        (3,) m/s in the camera frame, to be added to the tracks' own; zero when nothing fits.
    """
    proposals, owners = [], []
    for t in range(len(predicted)):
        if elapsed_s[t] <= 0:
            continue
        for p in range(len(found)):
            velocity = (found[p] - predicted[t]) / elapsed_s[t]
            a, b = tracked[t], seen[p]
            alike = a.class_name == b.class_name and size_difference(a.size_m, b.size_m) < _VOTE_SIZE
            if alike and np.linalg.norm(velocity) <= max_speed_m_s:
                proposals.append(velocity)
                owners.append((t, p))
    if not proposals:
        return np.zeros(3)
    velocities = np.array(proposals)
    tolerance = _VOTE_M / float(np.median(elapsed_s[elapsed_s > 0]))
    near = np.linalg.norm(velocities[:, None] - velocities[None], axis=2) <= tolerance
    tracks_of, packages_of = np.array(owners).T
    votes = [min(len(set(tracks_of[row])), len(set(packages_of[row]))) for row in near]
    speed = np.linalg.norm(velocities, axis=1)
    best = min(range(len(votes)), key=lambda i: (-votes[i], round(float(speed[i]), 4), i))
    shift: F64 = velocities[near[best]].mean(axis=0)
    return shift

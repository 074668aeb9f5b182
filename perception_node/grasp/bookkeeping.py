"""Ids and deadlines for the grasps of one frame, and the reasons why packages got none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from perception_node.types import F64, GraspKind, Instance, Package, Rejection


def _nothing_known(positions: F64) -> F64:
    return np.full(len(positions), np.inf)


def _no_deadlines(labels: Sequence[int], positions: F64) -> list[int | None]:
    return [None] * len(labels)


class Bookkeeping:
    """What a frame's grasps are labelled with, and its rejections.

    Args:
        track_ids: track of each label, 0 or absent = not tracked.
        deadlines_ns: (N labels, (N, 3) positions in the camera frame) -> when they leave the reachable window, None = unknown.
        instances: what was segmented, by label.
        heights_m: (N, 3) positions in the camera frame -> (N,) heights above the belt, infinite where the belt is not known.
    """

    def __init__(self, track_ids: Mapping[int, int], deadlines_ns: Callable[[Sequence[int], F64], list[int | None]] = _no_deadlines,
                 instances: Mapping[int, Instance] | None = None,
                 heights_m: Callable[[F64], F64] = _nothing_known) -> None:
        self.instances = instances or {}
        self.track_ids = track_ids
        self.deadlines_ns = deadlines_ns
        self.heights_m = heights_m
        self._rejections: dict[tuple[int, GraspKind], Rejection] = {}

    def reject(self, package: Package, kind: GraspKind, reason: str, **numbers: float) -> None:
        """Say why a package gets no grasp of a kind; the first reason given stays."""
        rejection = Rejection(package.label, kind, reason, {name: float(value) for name, value in numbers.items()},
                              self.track_ids.get(package.label, 0))
        self._rejections.setdefault((package.label, kind), rejection)

    def rejected(self, package: Package, kind: GraspKind) -> bool:
        """Whether a reason was given."""
        return (package.label, kind) in self._rejections

    def rejections(self) -> tuple[Rejection, ...]:
        """In order of label, then kind."""
        return tuple(self._rejections[key] for key in sorted(self._rejections))

    def name_of(self, label: int) -> str:
        """'track 17', or 'package 3' where it is not tracked."""
        return f"track {self.track_ids[label]}" if self.track_ids.get(label) else f"package {label}"

    def covered_words(self, package: Package) -> str:
        """'; covered by track 17', or nothing."""
        names = ", ".join(self.name_of(label) for label in package.covered_by)
        return f"; covered by {names}" if names else ""

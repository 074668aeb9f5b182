"""Collects why packages got no grasp: one rejection per package and kind, with the numbers."""

from __future__ import annotations

from collections.abc import Mapping

from perception_node.types import GraspKind, Package, Rejection


class Verdicts:
    """Rejections of one frame.

    Args:
        track_ids: track of each label, 0 or absent = not tracked.
    """

    def __init__(self, track_ids: Mapping[int, int]) -> None:
        self.track_ids = track_ids
        self._rejections: dict[tuple[int, GraspKind], Rejection] = {}

    def reject(self, package: Package, kind: GraspKind, reason: str, **numbers: float) -> None:
        """Say why a package gets no grasp of a kind; the first reason given stays."""
        rejection = Rejection(package.label, kind, reason, {name: float(value) for name, value in numbers.items()},
                              self.track_ids.get(package.label, 0))
        self._rejections.setdefault((package.label, kind), rejection)

    def rejected(self, label: int, kind: GraspKind) -> bool:
        """True when a reason was given."""
        return (label, kind) in self._rejections

    def all(self) -> tuple[Rejection, ...]:
        """In order of label, then kind."""
        return tuple(self._rejections[key] for key in sorted(self._rejections))


def covered_words(package: Package, track_ids: Mapping[int, int]) -> str:
    """'; covered by track 17' or nothing."""
    names = ", ".join(f"track {track_ids[label]}" if track_ids.get(label) else f"package {label}" for label in package.covered_by)
    return f"; covered by {names}" if names else ""

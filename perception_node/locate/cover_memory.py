"""What lies on what, over time: the evidence for each pair of tracks is averaged over the frames in which both were seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from perception_node.locate.cover import MIN_AREA_M2, covers
from perception_node.locate.packages import covered_anew
from perception_node.types import Packages

_WEIGHT = 0.2
"""Least weight of the newest frame in the mean: what comes is noticed after 2 frames, what goes after 9 at most."""
_MOST_M2 = 6e-4
"""More area in one frame does not count: one frame with a wrong face must not outweigh many."""
_COME_M2 = 2e-4
"""Mean from which on a package lies on another that it did not lie on in the frame before. Down to `MIN_AREA_M2` it stays there."""
_TURN_M2 = 1e-4
"""To be turned round, a relation needs this much more for the other way. Source of all four: simulated belts other than those
in docs/grasping.md, `perception bench cover --belts`."""


class CoverMemory:
    """Remembers how much of each track was seen over each other. Deterministic.

    A pair of tracks that is seen together for the first time has the evidence of that frame alone, and the answer is that of a
    single picture. A frame in which one of both has no depth says nothing.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew: the clock has jumped, or ids will be given out again."""
        self._rows: dict[int, int] = {}
        self._seen_ns: dict[int, int] = {}
        self._mean_m2 = np.zeros((0, 0))
        self._frames: NDArray[np.int64] = np.zeros((0, 0), np.int64)
        self._lies: NDArray[np.bool_] = np.zeros((0, 0), np.bool_)
        self._stamp_ns: int | None = None

    def update(self, packages: Packages, track_ids: Sequence[int], stamp_ns: int, keep_s: float) -> Packages:
        """Take one frame in.

        Args:
            packages: as located in this frame. track_ids: of its items, 0 = not tracked. stamp_ns: of the frame, not before the
                last one; equal to it = the same frame again, nothing is learned. keep_s: tracks out of sight for longer are
                forgotten.

        Returns:
            The packages with `covered_by` and `pick_order` as all frames say.
        """
        again, self._stamp_ns = self._stamp_ns == stamp_ns, stamp_ns
        here = [i for i, track_id in enumerate(track_ids) if track_id > 0]
        slots = self._slots([track_ids[i] for i in here], stamp_ns, stamp_ns - round(keep_s * 1e9))
        if not here:
            return packages
        pairs = slots[:, None], slots
        frames, mean_m2, lies = self._frames[pairs], self._mean_m2[pairs], self._lies[pairs]
        if packages.over_m2 is not None:
            area_m2 = packages.over_m2[np.ix_(here, here)]
            deep = np.array([packages.items[i].from_depth for i in here])
            new = deep[:, None] & deep & ~(again & (frames > 0))
            frames = frames + new
            weight = np.maximum(_WEIGHT, 1.0 / np.maximum(frames, 1))
            before_m2 = np.minimum(mean_m2, _MOST_M2)
            after_m2 = before_m2 + weight * (np.minimum(area_m2, _MOST_M2) - before_m2)
            mean_m2 = np.where(new, np.where(frames == 1, area_m2, after_m2), mean_m2)
        bonus_m2 = np.where(lies, _TURN_M2, 0.0)
        least_m2 = np.where(lies | (frames == 1), MIN_AREA_M2, _COME_M2)
        covered = covers(mean_m2 + bonus_m2, range(len(here)), least_m2 + bonus_m2)
        lies = np.zeros_like(lies)
        for lower, uppers in covered.items():
            lies[list(uppers), lower] = True
        self._frames[pairs], self._mean_m2[pairs], self._lies[pairs] = frames, mean_m2, lies
        labels = [packages.items[i].label for i in here]
        return covered_anew(packages, {labels[lower]: tuple(sorted(labels[upper] for upper in uppers))
                                       for lower, uppers in covered.items()})

    def _slots(self, ids: Sequence[int], stamp_ns: int, oldest_ns: int) -> NDArray[np.int64]:
        """Rows of these ids, after room was made for new ones and old ones were forgotten."""
        kept = [row for track_id, row in self._rows.items() if self._seen_ns[track_id] >= oldest_ns or track_id in ids]
        fresh = [track_id for track_id in ids if track_id not in self._rows]
        if len(kept) < len(self._rows) or fresh:
            known = [track_id for track_id, row in self._rows.items() if row in kept]
            count, part, old = len(kept) + len(fresh), slice(len(kept)), np.ix_(kept, kept)
            frames, mean_m2, lies = np.zeros((count, count), np.int64), np.zeros((count, count)), np.zeros((count, count), np.bool_)
            frames[part, part], mean_m2[part, part], lies[part, part] = self._frames[old], self._mean_m2[old], self._lies[old]
            self._frames, self._mean_m2, self._lies = frames, mean_m2, lies
            self._rows = {track_id: row for row, track_id in enumerate([*known, *fresh])}
            self._seen_ns = {track_id: self._seen_ns.get(track_id, stamp_ns) for track_id in self._rows}
        self._seen_ns.update(dict.fromkeys(ids, stamp_ns))
        return np.array([self._rows[track_id] for track_id in ids], np.int64)

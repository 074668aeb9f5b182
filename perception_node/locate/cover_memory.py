"""What lies on what, over time: the evidence for each pair of tracks is averaged over the frames in which both were seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled
from perception_node.locate.cover import MIN_AREA_M2, covers
from perception_node.locate.packages import covered_anew
from perception_node.types import F64, Packages

_WEIGHT = 0.2
"""Least weight of the newest frame in the mean: what comes is noticed after 2 frames, what goes after 9 at most."""
_MOST_M2 = 6e-4
"""More area in one frame does not count: one frame with a wrong face must not outweigh many."""
_COME_M2 = 2e-4
"""Mean from which on a package lies on another that it did not lie on in the frame before. Down to `MIN_AREA_M2` it stays there."""
_TURN_M2 = 1e-4
"""To be turned round, a relation needs this much more for the other way. Source of all four: simulated belts other than those
in docs/grasping.md, `perception bench cover --belts`."""


@compiled
def _learn(frames: NDArray[np.int64], mean_m2: F64, slots: NDArray[np.int64], over_m2: F64, here: NDArray[np.int64],
           deep: NDArray[np.bool_], again: bool) -> None:
    """One frame's evidence into the means of all pairs.

    Args:
        frames, mean_m2: (S, S) of all tracks, brought up to date. slots: (N,) rows there of this frame. over_m2: of `Packages`.
        here: (N,) rows of the same there. deep: (N,) which have depth. again: only pairs that were never seen are new.
    """
    for i in range(len(slots)):
        for j in range(len(slots)):
            u, low = slots[i], slots[j]
            if not (deep[i] and deep[j]) or (again and frames[u, low] > 0):
                continue
            area_m2, before_m2 = over_m2[here[i], here[j]], min(mean_m2[u, low], _MOST_M2)
            frames[u, low] += 1
            weight = max(_WEIGHT, 1.0 / frames[u, low])
            mean_m2[u, low] = area_m2 if frames[u, low] == 1 else before_m2 + weight * (min(area_m2, _MOST_M2) - before_m2)


@compiled
def _evidence(frames: NDArray[np.int64], mean_m2: F64, lies: NDArray[np.bool_], slots: NDArray[np.int64]) -> tuple[F64, F64]:
    """(N, N) area that speaks for each pair of this frame's tracks, and what it must come to; both as `covers` takes them."""
    count = len(slots)
    evidence_m2, least_m2 = np.empty((count, count)), np.empty((count, count))
    for i in range(count):
        for j in range(count):
            lay, known = lies[slots[i], slots[j]], frames[slots[i], slots[j]]
            bonus_m2 = _TURN_M2 if lay else 0.0
            evidence_m2[i, j] = mean_m2[slots[i], slots[j]] + bonus_m2
            least_m2[i, j] = (MIN_AREA_M2 if lay or known == 1 else _COME_M2) + bonus_m2
    return evidence_m2, least_m2


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
        if packages.over_m2 is not None:
            deep = np.array([packages.items[i].from_depth for i in here])
            _learn(self._frames, self._mean_m2, slots, packages.over_m2, np.array(here), deep, again)
        evidence_m2, least_m2 = _evidence(self._frames, self._mean_m2, self._lies, slots)
        covered = covers(evidence_m2, range(len(here)), least_m2)
        self._lies[slots[:, None], slots] = False
        for lower, uppers in covered.items():
            self._lies[slots[list(uppers)], slots[lower]] = True
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

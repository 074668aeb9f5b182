"""What each track has looked like of late, and masks that hold several tracks.

A segmenter that merges two packages for some frames, or splits one, shows a track in two or three shapes in turn. Each is
remembered for a while, and a package that has one of them again is the same; a mask that the shapes of several tracks fill
together is theirs, and none of them is taken to have become it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from perception_node.compiled import compiled
from perception_node.track.masks import NO_CELLS, Cells, Grid, Shared, shared
from perception_node.track.match import PLAIN, Flags, Ids, Outlines
from perception_node.types import F64

_KEPT = 3
"""Shapes remembered of one track."""
_MEMORY_S = 1.0
"""A shape that was not seen for longer is forgotten: the track may have turned, and others have come."""
_STEADY = 8
"""Frames after which a shape counts no more: another one replaces it as the main one within as many."""
_LIKE_M, _LIKE_SHARE = 0.015, 0.1
"""Sides that moved by less than both together (the share is of the shape's longer side) are the same shape: some pixels of a
mask's edge at 1 m, and what a corner more or less of a leaning package makes."""
_STEP = 2.0
"""A shape may be further from its prediction than its sides are from each other: by this many times as much."""
_WITHIN = 0.75
"""Share of a track's outline that must lie in a mask which holds it."""
_FILLS = 0.7
"""A track that shares so much of its union with a mask explains that mask alone."""
_BACK_OVERLAP, _BACK_DEPTH_M = 0.5, 0.03
"""What a track that was missed for long must share of both masks' union, and how near it must be along the optical axis, to be
beyond doubt. Source: judgement."""
_SPARE = 0.2
"""The masks of tracks that share one may fill it by so much less, or (where they lie over each other) more."""


@dataclass(eq=False)
class Shape:
    """One remembered shape: outline as in `Outlines`, mask, where the track was then, and how steadily it was seen."""

    bounds: F64
    cut: Flags
    depth_m: float
    area_m2: float
    class_name: str
    carried_m: F64
    stamp_ns: int
    cells: Cells = field(default_factory=lambda: NO_CELLS)
    count: int = 1


@dataclass(eq=False)
class Shapes:
    """The shapes of one track; `carried_m`: (3,) how far it has come since it began."""

    carried_m: F64 = field(default_factory=lambda: np.zeros(3))
    kept: list[Shape] = field(default_factory=list)

    @property
    def last_place(self) -> int:
        """Place in `kept` of the one that was seen last."""
        return _place_of_most([shape.stamp_ns for shape in self.kept])

    @property
    def main_place(self) -> int:
        """Place in `kept` of the steadiest one, of equals of the one that was remembered first."""
        return _place_of_most([shape.count for shape in self.kept])

    def see(self, found: Outlines, column: int, stamp_ns: int, grid: Grid | None = None, held: bool = False) -> bool:
        """Take in what the track looks like now.

        Args:
            found: of the frame's packages. column: of the one that is this track's. stamp_ns: of the frame. grid: their masks.
            held: it holds other tracks as well.

        Returns:
            Whether that is its main shape: another one's middle says nothing about motion.
        """
        seen = Shape(found.bounds[column], found.cut[column], float(found.depth_m[column]), float(found.area_m2[column]),
                     found.classes[column], self.carried_m.copy(), stamp_ns, NO_CELLS if grid is None else grid.of(column))
        self.kept = [shape for shape in self.kept if (stamp_ns - shape.stamp_ns) * 1e-9 <= _MEMORY_S]
        before = self.kept[self.main_place] if self.kept else None
        for place, shape in enumerate(self.kept):
            error = _step(shape, self.carried_m, seen, held)
            if error is None:
                continue
            for other in self.kept:  # where one shape is seen, the others are, too
                other.carried_m = other.carried_m - error
                if shape.count == _STEADY:
                    other.count = max(other.count - 1, 1)
            seen.count = min(shape.count + 1, _STEADY)
            self.kept[place] = seen
            return before is shape or self.main_place == place
        if len(self.kept) == _KEPT:
            least = min(range(_KEPT), key=lambda place: (self.kept[place].count, self.kept[place].stamp_ns))
            del self.kept[least]
        self.kept.append(seen)
        return before is None


def _place_of_most(values: list[int]) -> int:
    return values.index(max(values))


def predicted(shapes: Sequence[Shape], carried_m: F64, grid: Grid | None) -> tuple[Outlines, Shared | None]:
    """S shapes of tracks, carried to where these are now, and what their masks then share with those of a frame.

    Args:
        carried_m: (S, 3) how far the track of each shape has come. grid: of the frame; None where it has no masks.
    """
    bounds = np.array([shape.bounds for shape in shapes], dtype=np.float64).reshape(-1, 4)
    cut = np.array([shape.cut for shape in shapes], dtype=np.bool_).reshape(-1, 4)
    still = Outlines(bounds, cut, np.array([shape.depth_m for shape in shapes]), np.array([shape.area_m2 for shape in shapes]),
                     tuple(shape.class_name for shape in shapes))
    way_m = carried_m - np.array([shape.carried_m for shape in shapes])
    masks = None if grid is None else shared([shape.cells for shape in shapes], still.depth_m, way_m, grid)
    return still.moved(way_m), masks


def _step(shape: Shape, carried_m: F64, seen: Shape, held: bool) -> F64 | None:
    """(3,) by how much a shape is off where it should be now; None when it is another shape. Sides at the picture's border do not
    count.

    Args:
        carried_m: (3,) how far the track has come. seen: what is seen. held: it holds other tracks as well, so that it may end
            at the border where the track alone did not: a side does not count where both are cut.
    """
    step = np.zeros(3)
    same = _same_shape(shape.bounds, shape.cut, shape.depth_m, carried_m - shape.carried_m, seen.bounds, seen.cut, seen.depth_m,
                       held, step)
    return step if same else None


@compiled
def _same_shape(ours: F64, ours_cut: Flags, our_depth_m: float, way_m: F64, theirs: F64, theirs_cut: Flags, their_depth_m: float,
                held: bool, step: F64) -> bool:
    """Whether a shape, carried on by `way_m`, is the one that is seen; of plain arrays as `_step`, whose answer is written."""
    depth = max(our_depth_m + way_m[2], 0.1 * our_depth_m)
    scale = our_depth_m / depth
    limit = _LIKE_M + _LIKE_SHARE * max(theirs[2] - theirs[0], theirs[3] - theirs[1], 0.0) * their_depth_m
    away = np.empty(4)
    for k in range(4):
        cut = ours_cut[k] and theirs_cut[k] if held else ours_cut[k] or theirs_cut[k]
        away[k] = np.nan if cut else (theirs[k] - ours[k] * scale - way_m[k % 2] / depth) * their_depth_m
    for k in range(2):
        low, high = away[k], away[k + 2]
        if np.isnan(low) and np.isnan(high):
            continue
        step[k] = high if np.isnan(low) else low if np.isnan(high) else (low + high) / 2.0
        if abs(step[k]) > _STEP * limit or abs(low - step[k]) > limit or abs(high - step[k]) > limit:  # NaN is no more than that
            return False
    return True


def holders(masks: Shared, cost: F64, plain: float, been_ns: Ids) -> dict[int, list[int]]:
    """Masks that hold several tracks: {package: tracks}. First comes the one that was this mask last, of others the largest.

    Args:
        masks: what the main shapes of T tracks share with P packages. cost: (T, P) of pairing these. plain: a pair that costs less
            is beyond doubt: such a package is one track's, such a track is in no other package. been_ns: (T, P) as of `been`.
    """
    held = _held(masks.both, masks.ours, masks.theirs, cost, plain)
    answer: dict[int, list[int]] = {}
    for column in np.flatnonzero(held.any(axis=0)).tolist():
        members = np.flatnonzero(held[:, column]).tolist()
        if not any(row in others for others in answer.values() for row in members):
            answer[column] = sorted(members, key=lambda row: (-int(been_ns[row, column]), -masks.both[row, column], row))
    return answer


def pieces(masks: Shared, cost: F64, plain: float, been_ns: Ids) -> dict[int, int]:
    """Tracks whose mask falls apart into several packages: {track: the largest of these}. A piece that was seen before, as this
    track or as another one, is no piece.

    Args:
        masks: what the last shapes of T tracks share with P packages. cost: (T, P) of pairing the tracks with these. plain: a pair
            that costs less is beyond doubt. been_ns: (T, P) as of `been`.
    """
    return {row: column for row, column in enumerate(_largest_pieces(masks.both, masks.theirs, cost, plain, been_ns).tolist())
            if column >= 0}


@compiled
def _largest_pieces(both: F64, theirs: F64, cost: F64, plain: float, been_ns: Ids) -> Ids:
    """(T,) the answer of `pieces`, -1 = this track does not fall apart."""
    count, width = cost.shape
    part, largest, easy, tracks = np.zeros((count, width), np.bool_), np.full(count, -1), np.zeros(width), np.zeros(width)
    for t in range(count):
        for p in range(width):
            easy[p] += cost[t, p] < plain
    for t in range(count):
        known = (been_ns[t] > 0).any()
        for p in range(width):
            others = easy[p] > (cost[t, p] < plain)
            part[t, p] = both[t, p] >= _WITHIN * theirs[p] and theirs[p] > 0.0 and not others and not known
            tracks[p] += part[t, p]
    for t in range(count):
        most = -1.0
        for p in range(width if part[t].sum() > 1 else 0):
            if part[t, p] and tracks[p] == 1 and both[t, p] > most:
                largest[t], most = p, both[t, p]
    return largest


@compiled
def by_track(costs: F64, both: F64, ours: F64, theirs: F64, depth_m: F64, their_depth_m: F64, stamps_ns: Ids, starts: Ids,
             long_missed: Flags) -> tuple[F64, Ids]:
    """What the shapes of T tracks together say of P packages.

    Args:
        costs: (S, P) of pairing all shapes with these. both, ours, theirs: what they share, as in `Shared`. depth_m,
            their_depth_m: (S,), (P,) along the optical axis. stamps_ns: (S,) when each shape was seen. starts: (T + 1,) where those
            of each track begin. long_missed: (T,) these get back only what is beyond doubt: what was picked meanwhile does not hand
            its id on to what lay below.

    Returns:
        (T, P) least cost, and when the track was last seen in a shape that fills the package's mask alone, 0 = never.
    """
    cost, been_ns = np.full((len(long_missed), costs.shape[1]), np.inf), np.zeros((len(long_missed), costs.shape[1]), np.int64)
    for t in range(len(long_missed)):
        for s in range(starts[t], starts[t + 1]):
            for p in range(costs.shape[1]):
                union = ours[s] + theirs[p] - both[s, p]
                if both[s, p] >= _FILLS * union and both[s, p] > 0.0:
                    been_ns[t, p] = max(been_ns[t, p], stamps_ns[s])
                sure = (costs[s, p] < PLAIN and both[s, p] >= _BACK_OVERLAP * union
                        and abs(depth_m[s] - their_depth_m[p]) <= _BACK_DEPTH_M)
                if sure or not long_missed[t]:
                    cost[t, p] = min(cost[t, p], costs[s, p])
    return cost, been_ns


def rectangles(shapes: Outlines, found: Outlines) -> Shared:
    """What the rectangles of outlines share, as if these were the masks."""
    ours, theirs = shapes.bounds[:, None], found.bounds[None]
    both = np.minimum(ours[..., 2:], theirs[..., 2:]) - np.maximum(ours[..., :2], theirs[..., :2])
    return Shared(np.prod(np.maximum(both, 0.0), axis=2), np.prod(shapes.bounds[:, 2:] - shapes.bounds[:, :2], axis=1),
                  np.prod(found.bounds[:, 2:] - found.bounds[:, :2], axis=1))


@compiled
def _held(both: F64, ours: F64, theirs: F64, cost: F64, plain: float) -> Flags:
    """(T, P) which tracks a package that holds several holds, as `holders`: their masks fill it together, and none does alone."""
    count, width = cost.shape
    held = np.zeros((count, width), np.bool_)
    for p in range(width):
        alone, tracks, together = False, 0, 0.0
        for t in range(count):
            alone = alone or both[t, p] >= _FILLS * (ours[t] + theirs[p] - both[t, p])
            elsewhere = (cost[t] < plain).sum() > (cost[t, p] < plain)
            if both[t, p] >= _WITHIN * ours[t] and ours[t] > 0.0 and not elsewhere:
                held[t, p] = True
                tracks += 1
                together += both[t, p]
        if alone or tracks < 2 or abs(together - theirs[p]) > _SPARE * theirs[p]:
            held[:, p] = False
    return held

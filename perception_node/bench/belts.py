"""What happens on belts: the frames of one simulated conveyor, shown as a belt that stops, turns, speeds up, or through a camera
and a segmenter that miss and confuse things."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from perception_node.types import F32, F64, Frame, Instance, Segmentation

SCENARIOS = {
    "steady": "as recorded",
    "low_rate": "every third frame",
    "lost_frames": "gaps of one to four frames, 15 % of the time",
    "stop": "stands still for 1.3 s",
    "reverse": "runs back from one frame to the next",
    "speed_up": "from half to twice the speed",
    "missed": "masks missing for up to five frames",
    "merged": "two neighbours in one mask for up to four frames",
}
MIN_PX = 150
_IGNORE = 65535
_SEED = 5


class TrueFrame(Protocol):
    """A frame with its truth, as `perception_node.sim.conveyor` makes them."""

    @property
    def frame(self) -> Frame:
        """What the camera sees."""

    @property
    def labels(self) -> NDArray[Any]:
        """(H, W) ids of packages."""

    @property
    def packages(self) -> Sequence[Any]:
        """Each visible package: package_id, class_name, T_cam_package, visible_fraction."""

    @property
    def depth_true_m(self) -> F32:
        """(H, W) exact depth."""

    @property
    def belt_plane(self) -> F64:
        """(4,) plane."""

    @property
    def belt_velocity_m_s(self) -> F64:
        """(3,) in the camera frame."""


@dataclass(frozen=True)
class Moment:
    """One frame of a scenario: which recorded frame is shown, when, and what goes wrong with its masks.

    Attributes:
        index: of the recorded frame. time_s: since the start. missed: ids without a mask. merged: ids that share one mask.
    """

    index: int
    time_s: float
    missed: frozenset[int] = frozenset()
    merged: tuple[int, int] | None = None


def moments(name: str, recorded: Sequence[TrueFrame], interval_s: float) -> Iterator[Moment]:
    """The frames of a scenario of `SCENARIOS`; the same each time.

    Args:
        recorded: frames of one conveyor at constant speed. interval_s: between them.
    """
    rng = np.random.default_rng(_SEED)
    count = len(recorded)
    if name == "missed":
        yield from _missed(recorded, interval_s, rng)
    elif name == "merged":
        yield from _merged(recorded, interval_s, rng)
    else:
        for index, place in _shown(name, count, rng):
            yield Moment(index, place * interval_s)


def _shown(name: str, count: int, rng: np.random.Generator) -> Iterator[tuple[int, float]]:
    """Index and time (in intervals) of the frames of a scenario that only plays with time."""
    half, still = count // 2, 20
    if name == "steady":
        yield from ((i, i) for i in range(count))
    elif name == "low_rate":
        yield from ((i, i) for i in range(0, count, 3))
    elif name == "lost_frames":
        i = 0
        while i < count:
            yield i, i
            i += 1 + (int(rng.integers(1, 5)) if rng.random() < 0.15 else 0)
    elif name == "stop":
        yield from ((min(i, max(half - 1, i - still)), i) for i in range(count + still))
    elif name == "reverse":
        turn = 2 * count // 3
        yield from ((i if i < turn else 2 * turn - 2 - i, i) for i in range(2 * turn - 1))
    elif name == "speed_up":
        i, place = 0, 0.0
        while i < count:
            yield i, place
            step = 1 if i < 0.4 * count else 2
            place += step / (0.5 + 1.5 * i / count)
            i += step
    else:
        raise ValueError(f"expected one of {', '.join(SCENARIOS)}, got {name}")


def _missed(recorded: Sequence[TrueFrame], interval_s: float, rng: np.random.Generator) -> Iterator[Moment]:
    left: dict[int, int] = {}
    for index, true in enumerate(recorded):
        for package in true.packages:
            if left.get(package.package_id, 0) == 0 and rng.random() < 0.06:
                left[package.package_id] = int(rng.integers(1, 6))
        yield Moment(index, index * interval_s, frozenset(k for k, n in left.items() if n > 0))
        left = {k: max(n - 1, 0) for k, n in left.items()}


def _merged(recorded: Sequence[TrueFrame], interval_s: float, rng: np.random.Generator) -> Iterator[Moment]:
    pair: tuple[int, int] | None = None
    left = 0
    for index, true in enumerate(recorded):
        if left == 0:
            pair = None
            touching = _touching(true.labels)
            if index > 3 and touching and rng.random() < 0.25:
                pair, left = touching[int(rng.integers(len(touching)))], int(rng.integers(1, 5))
        left = max(left - 1, 0)
        yield Moment(index, index * interval_s, merged=pair)


def _touching(labels: NDArray[Any]) -> list[tuple[int, int]]:
    left, right = labels[:, :-4].ravel(), labels[:, 4:].ravel()
    meet = (left != right) & (left > 0) & (right > 0) & (left != _IGNORE) & (right != _IGNORE)
    return sorted({(min(a, b), max(a, b)) for a, b in zip(left[meet].tolist(), right[meet].tolist(), strict=True)})


def true_segmentation(true: TrueFrame, moment: Moment) -> tuple[Segmentation, tuple[int, ...]]:
    """The true masks of a moment as a segmentation, and the true id of each label (of merged ones: that of the larger part)."""
    clean = np.where(true.labels == _IGNORE, 0, true.labels).astype(np.int64)
    area = np.bincount(clean.ravel(), minlength=int(clean.max()) + 1)
    if moment.merged is not None and max(moment.merged) < len(area):
        part, whole = sorted(moment.merged, key=lambda k: int(area[k]))
        clean[clean == part] = whole
    table = np.zeros(int(clean.max()) + 1, dtype=np.uint16)
    instances, ids = [], []
    for package in true.packages:
        if package.package_id in moment.missed:
            continue
        rows, columns = np.nonzero(clean == package.package_id)
        if len(rows) < MIN_PX:
            continue
        ids.append(int(package.package_id))
        table[package.package_id] = len(ids)
        box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        instances.append(Instance(len(ids), package.class_name, 1.0, box, len(rows)))
    return Segmentation(table[clean], tuple(instances)), tuple(ids)

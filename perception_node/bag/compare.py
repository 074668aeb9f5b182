"""Two replays of one recording, frame by frame: what changed, by how much, and whether that is too much."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from perception_node.bag.results import Line, labels_of_line, without_numbers
from perception_node.errors import DatasetError
from perception_node.geometry import rotation_from_quaternion

SAME_PACKAGE_IOU = 0.5
"""Two masks are of the same package from this overlap on: more than half can be of one only."""

_FOUND = ("mask", "class", "id")


@dataclass(frozen=True)
class Tolerances:
    """How far two replays may differ and still count as the same.

    Attributes:
        iou: overlap of a package's two masks, 0..1, at least. position_m, angle_rad: of a package's or a grasp's pose, at most.
        size_m: of a package's length and width, and of a grasp's width. score: of a grasp's success probability, at most.
        velocity_m_s: of a package.
        allowed: share of packages whose mask, class or id may differ by more, or that may be lost or new; also of frames that may
            fail or be degraded otherwise, 0..1. allowed_grasps: likewise for pose, size, velocity, what covers it, and grasps: a
            tiny change of a mask can make another, equally good grasp the best one.
    """

    iou: float = 0.95
    position_m: float = 0.002
    angle_rad: float = 0.05
    size_m: float = 0.003
    score: float = 0.02
    velocity_m_s: float = 0.01
    allowed: float = 0.0
    allowed_grasps: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise DatasetError(f"tolerance {name}: expected a number of at least 0, got {value}")


@dataclass(frozen=True)
class FrameChange:
    """One frame that is not the same: its number in the golden replay (else in the new one), stamp, and each difference in words
    with the new label it concerns (0 = the golden's package or the whole frame)."""

    number: int
    stamp_ns: int
    changes: tuple[tuple[int, str], ...]


@dataclass
class Comparison:
    """What `compare` found.

    Attributes:
        frames, packages: compared. changed: frames with a difference. kinds: number of differences by kind.
        found_changed: packages lost, new, or with another mask, class or id. grasps_changed: packages with another pose, size,
        velocity, cover or grasp. packages_changed: packages with any difference. worst: largest difference by name, also within
        tolerance. frames_missing: frames that only one of both has.
    """

    tolerances: Tolerances
    frames: int = 0
    packages: int = 0
    packages_changed: int = 0
    found_changed: int = 0
    grasps_changed: int = 0
    frames_missing: int = 0
    changed: list[FrameChange] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    worst: dict[str, float] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Share of packages that changed, 0..1."""
        return self.packages_changed / max(self.packages, 1)

    @property
    def same(self) -> bool:
        """True when no frame is missing and no more packages than allowed changed."""
        whole = sum(self.kinds[kind] for kind in ("failed", "degraded"))
        limits, count = self.tolerances, max(self.packages, 1)
        return (self.frames > 0 and self.frames_missing == 0 and self.found_changed <= limits.allowed * count
                and self.grasps_changed <= limits.allowed_grasps * count and whole <= limits.allowed * self.frames)


def compare(golden: Iterable[Line], new: Iterable[Line], tolerances: Tolerances) -> Comparison:
    """Compare two replays; frames belong together by their stamp.

    Raises:
        DatasetError: results that cannot be read.
    """
    result = Comparison(tolerances)
    ids: dict[int, int] = {}
    for number, old, now in _together(golden, new):
        if old is None or now is None:
            result.frames_missing += 1
            what = "only the new replay has this frame" if old is None else "the new replay does not have this frame"
            _add(result, number, (now or old or {})["stamp_ns"], [(0, "missing", what)])
            continue
        result.frames += 1
        _add(result, number, old["stamp_ns"], _frame(old, now, result, ids))
    return result


def _together(golden: Iterable[Line], new: Iterable[Line]) -> Iterator[tuple[int, Line | None, Line | None]]:
    """Lines of equal stamps in order; a stamp that comes again (a looped recording) pairs with its repetition."""
    def keyed(lines: Iterable[Line]) -> dict[tuple[int, int], Line]:
        seen: Counter[int] = Counter()
        out = {}
        for line in lines:
            out[(line["stamp_ns"], seen[line["stamp_ns"]])] = line
            seen[line["stamp_ns"]] += 1
        return out

    other = keyed(new)
    number = -1
    for number, (key, line) in enumerate(keyed(golden).items()):
        yield number, line, other.pop(key, None)
    for extra, line in enumerate(other.values(), start=number + 1):
        yield extra, None, line


def _add(result: Comparison, number: int, stamp_ns: int, found: list[tuple[int, str, str]]) -> None:
    if found:
        result.kinds.update(kind for _, kind, _ in found)
        result.changed.append(FrameChange(number, stamp_ns, tuple((label, words) for label, _, words in found)))


def _frame(old: Line, now: Line, result: Comparison, ids: dict[int, int]) -> list[tuple[int, str, str]]:
    """Differences of one frame: (label in the new frame or 0, kind, words)."""
    if "failed" in old or "failed" in now:
        if ("failed" in old) != ("failed" in now):
            return [(0, "failed", f"failed: {now.get('failed') or 'no longer'}")]
        if old.get("dropped") != now.get("dropped"):
            return [(0, "failed", f"{old.get('dropped') or 'failed'} became {now.get('dropped') or 'failed'}: {now['failed']}")]
        return []
    found: list[tuple[int, str, str]] = []
    if without_numbers(old["degraded"]) != without_numbers(now["degraded"]):
        found.append((0, "degraded", f"degraded: {old['degraded'] or 'no'!r} became {now['degraded'] or 'no'!r}"))
    before, after = ({package["label"]: package for package in line["packages"]} for line in (old, now))
    overlaps = _overlaps(old, now, max(before, default=0), max(after, default=0))
    pairs = [(a, int(overlaps[a].argmax())) for a in before if overlaps[a].max(initial=0.0) > SAME_PACKAGE_IOU]
    pairs = [(a, b) for a, b in pairs if b in after]
    result.packages += max(len(before), len(after))
    lost, fresh = sorted(set(before) - {a for a, _ in pairs}), sorted(set(after) - {b for _, b in pairs})
    found += [(0, "lost", f"package {label} (id {before[label]['track_id']}) is no longer found") for label in lost]
    found += [(label, "new", f"package {label} (id {after[label]['track_id']}) was not found before") for label in fresh]
    result.packages_changed += max(len(lost), len(fresh))
    result.found_changed += max(len(lost), len(fresh))
    grasps = [_best(line) for line in (old, now)]
    reasons = [{(r["label"], r["kind"]): r["reason"] for r in line["rejections"]} for line in (old, now)]
    partner = dict(pairs)
    for a, b in pairs:
        here = _package(before[a], after[b], float(overlaps[a, b]), result, ids)
        here += _cover(before[a], after[b], partner) + _first_choice(a, b, old["grasps"], now["grasps"], result)
        for kind in ("suction", "parallel_jaw"):
            here += _grasp(kind, [grasps[0].get((a, kind)), grasps[1].get((b, kind))],
                           [reasons[0].get((a, kind), ""), reasons[1].get((b, kind), "")], result)
        result.packages_changed += bool(here)
        result.found_changed += any(kind in _FOUND for kind, _ in here)
        result.grasps_changed += any(kind not in _FOUND for kind, _ in here)
        found += [(b, kind, f"package {b} (id {after[b]['track_id']}): {words}") for kind, words in here]
    return found


def _package(old: Line, now: Line, iou: float, result: Comparison,
             ids: dict[int, int]) -> list[tuple[str, str]]:
    """Differences of a package that both replays found."""
    limits = result.tolerances
    found: list[tuple[str, str]] = []
    _worst(result, "1 - iou", 1.0 - iou)
    if iou < limits.iou:
        found.append(("mask", f"masks overlap by {iou:.3f}"))
    if old["class_name"] != now["class_name"]:
        found.append(("class", f"class {old['class_name']} became {now['class_name']}"))
    first, second = int(old["track_id"]), int(now["track_id"])
    if first and ids.setdefault(first, second) != second:
        found.append(("id", f"was id {ids[first]} before, as id {first} of the golden replay"))
        ids[first] = second
    found += _pose("package", old, now, result, turn_symmetric=True)
    size = float(np.abs(np.subtract(old["size_m"], now["size_m"]))[:2].max())
    _worst(result, "size_m", size)
    if size > limits.size_m:
        found.append(("size", f"size differs by {1e3 * size:.1f} mm"))
    if "velocity_m_s" in old and "velocity_m_s" in now:
        speed = float(np.linalg.norm(np.subtract(old["velocity_m_s"], now["velocity_m_s"])))
        _worst(result, "velocity_m_s", speed)
        if speed > limits.velocity_m_s:
            found.append(("velocity", f"velocity differs by {1e3 * speed:.1f} mm/s"))
    return found


def _cover(old: Line, now: Line, partner: dict[int, int]) -> list[tuple[str, str]]:
    """Difference in what lies on a package, which decides on the order of picking."""
    if "covered_by" not in old or "covered_by" not in now:
        return []
    before, after = {partner.get(label, 0) for label in old["covered_by"]}, set(now["covered_by"])
    if before == after:
        return []
    words = [", ".join(str(label) if label else "one that is gone" for label in sorted(labels)) or "nothing"
             for labels in (before, after)]
    return [("cover", f"covered by {words[0]} became covered by {words[1]}")]


def _first_choice(a: int, b: int, old: list[Line], now: list[Line], result: Comparison) -> list[tuple[str, str]]:
    """A package that was picked first, and now is behind another one though their scores differ: not by rounding."""
    if not old or not now or old[0]["label"] != a or now[0]["label"] == b:
        return []
    here = next((grasp["score"] for grasp in now if grasp["label"] == b), None)
    if here is None or abs(now[0]["score"] - here) <= result.tolerances.score:
        return []
    return [("order", f"was the first choice, now package {now[0]['label']} is")]


def _grasp(kind: str, pair: list[Line | None], reasons: list[str], result: Comparison) -> list[tuple[str, str]]:
    """Differences of the best grasp of a kind on one package."""
    old, now = pair
    if old is None or now is None:
        if old is not None:
            return [("grasp lost", f"{kind} grasp lost: {reasons[1] or 'without a reason'}")]
        if now is not None:
            return [("grasp new", f"{kind} grasp is new; before: {reasons[0] or 'without a reason'}")]
        if without_numbers(reasons[0]) != without_numbers(reasons[1]):
            return [("reason", f"no {kind} grasp: {reasons[0]!r} became {reasons[1]!r}")]
        return []
    found = _pose(f"{kind} grasp", old, now, result, turn_symmetric=kind == "parallel_jaw", axis_only=kind == "suction")
    width = abs(old["width_m"] - now["width_m"])
    _worst(result, "grasp width_m", width)
    if width > result.tolerances.size_m:
        found.append(("width", f"{kind} width differs by {1e3 * width:.1f} mm"))
    score = abs(old["score"] - now["score"])
    _worst(result, "grasp score", score)
    if score > result.tolerances.score:
        found.append(("score", f"{kind} score {old['score']:.3f} became {now['score']:.3f}"))
    return found


def _pose(name: str, old: Line, now: Line, result: Comparison, *, turn_symmetric: bool,
          axis_only: bool = False) -> list[tuple[str, str]]:
    """Difference of two poses; a half turn about z is none where `turn_symmetric`, no turn about z is where `axis_only`."""
    limits = result.tolerances
    distance = float(np.linalg.norm(np.subtract(old["position_m"], now["position_m"])))
    one, two = (rotation_from_quaternion(tuple(pose["quaternion_xyzw"])) for pose in (old, now))
    cosine = float(one[:, 2] @ two[:, 2])
    if not axis_only:
        between = one.T @ two
        turned = [float(np.trace(between))]
        if turn_symmetric:
            turned.append(float(np.trace(between @ np.diag([-1.0, -1.0, 1.0]))))
        cosine = (max(turned) - 1.0) / 2.0
    angle = math.acos(min(1.0, max(-1.0, cosine)))
    _worst(result, f"{name} position_m", distance)
    _worst(result, f"{name} angle_rad", angle)
    if distance > limits.position_m or angle > limits.angle_rad:
        return [(f"{name} pose", f"{name} moved {1e3 * distance:.1f} mm, turned {angle:.3f} rad")]
    return []


def _best(line: Line) -> dict[tuple[int, str], Line]:
    """The first, which is the best, grasp of each package and kind."""
    best: dict[tuple[int, str], Line] = {}
    for grasp in line["grasps"]:
        best.setdefault((grasp["label"], grasp["kind"]), grasp)
    return best


def _overlaps(old: Line, now: Line, last_old: int, last_new: int) -> NDArray[np.float64]:
    """(last_old + 1, last_new + 1) IoU of all pairs of masks; label images of different size are thinned to the smaller one's."""
    one, two = labels_of_line(old), labels_of_line(now)
    if one.shape != two.shape:
        one, two = _thinned(one, two)
    if one.shape != two.shape:
        raise DatasetError(f"results: expected label images of the same size (or half of it), got {one.shape} and {two.shape}")
    rows, columns = max(last_old, int(one.max(initial=0))) + 1, max(last_new, int(two.max(initial=0))) + 1
    both = np.bincount((one.astype(np.int64) * columns + two).ravel(), minlength=rows * columns).reshape(rows, columns)
    union = both.sum(axis=1)[:, None] + both.sum(axis=0)[None] - both
    iou: NDArray[np.float64] = both / np.maximum(union, 1)
    iou[0], iou[:, 0] = 0.0, 0.0
    return iou


def _thinned(one: NDArray[np.uint16], two: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    step_one, step_two = (max(1, round(a.shape[0] / b.shape[0])) for a, b in ((one, two), (two, one)))
    return one[::step_one, ::step_one], two[::step_two, ::step_two]


def _worst(result: Comparison, name: str, value: float) -> None:
    result.worst[name] = max(result.worst.get(name, 0.0), value)

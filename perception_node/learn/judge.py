"""Figures of merit against ground truth: COCO mask AP, touching packages, merges, splits, classes, calibration."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from perception_node.learn.corrections import Corrections, count_corrections
from perception_node.learn.dataset import IGNORE
from perception_node.types import CLASS_NAMES, Segmentation

PICKABLE_VISIBLE, PICKABLE_AREA_PX = 0.5, 1200
"""A package is pickable when at least this share and this many pixels (of a 640x480 picture) of it are visible."""

_TOUCH_BORDER_PX = 10  # neighbours whose outlines run side by side for this long touch
_BINS = 10

PROPOSED_SCORE = 0.5
"""Masks below this score are not proposed to annotators (`perception prelabel`)."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """One judged picture.

    Attributes:
        truth: (G,) ids of packages. iou: (G, P) against the P predictions. pickable, touching: (G,) bool.
        true_class, class_ids: (G,) and (P,) class ids. scores: (P,).
        covered: (G, P) share of each package inside each prediction. inside: (G, P) share of each prediction in each package.
        size: (height, width) in pixels. truth_rle, found_rle: masks for COCO.
    """

    name: str
    truth: NDArray[np.int64]
    iou: NDArray[np.float64]
    pickable: NDArray[np.bool_]
    touching: NDArray[np.bool_]
    true_class: NDArray[np.int64]
    class_ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    covered: NDArray[np.float64]
    inside: NDArray[np.float64]
    size: tuple[int, int] = (0, 0)
    truth_rle: list[dict[str, Any]] = field(default_factory=list)
    found_rle: list[dict[str, Any]] = field(default_factory=list)


def compare(name: str, labels: NDArray[np.uint16], class_ids: dict[int, int], visible: dict[int, float],
            found: Segmentation) -> Verdict:
    """Compare one picture's segmentation with its ground truth.

    Args:
        name: of the picture. labels: (H, W) uint16 ground truth, 65535 = ignore. class_ids, visible: by label.
        found: the segmentation, same size.
    """
    truth = np.array([i for i in sorted(class_ids) if (labels == i).any()], dtype=np.int64)
    guess = np.where(labels == IGNORE, 0, found.labels).astype(np.int64)
    rank = np.zeros(IGNORE + 1, np.int64)
    rank[truth] = np.arange(1, len(truth) + 1)
    ranked = rank[labels]
    count = len(found.instances)
    both = np.bincount((ranked * (count + 1) + guess).ravel(), minlength=(len(truth) + 1) * (count + 1)).astype(np.float64)
    both = both.reshape(len(truth) + 1, count + 1)
    area, guess_area = both.sum(axis=1)[1:], both.sum(axis=0)[1:]
    shared = both[1:, 1:]
    union = area[:, None] + guess_area[None] - shared
    scale = labels.size / (640 * 480)
    pickable = np.array([visible.get(int(i), 1.0) >= PICKABLE_VISIBLE for i in truth], dtype=bool)
    pickable &= area >= PICKABLE_AREA_PX * scale
    return Verdict(
        name, truth, shared / np.maximum(union, 1), pickable, _touching(ranked, len(truth)),
        np.array([class_ids[int(i)] for i in truth], dtype=np.int64),
        np.array([CLASS_NAMES.index(i.class_name) + 1 for i in found.instances], dtype=np.int64),
        np.array([i.score for i in found.instances]), shared / np.maximum(area, 1)[:, None],
        shared / np.maximum(guess_area, 1)[None], labels.shape[:2],
        [coco_mask.encode(np.asfortranarray((labels == i).view(np.uint8))) for i in truth],
        [coco_mask.encode(np.asfortranarray((guess == i.label).view(np.uint8))) for i in found.instances])


def _touching(ranked: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Which packages share at least `_TOUCH_BORDER_PX` pixels of outline with another one."""
    border = np.zeros(((count + 1), (count + 1)), np.int64)
    for a, b in ((ranked[:, :-2], ranked[:, 2:]), (ranked[:-2], ranked[2:])):
        differ = (a != b) & (a > 0) & (b > 0)
        np.add.at(border, (a[differ], b[differ]), 1)
    border = border + border.T
    touches = np.asarray((border >= 2 * _TOUCH_BORDER_PX).any(axis=1), dtype=np.bool_)  # two pixels wide
    return touches[1:]


@dataclass(frozen=True, eq=False)
class Matches:
    """What COCO's matching says of one picture at the ten overlaps 0.5, 0.55 .. 0.95.

    Attributes:
        truths: number of packages that count. scores: (P,) of the predictions. right, ignored: (10, P) bool: is a package that was
            not found before; neither helps nor hurts.
    """

    truths: int
    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]


class _Eval(COCOeval):  # type: ignore[misc]
    """COCOeval that honours a ground truth's own "ignore" without treating it as a crowd."""

    def _prepare(self) -> None:
        super()._prepare()
        for group in self._gts.values():
            for truth in group:
                truth["ignore"] = truth["_aside"]


def coco_ap(verdicts: Sequence[Verdict], pickable_only: bool, by_class: bool) -> dict[str, float]:
    """COCO mask AP, AP50 and AP75 (0..1).

    Args:
        verdicts: the judged pictures. pickable_only: packages that are not pickable are ignored (neither help nor hurt).
        by_class: mean over classes (a wrong class is a miss); False = one class "package".
    """
    judge = _judged(verdicts, pickable_only, by_class)
    if judge is None:
        return {"AP": 0.0, "AP50": 0.0, "AP75": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):
        judge.accumulate()
    precision = judge.eval["precision"][..., 0, -1]  # (T, R, K) at the largest number of detections

    def mean(values: NDArray[np.float64]) -> float:
        return float(values[values > -1].mean()) if (values > -1).any() else 0.0

    return {"AP": mean(precision), "AP50": mean(precision[0]), "AP75": mean(precision[5])}


def coco_matches(verdicts: Sequence[Verdict]) -> list[Matches]:
    """What stands behind the AP of pickable packages of any class, picture by picture."""
    judge = _judged(verdicts, True, False)
    none = np.zeros((10, 0), dtype=bool)
    if judge is None:
        return [Matches(int(v.pickable.sum()), np.zeros(0), none, none) for v in verdicts]
    found: list[Matches] = []
    for row in judge.evalImgs:  # one class, one range of areas: a row for each picture in order
        if row is None:
            found.append(Matches(0, np.zeros(0), none, none))
            continue
        ignored = row["dtIgnore"].astype(bool)
        found.append(Matches(int(np.count_nonzero(row["gtIgnore"] == 0)), np.array(row["dtScores"]),
                             (row["dtMatches"] > 0) & ~ignored, ignored))
    return found


def _judged(verdicts: Sequence[Verdict], pickable_only: bool, by_class: bool) -> Any:
    """COCO's evaluation of each picture; None without any package or prediction."""
    truths: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image, v in enumerate(verdicts, 1):
        for k, rle in enumerate(v.truth_rle):
            truths.append({"id": len(truths) + 1, "image_id": image, "category_id": int(v.true_class[k]) if by_class else 1,
                           "segmentation": rle, "area": float(coco_mask.area(rle)), "iscrowd": 0,
                           "_aside": int(pickable_only and not v.pickable[k])})
        found += [{"image_id": image, "category_id": int(v.class_ids[k]) if by_class else 1, "segmentation": rle,
                   "score": float(v.scores[k])} for k, rle in enumerate(v.found_rle)]
    if not truths or not found:
        return None
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": [{"id": i + 1, "height": v.size[0], "width": v.size[1]} for i, v in enumerate(verdicts)],
                        "annotations": truths,
                        "categories": [{"id": i + 1, "name": n} for i, n in enumerate(CLASS_NAMES)]}
        coco.createIndex()
        judge = _Eval(coco, coco.loadRes(found), "segm")
        judge.params.catIds = sorted({int(t["category_id"]) for t in truths})
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
    return judge


def summarise(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """All figures of a set of judged pictures, as a JSON mapping."""
    pickable = sum(int(v.pickable.sum()) for v in verdicts)
    touching = found_touching = merges = splits = 0
    confusion = np.zeros((len(CLASS_NAMES), len(CLASS_NAMES)), np.int64)
    scores: list[float] = []
    right: list[bool] = []
    for v in verdicts:
        best = v.iou.max(axis=1, initial=0.0)
        asked = v.pickable & v.touching
        touching += int(asked.sum())
        found_touching += int((best[asked] >= 0.75).sum())
        merges += int(np.maximum((v.covered[v.pickable] > 0.5).sum(axis=0) - 1, 0).sum())
        parts = ((v.covered > 0.2) & (v.inside > 0.5))[v.pickable].sum(axis=1)
        splits += int(np.maximum(parts - 1, 0).sum())
        for g in np.flatnonzero(best >= 0.5):
            confusion[v.true_class[g] - 1, v.class_ids[int(v.iou[g].argmax())] - 1] += 1
        scores += v.scores.tolist()
        right += (v.iou.max(axis=0, initial=0.0) >= 0.5).tolist()
    reliability, error = calibration(np.array(scores), np.array(right, dtype=bool))
    per_hundred = 100.0 / max(pickable, 1)
    return {
        "pictures": len(verdicts), "packages": sum(len(v.truth) for v in verdicts), "pickable": pickable,
        "pickable_mask": coco_ap(verdicts, True, False), "all_mask": coco_ap(verdicts, False, False),
        "pickable_mask_by_class": coco_ap(verdicts, True, True), "all_mask_by_class": coco_ap(verdicts, False, True),
        "touching": touching, "touching_recall_75": found_touching / max(touching, 1),
        "merges_per_100": merges * per_hundred, "splits_per_100": splits * per_hundred,
        "class_accuracy": float(np.trace(confusion) / max(confusion.sum(), 1)),
        "class_confusion": {"rows_true_columns_found": list(CLASS_NAMES), "counts": confusion.tolist()},
        "calibration_error": error, "reliability": reliability,
        "corrections": sum((corrections(v) for v in verdicts), Corrections()).to_json(),
    }


def corrections(verdict: Verdict, min_score: float = PROPOSED_SCORE) -> Corrections:
    """What an annotator who knows the truth would have to do on one picture, all packages counted.

    Args:
        verdict: of the picture. min_score: masks below are not proposed, 0..1. Masks on ignored pixels alone do not count.
    """
    seen = np.array([coco_mask.area(rle) > 0 for rle in verdict.found_rle], dtype=bool)
    proposed = (verdict.scores >= min_score) & seen
    return count_corrections(verdict.iou[:, proposed], verdict.true_class.tolist(), verdict.class_ids[proposed].tolist())


def calibration(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[list[dict[str, float]], float]:
    """Reliability bins and expected calibration error of scores against "IoU at least 0.5".

    Source: C. Guo et al., "On calibration of modern neural networks", ICML 2017.
    """
    bins, error = [], 0.0
    place = np.minimum((scores * _BINS).astype(int), _BINS - 1)
    for k in range(_BINS):
        here = place == k
        if here.any():
            said, was = float(scores[here].mean()), float(right[here].mean())
            bins.append({"score": said, "right": was, "count": float(here.sum())})
            error += abs(said - was) * float(here.mean())
    return bins, error


def outline(rgb: NDArray[np.uint8], labels: NDArray[np.integer[Any]], colour: tuple[int, int, int]) -> None:
    """Draw the outlines of a label picture into `rgb` (in place)."""
    small = np.where(labels == IGNORE, 0, labels).astype(np.uint16)
    edge = cv2.dilate(small, np.ones((3, 3), np.uint8)) != cv2.erode(small, np.ones((3, 3), np.uint8))
    rgb[edge] = colour

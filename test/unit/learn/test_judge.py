import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception_node.errors import DatasetError
from perception_node.learn import boxes
from perception_node.learn.dataset import IGNORE
from perception_node.learn.evaluate import fit_calibration
from perception_node.learn.judge import calibration, coco_ap, compare, summarise
from perception_node.types import CLASS_NAMES, Instance, Segmentation


def truth() -> tuple[np.ndarray, dict[int, int], dict[int, float]]:
    labels = np.zeros((120, 200), np.uint16)
    labels[10:60, 10:60], labels[10:60, 60:110], labels[70:110, 120:180] = 1, 2, 7
    labels[0:4, 190:194] = IGNORE
    return labels, {1: 1, 2: 1, 7: 3}, {1: 1.0, 2: 0.9, 7: 0.3}


def found(labels: np.ndarray, classes: list[int], scores: list[float] | None = None) -> Segmentation:
    scores = scores or [0.9] * len(classes)
    return Segmentation(labels.astype(np.uint16), tuple(
        Instance(k, CLASS_NAMES[c - 1], s, (0, 0, 1, 1), 1) for k, (c, s) in enumerate(zip(classes, scores, strict=True), 1)))


def test_perfect_is_perfect() -> None:
    labels, classes, visible = truth()
    guess = np.select([labels == 1, labels == 2, labels == 7, labels == IGNORE], [1, 2, 3, 2], 0)
    figures = summarise([compare("a", labels, classes, visible, found(guess, [1, 1, 3]))])
    for group in ("pickable_mask", "all_mask", "all_mask_by_class"):
        assert figures[group] == pytest.approx({"AP": 1.0, "AP50": 1.0, "AP75": 1.0})
    assert figures["packages"] == 3
    assert figures["pickable"] == 2
    assert figures["touching"] == 2
    assert figures["touching_recall_75"] == 1.0
    assert figures["merges_per_100"] == figures["splits_per_100"] == 0.0
    assert figures["class_accuracy"] == 1.0


def test_what_is_not_pickable_neither_helps_nor_hurts() -> None:
    labels, classes, visible = truth()
    for guess, count in ((np.where(labels < 3, labels, 0), 2),
                         (np.select([labels == 1, labels == 2, labels == 7], [1, 2, 3]), 3)):
        verdict = compare("a", labels, classes, visible, found(guess, [1] * count, [0.5] * 2 + [0.99] * (count - 2)))
        assert coco_ap([verdict], True, False)["AP"] == pytest.approx(1.0)
    partial = found(np.where(labels < 3, labels, 0), [1, 1])
    assert coco_ap([compare("a", labels, classes, visible, partial)], False, False)["AP"] < 0.7


def test_merges_splits_and_wrong_classes_are_counted() -> None:
    labels, classes, visible = truth()
    merged = summarise([compare("a", labels, classes, visible, found((labels > 0) & (labels < 3), [1]))])
    assert merged["merges_per_100"] == 50.0
    assert merged["touching_recall_75"] == 0.0
    halves = np.where(labels == 1, 1, 0)
    halves[35:60, 10:60] = 2
    halves[labels == 2] = 3
    split = summarise([compare("a", labels, classes, visible, found(halves, [1, 1, 2]))])
    assert split["splits_per_100"] == 50.0
    assert split["class_confusion"]["counts"][0] == [1, 1, 0, 0]
    assert split["class_accuracy"] == 0.5


def test_nothing_found_and_nothing_there() -> None:
    labels, classes, visible = truth()
    nothing = found(np.zeros_like(labels), [])
    assert summarise([compare("a", labels, classes, visible, nothing)])["all_mask"]["AP"] == 0.0
    empty = summarise([compare("a", np.zeros_like(labels), {}, {}, nothing)])
    assert empty["packages"] == 0
    assert empty["merges_per_100"] == 0.0


def test_calibration_error_and_its_cure() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.02, 0.98, 4000)
    right = rng.random(4000) < scores**2 / (scores**2 + (1 - scores) ** 2)  # twice the logit
    assert calibration(scores, rng.random(4000) < scores)[1] < 0.05 < calibration(scores, right)[1]
    labels, classes, visible = truth()
    verdict = compare("a", labels, classes, visible, found(np.where(labels < 3, labels, 0), [1, 1]))
    weight, bias = fit_calibration([replace(verdict, scores=scores, iou=np.where(right, 0.9, 0.1)[None])])
    assert weight == pytest.approx(2.0, abs=0.2)
    assert abs(bias) < 0.15


def test_boxes_of_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rgb").mkdir()
    cv2.imwrite(str(tmp_path / "rgb" / "a.png"), np.zeros((60, 90, 3), np.uint8))
    (tmp_path / "boxes.json").write_text(json.dumps({
        "images": [{"id": 4, "file_name": "rgb/a.png"}],
        "annotations": [{"image_id": 4, "bbox": [10, 10, 20, 20]}, {"image_id": 4, "bbox": [60, 10, 20, 20]}]}))
    guesses = [{"bbox_xyxy": box, "score": s} for box, s in (([11, 10, 31, 30], 0.9), ([10, 10, 30, 30], 0.8), ([0, 0, 5, 5], 0.1))]
    monkeypatch.setattr(boxes, "segment_picture", lambda *_: (None, None, guesses))
    figures = boxes.judge_boxes(None, tmp_path, 0.5, progress=False)  # type: ignore[arg-type]
    assert (figures["recall_50"], figures["precision_50"], figures["found"]) == (0.5, 0.5, 2)
    (tmp_path / "boxes.json").write_text("{}")
    with pytest.raises(DatasetError, match="expected COCO boxes"):
        boxes.judge_boxes(None, tmp_path, 0.5)  # type: ignore[arg-type]

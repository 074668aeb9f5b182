"""Judging on real photographs that have hand-drawn boxes but no masks: recall and precision of the masks' bounding boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from perception_node.errors import DatasetError
from perception_node.learn.dataset import read_json
from perception_node.segment.infer import Segmenter
from perception_node.segment.pictures import read_picture, segment_picture

BOXES_FILE = "boxes.json"
_MIN_IOU = 0.5


def box_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(A, B) intersection over union of (A, 4) and (B, 4) boxes x0, y0, x1, y1."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area_a, area_b = ((box[:, 2:] - box[:, :2]).prod(axis=1) for box in (a, b))
    iou: NDArray[np.float64] = shared / np.maximum(area_a[:, None] + area_b[None] - shared, 1e-9)
    return iou


def judge_boxes(segmenter: Segmenter, folder: Path, min_score: float, progress: bool = True) -> dict[str, Any]:
    """Judge a segmenter on photographs with boxes (COCO boxes in `boxes.json`, any category).

    Args:
        segmenter: the segmenter. folder: with `boxes.json` and the pictures it names.
        min_score: predictions below do not count. progress: show a progress bar.

    Returns:
        recall and precision at IoU 0.5 (one prediction per box, best score first), and the counts.

    Raises:
        DatasetError: when a file is missing or broken.
    """
    data = read_json(folder / BOXES_FILE)
    try:
        names = {int(i["id"]): folder / str(i["file_name"]) for i in data["images"]}
        boxes: dict[int, list[list[float]]] = {i: [] for i in names}
        for annotation in data["annotations"]:
            x, y, w, h = (float(v) for v in annotation["bbox"])
            boxes[int(annotation["image_id"])].append([x, y, x + w, y + h])
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{folder / BOXES_FILE}: expected COCO boxes, a field is missing or wrong ({error!r})") from None
    hits = wanted = given = 0
    for image, path in tqdm(names.items(), desc="judge boxes", unit="picture", disable=not progress, leave=False):
        file = path if path.is_file() else folder / "rgb" / path.name
        found = [p["bbox_xyxy"] for p in segment_picture(segmenter, read_picture(file), None)[2] if p["score"] >= min_score]
        truth = np.asarray(boxes[image], dtype=np.float64).reshape(-1, 4)
        iou = box_iou(np.asarray(found, dtype=np.float64).reshape(-1, 4), truth)
        wanted, given = wanted + len(truth), given + len(found)
        for row in iou:
            if len(row) and row.max() >= _MIN_IOU:
                hits += 1
                iou[:, int(row.argmax())] = 0.0
    return {"pictures": len(names), "boxes": wanted, "found": given, "min_score": min_score,
            "recall_50": hits / max(wanted, 1), "precision_50": hits / max(given, 1)}

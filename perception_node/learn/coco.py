"""Label pictures as COCO annotations: polygons that annotators can drag, or run lengths that are exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.learn.dataset import IGNORE
from perception_node.types import CLASS_NAMES

CATEGORIES = [{"id": i, "name": name} for i, name in enumerate(CLASS_NAMES, 1)]


def outlines(labels: NDArray[np.uint16], label: int, tolerance_px: float) -> list[list[float]]:
    """Outlines of one package as COCO polygons (flat lists of x, y at pixel centres), one for each visible piece.

    Holes are closed: a package that lies in one is drawn after it (`annotate` sees to the order).

    Args:
        labels: (H, W) uint16. label: of the package. tolerance_px: a simplified outline stays within it; 0 = every pixel.
    """
    mask = (labels == label).view(np.uint8)
    x, y, w, h = cv2.boundingRect(mask)
    if w == 0:
        return []
    found = cv2.findContours(mask[y:y + h, x:x + w], cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(x, y))[0]
    simple = [cv2.approxPolyDP(line, tolerance_px, True) if tolerance_px > 0 else line for line in found]
    polygons = [line.astype(float).ravel().tolist() for line in simple if len(line) >= 3]
    if not polygons:  # thinner than a pixel
        polygons = [[float(v) for v in (x, y, x + w - 1, y, x + w - 1, y + h - 1, x, y + h - 1)]]
    return polygons


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's compressed run lengths of an (H, W) mask."""
    from pycocotools import mask as coco_mask  # not on a cell's computer, where `perception capture export` runs

    rle: dict[str, Any] = coco_mask.encode(np.asfortranarray(mask.view(np.uint8)))
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode()}


def annotate(labels: NDArray[np.uint16], class_ids: Mapping[int, int], extra: Mapping[int, Mapping[str, Any]], exact: bool,
             tolerance_px: float = 1.0) -> list[dict[str, Any]]:
    """COCO annotations (without id and image_id) of one label picture, what encloses others first.

    Args:
        labels: (H, W) uint16, 0 = background, 65535 = ignore. class_ids: class id 1.. by label; labels without pixels are left out.
        extra: more fields by label. exact: run lengths instead of polygons. tolerance_px: of the polygons, see `outlines`.
    """
    out: list[tuple[float, dict[str, Any]]] = []
    for label in sorted(class_ids):
        mask = labels == label
        area = int(np.count_nonzero(mask))
        if area == 0 or label == IGNORE:
            continue
        x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
        shape: Any = run_lengths(mask) if exact else outlines(labels, label, tolerance_px)
        out.append((float(w * h), {"category_id": class_ids[label], "segmentation": shape, "area": area, "bbox": [x, y, w, h],
                                   "iscrowd": 0, "instance_id": label, **extra.get(label, {})}))
    return [record for _, record in sorted(out, key=lambda pair: -pair[0])]


def document(images: Sequence[Mapping[str, Any]], annotations: Sequence[Mapping[str, Any]], **info: Any) -> dict[str, Any]:
    """A COCO file's content; annotations are numbered from 1."""
    return {"info": info, "images": list(images), "categories": CATEGORIES,
            "annotations": [{**annotation, "id": number} for number, annotation in enumerate(annotations, 1)]}

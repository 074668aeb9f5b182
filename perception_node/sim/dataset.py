"""Files of a data set: one sample to disk, all samples to COCO. See docs for the layout."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from perception_node.files import put
from perception_node.sim.meshes import Array
from perception_node.types import CLASS_NAMES

IGNORE = 65535
"""Label of slivers."""

SLIVER_PX = 60
"""Visible areas below this are marked `IGNORE`."""


@dataclass(frozen=True)
class Sample:
    """One finished picture.

    Attributes:
        rgb: (H, W, 3) uint8.
        depth_m, depth_true_m: (H, W) float32, 0 = no reading.
        labels: (H, W) uint16, `IGNORE` for slivers.
        meta: what goes into meta/NNNN.json.
    """

    rgb: Array
    depth_m: Array
    depth_true_m: Array
    labels: Array
    meta: dict[str, Any]


_PNG_SETTINGS = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):
    _PNG_SETTINGS += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
"""Twice as fast as the defaults and smaller on depth and labels (older OpenCV: defaults)."""


def _png(image: Array) -> bytes:
    done, data = cv2.imencode(".png", image, _PNG_SETTINGS)
    assert done
    return bytes(data)


def millimetres(depth_m: Array) -> Array:
    """(H, W) uint16 millimetres; 0 = no reading; saturates below the reserved top value."""
    return np.asarray(np.clip(np.round(depth_m * 1000.0), 0, 65534)).astype(np.uint16)


def write_sample(root: Path, number: int, sample: Sample) -> None:
    """Writes the five files of a sample; meta comes last and marks it as whole."""
    name = f"{number:04d}"
    quality = [cv2.IMWRITE_JPEG_QUALITY, 92]
    picture = cv2.imencode(".jpg", cv2.cvtColor(sample.rgb, cv2.COLOR_RGB2BGR), quality)[1]
    put(root / "rgb" / f"{name}.jpg", bytes(picture))
    put(root / "depth" / f"{name}.png", _png(millimetres(sample.depth_m)))
    put(root / "depth_true" / f"{name}.png", _png(millimetres(sample.depth_true_m)))
    put(root / "labels" / f"{name}.png", _png(sample.labels))
    put(root / "meta" / f"{name}.json", json.dumps(sample.meta))


def encode_rle(mask: Array) -> str:
    """COCO's compressed run-length string of an (H, W) boolean mask, column by column.

    Source: the COCO API, `common/maskApi.c`, `rleToString`.
    """
    height, width = mask.shape
    used = np.flatnonzero(mask.any(0))
    first, last = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
    flat = np.asarray(mask[:, first:last], np.uint8).T.ravel()
    padded = np.concatenate([np.zeros(1, np.uint8), flat, np.zeros(1, np.uint8)])
    change = np.flatnonzero(np.diff(padded)) + first * height
    bounds = [0, *change.tolist()]
    if bounds[-1] < height * width:
        bounds.append(height * width)
    value = np.diff(bounds)
    value[3:] -= value[1:-2].copy()
    rows, valid, more = [], [], np.ones(len(value), bool)
    while more.any():  # five bits of all values at once
        chunk = value & 0x1F
        value = value >> 5
        valid.append(more)
        more = more & (value != np.where(chunk & 0x10, -1, 0))
        rows.append(np.where(more, chunk | 0x20, chunk) + 48)
    text: bytes = np.stack(rows, 1)[np.stack(valid, 1)].astype(np.uint8).tobytes()
    return text.decode("ascii")


def annotations_of(number: int, labels: Array, meta: dict[str, Any]) -> list[dict[str, Any]]:
    """COCO annotations (without ids) of one sample, of the packages above sliver size."""
    found = []
    for instance in meta["instances"]:
        if instance["visible_area_px"] < SLIVER_PX:
            continue
        x, y, w, h = instance["bbox_xywh"]
        mask = labels == instance["id"]
        found.append(
            {
                "image_id": number,
                "category_id": instance["category_id"],
                "segmentation": {"size": list(labels.shape), "counts": encode_rle(mask)},
                "area": int(instance["visible_area_px"]),
                "bbox": [float(x), float(y), float(w), float(h)],
                "iscrowd": 0,
                "instance_id": instance["id"],
                "visible_fraction": instance["visible_fraction"],
            }
        )
    return found


def write_annotations(root: Path, pictures: list[tuple[int, int, int]], found: list[dict[str, Any]], note: str) -> None:
    """Writes annotations.json; its presence says that the data set is complete.

    Args:
        root: folder of the data set.
        pictures: (number, width, height) of each picture.
        found: annotations of all pictures, in order; ids are given here.
        note: description of where the data come from.
    """
    for n, annotation in enumerate(found):
        annotation["id"] = n + 1
    document = {
        "info": {"description": note},
        "images": [{"id": n, "file_name": f"rgb/{n:04d}.jpg", "width": w, "height": h} for n, w, h in pictures],
        "annotations": found,
        "categories": [{"id": n + 1, "name": name} for n, name in enumerate(CLASS_NAMES)],
    }
    put(root / "annotations.json", json.dumps(document))

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


_FILTER = [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP] if hasattr(cv2, "IMWRITE_PNG_FILTER") else []
_RUNS = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE, *_FILTER]
"""Twice as fast as the defaults and smaller on measured depth and labels (older OpenCV: defaults)."""
_SMOOTH = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_FILTERED, *_FILTER]
"""The same for depth without noise: a third faster and a third smaller there than `_RUNS`."""


def _png(image: Array, settings: list[int]) -> bytes:
    done, data = cv2.imencode(".png", image, settings)
    assert done
    return bytes(data)


def millimetres(depth_m: Array) -> Array:
    """(H, W) uint16 millimetres; 0 = no reading; saturates below the reserved top value."""
    from perception_node.sim import compiled

    out = np.empty(depth_m.shape, np.uint16)
    compiled.millimetres(depth_m.astype(np.float32, copy=False), 65534, out)
    return out


def write_sample(root: Path, number: int, sample: Sample) -> None:
    """Writes the five files of a sample; meta comes last and marks it as whole."""
    name = f"{number:04d}"
    quality = [cv2.IMWRITE_JPEG_QUALITY, 92]
    picture = cv2.imencode(".jpg", cv2.cvtColor(sample.rgb, cv2.COLOR_RGB2BGR), quality)[1]
    put(root / "rgb" / f"{name}.jpg", bytes(picture))
    put(root / "depth" / f"{name}.png", _png(millimetres(sample.depth_m), _RUNS))
    put(root / "depth_true" / f"{name}.png", _png(millimetres(sample.depth_true_m), _SMOOTH))
    put(root / "labels" / f"{name}.png", _png(sample.labels, _RUNS))
    put(root / "meta" / f"{name}.json", json.dumps(sample.meta))


def encode_rle(labels: Array, label: int = 1, box_xywh: tuple[int, int, int, int] | None = None) -> str:
    """COCO's compressed run-length string, column by column, of where (H, W) `labels` (or a boolean mask) are `label`.

    `box_xywh` holds all of it; None = the whole picture.
    """
    from perception_node.sim import compiled

    x, y, w, h = box_xywh or (0, 0, labels.shape[1], labels.shape[0])
    text = np.empty(5 * w * h + 10, np.uint8)
    size = compiled.run_lengths(labels, label, x, y, x + w - 1, y + h - 1, text)
    return text[:size].tobytes().decode("ascii")


def annotations_of(number: int, labels: Array, meta: dict[str, Any]) -> list[dict[str, Any]]:
    """COCO annotations (without ids) of one sample, of the packages above sliver size."""
    found = []
    for instance in meta["instances"]:
        if instance["visible_area_px"] < SLIVER_PX:
            continue
        x, y, w, h = instance["bbox_xywh"]
        found.append(
            {
                "image_id": number,
                "category_id": instance["category_id"],
                "segmentation": {"size": list(labels.shape), "counts": encode_rle(labels, instance["id"], (x, y, w, h))},
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

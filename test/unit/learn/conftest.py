"""A tiny data set in the shared layout: coloured rectangles on a belt, non-square."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest


def write_dataset(folder: Path, count: int = 6, seed: int = 0, depth: bool = True) -> Path:
    rng = np.random.default_rng(seed)
    for name in ("rgb", "depth", "labels", "meta"):
        (folder / name).mkdir(parents=True)
    images, annotations = [], []
    for i in range(count):
        rgb = np.full((120, 160, 3), 70, np.uint8)
        labels = np.zeros((120, 160), np.uint16)
        z = np.full((120, 160), 1000, np.uint16)
        instances = []
        for k, x in enumerate((10, 50, 105), 1):
            y, w, h = int(rng.integers(10, 50)), int(rng.integers(30, 40)), int(rng.integers(30, 60))
            labels[y:y + h, x:x + w], z[y:y + h, x:x + w] = k, 850
            rgb[y:y + h, x:x + w] = rng.integers(120, 220, 3)
            instances.append({"id": k, "category_id": k, "class": ("box", "padded_mailer", "poly_bag")[k - 1]})
            annotations.append({"id": len(annotations) + 1, "image_id": i, "category_id": k, "instance_id": k, "iscrowd": 0,
                                "area": w * h, "bbox": [x, y, w, h], "visible_fraction": 1.0,
                                "segmentation": [[x, y, x + w - 1, y, x + w - 1, y + h - 1, x, y + h - 1]]})
        labels[100:105, 150:155] = 65535
        stem = f"{i:04d}"
        cv2.imwrite(str(folder / "rgb" / f"{stem}.png"), rgb[..., ::-1])
        cv2.imwrite(str(folder / "labels" / f"{stem}.png"), labels)
        if depth:
            cv2.imwrite(str(folder / "depth" / f"{stem}.png"), z)
        (folder / "meta" / f"{stem}.json").write_text(json.dumps({
            "K": [[160, 0, 79.5], [0, 160, 59.5], [0, 0, 1]], "belt_plane": {"normal": [0, 0, -1], "offset": 1.0},
            "instances": instances}))
        images.append({"id": i, "file_name": f"rgb/{stem}.png", "width": 160, "height": 120})
    (folder / "annotations.json").write_text(json.dumps({
        "images": images, "annotations": annotations,
        "categories": [{"id": 1, "name": "box"}, {"id": 2, "name": "padded_mailer"}, {"id": 3, "name": "poly_bag"}]}))
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "set")


@pytest.fixture
def make_dataset() -> Callable[..., Path]:
    return write_dataset

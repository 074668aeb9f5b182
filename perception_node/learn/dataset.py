"""Data sets on disk: colour, depth, label pictures, COCO annotations and cameras; each broken file is named.

Layout (docs/segmenter.md): `annotations.json` (COCO), `rgb/NAME.jpg|png`, and optionally `depth/NAME.png` (uint16 millimetres),
`meta/NAME.json` (camera, belt plane), `labels/NAME.png` (uint16 instance ids, 65535 = ignore). Without label pictures the
annotations' segmentations are drawn instead.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.errors import DatasetError
from perception_node.types import CLASS_NAMES, F64, CameraModel, Frame

IGNORE = 65535
"""Label of pixels that belong to no one: they neither train nor judge."""


@dataclass(frozen=True)
class Entry:
    """One picture of a data set: its files and what the annotations say.

    Attributes:
        name: stem of the file names. rgb, labels, depth, meta: paths, None = not there.
        instances: (instance id, class id 1.., visible fraction) of each annotated package.
        annotations: the COCO annotations as read.
    """

    name: str
    rgb: Path
    labels: Path | None
    depth: Path | None
    meta: Path | None
    instances: tuple[tuple[int, int, float], ...]
    annotations: tuple[dict[str, Any], ...]


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture read into memory.

    Attributes:
        frame: colour, depth (or None), camera. labels: (H, W) uint16, 0 = background, 65535 = ignore.
        class_ids: class id 1.. by label. visible: visible fraction by label. belt_plane: (4,) or None.
    """

    frame: Frame
    labels: NDArray[np.uint16]
    class_ids: dict[int, int]
    visible: dict[int, float]
    belt_plane: F64 | None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DatasetError: when it is missing or broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetError(f"{path}: expected a JSON file, found none") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DatasetError(f"{path}: expected JSON, cannot be read ({error})") from None


def read_dataset(folder: Path) -> list[Entry]:
    """List the pictures of a data set, in the order of the annotations.

    Raises:
        DatasetError: nothing there, an unknown class, or files that are missing (all of them named, at most ten in full).
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: expected a data set's folder, found none")
    path = folder / "annotations.json"
    coco = read_json(path)
    try:
        class_of = {int(c["id"]): str(c["name"]) for c in coco["categories"]}
        unknown = sorted(set(class_of.values()) - set(CLASS_NAMES))
        if unknown:
            raise DatasetError(f"{path}: expected classes {list(CLASS_NAMES)}, got {unknown}")
        by_image: dict[int, list[dict[str, Any]]] = {int(image["id"]): [] for image in coco["images"]}
        for annotation in coco["annotations"]:
            by_image[int(annotation["image_id"])].append(annotation)
        entries = [_entry(folder, image, by_image[int(image["id"])], class_of) for image in coco["images"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: expected COCO instances, a field is missing or wrong ({error!r})") from None
    if not entries:
        raise DatasetError(f"{path}: expected at least one picture, found none")
    missing = [str(entry.rgb) for entry in entries if not entry.rgb.is_file()]
    missing += [f"labels or segmentations of {entry.name}" for entry in entries if entry.labels is None
                and any("segmentation" not in a for a in entry.annotations)]
    if missing:
        raise DatasetError(f"{folder}: {len(missing)} files are missing: {', '.join(missing[:10])}"
                           + (" ..." if len(missing) > 10 else ""))
    return entries


def _entry(folder: Path, image: dict[str, Any], annotations: list[dict[str, Any]], class_of: dict[int, str]) -> Entry:
    rgb = folder / str(image["file_name"])
    if not rgb.is_file() and (folder / "rgb" / rgb.name).is_file():
        rgb = folder / "rgb" / rgb.name

    def optional(path: Path) -> Path | None:
        return path if path.is_file() else None

    instances = tuple((int(a.get("instance_id", i)), CLASS_NAMES.index(class_of[int(a["category_id"])]) + 1,
                       float(a.get("visible_fraction", 1.0))) for i, a in enumerate(annotations, 1) if not a.get("iscrowd"))
    return Entry(rgb.stem, rgb, optional(folder / "labels" / f"{rgb.stem}.png"), optional(folder / "depth" / f"{rgb.stem}.png"),
                 optional(folder / "meta" / f"{rgb.stem}.json"), instances, tuple(annotations))


def load_sample(entry: Entry, with_depth: bool = True) -> Sample:
    """Read one picture.

    Raises:
        DatasetError: a file cannot be decoded, has another size than the colour picture, or an instance has no class.
    """
    picture = cv2.imread(str(entry.rgb), cv2.IMREAD_COLOR)
    if picture is None:
        raise DatasetError(f"{entry.rgb}: expected a JPEG or PNG picture, cannot be decoded")
    height, width = picture.shape[:2]
    labels = _read_plane(entry.labels, (height, width)) if entry.labels else _draw_labels(entry, (height, width))
    meta: dict[str, Any] = read_json(entry.meta) if entry.meta else {}
    depth_m = None
    if with_depth and entry.depth:
        raw = _read_plane(entry.depth, (height, width))
        depth_m = raw.astype(np.float32) * np.float32(meta.get("depth_unit_m", 0.001))
        depth_m[raw == 0] = np.nan
    camera, plane = _camera(entry, meta, width, height)
    class_ids = {i: c for i, c, _ in entry.instances}
    strangers = sorted(set(np.unique(labels).tolist()) - set(class_ids) - {0, IGNORE})
    if strangers:
        raise DatasetError(f"{entry.labels}: expected annotated instances {sorted(class_ids)}, got also {strangers[:10]}")
    rgb: NDArray[np.uint8] = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)  # type: ignore[assignment]
    frame = Frame(rgb, depth_m, camera, 0, "camera_optical_frame")
    return Sample(frame, labels, class_ids, {i: v for i, _, v in entry.instances}, plane)


def _camera(entry: Entry, meta: dict[str, Any], width: int, height: int) -> tuple[CameraModel, F64 | None]:
    if "K" not in meta:
        return CameraModel(float(width), float(width), (width - 1) / 2, (height - 1) / 2, width, height), None
    try:
        K = np.asarray(meta["K"], dtype=np.float64).reshape(3, 3)
        camera = CameraModel(K[0, 0], K[1, 1], K[0, 2], K[1, 2], width, height)
        plane = meta.get("belt_plane")
        return camera, None if plane is None else np.array([*plane["normal"], plane["offset"]], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{entry.meta}: expected K and belt_plane, got something else ({error!r})") from None


def _read_plane(path: Path, size: tuple[int, int]) -> NDArray[np.uint16]:
    plane = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if plane is None or plane.ndim != 2:
        raise DatasetError(f"{path}: expected a one-channel PNG picture, cannot be decoded")
    if plane.shape != size:
        raise DatasetError(f"{path}: expected {size[1]}x{size[0]} like the colour picture, got "
                           f"{plane.shape[1]}x{plane.shape[0]}")
    return plane.astype(np.uint16, copy=False)


def _draw_labels(entry: Entry, size: tuple[int, int]) -> NDArray[np.uint16]:
    from pycocotools import mask as coco_mask

    labels = np.zeros(size, np.uint16)
    for (instance, _, _), annotation in zip(entry.instances, (a for a in entry.annotations if not a.get("iscrowd")), strict=True):
        shape = annotation["segmentation"]
        try:
            if isinstance(shape, list):
                for polygon in shape:
                    points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
                    cv2.fillPoly(labels, [np.rint(points).astype(np.int32)], instance)
            else:
                rle = coco_mask.frPyObjects(shape, *size) if isinstance(shape["counts"], list) else shape
                labels[coco_mask.decode(rle).astype(bool)] = instance
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DatasetError(f"{entry.rgb}: segmentation of annotation {annotation.get('id')} is broken ({error!r})") from None
    return labels

"""Data sets on disk: colour, depth, label pictures, annotations and cameras; each broken file is named.

Three forms are read (docs/adapting.md):
a folder with `annotations.json` (COCO), `rgb/NAME.jpg|png`, and optionally `depth/NAME.png` (uint16 millimetres), `meta/NAME.json`
(camera, belt plane), `labels/NAME.png` (uint16 instance ids, 65535 = ignore), which stand above the annotations' segmentations;
any other COCO file, as annotation tools export it, beside or inside the folder with `rgb/`: its segmentations count;
a folder with LabelMe files (one JSON per picture).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.errors import DatasetError, one_line
from perception_node.learn.labelme import labelme_files, read_labelme
from perception_node.types import CLASS_NAMES, F64, CameraModel, Frame

IGNORE = 65535
"""Label of pixels that belong to no one: they neither train nor judge."""

IGNORE_CLASS = "ignore"
"""Category of annotations whose pixels are `IGNORE`; COCO's crowds ("iscrowd": 1) are taken for the same."""

ANNOTATIONS = "annotations.json"
PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True)
class Entry:
    """One picture of a data set: its files and what the annotations say.

    Attributes:
        name: stem of the file names. rgb, labels, depth, meta: paths, None = not there.
        instances: (instance id, class id 1.., visible fraction) of each annotated package.
        annotations: the COCO annotations as read, crowds included. classes: class id 1.. of each of them, 0 = ignore.
    """

    name: str
    rgb: Path
    labels: Path | None
    depth: Path | None
    meta: Path | None
    instances: tuple[tuple[int, int, float], ...]
    annotations: tuple[dict[str, Any], ...]
    classes: tuple[int, ...] = ()


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


def annotation_files(path: Path) -> list[Path]:
    """The annotation files that make up a data set (one COCO file, or many LabelMe files).

    Args:
        path: a folder, or a COCO file.

    Raises:
        DatasetError: there are none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DatasetError(f"{path}: expected a data set's folder or COCO file, found none")
    if (path / ANNOTATIONS).is_file():
        return [path / ANNOTATIONS]
    files = labelme_files(path)
    if not files:
        raise DatasetError(f"{path / ANNOTATIONS}: expected a JSON file (or LabelMe files in the folder), found none")
    return files


def read_coco(path: Path, broken: list[str] | None = None) -> tuple[dict[str, Any], Path, bool]:
    """Read the annotations of a data set in any of its forms.

    Args:
        path: a folder, or a COCO file. broken: takes one line for each broken LabelMe file; None = the first one is an error.

    Returns:
        A COCO mapping with "images", "annotations" and "categories" (lists of mappings, their fields unchecked); the folder that
        its file names start from; whether label pictures count.

    Raises:
        DatasetError: nothing there, or not readable.
    """
    files = annotation_files(path)
    folder = files[0].parent
    if path.is_dir() and files[0].name != ANNOTATIONS:
        return read_labelme(files, broken), folder, False
    coco = read_json(files[0])
    lists = ("images", "annotations", "categories")
    if not isinstance(coco, dict) or not all(
            isinstance(coco.get(key), list) and all(isinstance(row, dict) for row in coco[key]) for key in lists):
        raise DatasetError(f"{files[0]}: expected COCO instances, a field is missing or wrong (images, annotations, categories)")
    return coco, folder, files[0].name == ANNOTATIONS


def read_dataset(path: Path) -> list[Entry]:
    """List the pictures of a data set, in the order of the annotations.

    Args:
        path: a folder, or a COCO file.

    Raises:
        DatasetError: nothing there, an unknown class, two packages with one id, or files that are missing (all of them named,
            at most ten in full).
    """
    coco, folder, with_labels = read_coco(path)
    try:
        class_of = {int(c["id"]): str(c["name"]) for c in coco["categories"]}
        used = {class_of[int(a["category_id"])] for a in coco["annotations"]}
        unknown = sorted(used - {*CLASS_NAMES, IGNORE_CLASS})
        if unknown:
            raise DatasetError(f"{path}: expected classes {list(CLASS_NAMES)}, got {unknown}")
        by_image: dict[int, list[dict[str, Any]]] = {int(image["id"]): [] for image in coco["images"]}
        for annotation in coco["annotations"]:
            by_image[int(annotation["image_id"])].append(annotation)
        entries = [make_entry(folder, image, by_image[int(image["id"])], class_of, with_labels) for image in coco["images"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: expected COCO instances, a field is missing or wrong ({error!r})") from None
    if not entries:
        raise DatasetError(f"{path}: expected at least one picture, found none")
    missing = [str(entry.rgb) for entry in entries if not entry.rgb.is_file()]
    missing += [f"labels or segmentations of {entry.name}" for entry in entries if entry.labels is None
                and any(not a.get("segmentation") for a in entry.annotations)]
    if missing:
        raise DatasetError(f"{path}: {len(missing)} files are missing: {', '.join(missing[:10])}"
                           + (" ..." if len(missing) > 10 else ""))
    for entry in entries:
        if len({i for i, _, _ in entry.instances}) < len(entry.instances):
            raise DatasetError(f"{path}: expected one package per instance_id, two of {entry.name} share one")
    return entries


def make_entry(folder: Path, image: dict[str, Any], annotations: Sequence[dict[str, Any]], class_of: dict[int, str],
               with_labels: bool) -> Entry:
    """One picture of a COCO mapping; its files need not exist.

    Args:
        folder: where file names start. image, annotations: of COCO. class_of: category names by id.
        with_labels: a label picture stands above the segmentations.

    Raises:
        KeyError, TypeError, ValueError: a field is missing or wrong, or a class is unknown.
    """
    rgb = folder / str(image["file_name"])
    if not rgb.is_file():
        others = (folder / "rgb" / rgb.name, folder.parent / "rgb" / rgb.name)
        rgb = next((other for other in others if other.is_file()), rgb)
    roots = [rgb.parent.parent, folder]

    def optional(part: str, suffix: str) -> Path | None:
        return next((p for root in roots if (p := root / part / f"{rgb.stem}{suffix}").is_file()), None)

    labels = optional("labels", ".png") if with_labels else None
    names = [class_of[int(a["category_id"])] for a in annotations]
    classes = tuple(0 if a.get("iscrowd") or name == IGNORE_CLASS else CLASS_NAMES.index(name) + 1
                    for a, name in zip(annotations, names, strict=True))
    instances = tuple((int(a.get("instance_id", i)) if labels else i, c, float(a.get("visible_fraction", 1.0)))
                      for i, (a, c) in enumerate(zip(annotations, classes, strict=True), 1) if c)
    return Entry(rgb.stem, rgb, labels, optional("depth", ".png"), optional("meta", ".json"), instances, tuple(annotations),
                 classes)


def require_packages(path: Path, entries: Sequence[Entry]) -> list[str]:
    """Make sure that pictures are labelled at all.

    Args:
        path: of the data set, for the message. entries: its pictures.

    Returns:
        Names of the pictures without a package: empty belts, or forgotten ones.

    Raises:
        DatasetError: not one of them shows a labelled package.
    """
    empty = [entry.name for entry in entries if not entry.instances]
    if len(empty) == len(entries):
        raise DatasetError(f"{path}: expected labelled packages, found none in {len(entries)} pictures")
    return empty


def decode_file(path: Path, flags: int, expected: str) -> NDArray[Any]:
    """Decode a picture file, all of it: decoders fill up what a file that was cut in half lacks, without a word.

    Args:
        path: the file. flags: of `cv2.imdecode`. expected: words for the message.

    Raises:
        DatasetError: it is missing, cut off or cannot be decoded.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: expected {expected}, cannot be read ({error.strerror})") from None
    end = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}.get(data[:2])
    if end is not None and end not in data[-4096:]:
        raise DatasetError(f"{path}: expected {expected}, the file is cut off after {len(data)} bytes")
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if picture is None:
        raise DatasetError(f"{path}: expected {expected}, cannot be decoded")
    return np.asarray(picture)


def load_sample(entry: Entry, with_depth: bool = True) -> Sample:
    """Read one picture.

    Raises:
        DatasetError: a file cannot be decoded, has another size than the colour picture, or an instance has no class.
    """
    picture = decode_file(entry.rgb, cv2.IMREAD_COLOR, "a JPEG or PNG picture")
    height, width = picture.shape[:2]
    labels = read_labels(entry, (height, width)) if entry.labels else draw_labels(entry, (height, width))
    meta = read_json(entry.meta) if entry.meta else {}
    camera, plane = read_camera(entry, meta, width, height)
    depth_m = None
    if with_depth and entry.depth:
        raw = read_plane(entry.depth, (height, width))
        depth_m = raw.astype(np.float32) * np.float32(meta.get("depth_unit_m", 0.001))
        depth_m[raw == 0] = np.nan
    class_ids = {i: c for i, c, _ in entry.instances}
    strangers = sorted(set(np.unique(labels).tolist()) - set(class_ids) - {0, IGNORE})
    if strangers:
        raise DatasetError(f"{entry.labels}: expected annotated instances {sorted(class_ids)}, got also {strangers[:10]}")
    rgb: NDArray[np.uint8] = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)  # type: ignore[assignment]
    frame = Frame(rgb, depth_m, camera, 0, "camera_optical_frame")
    return Sample(frame, labels, class_ids, {i: v for i, _, v in entry.instances}, plane)


def read_camera(entry: Entry, meta: Any, width: int, height: int) -> tuple[CameraModel, F64 | None]:
    """Camera and belt plane (nx, ny, nz, d) from a picture's meta file; without one a guess and None.

    Raises:
        DatasetError: a field is wrong.
    """
    if not isinstance(meta, dict):
        raise DatasetError(f"{entry.meta}: expected K and belt_plane, got a {type(meta).__name__}")
    if "K" not in meta:
        return CameraModel(float(width), float(width), (width - 1) / 2, (height - 1) / 2, width, height), None
    try:
        K = np.asarray(meta["K"], dtype=np.float64).reshape(3, 3)
        camera = CameraModel(K[0, 0], K[1, 1], K[0, 2], K[1, 2], width, height)
        plane = meta.get("belt_plane")
        return camera, None if plane is None else np.array([*plane["normal"], plane["offset"]], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{entry.meta}: expected K and belt_plane, got something else ({error!r})") from None


def read_plane(path: Path, size: tuple[int, int]) -> NDArray[np.uint16]:
    """Read a one-channel PNG of integers as uint16.

    Args:
        path: the file. size: (height, width) that it must have.

    Raises:
        DatasetError: it cannot be decoded, has another size or another kind of pixels.
    """
    plane = decode_file(path, cv2.IMREAD_UNCHANGED, "a one-channel PNG picture")
    if plane.ndim != 2 or plane.dtype not in (np.uint8, np.uint16):
        raise DatasetError(f"{path}: expected a one-channel PNG picture, got shape {plane.shape} of {plane.dtype}")
    if plane.shape != size:
        raise DatasetError(f"{path}: expected {size[1]}x{size[0]} like the colour picture, got "
                           f"{plane.shape[1]}x{plane.shape[0]}")
    return plane.astype(np.uint16, copy=False)


def read_labels(entry: Entry, size: tuple[int, int]) -> NDArray[np.uint16]:
    """Read the label picture; instances of the class "ignore" become `IGNORE`. Arguments and errors as `read_plane`."""
    assert entry.labels is not None
    labels = read_plane(entry.labels, size)
    ignored = [int(a["instance_id"]) for a, c in zip(entry.annotations, entry.classes, strict=True) if not c and "instance_id" in a]
    if ignored:
        labels[np.isin(labels, ignored)] = IGNORE
    return labels


def draw_labels(entry: Entry, size: tuple[int, int]) -> NDArray[np.uint16]:
    """Draw the annotations' segmentations as a label picture, ignored ones first, the others in the order of the file.

    Args:
        entry: the picture. size: (height, width) of the picture.

    Raises:
        DatasetError: a segmentation is broken or of another size.
    """
    from pycocotools import mask as coco_mask

    labels = np.zeros(size, np.uint16)
    ids = iter(i for i, _, _ in entry.instances)
    values = [next(ids) if c else IGNORE for c in entry.classes]
    for k in sorted(range(len(values)), key=lambda k: values[k] != IGNORE):
        shape, number = entry.annotations[k]["segmentation"], entry.annotations[k].get("id")
        try:
            if isinstance(shape, list):
                for polygon in shape:
                    points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
                    cv2.fillPoly(labels, [np.rint(points).astype(np.int32)], values[k])
                continue
            if tuple(shape["size"]) != size:
                raise DatasetError(f"{entry.rgb}: segmentation of annotation {number}: expected {size[1]}x{size[0]} like the "
                                   f"picture, got {shape['size'][1]}x{shape['size'][0]}")
            rle = coco_mask.frPyObjects(shape, *size) if isinstance(shape["counts"], list) else shape
            labels[coco_mask.decode(rle).astype(bool)] = values[k]
        except (KeyError, TypeError, ValueError, IndexError, cv2.error) as error:
            raise DatasetError(f"{entry.rgb}: segmentation of annotation {number} is broken ({one_line(error)})") from None
    return labels

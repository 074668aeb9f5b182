"""Everything that is wrong with a data set, one line for each defect, instead of the first error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from perception_node.errors import DatasetError
from perception_node.learn.dataset import (
    IGNORE,
    IGNORE_CLASS,
    PICTURE_SUFFIXES,
    Entry,
    decode_file,
    draw_labels,
    make_entry,
    read_camera,
    read_coco,
    read_json,
    read_labels,
    read_plane,
)
from perception_node.learn.near import F32, near_pairs, thumbnail
from perception_node.segment.weights import file_sha256
from perception_node.types import CLASS_NAMES

BAD, DEPTH, NOTE = "bad", "depth", "note"
"""Grades: the picture cannot be used; its depth cannot; it can, but a person should look."""

KINDS = ("annotation", "class", "crowd", "depth", "duplicate", "empty", "id", "mask", "picture", "size", "unchecked", "unlabelled")
"""What a defect can be of."""

_MIN_READ_SHARE = 0.1
_DEPTH_RANGE_M = (0.1, 10.0)  # of the median; outside, the unit is wrong. Source: judgement
_MIN_AGREEMENT = 0.5
_OUTSIDE_PX = 2.0  # annotation tools round corners on the picture's border outwards


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong.

    Attributes:
        grade: `BAD`, `DEPTH` or `NOTE`. kind: one of `KINDS`, or "leak". picture: its name, "" = the whole set.
        words: what is wrong, with the file's name.
    """

    grade: str
    kind: str
    picture: str
    words: str


@dataclass(eq=False)
class Report:
    """What `check_dataset` found.

    Attributes:
        path: of the data set. entries: pictures without a `BAD` defect, in order; the depth of `DEPTH` defects is left out.
        defects: in the order of the pictures, those of the whole set first.
        pictures: number in all. packages: of usable pictures, by class.
        hashes, thumbnails: of `entries`, for comparing sets.
    """

    path: Path
    entries: list[Entry] = field(default_factory=list)
    defects: list[Defect] = field(default_factory=list)
    pictures: int = 0
    packages: dict[str, int] = field(default_factory=dict)
    hashes: list[str] = field(default_factory=list)
    thumbnails: list[F32] = field(default_factory=list)


def check_dataset(path: Path, mapping: Mapping[str, str] | None = None, progress: bool = True) -> Report:
    """Look at every file of a data set.

    Args:
        path: a folder or a COCO file. mapping: other names of classes, to this software's or to "ignore".
        progress: show a progress bar.

    Raises:
        DatasetError: there is nothing to look at: no annotations, or no pictures in them.
    """
    broken: list[str] = []
    coco, folder, with_labels = read_coco(path, broken)
    report = Report(path, pictures=len(coco["images"]) + len(broken), defects=[Defect(BAD, "annotation", "", b) for b in broken])
    if not coco["images"]:
        raise DatasetError(f"{path}: expected at least one picture, found none" + (f" ({broken[0]})" if broken else ""))
    found = _Finder(report)
    class_of = _classes(coco, mapping or {}, found)
    by_image = _sort_annotations(coco, class_of, found)
    for image in tqdm(coco["images"], desc=f"check {path.name}", unit="picture", disable=not progress, leave=False):
        place = image.get("id")
        if place not in by_image or "file_name" not in image:
            if place in by_image or "file_name" not in image:
                found(BAD, "annotation", "", f"{path}: an image without id or file_name: {str(image)[:120]}")
            else:
                found(BAD, "id", str(image["file_name"]), f"{image['file_name']}: another image has the same id {place}")
            continue
        _check_picture(folder, image, by_image.pop(place), class_of, with_labels, found)
    if not with_labels:
        named = {Path(str(image.get("file_name"))).stem for image in coco["images"]}
        for other in sorted({p for folder in {e.rgb.parent for e in report.entries} for p in folder.iterdir()
                             if p.suffix.lower() in PICTURE_SUFFIXES}):
            if other.stem not in named:
                found(NOTE, "unlabelled", other.stem, f"{other}: is in the folder, but not in the annotations")
    crowds = sum(bool(a.get("iscrowd")) and class_of.get(a.get("category_id")) in CLASS_NAMES for a in coco["annotations"])
    if crowds:
        found(NOTE, "crowd", "", f"{path}: {crowds} packages are crowds (iscrowd 1), which train and judge nothing; so CVAT "
                                 "exports what was painted with its brush")
    for i, j in near_pairs(report.thumbnails):
        same = "the same file as" if report.hashes[i] == report.hashes[j] else "nearly the same picture as"
        found(NOTE, "duplicate", report.entries[j].name, f"{report.entries[j].rgb}: {same} {report.entries[i].rgb}")
    if coco.get("info") and isinstance(coco["info"], dict) and coco["info"].get("proposals_by"):
        found(NOTE, "unchecked", "", f"{path}: proposals of {coco['info']['proposals_by']} that no one has corrected")
    return report


class _Finder:
    """Takes defects down."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def __call__(self, grade: str, kind: str, picture: str, words: str) -> None:
        assert kind in KINDS
        self.report.defects.append(Defect(grade, kind, picture, words))


def _classes(coco: dict[str, Any], mapping: Mapping[str, str], found: _Finder) -> dict[Any, str]:
    """Class names by category id, mapped; unknown ones are taken down with their number of annotations."""
    class_of: dict[Any, str] = {}
    for category in coco["categories"]:
        name = mapping.get(str(category.get("name")), str(category.get("name")))
        if category.get("id") in class_of and class_of[category["id"]] != name:
            found(BAD, "id", "", f"{found.report.path}: categories {class_of[category['id']]!r} and {name!r} share the id "
                                 f"{category['id']}")
        class_of[category.get("id")] = name
    used = [class_of.get(a.get("category_id"), "") for a in coco["annotations"]]
    for name in sorted(set(used) - {*CLASS_NAMES, IGNORE_CLASS, ""}):
        found(BAD, "class", "", f"{found.report.path}: unknown class {name!r} of {used.count(name)} annotations; expected "
                                f"{', '.join(CLASS_NAMES)} or ignore (see --map)")
    return class_of


def _sort_annotations(coco: dict[str, Any], class_of: Mapping[Any, str], found: _Finder) -> dict[Any, list[dict[str, Any]]]:
    """Annotations by image id; those that belong nowhere are taken down."""
    by_image: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in coco["images"] if "id" in image}
    seen: set[Any] = set()
    where = found.report.path
    for annotation in coco["annotations"]:
        number = annotation.get("id")
        if annotation.get("image_id") not in by_image:
            found(BAD, "id", "", f"{where}: annotation {number} is of image {annotation.get('image_id')!r}, which is not listed")
        elif annotation.get("category_id") not in class_of:
            found(BAD, "class", "", f"{where}: annotation {number} is of category {annotation.get('category_id')!r}, which is not "
                                    "listed")
            by_image[annotation["image_id"]].append(annotation)
        else:
            by_image[annotation["image_id"]].append(annotation)
        if number is not None and number in seen:
            found(NOTE, "id", "", f"{where}: two annotations share the id {number}")
        seen.add(number)
    return by_image


def _check_picture(folder: Path, image: dict[str, Any], annotations: list[dict[str, Any]], class_of: Mapping[Any, str],
                   with_labels: bool, found: _Finder) -> None:
    """Look at one picture's files; a usable one is added to the report."""
    name, before = Path(str(image["file_name"])).stem, len(found.report.defects)
    if any(class_of.get(a.get("category_id")) not in {*CLASS_NAMES, IGNORE_CLASS} for a in annotations):
        found(BAD, "class", name, f"{image['file_name']}: has packages of an unknown class")
        return
    try:
        entry = make_entry(folder, image, annotations, dict(class_of), with_labels)
        picture = decode_file(entry.rgb, cv2.IMREAD_COLOR, "a JPEG or PNG picture")
    except DatasetError as error:
        found(BAD, "picture", name, str(error))
        return
    except (KeyError, TypeError, ValueError) as error:
        found(BAD, "annotation", name, f"{image['file_name']}: a field of its annotations is missing or wrong ({error!r})")
        return
    height, width = picture.shape[:2]
    said = (image.get("width", width), image.get("height", height))
    if said != (width, height):
        found(BAD, "size", name, f"{entry.rgb}: expected {said[0]}x{said[1]} like the annotations, got {width}x{height}")
    _check_labels(entry, (height, width), found)
    depth_ok = _check_depth(entry, (height, width), found)
    if any(d.grade == BAD for d in found.report.defects[before:]):
        return
    report = found.report
    report.entries.append(entry if depth_ok else replace(entry, depth=None))
    report.hashes.append(file_sha256(entry.rgb))
    report.thumbnails.append(thumbnail(picture))
    for _, class_id, _ in entry.instances:
        report.packages[CLASS_NAMES[class_id - 1]] = report.packages.get(CLASS_NAMES[class_id - 1], 0) + 1


def _check_labels(entry: Entry, size: tuple[int, int], found: _Finder) -> None:
    ids = [i for i, _, _ in entry.instances]
    for double in sorted({i for i in ids if ids.count(i) > 1}):
        found(BAD, "id", entry.name, f"{entry.rgb}: two packages share the instance_id {double}")
    if not entry.instances:
        found(NOTE, "empty", entry.name, f"{entry.rgb}: no package is labelled")
    _check_outside(entry, size, found)
    drawn: NDArray[np.uint16] | None = None
    labels: NDArray[np.uint16] | None = None
    shapes = [a.get("segmentation") for a in entry.annotations]
    if not all(shapes) and entry.labels is None:
        lacking = sum(not shape for shape in shapes)
        found(BAD, "mask", entry.name, f"{entry.rgb}: {lacking} annotations have neither segmentation nor label picture")
        return
    try:
        drawn = draw_labels(entry, size) if all(shapes) else None
    except DatasetError as error:
        found(BAD if entry.labels is None else NOTE, "mask", entry.name, str(error))
    try:
        labels = read_labels(entry, size) if entry.labels else drawn
    except DatasetError as error:
        found(BAD, "mask", entry.name, str(error))
    if labels is None:
        return
    there = set(np.unique(labels).tolist()) - {0, IGNORE}
    if entry.labels is not None and there - set(ids):
        found(BAD, "mask", entry.name, f"{entry.labels}: label {min(there - set(ids))} has no annotation "
                                       f"({len(there - set(ids))} in all)")
    for i in sorted(set(ids) - there):
        found(NOTE, "mask", entry.name, f"{entry.labels or entry.rgb}: no pixel of package {i} is left (drawn over, or empty)")
    if entry.labels is not None and drawn is not None:
        for i in sorted(set(ids) & there):
            a, b = labels == i, drawn == i
            agreement = np.count_nonzero(a & b) / np.count_nonzero(a | b)
            if agreement < _MIN_AGREEMENT:
                found(NOTE, "mask", entry.name, f"{entry.labels}: label and segmentation of package {i} disagree (IoU "
                                                f"{agreement:.2f}); the label picture counts")


def _check_outside(entry: Entry, size: tuple[int, int], found: _Finder) -> None:
    for annotation in entry.annotations:
        shape = annotation.get("segmentation")
        try:
            points = np.concatenate([np.asarray(p, dtype=np.float64).reshape(-1, 2) for p in shape]) if isinstance(
                shape, list) and shape else np.zeros((1, 2))
        except (TypeError, ValueError):
            continue  # said when it is drawn
        if points.min() < -_OUTSIDE_PX or (points.max(axis=0) > np.array(size[::-1]) + _OUTSIDE_PX).any():
            found(NOTE, "mask", entry.name, f"{entry.rgb}: annotation {annotation.get('id')} reaches out of the picture; is it of "
                                            "another size?")


def _check_depth(entry: Entry, size: tuple[int, int], found: _Finder) -> bool:
    """True when the picture's depth, if it has any, can be used."""
    try:
        meta = read_json(entry.meta) if entry.meta else {}
        read_camera(entry, meta, size[1], size[0])
        if entry.depth is None:
            return True
        raw = read_plane(entry.depth, size)
    except DatasetError as error:
        found(DEPTH if entry.depth and str(entry.depth) in str(error) else BAD, "depth", entry.name, str(error))
        return False
    read = raw[raw > 0]
    if len(read) < _MIN_READ_SHARE * raw.size:
        found(DEPTH, "depth", entry.name, f"{entry.depth}: expected readings in {_MIN_READ_SHARE:.0%} of the pixels, got "
                                          f"{len(read) / raw.size:.1%}")
        return False
    median_m = float(np.median(read)) * float(meta.get("depth_unit_m", 0.001))
    if not _DEPTH_RANGE_M[0] <= median_m <= _DEPTH_RANGE_M[1]:
        found(DEPTH, "depth", entry.name, f"{entry.depth}: expected a median of {_DEPTH_RANGE_M[0]} to {_DEPTH_RANGE_M[1]} m, got "
                                          f"{median_m:.3g} m; is the unit right (meta: depth_unit_m)?")
        return False
    return True


def find_leaks(report: Report, judging: Report) -> list[tuple[Entry, Entry]]:
    """Pictures of a set that are, nearly or exactly, also in a judging set; empty belts do not count.

    Returns:
        (picture, picture of the judging set), one for each leaking picture.
    """
    leaks: dict[int, int] = {}
    known = {h: k for k, h in enumerate(judging.hashes)}
    for i, h in enumerate(report.hashes):
        if h in known:
            leaks[i] = known[h]
    for i, j in near_pairs(report.thumbnails, judging.thumbnails):
        leaks.setdefault(i, j)
    return [(report.entries[i], judging.entries[j]) for i, j in sorted(leaks.items())
            if report.entries[i].instances or judging.entries[j].instances]

"""Kept frames as a data set, which `perception dataset check`, `prelabel`, `evaluate` and `finetune` read; broken ones are left
out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from perception_node.capture import files
from perception_node.capture.mirror import mirror_agreement
from perception_node.capture.reading import read_all, reason_of
from perception_node.errors import DatasetError, FrameError
from perception_node.files import put_copy, put_json
from perception_node.learn.coco import annotate, document
from perception_node.learn.dataset import ANNOTATIONS, Entry, load_sample, make_entry, read_json
from perception_node.pipeline import SegmenterLike
from perception_node.types import CLASS_NAMES

MIRROR_MIN_SCORE = 0.3
"""Packages below do not count for the agreement with a mirror image. Source: `segment.score_threshold`."""


@dataclass(frozen=True)
class Exported:
    """What became of the frames: pictures and packages written; numbers left out since they agree with their mirror images; one
    line for each broken frame; agreement with the mirror image by number."""

    pictures: int
    packages: int
    agreeing: tuple[int, ...]
    broken: tuple[str, ...]
    mirrored: dict[int, float]


def export(store: Path, out: Path, reasons: Collection[str] = (), segmenter: SegmenterLike | None = None,
           below: float = 1.0, progress: bool = True) -> Exported:
    """Copy frames of a store, with the node's own labels as annotations.

    Args:
        store: its folder; a node may be writing there. out: folder to make. reasons: only frames of these, none = all.
        segmenter: looks at each frame and its mirror image; then only those whose answers agree less than `below`, 0..1, are taken.
        progress: show a bar.

    Raises:
        PerceptionError: no store, `out` has content, not one frame to write, or the disk is full.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(f"{out}: expected a folder that is new or empty")
    broken: list[str] = []
    chosen = [(number, meta) for number, meta in read_all(store, broken) if not reasons or reason_of(meta) in reasons]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    agreeing, mirrored, models = [], {}, set()
    for number, meta in tqdm(chosen, desc="export", unit="frame", disable=not (progress and chosen), leave=False):
        try:
            entry = _entry(store, number, meta)
            sample = load_sample(entry)
            shapes = annotate(sample.labels, sample.class_ids, _extra(meta), False)
            if segmenter is not None:
                mirrored[number] = round(mirror_agreement(segmenter, sample.frame, sample.belt_plane, MIRROR_MIN_SCORE), 4)
        except (DatasetError, FrameError) as error:
            broken.append(str(error))
            continue
        except (KeyError, TypeError, ValueError) as error:
            broken.append(f"{files.path_of(store, 'meta', number)}: a field of its packages is missing or wrong ({error!r})")
            continue
        if mirrored.get(number, -1.0) >= below:
            agreeing.append(number)
            continue
        for part in ("rgb", "depth", "labels", "scene"):
            if (path := files.path_of(store, part, number)).is_file():
                put_copy(path, out / part / path.name)
        put_json(out / "meta" / f"{number:04d}.json", {**meta, **_mirror_words(mirrored, number)})
        camera = sample.frame.camera
        images.append({"id": number, "file_name": f"rgb/{entry.rgb.name}", "width": camera.width, "height": camera.height})
        annotations += [{**shape, "image_id": number} for shape in shapes]
        models.add(str(meta.get("model_id", "unknown")))
    if not images:
        raise DatasetError(f"{store}: expected frames to write, found none among {len(chosen) + len(broken)}"
                           + (f" ({broken[0]})" if broken else ""))
    put_json(out / ANNOTATIONS, document(images, annotations, proposals_by=", ".join(sorted(models)), captured=str(store)))
    return Exported(len(images), len(annotations), tuple(agreeing), tuple(broken), mirrored)


def _entry(store: Path, number: int, meta: dict[str, Any]) -> Entry:
    """The frame as a picture of a data set whose annotations are the node's packages."""
    name = files.path_of(store, "rgb", number).name
    annotations = [{"id": k, "instance_id": int(i["id"]), "category_id": CLASS_NAMES.index(i["class"]) + 1,
                    "visible_fraction": float(i.get("visible_fraction", 1.0))} for k, i in enumerate(meta["instances"], 1)]
    entry = make_entry(store, {"file_name": f"rgb/{name}"}, annotations, dict(enumerate(CLASS_NAMES, 1)), True)
    if entry.labels is None:
        raise DatasetError(f"{files.path_of(store, 'labels', number)}: expected the frame's label picture, found none")
    scene = files.path_of(store, "scene", number)
    if scene.is_file():  # frames of before there were scenes have none
        read_json(scene)
    return entry


def _extra(meta: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return {int(i["id"]): {"visible_fraction": float(i.get("visible_fraction", 1.0)), "score": float(i.get("score", 1.0))}
            for i in meta["instances"]}


def _mirror_words(mirrored: dict[int, float], number: int) -> dict[str, float]:
    return {"mirror_agreement": mirrored[number]} if number in mirrored else {}


def load_segmenter(model: Path | None, runtime: str) -> SegmenterLike:
    """The segmenter that mirror images are shown to; None = the universal model. Errors as `segment.infer.Segmenter`."""
    from perception_node.segment.infer import Segmenter

    return Segmenter(model, runtime=runtime)

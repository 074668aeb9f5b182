"""`perception prelabel IMAGES --out DIR`: propose masks that annotators correct instead of drawing; COCO and LabelMe.

    DIR/annotations.json  the proposals (COCO 1.0; names as those of the files in DIR/rgb, by which CVAT finds its pictures)
    DIR/labelme/NAME.json the same for LabelMe: labelme DIR/rgb --output DIR/labelme
    DIR/rgb/ depth/ meta/ copies of the pictures, so that what comes back is a data set
    DIR/proposals/        what is already done: a killed run goes on from there

Files of a former run are never written over: a corrected LabelMe file stays.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from perception_node.arguments import file_to_write, folder_to_write, zero_to_one
from perception_node.errors import DatasetError, FrameError, PerceptionError
from perception_node.files import put, put_copy, put_json
from perception_node.learn.coco import annotate, document, outlines
from perception_node.learn.dataset import ANNOTATIONS, PICTURE_SUFFIXES, Entry, load_sample, make_entry, read_json
from perception_node.learn.labelme import labelme_document
from perception_node.segment.infer import Segmenter
from perception_node.segment.postprocess import above_score
from perception_node.segment.weights import file_sha256
from perception_node.types import CLASS_NAMES

_STATE = "proposals/state.json"


def find_pictures(paths: Sequence[Path], depth: Path | None) -> list[Entry]:
    """The pictures to label: files, and the JPEG and PNG files of folders (of their `rgb` folder where there is one).

    Args:
        paths: files and folders. depth: folder of depth pictures of the same names (uint16 PNG, mm), None = `depth` beside `rgb`.

    Raises:
        DatasetError: nothing there, or two pictures of one name.
    """
    files: list[Path] = []
    for path in paths:
        folder = path / "rgb" if (path / "rgb").is_dir() else path
        if not path.exists():
            raise DatasetError(f"{path}: expected pictures, found nothing")
        files += sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES) if folder.is_dir() else [path]
    if not files:
        raise DatasetError(f"{', '.join(map(str, paths))}: expected JPEG or PNG pictures, found none")
    if depth is not None and not depth.is_dir():
        raise DatasetError(f"--depth: expected a folder, found none at {depth}")
    entries: dict[str, Entry] = {}
    for file in files:
        entry = make_entry(file.parent, {"file_name": file.name}, (), {}, False)
        if depth is not None:
            entry = replace(entry, depth=depth / f"{file.stem}.png" if (depth / f"{file.stem}.png").is_file() else None)
        if entry.name in entries:
            raise DatasetError(f"{file}: expected pictures of different names, got another {entries[entry.name].rgb}")
        entries[entry.name] = entry
    return list(entries.values())


def propose(segmenter: Segmenter, entry: Entry, min_score: float, exact: bool) -> tuple[dict[str, Any], str]:
    """Segment one picture.

    Args:
        segmenter: the segmenter. entry: the picture. min_score: packages below are left out, 0..1. exact: run lengths.

    Returns:
        {"image": COCO image, "annotations": COCO annotations, ids left out}, and the text of the LabelMe file.

    Raises:
        DatasetError, FrameError: the picture or its depth is broken.
    """
    sample = load_sample(entry)
    found = above_score(segmenter.segment(sample.frame, sample.belt_plane), min_score)
    camera = sample.frame.camera
    class_ids = {i.label: CLASS_NAMES.index(i.class_name) + 1 for i in found.instances}
    scores = {i.label: round(i.score, 3) for i in found.instances}
    annotations = annotate(found.labels, class_ids, {k: {"score": s} for k, s in scores.items()}, exact)
    image = {"file_name": entry.rgb.name, "width": camera.width, "height": camera.height}  # as a CVAT task calls its pictures
    objects = [(CLASS_NAMES[a["category_id"] - 1],
                outlines(found.labels, a["instance_id"], 1.0) if exact else a["segmentation"],
                f"score {scores[a['instance_id']]:.2f}") for a in annotations]
    for annotation in annotations:
        del annotation["instance_id"]
    return ({"image": image, "annotations": annotations},
            labelme_document(f"../rgb/{entry.rgb.name}", camera.width, camera.height, objects))


def prelabel(segmenter: Segmenter, entries: Sequence[Entry], out: Path, min_score: float = 0.5, exact: bool = False,
             progress: bool = True) -> tuple[dict[str, Any], list[str]]:
    """Propose masks for pictures; goes on where a former call in the same folder ended.

    Args:
        segmenter: the segmenter. entries: the pictures, see `find_pictures`. out: folder to make or to go on in.
        min_score: packages below are left out, 0..1. exact: COCO run lengths instead of polygons. progress: show a bar.

    Returns:
        Figures as a JSON mapping, and one line for each picture that could not be read.

    Raises:
        DatasetError: the folder belongs to other settings or its annotations were edited. PerceptionError: the disk is full.
        ModelError: the model is broken.
    """
    state = {"model_id": segmenter.model_id, "min_score": min_score, "exact": exact}
    _check_state(out, state)
    put_json(out / _STATE, {**state, **_digest(out)})
    began, made, broken = time.monotonic(), 0, []
    for entry in tqdm(entries, desc="prelabel", unit="picture", disable=not progress):
        done = out / "proposals" / f"{entry.name}.json"
        if done.is_file():
            continue
        try:
            record, text = propose(segmenter, entry, min_score, exact)
        except (DatasetError, FrameError) as error:
            broken.append(str(error))
            continue
        put_copy(entry.rgb, out / "rgb" / entry.rgb.name)
        for source, folder in ((entry.depth, "depth"), (entry.meta, "meta")):
            if source is not None:
                put_copy(source, out / folder / source.name)
        if not (out / "labelme" / f"{entry.name}.json").exists():
            put(out / "labelme" / f"{entry.name}.json", text.encode())
        put_json(done, record)  # last: it says that the picture is done
        made += 1
    figures = _assemble(out, state)
    return {**figures, "made_now": made, "broken": broken, "seconds": round(time.monotonic() - began, 2)}, broken


def _digest(out: Path) -> dict[str, str]:
    path = out / ANNOTATIONS
    return {"sha256": file_sha256(path)} if path.is_file() else {}


def _check_state(out: Path, state: dict[str, Any]) -> None:
    if not (out / _STATE).is_file():
        if out.is_dir() and any(out.iterdir()):
            raise DatasetError(f"{out}: expected an empty folder or one that `perception prelabel` began, found other files")
        return
    old = read_json(out / _STATE)
    for key, value in state.items():
        if old.get(key) != value:
            raise DatasetError(f"{out}: was begun with {key} {old.get(key)!r}, got {value!r}; choose another folder")
    if (out / ANNOTATIONS).is_file() and old.get("sha256") not in (None, _digest(out)["sha256"]):
        raise DatasetError(f"{out / ANNOTATIONS}: was changed by someone else; rename it before new proposals are added")


def _assemble(out: Path, state: dict[str, Any]) -> dict[str, Any]:
    """Join the pictures' proposals into `annotations.json`; returns figures."""
    images, annotations = [], []
    for number, path in enumerate(sorted(p for p in (out / "proposals").glob("*.json") if p.name != Path(_STATE).name), 1):
        record = read_json(path)
        images.append({"id": number, **record["image"]})
        annotations += [{"image_id": number, **annotation} for annotation in record["annotations"]]
    put_json(out / ANNOTATIONS, document(images, annotations, description="proposals, not corrected yet",
                                         proposals_by=state["model_id"]))
    put_json(out / _STATE, {**state, **_digest(out)})
    names = [CLASS_NAMES[a["category_id"] - 1] for a in annotations]
    points = [len(p) // 2 for a in annotations if isinstance(a["segmentation"], list) for p in a["segmentation"]]
    return {"model_id": state["model_id"], "pictures": len(images), "packages": len(annotations),
            "by_class": {name: names.count(name) for name in CLASS_NAMES},
            "points_per_outline": round(sum(points) / len(points), 1) if points else None}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `perception prelabel`."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGES",
                        help="JPEG or PNG pictures, folders of them, or data sets")
    parser.add_argument("--out", type=folder_to_write, required=True, metavar="DIR",
                        help="folder for annotations.json (COCO), labelme/, rgb/; a broken run in it goes on")
    parser.add_argument("--depth", type=Path, metavar="FOLDER",
                        help="depth pictures of the same names (uint16 PNG, mm; default: the folder depth beside the folder rgb)")
    parser.add_argument("--form", choices=("polygons", "rle"), default="polygons",
                        help="COCO segmentations: outlines to drag, or exact run lengths (default: %(default)s)")
    parser.add_argument("--min-score", type=zero_to_one, default=0.5,
                        help="propose nothing below this score, 0..1 (default: %(default)s)")
    parser.add_argument("--model", type=Path, help=".onnx file (default: the universal model)")
    parser.add_argument("--runtime", default="auto", choices=("auto", "openvino", "onnxruntime", "torch"),
                        help="what runs the model")
    parser.add_argument("--json", type=file_to_write, help="write counts and time to this file")


def run(args: argparse.Namespace) -> int:
    """Propose; exit status 0, 1 when some pictures could not be read, 2 for bad input."""
    try:
        cv2.setNumThreads(1)
        entries = find_pictures(args.images, args.depth)
        segmenter = Segmenter(args.model, runtime=args.runtime)
        figures, broken = prelabel(segmenter, entries, args.out, args.min_score, args.form == "rle")
        for line in broken:
            print(f"prelabel: left out: {line}", file=sys.stderr)
        if not figures["pictures"]:
            raise DatasetError(f"{args.out}: expected one readable picture at least, found none of {len(entries)}")
        print(f"{args.out}: {figures['packages']} packages proposed in {figures['pictures']} pictures "
              f"({figures['made_now']} of them now, {figures['seconds']:.1f} s)\n"
              f"COCO: {args.out / ANNOTATIONS}\nLabelMe: labelme {args.out / 'rgb'} --output {args.out / 'labelme'}")
        if args.json:
            put_json(args.json, figures)
    except (PerceptionError, OSError) as error:
        print(f"prelabel: {error}", file=sys.stderr)
        return 2
    return 1 if broken else 0

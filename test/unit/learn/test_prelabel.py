"""Proposals that annotators correct: readable by everyone, never written over, resumable."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from perception_node.errors import DatasetError, ModelError
from perception_node.learn import prelabel as module
from perception_node.learn.check import check_dataset
from perception_node.learn.dataset import load_sample, read_dataset
from perception_node.learn.datasets import diff
from perception_node.learn.prelabel import find_pictures, prelabel
from perception_node.types import Frame, Instance, Segmentation


class Bright:
    """Finds bright patches; the last one is unlikely."""

    model_id = "bright 12345678"

    def __init__(self, stop_after: int = 99) -> None:
        self.seen: list[bool] = []
        self.stop_after = stop_after

    def segment(self, frame: Frame, plane: Any) -> Segmentation:
        if len(self.seen) == self.stop_after:
            raise KeyboardInterrupt
        self.seen.append(frame.depth_m is not None and plane is not None)
        count, labels = cv2.connectedComponents((frame.rgb.max(axis=2) > 100).astype(np.uint8))
        return Segmentation(labels.astype(np.uint16), tuple(
            Instance(k, ("box", "poly_bag")[k % 2], 0.9 if k < count - 1 else 0.3, (0, 0, 1, 1), 1) for k in range(1, count)))


def call(*words: object) -> int:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return module.run(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def bright(monkeypatch: pytest.MonkeyPatch) -> Bright:
    segmenter = Bright()
    monkeypatch.setattr(module, "Segmenter", lambda *_, **__: segmenter)
    return segmenter


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("form", ["polygons", "rle"])
def test_coco_and_labelme_say_what_was_found(dataset: Path, tmp_path: Path, bright: Bright, form: str) -> None:
    out = tmp_path / "job"
    assert call(dataset, "--out", out, "--form", form, "--json", tmp_path / "r.json") == 0
    assert bright.seen == [True] * 6
    expected = Bright()
    for entry, other in zip(read_dataset(out), read_dataset(out / "labelme"), strict=True):
        sample, same = load_sample(entry), load_sample(other)
        found = expected.segment(sample.frame, sample.belt_plane)
        wanted = np.where(found.labels <= 2, found.labels, 0) > 0
        for s in (sample, same):
            assert ((s.labels > 0) == wanted).mean() > 0.99
            assert sorted(s.class_ids.values()) == [1, 3]
            assert s.frame.depth_m is not None
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["pictures"], report["packages"], report["by_class"]["box"]) == (6, 12, 6)
    coco = json.loads((out / "annotations.json").read_text())
    assert all(isinstance(a["segmentation"], list if form == "polygons" else dict) for a in coco["annotations"])
    assert all(a["score"] == 0.9 for a in coco["annotations"])
    assert diff(out, out / "labelme")[0].total == 0
    assert {d.kind for d in check_dataset(out, progress=False).defects} == {"unchecked"}


def as_cvat(proposals: Path, uploaded: set[str], painted: int = 0) -> dict[str, Any]:
    """What CVAT makes of a COCO 1.0 file: import into a task of `uploaded` files, export as COCO 1.0.

    By its documentation (formats, "MS COCO Object Detection": polygons are imported, other fields become attributes) and by what
    its reader does: pictures are found by their path without suffix, the polygons of an annotation are a group and come back as
    one, ids are new. What is painted with the brush comes back as a crowd in run lengths.
    """
    coco = json.loads(proposals.read_text())
    frames = {Path(name).with_suffix("").as_posix(): name for name in sorted(uploaded)}
    place = {image["id"]: sorted(frames).index(Path(image["file_name"]).with_suffix("").as_posix()) + 1 for image in coco["images"]}
    size = {place[image["id"]]: (image["height"], image["width"]) for image in coco["images"]}
    out: list[dict[str, Any]] = []
    for annotation in coco["annotations"]:
        number, polygons = place[annotation["image_id"]], annotation["segmentation"]
        assert annotation["iscrowd"] == 0
        assert all(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in polygons)
        shape: Any = polygons
        if len(out) < painted:
            mask = np.zeros(size[number], np.uint8)
            for polygon in polygons:
                cv2.fillPoly(mask, [np.array(polygon, np.int32).reshape(-1, 2)], 1)
            change = np.flatnonzero(np.diff(mask.T.ravel(), prepend=0)).tolist()
            shape = {"size": list(mask.shape), "counts": np.diff([0, *change, mask.size]).tolist()}
        out.append({"id": len(out) + 1, "image_id": number, "category_id": annotation["category_id"], "segmentation": shape,
                    "area": 1.0, "bbox": annotation["bbox"], "iscrowd": int(isinstance(shape, dict)),
                    "attributes": {"occluded": False}})
    images = [{"id": k, "file_name": frames[stem], "width": size[k][1], "height": size[k][0], "license": 0}
              for k, stem in enumerate(sorted(frames), 1) if k in size]
    return {"licenses": [], "info": {"contributor": ""}, "categories": [{**c, "supercategory": ""} for c in coco["categories"]],
            "images": images, "annotations": out}


def test_there_and_back_through_cvat(dataset: Path, tmp_path: Path, bright: Bright, capsys: pytest.CaptureFixture[str]) -> None:
    """The pictures of a task are called as the files that were chosen: without a folder."""
    out = tmp_path / "job"
    assert call(dataset, "--out", out) == 0
    back, uploaded = out / "instances_default.json", {file.name for file in (out / "rgb").iterdir()}
    back.write_text(json.dumps(as_cvat(out / "annotations.json", uploaded)))
    total, changed, alone = diff(out, back)
    assert (total.packages, total.untouched, changed, alone) == (12, 12, {}, [])
    assert all(load_sample(entry).frame.depth_m is not None for entry in read_dataset(back))
    assert check_dataset(back, progress=False).defects == []
    back.write_text(json.dumps(as_cvat(out / "annotations.json", uploaded, painted=2)))
    assert diff(out, back)[0].packages == 10
    said = {defect.kind: defect.words for defect in check_dataset(back, progress=False).defects}
    assert "2 packages are crowds (iscrowd 1)" in said["crowd"]


def test_a_broken_run_goes_on_and_corrected_files_stay(dataset: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    entries = find_pictures([dataset / "rgb"], None)
    prelabel(Bright(), entries, whole, progress=False)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        prelabel(Bright(3), entries, broken, progress=False)  # type: ignore[arg-type]
    assert not (broken / "annotations.json").exists()
    (broken / "labelme" / "0001.json").write_text("corrected meanwhile")
    rest = Bright()
    figures = prelabel(rest, entries, broken, progress=False)[0]  # type: ignore[arg-type]
    assert len(rest.seen) == figures["made_now"] == 3
    (tmp_path / "expected").write_text("corrected meanwhile")
    one, two = tree(whole), tree(broken)
    assert two.pop("labelme/0001.json") == b"corrected meanwhile"
    del one["labelme/0001.json"]
    assert one == two


def test_what_cannot_be_gone_on_with_is_refused(dataset: Path, tmp_path: Path, bright: Bright,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "job"
    assert call(dataset, "--out", out) == 0
    assert call(dataset, "--out", out, "--min-score", 0.2) == 2
    assert "was begun with min_score 0.5, got 0.2" in capsys.readouterr().err
    coco = json.loads((out / "annotations.json").read_text())
    (out / "annotations.json").write_text(json.dumps(coco))
    assert call(dataset, "--out", out) == 2
    assert "was changed by someone else" in capsys.readouterr().err
    assert call(dataset, "--out", dataset) == 2
    assert "expected an empty folder" in capsys.readouterr().err


def test_broken_pictures_are_named_and_left_out(dataset: Path, tmp_path: Path, bright: Bright,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    (dataset / "rgb" / "0002.png").write_bytes((dataset / "rgb" / "0002.png").read_bytes()[:99])
    (dataset / "depth" / "0004.png").write_bytes(b"")
    assert call(dataset / "rgb", "--out", tmp_path / "job") == 1
    error = capsys.readouterr().err
    assert "left out: " in error
    assert "rgb/0002.png: expected a JPEG or PNG picture, the file is cut off after 99 bytes" in error
    assert "depth/0004.png: " in error
    assert len(read_dataset(tmp_path / "job")) == 4
    (tmp_path / "empty").mkdir()
    assert call(tmp_path / "empty", "--out", tmp_path / "x") == 2
    assert call(tmp_path / "none", "--out", tmp_path / "x") == 2
    assert call(dataset, "--depth", tmp_path / "none", "--out", tmp_path / "x") == 2
    shutil.copytree(dataset / "rgb", tmp_path / "same")
    assert call(dataset, tmp_path / "same", "--out", tmp_path / "x") == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 4
    assert "expected pictures of different names" in lines[3]
    assert not (tmp_path / "x").exists()


def test_depth_is_optional_and_may_lie_elsewhere(dataset: Path, tmp_path: Path, bright: Bright) -> None:
    shutil.move(dataset / "depth", tmp_path / "elsewhere")
    assert call(dataset / "rgb" / "0000.png", "--out", tmp_path / "a") == 0
    assert call(dataset / "rgb" / "0000.png", "--out", tmp_path / "b", "--depth", tmp_path / "elsewhere") == 0
    assert bright.seen == [False, True]
    assert not (tmp_path / "a" / "depth").exists()
    assert (tmp_path / "b" / "depth" / "0000.png").is_file()


def test_a_broken_model_is_one_line(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ModelError("model m.onnx: expected sha256 1, got 2")

    monkeypatch.setattr(module, "Segmenter", refuse)
    assert call(dataset, "--out", tmp_path / "job") == 2
    assert capsys.readouterr().err == "prelabel: model m.onnx: expected sha256 1, got 2\n"
    assert not (tmp_path / "job").exists()


def test_pictures_are_found_in_the_order_of_their_names(dataset: Path) -> None:
    assert [entry.name for entry in find_pictures([dataset], None)] == [f"{i:04d}" for i in range(6)]
    with pytest.raises(DatasetError, match="found nothing"):
        find_pictures([dataset / "rgb" / "x.png"], None)

"""Labelled pictures of several teams: every defect named, sets joined, corrections counted."""

import argparse
import base64
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from perception_node.errors import DatasetError
from perception_node.learn import datasets
from perception_node.learn.check import BAD, check_dataset
from perception_node.learn.coco import annotate
from perception_node.learn.corrections import Corrections, count_corrections
from perception_node.learn.dataset import IGNORE, load_sample, read_dataset
from perception_node.learn.labelme import labelme_document, read_labelme
from perception_node.learn.merge import merge, parse_mapping
from perception_node.learn.near import near_pairs, thumbnail

Make = Callable[..., Path]


def change(dataset: Path, edit: Any) -> None:
    path = dataset / "annotations.json"
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


def call(*words: object) -> int:
    parser = argparse.ArgumentParser()
    datasets.add_arguments(parser)
    return datasets.run(parser.parse_args([str(word) for word in words]))


def as_labelme(dataset: Path, edit: Any = None) -> Path:
    folder = dataset / "labelme"
    folder.mkdir()
    for entry in read_dataset(dataset):
        objects = [(("box", "padded_mailer", "poly_bag")[c - 1], a["segmentation"], "")
                   for (_, c, _), a in zip(entry.instances, entry.annotations, strict=True)]
        (folder / f"{entry.name}.json").write_text(labelme_document(f"../rgb/{entry.rgb.name}", 160, 120, objects))
    return folder


def test_a_sound_set_has_no_defects(dataset: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call("check", dataset, "--json", tmp_path / "report.json") == 0
    assert "6 of 6 pictures usable, 18 packages (6 box, 6 padded_mailer, 6 poly_bag), 0 defects" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.json").read_text())["defects"] == []


def test_goods_without_a_package_are_a_class_too(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = dataset / "annotations.json"
    path.write_text(path.read_text().replace('"name": "padded_mailer"', '"name": "tin"'))
    assert call("check", dataset) == 2
    assert call("merge", dataset, "--map", "tin=item", "--out", tmp_path / "all") == 0
    assert call("check", tmp_path / "all") == 0
    assert "(6 box, 6 item, 6 poly_bag), 0 defects" in capsys.readouterr().out
    assert {c for entry in read_dataset(tmp_path / "all") for _, c, _ in entry.instances} == {1, 3, 4}


def png(path: Path, edit: Any) -> None:
    cv2.imwrite(str(path), edit(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(("breakage", "words"), [
    (lambda d: (d / "rgb/0002.png").unlink(), "picture: .*0002.png: expected a JPEG or PNG picture, cannot be read"),
    (lambda d: cut(d / "rgb/0002.png"), "picture: .*0002.png: .* cut off after"),
    (lambda d: (d / "rgb/0002.png").write_bytes(b"no"), "picture: .*0002.png: .*cannot be decoded"),
    (lambda d: cut(d / "labels/0002.png"), "mask: .*labels/0002.png: .* cut off"),
    (lambda d: png(d / "labels/0002.png", lambda x: x[::2, ::2]), "mask: .*expected 160x120 like the colour picture, got 80x60"),
    (lambda d: png(d / "labels/0002.png", lambda x: np.where(x == 2, 9, x)), "mask: .*0002.png: label 9 has no annotation"),
    (lambda d: png(d / "labels/0002.png", lambda x: np.where(x == 2, 0, x)), "mask: .*no pixel of package 2 is left"),
    (lambda d: png(d / "labels/0002.png", lambda x: np.where(x == 2, 1, np.where(x == 1, 2, x))), "package 1 disagree .IoU 0.00"),
    (lambda d: png(d / "rgb/0002.png", lambda x: x[::2, ::2]), "size: .*expected 160x120 like the annotations, got 80x60"),
    (lambda d: png(d / "depth/0002.png", lambda x: x * 0), "depth: .*expected readings in 10% of the pixels, got 0.0%"),
    (lambda d: png(d / "depth/0002.png", lambda x: x // 100), "depth: .*expected a median of 0.1 to 10.0 m, got 0.01 m"),
    (lambda d: png(d / "depth/0002.png", lambda x: x[:-1]), "depth: .*depth/0002.png: expected 160x120"),
    (lambda d: (d / "meta/0002.json").write_text("[]"), "depth: .*meta/0002.json: expected K and belt_plane"),
    (lambda d: shutil.copy(d / "rgb/0001.png", d / "rgb/0002.png"), "duplicate: .*0002.png: the same file as .*0001.png"),
    (lambda d: png(d / "rgb/0002.png", lambda x: cv2.imread(str(d / "rgb/0001.png")) // 2 * 2), "duplicate: .*nearly the same"),
    (lambda d: change(d, lambda a: [a["categories"].append({"id": 4, "name": "crate"}), a["annotations"][7].update(category_id=4)]),
     "class: .*unknown class 'crate' of 1 annotations"),
    (lambda d: change(d, lambda a: a["annotations"].__delitem__(slice(6, 9))), "empty: .*0002.png: no package is labelled"),
    (lambda d: change(d, lambda a: a["annotations"][7].update(instance_id=1)), "id: .*two packages share the instance_id 1"),
    (lambda d: change(d, lambda a: a["annotations"][7].update(id=1)), "id: .*two annotations share the id 1"),
    (lambda d: change(d, lambda a: a["annotations"][7].update(image_id=99)), "id: .*annotation 8 is of image 99"),
    (lambda d: change(d, lambda a: a["annotations"][7].update(category_id=99)), "class: .*annotation 8 is of category 99"),
    (lambda d: change(d, lambda a: a["annotations"][7].update(segmentation=[["x", 1]])), "mask: .*segmentation of annotation 8"),
    (lambda d: change(d, lambda a: a["annotations"][7].update(segmentation=[[0, 0, 900, 0, 900, 90]])), "reaches out of"),
    (lambda d: change(d, lambda a: a["images"][2].update(id=1)), "id: .*0002.png: another image has the same id 1"),
    (lambda d: change(d, lambda a: a["images"][2].pop("file_name")), "annotation: .*image without id or file_name"),
    (lambda d: change(d, lambda a: a["annotations"][7].update(visible_fraction="x")), "annotation: .*0002.png: a field"),
    (lambda d: change(d, lambda a: a.update(info={"proposals_by": "m 12"})), "unchecked: .*proposals of m 12"),
])
def test_each_defect_is_named(dataset: Path, breakage: Any, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    breakage(dataset)
    assert call("check", dataset) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(re.search(words, line) for line in lines), lines


@pytest.mark.parametrize(("breakage", "words"), [
    (lambda d: shutil.rmtree(d), "expected a data set's folder or COCO file"),
    (lambda d: (d / "annotations.json").write_text('{"images": ['), "cannot be read"),
    (lambda d: change(d, lambda a: a.update(images=[])), "at least one picture, found none"),
    (lambda d: [shutil.rmtree(d / "labels"), change(d, lambda a: a.update(annotations=[]))],
     "expected labelled packages, found none in 6 pictures"),
    (lambda d: change(d, lambda a: a.update(annotations={})), "a field is missing or wrong"),
    (lambda d: [p.write_bytes(b"") for p in (d / "rgb").iterdir()], "one usable picture at least, found none"),
    (lambda d: change(d, lambda a: [c.update(name="x") for c in a["categories"]]), "found none .*unknown class 'x'"),
])
def test_an_unusable_set_is_one_line_and_status_2(dataset: Path, breakage: Any, words: str,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    breakage(dataset)
    assert call("check", dataset) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(words, error), error


def test_broken_labelme_files_are_named_and_forgotten_pictures_too(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = as_labelme(dataset)
    cut(folder / "0001.json")
    (folder / "0002.json").unlink()
    data = json.loads((folder / "0003.json").read_text())
    data["shapes"][0]["shape_type"] = "line"
    (folder / "0003.json").write_text(json.dumps(data))
    assert call("check", folder) == 1
    out = capsys.readouterr().out
    assert "0001.json: expected a LabelMe file, cannot be read" in out
    assert "0003.json: expected polygons, rectangles or masks, got a line labelled 'box'" in out
    assert "unlabelled: " in out
    assert "0002.png: is in the folder, but not in the annotations" in out
    assert "3 of 5 pictures usable" in out
    with pytest.raises(DatasetError, match="0001.json"):
        read_dataset(folder)


def test_labelme_files_are_a_data_set(dataset: Path) -> None:
    before = [load_sample(entry) for entry in read_dataset(dataset)]
    after = [load_sample(entry) for entry in read_dataset(as_labelme(dataset))]
    for a, b in zip(before, after, strict=True):
        assert np.array_equal(np.where(a.labels == IGNORE, 0, a.labels), b.labels)
        assert a.class_ids == b.class_ids
        assert b.frame.depth_m is not None
        assert b.belt_plane is not None


def test_labelme_rectangles_groups_masks_and_ignored_places(dataset: Path) -> None:
    folder = dataset / "labelme"
    folder.mkdir()
    mask = base64.b64encode(cv2.imencode(".png", np.full((5, 7), 255, np.uint8))[1]).decode()
    shapes = [{"label": "box", "shape_type": "rectangle", "points": [[30, 40], [10, 20]]},
              {"label": "poly_bag", "shape_type": "polygon", "group_id": 4, "points": [[50, 50], [60, 50], [60, 60]]},
              {"label": "poly_bag", "shape_type": "mask", "group_id": 4, "points": [[80, 50], [86, 54]], "mask": mask},
              {"label": "ignore", "shape_type": "polygon", "points": [[0, 0], [20, 0], [20, 30], [0, 30]]}]
    (folder / "0000.json").write_text(json.dumps({
        "imagePath": "..\\rgb\\0000.png", "imageHeight": 120, "imageWidth": 160, "shapes": shapes}))
    sample = load_sample(read_dataset(folder)[0])
    assert sample.class_ids == {1: 1, 2: 3}
    assert (sample.labels == 1).sum() == 21 * 21
    assert sample.labels[50, 60] == sample.labels[52, 83] == 2
    assert sample.labels[0, 0] == IGNORE
    assert sample.labels[25, 15] == 1
    shapes[0]["points"] = [[1, 2]]
    (folder / "0000.json").write_text(json.dumps({"imagePath": "../rgb/0000.png", "shapes": shapes[:1]}))
    with pytest.raises(DatasetError, match="0000.json: expected a LabelMe file, a field"):
        read_labelme([folder / "0000.json"])


def test_an_exported_coco_file_counts_before_label_pictures_and_crowds_are_ignored(dataset: Path) -> None:
    data = json.loads((dataset / "annotations.json").read_text())
    data["annotations"][0]["segmentation"] = [[0, 0, 9, 0, 9, 9, 0, 9]]
    data["annotations"][1]["iscrowd"] = 1
    export = dataset / "instances_default.json"
    export.write_text(json.dumps(data))
    old, new = (load_sample(read_dataset(path)[0]).labels for path in (dataset, export))
    assert (old == 1).sum() != 100
    assert (new == 1).sum() == 100
    assert (new == IGNORE).sum() == (old == 2).sum()


def test_polygons_keep_pieces_and_what_lies_inside() -> None:
    labels = np.zeros((90, 120), np.uint16)
    labels[10:70, 10:80] = 3
    labels[30:50, 30:60] = 5
    labels[10:70, 65:68] = 0
    found = annotate(labels, {3: 1, 5: 2}, {}, exact=False, tolerance_px=0.0)
    assert [record["instance_id"] for record in found] == [3, 5]
    assert len(found[0]["segmentation"]) == 2
    again = np.zeros_like(labels)
    for record in found:
        for polygon in record["segmentation"]:
            cv2.fillPoly(again, [np.int32(polygon).reshape(-1, 2)], record["instance_id"])
    assert np.array_equal(again, labels)


def test_merge_joins_maps_and_renumbers(
        dataset: Path, make_dataset: Make, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    other = make_dataset(tmp_path / "other", 4, seed=5, depth=False)
    change(other, lambda a: a["categories"].__setitem__(slice(0, 2), [{"id": 1, "name": "carton"}, {"id": 2, "name": "hand"}]))
    cut(other / "rgb/0003.png")
    shutil.copy(dataset / "rgb/0001.png", other / "rgb/0000.png")
    out = tmp_path / "all"
    assert call("merge", dataset, other, "--out", out, "--map", "carton=box", "hand=ignore", "--json", tmp_path / "m.json") == 1
    text = capsys.readouterr().out
    assert "left out, broken: " in text
    assert "other/rgb/0003.png" in text
    assert "other/rgb/0000.png: the same picture as" in text
    entries = read_dataset(out)
    assert len(entries) == 8
    data = json.loads((out / "annotations.json").read_text())
    assert [a["id"] for a in data["annotations"]] == list(range(1, 18 + 4 + 1))
    assert data["images"][6]["source"] == "other/0001.png"
    mine, theirs = load_sample(entries[0]), load_sample(entries[6])
    assert np.array_equal(mine.labels, load_sample(read_dataset(dataset)[0]).labels)
    assert mine.frame.depth_m is not None
    assert theirs.frame.depth_m is None
    assert sorted(theirs.class_ids.values()) == [1, 3]
    before = cv2.imread(str(other / "labels/0001.png"), cv2.IMREAD_UNCHANGED)
    assert (theirs.labels[before == 2] == IGNORE).all()
    assert check_dataset(out).defects == []
    assert json.loads((tmp_path / "m.json").read_text())["pictures"] == 8


def test_merge_refuses_what_would_go_wrong_and_writes_nothing(
        dataset: Path, make_dataset: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    judging = make_dataset(tmp_path / "judging", 3, seed=9)
    leak = cv2.imread(str(judging / "rgb/0001.png"))
    cv2.imwrite(str(dataset / "rgb/0004.png"), cv2.convertScaleAbs(leak, alpha=0.9))
    out = tmp_path / "all"
    assert call("merge", dataset, "--out", out, "--judging", judging) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "set/rgb/0004.png: is in the judging set, as" in error
    assert call("check", dataset, "--judging", judging) == 1
    assert "leak: " in capsys.readouterr().out
    assert not out.exists()
    assert call("merge", dataset, "--out", out, "--judging", judging, "--drop-leaks") == 0
    assert len(read_dataset(out)) == 5
    assert call("merge", dataset, "--out", out) == 2
    assert "it is there already" in capsys.readouterr().err
    change(dataset, lambda a: a["categories"][0].update(name="carton"))
    assert call("merge", dataset, "--out", tmp_path / "b") == 2
    assert "unknown class 'carton' of 6 annotations" in capsys.readouterr().err
    assert call("merge", dataset, "--out", tmp_path / "b", "--map", "carton=pallet") == 2
    assert "expected THEIRS=OURS" in capsys.readouterr().err
    monkeypatch.setattr("perception_node.learn.merge.annotate", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        merge([dataset], tmp_path / "b", parse_mapping(["carton=box"]), progress=False)
    assert not list(tmp_path.glob("*b*"))


def test_the_same_picture_is_known_again_and_another_is_not(dataset: Path) -> None:
    rng = np.random.default_rng(3)
    picture = cv2.resize(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
    moved = picture.copy()
    moved[100:160, 100:180] = picture[300:360, 400:480]
    copies = [cv2.convertScaleAbs(picture, alpha=0.8), cv2.resize(picture, (320, 240), interpolation=cv2.INTER_AREA),
              cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)]
    others = [moved, cv2.flip(picture, 1), np.full((480, 640, 3), 90, np.uint8)]
    one = thumbnail(picture)
    assert list(near_pairs([one], [thumbnail(p) for p in (*copies, *others)])) == [(0, 0), (0, 1), (0, 2)]
    assert list(near_pairs([thumbnail(p) for p in (picture, moved, copies[1])])) == [(0, 2)]


def test_corrections_are_counted() -> None:
    iou = np.array([[0.95, 0.0, 0.0, 0.0, 0.0], [0.0, 0.8, 0.0, 0.0, 0.0], [0.0, 0.0, 0.92, 0.0, 0.0], [0.0, 0.0, 0.0, 0.6, 0.0],
                    [0.0, 0.0, 0.0, 0.3, 0.2]])
    counted = count_corrections(iou, [1, 1, 1, 1, 2], [1, 1, 3, 2, 2])
    assert counted == Corrections(1, 5, untouched=1, reshaped=1, reclassified=1, both=1, added=1, removed=1)
    assert counted.total == 5
    assert (counted + counted).to_json()["untouched_share"] == 0.2
    assert (counted + counted).to_json()["corrections_per_picture"] == 5
    assert count_corrections(np.zeros((0, 2)), [], [1, 1]) == Corrections(1, 0, removed=2)


def test_diff_shows_what_an_annotator_changed(
        dataset: Path, make_dataset: Make, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    def edit(coco: dict[str, Any]) -> None:
        a = coco["annotations"]
        a[3]["category_id"] = 2  # picture 1: another class
        x, y, w, h = a[7]["bbox"]
        a[7]["segmentation"] = [[x, y, x + w - 9, y, x + w - 9, y + h - 1, x, y + h - 1]]  # picture 2: another outline
        a.append({**a[0], "id": 99, "instance_id": 4, "image_id": 3, "segmentation": [[0, 60, 9, 60, 9, 119, 0, 119]]})
        del a[12:14]  # picture 4: two were nothing

    corrected = json.loads((dataset / "annotations.json").read_text())
    edit(corrected)
    (dataset / "corrected.json").write_text(json.dumps(corrected))
    assert call("diff", dataset, dataset / "corrected.json", "--json", tmp_path / "d.json") == 0
    out = capsys.readouterr().out
    assert "6 pictures, 17 packages" in out
    assert "reshaped 1, reclassified 1, both 0, added 1, removed 2; 4 pictures changed" in out
    report = json.loads((tmp_path / "d.json").read_text())
    assert report["untouched"] == 14
    assert set(report["changed"]) == {"0001", "0002", "0003", "0004"}
    assert call("diff", dataset, dataset) == 0
    assert "100.0% needed no correction" in capsys.readouterr().out
    assert call("diff", dataset, make_dataset(tmp_path / "x", 1), "--iou", "0.2") == 2
    shutil.move(tmp_path / "x" / "rgb" / "0000.png", tmp_path / "x" / "rgb" / "elsewhere.png")
    change(tmp_path / "x", lambda a: a["images"][0].update(file_name="rgb/elsewhere.png"))
    assert call("diff", dataset, tmp_path / "x") == 2
    assert "found none of the same name" in capsys.readouterr().err


def test_defects_are_graded(dataset: Path) -> None:
    cut(dataset / "depth/0001.png")
    cut(dataset / "labels/0002.png")
    report = check_dataset(dataset, progress=False)
    assert [entry.name for entry in report.entries] == ["0000", "0001", "0003", "0004", "0005"]
    assert report.entries[1].depth is None
    assert [d.picture for d in report.defects if d.grade == BAD] == ["0002"]

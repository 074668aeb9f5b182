"""`perception capture`: what is listed and counted, and that what is exported is a data set."""

import json

import cv2
import numpy as np
import pytest

from perception_node import cli
from perception_node.capture.mirror import agreement, mirror_agreement
from perception_node.capture.store import Store
from perception_node.learn.check import BAD, DEPTH, check_dataset
from perception_node.types import Segmentation


@pytest.fixture
def folder(tmp_path, different):
    """Five frames, the second of them broken."""
    kept = Store(tmp_path / "capture", 1e9)
    for k, reason in enumerate(("failed_pick", "random", "random", "unsure", "request")):
        kept.keep(*different(k), reason, f"number {k}", (0.0, 0.0, -1.0, 1.2))
    kept.close()
    picture = tmp_path / "capture" / "rgb" / "0001.jpg"
    picture.write_bytes(picture.read_bytes()[:500])
    return tmp_path


def test_list_and_stats(folder, capsys):
    assert cli.main(["capture", "list", str(folder), "--reason", "random", "failed_pick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["0000", "0001", "0002"]
    assert lines[0].split(maxsplit=6)[1:4] == ["1970-01-01", "00:00:01", "failed_pick"]
    assert lines[0].endswith("number 0")
    assert cli.main(["capture", "stats", str(folder / "capture"), "--json", str(folder / "out.json")]) == 0
    assert "5 frames" in capsys.readouterr().out
    figures = json.loads((folder / "out.json").read_text())
    assert figures["reasons"] == {"failed_pick": 1, "random": 2, "request": 1, "unsure": 1}
    assert figures["packages"] == {"box": 10}


def test_the_folder_above_is_enough_unless_several_nodes_wrote_there(tmp_path, different, capsys):
    for name in ("left.perception", "right.perception"):
        kept = Store(tmp_path / name / "capture", 1e9)
        kept.keep(*different(0), "request", name)
        kept.close()
        status = cli.main(["capture", "list", str(tmp_path)])
        said = capsys.readouterr()
        assert (status, "left.perception" in said.out) == ((0, True) if name.startswith("left") else (2, False))
    assert "expected the frames of one node, found" in said.err
    assert "right.perception/capture" in said.err
    assert cli.main(["capture", "list", str(tmp_path / "right.perception")]) == 0
    assert "right.perception" in capsys.readouterr().out


def test_what_is_exported_is_a_data_set(folder, tmp_path, capsys, different):
    out = tmp_path / "out"
    assert cli.main(["capture", "export", str(folder), "--out", str(out)]) == 1  # one frame is broken
    said = capsys.readouterr()
    assert "4 pictures with 8 packages" in said.out
    assert "0001.jpg" in said.err
    assert said.err.count("broken frame") == 1
    report = check_dataset(out, progress=False)
    assert [entry.name for entry in report.entries] == ["0000", "0002", "0003", "0004"]
    assert not [defect for defect in report.defects if defect.grade in (BAD, DEPTH)]
    assert [defect.kind for defect in report.defects] == ["unchecked"]
    assert json.loads((out / "scene" / "0002.json").read_text())["model_id"] == "universal 1234"
    labels = cv2.imread(str(out / "labels" / "0003.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(labels, different(3)[1].segmentation.labels)
    assert cli.main(["capture", "export", str(folder), "--out", str(out)]) == 2
    assert "new or empty" in capsys.readouterr().err


@pytest.mark.parametrize(("breakage", "words"), [
    (lambda f: (f / "meta" / "0002.json").write_text("["), "meta/0002.json"),
    (lambda f: (f / "meta" / "0002.json").write_text('{"stamp_ns": 5, "instances": [{"id": 1, "class": "whale"}]}'),
     "meta/0002.json"),
    (lambda f: (f / "labels" / "0002.png").unlink(), "labels/0002.png"),
    (lambda f: (f / "scene" / "0002.json").write_text("{"), "scene/0002.json"),
    (lambda f: (f / "depth" / "0002.png").write_bytes(b"no picture"), "depth/0002.png"),
    (lambda f: cv2.imwrite(str(f / "labels" / "0002.png"), np.zeros((5, 7), np.uint16)), "labels/0002.png"),
])
def test_each_broken_frame_is_named_and_left_out(folder, tmp_path, capsys, breakage, words):
    breakage(folder / "capture")
    assert cli.main(["capture", "export", str(folder), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "3 pictures" in said.out
    assert words in said.err
    assert "Traceback" not in said.err
    assert not list((tmp_path / "out").rglob("0002.*"))


def test_bad_input_is_one_line(tmp_path, folder, capsys):
    for words in (["list", str(tmp_path / "none")], ["export", str(folder), "--out", str(tmp_path / "o"), "--mirrored", "2"],
                  ["export", str(folder), "--reason", "class_flip", "--out", str(tmp_path / "o")]):
        assert cli.main(["capture", *words]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()


class Sided:
    """Sees packages in the left half of the picture only."""

    model_id = "sided 0"

    def segment(self, frame, belt_plane=None):
        self.planes = [*getattr(self, "planes", []), None if belt_plane is None else belt_plane.tolist()]
        labels = (frame.rgb.max(axis=2) > 99).astype(np.uint16)
        labels[:, labels.shape[1] // 2:] = 0
        from perception_node.types import Instance
        box = Instance(1, "box", 0.9, (0, 0, 1, 1), 1)
        return Segmentation(labels, (box,) if labels.any() else ())


def test_disagreement_with_the_mirror_image(moment):
    segmenter = Sided()
    frame, _ = moment([(10, 30, 50, 60)], seed=None)
    assert mirror_agreement(segmenter, frame, np.array([0.6, 0.0, -0.8, 1.0]), 0.3) == 0.0
    assert segmenter.planes == [[0.6, 0.0, -0.8, 1.0], [-0.6, 0.0, -0.8, 1.0]]
    both, _ = moment([(10, 30, 50, 60), (110, 30, 150, 60)], seed=None)
    assert mirror_agreement(segmenter, both, None, 0.3) == 0.0  # each side's answer is about another package
    empty, _ = moment([], seed=None)
    assert mirror_agreement(segmenter, empty, None, 0.3) == 1.0


def test_agreement_is_panoptic_quality(moment):
    first = moment([(10, 10, 50, 50), (60, 10, 100, 50)])[1].segmentation
    second = moment([(10, 10, 50, 42), (60, 10, 100, 50)], classes=["box", "poly_bag"])[1].segmentation
    assert agreement(first, first) == 1.0
    assert agreement(first, second) == pytest.approx(0.8 / 2)  # one pair of IoU 0.8; the other is of two classes
    assert agreement(first, second, 0.95) == 1.0


def test_only_frames_that_disagree_are_exported(folder, tmp_path, monkeypatch, capsys):
    from perception_node.capture import command
    monkeypatch.setattr(command, "load_segmenter", lambda *_: Sided())
    out = tmp_path / "out"
    assert cli.main(["capture", "export", str(folder), "--reason", "failed_pick", "unsure", "--out", str(out), "--mirrored", "0.7",
                     "--json", str(tmp_path / "out.json")]) == 0
    done = json.loads((tmp_path / "out.json").read_text())
    assert done["pictures"] == 2
    assert json.loads((out / "meta" / "0000.json").read_text())["mirror_agreement"] == done["mirrored"]["0"] < 0.7

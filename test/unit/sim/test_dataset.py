"""What `synthesize` writes: layout, reproducibility, refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception_node.errors import PerceptionError
from perception_node.sim.dataset import IGNORE, encode_rle, millimetres
from perception_node.sim.synthesize import main, synthesize

pytest.importorskip("mujoco")
pytest.importorskip("numba")


def _decode_rle(text: str, height: int, width: int) -> np.ndarray:
    runs: list[int] = []
    position = 0
    while position < len(text):
        value, shift, more = 0, 0, True
        while more:
            chunk = ord(text[position]) - 48
            value |= (chunk & 0x1F) << shift
            more = bool(chunk & 0x20)
            position += 1
            shift += 5
            if not more and chunk & 0x10:
                value |= -1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    flat = np.repeat(np.arange(len(runs)) % 2, runs).astype(bool)
    return flat.reshape(width, height).T


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "set"
    synthesize(out, 5, seed=4, workers=1, width=320, height=240, progress=False)
    return out


def _bytes(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_every_picture_has_all_its_files(made: Path) -> None:
    for folder, ending in (("rgb", "jpg"), ("depth", "png"), ("depth_true", "png"), ("labels", "png"), ("meta", "json")):
        assert sorted(p.name for p in (made / folder).iterdir()) == [f"{n:04d}.{ending}" for n in range(5)]
    assert not list(made.rglob("*.part"))


def test_files_agree_with_each_other(made: Path) -> None:
    coco = json.loads((made / "annotations.json").read_text())
    assert [c["name"] for c in coco["categories"]] == ["box", "padded_mailer", "poly_bag", "item"]
    assert [a["id"] for a in coco["annotations"]] == list(range(1, len(coco["annotations"]) + 1))
    seen = 0
    for number in range(5):
        labels = cv2.imread(str(made / "labels" / f"{number:04d}.png"), cv2.IMREAD_UNCHANGED)
        depth = cv2.imread(str(made / "depth" / f"{number:04d}.png"), cv2.IMREAD_UNCHANGED)
        meta = json.loads((made / "meta" / f"{number:04d}.json").read_text())
        assert labels.shape == depth.shape == (240, 320)
        assert labels.dtype == depth.dtype == np.uint16
        by_id = {i["id"]: i for i in meta["instances"]}
        for label in set(np.unique(labels).tolist()) - {0, IGNORE}:
            assert by_id[label]["visible_area_px"] == int((labels == label).sum())
        for annotation in (a for a in coco["annotations"] if a["image_id"] == number):
            mask = _decode_rle(annotation["segmentation"]["counts"], 240, 320)
            assert np.array_equal(mask, labels == annotation["instance_id"])
            assert annotation["area"] >= 60
            seen += 1
    assert seen > 3


def test_poses_and_belt_plane_fit_the_true_depth(made: Path) -> None:
    for number in range(5):
        meta = json.loads((made / "meta" / f"{number:04d}.json").read_text())
        depth = cv2.imread(str(made / "depth_true" / f"{number:04d}.png"), cv2.IMREAD_UNCHANGED) / 1000.0
        labels = cv2.imread(str(made / "labels" / f"{number:04d}.png"), cv2.IMREAD_UNCHANGED)
        for instance in meta["instances"]:
            pose, size = np.array(instance["pose_cam"]), np.array(instance["obb_size_lwh_m"])
            assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-4)
            assert np.linalg.det(pose[:3, :3]) > 0
            rows, columns = np.nonzero(labels == instance["id"])
            if len(rows) < 200 or instance["class"] != "box":
                continue
            z = depth[rows, columns]
            points = np.stack([(columns - meta["cx"]) * z / meta["fx"], (rows - meta["cy"]) * z / meta["fy"], z])
            local = pose[:3, :3].T @ (points - pose[:3, 3:])
            assert (np.abs(local).max(1) < size / 2 + 0.02).all()
            plane = meta["belt_plane"]
            assert (np.array(plane["normal"]) @ points + plane["offset"] > -0.01).all()


def test_same_seed_gives_the_same_bytes_with_more_workers(made: Path, tmp_path: Path) -> None:
    synthesize(tmp_path / "again", 5, seed=4, workers=2, width=320, height=240, progress=False)
    assert _bytes(tmp_path / "again") == _bytes(made)


def test_another_seed_gives_other_pictures(made: Path, tmp_path: Path) -> None:
    synthesize(tmp_path / "other", 1, seed=5, width=320, height=240, progress=False)
    assert (tmp_path / "other/rgb/0000.jpg").read_bytes() != (made / "rgb/0000.jpg").read_bytes()


@pytest.mark.parametrize(("images", "workers"), [(0, 1), (-3, 1), (1, 0)])
def test_bad_numbers_are_refused(tmp_path: Path, images: int, workers: int) -> None:
    with pytest.raises(PerceptionError, match="expected 1 or more"):
        synthesize(tmp_path / "x", images, workers=workers, progress=False)
    assert not (tmp_path / "x").exists()


def test_a_folder_with_content_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    assert main([str(tmp_path), "--images", "1"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["keep.txt"]


def test_too_little_disk_is_said_before_starting(tmp_path: Path) -> None:
    with pytest.raises(PerceptionError, match="need about"):
        synthesize(tmp_path / "x", 10**10, progress=False)


def test_a_failed_write_leaves_nothing_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(PerceptionError, match="No space left"):
        synthesize(tmp_path / "x", 1, width=160, height=120, progress=False)
    assert not list(tmp_path.iterdir())


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".x.999999999.part" / "rgb").mkdir(parents=True)
    synthesize(tmp_path / "x", 1, width=160, height=120, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_pile_that_cannot_be_made_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from perception_node.sim import sample

    monkeypatch.setattr(sample.scenarios, "random_pile", lambda *_, **__: 1 / 0)
    with pytest.raises(PerceptionError, match="seed 0 cannot be made"):
        synthesize(tmp_path / "x", 1, width=160, height=120, progress=False)
    assert not list(tmp_path.iterdir())


def test_run_lengths_match_a_known_string() -> None:
    mask = np.zeros((3, 4), bool)
    mask[1, 1:3] = True
    assert np.array_equal(_decode_rle(encode_rle(mask), 3, 4), mask)
    assert np.array_equal(_decode_rle(encode_rle(~mask), 3, 4), ~mask)
    assert np.array_equal(_decode_rle(encode_rle(np.ones((480, 640), bool)), 480, 640), np.ones((480, 640), bool))


def test_millimetres_saturate_below_the_reserved_value() -> None:
    assert millimetres(np.array([[0.0, 1.2344, 90.0]])).tolist() == [[0, 1234, 65534]]

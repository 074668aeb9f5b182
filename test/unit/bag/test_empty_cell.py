"""`perception learn-empty`: a recording of the empty cell becomes a file; one that is not empty does not."""

import json
from dataclasses import replace

import numpy as np
import pytest

from perception_node.bag import empty_cell
from perception_node.bag.record import write_recording
from perception_node.cli import main
from perception_node.locate.empty_cell import load_empty_cell
from perception_node.types import Instance, Segmentation


class Same:
    """Takes the same rectangle for a package in every frame."""

    model_id = "same 00000000"

    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns

    def segment(self, frame, belt_plane=None):
        labels = np.zeros(frame.rgb.shape[:2], np.uint16)
        labels[:self.rows, :self.columns] = 1
        return Segmentation(labels, (Instance(1, "box", 0.9, (0, 0, self.columns, self.rows), self.rows * self.columns),))


@pytest.fixture
def told(monkeypatch):
    def tell(rows, columns):
        monkeypatch.setattr(empty_cell, "load_segmenter", lambda _: Same(rows, columns))
    return tell


def test_the_file_holds_what_stands_still(recording, scene, tmp_path, told, capsys):
    told(20, 16)
    out = tmp_path / "empty.npz"
    assert main(["learn-empty", str(recording), "--out", str(out), "--json", str(tmp_path / "numbers.json")]) == 0
    said = capsys.readouterr().out
    assert f"written: {out}" in said
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    plane = np.array(numbers.pop("belt_plane"))
    assert np.allclose(plane, [0.0, 0.0, -1.0, 1.0], atol=0.002)
    assert f"belt.plane: [{', '.join(f'{number:.5f}' for number in plane)}]" in said
    empty = load_empty_cell(out)
    assert empty.frames == len(scene[0])
    assert empty.taken.sum() == 20 * 16
    assert empty.depth_m[30, 2] == pytest.approx(1.0, abs=0.002)
    assert np.isnan(empty.depth_m[0, :3]).all()
    assert numbers == {
        "frames": 10, "depth_share": pytest.approx(float(np.isfinite(empty.depth_m).mean())),
        "taken_share": pytest.approx(320 / (48 * 32)), "written": True}


@pytest.mark.parametrize(("rows", "asked"), [(7, False), (20, True)])
def test_a_tenth_of_the_picture_deserves_a_look(recording, tmp_path, told, capsys, rows, asked):
    told(rows, 16)
    assert main(["learn-empty", str(recording), "--out", str(tmp_path / "empty.npz")]) == 0
    assert ("were there any on the belt?" in capsys.readouterr().out) == asked


def test_the_middle_plane_is_not_drawn_away_by_one_bad_picture():
    tilted = np.array([np.sin(0.1), 0.0, -np.cos(0.1), 1.2])
    found = empty_cell.middle_plane([np.array([0.0, 0.0, -1.0, 1.0 + step]) for step in (-0.001, 0.0, 0.001, 0.0)] + [tilted])
    assert np.allclose(found.plane, [0.0, 0.0, -1.0, 1.0], atol=1e-9)
    assert found.apart_m == pytest.approx(1.2 - np.cos(0.1))
    assert found.apart_rad == pytest.approx(0.1)


def test_a_picture_full_of_packages_is_no_empty_cell(recording, tmp_path, told, capsys):
    told(32, 40)
    assert main(["learn-empty", str(recording), "--out", str(tmp_path / "empty.npz")]) == 1
    assert "is the cell empty?" in capsys.readouterr().out
    assert not (tmp_path / "empty.npz").exists()


def test_too_short_or_missing_recordings_are_one_line(scene, tmp_path, told, capsys):
    told(4, 20)
    frames, truth = scene
    few = [replace(frame) for frame in frames[:4]]
    write_recording(tmp_path / "few", few, replace(truth, frames=truth.frames[:4]))
    for recording, words in ((tmp_path / "few", "expected 5 frames or more, got 4"), (tmp_path / "none", "none")):
        assert main(["learn-empty", str(recording), "--out", str(tmp_path / "empty.npz")]) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert words in said[-1]
        assert said[-1].startswith("perception: ")
    assert not (tmp_path / "empty.npz").exists()

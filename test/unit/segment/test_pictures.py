import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception_node.segment import pictures


def call(*words: object) -> int:
    parser = argparse.ArgumentParser()
    pictures.add_arguments(parser)
    return pictures.run(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(1)
    cv2.imwrite(str(tmp_path / "a.jpg"), rng.integers(0, 255, (120, 200, 3), dtype=np.uint8))
    cv2.imwrite(str(tmp_path / "a_depth.png"), rng.integers(900, 1000, (120, 200)).astype(np.uint16))
    return tmp_path / "a.jpg", tmp_path / "a_depth.png"


def test_writes_drawing_labels_and_json(files: tuple[Path, Path], tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call(files[0], "--depth", files[1], "--out", out, "--model", tiny_model, "--min-score", 0,
                "--json", tmp_path / "all.json") == 0
    drawn, labels = cv2.imread(str(out / "a.png")), cv2.imread(str(out / "a.labels.png"), cv2.IMREAD_UNCHANGED)
    packages = json.loads((out / "a.json").read_text())
    assert drawn.shape == (120, 200, 3)
    assert labels.dtype == np.uint16
    assert set(np.unique(labels)) - {0} == {p["label"] for p in packages}
    assert len(json.loads((tmp_path / "all.json").read_text())["pictures"]) == 1


def test_bad_input_is_one_line(files: tuple[Path, Path], tiny_model: Path, tmp_path: Path,
                               capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no")
    other = tmp_path / "small.png"
    cv2.imwrite(str(other), np.full((60, 100), 900, np.uint16))
    for words, expected in (((tmp_path / "none.jpg",), "found no file"), ((tmp_path / "broken.jpg",), "cannot be decoded"),
                            ((tmp_path,), "got a folder"), ((files[0], files[0]), "expected pictures of different names"),
                            ((files[0], "--depth", other), "100x60"), ((files[0], "--depth", files[0]), "one channel"),
                            ((files[0], "--depth", files[1], files[1]), "expected 1 pictures")):
        assert call(*words, "--out", tmp_path / "o", "--model", tiny_model) == 2
        error = capsys.readouterr().err
        assert expected in error
        assert error.count("\n") == 1

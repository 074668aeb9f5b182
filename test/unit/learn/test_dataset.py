import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from perception_node.errors import DatasetError
from perception_node.learn.cache import CACHE_IGNORE, cached
from perception_node.learn.dataset import IGNORE, load_sample, read_dataset


def change(dataset: Path, edit: Any) -> None:
    path = dataset / "annotations.json"
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


def test_reads_pictures_labels_depth_and_camera(dataset: Path) -> None:
    entries = read_dataset(dataset)
    sample = load_sample(entries[0])
    assert len(entries) == 6
    assert sample.labels.shape == (120, 160)
    assert sample.class_ids == {1: 1, 2: 2, 3: 3}
    assert sample.frame.camera.fx == 160
    assert sample.frame.depth_m is not None
    assert np.isclose(sample.frame.depth_m[0, 0], 1.0)
    assert sample.belt_plane is not None
    assert sample.belt_plane.tolist() == [0, 0, -1, 1]
    assert load_sample(entries[0], with_depth=False).frame.depth_m is None


def test_polygons_stand_in_for_label_pictures(dataset: Path) -> None:
    before = load_sample(read_dataset(dataset)[0]).labels
    shutil.rmtree(dataset / "labels")
    shutil.rmtree(dataset / "meta")
    after = load_sample(read_dataset(dataset)[0]).labels
    assert np.array_equal(after, np.where(before == IGNORE, 0, before))


@pytest.mark.parametrize(("breakage", "words"), [
    (lambda d: shutil.rmtree(d), "expected a data set's folder"),
    (lambda d: (d / "annotations.json").unlink(), "annotations.json: expected a JSON file"),
    (lambda d: (d / "annotations.json").write_text("{"), "cannot be read"),
    (lambda d: change(d, lambda a: a.update(images=[], annotations=[])), "at least one picture"),
    (lambda d: change(d, lambda a: a["categories"][0].update(name="crate")), "got \\['crate'\\]"),
    (lambda d: change(d, lambda a: a.pop("categories")), "missing or wrong"),
    (lambda d: [(d / "rgb" / f"000{i}.png").unlink() for i in (1, 4)], "2 files are missing: .*0001.png, .*0004.png"),
])
def test_broken_sets_are_named(dataset: Path, breakage: Any, words: str) -> None:
    breakage(dataset)
    with pytest.raises(DatasetError, match=words):
        read_dataset(dataset)


@pytest.mark.parametrize(("file", "content", "words"), [
    ("rgb/0000.png", b"no picture", "rgb/0000.png: expected a JPEG or PNG"),
    ("labels/0000.png", b"no picture", "labels/0000.png: expected a one-channel PNG"),
    ("meta/0000.json", b'{"K": [1, 2]}', "meta/0000.json: expected K"),
])
def test_broken_files_are_named(dataset: Path, file: str, content: bytes, words: str) -> None:
    (dataset / file).write_bytes(content)
    with pytest.raises(DatasetError, match=words):
        load_sample(read_dataset(dataset)[0])


def test_masks_of_another_size_and_of_no_class(dataset: Path) -> None:
    path = dataset / "labels" / "0000.png"
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(path), labels[::2, ::2])
    with pytest.raises(DatasetError, match="expected 160x120 like the colour picture, got 80x60"):
        load_sample(read_dataset(dataset)[0])
    labels[0, 0] = 9
    cv2.imwrite(str(path), labels)
    with pytest.raises(DatasetError, match="got also \\[9\\]"):
        load_sample(read_dataset(dataset)[0])


def test_cache_holds_what_the_files_hold(dataset: Path, tmp_path: Path) -> None:
    data = cached(dataset, tmp_path / "cache", progress=False)
    assert len(data) == 6
    assert data.rgb.shape == (6, 480, 640, 3)
    assert set(np.unique(data.labels[0])) == {0, 1, 2, 3, CACHE_IGNORE}
    assert data.class_ids[0, :4].tolist() == [0, 1, 2, 3]
    height, known = data.heights(0, data.planes[0, 0])
    grid = data.labels[0][::2, ::2]
    assert known.all()
    assert np.allclose(height[grid == 1].mean(), 0.15, atol=0.01)
    assert np.allclose(data.planes[:, 0], data.planes[:, 1], atol=1e-3)
    again = cached(dataset, tmp_path / "cache", progress=False)
    assert np.array_equal(again.rgb[3], data.rgb[3])
    assert len(list((tmp_path / "cache").iterdir())) == 1

"""The registry: sets named by content; whatever was changed, is broken or leaks is named."""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

import perception_node
from perception_node.cli import main
from perception_node.errors import DatasetError, ModelError
from perception_node.fleet.command import add_replay, add_set
from perception_node.fleet.registry import champion_of, held, read_registry, verify, write_registry
from perception_node.learn.content import dataset_sha256
from perception_node.learn.dataset import read_dataset
from perception_node.segment.weights import default_weights

DEMO = Path(perception_node.__file__).parent / "data" / "demo"
GOLDEN = '{"stamp_ns": 1, "failed": "one frame"}\n'


def register(registry, cell, data, split, **more):
    return add_set(registry, cell, data, split, "CC0-1.0", "drawn", {}, progress=False, **more)


def test_sets_are_known_by_content_and_stay_where_they_are(two_cells, capsys):
    registry = read_registry(two_cells)
    assert [cell.name for cell in registry.cells] == ["north", "south"]
    assert [cell.tolerance for cell in registry.cells] == [0.02, 0.02]
    assert {one.split for one in registry.cells[0].sets} == {"train", "judge"}
    assert all(not str(row["path"]).startswith("/") for row in registry.data["cells"]["north"]["sets"])
    assert set(verify(registry, progress=False)) == {one.path for cell in registry.cells for one in cell.sets}
    assert main(["fleet", "check", str(two_cells), "--processes", "1"]) == 0
    said = capsys.readouterr().out
    assert "north: 3 pictures to train, 3 to judge" in said
    assert f"champion: {default_weights()}\n" in said
    assert main(["fleet", "paths", str(two_cells), "--split", "train"]) == 0
    assert capsys.readouterr().out.strip() == str(two_cells.parent / "north" / "train")


def test_the_content_hash_is_of_the_content_alone(tmp_path, make_dataset):
    data = make_dataset(tmp_path / "a", 2)
    before = dataset_sha256(data, read_dataset(data))
    shutil.copytree(data, tmp_path / "b")
    (tmp_path / "b" / "notes.txt").write_text("beside it")
    assert dataset_sha256(tmp_path / "b", read_dataset(tmp_path / "b")) == before
    depth = cv2.imread(str(data / "depth" / "0001.png"), cv2.IMREAD_UNCHANGED)
    depth[0, 0] += 1
    cv2.imwrite(str(data / "depth" / "0001.png"), depth)
    assert dataset_sha256(data, read_dataset(data)) != before


def test_a_set_that_was_changed_or_is_gone_is_named(two_cells, capsys):
    labels = two_cells.parent / "south" / "judge" / "labels" / "0000.png"
    picture = cv2.imread(str(labels), cv2.IMREAD_UNCHANGED)
    picture[picture == 1] = 0
    picture[:5, :5] = 1
    cv2.imwrite(str(labels), picture)
    with pytest.raises(DatasetError, match=r"south/judge: expected content .*, got .*: the set was changed"):
        verify(read_registry(two_cells), progress=False)
    register(two_cells, "south", labels.parents[1], "judge", again=True)
    verify(read_registry(two_cells), progress=False)
    shutil.rmtree(labels.parents[1])
    assert main(["fleet", "check", str(two_cells), "--processes", "1"]) == 2
    assert "south/judge" in capsys.readouterr().err


def test_a_golden_replay_or_champion_that_was_changed_or_is_gone_is_named(two_cells, tmp_path):
    recording, golden, model = tmp_path / "monday", tmp_path / "monday.jsonl", tmp_path / "m.onnx"
    shutil.copytree(DEMO, recording)
    golden.write_text(GOLDEN)
    add_replay(two_cells, "north", recording, golden)
    verify(read_registry(two_cells), progress=False)
    golden.write_text("{} ")
    with pytest.raises(DatasetError, match=r"monday.jsonl: expected sha256 .*: it was changed"):
        verify(read_registry(two_cells), progress=False)
    shutil.rmtree(recording)
    with pytest.raises(DatasetError, match="monday: expected a recording and its golden replay, found none"):
        verify(read_registry(two_cells), progress=False)
    data = read_registry(two_cells).data
    write_registry(two_cells, {**data, "champion": {"model": model.name, "sha256": 64 * "0"}})
    with pytest.raises(ModelError, match=r"expected a file .*m.onnx, found none"):
        champion_of(read_registry(two_cells))
    for file in default_weights().parent.glob(f"{default_weights().stem}.*"):
        shutil.copyfile(file, tmp_path / file.name)
    write_registry(two_cells, {**data, "champion": {"model": default_weights().name, "sha256": 64 * "0"}})
    with pytest.raises(ModelError, match=r"expected sha256 0000.* as registered, got "):
        champion_of(read_registry(two_cells))


def test_a_replay_that_cannot_be_read_is_not_registered(two_cells, tmp_path, capsys):
    golden, text, before = tmp_path / "golden.jsonl", tmp_path / "notes.txt", two_cells.read_bytes()
    golden.write_text(GOLDEN)
    text.write_text("hello")
    for recording, results, words in ((text, golden, "got .txt"), (tmp_path, golden, "got a folder without any"),
                                      (DEMO, text, "the results of a replay"), (DEMO, tmp_path / "no", "results of a replay")):
        assert main(["fleet", "add-replay", str(two_cells), "north", str(recording), str(results)]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1
    assert two_cells.read_bytes() == before


def renamed(folder, name):
    path = folder / "annotations.json"
    path.write_text(path.read_text().replace('"box"', f'"{name}"'))
    return folder


def test_training_sets_are_merged_with_the_class_names_that_were_registered(two_cells, tmp_path, make_dataset, capsys):
    carton = renamed(make_dataset(tmp_path / "carton", 2, seed=40), "carton")
    add_set(two_cells, "south", carton, "train", "CC0-1.0", "drawn", {"carton": "box"}, progress=False)
    assert main(["fleet", "merge", str(two_cells), "--out", str(tmp_path / "all")]) == 0
    assert f"{tmp_path / 'all'}: 5 pictures, 15 packages from 2 sets" in capsys.readouterr().out
    found = [class_id for entry in read_dataset(tmp_path / "all") for _, class_id, _ in entry.instances]
    assert sorted(found) == [1] * 5 + [2] * 5 + [3] * 5
    assert main(["fleet", "merge", str(two_cells), "--out", str(tmp_path / "all")]) == 2
    assert "is there already" in capsys.readouterr().err

    other = renamed(make_dataset(tmp_path / "other", 2, seed=41), "carton")
    add_set(two_cells, "south", other, "train", "CC0-1.0", "drawn", {"carton": "poly_bag"}, progress=False)
    assert main(["fleet", "merge", str(two_cells), "--out", str(tmp_path / "more")]) == 2
    assert "expected one meaning of the class 'carton' in all training sets, got poly_bag and" in capsys.readouterr().err
    names = {"carton": "box", "poly_bag": "ignore"}
    add_set(two_cells, "south", other, "train", "CC0-1.0", "drawn", names, again=True, progress=False)
    assert main(["fleet", "merge", str(two_cells), "--out", str(tmp_path / "more")]) == 2
    said = capsys.readouterr().err
    assert "expected one meaning of the class 'poly_bag'" in said
    assert said.strip().count("\n") == 0
    assert not (tmp_path / "more").exists()


def test_training_pictures_of_any_cell_must_not_judge_any_cell(two_cells, tmp_path, make_dataset):
    before = two_cells.read_text()
    copy = make_dataset(tmp_path / "copy", 3, seed=10)  # as north's judging set
    for file in (copy / "rgb").iterdir():  # nearly: brighter
        cv2.imwrite(str(file), cv2.convertScaleAbs(cv2.imread(str(file)), alpha=1.05))
    with pytest.raises(DatasetError, match="3 training pictures are in judging sets"):
        register(two_cells, "south", copy, "train")
    assert two_cells.read_text() == before


def test_a_set_twice_a_broken_set_and_a_new_one_again_are_refused(two_cells, tmp_path, make_dataset):
    with pytest.raises(DatasetError, match="expected a set that is not registered"):
        register(two_cells, "south", tmp_path / "south" / "judge", "judge")
    fresh = make_dataset(tmp_path / "fresh", 2, seed=77)
    with pytest.raises(DatasetError, match="expected a set that is registered"):
        register(two_cells, "south", fresh, "judge", again=True)
    (fresh / "rgb" / "0001.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="0001.png"):
        register(two_cells, "south", fresh, "judge")


@pytest.mark.parametrize(("text", "words"), [
    ("", "expected a registry of format 1"), ("[1, 2]", "expected a registry of format 1"), ("format: 2", "got 2"),
    ("format: 1\ncells: {a: {tolerance: 7}}", "tolerance: expected 0 to 1, got 7"),
    ("format: 1\ncells: {a: {sets: [{path: x, split: test, sha256: s, licence: l, source: s}]}}", "expected split train or judge"),
    ("format: 1\ncells: {a: {sets: [{path: x, split: judge}]}}", "missing"), ("format: 1\nfleet: {}", "got 'fleet'"),
    ("format: 1\ncells: {a: {sets: [{path: x, split: judge, sha256: s, licence: l, source: s, map: {a: lorry}}]}}", "got 'lorry'"),
    ("format: 1\ncells: [a]", "wrong kind"), ("format: 1\nchampion: {model: x}\n: :", "cannot be read"),
    ("\x00", "cannot be read"),
])
def test_broken_registries_get_one_line(tmp_path, text, words, capsys):
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    assert main(["fleet", "check", str(path)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_two_writers_at_once(two_cells, tmp_path, make_dataset):
    program = ("import sys; from pathlib import Path; from perception_node.fleet.registry import held\n"
               "with held(Path(sys.argv[1])): print('holds', flush=True); sys.stdin.read()")
    other = subprocess.Popen([sys.executable, "-c", program, str(two_cells)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True)
    try:
        assert other.stdout.readline() == "holds\n"
        with pytest.raises(DatasetError, match="another process is changing it"):
            register(two_cells, "south", make_dataset(tmp_path / "more", 2, seed=5), "judge")
    finally:
        other.communicate(timeout=30)
    assert "more" not in two_cells.read_text()
    register(two_cells, "south", tmp_path / "more", "judge")
    assert "more" in two_cells.read_text()


def test_no_lock_is_left_behind_by_what_was_refused_or_done(two_cells, tmp_path, make_dataset):
    fresh = tmp_path / "new.yaml"
    with pytest.raises(DatasetError, match="expected a data set"):
        register(fresh, "south", tmp_path / "nowhere", "judge")
    register(two_cells, "south", make_dataset(tmp_path / "more", 2, seed=5), "judge")
    with pytest.raises(DatasetError, match="judging"):
        register(two_cells, "west", tmp_path / "more", "train")
    assert not list(tmp_path.rglob("*.lock"))


def test_a_lock_that_its_holder_has_just_taken_away_is_no_lock(tmp_path, monkeypatch):
    path = tmp_path / "fleet.yaml"
    lock = tmp_path / ".fleet.yaml.lock"
    locked = fcntl.flock

    def late(handle, how):
        lock.unlink()
        locked(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(DatasetError, match="another process"), held(path):
        pytest.fail("held with a file that nobody else sees")

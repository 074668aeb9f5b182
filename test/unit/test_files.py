"""Files are whole or not there, whatever happens while they are written."""

import json
import os

import cv2
import numpy as np
import pytest

from perception_node.errors import PerceptionError
from perception_node.files import aside, folder_aside, put, put_copy, put_json, put_png


def test_what_is_put_is_there_and_nothing_else(tmp_path):
    put(tmp_path / "new" / "text.txt", "Päckchen", durable=True)
    put(tmp_path / "new" / "bytes", b"\x00\xff")
    put_json(tmp_path / "new" / "figures.json", {"p50_ms": 1.5})
    put_copy(tmp_path / "new" / "bytes", tmp_path / "other" / "copy")
    assert (tmp_path / "new" / "text.txt").read_text(encoding="utf-8") == "Päckchen"
    assert (tmp_path / "other" / "copy").read_bytes() == b"\x00\xff"
    assert json.loads((tmp_path / "new" / "figures.json").read_text()) == {"p50_ms": 1.5}
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["bytes", "copy", "figures.json", "text.txt"]


@pytest.mark.parametrize("shape", [(6, 8, 3), (6, 8)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_come_back_as_they_were(tmp_path, shape, dtype):
    picture = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)
    put_png(tmp_path / "picture.png", picture)
    read = cv2.imread(str(tmp_path / "picture.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(picture, read[..., ::-1] if picture.ndim == 3 else read)


@pytest.mark.parametrize("durable", [False, True])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path, durable):
    path = tmp_path / "cell.yaml"
    put(path, "before")
    (tmp_path / ".cell.yaml.part").symlink_to("/dev/full")
    with pytest.raises(PerceptionError, match=r"cell\.yaml: cannot be written \(No space left on device\)$"):
        put(path, "after", durable=durable)
    assert [p.name for p in tmp_path.iterdir()] == ["cell.yaml"]
    assert path.read_text() == "before"


def test_a_durable_file_is_synced_before_and_its_folder_after_it_gets_its_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append("rename"), replace(old, new)))
    put(tmp_path / "frame.jpg", b"picture", durable=True)
    assert done == [str(tmp_path / ".frame.jpg.part"), "rename", str(tmp_path)]
    put(tmp_path / "frame.jpg", b"picture")
    assert done[3:] == ["rename"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("make", [aside, folder_aside])
def test_a_block_that_fails_leaves_nothing(tmp_path, make, error):
    def write():
        with make(tmp_path / "out") as part:
            (part / "half" if make is folder_aside else part).write_bytes(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert not list(tmp_path.iterdir())


def test_the_errors_of_other_files_keep_their_names(tmp_path):
    with pytest.raises(FileNotFoundError, match="no_such_source"), aside(tmp_path / "out") as part:
        part.write_bytes((tmp_path / "no_such_source").read_bytes())
    with pytest.raises(PerceptionError, match=r"no_such_source: cannot be read \(No such file or directory\)"):
        put_copy(tmp_path / "no_such_source", tmp_path / "out")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PerceptionError, match=r"file/out: cannot be written \(Not a directory\)"):
        put(tmp_path / "file" / "out", b"")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_copy_that_is_there_stays(tmp_path):
    (tmp_path / "source").write_bytes(b"same size")
    put_copy(tmp_path / "source", tmp_path / "copy")
    inode = (tmp_path / "copy").stat().st_ino
    put_copy(tmp_path / "source", tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_ino == inode
    (tmp_path / "source").write_bytes(b"another size")
    put_copy(tmp_path / "source", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"another size"


def test_a_folder_appears_whole_and_what_dead_processes_left_goes(tmp_path):
    for owner in ("999999999", str(os.getpid()), "1"):
        (tmp_path / f".out[1].{owner}.part" / "rgb").mkdir(parents=True)
    (tmp_path / ".out1.999999999.part").mkdir()
    (tmp_path / "out[1]").mkdir()
    with folder_aside(tmp_path / "out[1]") as part:
        (part / "file").write_bytes(b"whole")
        assert not list((tmp_path / "out[1]").iterdir())
    assert sorted(p.name for p in tmp_path.iterdir()) == [".out1.999999999.part", ".out[1].1.part", "out[1]"]
    assert [p.name for p in (tmp_path / "out[1]").iterdir()] == ["file"]

"""Frames on disk: whole or not there, no picture twice, within the budget, one writer; and the thread that writes."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception_node.capture import files, store
from perception_node.capture.desk import Desk
from perception_node.capture.keeper import WAITING, Keeper
from perception_node.capture.reading import read_all
from perception_node.capture.store import Store
from perception_node.config import from_flat
from perception_node.errors import PerceptionError

MANY = 1e9


def names(folder):
    return sorted(path.name for path in (folder / "meta").glob("*.json"))


def test_a_kept_frame_is_whole(tmp_path, different):
    frame, scene = different(0)
    kept = Store(tmp_path, MANY).keep(frame, scene, "failed_pick", "dropped ../../x", (0.0, 0.0, -1.0, 1.2))
    assert (kept.number, kept.why_not) == (0, "")
    labels = cv2.imread(str(tmp_path / "labels" / "0000.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(labels, scene.segmentation.labels)
    assert (cv2.imread(str(tmp_path / "depth" / "0000.png"), cv2.IMREAD_UNCHANGED) == 1000).all()
    meta = json.loads((tmp_path / "meta" / "0000.json").read_text())
    assert (meta["reason"], meta["note"], meta["model_id"]) == ("failed_pick", "dropped ../../x", scene.model_id)
    assert [i["visible_fraction"] for i in meta["instances"]] == [0.75, 0.75]
    published = json.loads((tmp_path / "scene" / "0000.json").read_text())
    assert published["stamp_ns"] == frame.stamp_ns
    assert [g["terms"] for g in published["grasps"]] == [{"seal": 0.5}] * 2
    assert [r["reason"] for r in published["rejections"]] == ["too wide: 0.3 m"] * 2
    assert published["tracks"][1]["size_m"] == list(scene.tracks[1].size_m)
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("part", list(files.SUFFIXES))
def test_a_power_cut_costs_one_frame(tmp_path, different, monkeypatch, part):
    """What is on the disk when the writing of any file ends half-way: the frames before it, and nothing of this one."""
    first = Store(tmp_path, MANY)
    for k in range(2):
        first.keep(*different(k), "unsure", "")
    replace = os.replace

    class PowerCut(BaseException):
        pass

    def cut(source, target):
        if str(target).endswith(f"{part}/0002{files.SUFFIXES[part]}"):
            raise PowerCut
        replace(source, target)

    monkeypatch.setattr(os, "replace", cut)
    with pytest.raises(PowerCut):
        first.keep(*different(2), "unsure", "")
    monkeypatch.undo()
    first.close()
    assert list(tmp_path.rglob(".0002*.part"))
    again = Store(tmp_path, MANY)
    assert len(again) == 2
    assert not list(tmp_path.rglob("*0002*"))
    assert again.keep(*different(2), "unsure", "").number == 2
    assert again.keep(*different(1), "unsure", "").why_not == "duplicate"  # known from before the cut


def test_a_killed_writer_leaves_whole_frames(tmp_path):
    """A real process, ended by SIGKILL while it writes; what is there afterwards can be read, and nothing else is there."""
    program = ("import sys\nfrom pathlib import Path\nsys.path.insert(0, sys.argv[2])\nfrom conftest import moment\n"
               "from perception_node.capture.store import Store\nkept = Store(Path(sys.argv[1]), 1e9)\nk = 0\n"
               "while True:\n    kept.keep(*moment([(10, 8, 50, 44)], stamp_ns=k, seed=k), 'request', '')\n    k += 1\n"
               "    if k == 3: print('writes', flush=True)\n")
    writer = subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(Path(__file__).parent)], stdout=subprocess.PIPE,
                              text=True)
    try:
        assert writer.stdout.readline() == "writes\n"
    finally:
        writer.kill()
        writer.communicate(timeout=60)
    again = Store(tmp_path, MANY)
    broken = []
    kept = [number for number, _ in read_all(tmp_path, broken)]
    assert (kept, broken) == (list(range(len(again))), [])
    assert len(kept) >= 3
    for part, suffix in files.SUFFIXES.items():
        assert sorted(path.name for path in (tmp_path / part).iterdir()) == [f"{number:04d}{suffix}" for number in kept]
        if suffix != ".json":
            assert all(cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None for path in (tmp_path / part).iterdir())
    again.close()


def test_the_same_picture_is_kept_once_unless_asked_for_or_more_useful(tmp_path, different):
    frame, scene = different(1)
    kept = Store(tmp_path, MANY)
    assert kept.keep(frame, scene, "random", "").number == 0
    assert kept.keep(frame, scene, "random", "").why_not == "duplicate"
    assert kept.keep(frame, scene, "failed_pick", "").number == 1  # takes the place of the first
    assert names(tmp_path) == ["0001.json"]
    assert kept.keep(frame, scene, "split_or_merge", "").why_not == "duplicate"
    assert [kept.keep(frame, scene, "request", "").number for _ in range(2)] == [2, 3]
    assert kept.used_bytes == sum(p.stat().st_size for p in tmp_path.rglob("*.*") if p.is_file() and p.name != ".lock")


def test_small_pictures_are_found_among_many_and_forgotten():
    known = store._Smalls()
    pictures = np.random.default_rng(5).standard_normal((1100, 3072)).astype(np.float32)
    for number, picture in enumerate(pictures):
        known.add(number, picture)
    assert [known.alike(pictures[n]) for n in (0, 499, 500, 1099)] == [[0], [499], [500], [1099]]
    for number in (0, 1099, 700):
        known.remove(number)
    assert [known.alike(pictures[n]) for n in (0, 1099, 700, 1098, 1)] == [[], [], [], [1098], [1]]


def test_moved_packages_are_another_picture(tmp_path, moment):
    kept = Store(tmp_path, MANY)
    for x in (10, 30, 50):
        assert kept.keep(*moment([(x, 30, x + 60, 80)]), "random", "").why_not == ""


def test_the_budget_is_kept_by_the_oldest_of_the_least_useful(tmp_path, different):
    size = sum(map(len, files.encode(*different(0), "request", "").values()))
    kept = Store(tmp_path, 4.5 * size)
    reasons = ["random", "failed_pick", "random", "unsure"]
    for k, reason in enumerate(reasons):
        assert kept.keep(*different(k), reason, "").number == k
    assert kept.keep(*different(4), "unsure", "").number == 4
    assert names(tmp_path) == ["0001.json", "0002.json", "0003.json", "0004.json"]
    assert kept.keep(*different(5), "class_flip", "").number == 5
    assert kept.keep(*different(6), "class_flip", "").number == 6
    assert names(tmp_path) == ["0001.json", "0004.json", "0005.json", "0006.json"]
    refused = kept.keep(*different(7), "random", "")
    assert (refused.number, refused.why_not) == (None, "budget")
    assert "more useful" in refused.words
    assert kept.used_bytes <= 4.5 * size
    kept.close()
    smaller = Store(tmp_path, 2.5 * size)  # a budget that was made smaller holds from the next frame on
    assert smaller.keep(*different(8), "failed_pick", "").number == 7
    assert names(tmp_path) == ["0001.json", "0007.json"]


def test_a_broken_frame_goes_first_and_is_named(tmp_path, different):
    kept = Store(tmp_path, MANY)
    for k in range(3):
        kept.keep(*different(k), "failed_pick", "")
    kept.close()
    (tmp_path / "meta" / "0001.json").write_text("{")
    broken = []
    assert [number for number, _ in read_all(tmp_path, broken)] == [0, 2]
    assert len(broken) == 1
    assert "0001.json" in broken[0]
    size = sum(map(len, files.encode(*different(3), "request", "").values()))
    again = Store(tmp_path, 3.5 * size)
    again.keep(*different(3), "random", "")
    assert names(tmp_path) == ["0000.json", "0002.json", "0003.json"]


def test_two_writers_are_refused(tmp_path, different):
    first = Store(tmp_path, MANY)
    with pytest.raises(PerceptionError, match=f"process {os.getpid()} writes there"):
        Store(tmp_path, MANY)
    program = ("import sys; from pathlib import Path; from perception_node.capture.store import Store\n"
               "try: Store(Path(sys.argv[1]), 1e9)\nexcept Exception as error: print(error)")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True)
    assert f"process {os.getpid()} writes there" in done.stdout
    first.close()
    Store(tmp_path, MANY).close()


@pytest.mark.parametrize("fault", ["nearly full", "full while writing", "full from the first byte on"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, different, monkeypatch, fault):
    kept = Store(tmp_path, MANY)
    kept.keep(*different(0), "random", "")
    with monkeypatch.context() as patch:
        if fault == "nearly full":
            patch.setattr(store, "MIN_FREE_BYTES", 10**18)
        elif fault == "full from the first byte on":
            (tmp_path / "rgb" / ".0001.jpg.part").symlink_to("/dev/full")
        else:
            def full(*_):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            patch.setattr(os, "fsync", full)
        with pytest.raises(PerceptionError, match="free disk" if fault == "nearly full" else "No space left") as caught:
            kept.keep(*different(1), "random", "")
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*0001*"))
    assert kept.keep(*different(1), "random", "").number == 1


def test_the_thread_writes_and_survives_a_full_disk(tmp_path, different, monkeypatch):
    keeper = Keeper(tmp_path / "store", MANY)
    answers = []
    come = threading.Semaphore(0)

    def answer(verdict):
        answers.append(verdict)
        come.release()

    monkeypatch.setattr(store, "MIN_FREE_BYTES", 10**18)
    assert keeper.offer(*different(0), "request", "", answer)
    assert come.acquire(timeout=30)
    assert "free disk" in answers[0]
    assert keeper.failure == answers[0]
    monkeypatch.undo()
    assert keeper.offer(*different(0), "request", "", answer)
    assert come.acquire(timeout=30)
    assert answers[1].number == 0
    assert keeper.failure == ""
    keeper.close()
    assert (keeper.counts["failed"], keeper.counts["kept"], keeper.frames) == (1, 1, 1)
    Store(tmp_path / "store", MANY).close()  # the lock is free again


def test_who_offers_never_waits(tmp_path, different, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def slow(*args):
        begun.set()
        assert go_on.wait(30)
    monkeypatch.setattr(files, "write", slow)
    keeper = Keeper(tmp_path, MANY)
    assert keeper.offer(*different(0), "random", "")
    assert begun.wait(30)
    taken = [keeper.offer(*different(k), "random", "") for k in range(1, WAITING + 3)]
    assert taken == [True] * WAITING + [False] * 2
    assert keeper.counts["busy"] == 2
    go_on.set()
    keeper.close()
    assert keeper.counts["kept"] == WAITING + 1


def test_another_writer_is_said_at_once_and_a_missing_folder_is_not_made(tmp_path):
    held = Store(tmp_path / "one", MANY)
    keeper, idle = Keeper(tmp_path / "one", MANY), Keeper(tmp_path / "two", MANY)
    for each in (keeper, idle):
        each.close()
    held.close()
    assert "writes there" in keeper.failure
    assert (idle.failure, (tmp_path / "two").exists()) == ("", False)


def test_the_desk_keeps_failed_picks_rules_and_requests(tmp_path, different):
    config = from_flat({"capture.rules": ["failed_pick", "unsure"], "capture.unsure_low": 0.85, "capture.unsure_high": 0.95,
                        "capture.interval_s": 100.0})
    desk = Desk(config, tmp_path)
    pairs = [different(k) for k in range(3)]
    for frame, scene in pairs:
        desk.seen(scene, frame)
    desk.failed(pairs[1][1].stamp_ns, "suction of track 1: dropped")
    desk.failed(5, "suction of track 1: dropped")
    with pytest.raises(PerceptionError, match="at most 500"):
        desk.request(*pairs[2], "x" * 501, lambda verdict: None)
    desk.request(*pairs[2], "by hand", lambda verdict: None)
    desk.close()
    found = {meta["reason"]: (meta["stamp_ns"], meta["note"]) for _, meta in read_all(tmp_path, [])}
    assert found == {"unsure": (pairs[0][1].stamp_ns, "box 1 scored 0.90, box 2 scored 0.90"),
                     "failed_pick": (pairs[1][1].stamp_ns, "suction of track 1: dropped"),
                     "request": (pairs[2][1].stamp_ns, "by hand")}
    assert desk.too_late == 1
    assert 0 < desk.cost_ms()[0] <= desk.cost_ms()[1]


def test_a_fault_in_a_rule_costs_no_frame(tmp_path, different):
    frame, scene = different(0)
    desk = Desk(from_flat({"capture.rules": ["unsure"]}), tmp_path / "none")
    desk.seen(None, frame)
    assert "AttributeError" in desk.fault
    desk.close()

"""Outcomes and captures: what is kept, what is refused, and that nothing leaves its folder."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from types import SimpleNamespace as Thing

import numpy as np
import pytest

from perception_node.bench.publish import full_scene
from perception_node.capture.store import Store
from perception_node.errors import PerceptionError
from perception_node.geometry import quaternions_xyzw
from perception_node.ros.outcomes import Outcomes, output_folder


@pytest.fixture
def scene_and_frame():
    return full_scene(64, 48, 4)


def pose_at(x, y=0.0, z=1.0):
    return Thing(position=Thing(x=x, y=y, z=z), orientation=Thing(x=0.0, y=0.0, z=0.0, w=1.0))


def request(grasp, **changes):
    pose = pose_at(*grasp.T_cam_grasp[:3, 3].tolist())
    message = Thing(kind=grasp.kind, label=grasp.label, track_id=grasp.track_id, pose=pose, width_m=grasp.width_m,
                    score=grasp.score, degraded=False, term_names=list(grasp.terms), term_values=list(grasp.terms.values()))
    whole = Thing(grasp=message, success=True, failure="", has_weight=False, weight_kg=0.0)
    for name, value in changes.items():
        setattr(message if hasattr(message, name) else whole, name, value)
    return whole


def test_outcome_is_appended(tmp_path, scene_and_frame):
    scene, _ = scene_and_frame
    outcomes = Outcomes(tmp_path / "new")
    outcomes.remember(scene)
    first = outcomes.report(request(scene.grasps[0]), 5, scene.stamp_ns)  # before and after it was published
    outcomes.pack(scene)
    outcomes.report(request(scene.grasps[1]), 5, scene.stamp_ns)
    assert not any(kept.scene is scene for kept in outcomes._scenes.values())  # megabytes
    lines = [json.loads(line) for line in first.path.read_text().splitlines()]
    assert len(lines) == 2
    assert lines[0] == first.entry
    assert lines[0]["terms"] == dict(scene.grasps[0].terms)
    assert lines[0]["weight_kg"] is None
    assert lines[0]["class_name"] == "box"


def test_a_report_that_comes_twice_counts_once(tmp_path, scene_and_frame):
    """Clients of a service repeat a call whose answer they missed."""
    scene, _ = scene_and_frame
    outcomes = Outcomes(tmp_path)
    outcomes.remember(scene)
    fail = {"success": False, "failure": "dropped", "has_weight": True, "weight_kg": 0.5}
    first = outcomes.report(request(scene.grasps[0], **fail), 5, scene.stamp_ns)
    outcomes.pack(scene)
    again = outcomes.report(request(scene.grasps[0], **fail), 6, scene.stamp_ns)
    assert (first.known, again.known) == (False, True)
    for other in ({"success": True}, fail | {"failure": "not_gripped"}, fail | {"weight_kg": 0.4}):
        with pytest.raises(PerceptionError, match=r"expected one for each grasp of a scene, got .* after dropped with 0\.5 kg"):
            outcomes.report(request(scene.grasps[0], **other), 7, scene.stamp_ns)
    assert not outcomes.report(request(scene.grasps[1], **fail), 8, scene.stamp_ns).known  # another pick
    assert [json.loads(line)["stamp_ns"] for line in outcomes.path.read_text().splitlines()] == [5, 8]
    outcomes.remember(scene)  # a looped recording: the scene comes again
    assert not outcomes.report(request(scene.grasps[0]), 9, scene.stamp_ns).known


def test_what_was_not_written_is_not_known(tmp_path, scene_and_frame):
    scene, _ = scene_and_frame
    outcomes = Outcomes(tmp_path / "folder")
    outcomes.remember(scene)
    (tmp_path / "folder").write_text("in the way")
    with pytest.raises(PerceptionError, match="cannot be written"):
        outcomes.report(request(scene.grasps[0]), 5, scene.stamp_ns)
    (tmp_path / "folder").unlink()
    assert not outcomes.report(request(scene.grasps[0]), 6, scene.stamp_ns).known


def test_outcomes_from_before_the_tracker_started_over_are_told_apart(tmp_path, scene_and_frame):
    """The same number is another package since."""
    scene, _ = scene_and_frame
    later = dataclasses.replace(scene, stamp_ns=scene.stamp_ns + 10**9)
    outcomes = Outcomes(tmp_path)
    outcomes.remember(scene, (1, 0))
    assert outcomes.report(request(scene.grasps[0]), 5, scene.stamp_ns).current
    outcomes.remember(later, (1, 1))
    old = outcomes.report(request(scene.grasps[1]), 5, scene.stamp_ns)
    assert (old.known, old.current) == (False, False)
    assert outcomes.report(request(scene.grasps[1]), 5, later.stamp_ns).current


def test_the_newest_scene_is_the_last_to_be_forgotten(tmp_path, scene_and_frame, monkeypatch):
    """Also when its stamp was seen before: a looped recording."""
    monkeypatch.setattr("perception_node.ros.outcomes.REMEMBERED", 3)
    scene, _ = scene_and_frame
    outcomes = Outcomes(tmp_path)
    for stamp_ns in (1, 2, 3, 1, 4, 5):
        outcomes.remember(dataclasses.replace(scene, stamp_ns=stamp_ns))
    assert list(outcomes._scenes) == [1, 4, 5]


def test_jaws_that_close_at_one_place_in_several_ways_are_told_apart(tmp_path, scene_and_frame):
    scene, _ = scene_and_frame
    one = next(grasp for grasp in scene.grasps if grasp.kind == "parallel_jaw")
    turned = one.T_cam_grasp.copy()
    turned[:3, :3] = turned[:3, :3] @ np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    ways = [one, dataclasses.replace(one, width_m=one.width_m + 0.01, score=0.31),
            dataclasses.replace(one, T_cam_grasp=turned, score=0.32),
            dataclasses.replace(one, T_cam_grasp=turned, width_m=one.width_m + 0.01, score=0.33)]
    scene = dataclasses.replace(scene, grasps=tuple(ways))
    outcomes = Outcomes(tmp_path)
    outcomes.remember(scene)
    for grasp in ways:
        x, y, z, w = quaternions_xyzw(grasp.T_cam_grasp[None, :3, :3])[0]
        for sign in (1, -1):  # the same rotation
            asked = request(grasp)
            asked.grasp.pose.orientation = Thing(x=sign * x, y=sign * y, z=sign * z, w=sign * w)
            found = outcomes.report(asked, 5, scene.stamp_ns)
            assert found.entry["score"] == pytest.approx(grasp.score)
            assert found.known == (sign < 0)
    asked = request(ways[2], width_m=float("nan"))  # nonsense is no reason to lose it
    assert outcomes.report(asked, 5, scene.stamp_ns).known


def test_the_log_keeps_what_was_proposed_and_teaches_the_ranking(tmp_path, scene_and_frame):
    from perception_node.learn.outcome_log import read_logs
    scene, _ = scene_and_frame
    outcomes = Outcomes(tmp_path)
    outcomes.remember(scene)
    lie = request(scene.grasps[0], term_names=["seal"], term_values=[0.123], score=0.99, width_m=9.0)
    lie.success, lie.failure = False, "dropped"
    line = json.loads(outcomes.report(lie, 5, scene.stamp_ns).path.read_text())
    assert line["terms"] == dict(scene.grasps[0].terms)
    assert (line["score"], line["width_m"]) == (pytest.approx(scene.grasps[0].score), pytest.approx(scene.grasps[0].width_m))
    log = read_logs([tmp_path / "outcomes.jsonl"])
    assert log.by_kind[scene.grasps[0].kind].failures == ("dropped",)


@pytest.mark.parametrize(("changes", "words"), [
    ({"kind": "magnet"}, "magnet"), ({"label": 77}, "77"), ({"track_id": 77}, "77"), ({"label": 1, "track_id": 1}, "not proposed"),
    ({"failure": "dropped"}, "no words with success"), ({"success": False, "failure": "x" * 999}, "999"),
    ({"has_weight": True, "weight_kg": -1.0}, "weight_kg"), ({"has_weight": True, "weight_kg": float("nan")}, "0 to 500 kg"),
    ({"has_weight": True, "weight_kg": 1e30}, "0 to 500 kg"), ({"pose": pose_at(float("nan"))}, "finite"),
    ({"pose": pose_at(5.0)}, "mm from the nearest"),
])
def test_nonsense_is_refused(tmp_path, scene_and_frame, changes, words):
    scene, _ = scene_and_frame
    outcomes = Outcomes(tmp_path)
    outcomes.remember(scene)
    with pytest.raises(PerceptionError, match=words):
        outcomes.report(request(scene.grasps[0], **changes), 5, scene.stamp_ns)
    with pytest.raises(PerceptionError, match="scene_stamp"):
        outcomes.report(request(scene.grasps[0]), 5, 12345)
    assert not list(tmp_path.iterdir())


def test_a_line_that_a_crash_cut_off_spoils_no_other(tmp_path, scene_and_frame):
    scene, _ = scene_and_frame
    outcomes = Outcomes(tmp_path)
    outcomes.remember(scene)
    path = outcomes.report(request(scene.grasps[0]), 5, scene.stamp_ns).path
    before = path.read_text()
    path.write_text(before + before[:40])
    outcomes.report(request(scene.grasps[1]), 6, scene.stamp_ns)
    outcomes.report(request(scene.grasps[6]), 7, scene.stamp_ns)
    lines = path.read_text().split("\n")
    assert lines[:2] == [before[:-1], before[:40]]
    assert [json.loads(line)["stamp_ns"] for line in lines[2:4]] == [6, 7]
    assert lines[4:] == [""]


def test_the_advisor_learns_what_was_proposed_not_what_the_request_repeats(tmp_path, scene_and_frame):
    """A planner may leave the terms out, or send nonsense."""
    scene, _ = scene_and_frame
    outcomes = Outcomes(tmp_path)
    outcomes.remember(scene)
    grasp, nan = scene.grasps[0], float("nan")
    entry = outcomes.report(request(grasp, term_names=["seal"], term_values=[nan], score=nan, width_m=nan), 5, scene.stamp_ns).entry
    assert entry["terms"] == pytest.approx(dict(grasp.terms))
    assert entry["score"] == pytest.approx(grasp.score)


def test_lines_of_two_nodes_do_not_mix(tmp_path):
    """Two nodes of one name and one output folder: a mistake, but no line must be lost by it."""
    program = ("import sys, pathlib; from perception_node.ros.outcomes import Outcomes; log = Outcomes(pathlib.Path(sys.argv[1]))\n"
               "for k in range(60): log._append({'who': int(sys.argv[2]), 'k': k, 'words': 'x' * (37 * (k % 30))})")
    writers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(who)]) for who in (0, 1)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    lines = [json.loads(line) for line in (tmp_path / "outcomes.jsonl").read_text().splitlines()]
    assert sorted((line["who"], line["k"]) for line in lines) == [(who, k) for who in (0, 1) for k in range(60)]


def test_unwritable_folder_is_one_line(tmp_path, scene_and_frame):
    scene, _ = scene_and_frame
    (tmp_path / "file").write_text("")
    outcomes = Outcomes(tmp_path / "file" / "below")
    outcomes.remember(scene)
    with pytest.raises(PerceptionError, match="cannot be written"):
        outcomes.report(request(scene.grasps[0]), 5, scene.stamp_ns)
    with pytest.raises(PerceptionError, match="cannot be written"):
        Store(tmp_path / "file" / "below", 1e9)


def test_folders_of_nodes(tmp_path, monkeypatch):
    assert output_folder(str(tmp_path), "/left/perception") == tmp_path / "left.perception"
    monkeypatch.setenv("ROS_HOME", str(tmp_path / "ros"))
    assert output_folder("", "/perception") == tmp_path / "ros" / "perception_node" / "perception"


@pytest.fixture
def desk(tmp_path):
    """An advisor's desk without a node, and what its ranking was taught."""
    pytest.importorskip("rclpy")
    from perception_node.config import Config
    from perception_node.ros.advise import AdviseDesk
    publisher = Thing(get_subscription_count=lambda: 0)
    node = Thing(create_lifecycle_publisher=lambda *given: publisher, create_service=lambda *given: None)
    made = AdviseDesk(node, Config(), lambda: None, tmp_path / "outcomes.jsonl")
    taught = []
    made.advisor.ranking.learn = lambda candidate, success: taught.append((candidate, success))
    return made, taught


def test_an_outcome_from_before_the_tracker_started_over_teaches_about_no_other_package(tmp_path, scene_and_frame, desk):
    """Ids begin at 1 again: package 2 is another one."""
    made, taught = desk
    scene, frame = scene_and_frame
    outcomes = Outcomes(tmp_path)
    later = dataclasses.replace(scene, stamp_ns=scene.stamp_ns + 10**9)
    for one, run in ((scene, (1, 0)), (later, (2, 0))):  # stopped and started: the worker counts its resets from 0 again
        outcomes.remember(one, run)
        made.seen(one, frame, run)
        made.advisor.weigh(scene.grasps[0].track_id, 9.0) if run == (1, 0) else None
    assert not made.advisor._weights_kg  # forgotten with the numbers
    old = outcomes.report(request(scene.grasps[0], has_weight=True, weight_kg=0.5), 5, scene.stamp_ns)
    made.learn(old.entry, old.current)
    assert not made.advisor._weights_kg
    candidate, success = taught[-1]
    assert (candidate.class_name, candidate.size_m, success) == (old.entry["class_name"], None, True)
    assert candidate.terms == old.entry["terms"]
    new = outcomes.report(request(scene.grasps[0], has_weight=True, weight_kg=0.5), 5, later.stamp_ns)
    made.learn(new.entry, new.current)
    assert made.advisor._weights_kg == {scene.grasps[0].track_id: pytest.approx(0.5)}
    assert taught[-1][0].size_m is not None


def test_a_log_that_grew_for_years_is_learned_from_its_end(tmp_path, scene_and_frame, monkeypatch):
    pytest.importorskip("rclpy")
    from perception_node.advise.ranking import Ranking
    from perception_node.ros import advise
    scene, _ = scene_and_frame
    outcomes = Outcomes(tmp_path)
    for k in range(30):
        one = dataclasses.replace(scene, stamp_ns=scene.stamp_ns + k)
        outcomes.remember(one)
        path = outcomes.report(request(scene.grasps[0]), k, one.stamp_ns).path
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[-1], "{broken\n", "[" * 5000 + "\n"]))
    assert advise.learn_log(Ranking(), path) == 30  # each once
    monkeypatch.setattr(advise, "LOG_BYTES", 5020 + 4 * len(lines[0]))
    assert 0 < advise.learn_log(Ranking(), path) < 5
    monkeypatch.setattr(advise, "LOG_LINES", 4)
    assert advise.learn_log(Ranking(), path) == 1

"""Outcomes and captures: what is kept, what is refused, and that nothing leaves its folder."""

from __future__ import annotations

import json
from types import SimpleNamespace as Thing

import pytest

from perception_node.bench.publish import full_scene
from perception_node.capture.store import Store
from perception_node.errors import PerceptionError
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
    for _ in range(2):  # before and after it was published
        path = outcomes.report(request(scene.grasps[0]), 5, scene.stamp_ns)
        outcomes.pack(scene)
    assert not any(kept is scene for kept in outcomes._scenes.values())  # megabytes
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 2
    assert lines[0] == lines[1]
    assert lines[0]["terms"] == dict(scene.grasps[0].terms)
    assert lines[0]["weight_kg"] is None
    assert lines[0]["class_name"] == "box"


def test_the_log_keeps_what_was_proposed_and_teaches_the_ranking(tmp_path, scene_and_frame):
    from perception_node.learn.outcome_log import read_logs
    scene, _ = scene_and_frame
    outcomes = Outcomes(tmp_path)
    outcomes.remember(scene)
    lie = request(scene.grasps[0], term_names=["seal"], term_values=[0.123], score=0.99, width_m=9.0)
    lie.success, lie.failure = False, "dropped"
    line = json.loads(outcomes.report(lie, 5, scene.stamp_ns).read_text())
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
    path = outcomes.report(request(scene.grasps[0]), 5, scene.stamp_ns)
    before = path.read_text()
    path.write_text(before + before[:40])
    outcomes.report(request(scene.grasps[0]), 6, scene.stamp_ns)
    outcomes.report(request(scene.grasps[0]), 7, scene.stamp_ns)
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
    entry = outcomes.checked(request(grasp, term_names=["seal"], term_values=[nan], score=nan, width_m=nan), 5, scene.stamp_ns)
    assert entry["terms"] == pytest.approx(dict(grasp.terms))
    assert entry["score"] == pytest.approx(grasp.score)


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

import argparse
import dataclasses
import json

import numpy as np
import pytest

from perception_node.bench import grasp as bench_grasp
from perception_node.bench.track import Tally, figures, follow
from perception_node.bench.verdicts import Truth, can_hold, judge_jaw, judge_suction
from perception_node.config import Config, from_flat
from perception_node.errors import DatasetError
from perception_node.pipeline import Pipeline

GRIPPER = Config().gripper
UP = np.array([0.0, 0.0, -1.0])


def truth_of(frame, segmentation, boxes, belt):
    poses = {}
    for number, (x, y, length, width, top, turn) in enumerate(boxes, start=1):
        pose = np.eye(4)
        pose[:3, :3] = [[np.cos(turn), np.sin(turn), 0], [np.sin(turn), -np.cos(turn), 0], [0, 0, -1]]
        pose[:3, 3] = x, y, 1.0 - top / 2
        poses[number] = (pose, np.array([length, width, top]))
    return Truth(frame.camera, segmentation.labels, frame.depth_m, dict.fromkeys(poses, "box"), poses, np.array(belt))


@pytest.fixture
def judged(cast_boxes, belt):
    boxes = [(0.05, 0.0, 0.2, 0.1, 0.08, 0.3), (-0.15, 0.0, 0.1, 0.1, 0.05, 0.0)]
    frame, segmentation = cast_boxes(boxes)
    masks = bench_grasp.TrueMasks()
    masks.next = segmentation
    scene = Pipeline(from_flat({"belt.plane": belt}), masks).process(frame)
    return scene, truth_of(frame, segmentation, boxes, belt)


def moved(grasp, x=0.0, y=0.0, z=0.0):
    T = grasp.T_cam_grasp.copy()
    T[:3, 3] += T[:3, :3] @ [x, y, z]
    return dataclasses.replace(grasp, T_cam_grasp=T)


def test_good_suction_is_valid_and_bad_suction_is_called_by_its_fault(judged):
    scene, truth = judged
    best = next(g for g in scene.grasps if g.kind == "suction" and g.label == 1)
    assert judge_suction(best, truth, 1, GRIPPER.suction).valid
    assert judge_suction(moved(best, x=0.2), truth, 1, GRIPPER.suction).fault == "off package"
    assert judge_suction(moved(best, z=0.02), truth, 1, GRIPPER.suction).fault == "contact"
    tilted = best.T_cam_grasp.copy()
    c, s = np.cos(0.4), np.sin(0.4)
    tilted[:3, :3] = tilted[:3, :3] @ [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    assert judge_suction(dataclasses.replace(best, T_cam_grasp=tilted), truth, 1, GRIPPER.suction).fault == "normal"
    assert can_hold(truth, 1, GRIPPER.suction, UP)


def test_a_face_that_is_seen_from_its_edge_holds_no_cup(judged):
    _, truth = judged
    wall = dataclasses.replace(truth, depth_m=np.full_like(truth.depth_m, 0.9))
    assert can_hold(wall, 1, GRIPPER.suction, UP)
    assert not can_hold(wall, 1, GRIPPER.suction, np.array([0.0, -1.0, 0.0]))


def test_good_jaws_are_free_and_bad_jaws_touch(judged):
    scene, truth = judged
    best = next(g for g in scene.grasps if g.kind == "parallel_jaw" and g.label == 1)
    assert judge_jaw(best, truth, 1, GRIPPER.parallel_jaw).valid
    assert not judge_jaw(moved(best, x=0.03), truth, 1, GRIPPER.parallel_jaw).valid
    assert not judge_jaw(moved(best, z=0.1), truth, 1, GRIPPER.parallel_jaw).valid
    assert judge_jaw(moved(best, y=0.6), truth, 1, GRIPPER.parallel_jaw).fault == "closes on nothing"


def test_a_missing_or_broken_data_set_is_one_clear_line(tmp_path):
    with pytest.raises(DatasetError, match="meta"):
        next(bench_grasp.frames(tmp_path, None))
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "0000.json").write_text("{")
    with pytest.raises(DatasetError, match="readable JSON"):
        next(bench_grasp.frames(tmp_path, None))
    (tmp_path / "meta" / "0000.json").write_text(json.dumps({"fx": 1}))
    with pytest.raises(DatasetError, match="missing fy"):
        next(bench_grasp.frames(tmp_path, None))


def test_a_moving_belt_is_followed_without_a_switch(cast_boxes, belt):
    @dataclasses.dataclass
    class PackageTruth:
        package_id: int
        class_name: str
        T_cam_package: np.ndarray
        velocity_m_s: np.ndarray
        visible_fraction: float = 1.0

    @dataclasses.dataclass
    class TrueFrame:
        frame: object
        labels: np.ndarray
        depth_true_m: np.ndarray
        packages: list
        belt_plane: np.ndarray
        belt_velocity_m_s: np.ndarray

    velocity = np.array([0.3, 0.0, 0.0])
    sequence = []
    for n in range(20):
        boxes = [(-0.25 + 0.02 * n, 0.1, 0.16, 0.12, 0.08, 0.4), (-0.1 + 0.02 * n, -0.1, 0.1, 0.1, 0.05, 0.1)]
        frame, segmentation = cast_boxes(boxes, stamp_ns=round(n / 15 * 1e9))
        truth = truth_of(frame, segmentation, boxes, belt)
        packages = [PackageTruth(k, "box", pose, velocity) for k, (pose, _) in truth.boxes.items()]
        sequence.append(TrueFrame(frame, segmentation.labels, frame.depth_m, packages, np.array(belt), velocity))
    tally = Tally()
    follow(sequence, "steady", 1 / 15, Config(), tally)
    result = figures(tally)
    assert (result["packages"], result["id_switches_per_100"]) == (2, 0.0)
    assert result["belt_velocity_error"] < 0.02
    assert result["grasp_m_p95"] < 0.005
    assert result["centre_m_p95"] < 0.01


def test_arguments_are_added():
    parser = argparse.ArgumentParser()
    bench_grasp.add_arguments(parser)
    assert parser.parse_args(["somewhere"]).masks == "truth"

import dataclasses

import numpy as np
import pytest

from perception_node.config import BeltConfig, Config, from_flat
from perception_node.grasp import draw_grasps, propose_grasps
from perception_node.grasp.draw import depth_colours
from perception_node.grasp.planes import span_and_bend
from perception_node.grasp.score import DEGRADED_CAP, PRIOR_SUCTION, PRIORS, load_ranking
from perception_node.locate import locate_packages
from perception_node.track import Tracker
from perception_node.types import Frame, Instance, Segmentation


def propose(frame, segmentation, belt, config=None, velocity=None, models=PRIORS, **belt_values):
    config = config or Config()
    cell = BeltConfig(plane=belt, **belt_values)
    packages = locate_packages(frame, segmentation, cell)
    update = Tracker(config.track, cell).update(packages, frame.stamp_ns, velocity)
    return propose_grasps(frame, packages, segmentation, update.tracks, config.gripper, config.grasp, cell,
                          update.belt_velocity_m_s, models)


def of(grasps, kind, label=None):
    return [g for g in grasps if g.kind == kind and label in (None, g.label)]


def test_a_flat_box_is_sucked_near_its_middle_along_its_normal(cast_boxes, belt):
    frame, segmentation = cast_boxes([(0.1, -0.05, 0.16, 0.12, 0.08, 0.4)])
    grasps, rejections = propose(frame, segmentation, belt)
    best = of(grasps, "suction")[0]
    assert best.T_cam_grasp[:3, 2] == pytest.approx([0, 0, 1], abs=0.02)
    assert best.T_cam_grasp[2, 3] == pytest.approx(0.92, abs=0.003)
    assert np.linalg.norm(best.T_cam_grasp[:2, 3] - [0.1, -0.05]) < 0.03
    assert best.score > 0.8
    assert best.track_id == 1
    assert not best.degraded
    assert set(PRIOR_SUCTION.weights) <= set(best.terms)
    assert not [r for r in rejections if r.kind == "suction"]


def test_fingers_close_across_the_narrow_side_above_the_belt(cast_boxes, belt):
    frame, segmentation = cast_boxes([(0.05, 0.0, 0.2, 0.1, 0.08, 0.3)])
    grasps, _ = propose(frame, segmentation, belt)
    best = of(grasps, "parallel_jaw")[0]
    assert abs(best.T_cam_grasp[:3, 0] @ [-np.sin(0.3), np.cos(0.3), 0]) > 0.99
    assert 0.1 < best.width_m <= Config().gripper.parallel_jaw.opening_max_m
    tip_m = best.T_cam_grasp[2, 3] + best.terms["reach_m"] / 2
    assert tip_m < 1.0 - Config().gripper.parallel_jaw.clearance_m + 1e-6
    assert 0.92 < best.T_cam_grasp[2, 3] < 1.0


def test_a_wide_box_is_rejected_by_the_jaws_with_its_numbers(cast_boxes, belt):
    frame, segmentation = cast_boxes([(0.0, 0.0, 0.5, 0.4, 0.08, 0.0)])
    grasps, rejections = propose(frame, segmentation, belt)
    assert not of(grasps, "parallel_jaw")
    rejection, = [r for r in rejections if r.kind == "parallel_jaw"]
    assert "narrowest side 40" in rejection.reason
    assert "jaws open 140 mm" in rejection.reason
    assert rejection.numbers["narrowest_m"] == pytest.approx(0.4, abs=0.01)
    assert rejection.track_id == 1


def test_boxes_side_by_side_leave_no_room_for_fingers_between_them(cast_boxes, belt):
    row = [(-0.12 + 0.12 * i, 0.0, 0.12, 0.3, 0.1, 0.0) for i in range(3)]
    grasps, rejections = propose(*cast_boxes(row), belt)
    assert not of(grasps, "parallel_jaw", 2)
    rejection, = [r for r in rejections if r.kind == "parallel_jaw" and r.label == 2]
    assert "track" in rejection.reason


def test_what_lies_on_top_comes_first_and_the_covered_one_says_so(cast_boxes, belt):
    frame, segmentation = cast_boxes([(0.0, 0.0, 0.3, 0.2, 0.06, 0.0), (0.05, 0.02, 0.1, 0.08, 0.12, 0.3)], bottoms=[0.0, 0.06])
    grasps, _ = propose(frame, segmentation, belt)
    suction = of(grasps, "suction")
    assert suction[0].label == 2
    assert suction[0].terms["free"] == 1.0
    assert {g.label for g in suction} == {1, 2}
    assert all(g.terms["free"] == 0.0 for g in suction if g.label == 1)


def with_evidence(segmentation, label, **said):
    """The same masks, one of which the network said something else of."""
    return Segmentation(segmentation.labels, tuple(
        dataclasses.replace(one, **said) if one.label == label else one for one in segmentation.instances))


@pytest.mark.parametrize(("said", "term", "value"), [({"foreground": 0.8}, "ground", 0.5), ({"seams": 0.4}, "whole", 0.2)])
def test_what_the_network_doubts_is_less_probable(cast_boxes, belt, said, term, value):
    pair = [(-0.12, 0.0, 0.12, 0.1, 0.06, 0.0), (0.12, 0.0, 0.12, 0.1, 0.06, 0.0)]
    frame, segmentation = cast_boxes(pair)
    models = load_ranking()
    sure, _ = propose(frame, segmentation, belt, models=models)
    grasps, _ = propose(frame, with_evidence(segmentation, 1, **said), belt, models=models)
    for kind in ("suction", "parallel_jaw"):
        before, after = of(sure, kind, 1), of(grasps, kind, 1)
        assert all(g.terms[term] == pytest.approx(value) for g in after)
        assert all(g.terms[term] == 1.0 for g in of(grasps, kind, 2))
        assert after[0].score <= before[0].score
        assert [g.score for g in of(grasps, kind, 2)] == [g.score for g in of(sure, kind, 2)]
    assert of(grasps, "parallel_jaw", 1)[0].score < of(sure, "parallel_jaw", 1)[0].score
    assert of(grasps, "parallel_jaw")[0].label == 2


def test_a_place_says_how_far_it_stands_out_of_the_belt(cast_boxes, belt):
    frame, segmentation = cast_boxes([(-0.1, 0.0, 0.14, 0.12, 0.006, 0.0), (0.1, 0.0, 0.14, 0.12, 0.05, 0.0)])
    grasps, _ = propose(frame, segmentation, belt)
    assert of(grasps, "suction", 1)[0].terms["raised"] == pytest.approx(0.006 / 0.015, abs=0.07)
    assert of(grasps, "suction", 2)[0].terms["raised"] == 1.0


def test_a_covered_package_is_judged_as_if_free_where_what_covers_it_can_be_picked(cast_boxes, belt):
    frame, segmentation = cast_boxes([(0.0, 0.0, 0.3, 0.2, 0.06, 0.0), (0.05, 0.02, 0.1, 0.08, 0.12, 0.3)], bottoms=[0.0, 0.06])
    now = max(g.score for g in of(propose(frame, segmentation, belt)[0], "suction", 1))
    config = from_flat({"grasp.min_score": now + 0.01, "gripper.parallel_jaw.enabled": False})
    grasps, _ = propose(frame, segmentation, belt, config)
    assert grasps[0].label == 2
    assert {g.label for g in grasps} == {1, 2}
    depth = frame.depth_m.copy()
    depth[(segmentation.labels == 2) & (np.random.default_rng(0).random(depth.shape) < 0.7)] = np.nan
    grasps, rejections = propose(Frame(frame.rgb, depth, frame.camera, 0, "cam"), segmentation, belt, config)
    assert not grasps
    reason, = (r.reason for r in rejections if r.label == 1)
    assert "success probability" in reason
    assert "covered by track 2" in reason


def test_a_small_face_above_a_large_side_is_found_by_the_second_look(cast_boxes, belt):
    frame, segmentation = cast_boxes([(0.0, 0.0, 0.3, 0.3, 0.08, 0.0)])
    mask = segmentation.labels == 1
    depth = frame.depth_m.copy()
    columns = np.arange(400)[None, :].repeat(300, 0)
    edge = int(columns[mask].min()) + 22  # here the face ends; what is right of it falls away by about 60 degrees
    depth[mask] = (0.92 / (1 - 1.5 * np.clip(columns - edge, 0, 160) / 400))[mask]
    grasps, _ = propose(Frame(frame.rgb, depth, frame.camera, 0, "cam"), segmentation, belt)
    best = of(grasps, "suction")[0]
    assert best.T_cam_grasp[0, 3] / best.T_cam_grasp[2, 3] * 400 + 199 < edge
    assert best.T_cam_grasp[:3, 2] == pytest.approx([0, 0, 1], abs=0.25)


def test_a_wall_gets_no_cup_on_an_upper_face_that_nobody_sees(cast_boxes):
    frame, segmentation = cast_boxes([(0.0, -0.3, 0.3, 0.05, 0.08, 0.0)])
    wall = Frame(frame.rgb, np.full_like(frame.depth_m, 0.92), frame.camera, 0, "cam")
    # The camera looks along the belt rather than down on it: any level face at the wall's height is seen from its edge.
    grasps, rejections = propose(wall, segmentation, (0.0, -0.951, -0.310, 0.3))
    assert not of(grasps, "suction")
    reason, = (r for r in rejections if r.kind == "suction")
    assert "seen from the side" in reason.reason
    assert reason.numbers["facing_sine"] < reason.numbers["limit_sine"]


def test_a_row_of_readings_and_a_fold_are_told_from_a_plane():
    a, b = (axis.ravel() for axis in np.meshgrid(np.linspace(-1.0, 1.0, 9), np.linspace(-1.0, 1.0, 7)))
    slope = np.array([0.2, -0.1, 0.0])
    spread, bend = span_and_bend(a, b, 0.2 * a - 0.1 * b, len(a), slope)
    assert spread == pytest.approx(a.var(), rel=1e-6)
    assert bend == pytest.approx(0.0, abs=1e-6)
    assert span_and_bend(a, 0.5 * a, 0.2 * a, len(a), slope)[0] == pytest.approx(0.0, abs=1e-9)
    fold = np.where(a > 0.3, 1.0, 0.0) * (a - 0.3)
    assert span_and_bend(a, b, fold, len(a), np.zeros(3))[1] > 0.14


def test_fingers_do_not_close_where_the_rectangle_round_a_package_is_empty(cast_boxes, belt):
    frame, segmentation = cast_boxes([(-0.12, 0.0, 0.06, 0.06, 0.05, 0.0), (0.12, 0.0, 0.06, 0.06, 0.05, 0.0)])
    labels = np.minimum(segmentation.labels, 1)
    rows, columns = np.nonzero(labels)
    one = Instance(1, "box", 0.9, (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1), len(rows))
    grasps, rejections = propose(frame, Segmentation(labels, (one,)), belt)
    assert not of(grasps, "parallel_jaw")
    reason, = (r for r in rejections if r.kind == "parallel_jaw")
    assert "seen on 0 % of the place between the fingers" in reason.reason
    assert reason.numbers["held_share"] == 0.0


def test_no_cup_on_a_hole_in_the_depth(cast_boxes, belt):
    frame, segmentation = cast_boxes([(0.0, 0.0, 0.2, 0.15, 0.08, 0.0)])
    depth = frame.depth_m.copy()
    depth[120:180, 150:205] = np.nan
    grasps, _ = propose(Frame(frame.rgb, depth, frame.camera, 0, "cam"), segmentation, belt)
    for grasp in of(grasps, "suction"):
        u = int(round(grasp.T_cam_grasp[0, 3] / grasp.T_cam_grasp[2, 3] * 400 + 199))
        v = int(round(grasp.T_cam_grasp[1, 3] / grasp.T_cam_grasp[2, 3] * 410 + 151))
        assert np.isfinite(depth[v - 3:v + 4, u - 3:u + 4]).mean() > 0.5


def test_mostly_unread_masks_are_rejected_with_the_share(cast_boxes, belt):
    frame, segmentation = cast_boxes([(0.0, 0.0, 0.2, 0.15, 0.08, 0.0)])
    depth = frame.depth_m.copy()
    drop = np.random.default_rng(0).random(depth.shape) < 0.83
    depth[(segmentation.labels == 1) & drop] = np.nan
    _, rejections = propose(Frame(frame.rgb, depth, frame.camera, 0, "cam"), segmentation, belt)
    words = [r.reason for r in rejections if r.kind == "suction"]
    assert words
    assert "no depth in 8" in words[0]


def test_each_package_has_a_grasp_or_a_reason_for_each_enabled_kind(cast_boxes, belt):
    boxes = [(-0.3, -0.2, 0.02, 0.02, 0.02, 0.0), (0.1, 0.0, 0.16, 0.12, 0.08, 0.4), (-0.2, 0.1, 0.5, 0.4, 0.01, 0.1)]
    frame, segmentation = cast_boxes(boxes)
    for kinds in ({"suction", "parallel_jaw"}, {"suction"}, {"parallel_jaw"}, set()):
        config = from_flat({f"gripper.{kind}.enabled": kind in kinds for kind in ("suction", "parallel_jaw")})
        grasps, rejections = propose(frame, segmentation, belt, config)
        for label in (1, 2, 3):
            for kind in ("suction", "parallel_jaw"):
                answers = bool(of(grasps, kind, label)) + sum((r.kind, r.label) == (kind, label) for r in rejections)
                assert answers == (kind in kinds), (label, kind)


def test_arrays_of_cups_need_room_for_all_of_them(cast_boxes, belt):
    config = from_flat({"gripper.suction.columns": 3, "gripper.suction.spacing_m": 0.05})
    slim, segmentation = cast_boxes([(0.0, 0.0, 0.3, 0.06, 0.05, 0.5)])
    grasps, _ = propose(slim, segmentation, belt, config)
    best = of(grasps, "suction")[0]
    assert abs(best.T_cam_grasp[:3, 0] @ [np.cos(0.5), np.sin(0.5), 0]) > 0.98
    assert best.width_m == pytest.approx(0.13)
    small, segmentation = cast_boxes([(0.0, 0.0, 0.08, 0.08, 0.05, 0.5)])
    grasps, rejections = propose(small, segmentation, belt, config)
    assert not of(grasps, "suction")
    assert "edge" in [r.reason for r in rejections if r.kind == "suction"][0]


def test_a_face_too_steep_for_the_gripper_is_refused(cast_boxes, belt):
    frame, segmentation = cast_boxes([(0.0, 0.0, 0.2, 0.15, 0.08, 0.0)])
    tilted = Frame(frame.rgb, frame.depth_m.copy(), frame.camera, 0, "cam")
    u = np.arange(400)[None, :].repeat(300, 0)
    mask = segmentation.labels == 1
    tilted.depth_m[mask] = (0.92 / (1 + 0.7 * (u - 199) / 400))[mask]
    config = from_flat({"gripper.suction.max_tilt_rad": 0.3})
    grasps, rejections = propose(tilted, segmentation, belt, config)
    assert not of(grasps, "suction")
    assert "degrees" in [r.reason for r in rejections if r.kind == "suction"][0]


def test_without_depth_suction_is_flagged_and_capped_and_jaws_are_refused(cast_boxes, belt):
    frame, segmentation = cast_boxes([(0.1, 0.0, 0.2, 0.12, 0.05, 0.0)])
    grasps, rejections = propose(Frame(frame.rgb, None, frame.camera, 0, "cam"), segmentation, belt)
    grasp, = grasps
    assert grasp.degraded
    assert grasp.score <= DEGRADED_CAP
    assert grasp.T_cam_grasp[2, 3] == pytest.approx(1.0, abs=1e-6)
    assert np.sqrt(grasp.covariance[2, 2]) > 0.2
    rejection, = rejections
    assert "height is unknown" in rejection.reason


def test_nothing_to_go_by_means_no_grasp_and_says_why(cast_boxes):
    frame, segmentation = cast_boxes([(0.1, 0.0, 0.2, 0.12, 0.05, 0.0)])
    grasps, rejections = propose(Frame(frame.rgb, None, frame.camera, 0, "cam"), segmentation, (0.0, 0.0, 0.0, 0.0))
    assert not grasps
    assert {r.kind for r in rejections} == {"suction", "parallel_jaw"}
    assert all(r.reason == "neither depth nor a calibrated belt plane" for r in rejections)


@pytest.mark.parametrize("depth", [np.nan, np.inf, 0.0, 65.535, -1.0])
def test_absurd_depth_and_masks_give_reasons_not_grasps_in_the_air(cast_boxes, belt, depth):
    frame, _ = cast_boxes([(0.0, 0.0, 0.2, 0.12, 0.05, 0.0)])
    labels = np.full(frame.depth_m.shape, 2, dtype=np.uint16)
    labels[10, 10:13] = 1
    instances = (Instance(1, "box", 0.5, (10, 10, 13, 11), 3), Instance(2, "poly_bag", 0.5, (0, 0, 400, 300), labels.size))
    absurd = Frame(frame.rgb, np.full_like(frame.depth_m, depth), frame.camera, 0, "cam")
    grasps, rejections = propose(absurd, Segmentation(labels, instances), belt)
    assert all(g.degraded for g in grasps if g.label == 2 and depth != 65.535)
    assert not [g for g in grasps if g.label == 1]
    assert {r.kind for r in rejections if r.label == 1} == {"suction", "parallel_jaw"}


def test_deadlines_follow_the_belt_and_what_has_passed_is_refused(cast_boxes, belt):
    boxes = [(0.1, 0.0, 0.12, 0.1, 0.05, 0.0), (-0.2, 0.0, 0.12, 0.1, 0.05, 0.0)]
    frame, segmentation = cast_boxes(boxes, stamp_ns=5_000_000_000)
    grasps, rejections = propose(frame, segmentation, belt, velocity=[0.4, 0.0, 0.0], reach_max_m=0.0)
    assert {g.label for g in grasps} == {2}
    assert all("beyond the arm's window" in r.reason for r in rejections if r.label == 1)
    for grasp in grasps:
        expected = 5_000_000_000 - grasp.T_cam_grasp[0, 3] / 0.4 * 1e9
        assert grasp.deadline_ns == pytest.approx(expected, abs=1e4)
    grasps, _ = propose(frame, segmentation, belt, velocity=[0.0, 0.0, 0.0])
    assert all(g.deadline_ns is None for g in grasps)


def test_drawings_show_every_kind_of_picture(cast_boxes, belt):
    from perception_node.pipeline import Pipeline

    frame, segmentation = cast_boxes([(0.1, 0.0, 0.16, 0.1, 0.08, 0.4)])

    class Truth:
        model_id = "truth"

        def segment(self, frame, belt_plane=None):
            return segmentation

    scene = Pipeline(from_flat({"belt.plane": belt}), Truth()).process(frame)
    for picture in (frame.rgb, frame.depth_m, np.full_like(frame.depth_m, np.nan)):
        before = picture.copy()
        drawn = draw_grasps(picture, scene, frame.camera)
        assert drawn.shape == (300, 400, 3)
        assert drawn.dtype == np.uint8
        assert drawn.any()
        assert np.array_equal(picture, before, equal_nan=picture.dtype != np.uint8)
    assert depth_colours(np.full((4, 6), np.nan, np.float32)).shape == (4, 6, 3)

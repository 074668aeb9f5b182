"""Whatever comes in: a named rejection or a grasp on the package, never on the belt, a hand, or in the air."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perception_node.config import BeltConfig, Config, from_flat
from perception_node.errors import ConfigError
from perception_node.grasp import propose_grasps
from perception_node.locate import locate_packages
from perception_node.track import Tracker
from perception_node.types import Frame, Instance, Segmentation

CONFIG = Config()
UNHURRIED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
"""How fast a busy machine draws examples says nothing about grasps."""


def propose(frame, segmentation, plane, config=CONFIG):
    belt = BeltConfig(plane=plane)
    packages = locate_packages(frame, segmentation, belt)
    update = Tracker(config.track, belt).update(packages, frame.stamp_ns, None)
    return propose_grasps(frame, packages, segmentation, update.tracks, config.gripper, config.grasp, belt)


def pixel_of(frame, grasp):
    x, y, z = grasp.T_cam_grasp[:3, 3]
    return round(frame.camera.fx * x / z + frame.camera.cx), round(frame.camera.fy * y / z + frame.camera.cy)


def check(frame, segmentation, grasps, rejections, kinds=("suction", "parallel_jaw")):
    """Each package has a grasp or one reason for each kind; suction touches the surface that the depth shows, on its package."""
    for instance in segmentation.instances:
        for kind in kinds:
            has = any((g.label, g.kind) == (instance.label, kind) for g in grasps)
            reasons = [r for r in rejections if (r.label, r.kind) == (instance.label, kind)]
            assert has + len(reasons) == 1, (instance.label, kind, reasons)
            assert all(r.reason and all(np.isfinite(list(r.numbers.values()))) for r in reasons)
    for grasp in grasps:
        assert np.isfinite(grasp.T_cam_grasp).all()
        assert 0.0 <= grasp.score <= 1.0
        if grasp.kind == "suction" and not grasp.degraded:
            u, v = pixel_of(frame, grasp)
            assert segmentation.labels[v, u] == grasp.label
            near = frame.depth_m[max(v - 6, 0):v + 7, max(u - 6, 0):u + 7]
            assert abs(np.nanmedian(near) - grasp.T_cam_grasp[2, 3]) < 0.03


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1.0])
def test_depth_without_readings_is_refused_and_not_replaced_by_the_belt(cast_boxes, belt, value):
    frame, segmentation = cast_boxes([(0.1, 0.0, 0.2, 0.12, 0.05, 0.0)])
    blind = Frame(frame.rgb, np.full_like(frame.depth_m, value), frame.camera, 0, "cam")
    grasps, rejections = propose(blind, segmentation, belt)
    assert not grasps
    assert {r.kind for r in rejections} == {"suction", "parallel_jaw"}
    assert all("no depth in 100 % of the mask" in r.reason for r in rejections)
    assert all(r.numbers["no_depth_share"] == 1.0 for r in rejections)


@given(dx=st.integers(-60, 60), dy=st.integers(-40, 40))
@settings(max_examples=12, deadline=None, suppress_health_check=UNHURRIED)
def test_depth_skewed_against_colour_never_lifts_a_cup_into_the_air(cast_boxes, belt, dx, dy):
    frame, segmentation = cast_boxes([(0.1, 0.0, 0.2, 0.12, 0.15, 0.3), (-0.2, 0.0, 0.15, 0.15, 0.08, 0.0)])
    skewed = Frame(frame.rgb, np.roll(frame.depth_m, (dy, dx), axis=(0, 1)), frame.camera, 0, "cam")
    check(skewed, segmentation, *propose(skewed, segmentation, belt))


@given(st.lists(st.tuples(st.integers(0, 398), st.integers(0, 298), st.integers(1, 400), st.integers(1, 300)), min_size=1,
                max_size=6), st.sampled_from([0.0, 0.3, 0.9]))
@settings(max_examples=15, deadline=None, suppress_health_check=UNHURRIED)
def test_any_masks_of_any_size_get_a_grasp_or_a_reason(cast_boxes, belt, boxes, holes):
    frame, _ = cast_boxes([(0.1, 0.0, 0.2, 0.12, 0.15, 0.3), (-0.2, 0.0, 0.15, 0.15, 0.08, 0.0)])
    labels = np.zeros(frame.depth_m.shape, dtype=np.uint16)
    for label, (x, y, width, height) in enumerate(boxes, start=1):
        labels[y:y + height, x:x + width] = label
    instances = tuple(Instance(label, "poly_bag" if label % 2 else "box", 0.9,
                               (x, y, min(x + width, 400), min(y + height, 300)), int((labels == label).sum()))
                      for label, (x, y, width, height) in enumerate(boxes, start=1))
    depth = frame.depth_m.copy()
    depth[np.random.default_rng(0).random(depth.shape) < holes] = np.nan
    holed = Frame(frame.rgb, depth, frame.camera, 0, "cam")
    segmentation = Segmentation(labels, instances)
    check(holed, segmentation, *propose(holed, segmentation, belt))


def test_three_pixels_and_a_package_larger_than_the_picture_are_named(cast_boxes, belt):
    frame, _ = cast_boxes([(0.0, 0.0, 2.0, 2.0, 0.1, 0.0)])
    labels = np.full(frame.depth_m.shape, 2, dtype=np.uint16)
    labels[10, 10:13] = 1
    segmentation = Segmentation(labels, (Instance(1, "box", 0.9, (10, 10, 13, 11), 3),
                                         Instance(2, "box", 0.9, (0, 0, 400, 300), labels.size - 3)))
    grasps, rejections = propose(frame, segmentation, belt)
    check(frame, segmentation, grasps, rejections)
    assert not [g for g in grasps if g.label == 1]
    assert "cut off" in next(r.reason for r in rejections if (r.label, r.kind) == (2, "parallel_jaw"))


def test_without_depth_the_height_is_unknown_along_the_viewing_ray(cast_boxes, belt):
    frame, segmentation = cast_boxes([(0.25, 0.0, 0.2, 0.12, 0.05, 0.0)])
    grasp, = propose(Frame(frame.rgb, None, frame.camera, 0, "cam"), segmentation, belt)[0]
    assert grasp.degraded
    values, vectors = np.linalg.eigh(grasp.covariance[:3, :3])
    ray = grasp.T_cam_grasp[:3, 3] / np.linalg.norm(grasp.T_cam_grasp[:3, 3])
    assert abs(vectors[:, -1] @ ray) > 0.99
    assert np.sqrt(values[-1]) == pytest.approx(BeltConfig().max_height_m / np.sqrt(12) / ray[2], rel=0.05)


@pytest.mark.parametrize(("name", "value", "words"), [
    ("suction.cup_radius_m", -0.01, "0.002 to 0.2"), ("suction.cup_radius_m", float("nan"), "finite"),
    ("suction.rows", 0, "1 to 8"), ("suction.payload_kg", 0.0, "0.01 to 500"),
    ("suction.T_parent_grasp", [0.0] * 7, "length 1"), ("parallel_jaw.opening_max_m", 0.01, "nothing would fit"),
    ("parallel_jaw.finger_depth_m", 0.001, "0.008 to 0.5"), ("parallel_jaw.T_parent_grasp", [0.0] * 6, "7 numbers"),
    ("parallel_jaw.clearance_m", 0.09, "nothing would fit"),
])
def test_impossible_grippers_are_refused_with_the_reason(name, value, words):
    with pytest.raises(ConfigError, match=words):
        from_flat({f"gripper.{name}": value})

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception_node import geometry, locate
from perception_node.config import BeltConfig
from perception_node.locate import locate_packages
from perception_node.locate.belt import fit_belt_plane
from perception_node.locate.cover import covers, pick_order
from perception_node.locate.runs import runs_of
from perception_node.types import CameraModel, Frame, Instance, Segmentation


def noisy(frame, seed=0, sigma=0.001):
    rng = np.random.default_rng(seed)
    depth = frame.depth_m + rng.normal(0, sigma, frame.depth_m.shape).astype(np.float32)
    return Frame(frame.rgb, depth.astype(np.float32), frame.camera, frame.stamp_ns, frame.frame_id)


@pytest.fixture
def calibrated(belt):
    return BeltConfig(plane=belt)


def test_a_box_is_found_where_it_is_with_its_size(cast_boxes, calibrated):
    frame, segmentation = cast_boxes([(0.1, -0.05, 0.2, 0.12, 0.08, 0.4)])
    package, = locate_packages(noisy(frame), segmentation, calibrated).items
    assert package.from_depth
    assert not package.truncated
    assert package.T_cam_package[:3, 3] == pytest.approx([0.1, -0.05, 0.96], abs=0.004)
    assert package.size_m == pytest.approx((0.2, 0.12, 0.08), abs=0.006)
    assert package.T_cam_package[:3, 2] == pytest.approx([0, 0, -1], abs=0.02)
    x = package.T_cam_package[:3, 0]
    assert abs(x @ [np.cos(0.4), np.sin(0.4), 0]) > 0.999


def test_its_covariance_covers_its_error(cast_boxes, calibrated):
    away = []
    for seed in range(20):
        frame, segmentation = cast_boxes([(0.1, -0.05, 0.2, 0.12, 0.08, 0.1 * seed)])
        package, = locate_packages(noisy(frame, seed), segmentation, calibrated).items
        error = package.T_cam_package[:3, 3] - [0.1, -0.05, 0.96]
        away.append(error @ np.linalg.solve(package.covariance[:3, :3], error))
    assert np.mean(away) < 6.0  # 3 degrees of freedom
    assert np.mean(away) > 0.01  # the masks of this test are exact, those of a network are not


@pytest.mark.parametrize(("class_name", "size_m", "hidden_m"), [
    ("padded_mailer", (0.26, 0.2, 0.15), 0.13),  # 2 cm thick, on 13 cm of something that it hides
    ("box", (0.26, 0.2, 0.3), 0.15),
    ("poly_bag", (0.2, 0.18, 0.05), 0.04),
])
def test_the_covariance_knows_that_something_may_lie_hidden_below(cast_boxes, calibrated, class_name, size_m, hidden_m):
    frame, segmentation = cast_boxes([(0.0, 0.0, *size_m, 0.0)])
    seen = Segmentation(segmentation.labels, tuple(replace(one, class_name=class_name) for one in segmentation.instances))
    package, = locate_packages(noisy(frame), seen, calibrated).items
    error = package.T_cam_package[:3, 3] - [0.0, 0.0, 1.0 - size_m[2] + (size_m[2] - hidden_m) / 2]
    assert abs(error[2]) > 0.4 * hidden_m  # the box goes down to the belt
    assert error @ np.linalg.solve(package.covariance[:3, :3], error) < 14.16  # three sigma


def test_the_same_frame_gives_the_same_packages(cast_boxes, calibrated):
    frame, segmentation = cast_boxes([(0.1, -0.05, 0.2, 0.12, 0.08, 0.4), (-0.15, 0.05, 0.1, 0.1, 0.15, 0.0)])
    first, second = (locate_packages(noisy(frame), segmentation, calibrated) for _ in range(2))
    for a, b in zip(first.items, second.items, strict=True):
        assert np.array_equal(a.T_cam_package, b.T_cam_package)
        assert np.array_equal(a.covariance, b.covariance)


def test_an_uncalibrated_belt_is_fitted_round_the_packages(cast_boxes, belt):
    frame, segmentation = cast_boxes([(0.0, 0.0, 0.2, 0.15, 0.1, 0.3)])
    plane = fit_belt_plane(noisy(frame), runs_of(segmentation.labels))
    assert plane == pytest.approx(belt, abs=0.003)
    package, = locate_packages(noisy(frame), segmentation, BeltConfig()).items
    assert package.size_m[2] == pytest.approx(0.1, abs=0.005)


def test_a_box_on_a_box_is_picked_first(cast_boxes, calibrated):
    frame, segmentation = cast_boxes([(0.0, 0.0, 0.3, 0.2, 0.06, 0.0), (0.05, 0.02, 0.1, 0.08, 0.12, 0.3)], bottoms=[0.0, 0.06])
    packages = locate_packages(noisy(frame), segmentation, calibrated)
    assert packages.items[0].covered_by == (2,)
    assert packages.items[1].covered_by == ()
    assert packages.pick_order == (2, 1)


def test_without_depth_packages_lie_on_the_belt_at_unknown_height(cast_boxes, calibrated):
    frame, segmentation = cast_boxes([(0.1, 0.0, 0.2, 0.12, 0.0001, 0.0)])
    blind = Frame(frame.rgb, None, frame.camera, 0, "cam")
    package, = locate_packages(blind, segmentation, calibrated).items
    assert not package.from_depth
    assert package.placed
    assert package.size_m[2] == 0.0
    assert package.T_cam_package[:3, 3] == pytest.approx([0.1, 0.0, 1.0], abs=0.005)
    assert np.sqrt(package.covariance[2, 2]) > 0.2


@pytest.mark.parametrize("depth", [None, "nan", "zero"])
def test_with_neither_depth_nor_plane_nothing_is_invented(cast_boxes, depth):
    frame, segmentation = cast_boxes([(0.1, 0.0, 0.2, 0.12, 0.05, 0.0)])
    picture = None if depth is None else np.full_like(frame.depth_m, np.nan if depth == "nan" else 0.0)
    packages = locate_packages(Frame(frame.rgb, picture, frame.camera, 0, "cam"), segmentation, BeltConfig())
    package, = packages.items
    assert packages.belt_plane is None
    assert not package.placed
    assert package.covariance[0, 0] >= 100.0


@pytest.mark.parametrize("depth", ["inf", "random", "huge", "negative"])
@pytest.mark.parametrize("calibrate", [True, False])
def test_absurd_depth_is_never_a_traceback(cast_boxes, belt, depth, calibrate):
    frame, segmentation = cast_boxes([(0.1, 0.0, 0.2, 0.12, 0.05, 0.0), (-0.1, 0.0, 0.1, 0.1, 0.1, 0.0)])
    rng = np.random.default_rng(3)
    picture = {"inf": np.full_like(frame.depth_m, np.inf), "huge": np.full_like(frame.depth_m, 65.535),
               "random": rng.uniform(0.1, 5, frame.depth_m.shape).astype(np.float32),
               "negative": np.full_like(frame.depth_m, -1.0)}[depth]
    packages = locate_packages(Frame(frame.rgb, picture, frame.camera, 0, "cam"), segmentation,
                               BeltConfig(plane=belt) if calibrate else BeltConfig())
    assert len(packages.items) == 2


def test_three_pixels_the_whole_picture_and_an_empty_mask(cast_boxes, calibrated):
    frame, _ = cast_boxes([(0.0, 0.0, 0.2, 0.12, 0.05, 0.0)])
    labels = np.full(frame.depth_m.shape, 2, dtype=np.uint16)
    labels[10, 10:13] = 1
    height, width = labels.shape
    instances = (Instance(1, "box", 0.5, (10, 10, 13, 11), 3), Instance(2, "poly_bag", 0.5, (0, 0, width, height), labels.size),
                 Instance(3, "box", 0.5, (5, 5, 9, 9), 16))
    packages = locate_packages(frame, Segmentation(labels, instances), calibrated)
    assert len(packages.items) == 3
    assert packages.items[1].truncated


def test_nothing_in_sight(cast_boxes, calibrated):
    frame, segmentation = cast_boxes([])
    packages = locate_packages(frame, segmentation, calibrated)
    assert (packages.items, packages.pick_order) == ((), ())


def test_a_bent_lens_is_undone(cast_boxes, calibrated):
    camera = CameraModel(400.0, 410.0, 199.0, 151.0, 400, 300, (-0.1, 0.03, 0.0, 0.0, 0.0))
    frame, segmentation = cast_boxes([(0.2, -0.1, 0.15, 0.12, 0.08, 0.2)], camera=camera)
    package, = locate_packages(frame, segmentation, calibrated).items
    assert package.T_cam_package[:3, 3] == pytest.approx([0.2, -0.1, 0.96], abs=0.004)
    assert geometry.project(camera, package.T_cam_package[None, :3, 3]).shape == (1, 2)


def test_the_pick_order_cuts_circles_the_same_way_each_time():
    covered = {1: (2,), 2: (3,), 3: (1,), 4: ()}
    order = pick_order([1, 2, 3, 4], covered, {1: 0.1, 2: 0.3, 3: 0.2, 4: 0.05}, {})
    assert order[0] == 4
    assert order == (4, 2, 1, 3)


@pytest.mark.parametrize("gap", [0.0, 0.004, 0.02])
@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("x", [-0.25, 0.0, 0.2])
def test_a_taller_box_beside_a_lower_one_covers_nothing(cast_boxes, calibrated, x, side, gap):
    frame, segmentation = cast_boxes([(x, 0.0, 0.16, 0.12, 0.06, 0.0), (x + side * (0.13 + gap), 0.0, 0.1, 0.14, 0.18, 0.0)])
    packages = locate_packages(noisy(frame), segmentation, calibrated)
    assert [package.covered_by for package in packages.items] == [(), ()]
    assert packages.pick_order == (2, 1)


@given(st.lists(st.lists(st.floats(0, 1e-2), min_size=5, max_size=5), min_size=5, max_size=5))
def test_nothing_lies_on_itself_by_way_of_others(area):
    above = covers(np.array(area) * (1 - np.eye(5)), [1, 2, 3, 4, 5])
    order = pick_order([1, 2, 3, 4, 5], above, {}, {})
    for lower, uppers in above.items():
        assert all(order.index(upper) < order.index(lower) for upper in uppers)


def test_three_in_a_stack_are_lifted_from_the_top(cast_boxes, calibrated):
    boxes = [(0.0, 0.0, 0.3, 0.2, 0.06, 0.0), (0.02, 0.01, 0.2, 0.14, 0.12, 0.2), (0.04, 0.02, 0.1, 0.08, 0.18, 0.4)]
    frame, segmentation = cast_boxes(boxes, bottoms=[0.0, 0.06, 0.12])
    packages = locate_packages(noisy(frame), segmentation, calibrated)
    assert packages.items[1].covered_by == (3,)
    assert packages.items[0].covered_by == (2, 3)
    assert packages.pick_order == (3, 2, 1)


def test_sides_at_the_pictures_border_are_named(cast_boxes, calibrated):
    frame, segmentation = cast_boxes([(-0.48, 0.0, 0.2, 0.12, 0.05, 0.0), (0.0, 0.0, 0.2, 0.12, 0.05, 0.0)])
    entering, whole = locate_packages(frame, segmentation, calibrated).items
    assert (entering.cut_sides, whole.cut_sides) == ((True, False, False, False), (False,) * 4)
    assert whole.outline == pytest.approx((-0.1 / 0.95, -0.06 / 0.95, 0.1 / 0.95, 0.06 / 0.95), abs=0.004)


@given(st.lists(st.lists(st.integers(0, 3), min_size=7, max_size=7), min_size=1, max_size=5))
def test_runs_are_the_masks(rows):
    labels = np.array(rows, np.uint16)
    runs = runs_of(labels)
    again = np.zeros_like(labels)
    for label in range(1, len(runs.first)):
        spans = runs.spans[runs.first[label - 1]:runs.first[label]].tolist()
        assert spans == sorted(spans)
        for row, start, end in spans:
            assert not again[row, start:end].any()
            assert end == 7 or labels[row, end] != label
            again[row, start:end] = label
    assert np.array_equal(again, labels)
    assert runs.first[-1] == len(runs.spans)


def test_pictures_may_lie_in_memory_in_any_way_and_are_compiled_for_once(cast_boxes, calibrated):
    frame, segmentation = cast_boxes([(0.1, -0.05, 0.2, 0.12, 0.08, 0.4), (-0.15, 0.05, 0.1, 0.1, 0.15, 0.0)])
    depth, labels = frame.depth_m.copy(), segmentation.labels.copy()
    depth.setflags(write=False)
    upside_down = Frame(frame.rgb, np.asfortranarray(frame.depth_m), frame.camera, 0, "cam")
    loops = (locate.runs._runs, locate.packages._outlines, locate.belt._background_points, locate.belt._most_supported,
             locate.faces._sample, locate.faces._fit, locate.boxes._row_ends, locate.boxes._place, locate.boxes.box_covariances,
             locate.cover.overlaps)
    one = Frame(frame.rgb, depth, frame.camera, 0, "cam")
    first = locate_packages(one, segmentation, BeltConfig())
    locate_packages(Frame(frame.rgb, None, frame.camera, 0, "cam"), segmentation, calibrated)
    second = locate_packages(upside_down, Segmentation(labels[:, ::-1][:, ::-1], segmentation.instances), BeltConfig())
    for a, b in zip(first.items, second.items, strict=True):
        assert np.array_equal(a.T_cam_package, b.T_cam_package)
    assert [len(loop.signatures) for loop in loops] == [1] * len(loops)

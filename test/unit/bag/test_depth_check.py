"""What depth says against the configuration: found where it is wrong, silent where it is right or cannot be told."""

import dataclasses
import math

import numpy as np
import pytest

from perception_node.bag.depth_check import EVERY_NS, DepthCheck, unit_fault

BOXES = [(-0.2, -0.1, 0.3, 0.2, 0.12, 0.2), (0.15, 0.1, 0.25, 0.2, 0.05, 1.0)]


@pytest.fixture
def looked(cast_boxes, belt):
    """What is said of the belt's plane after some looks at a noisy frame."""
    frame, segmentation = cast_boxes(BOXES)
    rng = np.random.default_rng(3)

    def look(plane=belt, looks=3, shift=0.0, floor_m=0.0, scale=1.0):
        check = DepthCheck()
        depth = frame.depth_m.copy() + np.float32(shift)
        if floor_m:  # the belt is a strip in the middle, packed: what is left of it lies under the packages
            depth[(segmentation.labels == 0) & (np.abs(np.arange(depth.shape[0]) - 150) > 4)[:, None]] = 1.0 + floor_m
        for number in range(looks):
            noisy = (scale * (depth + rng.normal(0.0, 0.002, depth.shape))).astype(np.float32)
            seen = dataclasses.replace(frame, depth_m=noisy, stamp_ns=number * EVERY_NS)
            check.look(seen, segmentation.labels, None if plane is None else np.array(plane))
        return check
    return look


def tilted(degrees):
    """The belt turned about the point below the camera."""
    angle = math.radians(degrees)
    return 0.0, math.sin(angle), -math.cos(angle), math.cos(angle)


@pytest.mark.parametrize("plane", [None, (0.0, 0.0, -1.0, 1.0), (0.0, 0.0, -1.0, 1.008), tilted(0.5)])
def test_a_calibrated_belt_is_believed(looked, plane):
    assert looked(plane).plane == ""


@pytest.mark.parametrize(("plane", "words"), [
    ((0.0, 0.0, -1.0, 1.1), "on a plane 100 mm above it and turned by 0.0 degrees"),
    ((0.0, 0.0, -1.0, 0.97), "on a plane 30 mm below it and turned by 0.0 degrees"),
    ((0.0, 0.0, -1.0, 0.5), "on a plane 500 mm below it and turned by 0.0 degrees"),
    (tilted(6.0), "turned by 6.0 degrees"), (tilted(-15.0), "turned by 15.0 degrees")])
def test_a_belt_elsewhere_is_said_after_two_looks(looked, plane, words):
    assert looked(plane, looks=1).plane == ""
    assert words in looked(plane, looks=2).plane
    assert "docs/setup.md" in looked(plane).plane


def test_a_floor_beside_a_full_belt_is_no_belt(looked):
    assert looked(floor_m=0.4).plane == ""


def test_a_belt_that_is_found_again_is_good_again(cast_boxes, belt):
    frame, segmentation = cast_boxes(BOXES)
    check, moved = DepthCheck(), dataclasses.replace(frame, depth_m=frame.depth_m - np.float32(0.1))
    for number, seen in enumerate([moved, moved, frame]):
        check.look(dataclasses.replace(seen, stamp_ns=number * EVERY_NS), segmentation.labels, np.array(belt))
        assert bool(check.plane) == (number == 1)


def test_frames_between_two_looks_are_passed_over_and_a_clock_that_goes_back_is_none(cast_boxes, belt):
    frame, segmentation = cast_boxes(BOXES)
    check, wrong = DepthCheck(), np.array([0.0, 0.0, -1.0, 1.2])
    for stamp_ns in (9 * EVERY_NS, 9 * EVERY_NS + 1000, 9 * EVERY_NS + 2000):
        check.look(dataclasses.replace(frame, stamp_ns=stamp_ns), segmentation.labels, wrong)
    assert check.plane == ""
    check.look(dataclasses.replace(frame, stamp_ns=5), segmentation.labels, wrong)
    assert check.plane


@pytest.mark.parametrize(("scale", "right"), [(1.0, True), (1000.0, False), (0.001, False), (10.0, False)])
def test_a_wrong_unit_is_said(looked, scale, right):
    check = looked(scale=scale, looks=1)
    assert (check.unit == "") == right
    assert right or "16UC1 must hold millimetres and 32FC1 metres (REP-118)" in check.unit
    assert check.plane == ""


def test_a_median_is_written_without_a_power_of_ten():
    assert "its median is 1090 m" in unit_fault(np.full((4, 5), 1090.0, np.float32))


def test_nothing_is_said_of_depth_without_readings(cast_boxes, belt):
    assert unit_fault(np.full((4, 5), np.nan, np.float32)) == ""
    frame, segmentation = cast_boxes(BOXES)
    check = DepthCheck()
    for number, depth_m in enumerate((np.full_like(frame.depth_m, np.nan), None) * 3):
        check.look(dataclasses.replace(frame, depth_m=depth_m, stamp_ns=number * EVERY_NS), segmentation.labels, np.array(belt))
    assert (check.unit, check.plane) == ("", "")

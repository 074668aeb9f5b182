"""The tracker on simulated pictures, and on pictures that no camera should deliver."""

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perception_node.beacon.hypotheses import difference
from perception_node.beacon.limits import FIXED
from perception_node.beacon.settings import BeaconSettings
from perception_node.beacon.tracker import BeaconTracker, attitude_rpy_rad
from perception_node.errors import ConfigError
from perception_node.sim import beacon_run as runs
from perception_node.sim.beacon import BeaconCamera, BeaconScene, Lamp, Optics, Sensor
from perception_node.types import CameraModel

SMALL = CameraModel(fx=500.0, fy=505.0, cx=162.0, cy=118.0, width=320, height=240)


def still(leds_m, T, count=3, camera=SMALL, **scene):
    """Pictures of a beacon that stands still."""
    lens = BeaconCamera(camera, Optics(), Sensor(hot_pixels=5), 11)
    return [lens.take(BeaconScene(leds_m=leds_m, power=60.0, **scene), lambda t: T, k / 30) for k in range(count)]


def at(z, tilt=(0.25, -0.2, 0.1), x=0.0):
    T = np.eye(4)
    T[:3, :3] = cv2.Rodrigues(np.array(tilt))[0] @ np.diag([1.0, -1.0, -1.0])
    T[:3, 3] = x, 0.0, z
    return T


def follow(tracker, pictures):
    return [tracker.update(gray, 1_000 + k * 33_000_000) for k, gray in enumerate(pictures)]


def judge(pose, T):
    error = difference(pose.T_cam_beacon, T)
    return np.linalg.norm(error[:3]), np.linalg.norm(error[3:]), error @ np.linalg.solve(pose.covariance, error)


@pytest.mark.parametrize("where", ["near", "far"])
def test_runs_give_a_pose_in_each_picture_after_the_first(where, request):
    frames = request.getfixturevalue(where)
    tracker = BeaconTracker(runs.CAMERA, runs.RAISED)
    poses = [tracker.update(frame.gray, frame.stamp_ns) for frame in frames]
    assert poses[0] is None
    for frame, pose in zip(frames[1:], poses[1:], strict=True):
        position_m, attitude_rad, distance2 = judge(pose, frame.T_cam_beacon)
        assert pose.good
        assert pose.stamp_ns == frame.stamp_ns
        assert position_m < 0.01 * frame.range_m
        assert attitude_rad < np.deg2rad(1.0)
        assert distance2 < 25.0
        assert pose.range_m == pytest.approx(frame.range_m, rel=0.01)
        assert pose.seen == (0, 1, 2, 3)
    assert tracker.state == "tracking"


def test_fixed_limits_fail_where_flare_sets_in(near):
    fixed = BeaconTracker(runs.CAMERA, runs.RAISED, limits=FIXED)
    poses = [fixed.update(frame.gray, frame.stamp_ns) for frame in near]
    assert not any(poses)
    assert fixed.state == "searching"


def test_one_of_five_hidden_goes_on_and_one_of_four_is_degraded():
    for leds, degraded in ((runs.FIVE, False), (runs.RAISED, True)):
        T = at(0.6)
        tracker = BeaconTracker(SMALL, leds)
        follow(tracker, still(leds, T))
        [gray] = still(leds, T, 1, hidden=frozenset({2}))
        pose = tracker.update(gray, 10**9 // 5)
        assert pose is not None
        assert pose.degraded == degraded
        assert pose.good != degraded
        assert pose.hidden == (2,)
        assert "1 of" in tracker.why
        assert ("degraded" in pose.why) == degraded
        assert judge(pose, T)[2] < 25.0


def test_a_plain_square_is_ambiguous_unless_its_turn_is_known():
    T = at(0.5)
    pictures = still(runs.SQUARE, T)
    free = follow(BeaconTracker(SMALL, runs.SQUARE), pictures)[-1]
    assert len(free.alternatives) >= 3
    assert not free.good
    assert "ambiguous" in free.why
    assert np.sqrt(np.linalg.eigvalsh(free.covariance[3:, 3:])[-1]) > 1.0  # rad: it spans the turns
    known = follow(BeaconTracker(SMALL, runs.SQUARE, BeaconSettings(max_roll_rad=0.6)), pictures)[-1]
    assert known.good or len(known.alternatives) == 1  # the mirrored tilt, at most
    assert judge(known, T)[1] < 0.1 or not known.good


def test_a_flat_beacon_far_away_is_ambiguous_and_near_it_is_not():
    far, near = at(2.5, (0.02, 0.3, 0.0)), at(0.4, (0.02, 0.3, 0.0))
    pose = follow(BeaconTracker(runs.CAMERA, runs.FLAT), still(runs.FLAT, far, 3, runs.CAMERA))[-1]
    assert pose is None or not pose.good or judge(pose, far)[1] < 0.1
    pose = follow(BeaconTracker(runs.CAMERA, runs.FLAT), still(runs.FLAT, near, 8, runs.CAMERA))[-1]
    assert pose.good
    assert judge(pose, near)[1] < 0.02


def test_other_lights_and_reflections_are_not_the_beacon():
    T = at(0.7)
    lamps = tuple(Lamp((x, y, -0.1), 0.004, 2.0) for x, y in ((0.12, 0.1), (-0.13, 0.05), (0.0, -0.12), (0.15, -0.1)))
    tracker = BeaconTracker(SMALL, runs.RAISED)
    pose = follow(tracker, still(runs.RAISED, T, 4, lamps=lamps, floor_m=-0.1, floor_gain=0.3))[-1]
    assert pose is not None
    assert not pose.good or judge(pose, T)[0] < 0.005


def test_without_the_beacon_lamps_give_no_pose():
    lamps = tuple(Lamp((x, y, 0.0), 0.002, 1.0) for x, y in ((0.1, 0.1), (-0.13, 0.02), (0.0, -0.12), (0.02, 0.03), (0.15, -0.1)))
    tracker = BeaconTracker(SMALL, runs.RAISED)
    lost = follow(tracker, still(runs.RAISED, at(0.7), 3, lamps=lamps, hidden=frozenset(range(4))))
    assert lost == [None] * 3
    assert tracker.state == "searching"
    assert "fit the layout" in tracker.why or "lights in the picture" in tracker.why


def test_lost_is_said_and_found_again():
    T = at(0.6)
    tracker = BeaconTracker(SMALL, runs.RAISED)
    follow(tracker, still(runs.RAISED, T))
    dark = np.full((240, 320), 10, np.uint8)
    assert tracker.update(dark, 200_000_000) is None
    assert (tracker.state, "lights in the picture" in tracker.why) == ("lost", True)
    pose = tracker.update(still(runs.RAISED, at(0.6, x=0.06), 1)[0], 260_000_000)  # it moved while nobody saw it
    assert pose is not None
    assert judge(pose, at(0.6, x=0.06))[0] < 0.003
    assert tracker.update(dark, 300_000_000) is None
    assert tracker.update(dark, 3_000_000_000) is None
    assert tracker.state == "searching"


def test_stamps_that_stand_still_or_go_back_give_no_pose():
    tracker, gray = BeaconTracker(SMALL, runs.RAISED), still(runs.RAISED, at(0.6), 1)[0]
    for stamp in (5 * 10**9, 5 * 10**9 + 33_000_000):
        pose = tracker.update(gray, stamp)
    assert pose is not None
    for stamp in (5 * 10**9 + 33_000_000, 5 * 10**9):
        assert tracker.update(gray, stamp) is None
        assert "expected a stamp after the last one" in tracker.why
    assert tracker.update(gray, 10**9) is None  # a recording that begins again: the beacon must be confirmed anew
    assert tracker.update(gray, 10**9 + 33_000_000).stamp_ns == 10**9 + 33_000_000


@pytest.mark.parametrize(("gray", "words"), [
    (np.zeros((240, 320)), "expected (H, W) uint8 or uint16"), (np.zeros((240, 320, 3), np.uint8), "(240, 320, 3)"),
    (np.zeros((100, 320), np.uint8), "picture is 320x100, the calibration says 320x240"), (None, "got NoneType"),
    (np.zeros((240, 320), np.int16), "int16"), (np.full((240, 320), 255, np.uint8), "the picture is saturated"),
    (np.full((240, 320), 65535, np.uint16), "the picture is saturated"), (np.zeros((240, 320), np.uint8), "the picture is dark")])
def test_impossible_pictures_are_lost_with_words(gray, words):
    tracker = BeaconTracker(SMALL, runs.RAISED)
    follow(tracker, still(runs.RAISED, at(0.6)))
    assert tracker.state == "tracking"
    assert tracker.update(gray, 200_000_000) is None
    assert tracker.state == "lost"
    assert words in tracker.why


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_picture_raises(data):
    shape = data.draw(st.sampled_from([(240, 320), (240, 321), (0, 0), (240,), (3, 4)]))
    dtype = data.draw(st.sampled_from([np.uint8, np.uint16, np.float32, bool]))
    kind = data.draw(st.sampled_from(["noise", "flat", "points", "stripes"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    top = 65535 if dtype == np.uint16 else 255
    gray = np.zeros(shape)
    if kind == "noise":
        gray = rng.integers(0, top + 1, shape)
    elif kind == "flat":
        gray = np.full(shape, rng.integers(0, top + 1))
    elif kind == "stripes" and len(shape) == 2:
        gray[::3] = top
    elif gray.size:
        gray.ravel()[rng.integers(0, gray.size, 30)] = top
    tracker = BeaconTracker(SMALL, runs.RAISED)
    last = None
    for stamp in data.draw(st.lists(st.integers(-10**10, 10**10), min_size=1, max_size=4)):
        pose = tracker.update(gray.astype(dtype), stamp)
        assert tracker.state in ("searching", "tracking", "lost")
        assert pose is not None or tracker.why
        assert pose is None or (pose.stamp_ns == stamp and stamp != last)
        last = stamp


def test_attitude_is_roll_pitch_yaw():
    def turn(axis, angle):
        return cv2.Rodrigues(np.eye(3)[axis] * angle)[0]
    T = np.eye(4)
    T[:3, :3] = turn(2, 0.3) @ turn(1, -0.4) @ turn(0, 0.5)
    np.testing.assert_allclose(attitude_rpy_rad(T), (0.5, -0.4, 0.3), atol=1e-12)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="max_roll_rad: expected 0.01 to 3.14159 rad, got 4"):
        BeaconSettings(max_roll_rad=4.0)
    assert dataclasses.replace(BeaconSettings(), confirm_pictures=1).confirm_pictures == 1


def test_the_simulator_puts_lights_where_they_are():
    """Held against the tracker's own projection, which the simulator does not use."""
    from perception_node.geometry import project
    camera = dataclasses.replace(SMALL, distortion=(-0.2, 0.05, 0.001, -0.002))
    T, leds = at(0.5), runs.RAISED
    lens = BeaconCamera(camera, Optics(miscalibrated_px=0.0), Sensor(), 1)
    points = leds @ T[:3, :3].T + T[:3, 3]
    np.testing.assert_allclose(lens.project(points), project(camera, points), atol=1e-6)
    dark, lit = (lens.take(BeaconScene(leds_m=leds, power=p), lambda t: T, 0.0).astype(float) for p in (0.0, 60.0))
    for u, v in project(camera, points):
        patch = (lit - dark)[round(v) - 4 : round(v) + 5, round(u) - 4 : round(u) + 5]
        rows, columns = np.mgrid[-4:5, -4:5]
        assert patch.max() > 150
        assert abs((patch * columns).sum() / patch.sum() + round(u) - u) < 0.5
        assert abs((patch * rows).sum() / patch.sum() + round(v) - v) < 0.5


def test_a_plate_hides_lamps_behind_it_and_flare_is_a_rectangle():
    T = at(0.5, (0.0, 0.0, 0.0))
    lamp = Lamp((0.0, 0.0, -0.3), 0.004, 5.0)
    frame, plate = (still(runs.RAISED, T, 1, lamps=(lamp,), plate_m=size, hidden=frozenset(range(4)))[0] for size in (0.0, 0.07))
    assert frame.max() == 255
    assert plate[80:160, 120:200].max() < 100
    near = still(runs.RAISED, at(0.3, (0.0, 0.0, 0.0)), 1)[0]
    spots = cv2.connectedComponentsWithStats((near > 250).astype(np.uint8))[2][1:]
    big = spots[spots[:, cv2.CC_STAT_AREA] > 60]
    fill = big[:, cv2.CC_STAT_AREA] / (big[:, cv2.CC_STAT_WIDTH] * big[:, cv2.CC_STAT_HEIGHT])
    assert len(big) == 4
    assert fill.min() > 0.85  # a disc fills 0.79 of its box

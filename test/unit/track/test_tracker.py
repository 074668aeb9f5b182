from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception_node.config import BeltConfig, TrackConfig
from perception_node.grasp.deadline import deadlines_ns, travel_direction
from perception_node.track import Tracker
from perception_node.track.match import PLAIN, Outlines, fit_cost
from perception_node.types import Package, Packages

PLANE = (0.0, 0.0, -1.0, 1.0)
NS = 1_000_000_000


def package(label, x, y=0.0, size=(0.2, 0.12, 0.05), name="box", truncated=False, placed=True):
    pose = np.eye(4)
    pose[:3, :3] = np.diag([1.0, -1.0, -1.0])
    pose[:3, 3] = x, y, 0.95
    return Package(label=label, class_name=name, score=0.9, T_cam_package=pose, size_m=size, covariance=np.eye(6) * 4e-6,
                   visible_fraction=1.0, covered_by=(), depth_valid_fraction=1.0, from_depth=True, truncated=truncated,
                   placed=placed)


def scene(*packages):
    return Packages(tuple(packages), np.array(PLANE), tuple(p.label for p in packages))


def tracker(**track):
    return Tracker(TrackConfig(**track), BeltConfig(plane=PLANE))


def run(follower, positions, frames, velocity, dt=1 / 15, seed=0, sigma=0.001, start_ns=0):
    """Move packages at a velocity(t) along x; yields each update."""
    rng = np.random.default_rng(seed)
    x = np.array(positions, dtype=float)
    for n in range(frames):
        noise = rng.normal(0, sigma, (len(x), 2))
        items = [package(i + 1, x[i] + noise[i, 0], 0.15 * i + noise[i, 1]) for i in range(len(x))]
        yield n, x.copy(), follower.update(scene(*items), start_ns + round(n * dt * NS))
        x = x + velocity(n * dt) * dt


@pytest.mark.parametrize("speed", [0.0, 0.05, 0.3, -0.3, 1.5])
def test_ids_stay_and_the_belt_is_measured(speed):
    ids = []
    for _, _, update in run(tracker(), [-0.3, -0.1, 0.2], 20, lambda t: speed):
        ids.append([track.track_id for track in update.tracks])
    assert ids[0] == [1, 2, 3]
    assert all(now == ids[0] for now in ids)
    assert update.belt_velocity_m_s == pytest.approx([speed, 0, 0], abs=max(0.004, 0.02 * abs(speed)))
    assert update.tracks[0].velocity_m_s == pytest.approx(update.belt_velocity_m_s, abs=1e-9)


def test_half_a_second_ahead_is_predicted_within_millimetres_and_its_own_doubt():
    errors = []
    for _, x, update in run(tracker(), [-0.3, -0.1, 0.2, 0.3], 30, lambda t: 0.3):
        pose, covariance = update.tracks[0].at(update.tracks[0].stamp_ns + NS // 2)
        errors.append(abs(pose[0, 3] - (x[0] + 0.15)))
    assert np.median(errors[8:]) < 0.003
    assert errors[-1] < 4 * np.sqrt(covariance[0, 0])


def test_a_belt_that_stops_is_noticed():
    for n, _, update in run(tracker(), [-0.3, 0.0, 0.2], 45, lambda t: 0.4 if t < 1.5 else 0.0):
        if n == 22:
            assert update.belt_velocity_m_s[0] == pytest.approx(0.4, abs=0.01)
    assert abs(update.belt_velocity_m_s[0]) < 0.01


def test_a_backward_stamp_resets_once_and_ids_are_not_used_again():
    follower = tracker()
    *_, (_, _, before) = run(follower, [0.0], 5, lambda t: 0.0, start_ns=100 * NS)
    after = follower.update(scene(package(1, 0.0)), 3 * NS)
    assert after.reset
    assert after.belt_velocity_m_s is None
    assert after.tracks[0].track_id > before.tracks[0].track_id
    assert not follower.update(scene(package(1, 0.0)), 3 * NS + 1).reset
    follower.reset()
    assert follower.update(scene(package(1, 0.0)), 0).tracks[0].track_id == 1


def test_a_leap_of_the_clock_resets():
    follower = tracker()
    follower.update(scene(package(1, 0.0)), 0)
    assert follower.update(scene(package(1, 0.0)), 1000 * NS).reset


def test_the_same_stamp_again_changes_nothing():
    follower = tracker()
    *_, (_, _, before) = run(follower, [-0.2, 0.1], 10, lambda t: 0.3)
    stamp = before.tracks[0].stamp_ns
    again = follower.update(scene(*(track.package for track in before.tracks)), stamp)
    assert [t.track_id for t in again.tracks] == [t.track_id for t in before.tracks]
    assert np.array_equal(again.belt_velocity_m_s, before.belt_velocity_m_s)
    assert np.array_equal(again.tracks[0].T_cam_package, before.tracks[0].T_cam_package)
    assert not again.reset


def test_a_briefly_missed_package_keeps_its_id_and_a_long_missed_one_does_not():
    follower = tracker(max_missed_s=0.5)
    for n in range(10):
        follower.update(scene(package(1, 0.02 * n), package(2, 0.02 * n, 0.2)), round(n / 15 * NS))
    for n in range(10, 15):
        follower.update(scene(package(1, 0.02 * n)), round(n / 15 * NS))
    back = follower.update(scene(package(1, 0.3), package(2, 0.3, 0.2)), NS)
    assert [t.track_id for t in back.tracks] == [1, 2]
    for n in range(20):
        follower.update(scene(package(1, 0.3 + 0.02 * n)), NS + round((n + 1) / 15 * NS))
    late = follower.update(scene(package(1, 0.7), package(2, 0.7, 0.2)), NS + round(21 / 15 * NS))
    assert [t.track_id for t in late.tracks] == [1, 3]


def test_merged_then_split_packages_get_their_ids_back():
    follower = tracker()
    for n in range(8):
        follower.update(scene(package(1, 0.02 * n), package(2, 0.02 * n, 0.13)), round(n / 15 * NS))
    merged = follower.update(scene(package(1, 0.16, 0.065, size=(0.2, 0.25, 0.05))), round(8 / 15 * NS))
    assert len(merged.tracks) == 1
    split = follower.update(scene(package(1, 0.18), package(2, 0.18, 0.13)), round(9 / 15 * NS))
    assert sorted(t.track_id for t in split.tracks) == [1, 2]
    assert split.tracks[0].track_id == 1


def test_two_in_one_mask_for_longer_than_a_track_may_be_missed_get_their_ids_back():
    follower = tracker(max_missed_s=0.2)
    for n in range(10):
        first = follower.update(scene(package(1, 0.02 * n), package(2, 0.02 * n, 0.13)), round(n / 15 * NS))
    for n in range(10, 17):
        held = follower.update(scene(package(1, 0.02 * n, 0.065, size=(0.2, 0.25, 0.05))), round(n / 15 * NS))
        track, = held.tracks
        mine = track.track_id - 1
        assert np.linalg.norm(track.T_cam_package[:2, 3] - [0.02 * n, 0.13 * mine]) < 0.004, "the middle of both is nobody's place"
        assert held.belt_velocity_m_s == pytest.approx([0.3, 0, 0], abs=0.003)
    split = follower.update(scene(package(1, 0.34), package(2, 0.34, 0.13)), round(17 / 15 * NS))
    assert [t.track_id for t in split.tracks] == [t.track_id for t in first.tracks]


def test_a_mask_that_stays_that_large_is_one_package_in_the_end():
    follower = tracker(max_missed_s=0.2)
    for n in range(10):
        follower.update(scene(package(1, 0.02 * n), package(2, 0.02 * n, 0.13)), round(n / 15 * NS))
    for n in range(10, 30):
        last = follower.update(scene(package(1, 0.02 * n, 0.065, size=(0.2, 0.25, 0.05))), round(n / 15 * NS)).tracks[0]
    assert last.T_cam_package[1, 3] == pytest.approx(0.065, abs=0.003)
    split = follower.update(scene(package(1, 0.6), package(2, 0.6, 0.13)), round(30 / 15 * NS))
    assert sorted(t.track_id for t in split.tracks) == [last.track_id, 3]


def test_a_package_that_falls_into_pieces_now_and_then_keeps_its_id_whichever_piece_is_larger():
    follower = tracker()
    ids = []
    for n in range(24):
        x = 0.02 * n
        if n % 4 < 2:
            items = [package(1, x, size=(0.3, 0.2, 0.05))]
        else:  # 0.3 m as 0.18 + 0.12, or the other way round
            left = 0.18 if n % 8 < 4 else 0.12
            items = [package(1, x - 0.15 + left / 2, size=(left, 0.2, 0.05)),
                     package(2, x + left / 2, size=(0.3 - left, 0.2, 0.05))]
        tracks = follower.update(scene(*items), round(n / 15 * NS)).tracks
        if len(items) == 1:
            ids.append(tracks[0].track_id)
    assert ids == [1] * 12


def test_what_leaves_keeps_its_id_when_most_of_it_is_still_seen_however_far_its_inner_side_leaps():
    cut = np.array([[False, False, True, False]])
    leaving, shrunk = (Outlines(np.array([[left, 0.14, 0.54, 0.3]]), cut, np.ones(1), np.full(1, 0.02), ("box",))
                       for left in (0.25, 0.35))
    assert fit_cost(leaving, shrunk, 0.08)[0, 0] < PLAIN


def test_a_mask_that_holds_two_keeps_the_id_of_one_of_them_and_not_of_a_splinter_on_their_seam():
    follower = tracker()
    halves = package(1, -0.1), package(2, 0.1)
    first = follower.update(scene(*halves), 0)
    follower.update(scene(*halves, package(3, 0.0, size=(0.1, 0.12, 0.05))), NS // 15)
    both = follower.update(scene(package(1, 0.0, size=(0.4, 0.12, 0.05))), 2 * NS // 15)
    assert both.tracks[0].track_id in {track.track_id for track in first.tracks}
    again = follower.update(scene(*halves), 3 * NS // 15)
    assert [track.track_id for track in again.tracks] == [track.track_id for track in first.tracks]


def test_order_of_labels_does_not_matter():
    follower = tracker()
    follower.update(scene(package(1, 0.0), package(2, 0.0, 0.3)), 0)
    swapped = follower.update(scene(package(1, 0.01, 0.3), package(2, 0.01)), NS // 15)
    assert [t.track_id for t in swapped.tracks] == [2, 1]


def test_a_measured_belt_velocity_is_used_and_handed_on():
    follower = tracker()
    update = follower.update(scene(package(1, 0.0)), 0, [0.5, 0.0, 0.0])
    assert update.belt_velocity_m_s == pytest.approx([0.5, 0, 0])
    assert update.tracks[0].velocity_m_s == pytest.approx([0.5, 0, 0])


def test_what_cannot_be_placed_is_not_tracked():
    update = tracker().update(scene(package(1, 0.0, placed=False)), 0)
    assert update.tracks[0].track_id == 0


def test_a_package_that_is_not_carried_along_has_a_velocity_of_its_own():
    follower = tracker()
    for n in range(25):
        carried = [package(i + 1, -0.3 + 0.02 * n, 0.15 * i) for i in range(3)]
        update = follower.update(scene(*carried, package(4, 0.3, 0.6)), round(n / 15 * NS))
    assert update.belt_velocity_m_s[0] == pytest.approx(0.3, abs=0.006)
    assert abs(update.tracks[3].velocity_m_s[0]) < 0.01


def test_an_empty_belt_is_no_problem():
    follower = tracker()
    assert follower.update(scene(), 0).tracks == ()
    assert follower.update(scene(), NS).belt_velocity_m_s is None


def flat(label, x, y=0.0):
    """Without depth: on the belt plane, its height anything up to 0.8 m."""
    known = package(label, x, y)
    ray = np.array([x, y, 1.0]) / np.linalg.norm([x, y, 1.0])
    covariance = np.eye(6) * 4e-6
    covariance[:3, :3] += np.outer(ray, ray) * 0.23**2
    return replace(known, from_depth=False, size_m=(0.2, 0.12, 0.0), covariance=covariance)


def test_without_depth_the_belt_is_measured_and_its_speed_is_in_doubt():
    follower = tracker()
    for n in range(20):
        update = follower.update(scene(flat(1, -0.3 + 0.02 * n), flat(2, -0.1 + 0.02 * n, 0.2)), round(n / 15 * NS))
    assert [track.track_id for track in update.tracks] == [1, 2]
    assert update.belt_velocity_m_s[0] == pytest.approx(0.3, abs=0.01)
    assert np.sqrt(update.tracks[0].velocity_covariance[0, 0]) > 0.05  # 0.1 m of height is a tenth of the speed


@given(st.floats(-1.0, 1.0), st.integers(0, 2**31), st.sampled_from([5.0, 15.0, 30.0]), st.floats(0.0, 0.3))
@settings(max_examples=12, deadline=None)
def test_ids_survive_any_speed_noise_and_missed_masks(speed, seed, rate_hz, missed):
    follower, rng = tracker(), np.random.default_rng(seed)
    known = {}
    last = {}
    for n in range(15):
        x = -0.2 + speed * n / rate_hz
        items = [package(i + 1, x + rng.normal(0, 0.001), 0.2 * i + rng.normal(0, 0.001)) for i in range(4)]
        update = follower.update(scene(*[p for p in items if n < 3 or rng.random() >= missed]), round(n / rate_hz * NS))
        for track in update.tracks:
            if track.label in known and (n - last[track.label]) / rate_hz <= 0.6:
                assert track.track_id == known[track.label]
            known[track.label], last[track.label] = track.track_id, n


def test_a_belt_that_turns_round_keeps_its_ids():
    ids = [[track.track_id for track in update.tracks]
           for _, _, update in run(tracker(), [-0.3, -0.05, 0.2], 30, lambda t: 0.6 if t < 1.0 else -0.6)]
    assert all(now == ids[0] for now in ids)


def test_an_entering_package_keeps_its_id_while_its_depth_leaps():
    follower = tracker()
    for n in range(10):
        right = -0.45 + 0.02 * n
        left = max(right - 0.2, -0.5)
        depth = 1.15 if n % 2 else 0.95  # of its side, of its top
        entering = package(2, (left + right) / 2 * depth, truncated=left == -0.5)
        pose = entering.T_cam_package.copy()
        pose[2, 3] = depth
        cut = (left == -0.5, False, False, False)
        entering = replace(entering, T_cam_package=pose, outline=(left, 0.0, right, 0.1), cut_sides=cut)
        update = follower.update(scene(package(1, -0.2 + 0.02 * n, -0.3), entering), round(n / 15 * NS))
        assert [track.track_id for track in update.tracks] == [1, 2]


def test_what_enters_is_not_what_leaves():
    follower = tracker()
    for n in range(20):
        leaving = replace(package(2, 0.4, truncated=True), outline=(0.3 + 0.02 * n, 0.0, 0.5, 0.1),
                          cut_sides=(False, False, True, False))
        entering = replace(package(3, -0.45, truncated=True), outline=(-0.5, 0.0, -0.65 + 0.02 * n, 0.1),
                           cut_sides=(True, False, False, False))
        update = follower.update(scene(package(1, 0.02 * n - 0.3, -0.3), leaving if n < 9 else entering), round(n / 15 * NS))
    assert {track.label: track.track_id for track in update.tracks} == {1: 1, 3: 3}


def bordering(label, right, stays, y=0.0):
    """Cut off by the right border at 0.5 m, `stays` metres of it still in sight."""
    return replace(package(label, right - stays / 2, y, truncated=True), outline=(0.5 - stays, y - 0.05, 0.5, y + 0.05),
                   cut_sides=(False, False, True, False))


def test_what_is_nearly_out_of_sight_keeps_its_id_when_the_belt_stops():
    follower = tracker()
    for n in range(25):
        x = 0.02 * min(n, 14)
        update = follower.update(scene(package(1, x - 0.3), package(2, x - 0.2, 0.2), package(3, x - 0.1, -0.2),
                                       bordering(4, 0.5, 0.285 - x, 0.4)), round(n / 15 * NS))
        assert [track.track_id for track in update.tracks] == [1, 2, 3, 4]


def test_what_is_missed_while_the_belt_turns_round_is_found_again():
    follower = tracker()
    for n in range(20):
        x = 0.04 * (n if n < 10 else 18 - n)
        rest = [] if 8 <= n < 13 else [package(4, x - 0.3, 0.5)]
        update = follower.update(scene(package(1, x - 0.3), package(2, x - 0.2, 0.2), package(3, x - 0.1, -0.2), *rest),
                                 round(n / 15 * NS))
        assert [track.track_id for track in update.tracks] == [1, 2, 3, 4][:len(update.tracks)]


def test_one_missed_and_one_new_is_no_leap_of_the_belt():
    follower = tracker()
    for n in range(6):
        follower.update(scene(package(1, 0.0), package(2, 0.0, 0.2)), round(n / 15 * NS))
    update = follower.update(scene(package(1, 0.0), package(3, 0.0, -0.2)), round(6 / 15 * NS))
    assert [track.track_id for track in update.tracks] == [1, 3]
    assert abs(update.belt_velocity_m_s[1]) < 0.01


def test_a_belt_that_speeds_up_is_followed_closely():
    follower, errors = tracker(), []
    for n in range(45):
        t = n / 15
        x = 0.15 * t + 0.1 * t**2  # 0.2 m/s2
        update = follower.update(scene(*[package(i + 1, x - 0.5, 0.2 * i) for i in range(4)]), round(t * NS))
        if n >= 12:
            errors.append(abs(update.belt_velocity_m_s[0] - (0.15 + 0.2 * t)))
    assert np.median(errors) < 0.015  # the mean of the last 0.2 s is 0.02 behind, that of 0.4 s 0.04


def deadline_s(update, belt):
    """Seconds from the frame until the first package leaves the arm's window, None = never."""
    track = update.tracks[0]
    position, direction = track.T_cam_package[:3, 3], travel_direction(belt, update.belt_velocity_m_s)
    deadline, = deadlines_ns(position[None], track.velocity_m_s[None], track.stamp_ns, belt, direction)
    return None if deadline is None else (deadline - track.stamp_ns) / NS


def test_deadlines_end_when_the_belt_stops_and_turn_with_it():
    belt = BeltConfig(plane=PLANE, direction=(1.0, 0.0, 0.0), reach_min_m=-0.5, reach_max_m=0.5)
    follower = Tracker(TrackConfig(), belt)
    left = {}
    for n, x, update in run(follower, [-0.3, -0.1, 0.1], 60, lambda t: 0.3 if t < 1.0 else 0.0 if t < 2.5 else -0.3):
        left[n] = deadline_s(update, belt), x[0]
    assert left[14][0] == pytest.approx((0.5 - left[14][1]) / 0.3, abs=0.05)
    assert left[35][0] is None
    assert left[59][0] == pytest.approx((left[59][1] + 0.5) / 0.3, abs=0.05)


def test_a_jump_of_the_clock_takes_velocity_and_deadlines_with_it():
    belt = BeltConfig(plane=PLANE, reach_min_m=-0.5, reach_max_m=0.5)
    follower = Tracker(TrackConfig(), belt)
    *_, (_, _, before) = run(follower, [-0.3, 0.0, 0.2], 10, lambda t: 0.3, start_ns=100 * NS)
    assert deadline_s(before, belt) is not None
    after = [update for _, _, update in run(follower, [-0.3, 0.0, 0.2], 10, lambda t: 0.3)]
    assert [update.reset for update in after] == [True] + 9 * [False]
    assert after[0].belt_velocity_m_s is None
    assert deadline_s(after[0], belt) is None
    assert deadline_s(after[-1], belt) == pytest.approx(deadline_s(before, belt), abs=0.1)

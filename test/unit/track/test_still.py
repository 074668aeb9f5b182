"""What never moved with a moving belt is machinery; what once rode it is a package for good."""

from dataclasses import replace

import numpy as np
import pytest

from perception_node.config import BeltConfig, TrackConfig
from perception_node.track import Tracker
from perception_node.types import Package, Packages

PLANE = (0.0, 0.0, -1.0, 1.0)
NS = 1_000_000_000
HZ = 20


def package(label, x, y=0.0, cut=(False, False, False, False)):
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[:3, 3] = x, y, 0.95
    return Package(label=label, class_name="box", score=0.9, T_cam_package=pose, size_m=(0.2, 0.12, 0.05),
                   covariance=np.eye(6) * 4e-6, visible_fraction=1.0, covered_by=(), depth_valid_fraction=1.0, from_depth=True,
                   truncated=any(cut), cut_sides=cut)


def drive(places, speed=0.24, still_s=1.0, seconds=2.0, cut=(False, False, False, False), measured=True):
    """The updates of packages whose x is given by functions of the time; label 1, 2 ... in their order."""
    follower = Tracker(TrackConfig(still_s=still_s), BeltConfig(plane=PLANE))
    rng = np.random.default_rng(1)
    for n in range(round(seconds * HZ) + 1):
        t = n / HZ
        items = tuple(package(k + 1, place(t) + rng.normal(0, 0.003), 0.3 * k, cut) for k, place in enumerate(places))
        belt = np.array([speed if not callable(speed) else speed(t), 0.0, 0.0]) if measured else None
        yield t, follower.update(Packages(items, np.array(PLANE), tuple(p.label for p in items)), round(t * NS), belt)


def test_what_stays_while_the_belt_runs_is_named_with_its_numbers():
    *_, (t, update) = drive([lambda t: 0.1, lambda t: -0.3 + 0.24 * t])
    assert set(update.still) == {1}
    stay = update.still[1]
    assert (stay.time_s, stay.belt_m) == (pytest.approx(t), pytest.approx(0.24 * t, rel=0.01))
    assert abs(stay.moved_m) < 0.015


def test_nothing_is_said_before_its_time_or_without_a_way_of_the_belt():
    for t, update in drive([lambda t: 0.1], seconds=0.9):
        assert not update.still, t
    assert not any(update.still for _, update in drive([lambda t: 0.1], speed=0.0, seconds=5.0))
    assert not any(update.still for _, update in drive([lambda t: 0.1], speed=0.04, seconds=2.0))


def test_zero_turns_it_off():
    assert not any(update.still for _, update in drive([lambda t: 0.1], still_s=0.0, seconds=4.0))


def test_a_package_that_is_jammed_after_it_rode_stays_a_package():
    jammed = [lambda t: -0.3 + 0.24 * min(t, 0.8)]
    assert not any(update.still for _, update in drive(jammed, seconds=6.0))


def test_a_belt_that_stops_and_starts_carries_its_packages():
    def speed(t):
        return 0.24 if t % 2 < 1 else 0.0

    def place(t):
        return -0.5 + 0.24 * (t // 2 + min(t % 2, 1.0))

    assert not any(update.still for _, update in drive([place], speed=speed, seconds=5.0))


def test_half_of_the_belts_way_is_a_package_that_comes_into_the_picture():
    cut = (True, False, False, False)
    assert not any(update.still for _, update in drive([lambda t: -0.3 + 0.12 * t], cut=cut))


def test_what_is_cut_before_and_behind_cannot_be_judged():
    assert not any(update.still for _, update in drive([lambda t: 0.1], cut=(True, False, True, False), seconds=4.0))
    *_, (_, across) = drive([lambda t: 0.1], cut=(False, True, False, True))
    assert set(across.still) == {1}


def test_the_belts_velocity_may_be_learned_from_the_packages_beside_it():
    places = [lambda t: 0.1, *(lambda t, x=x: x + 0.24 * t for x in (-0.6, -0.3, 0.0))]
    *_, (_, update) = drive(places, measured=False)
    assert set(update.still) == {1}


def test_a_new_clock_forgets():
    follower = Tracker(TrackConfig(), BeltConfig(plane=PLANE))
    belt = np.array([0.3, 0.0, 0.0])
    for start_ns in (100 * NS, 0):
        for n in range(30):
            items = (package(1, 0.1),)
            update = follower.update(Packages(items, np.array(PLANE), (1,)), start_ns + n * NS // HZ, belt)
            assert bool(update.still) == (n / HZ >= 1.0)


def test_what_has_no_place_is_not_judged():
    follower = Tracker(TrackConfig(), BeltConfig(plane=PLANE))
    for n in range(60):
        items = (replace(package(1, 0.1), placed=False),)
        assert not follower.update(Packages(items, None, (1,)), n * NS // HZ, np.array([0.3, 0.0, 0.0])).still

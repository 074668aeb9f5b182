"""The drive's reading against what the packages do."""

from dataclasses import dataclass

import numpy as np
import pytest

from perception_node.config import BeltConfig, TrackConfig
from perception_node.track import Tracker
from perception_node.track.reading import ReadingCheck
from perception_node.types import Package, Packages

PLANE = (0.0, 0.0, -1.0, 1.0)
NS = 1_000_000_000
FPS = 15.0
RIGHT = np.array([1.0, 0.0, 0.0])
SIDEWAYS = np.array([0.0, 1.0, 0.0])


def package(label, x, y):
    pose = np.eye(4)
    pose[:3, :3] = np.diag([1.0, -1.0, -1.0])
    pose[:3, 3] = x, y, 0.95
    return Package(label=label, class_name="box", score=0.9, T_cam_package=pose, size_m=(0.12, 0.1, 0.05),
                   covariance=np.eye(6) * 4e-6, visible_fraction=1.0,
                   covered_by=(), depth_valid_fraction=1.0, from_depth=True, truncated=False, placed=True)


@dataclass
class Seen:
    """One frame of a belt: its update, the time, the belt's true speed, {package's number: id}."""

    update: object
    time_s: float
    speed: float
    ids: dict[int, int]


class Belt:
    """An endless belt with a package every `gap_m`, 1 m of it in sight; `stuck` = numbers of packages that stay where they are."""

    def __init__(self, gap_m=0.17, direction=(0.0, 0.0, 0.0)):
        self.tracker = Tracker(TrackConfig(), BeltConfig(plane=PLANE, direction=direction))
        self.gap_m, self.way_m, self.frame = gap_m, 0.0, 0
        self.rng = np.random.default_rng(0)
        self.stuck: dict[int, float] = {}

    def run(self, time_s, speed, reading, delay_s=0.0):
        """Play on. speed(t) in m/s along x. reading(speed) -> (3,) or None, of the speed `delay_s` ago. Yields what is `Seen`."""
        for _ in range(round(time_s * FPS)):
            now_s = self.frame / FPS
            first, last = (np.array([-0.5, 0.5]) - self.way_m) / self.gap_m
            places = {n: n * self.gap_m + self.way_m for n in range(int(np.ceil(first)), int(np.floor(last)) + 1)} | self.stuck
            items, numbers = [], {}
            for label, (number, x) in enumerate(sorted(places.items()), start=1):
                noise = self.rng.normal(0.0, 0.001, 2)
                items.append(package(label, x + noise[0], 0.15 * (number % 2) + noise[1]))
                numbers[label] = number
            told = reading(speed(now_s - delay_s))
            update = self.tracker.update(Packages(tuple(items), np.array(PLANE), tuple(numbers)), round(now_s * NS), told)
            yield Seen(update, now_s, speed(now_s), {numbers[track.label]: track.track_id for track in update.tracks})
            self.way_m += speed(now_s) / FPS
            self.frame += 1

    def play(self, *args, **kwargs):
        return list(self.run(*args, **kwargs))


def steady(speed=0.3):
    return lambda now_s: speed


def switches(seen):
    """How many packages got another id."""
    known, count = {}, 0
    for one in seen:
        count += sum(known.get(number, found) != found for number, found in one.ids.items())
        known |= one.ids
    return count


WRONG = {"1.2 times": 1.2 * RIGHT, "0.8 times": 0.8 * RIGHT, "half": 0.5 * RIGHT, "backwards": -RIGHT, "sideways": SIDEWAYS,
         "15 degrees": np.array([0.966, 0.259, 0.0]), "nothing": 0.0 * RIGHT}


@pytest.mark.parametrize("speed", [0.2, 0.3, -0.3, 0.8])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_reading_is_found_said_and_not_used(wrong, speed):
    seen = Belt().play(4.0, steady(speed), lambda v: v * WRONG[wrong])
    assert seen[0].update.reading_used
    later = [one for one in seen if one.time_s > 1.0]
    assert not any(one.update.reading_used for one in later)
    assert all(one.update.belt_velocity_m_s == pytest.approx([speed, 0, 0], abs=0.002 + 0.02 * abs(speed)) for one in later)
    assert not any(one.update.reading_words for one in seen if one.time_s < 1.0)
    assert all(one.update.reading_words.startswith("belt_velocity is contradicted: it says") for one in seen if one.time_s > 2.0)
    assert switches(seen) == 0


def test_the_words_have_the_numbers():
    *_, last = Belt().play(3.0, steady(), lambda v: 1.2 * v * RIGHT)
    words = last.update.reading_words
    assert "it says 0.360 m/s" in words
    assert "(ratio 1.20, 0 degrees apart)" in words
    *_, last = Belt().play(3.0, steady(), lambda v: -v * RIGHT)
    assert "180 degrees apart" in last.update.reading_words


BELTS = {"steady": steady(), "slow": steady(0.05), "fast": steady(1.0), "stands": steady(0.0), "back": steady(-0.4),
         "stops": lambda t: 0.3 if t < 2.0 else 0.0, "starts": lambda t: 0.5 if t > 1.5 else 0.0,
         "turns": lambda t: 0.3 if t < 2.0 else -0.3, "speeds up": lambda t: 0.15 + 0.2 * t,
         "stop and go": lambda t: 0.4 if t % 1.4 < 0.7 else 0.0, "ramps": lambda t: 0.4 + 0.3 * np.sin(3.0 * t)}


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.1])
@pytest.mark.parametrize("belt", BELTS)
def test_a_right_reading_is_believed(belt, delay_s):
    seen = Belt().play(6.0, BELTS[belt], lambda v: v * RIGHT, delay_s)
    assert all(one.update.reading_used for one in seen)
    assert not any(one.update.reading_words for one in seen)


def test_five_percent_and_noise_are_no_fault():
    rng = np.random.default_rng(3)
    seen = Belt().play(6.0, steady(), lambda v: v * (1.05 + rng.normal(0.0, 0.05)) * RIGHT)
    assert all(one.update.reading_used for one in seen)


def test_it_recovers_when_the_reading_agrees_again():
    belt = Belt()
    belt.play(3.0, steady(), lambda v: 0.5 * v * RIGHT)
    seen = belt.play(4.0, steady(), lambda v: v * RIGHT)
    assert not seen[0].update.reading_used
    back = next(one for one in seen if one.update.reading_used)
    assert 1.0 < back.time_s - seen[0].time_s < 2.5
    assert all(one.update.reading_used and not one.update.reading_words for one in seen if one.time_s >= back.time_s)


def test_standing_still_does_not_forgive_a_wrong_scale():
    belt = Belt()
    belt.play(3.0, steady(), lambda v: 1.3 * v * RIGHT)
    seen = belt.play(3.0, steady(0.0), lambda v: 1.3 * v * RIGHT) + belt.play(2.0, steady(), lambda v: 1.3 * v * RIGHT)
    assert not any(one.update.reading_used for one in seen)
    assert all("ratio 1.30" in one.update.reading_words for one in seen[-20:])


def test_a_reading_that_stays_away_says_nothing_and_is_not_forgiven():
    belt = Belt()
    belt.play(3.0, steady(), lambda v: -v * RIGHT)
    away = belt.play(2.0, steady(), lambda v: None)
    assert not any(one.update.reading_words or one.update.reading_used for one in away)
    seen = belt.play(1.0, steady(), lambda v: -v * RIGHT)
    assert not any(one.update.reading_used for one in seen)


def test_one_package_after_the_other_is_enough():
    seen = Belt(gap_m=1.1).play(12.0, steady(), lambda v: 0.5 * v * RIGHT)
    assert max(len(one.ids) for one in seen) == 1
    assert not seen[-1].update.reading_used


def test_one_package_is_not_enough():
    belt = Belt(gap_m=50.0)
    belt.way_m = -0.4
    assert all(one.update.reading_used for one in belt.play(2.5, steady(), lambda v: 0.5 * v * RIGHT))


def test_packages_that_are_held_back_do_not_change_the_belt_and_are_predicted_where_they_are():
    belt = Belt()
    belt.play(1.5, steady(), lambda v: v * RIGHT)
    belt.stuck = {n: n * belt.gap_m + belt.way_m for n in (-4, -3)}
    seen = belt.play(3.0, steady(), lambda v: v * RIGHT)
    assert all(one.update.reading_used and not one.update.reading_words for one in seen)
    last = seen[-1]
    for track in last.update.tracks:
        held = last.ids[belt_number(last, track)] in (last.ids[-4], last.ids[-3])
        assert track.velocity_m_s[0] == pytest.approx(0.0 if held else 0.3, abs=0.02)


def belt_number(one, track):
    return next(number for number, track_id in one.ids.items() if track_id == track.track_id)


def test_a_jam_is_said_and_the_reading_is_kept():
    """All that came along the belt stand, the drive says that it moves: from the picture nobody knows which is true."""
    belt = Belt()
    belt.play(2.0, steady(), lambda v: v * RIGHT)
    seen = belt.play(4.0, steady(0.0), lambda v: 0.3 * RIGHT)
    assert all(one.update.reading_used for one in seen[6:])  # while they come to a stop they move together, and not as it says
    assert not any("contradicted" in one.update.reading_words for one in seen)
    assert "stand and none moves" in seen[-1].update.reading_words
    assert all(np.linalg.norm(track.velocity_m_s) < 0.01 for track in seen[-1].update.tracks)
    assert belt.play(2.0, steady(), lambda v: v * RIGHT)[-1].update.reading_words == ""


def test_machinery_beside_an_empty_belt_says_nothing():
    belt = Belt(gap_m=100.0)
    belt.way_m, belt.stuck = 50.0, {-2: -0.2, 3: 0.2}
    seen = belt.play(4.0, steady(), lambda v: v * RIGHT)
    assert all(one.update.reading_used and not one.update.reading_words for one in seen)
    assert len(seen[-1].update.still) == 2


def test_a_wrong_direction_of_the_belt_is_not_kept():
    """The reading goes along belt.direction; when the packages go across, the estimate does as well."""
    *_, last = Belt(direction=(0.0, 1.0, 0.0)).play(3.0, steady(), lambda v: v * SIDEWAYS)
    assert last.update.belt_velocity_m_s == pytest.approx([0.3, 0, 0], abs=0.01)


def test_a_jump_of_the_clock_forgets_the_doubt():
    belt = Belt()
    belt.play(3.0, steady(), lambda v: -v * RIGHT)
    belt.frame = 0
    assert belt.play(0.1, steady(), lambda v: -v * RIGHT)[0].update.reading_used


def test_few_pictures_a_second_are_enough_and_the_distance_may_be_in_doubt():
    sharp, vague = ReadingCheck(), ReadingCheck()
    for n in range(20):
        rows = np.zeros((3, 32, 5))
        for k in range(max(n - 8, 0), n + 1):
            rows[:, k, 0] = k / 5
            rows[:, k, 1] = 0.06 * k + np.array([0.0, 0.2, 0.4])
            rows[:, k, 4] = 1e6
        told = np.array([0.36, 0.0, 0.0])
        sharp.look(told, rows, np.zeros(3), (1, 2, 3), (True,) * 3, np.array(PLANE), n * NS // 5)
        vague.look(told, rows, np.full(3, 0.15), (1, 2, 3), (True,) * 3, None, n * NS // 5)
    assert not sharp.believed
    assert vague.believed

"""Which frames are worth keeping: splits, merges, class flips, doubt, chance; and what is held for failed picks."""

import gc
import weakref
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception_node.capture.changes import splits_and_merges
from perception_node.capture.hold import Hold
from perception_node.capture.rules import Rules, class_flips, fraction
from perception_node.config import CAPTURE_RULES, CaptureConfig

WHOLE, LEFT, RIGHT, OTHER = (40, 30, 100, 70), (40, 30, 69, 70), (71, 30, 100, 70), (110, 80, 150, 110)
STEP_NS = 33_000_000


def later(moment, *args, **kwargs):
    return moment(*args, stamp_ns=10**9 + STEP_NS, **kwargs)


@pytest.mark.parametrize(("rectangles", "ids", "words"), [
    ([LEFT, RIGHT, OTHER], [1, 3, 2], "track 1 split into 1 and 3"),
    ([LEFT, RIGHT, OTHER], [4, 3, 2], "track 1 split into 4 and 3"),
    ([LEFT, RIGHT, (60, 35, 80, 45)], [1, 3, 2], "track 1 split into 1 and 3"),  # a known one lies on it
    ([LEFT, OTHER], [1, 2], ""),                                    # half of it is gone, nothing came instead
    ([WHOLE, (50, 75, 90, 95), OTHER], [1, 3, 2], ""),              # a new one beside it
    ([WHOLE, OTHER], [1, 2], ""),
    ([LEFT, (120, 5, 150, 30), OTHER], [1, 3, 2], ""),              # a new one elsewhere
])
def test_splits(moment, rectangles, ids, words):
    before, now = moment([WHOLE, OTHER], [1, 2]), later(moment, rectangles, ids)
    assert splits_and_merges(before[1], now[1], before[0].camera) == words


def test_merges_and_empty_scenes(moment):
    before, now, empty = moment([LEFT, RIGHT, OTHER], [1, 3, 2]), later(moment, [WHOLE, OTHER], [1, 2]), later(moment, [])
    camera = before[0].camera
    assert splits_and_merges(before[1], now[1], camera) == "tracks 1 and 3 merged into 1"
    assert splits_and_merges(before[1], empty[1], camera) == splits_and_merges(empty[1], before[1], camera) == ""


def test_motion_is_taken_into_account(moment):
    """32 px between two scenes, more than half a part: only with the velocity does a part lie in the whole."""
    moved = [(x0 + 32, y0, x1 + 32, y1) for x0, y0, x1, y1 in (LEFT, RIGHT)]
    now = moment(moved, [1, 3], stamp_ns=1_100_000_000)
    for speed, words in ((2.0, "track 1 split into 1 and 3"), (0.0, "")):
        frame, before = moment([WHOLE], [1], speed_m_s=speed)
        assert splits_and_merges(before, now[1], frame.camera) == words


def test_class_flips(moment):
    before, now = moment([WHOLE, OTHER], [1, 2]), later(moment, [WHOLE, OTHER], [1, 9], ["poly_bag", "poly_bag"])
    assert class_flips(before[1], now[1]) == "track 1 was box, is poly_bag"
    assert class_flips(before[1], before[1]) == ""


def test_the_most_useful_reason_is_named_and_all_words_are_kept(moment):
    rules = Rules(CaptureConfig(rules=CAPTURE_RULES, unsure_low=0.3, unsure_high=0.6))
    frame, scene = moment([WHOLE], [1])
    assert rules.seen(scene, frame.camera) is None
    frame, scene = later(moment, [LEFT, RIGHT], [1, 2], ["poly_bag", "box"], [0.61, 0.6])
    assert rules.seen(scene, frame.camera) == (
        "split_or_merge", "track 1 split into 1 and 2; track 1 was box, is poly_bag; box 2 scored 0.60")


def test_kept_frames_are_apart_and_old_scenes_are_not_compared(moment):
    rules = Rules(CaptureConfig(rules=("unsure", "class_flip"), interval_s=2.0))
    stamps = [10**9, 2 * 10**9, 3 * 10**9, 4 * 10**9, 2 * 10**9]  # the last: the recording starts over
    found = [rules.seen(moment([WHOLE], scores=[0.5], stamp_ns=s)[1], moment([WHOLE])[0].camera) for s in stamps]
    assert [wish is not None for wish in found] == [True, False, True, False, True]
    rules.seen(moment([WHOLE], [1], stamp_ns=20 * 10**9)[1], moment([WHOLE])[0].camera)
    assert rules.seen(moment([WHOLE], [1], ["poly_bag"], stamp_ns=21 * 10**9)[1], moment([WHOLE])[0].camera) is None


@pytest.mark.parametrize("rules", [(), ("failed_pick",)])
def test_what_is_not_asked_for_is_not_kept(moment, rules):
    looked = Rules(CaptureConfig(rules=rules, random_share=1.0))
    looked.seen(moment([WHOLE], [1])[1], moment([])[0].camera)
    assert looked.seen(later(moment, [LEFT, RIGHT], [1, 2], ["poly_bag"] * 2, [0.4] * 2)[1], moment([])[0].camera) is None


@given(st.integers(0, 2**63), st.integers(0, 2**31))
def test_chance_is_repeatable_and_within_its_range(stamp_ns, seed):
    assert 0.0 <= fraction(stamp_ns, seed) == fraction(stamp_ns, seed) < 1.0


def test_chance_takes_its_share():
    taken = sum(fraction(k * STEP_NS, 3) < 0.05 for k in range(20_000))
    assert 850 < taken < 1150  # five standard deviations of 31
    assert taken != sum(fraction(k * STEP_NS, 4) < 0.05 for k in range(20_000))


def test_frames_are_held_uncopied_and_given_back(moment):
    size = 160 * 120 * (3 + 4 + 2)
    hold = Hold(hold_s=1.0, hold_bytes=10.5 * size)
    pairs = [moment([WHOLE], stamp_ns=10**9 + k * STEP_NS) for k in range(100)]
    first = weakref.ref(pairs[0][0])
    for pair in pairs:
        hold.put(*pair)
    assert 7 <= len(hold) <= 10
    last = pairs[-1][0].stamp_ns
    held = hold.nearest(last - 500_000_000)
    assert held is not None
    assert any(held[0].rgb is pair[0].rgb for pair in pairs)
    assert abs(held[0].stamp_ns - (last - 500_000_000)) <= 100_000_000
    assert hold.nearest(last - 2_000_000_000) is None
    pairs.clear()
    del held, pair
    gc.collect()
    assert first() is None
    hold.put(*moment([WHOLE], stamp_ns=5))
    assert len(hold) == 1


def test_a_hold_without_depth_and_one_too_small_for_two(moment):
    hold = Hold(1.0, 1.0)
    assert hold.nearest(5) is None
    frame, scene = moment([WHOLE], depth=False)
    hold.put(frame, scene)
    hold.put(replace(frame, stamp_ns=frame.stamp_ns + 10**12), scene)
    assert len(hold) == 1

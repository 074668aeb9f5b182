"""Pairing, newest wins, counts: the inbox without ROS."""

from __future__ import annotations

import struct
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception_node.config import NodeConfig
from perception_node.errors import FrameError
from perception_node.ros.drops import BAD_FRAME, LOST, RESET, SUPERSEDED, UNPAIRED, Drops
from perception_node.ros.inbox import WAITING, Inbox, peek_stamp_ns

MS = 1_000_000


def message(stamp_ns, big=False):
    sec, nanosec = divmod(stamp_ns, 10**9)
    return (b"\0\0\0\0" if big else b"\0\1\0\0") + struct.pack(">iI" if big else "<iI", sec, nanosec) + b"rest"


def inbox(**config):
    return Inbox(NodeConfig(**{"depth_wait_s": 0.05, **config}), Drops())


@given(st.integers(0, 2**31 - 1), st.integers(0, 999_999_999), st.booleans())
def test_stamp_is_read_without_decoding(sec, nanosec, big):
    assert peek_stamp_ns(message(sec * 10**9 + nanosec, big)) == sec * 10**9 + nanosec


def test_short_messages_are_bad_frames():
    with pytest.raises(FrameError):
        peek_stamp_ns(b"\0\1\0\0abc")
    box = inbox()
    box.put_colour(b"")
    assert box.drops.total(BAD_FRAME) == 1
    assert box.take(0.0) is None


def test_colour_and_depth_are_paired_by_stamp():
    box = inbox()
    box.put_info(message(1))
    box.put_depth(message(100 * MS))
    box.put_colour(message(102 * MS))
    item = box.take(0.0)
    assert item.depth.stamp_ns == 100 * MS
    assert item.info is not None
    box.put_colour(message(200 * MS))
    assert box.take(0.0) is None  # waits for its depth
    box.put_depth(message(204 * MS))
    assert box.take(0.0).depth.stamp_ns == 204 * MS


def test_newest_pair_wins_and_the_others_are_counted():
    box = inbox()
    for k in range(1, 4):
        box.put_colour(message(k * 100 * MS))
        box.put_depth(message(k * 100 * MS))
    assert box.take(0.0).colour.stamp_ns == 300 * MS
    assert box.drops.total(SUPERSEDED) == 2


def test_depth_is_waited_for_only_while_it_comes():
    box = inbox(camera_timeout_s=0.1)
    box.put_colour(message(100 * MS))
    assert box.take(0.0) is None
    assert box.take(1.0).depth is None  # after depth_wait_s
    box.put_colour(message(200 * MS))
    assert box.take(0.0).depth is None  # at once: there is no depth
    box.put_depth(message(290 * MS))
    box.put_colour(message(300 * MS))
    assert box.take(0.0) is None  # there is again: wait
    item = box.take(1.0)
    assert item.depth is None
    assert box.skew_s == pytest.approx(-0.010)
    assert "-10.0 ms" in box.skew_words()


def test_required_depth_is_waited_for_and_unpaired_pictures_are_counted():
    box = inbox(depth="required", max_age_s=0.05)
    for k in range(WAITING + 3):
        box.put_colour(message((k + 1) * 100 * MS))
    assert box.drops.total(UNPAIRED) == 3
    assert box.take(0.2) is None
    assert box.drops.total(UNPAIRED) == WAITING + 3


def test_depth_off_ignores_depth():
    box = inbox(depth="off")
    box.put_depth(message(100 * MS))
    box.put_colour(message(100 * MS))
    assert box.take(0.0).depth is None


def test_what_never_arrived_is_counted_by_its_number():
    box = inbox(depth="off")

    def put(number, publisher=b"a"):
        box.put_colour(message(number * MS), {"publication_sequence_number": number, "publisher_gid": {"data": publisher}})
    for number in (7, 8, 11):
        put(number)
    assert box.drops.total(LOST) == 2
    assert box.drops.recent()[LOST] == 2
    for number in (1, 2, 4):
        put(number, b"started again")
    assert box.drops.total(LOST) == 3
    box.put_colour(message(99 * MS), {"publication_sequence_number": 2**64 - 1})  # a middleware that does not count
    box.put_colour(message(100 * MS))
    assert box.drops.total(LOST) == 3


def test_reset_forgets_and_counts():
    box = inbox()
    box.put_colour(message(100 * MS))
    before = box.generation
    box.reset()
    assert box.generation == before + 1
    assert box.drops.total(RESET) == 1
    assert box.take(0.0) is None


def test_close_wakes_a_waiting_taker():
    box = inbox()
    done = threading.Event()
    thread = threading.Thread(target=lambda: (box.take(30.0), done.set()))
    thread.start()
    box.close()
    assert done.wait(5.0)
    thread.join(5.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=60))
def test_every_picture_is_taken_or_counted(events):
    """Whatever comes in whatever order: received = taken + dropped + waiting, and pairs agree within the tolerance."""
    box = inbox(depth_wait_s=0.0)
    taken = 0
    for is_colour, tenth in events:
        (box.put_colour if is_colour else box.put_depth)(message(tenth * 100 * MS))
        item = box.take(0.0)
        if item is not None:
            taken += 1
            assert item.depth is None or abs(item.depth.stamp_ns - item.colour.stamp_ns) <= 5 * MS
    while box.take(0.0) is not None:
        taken += 1
    assert taken + box.drops.total(SUPERSEDED) + box.drops.total(UNPAIRED) == sum(is_colour for is_colour, _ in events)


def test_storing_a_picture_takes_microseconds():
    box, data = inbox(depth="off"), message(100 * MS) + bytes(2_764_800)
    began = time.thread_time()
    for _ in range(200):
        box.put_colour(data)
    assert (time.thread_time() - began) / 200 < 1e-3


class Clock:
    """Time as the inbox sees it."""

    def __init__(self, monkeypatch):
        self.now_s = 1000.0
        monkeypatch.setattr("perception_node.ros.inbox.time.monotonic", lambda: self.now_s)


def pictures(clock, box, gaps_ms):
    """A picture after each gap, taken as it comes."""
    for number, gap_ms in enumerate(gaps_ms, start=1):
        clock.now_s += 1e-3 * gap_ms
        box.put_colour(message(number * 33 * MS))
        assert box.take(0.0) is not None


def waiting_picture(clock, box, for_ms):
    """The tenth picture of a steady camera, which has waited for so long."""
    pictures(clock, box, [33] * 9)
    clock.now_s += 0.033
    box.put_colour(message(10 * 33 * MS))
    clock.now_s += 1e-3 * for_ms


def test_a_stale_picture_gives_way_to_the_next_one_that_is_due(monkeypatch):
    clock, box = Clock(monkeypatch), inbox(depth="off")
    waiting_picture(clock, box, 25)  # while the one before is computed
    assert box.take(0.0) is None
    clock.now_s += 0.009
    box.put_colour(message(11 * 33 * MS))
    assert box.take(0.0).colour.stamp_ns == 11 * 33 * MS
    assert box.drops.total(SUPERSEDED) == 1


def test_a_picture_that_waited_shortly_is_taken_at_once(monkeypatch):
    clock, box = Clock(monkeypatch), inbox(depth="off")
    waiting_picture(clock, box, 15)
    assert box.take(0.0).colour.stamp_ns == 10 * 33 * MS


def test_a_stale_picture_is_taken_when_the_next_one_does_not_come(monkeypatch):
    clock, box = Clock(monkeypatch), inbox(depth="off")
    waiting_picture(clock, box, 30)
    assert box.take(0.0) is None
    clock.now_s += 0.012  # a quarter of a period after it was due
    assert box.take(0.0).colour.stamp_ns == 10 * 33 * MS
    assert box.drops.total(SUPERSEDED) == 0


@pytest.mark.parametrize("gaps_ms", [[33] * 4, [33, 33, 33, 33, 33, 33, 70, 33, 33], [500, 20, 40, 33, 300, 33, 33, 90, 33]])
def test_pictures_whose_next_one_nobody_can_tell_are_taken_at_once(monkeypatch, gaps_ms):
    clock, box = Clock(monkeypatch), inbox(depth="off")
    pictures(clock, box, gaps_ms)
    clock.now_s += 0.033
    box.put_colour(message(20 * 33 * MS))
    clock.now_s += 0.030
    assert box.take(0.0) is not None


def test_a_stale_pair_waits_for_the_next_pair_and_not_for_its_picture_alone(monkeypatch):
    clock, box = Clock(monkeypatch), inbox()
    for number in range(1, 10):
        clock.now_s += 0.033
        box.put_colour(message(number * 33 * MS))
        box.put_depth(message(number * 33 * MS))
        assert box.take(0.0).depth is not None
    clock.now_s += 0.033
    box.put_colour(message(10 * 33 * MS))
    clock.now_s += 0.010
    box.put_depth(message(10 * 33 * MS))  # waits from now on
    clock.now_s += 0.015
    assert box.take(0.0).colour.stamp_ns == 10 * 33 * MS
    clock.now_s += 0.008
    box.put_colour(message(11 * 33 * MS))
    box.put_depth(message(11 * 33 * MS))
    clock.now_s += 0.025
    box.put_colour(message(12 * 33 * MS))
    assert box.take(0.0) is None
    box.put_depth(message(12 * 33 * MS))
    assert box.take(0.0).colour.stamp_ns == 12 * 33 * MS
    assert (box.drops.total(SUPERSEDED), box.drops.total(UNPAIRED)) == (1, 0)

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception_node.config import from_flat
from perception_node.locate.cover import covers
from perception_node.locate.cover_memory import CoverMemory
from perception_node.pipeline import Pipeline
from perception_node.types import Frame, Package, Packages, Segmentation

NS = 66_666_667
NOTHING = np.zeros((2, 2))
FIRST_ON_SECOND = np.array([[0.0, 6e-4], [0.0, 0.0]])


def packages(over_m2, deep=None):
    """As many packages as the matrix has rows, labels from 1, with what a single picture says of them."""
    count = len(over_m2)
    alone = covers(over_m2, range(1, count + 1))
    items = tuple(Package(label=label, class_name="box", score=1.0, T_cam_package=np.eye(4), size_m=(0.2, 0.1, 0.1),
                          covariance=np.eye(6), visible_fraction=1.0, covered_by=alone.get(label, ()), depth_valid_fraction=1.0,
                          from_depth=deep is None or deep[label - 1]) for label in range(1, count + 1))
    return Packages(items, None, tuple(range(1, count + 1)), over_m2=over_m2)


def relations(found, ids):
    """(upper, lower) by track id."""
    return {(ids[upper - 1], ids[item.label - 1]) for item in found.items for upper in item.covered_by}


def say(memory, frames, ids=(7, 9)):
    """What the memory says of 7 and 9 in each frame."""
    start = 1 if memory._stamp_ns is None else memory._stamp_ns + NS
    return [relations(memory.update(packages(np.asarray(over)), ids, start + n * NS, 1.0), ids) for n, over in enumerate(frames)]


def test_one_frame_without_evidence_or_with_the_opposite_changes_nothing():
    said = say(CoverMemory(), [FIRST_ON_SECOND, NOTHING, FIRST_ON_SECOND, FIRST_ON_SECOND.T, FIRST_ON_SECOND, NOTHING])
    assert said == [{(7, 9)}] * 6


def test_one_frame_with_much_evidence_does_not_outweigh_many_without():
    said = say(CoverMemory(), [NOTHING] * 6 + [FIRST_ON_SECOND * 100] + [NOTHING] * 3)
    assert said == [set()] * 10


def test_what_comes_goes_or_turns_is_noticed_within_frames():
    memory = CoverMemory()
    assert say(memory, [NOTHING] * 20 + [FIRST_ON_SECOND] * 2)[-1] == {(7, 9)}
    assert say(memory, [FIRST_ON_SECOND] * 20 + [FIRST_ON_SECOND.T] * 4)[-1] == {(9, 7)}
    assert say(memory, [FIRST_ON_SECOND.T] * 20 + [NOTHING] * 9)[-1] == set()


@pytest.mark.parametrize("over", [NOTHING, FIRST_ON_SECOND, [[0.0, 3e-3], [1e-3, 0.0]], [[0.0, 9e-5], [0.0, 0.0]]])
def test_at_first_sight_the_answer_is_that_of_one_picture(over):
    memory, one = CoverMemory(), packages(np.array(over))
    assert memory.update(one, (1, 2), 5, 1.0) is one
    assert memory.update(packages(np.array(over)), (3, 4), 6, 1.0).items[1].covered_by == one.items[1].covered_by


def test_the_order_of_picking_follows():
    memory = CoverMemory()
    say(memory, [FIRST_ON_SECOND.T] * 5)
    found = memory.update(packages(NOTHING), (7, 9), memory._stamp_ns + NS, 1.0)
    assert (found.items[0].covered_by, found.items[1].covered_by) == ((2,), ())
    assert found.pick_order == (2, 1)


def test_a_frame_without_depth_says_nothing():
    memory = CoverMemory()
    say(memory, [FIRST_ON_SECOND] * 3)
    for n in range(1, 30):
        blind = packages(NOTHING, deep=(True, False)) if n % 2 else Packages(packages(NOTHING).items, None, (1, 2))
        found = memory.update(blind, (7, 9), memory._stamp_ns + NS, 1.0)
        assert relations(found, (7, 9)) == {(7, 9)}


def test_the_same_frame_again_teaches_nothing():
    memory = CoverMemory()
    say(memory, [FIRST_ON_SECOND] * 3)
    for _ in range(30):
        assert relations(memory.update(packages(NOTHING), (7, 9), memory._stamp_ns, 1.0), (7, 9)) == {(7, 9)}


def test_what_was_out_of_sight_for_long_is_forgotten_and_shortly_is_not():
    memory, one = CoverMemory(), packages(np.zeros((1, 1)))
    stamp_ns = 1
    for away_ns, kept in ((NS, True), (900_000_000, True), (1_100_000_000, False)):
        say(memory, [FIRST_ON_SECOND] * 5)
        stamp_ns = memory._stamp_ns
        memory.update(one, (9,), stamp_ns + away_ns, 1.0)
        found = memory.update(packages(NOTHING), (7, 9), stamp_ns + away_ns + 1, 1.0)
        assert (relations(found, (7, 9)) == {(7, 9)}) is kept


def test_untracked_packages_are_left_as_they_are():
    memory = CoverMemory()
    nobody = packages(np.zeros((2, 2)))
    assert memory.update(nobody, (0, 0), 1, 1.0) is nobody
    assert memory.update(nobody, (0, 4), 2, 1.0) is nobody


areas = st.sampled_from([0.0, 5e-5, 1.5e-4, 3e-4, 6e-4, 5e-3])
sights = st.lists(st.tuples(st.permutations(range(1, 6)), st.integers(0, 5), st.lists(areas, min_size=25, max_size=25)),
                  min_size=1, max_size=12)


@given(sights)
def test_never_both_ways_never_in_circles_and_the_same_each_time(frames):
    memory, second = CoverMemory(), CoverMemory()
    for n, (order, count, values) in enumerate(frames):
        ids = order[:count]
        over = np.array(values).reshape(5, 5)[:count, :count] * (1 - np.eye(count))
        found = memory.update(packages(over), ids, n, 1.0)
        again = second.update(packages(over), ids, n, 1.0)
        assert [item.covered_by for item in found.items] == [item.covered_by for item in again.items]
        assert found.pick_order == again.pick_order
        place = {label: k for k, label in enumerate(found.pick_order)}
        above = {item.label: set(item.covered_by) for item in found.items}
        assert all(lower not in above[upper] for lower, uppers in above.items() for upper in uppers)
        if any(item.covered_by != alone.covered_by for item, alone in zip(found.items, packages(over).items, strict=True)):
            assert all(place[upper] < place[lower] for lower, uppers in above.items() for upper in uppers)
        left = dict(above)
        while left:  # taken away from the top, nothing is left
            free = [label for label, uppers in left.items() if not uppers & left.keys()]
            assert free
            for label in free:
                del left[label]


@given(st.integers(0, 4), st.lists(st.booleans(), min_size=3, max_size=40))
def test_steady_evidence_is_never_interrupted(weak, seen):
    """While at least every second frame shows it, a relation that was seen once stays."""
    frames = [FIRST_ON_SECOND] + [FIRST_ON_SECOND if here else NOTHING for here in seen]
    for n, (before, now) in enumerate(pairwise(frames)):
        if before is NOTHING and now is NOTHING:
            frames[n + 1] = FIRST_ON_SECOND * (1 + weak)
    said = say(CoverMemory(), frames)
    assert all(pairs == {(7, 9)} for pairs in said)


class Told:
    """A segmenter that answers with what it was told."""

    model_id = "told 00000000"
    segmentation: Segmentation

    def segment(self, frame, belt_plane=None):
        return self.segmentation


def test_the_pipeline_says_it_in_tracks_order_and_grasps_alike(cast_boxes, belt):
    told = Told()
    boxes = [(0.0, 0.0, 0.3, 0.2, 0.06, 0.0), (0.05, 0.02, 0.1, 0.08, 0.12, 0.3)]
    frame, told.segmentation = cast_boxes(boxes, bottoms=[0.0, 0.06])
    level = frame.depth_m.copy()
    level[told.segmentation.labels == 2] = 0.94  # as if both were of one height
    pipeline = Pipeline(from_flat({"belt.plane": belt}), told)

    def covered(depth_m, stamp_ns):
        scene = pipeline.process(Frame(frame.rgb, depth_m, frame.camera, stamp_ns, frame.frame_id))
        words = [track.package.covered_by for track in scene.tracks]
        if words[0]:
            assert scene.pick_order == (2, 1)
            labels = [grasp.label for grasp in scene.grasps]
            assert 1 not in labels or 2 not in labels[labels.index(1):]
        return words

    said = [covered(frame.depth_m, n * NS) for n in range(4)] + [covered(level, 4 * NS), covered(None, 5 * NS)]
    assert said == [[(2,), ()]] * 6
    pipeline.reset()
    assert covered(level, 6 * NS) == [(), ()]
    assert [covered(frame.depth_m, n * NS) for n in range(7, 10)][-1] == [(2,), ()]
    assert covered(level, NS) == [(), ()]  # the clock has jumped back

import numpy as np
import pytest

from perception_node.bench.cover import Tally, figures, judge, true_relations
from perception_node.bench.cover_belts import Changes

PLANE = np.array([0.0, 0.0, -1.0, 1.0])


def box(x, height_above_belt, size=(0.2, 0.1, 0.06)):
    T = np.eye(4)
    T[:3, :3] = np.diag([1.0, -1.0, -1.0])
    T[:3, 3] = x, 0.0, 1.0 - height_above_belt
    return T, np.array(size)


def test_the_upper_box_and_the_shared_area_are_found():
    found = true_relations({1: box(0.0, 0.03), 2: box(0.1, 0.09), 3: box(0.5, 0.03)}, PLANE)
    assert list(found) == [(2, 1)]
    assert found[2, 1] == pytest.approx(0.094 * 0.094, rel=0.1)  # half of the length, less the margins


def test_neighbours_that_touch_do_not_lie_on_each_other():
    assert true_relations({1: box(0.0, 0.03), 2: box(0.2, 0.1, (0.2, 0.1, 0.2))}, PLANE) == {}


def test_slight_overlaps_count_neither_way_and_turned_orders_are_counted():
    tally = Tally()
    judge({(2, 1): 1e-2, (3, 1): 1e-4, (4, 5): 1e-3}, {(2, 1), (3, 1), (6, 7)}, [2, 3, 1, 5, 4, 6, 7], tally)
    result = figures(tally)
    assert result["precision"] == 0.5
    assert result["recall"] == 0.5
    assert result["covered_recall"] == 0.5
    assert result["order_turned"] == 0.5
    assert figures(Tally())["precision"] is None


def test_changes_are_counted_between_tracks_that_stay_in_sight():
    changes, near, all_four = Changes(), {frozenset((1, 2)), frozenset((3, 4))}, frozenset((1, 2, 3, 4))
    changes.add({(1, 2)}, near, all_four)
    changes.add({(2, 1), (3, 4)}, near, all_four)
    changes.add({(2, 1)}, {frozenset((1, 2))}, frozenset((1, 2)))
    changes.add({(3, 4)}, near, all_four)
    assert (changes.pairs, changes.came, changes.gone, changes.turned) == (4, 1, 1, 1)
    changes.start()
    changes.add({(1, 2)}, near, all_four)
    assert (changes.pairs, changes.came, changes.gone, changes.turned) == (4, 1, 1, 1)

from types import SimpleNamespace

import numpy as np

from perception_node.bench.belts import Moment
from perception_node.bench.track import Tally, count_switches, figures


def tally_of(*frames, size=(12, 16)):
    """Count frames of {true id: (track id, column of its mask)}; a column 0 lies at the picture's border."""
    tally, seen = Tally(), {}
    for n, frame in enumerate(frames):
        labels = np.zeros(size, np.uint16)
        for identity, (_, column) in frame.items():
            labels[identity, column:column + 2] = identity
        tracks = [SimpleNamespace(label=label, track_id=track_id) for label, (track_id, _) in enumerate(frame.values(), start=1)]
        owners = dict(enumerate(frame, start=1))
        count_switches(SimpleNamespace(tracks=tracks), owners, SimpleNamespace(labels=labels), Moment(n, float(n)), seen, tally)
    tally.packages = len(seen)
    return tally


def test_another_id_is_a_switch_each_time_however_long_the_package_was_not_seen():
    tally = tally_of({1: (5, 4)}, {}, {}, {}, {1: (6, 5)}, {1: (6, 6)}, {1: (5, 7)})
    assert (tally.switches, tally.handed_on, tally.cut, tally.packages) == (2, 0, 0, 1)


def test_beginning_with_the_id_of_another_is_no_switch_as_clear_mot_counts_but_one_here():
    tally = tally_of({1: (5, 4)}, {2: (5, 4)}, {2: (5, 5)})
    assert (tally.switches, tally.handed_on, tally.packages) == (0, 1, 2)
    assert figures(tally)["id_switches_per_100"] == 50.0
    assert figures(tally)["clear_mot_switches_per_100"] == 0.0


def test_a_switch_is_called_cut_when_the_border_cut_the_package_before_or_after():
    assert tally_of({1: (5, 0)}, {1: (6, 4)}).cut == 1
    assert tally_of({1: (5, 4)}, {1: (6, 0)}).cut == 1
    assert tally_of({1: (5, 4), 2: (7, 0)}, {1: (6, 5), 2: (7, 4)}).cut == 0
    assert tally_of({1: (5, 0)}, {1: (5, 4)}).cut == 0


def test_two_that_swap_their_ids_are_two_switches():
    assert tally_of({1: (5, 4), 2: (6, 4)}, {1: (6, 5), 2: (5, 5)}).switches == 2


def test_a_mask_that_holds_two_is_nobodys():
    tally, seen = Tally(), {1: (5, False)}
    true = SimpleNamespace(labels=np.zeros((12, 16), np.uint16))
    scene = SimpleNamespace(tracks=[SimpleNamespace(label=1, track_id=9)])
    count_switches(scene, {1: 1}, true, Moment(0, 0.0, merged=(1, 2)), seen, tally)
    assert (tally.switches, tally.handed_on, seen) == (0, 0, {1: (5, False)})

from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from perception_node.track.assign import assign

COST = st.integers(1, 4).flatmap(lambda r: st.integers(1, 4).flatmap(lambda c: arrays(
    np.float64, (r, c), elements=st.one_of(st.just(np.inf), st.integers(0, 20).map(lambda n: n / 10)))))


def total(cost, pairs, alone):
    return sum(cost[r, c] for r, c in pairs) + alone * (len(cost) - len(pairs))


@given(COST, st.sampled_from([0.3, 0.95, 1.25]))
@settings(deadline=None)
def test_no_other_assignment_is_cheaper(cost, alone):
    pairs = assign(cost, alone)
    rows, columns = cost.shape
    assert len({r for r, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)
    best = min(total(cost, [(r, c) for r, c in enumerate(order) if c < columns and cost[r, c] < alone], alone)
               for order in permutations(range(columns + rows), rows))
    assert abs(total(cost, pairs, alone) - best) < 1e-9


def test_partners_are_not_handed_on_along_a_chain():
    cost = np.array([[0.0, 0.6, np.inf], [np.inf, 0.0, 0.6], [np.inf, np.inf, np.inf]])
    assert assign(cost, 1.0) == [(0, 0), (1, 1)]

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception_node.config import BeltConfig
from perception_node.grasp.deadline import deadlines_ns, out_of_reach_m, travel_direction
from perception_node.grasp.score import PRIORS
from perception_node.learn.ranking import calibration_error

UNIT = st.floats(0, 1)


@given(st.sampled_from(sorted(PRIORS)), st.data())
@settings(deadline=None)
def test_scores_are_probabilities_and_no_term_lowers_them(kind, data):
    model = PRIORS[kind]
    terms = {name: np.array([data.draw(UNIT)]) for name in model.weights}
    score = model.probability(terms)[0]
    assert 0.0 <= score <= 1.0
    name = data.draw(st.sampled_from(sorted(terms)))
    assert model.probability({**terms, name: np.ones(1)})[0] >= score


def test_each_model_says_where_its_numbers_come_from():
    assert all(model.source for model in PRIORS.values())


@given(st.floats(-2, 2), st.floats(-2, 2).filter(lambda v: abs(v) > 0.01))
def test_at_its_deadline_a_grasp_is_at_the_windows_end_or_was_past_it(x, speed):
    belt = BeltConfig(direction=(1.0, 0.0, 0.0), reach_min_m=-0.5, reach_max_m=0.5)
    position, velocity = np.array([x, 0.0, 1.0]), np.array([speed, 0.0, 0.0])
    direction = travel_direction(belt, None)
    deadline, = deadlines_ns(position[None], velocity[None], 0, belt, direction)
    end = 0.5 if speed > 0 else -0.5
    there = x + speed * deadline * 1e-9
    past = out_of_reach_m(position, velocity, belt, direction)
    assert past > 0 or there == pytest.approx(end, abs=1e-6)
    assert past == pytest.approx(max((x - end) * np.sign(speed), 0.0))


def test_a_standing_belt_of_unknown_direction_has_no_deadline():
    assert travel_direction(BeltConfig(), np.zeros(3)) is None
    assert travel_direction(BeltConfig(), None) is None
    assert deadlines_ns(np.zeros((2, 3)), np.zeros((2, 3)), 0, BeltConfig(), None) == [None, None]


def test_calibration_error_is_zero_for_honest_scores():
    assert calibration_error(np.repeat([1.0, 0.0], 5), np.repeat([True, False], 5)) == pytest.approx(0.0)
    assert calibration_error(np.full(10, 0.9), np.zeros(10, dtype=bool)) == pytest.approx(0.9)

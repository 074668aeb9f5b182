"""The ranking learns from outcomes, forgets, explores above its floor only, and repeats itself for the same seed."""

import numpy as np
import pytest

from perception_node.advise.ranking import Candidate, Ranking
from perception_node.bench import picks
from perception_node.bench.advise import picking

BOX = Candidate("suction", "box", 0.8, (0.2, 0.15, 0.1), {"seal": 0.9, "edge": 1.0})
BAG = Candidate("suction", "poly_bag", 0.8, (0.25, 0.2, 0.04), {"seal": 0.6, "edge": 1.0})
JAW = Candidate("parallel_jaw", "box", 0.8, (0.2, 0.15, 0.1), {"clear": 0.9})


def test_without_outcomes_scores_are_as_proposed():
    assert Ranking().probability([BOX, BAG, JAW]) == pytest.approx([0.8, 0.8, 0.8])


def test_failures_lower_their_own_kind_most():
    ranking = Ranking()
    for _ in range(12):
        ranking.learn(BAG, False)
        ranking.learn(BOX, True)
    box, bag, jaw = ranking.probability([BOX, BAG, JAW])
    assert bag < 0.45
    assert box > bag + 0.3
    assert jaw == pytest.approx(0.8, abs=0.02)


def test_probabilities_converge_to_what_happens():
    random, ranking = np.random.default_rng(3), Ranking(memory_picks=5000)
    for _ in range(1500):
        ranking.learn(BAG, bool(random.random() < 0.35))
    assert ranking.probability([BAG])[0] == pytest.approx(0.35, abs=0.06)


def test_what_changed_is_learned_again():
    ranking = Ranking()
    for _ in range(300):
        ranking.learn(BAG, True)
    for _ in range(60):
        ranking.learn(BAG, False)
    assert ranking.probability([BAG])[0] < 0.5


def test_the_set_share_of_picks_explores_and_the_seed_decides_which():
    def exploring(seed):
        ranking, found = Ranking(explore_share=0.1, seed=seed), []
        for _ in range(1000):
            found.append(ranking.exploring)
            ranking.learn(BOX, True)
        return found
    assert exploring(1) == exploring(1)
    assert exploring(1) != exploring(2)
    assert 0.07 < np.mean(exploring(1)) < 0.13
    assert not any(Ranking(explore_share=0.0, seed=seed).exploring for seed in range(50))


def test_nothing_below_the_floor_is_explored():
    ranking = Ranking(explore_share=1.0, floor=0.6, seed=4)
    low = Candidate("suction", "box", 0.55, BOX.size_m, BOX.terms)
    blind = Candidate("suction", "box", 0.9, BOX.size_m, BOX.terms, degraded=True)
    drawn = ranking.explored([low, BOX, blind])
    assert drawn[0] == 0.0
    assert drawn[1] > 0.0
    assert drawn[2] == 0.0
    for _ in range(30):
        ranking.learn(BOX, False)
    assert ranking.explored([BOX])[0] == 0.0  # proposed high, but expected to fail


def test_liking_moves_the_order_within_its_limit():
    ranking = Ranking()
    for _ in range(50):
        ranking.chosen(BAG, BOX)
    shift = ranking.liking([BAG, BOX])
    assert 0.3 < shift[0] <= 0.6
    assert ranking.probability([BAG]) == pytest.approx([0.8])


def test_simulated_picking_fails_less_with_learning_and_repeats_itself():
    learned, fixed = picks.simulate(700, 5, "learns", 0.05), picks.simulate(700, 5, "prior")
    assert learned.failed.sum() < 0.8 * fixed.failed.sum()
    assert learned.lowest_explored >= 0.6
    assert np.array_equal(picks.simulate(700, 5, "learns", 0.05).failed, learned.failed)
    truth = picks.simulate(700, 5, "truth")
    figures = picking({"knows the truth": [truth], "learns": [learned]}, 700)
    assert figures["learns"]["failures"] == [int(learned.failed.sum())]
    assert truth.failed.sum() < learned.failed.sum()


def test_the_rolling_rate_is_a_mean():
    assert picks.rolling(np.array([True, False, True, True]), 2) == pytest.approx([1.0, 0.5, 0.5, 1.0])

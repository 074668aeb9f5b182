"""Fixtures of the beacon's tests: short docking runs, made once."""

import itertools

import pytest

from perception_node.sim import beacon_run as runs


def made(seed, leds_m, count, **conditions):
    """The first pictures of a run."""
    return list(itertools.islice(runs.docking_run(seed, leds_m, runs.Conditions(**conditions)), count))


@pytest.fixture(scope="session")
def near():
    """Twelve pictures from half a metre on: flare sets in."""
    return made(3, runs.RAISED, 12, start_m=0.4, end_m=0.15)


@pytest.fixture(scope="session")
def far():
    """Twelve pictures from three metres on, with lamps, sun patches and reflections."""
    return made(4, runs.RAISED, 12, start_m=3.0, end_m=0.15, clutter=6)

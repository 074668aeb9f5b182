"""Pose and covariance from light centres; mirrored solutions; layouts."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perception_node.beacon.hypotheses import difference
from perception_node.beacon.layout import make_layout
from perception_node.beacon.solve import mirrored, refine, rotation, rotation_vector
from perception_node.errors import ConfigError
from perception_node.sim import beacon_run as runs


def pose(tilt=(0.3, -0.2, 0.4), place=(0.1, -0.05, 1.2)):
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rotation(np.array(tilt)) @ np.diag([1.0, -1.0, -1.0]), place
    return T


def rays_of(T, leds):
    points = leds @ T[:3, :3].T + T[:3, 3]
    return points[:, :2] / points[:, 2:]


def test_errors_are_as_large_as_the_covariance_says():
    rng, T, sigma = np.random.default_rng(5), pose(), 1e-4
    distances = []
    for _ in range(300):
        rays = rays_of(T, runs.FIVE) + sigma * rng.standard_normal((5, 2))
        fit = refine(T, runs.FIVE, rays, np.full(5, sigma))
        error = difference(fit.T, T)
        distances.append(error @ np.linalg.solve(fit.covariance, error))
    assert np.mean(distances) == pytest.approx(6.0, abs=0.8)
    assert np.mean(np.array(distances) < 20.06) > 0.98


def test_an_error_that_all_lights_share_widens_the_range():
    T, sigma = pose(), np.full(4, 1e-4)
    rays = rays_of(T, runs.RAISED)
    plain = refine(T, runs.RAISED, rays, sigma)
    leaning = refine(T, runs.RAISED, rays, sigma, np.full(4, 1e-3))
    np.testing.assert_allclose(leaning.T, plain.T, atol=1e-9)
    assert leaning.covariance[2, 2] > 1.3 * plain.covariance[2, 2]


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.floats(-0.5, 0.5)] * 3), st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.floats(0.3, 5.0)),
       st.tuples(*[st.floats(-0.03, 0.03)] * 6))
def test_refinement_comes_back_from_near_by(tilt, place, off):
    T = pose(tilt, place)
    start = T.copy()
    start[:3, :3] = rotation(np.array(off[:3])) @ T[:3, :3]
    start[:3, 3] = T[:3, 3] * (1 + np.array(off[3:]))
    fit = refine(start, runs.RAISED, rays_of(T, runs.RAISED), np.full(4, 1e-4))
    assert np.abs(difference(fit.T, T)).max() < 1e-5


def test_a_flat_layout_has_a_second_solution_that_the_mirror_finds():
    T = pose((0.35, 0.1, 0.0), (0.0, 0.0, 3.0))
    layout = make_layout(runs.FLAT)
    rays = rays_of(T, runs.FLAT)
    other = refine(mirrored(T, layout.normal, runs.FLAT.mean(axis=0)), runs.FLAT, rays, np.full(4, 1e-4))
    assert np.linalg.norm(difference(other.T, T)[3:]) > 0.3
    assert np.abs(other.residuals).max() < 1e-3
    assert cv2.solvePnPGeneric(runs.FLAT, rays, np.eye(3), None, flags=cv2.SOLVEPNP_IPPE)[0] == 2


@settings(max_examples=50, deadline=None)
@given(st.tuples(*[st.floats(-1.7, 1.7)] * 3))
@example((0.0, 0.0, 1e-5))
def test_rotation_vectors_go_both_ways(vector):
    np.testing.assert_allclose(rotation_vector(rotation(np.array(vector))), vector, atol=1e-9)


def test_a_fit_that_is_not_determined_is_none():
    line = np.array([[0.0, 0, 0], [0.05, 0, 0], [0.1, 0, 0]])
    T = pose()
    fit = refine(T, line, rays_of(T, line), np.full(3, 1e-4))
    assert fit is None or fit.covariance.diagonal().max() > 1.0
    behind = pose(place=(0.0, 0.0, -1.0))
    assert refine(behind, runs.RAISED, rays_of(T, runs.RAISED), np.full(4, 1e-4)) is None


@pytest.mark.parametrize(("leds", "words"), [
    (np.zeros((3, 3)), "expected 4 to 8 LEDs"), (np.zeros((9, 3)), "expected 4 to 8 LEDs"), ([[1, 2], [3, 4]], "got shape"),
    ("four", "expected 4 to 8 LEDs"), ([[0, 0, 0], [1, 0], [0, 1, 0], [1, 1, 0]], "expected 4 to 8 LEDs"),
    (np.array([[0, 0, 0], [0.1, 0, 0], [0.1, 0.1, 0], [0.1, 0.1, 0.001]]), "LEDs 2 and 3 are 1.00 mm apart"),
    (np.array([[0, 0, 0], [0.1, 0, 0], [0.2, 0, 0], [0.3, 0.001, 0]]), "not stand on a line"),
    (np.full((4, 3), np.nan), "all finite")])
def test_impossible_layouts_are_refused(leds, words):
    with pytest.raises(ConfigError, match=words):
        make_layout(leds)


def test_what_a_layout_is():
    raised, square, flat = make_layout(runs.RAISED), make_layout(runs.SQUARE), make_layout(runs.FLAT)
    assert (raised.flat, square.flat, flat.flat) == (False, True, True)
    assert (len(raised.same), len(square.same), len(flat.same)) == (0, 3, 0)
    five = make_layout(runs.FIVE)
    assert not set.intersection(*map(set, five.bases))

"""Spots: sub-pixel centres without bias, limits, false lights."""

import cv2
import numpy as np
import pytest

from perception_node.beacon.blobs import find_spots, full_scale, search_spots
from perception_node.beacon.limits import ANY, FIXED, schedule


def drawn(shape, centre, size, level, turn=0.0, aspect=1.0, soft=1.0):
    """A soft-edged rectangle (or a Gaussian with size 0) whose exact middle is `centre`."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    x, y = columns - centre[0], rows - centre[1]
    if size == 0:
        return level * np.exp(-(x * x + y * y) / (2 * soft**2))
    c, s = np.cos(turn), np.sin(turn)
    inside = [1 / (1 + np.exp((np.abs(a) - half) / soft)) for a, half in ((c * x + s * y, size), (c * y - s * x, size / aspect))]
    return level * inside[0] * inside[1]


def picture(light, seed=0, dtype=np.uint8, top=255):
    noise = np.random.default_rng(seed).normal(0, top / 200, light.shape)
    return np.clip(0.05 * top + light * top + noise + 0.5, 0, top).astype(dtype)


@pytest.mark.parametrize(("size", "level", "aspect", "turn", "limit_px"), [
    (0, 0.6, 1.0, 0.0, 0.06), (0, 40.0, 1.0, 0.0, 0.05), (10, 3.0, 1.6, 0.3, 0.06), (24, 1.2, 1.4, -0.2, 0.06)],
    ids=["dim", "saturated", "rectangle", "large rectangle"])
@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 4095)])
def test_centres_are_not_biased(size, level, aspect, turn, limit_px, dtype, top):
    errors = []
    for number, (du, dv) in enumerate(np.random.default_rng(1).uniform(0, 1, (12, 2))):
        gray = picture(drawn((90, 110), (52 + du, 41 + dv), size, level, turn, aspect), number, dtype, top)
        spots = find_spots(gray, [(0, 0, 110, 90)], ANY, top)
        assert len(spots) == 1
        assert spots[0].saturated == (level > 1)
        errors.append((spots[0].u - 52 - du, spots[0].v - 41 - dv))
    errors = np.array(errors)
    assert np.abs(errors.mean(axis=0)).max() < limit_px / 2
    assert np.sqrt((errors**2).mean()) < limit_px


def test_the_claimed_uncertainty_covers_the_error():
    ratios = []
    for number, (du, dv) in enumerate(np.random.default_rng(2).uniform(0, 1, (40, 2))):
        gray = picture(drawn((60, 70), (30 + du, 28 + dv), 0, 0.25), number)
        spot = find_spots(gray, [(0, 0, 70, 60)], ANY, 255)[0]
        ratios.append(((spot.u - 30 - du) / spot.sigma_px) ** 2)
    assert 0.1 < np.mean(ratios) < 1.6


def test_limits_follow_range_and_picture():
    far, near = schedule(12.0, 2.0, 2.0, 40.0), schedule(400.0, 0.3, 0.25, 300.0)
    assert near.area_px[0] > far.area_px[1]
    assert near.circularity < far.circularity
    assert near.inertia < far.inertia
    assert schedule(12.0, 5.0, 5.0, 9.0).level > far.level  # lights that nearly touch
    rectangle = picture(drawn((90, 110), (50, 40), 20, 3.0, 0.2, 1.5))
    window = [(0, 0, 110, 90)]
    assert find_spots(rectangle, window, FIXED, 255) == []
    assert len(find_spots(rectangle, window, schedule(1000.0, 0.2, 0.2, 300.0), 255)) == 1


def test_what_a_window_cuts_off_is_left_out():
    gray = picture(drawn((90, 110), (50, 40), 8, 3.0))
    assert find_spots(gray, [(50, 0, 110, 90)], ANY, 255) == []


def test_a_search_finds_dim_lights_beside_sun_and_bright_corners():
    light = drawn((400, 500), (120, 90), 0, 0.35) + drawn((400, 500), (160, 95), 0, 0.3)
    cv2.fillPoly(light, [np.array([[300, 60], [460, 40], [480, 330], [310, 300]])], 2.0)
    light += np.linspace(0, 0.3, 500)[None]
    found = search_spots(picture(light), 255)
    for u, v in ((120, 90), (160, 95)):
        assert min(np.hypot(spot.u - u, spot.v - v) for spot in found) < 0.3


def test_full_scale_of_16_bit_pictures():
    assert full_scale(np.full((4, 5), 200, np.uint8)) == 255
    assert full_scale(np.full((4, 5), 900, np.uint16)) == 1023
    assert full_scale(np.full((4, 5), 900, np.uint16), 4000) == 4095
    assert full_scale(np.full((4, 5), 65535, np.uint16)) == 65535

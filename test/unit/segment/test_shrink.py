"""Means over areas: OpenCV's to rounding, of the readings alone, whatever the sizes."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception_node.segment.shrink import shrunk_depth, shrunk_rgb

SIZES = [((128, 72), (74, 42)), ((96, 64), (48, 32)), ((90, 50), (90, 50)), ((101, 67), (40, 66)), ((33, 70), (5, 7))]


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_colours_are_opencvs_means(old: tuple[int, int], new: tuple[int, int]) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (old[1], old[0], 3), dtype=np.uint8)
    wanted = cv2.resize(rgb, new, interpolation=cv2.INTER_AREA).astype(int)
    for picture in (rgb, np.asfortranarray(rgb)):
        difference = np.abs(shrunk_rgb(picture, new).astype(int) - wanted)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_depth_is_the_mean_of_the_readings(old: tuple[int, int], new: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    depth = rng.uniform(0.5, 2.0, (old[1], old[0])).astype(np.float32)
    holes = rng.random(depth.shape) < 0.3
    depth[holes] = rng.choice(np.array([np.nan, np.inf, 0.0, -1.0], np.float32), int(holes.sum()))
    mean, share = shrunk_depth(depth, new)
    known = cv2.resize((~holes).astype(np.float64), new, interpolation=cv2.INTER_AREA)
    total = cv2.resize(np.where(holes, 0.0, depth).astype(np.float64), new, interpolation=cv2.INTER_AREA)
    assert np.allclose(share, known, atol=1e-5)
    assert np.allclose(mean[known > 0.01], (total / np.maximum(known, 1e-9))[known > 0.01], rtol=1e-4)
    assert not mean[known < 1e-4].any()


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_an_even_picture_stays_even_at_any_size(width: int, height: int, new_width: int, new_height: int) -> None:
    rgb = np.full((height, width, 3), (1, 128, 255), np.uint8)
    assert (shrunk_rgb(rgb, (new_width, new_height)) == (1, 128, 255)).all()
    mean, share = shrunk_depth(np.full((height, width), 1.25, np.float32), (new_width, new_height))
    assert np.allclose(mean, 1.25, rtol=1e-5)
    assert np.allclose(share, 1.0, rtol=1e-5)

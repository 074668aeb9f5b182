"""Black, blown out and frozen pictures are found; living ones are left alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception_node.bag.watch import Exposure, UnusablePicture, Watch
from perception_node.ros.inbox import Item, Raw
from perception_node.types import CameraModel, Frame

SECOND = 10**9
SHAPE = (48, 64)
rng = np.random.default_rng(0)


def frame(rgb, depth_m=None):
    camera = CameraModel(60.0, 60.0, 31.5, 23.5, SHAPE[1], SHAPE[0])
    return Frame(rgb=rgb, depth_m=depth_m, camera=camera, stamp_ns=1, frame_id="camera")


def item(stamp_ns, colour, depth=None):
    def raw(pixels):
        return Raw(bytes(12) + pixels.tobytes(), stamp_ns, 0.0)
    return Item(raw(colour), None if depth is None else raw(depth), None, 0)


def noise(low=60, high=180):
    return rng.integers(low, high, (*SHAPE, 3), dtype=np.uint8)


def test_exposure_is_of_every_eighth_row_and_column():
    rgb = np.zeros((17, 25, 3), np.uint8)
    rgb[::8, ::8] = [[[250, 255, 250], [15, 15, 16], [15, 0, 0], [249, 255, 255]]] * 3
    assert Exposure.of(rgb) == Exposure((755 + 46 + 15 + 759) / (4 * 3 * 255), 1 / 4, 1 / 4)


@pytest.mark.parametrize(("low", "high", "word"), [
    (0, 12, "black"), (252, 256, "blown out"), (0, 40, ""), (200, 256, ""), (60, 61, "")])
def test_exposure(low, high, word):
    fault = Exposure.of(noise(low, high)).fault()
    assert word in fault
    assert bool(word) == bool(fault)


def test_a_lit_package_on_a_black_belt_is_a_picture():
    rgb = noise(0, 12)
    rgb[10:20, 10:26] = 140
    assert Exposure.of(rgb).fault() == ""


def test_black_is_refused_with_its_reason():
    rgb = noise(0, 10)
    with pytest.raises(UnusablePicture, match="black") as caught:
        Watch().check(item(SECOND, rgb), frame(rgb), 0.5, True)
    assert caught.value.reason == "blind"


def test_frozen_colour_is_refused_until_it_moves():
    watch, still = Watch(), noise()
    for tenth in range(6):
        watch.check(item(tenth * SECOND // 10 + 1, still), frame(still), 0.5, True)
    with pytest.raises(UnusablePicture, match="colour: expected new pixels, got the same bytes for 0.6 s") as caught:
        watch.check(item(6 * SECOND // 10 + 1, still), frame(still), 0.5, True)
    assert caught.value.reason == "frozen"
    watch.check(item(7 * SECOND // 10 + 1, still), frame(still), 0.5, False)
    fresh = noise()
    watch.check(item(8 * SECOND // 10, fresh), frame(fresh), 0.5, True)
    watch.check(item(1, fresh), frame(fresh), 0.5, True)  # a looped recording


def test_frozen_depth_is_refused_but_a_covered_sensor_is_not():
    depth = np.full(SHAPE, 1.0, np.float32)
    watch = Watch()
    watch.check(item(1, noise(), depth), frame(noise(), depth), 0.5, True)
    with pytest.raises(UnusablePicture, match="depth: expected new pixels"):
        watch.check(item(SECOND, noise(), depth), frame(noise(), depth), 0.5, True)
    covered = np.full(SHAPE, np.nan, np.float32)
    for second in (1, 2, 3):
        watch.check(item(second * SECOND, noise(), covered), frame(noise(), covered), 0.5, True)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, SHAPE[0] * SHAPE[1] * 3 - 1), st.integers(1, 255))
def test_one_changed_bit_is_life(place, change):
    watch, first = Watch(), np.full((*SHAPE, 3), 90, np.uint8)
    second = first.copy()
    second.reshape(-1)[place] ^= change
    watch.check(item(1, first), frame(first), 0.5, True)
    watch.check(item(10 * SECOND, second), frame(second), 0.5, True)

"""What the page shows: packages in their colours on the picture."""

import numpy as np
import pytest

pytest.importorskip("cv2")

from perception_node.ros import console_view  # noqa: E402


@pytest.mark.parametrize("highest", [3, 200, 700])
def test_packages_are_tinted_and_framed_in_their_colours(highest):
    random = np.random.default_rng(highest)
    rgb = random.integers(0, 256, (40, 60, 3), np.uint8)
    labels = np.zeros((40, 60), np.uint16)
    labels[5:20, 5:30], labels[10:30, 20:50], labels[35:, :8] = 1, highest, 2
    ids = {1: 71, highest: 0}  # 0 = not tracked; label 2 is no package
    palette = console_view._PALETTE
    colours = {1: palette[71 % len(palette)], highest: palette[highest % len(palette)], 2: (0, 0, 0)}
    shown = console_view._tinted(rgb, labels, ids)
    padded = np.pad(labels, 1, mode="edge")
    for y, x in np.ndindex(labels.shape):
        label = int(labels[y, x])
        if label == 0:
            expected = rgb[y, x]
        elif (padded[y:y + 3, x:x + 3] != label).any():
            expected = colours[label]
        else:
            expected = 0.7 * rgb[y, x] + 0.3 * np.asarray(colours[label])
        assert np.abs(shown[y, x] - np.asarray(expected, float)).max() <= 0.51, (y, x, label)


def test_an_empty_belt_is_shown_as_it_is():
    rgb = np.full((6, 9, 3), 7, np.uint8)
    assert (console_view._tinted(rgb, np.zeros((6, 9), np.uint16), {}) == rgb).all()

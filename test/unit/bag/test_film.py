"""Pictures of a replay."""

import cv2
import pytest

from perception_node.bag.film import fitted


@pytest.mark.parametrize("width_px", [160, 640, 1280])
@pytest.mark.parametrize("length", [1, 60, 90, 400])
def test_a_caption_is_no_wider_than_the_picture_and_cut_only_where_it_must(width_px, length):
    words = "m" * length
    shown, size = fitted(words, width_px)
    assert cv2.getTextSize(shown, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0] <= width_px
    assert 0.3 <= size <= 0.45
    assert shown == words or (shown.endswith("...") and size == 0.3)


def test_a_reason_of_80_letters_is_whole_on_a_usual_picture():
    words = "12: 4 packages, 3 grasps, degraded: no depth within 0.1 s: belt plane as calibrated"
    assert fitted(words, 632)[0] == words

"""What is said of each class is said of all of them."""

from collections.abc import Collection

import pytest

from perception_node.advise.view import CLASS_WORDS
from perception_node.bag import filling
from perception_node.grasp import jaw, suction
from perception_node.learn import picks
from perception_node.learn.coco import CATEGORIES
from perception_node.locate.faces import FACE_TOLERANCE_M
from perception_node.segment import draw
from perception_node.types import CLASS_NAMES


@pytest.mark.parametrize("table", [
    FACE_TOLERANCE_M, {*suction._RIGID, *suction._SOFT}, jaw._RIGID, picks._STIFF, CLASS_WORDS, filling._COLOURS, draw._SHORT_NAMES,
    [category["name"] for category in CATEGORIES],
], ids=["faces", "suction", "jaw", "picks", "words", "markers", "pictures", "categories"])
def test_every_class_is_in_the_table(table: Collection[str]) -> None:
    assert set(table) == set(CLASS_NAMES)

"""Agreement with the truth: perfect masks, merged, split, missing, and what does not count."""

import dataclasses

import numpy as np
import pytest

from perception_node.bag.agreement import agreement
from perception_node.bag.truth import IGNORE


@pytest.fixture
def truth(scene):
    return scene[1].frames[0]


def test_perfect(truth):
    result = agreement([(truth, truth.labels), (truth, np.where(truth.labels == 1, 2, truth.labels // 2).astype(np.uint16))])
    assert dataclasses.astuple(result) == (4, 1.0, 1.0, 1.0, 0, 0)


def test_merged(truth):
    labels = (truth.labels > 0).astype(np.uint16)
    result = agreement([(truth, labels)])
    assert (result.merges, result.splits, result.found_75) == (1, 0, 0.0)


def test_split_and_missing(truth):
    labels = np.zeros_like(truth.labels)
    labels[18:28, 20:27], labels[18:28, 27:34] = 1, 2
    result = agreement([(truth, labels)])
    assert (result.merges, result.splits) == (0, 1)
    assert result.found_50 == 0.5  # each half overlaps by exactly one half
    assert result.mean_iou == pytest.approx(0.5)


def test_hidden_packages_and_ignored_pixels_do_not_count(truth):
    hidden = dataclasses.replace(truth, instances=(dataclasses.replace(truth.instances[0], visible_fraction=0.3),
                                                   truth.instances[1]))
    assert agreement([(hidden, truth.labels)]).packages == 1
    labels = truth.labels.copy()
    labels[30:32] = 3
    ignored = truth.labels.copy()
    ignored[30:32] = IGNORE
    assert agreement([(dataclasses.replace(truth, labels=ignored), labels)]).mean_iou == 1.0


def test_nothing(truth):
    assert agreement([]).packages == 0
    assert agreement([(truth, np.zeros_like(truth.labels))]).found_50 == 0.0

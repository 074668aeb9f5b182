"""The beacon's benchmark counts what it should: poses, flips, three standard deviations."""

import dataclasses

import numpy as np

from perception_node.beacon.solve import rotation
from perception_node.beacon.tracker import BeaconPose
from perception_node.bench.beacon import Tally, figures


def pose(T, alternatives=(), degraded=False):
    return BeaconPose(1, T, np.diag([1e-6] * 3 + [1e-4] * 3), 1.0, (0.0, 0.0, 0.0), 0.1, (0, 1, 2, 3), (), "tracking", "", degraded,
                      alternatives)


def test_flips_ambiguities_and_honesty_are_counted():
    truth = np.eye(4)
    truth[2, 3] = 1.0
    off = truth.copy()
    off[0, 3] = 0.002
    flipped = truth.copy()
    flipped[:3, :3] = rotation(np.array([0.5, 0.0, 0.0]))
    tally = Tally()
    for given in (pose(truth), pose(off), pose(flipped), pose(flipped, alternatives=(truth,)), pose(truth, degraded=True), None):
        tally.add(given, truth, 1.5)
    result = figures(tally)
    assert (result["frames"], result["wrong"]) == (6, 1)
    assert np.allclose([result[f"{name}_share"] for name in ("pose", "ambiguous", "degraded", "none")], np.array([3, 1, 1, 1]) / 6)
    assert result["within_3_sigma"] == 3 / 5  # the flipped ones lie far outside of the covariance that they come with
    assert result["position_share_p50"] == 0.0
    assert result["ms_p50"] == 1.5
    assert [row["frames"] for row in result["by_range"]] == [0, 0, 0, 6, 0, 0]
    assert figures(dataclasses.replace(tally, kind=["none"] * 6))["position_share_p50"] is None

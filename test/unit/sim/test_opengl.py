"""The other engine: same truth, other pixels."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("numba")

from perception_node.errors import MissingDependencyError  # noqa: E402
from perception_node.sim.dataset import IGNORE, Sample  # noqa: E402
from perception_node.sim.opengl import opengl_samples  # noqa: E402
from perception_node.sim.sample import Picture  # noqa: E402


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    try:
        return [s for g in range(3) for s in opengl_samples(3, g, [g], Picture(320, 240))]
    except MissingDependencyError as error:
        pytest.skip(str(error))


def test_labels_depth_and_poses_agree(samples: list[Sample]) -> None:
    checked = 0
    for sample in samples:
        meta = sample.meta
        for instance in meta["instances"]:
            rows, columns = np.nonzero(sample.labels == instance["id"])
            assert 0 <= instance["visible_fraction"] <= 1
            if len(rows) < 100 or instance["class"] != "box":
                continue
            pose = np.array(instance["pose_cam"])
            z = sample.depth_true_m[rows, columns]
            points = np.stack([(columns - meta["cx"]) * z / meta["fx"], (rows - meta["cy"]) * z / meta["fy"], z])
            local = pose[:3, :3].T @ (points - pose[:3, 3:])
            assert (np.abs(local).max(1) < np.array(instance["obb_size_lwh_m"]) / 2 + 0.012).all()
            checked += 1
    assert checked >= 2


def test_slivers_are_ignored_and_sizes_fit(samples: list[Sample]) -> None:
    for sample in samples:
        assert sample.rgb.shape == (240, 320, 3)
        areas = np.bincount(sample.labels[sample.labels < IGNORE].ravel())[1:]
        assert ((areas == 0) | (areas >= 60)).all()

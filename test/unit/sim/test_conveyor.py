"""The moving belt: stable ids, motion, determinism."""

from __future__ import annotations

import numpy as np
import pytest

from perception_node.errors import PerceptionError

pytest.importorskip("mujoco")
pytest.importorskip("numba")

from perception_node.sim.conveyor import SimulatedFrame, conveyor_sequence  # noqa: E402


@pytest.fixture(scope="module")
def run() -> list[SimulatedFrame]:
    return list(conveyor_sequence(3, frames=4, fps=5.0, width=320, height=240))


def test_stamps_and_sizes(run: list[SimulatedFrame]) -> None:
    assert np.diff([f.frame.stamp_ns for f in run]).tolist() == [200_000_000] * 3
    for f in run:
        assert f.frame.rgb.shape == (240, 320, 3)
        assert f.frame.depth_m is not None
        assert f.labels.shape == (240, 320)
        assert np.isnan(f.frame.depth_m).any()
        assert np.nanmin(f.frame.depth_m) > 0.1


def test_packages_move_with_their_velocity(run: list[SimulatedFrame]) -> None:
    first = {p.package_id: p for p in run[0].packages}
    later = {p.package_id: p for p in run[2].packages}
    common = set(first) & set(later)
    assert len(common) >= 3
    for n in common:
        moved = later[n].T_cam_package[:3, 3] - first[n].T_cam_package[:3, 3]
        assert np.allclose(moved, first[n].velocity_m_s * 0.4, atol=1e-4)
        assert later[n].class_name == first[n].class_name
        assert np.allclose(later[n].size_m, first[n].size_m)


def test_label_image_holds_the_package_ids(run: list[SimulatedFrame]) -> None:
    for f in run:
        shown = set(np.unique(f.labels).tolist()) - {0, 65535}
        assert shown <= {p.package_id for p in f.packages}
        for p in f.packages:
            if p.visible_area_px >= 60:
                assert int((f.labels == p.package_id).sum()) == p.visible_area_px


def test_belt_plane_is_where_the_depth_says(run: list[SimulatedFrame]) -> None:
    f = run[0]
    camera = f.frame.camera
    v, u = np.nonzero((f.labels == 0) & np.isfinite(f.depth_true_m))
    z = f.depth_true_m[v, u]
    points = np.stack([(u - camera.cx) * z / camera.fx, (v - camera.cy) * z / camera.fy, z])
    height = f.belt_plane[:3] @ points + f.belt_plane[3]
    assert (np.abs(height) < 0.002).mean() > 0.3


def test_same_seed_same_frames() -> None:
    a = next(conveyor_sequence(5, frames=1, width=160, height=120))
    b = next(conveyor_sequence(5, frames=1, width=160, height=120))
    assert np.array_equal(a.frame.rgb, b.frame.rgb)
    assert np.array_equal(a.frame.depth_m, b.frame.depth_m, equal_nan=True)


def test_depth_can_be_left_out() -> None:
    assert next(conveyor_sequence(5, frames=1, width=160, height=120, with_depth=False)).frame.depth_m is None


def test_bad_arguments() -> None:
    with pytest.raises(PerceptionError, match="expected frames"):
        next(conveyor_sequence(1, frames=0))

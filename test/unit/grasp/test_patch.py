"""How sure the plane under a cup is: true normals and contacts lie within three sigma, near and far."""

import numpy as np
import pytest

from perception_node import geometry
from perception_node.grasp.patch import View, fit_patches, sunflower
from perception_node.types import CameraModel

CAMERA = CameraModel(600.0, 600.0, 319.5, 239.5, 640, 480)
RADIUS_M = 0.015


def fitted(distance_m, lean_rad, seed):
    """Discs on a leaning plane, as the simulated stereo sensor sees it; its true normal."""
    sensor = pytest.importorskip("perception_node.sim.sensor")
    normal = np.array([np.sin(lean_rad), 0.0, -np.cos(lean_rad)])
    rays = geometry.ray_image(CAMERA).astype(np.float64)
    depth = (-normal[2] * distance_m / -(rays[..., 0] * normal[0] + rays[..., 1] * normal[1] + normal[2])).astype(np.float32)
    read = sensor.depth_picture(depth, np.zeros_like(depth), sensor.DepthSensor(), np.random.default_rng(seed))
    read = np.where(read > 0, np.round(read, 3), np.nan).astype(np.float32)
    labels = np.ones(depth.shape, np.uint16)
    view = View(CAMERA, labels, read, rays.reshape(-1, 2).astype(np.float32), np.zeros((*depth.shape, 3), np.uint8))
    rows, columns = (grid.ravel() for grid in np.mgrid[60:430:40, 60:580:40])
    contact = np.column_stack([rays[rows, columns], np.ones(len(rows))]) * depth[rows, columns, None]
    many = np.ones((len(rows), 1))
    patch = fit_patches(view, contact, many * normal, many * [0.0, 1.0, 0.0], np.ones(len(rows), np.int64),
                        sunflower(40) * RADIUS_M * 1.15, 1, np.full(len(rows), 0.003))
    return patch, normal, normal @ [0.0, 0.0, distance_m]


@pytest.mark.parametrize("distance_m", [0.8, 1.2, 2.0, 3.0])
def test_true_normals_and_contacts_lie_within_three_sigma(distance_m):
    turned, aside = [], []
    for seed, lean_rad in enumerate((0.0, 0.2, 0.4)):
        patch, normal, offset = fitted(distance_m, lean_rad, seed)
        covariance = patch.covariances(RADIUS_M)
        assert np.linalg.eigvalsh(covariance).min() > 0
        across = np.cross(patch.normal, [0.0, 1.0, 0.0])
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        sigma_rad = np.sqrt(np.einsum("ni,nij,nj->n", across, covariance[:, 3:, 3:], across))
        sigma_m = np.sqrt(np.einsum("ni,nij,nj->n", patch.normal, covariance[:, :3, :3], patch.normal))
        turned.append(np.arccos(np.clip(patch.normal @ normal, -1.0, 1.0)) / sigma_rad)
        aside.append(np.abs(patch.contact @ normal - offset) / sigma_m)
        if distance_m < 1.5:  # and it is not sure of nothing
            assert np.median(sigma_rad) < np.deg2rad(4.0)
    assert np.mean(np.concatenate(turned) < 3.0) >= 0.95
    assert np.mean(np.concatenate(aside) < 3.0) >= 0.97


def test_few_readings_are_less_sure():
    patch, _, _ = fitted(1.2, 0.0, 0)
    few = patch.take(np.arange(len(patch.table)))
    few.table[:, 8] *= 0.1
    assert (few.covariances(RADIUS_M)[:, 3, 3] > 2 * patch.covariances(RADIUS_M)[:, 3, 3]).all()

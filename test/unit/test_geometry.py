import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perception_node import geometry
from perception_node.errors import PerceptionError
from perception_node.types import CameraModel

NUMBER = st.floats(-5, 5, allow_nan=False)
VECTOR = st.tuples(NUMBER, NUMBER, NUMBER).map(np.array)
AXIS = VECTOR.filter(lambda v: np.linalg.norm(v) > 1e-3)
PLAIN = CameraModel(500.0, 510.0, 319.5, 179.5, 640, 360)
BENT = CameraModel(500.0, 510.0, 319.5, 179.5, 640, 360, (-0.12, 0.05, 0.001, -0.0005, 0.0))


@given(VECTOR, AXIS, VECTOR)
def test_a_frame_from_axes_is_rigid_and_keeps_its_z(origin, z, hint):
    T = geometry.frame_from_axes(origin, z, hint)
    assert np.allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(T[:3, :3]) > 0
    assert np.allclose(T[:3, 2], z / np.linalg.norm(z))
    assert np.allclose(T[:3, 3], origin)


@given(VECTOR, AXIS, VECTOR, VECTOR)
def test_the_inverse_undoes_a_transform(origin, z, hint, point):
    T = geometry.frame_from_axes(origin, z, hint)
    back = geometry.transform_points(geometry.transform_inverse(T), geometry.transform_points(T, point[None]))
    assert np.allclose(back, point, atol=1e-8)


@given(AXIS, VECTOR)
@example(np.array([3.0, 5.960464477539063e-08, 0.0]), np.array([1.0, 0.0, 0.0]))
def test_quaternions_round_trip(z, hint):
    rotation = geometry.frame_from_axes(np.zeros(3), z, hint)[:3, :3]
    assert np.allclose(geometry.rotation_from_quaternion(tuple(geometry.quaternions_xyzw(rotation[None])[0])), rotation, atol=1e-9)


@pytest.mark.parametrize("camera", [PLAIN, BENT])
def test_projection_and_deprojection_agree(camera):
    pixels = np.array([[0.0, 0.0], [639.0, 359.0], [100.5, 300.25], [319.5, 179.5]])
    points = geometry.deproject(camera, pixels, np.array([0.5, 1.0, 2.0, 3.0]))
    assert np.allclose(geometry.project(camera, points), pixels, atol=0.02)
    assert np.allclose(points[:, 2], [0.5, 1.0, 2.0, 3.0])


@pytest.mark.parametrize("camera", [PLAIN, BENT])
def test_the_ray_image_is_the_rays_of_its_pixels_and_is_made_once(camera):
    picture = geometry.ray_image(camera)
    assert picture.shape == (360, 640, 2)
    assert picture is geometry.ray_image(camera)
    assert np.allclose(picture[17, 600], geometry.pixel_rays(camera, np.array([[600.0, 17.0]]))[0, :2], atol=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        picture[0, 0] = 0


def test_points_behind_the_camera_have_no_pixel():
    assert np.isnan(geometry.project(PLAIN, np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0]]))).all()


@given(AXIS.filter(lambda v: abs(v[2]) > 1e-2), st.floats(0.2, 5.0), st.integers(0, 1000))
def test_a_plane_fit_finds_the_plane_and_faces_the_camera(normal, distance, seed):
    normal = normal / np.linalg.norm(normal)
    normal = -normal if normal[2] > 0 else normal
    first = geometry.frame_from_axes(-normal * distance, normal, np.array([1.0, 0.0, 0.0]))
    flat = np.column_stack([np.random.default_rng(seed).uniform(-0.2, 0.2, (40, 2)), np.zeros(40)])
    found, offset, rms = geometry.fit_plane(geometry.transform_points(first, flat))
    assert np.allclose(found, normal, atol=1e-6)
    assert offset == pytest.approx(distance, abs=1e-6)
    assert rms < 1e-6


def test_two_points_are_no_plane():
    with pytest.raises(PerceptionError, match="at least 3 points, got 2"):
        geometry.fit_plane(np.zeros((2, 3)))


def test_rays_meet_a_plane_ahead_only():
    rays = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    points = geometry.intersect_plane(rays, np.array([0.0, 0.0, -1.0]), 2.0)
    assert np.allclose(points[0], [0, 0, 2])
    assert np.isnan(points[1:]).all()


@settings(deadline=None)  # the first call may compile
@given(st.integers(3, 40), st.integers(0, 10**6), st.sampled_from([1.0, 1e-3, 0.0]))
def test_the_normal_of_a_scatter_is_the_axis_of_least_scatter(count, seed, flatness):
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    points = (rng.normal(size=(count, 3)) * (1.0, 0.5, 0.2 * flatness)) @ turn.T
    scatter = (points - points.mean(axis=0)).T @ (points - points.mean(axis=0))
    normal = np.array(geometry.plane_normal(*scatter[0], *scatter[1, 1:], scatter[2, 2]))
    assert np.linalg.norm(normal) == pytest.approx(1.0)
    assert normal @ scatter @ normal == pytest.approx(np.linalg.eigvalsh(scatter)[0], abs=1e-12 * count)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception_node.segment import encode, shrink
from perception_node.types import CameraModel

CAMERA = CameraModel(300.0, 310.0, 150.0, 95.0, 320, 180)


def tilted_depth(plane: np.ndarray) -> np.ndarray:
    u, v = np.meshgrid(np.arange(320), np.arange(180))
    along = plane[0] * (u - 150.0) / 300.0 + plane[1] * (v - 95.0) / 310.0 + plane[2]
    return (-plane[3] / along).astype(np.float32)


@given(st.integers(60, 4000), st.integers(60, 4000))
def test_network_size_is_of_multiples_and_near_the_aspect(width: int, height: int) -> None:
    w, h = encode.network_size(width, height)
    assert w % encode.STRIDE == 0
    assert h % encode.STRIDE == 0
    assert min(w, h) >= encode.STRIDE
    if 0.5 < width / height < 2:
        assert abs(np.log((w / h) / (width / height))) < 0.1


def test_network_size_keeps_vga() -> None:
    assert encode.network_size(640, 480) == (640, 480)
    assert encode.network_size(1280, 720) == (736, 416)


def test_height_above_the_given_plane_is_metric() -> None:
    normal = np.array([0.05, -0.2, -1.0])
    plane = np.append(normal / np.linalg.norm(normal), 1.2)
    raised = plane.copy()
    raised[3] -= 0.1  # a surface 0.1 m nearer to the camera
    depth = tilted_depth(raised)
    depth[40:60, 40:80] = np.nan
    mean, share = shrink.shrunk_depth(depth, (160, 90))
    height = encode.height_above_plane(mean, encode.grid_rays(CAMERA, (160, 90)), plane)
    assert np.allclose(height[share > 0.99], 0.1, atol=2e-4)
    assert share[25, 30] == 0.0
    encoded = encode.encode_height(height, share)
    assert np.all(encoded[25, 30] == 0.0)
    assert encoded.shape == (90, 160, encode.DEPTH_CHANNELS)


def test_plane_is_found_under_boxes_and_floor() -> None:
    plane = np.append(np.array([0.0, -0.12, -1.0]) / np.hypot(0.12, 1.0), 1.1)
    depth = tilted_depth(plane)
    depth[20:80, 30:120] -= 0.25
    depth[:, 280:] += 0.5
    mean, share = shrink.shrunk_depth(depth, (160, 90))
    fitted = encode.fit_belt_plane(mean, share, encode.grid_rays(CAMERA, (160, 90)))
    assert fitted is not None
    assert np.allclose(fitted, plane, atol=2e-3)


def test_without_depth_or_plane_the_channels_are_zero() -> None:
    assert not encode.encode_depth(None, CAMERA, (160, 96), None).any()
    nothing = np.full((180, 320), np.nan, np.float32)
    assert not encode.encode_depth(nothing, CAMERA, (160, 96), None).any()


@pytest.mark.parametrize("bad", [np.inf, -1.0, 0.0, np.nan])
def test_unreadable_depth_is_no_reading(bad: float) -> None:
    depth = np.full((180, 320), 1.0, np.float32)
    depth[50:70] = bad
    encoded = encode.encode_depth(depth, CAMERA, (160, 90), np.array([0.0, 0.0, -1.0, 1.0]))
    assert np.isfinite(encoded).all()
    assert not encoded[27:33].any()


def test_depth_may_lie_in_memory_in_any_way_and_is_compiled_for_once() -> None:
    depth = tilted_depth(np.array([0.0, 0.0, -1.0, 1.1]))
    depth[40:60, 40:80] = np.nan
    fixed = depth.copy()
    fixed.setflags(write=False)
    first = encode.encode_depth(depth, CAMERA, (160, 90), None)
    assert first.any()
    for other in (fixed, np.asfortranarray(depth)):
        assert np.array_equal(encode.encode_depth(other, CAMERA, (160, 90), None), first)
    loops = (shrink._depth, encode._coarse_points, encode._most_supported, encode._channels)
    assert [len(loop.signatures) for loop in loops] == [1] * len(loops)

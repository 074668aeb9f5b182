import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception_node.geometry import frame_from_axes
from perception_node.track.pose import align_pose, blend_pose

ANGLE = st.floats(-10, 10)


def flat(turn, z=-1.0):
    return frame_from_axes(np.array([0.1, 0.2, 1.0]), np.array([0.0, 0.0, z]), np.array([np.cos(turn), np.sin(turn), 0.0]))


@given(ANGLE, ANGLE)
@settings(deadline=None)
def test_a_long_box_is_turned_by_a_quarter_at_most(before, now):
    aligned = align_pose(flat(now), flat(before), (0.3, 0.1, 0.1))
    assert aligned[:3, 0] @ flat(before)[:3, 0] >= -1e-9
    assert abs(aligned[:3, 0] @ flat(now)[:3, 0]) == pytest.approx(1.0)


@given(ANGLE, ANGLE)
@settings(deadline=None)
def test_a_square_box_is_turned_by_an_eighth_at_most(before, now):
    aligned = align_pose(flat(now), flat(before), (0.1, 0.1, 0.1))
    assert aligned[:3, 0] @ flat(before)[:3, 0] >= np.sqrt(0.5) - 1e-6
    assert np.linalg.det(aligned[:3, :3]) == pytest.approx(1.0)


@given(ANGLE, st.floats(-0.5, 0.5), st.floats(0, 1))
@settings(deadline=None)
def test_a_blend_lies_between(before, turn, trust):
    blended = blend_pose(flat(before), flat(before + turn), trust)
    assert np.allclose(blended[:3, :3] @ blended[:3, :3].T, np.eye(3), atol=1e-9)
    assert blended[:3, 0] @ flat(before)[:3, 0] >= np.cos(turn) - 1e-9


def test_opposite_faces_are_not_averaged():
    assert np.allclose(blend_pose(flat(0.0), flat(0.0, z=1.0), 0.5), flat(0.0, z=1.0))

import numpy as np
import pytest

from perception_node.checked import altered
from perception_node.errors import FrameError, PerceptionError
from perception_node.types import CameraModel, Frame, Grasp, Instance, Package, Packages, Rejection, Segmentation, Track

CAMERA = CameraModel(100.0, 100.0, 31.5, 23.5, 64, 48)
POSE = np.eye(4)


def package(**changes):
    values = {"label": 1, "class_name": "box", "score": 0.9, "T_cam_package": POSE, "size_m": (0.2, 0.1, 0.05),
              "covariance": np.eye(6), "visible_fraction": 1.0, "covered_by": (), "depth_valid_fraction": 1.0, "from_depth": True}
    return Package(**{**values, **changes})


def test_a_camera_without_calibration_is_refused():
    with pytest.raises(FrameError, match="focal lengths above 0"):
        CameraModel(0.0, 0.0, 0.0, 0.0, 64, 48)
    with pytest.raises(FrameError, match="positive picture size"):
        CameraModel(1.0, 1.0, 0.0, 0.0, 0, 48)
    with pytest.raises(FrameError, match="finite"):
        CameraModel(float("nan"), 1.0, 0.0, 0.0, 64, 48)
    with pytest.raises(FrameError, match="far outside"):
        CameraModel(1.0, 1.0, 1000.0, 0.0, 64, 48)


@pytest.mark.parametrize(("rgb", "depth", "words"), [
    (np.zeros((64, 48, 3), np.uint8), None, "rgb is 48x64, camera_info says 64x48"),
    (np.zeros((48, 64, 3), np.float32), None, "uint8"),
    (np.zeros((48, 64, 3), np.uint8), np.zeros((24, 32), np.float32), "64x48 of the colour picture, got 32x24"),
    (np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.uint16), "float32, got uint16"),
])
def test_a_frame_whose_parts_disagree_is_refused(rgb, depth, words):
    with pytest.raises(FrameError, match=words):
        Frame(rgb, depth, CAMERA, 0, "cam")


def test_labels_of_a_segmentation_count_from_one():
    instance = Instance(2, "box", 0.5, (0, 0, 1, 1), 1)
    with pytest.raises(PerceptionError, match="labels 1..1 in order"):
        Segmentation(np.zeros((4, 5), np.uint16), (instance,))


@pytest.mark.parametrize("changes", [
    {"T_cam_package": np.diag([1.0, 1.0, -1.0, 1.0])}, {"T_cam_package": np.eye(4) * 2}, {"T_cam_package": np.eye(3)},
    {"covariance": np.full((6, 6), np.nan)}, {"size_m": (0.1, -0.1, 0.0)},
])
def test_a_package_without_a_rigid_finite_pose_is_refused(changes):
    with pytest.raises(PerceptionError, match="expected"):
        package(**changes)


def test_arrays_in_types_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        package().T_cam_package[0, 3] = 1.0


def test_the_pick_order_names_each_package_once():
    with pytest.raises(PerceptionError, match="each of"):
        Packages((package(),), None, (1, 1))


def test_a_track_is_predicted_along_its_velocity_with_growing_doubt():
    track = Track(1, 1, "box", POSE, (0.2, 0.1, 0.05), np.array([0.3, 0.0, 0.0]), 1_000_000_000, np.eye(6) * 1e-6,
                  np.eye(3) * 1e-4, package())
    pose, covariance = track.at(1_500_000_000)
    assert pose[:3, 3] == pytest.approx([0.15, 0.0, 0.0])
    assert covariance[0, 0] == pytest.approx(1e-6 + 0.25e-4)
    assert track.at(500_000_000)[0][0, 3] == pytest.approx(-0.15)
    assert track.T_cam_package[0, 3] == 0.0


def test_many_grasps_are_as_one_by_one():
    values = [(0.03, 0.5, 1, 7, None), (0.04, 0.6, 2, 8, 9)]
    first, second = Grasp.many("suction", np.stack([POSE, POSE]), np.stack([np.eye(6)] * 2), values, ("seal",), [[0.1], [0.2]])
    alone = Grasp("suction", POSE, 0.04, 0.6, 2, 8, {"seal": 0.2}, 9, np.eye(6))
    assert vars(second).keys() == vars(alone).keys()
    assert all(np.array_equal(vars(second)[name], vars(alone)[name]) for name in vars(alone))
    assert first.terms == {"seal": 0.1}
    with pytest.raises(ValueError, match="read-only"):
        first.T_cam_grasp[0, 3] = 1.0


@pytest.mark.parametrize(("kind", "pose", "spread", "score", "words"), [
    ("suction", np.eye(4) * 2, np.eye(6), 0.5, "rigid"), ("suction", np.diag([1.0, 1.0, -1.0, 1.0]), np.eye(6), 0.5, "rigid"),
    ("suction", POSE, np.full((6, 6), np.nan), 0.5, "finite"), ("suction", POSE, np.eye(5), 0.5, "shape"),
    ("magnet", POSE, np.eye(6), 0.5, "kind"), ("suction", POSE, np.eye(6), 1.5, "0..1, got 1.5"),
])
def test_one_wrong_grasp_of_many_is_refused(kind, pose, spread, score, words):
    values = [(0.03, 0.5, 1, 7, None), (0.03, score, 1, 7, None)]
    with pytest.raises(PerceptionError, match=words):
        Grasp.many(kind, np.stack([POSE, pose]), np.stack([spread, spread]), values, (), [[], []])


PACKAGE = {"label": 1, "class_name": "box", "score": 0.5, "size_m": (0.2, 0.1, 0.0), "visible_fraction": 1.0, "covered_by": (),
           "depth_valid_fraction": 1.0, "from_depth": True, "truncated": False, "placed": True, "outline": None,
           "cut_sides": (False,) * 4}
TRACK = {"track_id": 7, "label": 1, "class_name": "box", "size_m": (0.2, 0.1, 0.0), "stamp_ns": 5, "package": None}


def test_many_packages_and_tracks_are_as_one_by_one():
    spreads, still = np.stack([np.eye(6), np.eye(6) * 2]), np.zeros((2, 3))
    packages = Package.many([PACKAGE, {**PACKAGE, "label": 2}], np.stack([POSE, POSE]), spreads)
    tracks = Track.many([TRACK, {**TRACK, "label": 2}], np.stack([POSE, POSE]), spreads, still, np.stack([np.eye(3)] * 2))
    for second, alone in ((packages[1], Package(T_cam_package=POSE, covariance=spreads[1], **{**PACKAGE, "label": 2})),
                          (tracks[1], Track(T_cam_package=POSE, covariance=spreads[1], velocity_m_s=still[1],
                                            velocity_covariance=np.eye(3), **{**TRACK, "label": 2}))):
        assert vars(second).keys() == vars(alone).keys()
        assert all(np.array_equal(vars(second)[name], vars(alone)[name]) for name in vars(alone))
        with pytest.raises(ValueError, match="read-only"):
            second.T_cam_package[0, 3] = 1.0
        other = altered(second, label=9)
        assert (other.label, second.label, other.covariance is second.covariance) == (9, 2, True)


@pytest.mark.parametrize(("pose", "spread", "size_m", "words"), [
    (np.eye(4) * 2, np.eye(6), (0.1, 0.1, 0.1), "rigid"), (np.diag([1.0, 1.0, -1.0, 1.0]), np.eye(6), (0.1, 0.1, 0.1), "rigid"),
    (POSE, np.full((6, 6), np.nan), (0.1, 0.1, 0.1), "finite"), (POSE, np.eye(5), (0.1, 0.1, 0.1), "shape"),
    (POSE, np.eye(6), (0.1, -0.1, 0.1), "at least 0"),
])
def test_one_wrong_package_of_many_is_refused(pose, spread, size_m, words):
    with pytest.raises(PerceptionError, match=words):
        Package.many([PACKAGE, {**PACKAGE, "size_m": size_m}], np.stack([POSE, pose]), np.stack([spread, spread]))


def test_grasps_and_rejections_say_what_is_wrong_with_them():
    with pytest.raises(PerceptionError, match="0..1, got 654"):
        Grasp("suction", POSE, 0.03, 654.0, 1, 0)
    with pytest.raises(PerceptionError, match="kind"):
        Grasp("magnet", POSE, 0.03, 0.5, 1, 0)  # type: ignore[arg-type]
    with pytest.raises(PerceptionError, match="words"):
        Rejection(1, "suction", "")
    with pytest.raises(TypeError):
        Rejection(1, "suction", "too small", {"widest_m": 0.01}).numbers["widest_m"] = 1.0  # type: ignore[index]


def test_depth_of_another_size_says_what_to_publish():
    camera = CameraModel(fx=4.0, fy=4.0, cx=3.5, cy=2.5, width=8, height=6)
    with pytest.raises(FrameError, match="expected size 8x6 of the colour picture, got 4x6: publish depth aligned to colour"):
        Frame(rgb=np.zeros((6, 8, 3), np.uint8), depth_m=np.ones((6, 4), np.float32), camera=camera, stamp_ns=1, frame_id="c")

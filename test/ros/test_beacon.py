"""The beacon node with real messages: poses carry stamp and frame of their picture, bad input costs a picture, moved cameras."""

from __future__ import annotations

import functools
import itertools
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from perception_node.config import load
from perception_node.geometry import quaternions_xyzw
from perception_node.sim import beacon_run as runs
from perception_node.sim.beacon import BeaconCamera, BeaconScene, Optics, Sensor
from perception_node.types import CameraModel

LEDS = ("-p", f"leds_m:={[float(x) for x in runs.RAISED.ravel()]}")
PATIENT = ("-p", "node.max_age_s:=5.0", "-p", "node.camera_timeout_s:=5.0")


@pytest.fixture(scope="module")
def pictures():
    """Six pictures of a slow approach at one metre."""
    conditions = runs.Conditions(start_m=1.0, end_m=0.9, clutter=1)
    return list(itertools.islice(runs.docking_run(7, runs.RAISED, conditions), 6))


@pytest.fixture
def start(cell):
    """Start the beacon node."""
    return functools.partial(cell.start, module="perception_node.ros.beacon")


def dropped(cell, reason):
    return int(cell.statuses["beacon"][2][f"dropped_{reason}"]) if "beacon" in cell.statuses else 0


def send(cell, messages, gray, stamp_ns, camera=runs.CAMERA, encoding=None):
    info = messages.info(camera, stamp_ns)
    info.d = list(camera.distortion) + [0.0] * (5 - len(camera.distortion))
    encoding = encoding or ("mono8" if gray.dtype == np.uint8 else "mono16")
    cell.send(messages.image(gray, encoding, stamp_ns), None, info)


def stamp_of(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def test_poses_carry_stamp_and_frame_of_their_picture(cell, start, messages, pictures):
    from geometry_msgs.msg import PoseWithCovarianceStamped
    from visualization_msgs.msg import MarkerArray
    start(*LEDS, *PATIENT)
    cell.watch_diagnostics()
    poses = cell.listen(PoseWithCovarianceStamped, "/beacon/pose")
    drawn = cell.listen(MarkerArray, "/beacon/markers")
    truth, numbers = {}, itertools.count()

    def play():
        frame = pictures[next(numbers) % len(pictures)]
        stamp_ns = cell.now_ns()
        truth[stamp_ns] = frame.T_cam_beacon
        send(cell, messages, frame.gray, stamp_ns)
    cell.wait_until(lambda: len(poses) >= 3 and drawn, "three poses", each=play)
    for message in poses:
        T = truth[stamp_of(message)]  # never a stamp of the node's own
        p = message.pose.pose.position
        assert message.header.frame_id == "cell_camera_optical_frame"
        np.testing.assert_allclose([p.x, p.y, p.z], T[:3, 3], atol=0.01)
        covariance = np.array(message.pose.covariance).reshape(6, 6)
        assert np.linalg.eigvalsh(covariance).min() > 0
    assert len({stamp_of(message) for message in poses}) == len(poses)
    cell.wait_until(lambda: cell.statuses["beacon"][0] == 0, "the beacon's status is OK", each=play)
    assert float(cell.statuses["beacon"][2]["range_m"]) == pytest.approx(1.0, abs=0.1)


def test_bad_pictures_cost_a_picture_and_nothing_old_is_repeated(cell, start, messages, pictures):
    from geometry_msgs.msg import PoseWithCovarianceStamped
    process = start(*LEDS, *PATIENT, "-p", "node.detect_frozen:=false")
    cell.watch_diagnostics()
    poses = cell.listen(PoseWithCovarianceStamped, "/beacon/pose")
    rest = itertools.cycle(pictures)
    cell.wait_until(lambda: poses, "a pose", each=lambda: send(cell, messages, next(rest).gray, cell.now_ns()))
    dark = np.full((1024, 1280), 3, np.uint8)
    dark_since_ns = cell.now_ns()
    cell.wait_until(lambda: cell.statuses["beacon"][2]["state"] in ("lost", "searching"), "a dark picture loses the beacon",
                    each=lambda: send(cell, messages, dark, cell.now_ns()))
    small = runs.CameraModel(1000.0, 1000.0, 320.0, 240.0, 640, 480)
    cell.wait_until(lambda: dropped(cell, "bad_frame") > 0, "a calibration of another size is refused",
                    each=lambda: send(cell, messages, dark, cell.now_ns(), camera=small))
    cell.wait_until(lambda: "camera_info says 640x480" in cell.said("camera"), "the size is said")
    wrong = np.zeros((1024, 1280), np.float32)
    so_far = dropped(cell, "bad_frame")
    cell.wait_until(lambda: dropped(cell, "bad_frame") > so_far and "got '32FC1'" in cell.said("camera"),
                    "an unknown encoding is refused", each=lambda: send(cell, messages, wrong, cell.now_ns(), encoding="32FC1"))
    assert [message for message in poses if stamp_of(message) >= dark_since_ns] == []
    before = len(poses)
    cell.wait_until(lambda: len(poses) > before, "poses again", each=lambda: send(cell, messages, next(rest).gray, cell.now_ns()))
    assert "Traceback" not in process.text


@pytest.mark.parametrize(("arguments", "words"), [
    ((), "leds_m: expected x, y, z of four to eight LEDs in metres, got none"),
    (("-p", "leds_m:=[0.0, 0.0, 0.0, 0.1]"), "leds_m: expected three numbers for each LED, got 4"),
    (("-p", "leds_m:=[0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.1, 0.0]"), "LEDs 2 and 3 are 0.00 mm apart"),
    ((*LEDS, "-p", "tracker.max_roll_rad:=9.0"), "tracker.max_roll_rad: expected 0.01 to 3.14159 rad, got 9"),
])
def test_unusable_start_is_one_readable_line(start, arguments, words):
    process = start(*arguments, ready="")
    assert process.wait_for_exit() == 2
    assert words in process.text
    assert "Traceback" not in process.text


def test_documented_endpoints_are_the_nodes(cell, start):
    from perception_node.ros.interface import BEACON_ENDPOINTS
    start(*LEDS)
    cell.wait_until(lambda: ("beacon", "/") in cell.node.get_node_names_and_namespaces(), "the node is known")
    for direction, ask in (("in", "get_subscriber_names_and_types_by_node"), ("out", "get_publisher_names_and_types_by_node")):
        wanted = {e.name.replace("~", "/beacon") if e.name.startswith("~") else f"/{e.name.lstrip('/')}": e.type
                  for e in BEACON_ENDPOINTS if e.direction == direction and not e.optional}

        def found(ask=ask):
            names = dict(getattr(cell.node, ask)("beacon", "/"))
            return {name: types[0] for name, types in names.items() if not types[0].startswith((
                "lifecycle_msgs/", "rcl_interfaces/", "rosgraph_msgs/"))}
        cell.wait_until(lambda wanted=wanted, found=found: set(wanted) <= set(found()), f"{direction}: {sorted(wanted)}")
        assert found() == wanted


def camera_parameters(T_cam_beacon):
    """The beacon at the cell's origin: parameters of the perception node after a calibration."""
    T = np.linalg.inv(T_cam_beacon)
    q = quaternions_xyzw(T[None, :3, :3])[0]
    return ("-p", f"camera.position_m:={T[:3, 3].tolist()}", "-p", f"camera.orientation_xyzw:={q.tolist()}",
            "-p", "camera.beacon_orientation_xyzw:=[0.0, 0.0, 0.0, 1.0]")


def test_the_perception_node_says_that_the_camera_moved(cell, messages, pictures):
    from geometry_msgs.msg import PoseWithCovarianceStamped

    from perception_node.bag.filling import set_poses
    T = pictures[0].T_cam_beacon
    cell.start(*camera_parameters(T), "-r", "beacon_pose:=/watcher/pose")
    cell.watch_diagnostics()

    def play(T):
        message = PoseWithCovarianceStamped(header=messages.header(cell.now_ns()))
        set_poses([message.pose.pose], [T])
        cell.publisher("/watcher/pose", PoseWithCovarianceStamped).publish(message)
    cell.wait_until(lambda: "not watched" in cell.statuses.get("camera_pose", (0, ""))[1], "no poses is said")
    assert cell.statuses["camera_pose"][0] == 1
    cell.wait_until(lambda: cell.statuses["camera_pose"][0] == 0, "the camera is where it was", each=lambda: play(T))
    shifted = T.copy()
    shifted[0, 3] += 0.0035
    cell.wait_until(lambda: cell.statuses["camera_pose"][0] == 2, "a shift of 3.5 mm is an ERROR", each=lambda: play(shifted))
    assert "3.5 mm (limit 2)" in cell.statuses["camera_pose"][1]
    cell.wait_until(lambda: cell.statuses["camera_pose"][0] == 0, "and back", each=lambda: play(T))
    turned = T.copy()
    turned[:3, :3] = cv2.Rodrigues(np.array([0.0, 0.03, 0.0]))[0] @ T[:3, :3]
    cell.wait_until(lambda: "1.7" in cell.statuses["camera_pose"][1] and cell.statuses["camera_pose"][0] == 2, "a turn is an ERROR",
                    each=lambda: play(turned))


def test_pictures_of_a_moved_camera_become_an_error_of_the_perception_node(cell, start, messages):
    placed, shifted = np.eye(4), np.eye(4)
    placed[:3, :3] = cv2.Rodrigues(np.array([0.2, -0.1, 0.1]))[0] @ np.diag([1.0, -1.0, -1.0])
    placed[:3, 3] = 0.03, 0.0, 0.6
    shifted[:] = placed
    shifted[1, 3] += 0.004
    camera = runs.CameraModel(600.0, 600.0, 320.0, 240.0, 640, 480)
    lens = BeaconCamera(camera, Optics(miscalibrated_px=0.0), Sensor(), 2)
    scene = BeaconScene(leds_m=runs.RAISED)
    still, moved = (itertools.cycle([lens.take(scene, lambda t, T=T: T, 0.0) for _ in range(3)]) for T in (placed, shifted))
    start(*LEDS, *PATIENT, "-p", "node.detect_frozen:=false", "-r", "image:=infra", "-r", "camera_info:=infra_info")
    cell.start(*camera_parameters(placed), "-r", "beacon_pose:=/beacon/pose")
    cell.watch_diagnostics()

    def play(pictures):
        for _ in range(3):
            stamp_ns = cell.now_ns()
            cell.send(messages.image(next(pictures), "mono8", stamp_ns), None, messages.info(camera, stamp_ns),
                      topics=("infra", "", "infra_info"))
            cell.executor.spin_once(timeout_sec=0.02)
    cell.wait_until(lambda: cell.statuses.get("camera_pose", (9, ""))[0] == 0, "the camera is where it was",
                    each=lambda: play(still))
    cell.wait_until(lambda: cell.statuses["camera_pose"][0] == 2, "the camera has moved", each=lambda: play(moved))
    assert "has moved" in cell.statuses["camera_pose"][1]


@pytest.fixture(scope="module")
def still():
    """Where a beacon stands before a small camera, the camera, and twelve pictures of it."""
    camera = CameraModel(fx=500.0, fy=500.0, cx=162.0, cy=118.0, width=320, height=240)
    T = np.diag([1.0, -1.0, -1.0, 1.0])
    T[:3, 3] = 0.03, -0.02, 0.6
    lens = BeaconCamera(camera, Optics(miscalibrated_px=0.0), Sensor(), 3)
    return T, camera, [lens.take(BeaconScene(leds_m=runs.RAISED), lambda t: T, k / 30) for k in range(12)]


@pytest.fixture
def calibrate(cell, tmp_path):
    """Run `perception calibrate --live` in a process of its own until it ends, with something done meanwhile."""
    def run(*arguments, each=None):
        (tmp_path / "beacon.yaml").write_text(f"/**:\n  ros__parameters:\n    leds_m: {runs.RAISED.ravel().tolist()}\n")
        command = [sys.executable, "-m", "perception_node.cli", "calibrate", "--beacon", tmp_path / "beacon.yaml", "--json",
                   tmp_path / "figures.json", *arguments]
        with (tmp_path / "said").open("w") as said:
            process = subprocess.Popen(command, env=cell.environment(), stdout=said, stderr=subprocess.STDOUT)
        try:
            cell.wait_until(lambda: process.poll() is not None, "the calibration ends", each=each)
        finally:
            process.kill()
        return process.wait(), (tmp_path / "said").read_text()
    return run


@pytest.mark.parametrize("compressed", [False, True])
def test_calibrate_live(cell, calibrate, messages, still, tmp_path, compressed):
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image
    T, camera, pictures = still
    pictures = itertools.cycle(pictures)
    image = cell.publisher("/infra/image_raw" + "/compressed" * compressed, CompressedImage if compressed else Image, wait=False)
    info = cell.publisher("/infra/camera_info", CameraInfo, wait=False)

    def play():
        for _ in range(3):
            stamp_ns, gray = cell.next_stamp_ns(), next(pictures)
            info.publish(messages.info(camera, stamp_ns))
            image.publish(messages.compressed(cv2.imencode(".png", gray)[1].tobytes(), "png", stamp_ns) if compressed
                          else messages.image(gray, "mono8", stamp_ns))
    status, said = calibrate("--live", "2", *["--compressed"] * compressed, "--ros",
                             "-r image:=/infra/image_raw -r camera_info:=/infra/camera_info", "--out", tmp_path / "cell.yaml",
                             each=play)
    assert status == 0, said
    assert "verdict: good" in said
    found = json.loads((tmp_path / "figures.json").read_text())
    np.testing.assert_allclose(np.array(found["T_cam_beacon"])[:3, 3], T[:3, 3], atol=0.002)
    np.testing.assert_allclose(load(tmp_path / "cell.yaml").camera.position_m, np.linalg.inv(T)[:3, 3], atol=0.01)


def test_calibrate_live_says_what_did_not_come(cell, calibrate, messages, still):
    _, _, pictures = still
    cell.publisher("/image", type(messages.image(pictures[0], "mono8", 1)), wait=False)
    status, said = calibrate("--live", "1", each=lambda: cell.publishers["/image"].publish(
        messages.image(pictures[0], "mono8", cell.next_stamp_ns())))
    assert status == 2
    assert "nothing came on /camera_info" in said.splitlines()[-1]
    assert "Traceback" not in said


def test_compressed_pictures_are_followed(cell, start, messages, still):
    from geometry_msgs.msg import PoseWithCovarianceStamped
    T, camera, pictures = still
    start(*LEDS, *PATIENT, "-p", "node.image_transport:=compressed", "-r", "image:=/infra/image_raw")
    poses, pictures = cell.listen(PoseWithCovarianceStamped, "/beacon/pose"), itertools.cycle(pictures)

    def play():
        stamp_ns, jpeg = cell.next_stamp_ns(), cv2.imencode(".jpg", next(pictures), [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        cell.send(messages.compressed(jpeg, "mono8; jpeg compressed", stamp_ns), None, messages.info(camera, stamp_ns),
                  topics=("/infra/image_raw/compressed", "", "camera_info"))
    cell.wait_until(lambda: len(poses) >= 2, "poses of compressed pictures", each=play)
    p = poses[-1].pose.pose.position
    np.testing.assert_allclose([p.x, p.y, p.z], T[:3, 3], atol=0.005)

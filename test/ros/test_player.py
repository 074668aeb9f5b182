"""The player: every frame, in order, with the recording's timing, as a camera would send it."""

import json
import subprocess
import sys

import numpy as np
import pytest

SPEEDS = [0.2, 0.21, 0.22, 0.23, 0.24]
PLAYER = [sys.executable, "-m", "perception_node.ros.player"]


def play(cell, *arguments):
    return subprocess.Popen([*PLAYER, *arguments], env=cell.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)


@pytest.fixture
def camera_side(cell):
    """Subscriptions of the three topics; message lists by topic."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import CameraInfo, Image

    qos = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
    heard = {}
    for topic, kind in (("image", Image), ("depth", Image), ("camera_info", CameraInfo)):
        heard[topic] = []
        cell.node.create_subscription(kind, topic, heard[topic].append, qos)
    return heard


def stamps(messages):
    return [message.header.stamp.sec * 10**9 + message.header.stamp.nanosec for message in messages]


def test_all_frames_come_in_order_with_new_stamps(cell, camera_side, tmp_path):
    report = tmp_path / "sent.json"
    before = cell.now_ns()
    player = play(cell, "--frames", "12", "--report", str(report))
    cell.wait_until(lambda: player.poll() is not None, "end of the player")
    assert player.returncode == 0, player.stderr.read()
    sent = json.loads(report.read_text())["sent"]
    last = [stamp for stamp, _ in sent][-6:]
    # A camera's first pictures may be lost while both sides still connect; from then on nothing is.
    cell.wait_until(lambda: all(stamps(messages)[-6:] == last for messages in camera_side.values()), "the last six of each", 5)
    assert len(sent) == 12
    assert before < sent[0][0] < cell.now_ns()
    assert np.allclose(np.diff(np.array(sent)[:, 0]), np.diff(np.array(sent)[:, 1]), atol=1)
    image, depth, info = (camera_side[topic][3] for topic in ("image", "depth", "camera_info"))
    assert (image.width, image.height, image.encoding) == (640, 480, "rgb8")
    assert (depth.width, depth.height, depth.encoding) == (640, 480, "16UC1")
    assert (info.width, info.height) == (640, 480)
    assert info.k[0] > 100
    millimetres = np.frombuffer(depth.data, np.uint16)
    assert 800 < np.median(millimetres) < 1400
    assert image.header.frame_id.endswith("optical_frame")


def test_with_the_clock_stamps_stay_and_time_is_published(cell, camera_side, tmp_path):
    from rosgraph_msgs.msg import Clock

    times = []
    cell.node.create_subscription(Clock, "/clock", lambda m: times.append(m.clock.sec * 10**9 + m.clock.nanosec), 50)
    report = tmp_path / "sent.json"
    player = play(cell, "--clock", "--frames", "8", "--rate", "0.5", "--report", str(report))
    cell.wait_until(lambda: player.poll() is not None, "end of the player")
    assert player.returncode == 0, player.stderr.read()
    sent = json.loads(report.read_text())["sent"]
    assert all(stamp == recorded for stamp, recorded in sent)
    cell.wait_until(lambda: stamps(camera_side["image"])[-3:] == [stamp for stamp, _ in sent[-3:]], "the last three pictures", 5)
    assert len(times) > 10
    assert times == sorted(times)
    assert times[-1] == sent[-1][0]


def test_the_belts_velocity_is_played_once_for_each_reading(cell, camera_side, tmp_path):
    from geometry_msgs.msg import TwistStamped
    from rclpy.qos import qos_profile_sensor_data
    from rosbags.rosbag2 import Reader, Writer
    from rosbags.typesys import Stores, get_typestore

    from perception_node.ros.player import DEMO_RECORDING

    store = get_typestore(Stores.ROS2_KILTED)
    kind = "geometry_msgs/msg/TwistStamped"
    header, twist, vector, time = (store.types[name] for name in (
        "std_msgs/msg/Header", "geometry_msgs/msg/Twist", "geometry_msgs/msg/Vector3", "builtin_interfaces/msg/Time"))
    with Reader(DEMO_RECORDING) as reader, Writer(tmp_path / "belt", version=9) as writer:
        made = {c.id: writer.add_connection(c.topic, c.msgtype, typestore=store) for c in reader.connections}
        drive = writer.add_connection("/line/belt_velocity", kind, typestore=store)
        start = reader.start_time
        for connection, logged_ns, raw in reader.messages(stop=start + 10**9):
            writer.write(made[connection.id], logged_ns, raw)
        for number, speed in enumerate(SPEEDS):  # not from the start: what comes first may be lost while both sides connect
            said = store.types[kind](header(time(0, 0), "belt"), twist(vector(speed, 0.0, 0.0), vector(0.0, 0.0, 0.0)))
            writer.write(drive, start + 500_000_000 + 100_000_000 * number, store.serialize_cdr(said, kind))
    heard = []
    cell.node.create_subscription(TwistStamped, "belt_velocity", heard.append, qos_profile_sensor_data)
    player = play(cell, str(tmp_path / "belt"))
    cell.wait_until(lambda: player.poll() is not None, "end of the player")
    said, error = player.communicate()
    assert player.returncode == 0, error
    assert "belt_velocity: /line/belt_velocity" in said
    cell.wait_until(lambda: heard and heard[-1].twist.linear.x == SPEEDS[-1], "the last reading", 5)
    assert [message.twist.linear.x for message in heard] == SPEEDS
    assert {message.header.frame_id for message in heard} == {"belt"}
    pictures = stamps(camera_side["image"])
    for stamp in stamps(heard):  # each as old as it was when it was recorded, less than the time between two pictures
        assert 0 <= min(picture - stamp for picture in pictures if picture >= stamp) < 70_000_000


def test_looping_goes_on_until_it_is_stopped(cell, camera_side):
    player = play(cell, "--loop", "--frames", "4", "--rate", "3")
    cell.wait_until(lambda: len(camera_side["image"]) > 9, "the third round")
    player.terminate()
    assert player.wait(20) == 0
    got = stamps(camera_side["image"])
    assert got == sorted(got)


def test_without_a_listener_it_says_so(cell):
    player = play(cell, "--wait", "0.3")
    _, error = player.communicate(timeout=60)
    assert player.returncode == 2
    assert "expected a subscriber of /image" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("arguments", "words"), [(["nowhere"], "no such file"), (["--rate", "-1"], "expected more than 0"),
                                                  (["--colour-topic", "/x"], "expected a topic /x")])
def test_bad_input_is_one_line(cell, arguments, words):
    player = play(cell, *arguments)
    _, error = player.communicate(timeout=60)
    assert player.returncode == 2
    assert words in error
    assert error.count("\n") == 1


def other_depth(path, change):
    """The first second of the bundled recording, its depth changed: a raw Image, and the frame that it names."""
    from rosbags.rosbag2 import Writer
    from rosbags.typesys import Stores, get_typestore

    from perception_node.bag.reader import Recording
    from perception_node.ros.player import DEMO_RECORDING

    store = get_typestore(Stores.ROS2_KILTED)
    kinds = {"/image": "sensor_msgs/msg/Image", "/depth": "sensor_msgs/msg/Image", "/camera_info": "sensor_msgs/msg/CameraInfo"}
    header, time, image, roi, info = (store.types[f"{name}"] for name in (
        "std_msgs/msg/Header", "builtin_interfaces/msg/Time", "sensor_msgs/msg/Image", "sensor_msgs/msg/RegionOfInterest",
        "sensor_msgs/msg/CameraInfo"))
    with Recording(DEMO_RECORDING) as recording, Writer(path, version=9) as writer:
        topics = {topic: writer.add_connection(topic, kind, typestore=store) for topic, kind in kinds.items()}
        for frame, _ in zip(recording.frames(), range(15), strict=False):
            at, camera = time(*divmod(frame.stamp_ns, 10**9)), frame.camera
            metres, frame_id = change(frame)
            said = {
                "/camera_info": info(header(at, frame.frame_id), camera.height, camera.width, "plumb_bob", np.zeros(5),
                                     camera.K.ravel(), np.eye(3).ravel(), np.zeros(12), 0, 0, roi(0, 0, 0, 0, False)),
                "/depth": image(header(at, frame_id), camera.height, camera.width, "32FC1", 0, 4 * camera.width,
                                metres.astype("<f4").reshape(-1).view(np.uint8)),
                "/image": image(header(at, frame.frame_id), camera.height, camera.width, "rgb8", 0, 3 * camera.width,
                                frame.rgb.reshape(-1))}
            for topic, message in said.items():
                writer.write(topics[topic], frame.stamp_ns, store.serialize_cdr(message, kinds[topic]))


def test_depth_that_is_not_whole_millimetres_stays_as_it_is(cell, camera_side, tmp_path):
    """Millimetres in 32FC1 above all: as 16UC1 they would be no depth at all, and the node could not say what is wrong."""
    other_depth(tmp_path / "bag", lambda frame: (frame.depth_m * 1000, frame.frame_id))
    player = play(cell, str(tmp_path / "bag"))
    cell.wait_until(lambda: camera_side["depth"], "a depth picture")
    assert player.wait(60) == 0, player.stderr.read()
    depth = camera_side["depth"][-1]
    assert (depth.encoding, depth.step) == ("32FC1", 4 * depth.width)
    assert 800 < np.nanmedian(np.frombuffer(depth.data, np.float32)) < 1400


def test_a_recording_without_usable_pictures_is_told_at_once_and_not_looped_for_ever(cell, camera_side, tmp_path):
    other_depth(tmp_path / "bag", lambda frame: (frame.depth_m, "camera_depth_optical_frame"))
    player = play(cell, str(tmp_path / "bag"), "--loop")
    _, error = player.communicate(timeout=60)
    assert player.returncode == 2
    assert "expected at least one usable picture, got none: 15 x depth: expected the colour picture's frame" in error
    assert "--no-depth" in error
    assert error.count("\n") == 1

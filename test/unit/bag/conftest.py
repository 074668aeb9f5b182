"""A tiny synthetic recording: two coloured packages on a belt, 48x32 pixels, 10 frames at 10 Hz."""

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from perception_node.bag.record import write_recording
from perception_node.bag.truth import FrameTruth, TrueInstance, Truth
from perception_node.types import CameraModel, Frame

STORE = get_typestore(Stores.ROS2_KILTED)
IMAGE, INFO = (f"sensor_msgs/msg/{name}" for name in ("Image", "CameraInfo"))
TWIST = "geometry_msgs/msg/TwistStamped"
WIDTH, HEIGHT, FRAMES = 48, 32, 10
CAMERA = CameraModel(fx=50.0, fy=50.0, cx=23.5, cy=15.5, width=WIDTH, height=HEIGHT)


def make_frames(count=FRAMES, start_ns=1_700_000_000_000_000_000):
    frames, truths = [], []
    for index in range(count):
        labels = np.zeros((HEIGHT, WIDTH), np.uint16)
        labels[4:14, 4 + index:16 + index] = 1
        labels[18:28, 20:34] = 2
        rgb = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
        rgb[labels == 1] = (200, 120, 40)
        rgb[labels == 2] = (60, 90, 220)
        depth = np.full((HEIGHT, WIDTH), 1.0, np.float32)
        depth[labels == 1] = 0.9
        depth[0, :3] = np.nan
        stamp = start_ns + index * 100_000_000
        frames.append(Frame(rgb=rgb, depth_m=depth, camera=CAMERA, stamp_ns=stamp, frame_id="cell_optical_frame"))
        pose = tuple(tuple(float(v) for v in row) for row in np.eye(4))
        truths.append(FrameTruth(stamp, labels, tuple(
            TrueInstance(label, 10 + label, "box", pose, (0.2, 0.1, 0.1), 1.0) for label in (1, 2))))
    return frames, Truth(tuple(truths), np.array([0.3, 0.0, 0.0]), np.array([0.0, 0.0, -1.0, 1.0]))


@pytest.fixture
def scene():
    return make_frames()


@pytest.fixture
def recording(tmp_path, scene):
    frames, truth = scene
    write_recording(tmp_path / "cell", frames, truth)
    return tmp_path / "cell"


@pytest.fixture
def camera():
    return CAMERA


def raw_bag(path, frames, depth_shift_ns=0, plugin=StoragePlugin.SQLITE3, topics=("/cam/rgb/image_raw", "/cam/depth/image"),
            info=True, stamps=None, frame_id="cam", belt=()):
    """A recording as `ros2 bag record` makes it: raw pictures, calibration last of each moment.

    Args:
        topics: of colour and depth; one = no depth. info: with calibration. stamps: in place of the frames' own, in ns; the time of
            recording stays the frames'. belt: (time of recording in ns, m/s along x, frame) of each reading of the belt's drive.
    """
    types = STORE.types
    names = {"colour": (topics[0], IMAGE), **({"depth": (topics[1], IMAGE)} if len(topics) > 1 else {}),
             **({"info": (f"{topics[0].rsplit('/', 1)[0]}/camera_info", INFO)} if info else {})}
    with Writer(path, version=8, storage_plugin=plugin) as writer:
        ids = {key: writer.add_connection(*name, typestore=STORE) for key, name in names.items()}
        if belt:
            drive = writer.add_connection("/cell/belt_velocity", TWIST, typestore=STORE)
            servo = writer.add_connection("/servo/delta_twist_cmds", TWIST, typestore=STORE)
        for logged_ns, speed, frame in belt:
            vector = types["geometry_msgs/msg/Vector3"]
            twist = types[TWIST](types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](0, 0), frame),
                                 types["geometry_msgs/msg/Twist"](vector(speed, 0.0, 0.0), vector(0.0, 0.0, 0.0)))
            for connection in (drive, servo):
                writer.write(connection, logged_ns, STORE.serialize_cdr(twist, TWIST))
        for number, frame in enumerate(frames):
            def header(shift=0, frame=frame, number=number):
                stamp = (frame.stamp_ns if stamps is None else stamps[number]) + shift
                return types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](stamp // 10**9, stamp % 10**9), frame_id)
            height, width = frame.rgb.shape[:2]
            k = frame.camera.K
            messages = {
                "colour": types[IMAGE](header(), height, width, "bgr8", 0, width * 3, frame.rgb[..., ::-1].ravel()),
                "depth": types[IMAGE](header(depth_shift_ns), height, width, "32FC1", 0, width * 4,
                                      np.ascontiguousarray(frame.depth_m).view(np.uint8).ravel()),
                "info": types[INFO](header(), height, width, "plumb_bob", np.zeros(5), k.ravel(), np.eye(3).ravel(),
                                    np.hstack([k, np.zeros((3, 1))]).ravel(), 0, 0,
                                    types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False))}
            for key, connection in ids.items():
                writer.write(connection, frame.stamp_ns, STORE.serialize_cdr(messages[key], connection.msgtype))


@pytest.fixture(scope="session")
def write_raw():
    return raw_bag


@pytest.fixture(scope="session")
def small_frames():
    return lambda count=FRAMES: make_frames(count)[0]

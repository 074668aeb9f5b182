"""A tiny synthetic recording: two coloured packages on a belt, 48x32 pixels, 10 frames at 10 Hz."""

import numpy as np
import pytest

from perception_node.bag.record import write_recording
from perception_node.bag.truth import FrameTruth, TrueInstance, Truth
from perception_node.types import CameraModel, Frame

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

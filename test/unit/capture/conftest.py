"""Scenes of coloured rectangles, 160x120 px, as the node would have published them."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from perception_node.types import CameraModel, Frame, Grasp, Instance, Package, Rejection, Scene, Segmentation, Track

CAMERA = CameraModel(160.0, 160.0, 79.5, 59.5, 160, 120)
Rectangle = tuple[int, int, int, int]
Moment = tuple[Frame, Scene]


def moment(rectangles: Sequence[Rectangle], ids: Sequence[int] | None = None, classes: Sequence[str] | None = None,
           scores: Sequence[float] | None = None, stamp_ns: int = 10**9, speed_m_s: float = 0.0, seed: int | None = 0,
           depth: bool = True) -> Moment:
    """A frame and its scene: rectangles (x0, y0, x1, y1) px one metre away, moving along x. `seed`: of the picture's noise."""
    rgb = np.full((120, 160, 3), 70, np.uint8)
    labels = np.zeros((120, 160), np.uint16)
    z = np.ones((120, 160), np.float32)
    instances, tracks, grasps, rejections = [], [], [], []
    colours = np.random.default_rng(7 if seed is None else seed).integers(100, 250, (len(rectangles), 3))
    for k, (x0, y0, x1, y1) in enumerate(rectangles, 1):
        name, score = (classes or ["box"] * k)[k - 1], (scores or [0.9] * k)[k - 1]
        rgb[y0:y1, x0:x1], labels[y0:y1, x0:x1] = colours[k - 1], k
        instances.append(Instance(k, name, score, (x0, y0, x1, y1), (x1 - x0) * (y1 - y0)))
        pose = np.eye(4)
        pose[:3, 3] = ((x0 + x1) / 2 - 79.5) / 160, ((y0 + y1) / 2 - 59.5) / 160, 1.0
        size = ((x1 - x0) / 160, (y1 - y0) / 160, 0.1)
        package = Package(k, name, score, pose, size, np.eye(6) * 1e-6, 0.75, (), 1.0, True)
        number = (ids or range(1, k + 1))[k - 1]
        tracks.append(Track(number, k, name, pose, size, np.array([speed_m_s, 0.0, 0.0]), stamp_ns, np.eye(6) * 1e-6, np.eye(3),
                            package))
        grasps.append(Grasp("suction", pose, 0.03, 0.5, k, number, {"seal": 0.5}))
        rejections.append(Rejection(k, "parallel_jaw", "too wide: 0.3 m", {"width_m": 0.3}, number))
    if seed is not None:
        rgb[:, :, 1] += np.random.default_rng(seed).integers(0, 30, (120, 160), dtype=np.uint8)
    frame = Frame(rgb, z if depth else None, CAMERA, stamp_ns, "camera_optical_frame")
    order = tuple(range(1, len(rectangles) + 1))
    scene = Scene(stamp_ns, frame.frame_id, Segmentation(labels, tuple(instances)), tuple(tracks), tuple(grasps), tuple(rejections),
                  order, np.array([speed_m_s, 0.0, 0.0]), {"total": 20.0}, "", True, "universal 1234")
    return frame, scene


@pytest.fixture(name="moment")
def moment_() -> Callable[..., Moment]:
    return moment


@pytest.fixture
def different() -> Callable[[int], Moment]:
    """The k-th of pictures that are not alike."""
    def make(k: int) -> Moment:
        x, y = 10 + 25 * (k % 4), 8 + 20 * (k // 4 % 4)
        return moment([(x, y, x + 40, y + 36), (150 - x, 80, 158 - x // 2, 112)], stamp_ns=(1 + k) * 10**9, seed=k)
    return make

"""A belt with boxes, drawn by ray casting: exact depth, exact masks, any camera."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from perception_node import geometry
from perception_node.types import CameraModel, Frame, Instance, Segmentation

CAMERA = CameraModel(400.0, 410.0, 199.0, 151.0, 400, 300)
BELT = (0.0, 0.0, -1.0, 1.0)
"""Belt plane one metre below a camera that looks straight down."""

Box = tuple[float, float, float, float, float, float]
"""x, y of the centre, length, width, top above the belt, turn about the vertical (metres, radians)."""


def cast(boxes: Sequence[Box], camera: CameraModel = CAMERA, bottoms: Sequence[float] | None = None,
         classes: Sequence[str] | None = None, stamp_ns: int = 0) -> tuple[Frame, Segmentation]:
    """The frame and true segmentation of boxes on the belt; `bottoms`: height of their undersides, default 0."""
    rays = geometry.ray_image(camera).astype(np.float64)
    depth = np.ones(rays.shape[:2])
    labels = np.zeros(rays.shape[:2], dtype=np.uint16)
    for number, (x, y, length, width, top, turn) in enumerate(boxes, start=1):
        bottom = 0.0 if bottoms is None else bottoms[number - 1]
        c, s = np.cos(turn), np.sin(turn)
        near, far = np.full(depth.shape, 1.0 - top), np.full(depth.shape, 1.0 - bottom)
        for axis, half in (((c, s), length / 2), ((-s, c), width / 2)):
            slope = rays[..., 0] * axis[0] + rays[..., 1] * axis[1]
            middle = x * axis[0] + y * axis[1]
            with np.errstate(divide="ignore", invalid="ignore"):
                a, b = (middle - half) / slope, (middle + half) / slope
            near, far = np.maximum(near, np.minimum(a, b)), np.minimum(far, np.maximum(a, b))
        hit = (near < far) & (near < depth)
        depth[hit], labels[hit] = near[hit], number
    instances = []
    for number in range(1, len(boxes) + 1):
        rows, columns = np.nonzero(labels == number)
        box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1) if len(rows) else (0, 0, 1, 1)
        instances.append(Instance(number, "box" if classes is None else classes[number - 1], 0.9, box, len(rows)))
    rgb = np.zeros((*depth.shape, 3), dtype=np.uint8)
    return Frame(rgb, depth.astype(np.float32), camera, stamp_ns, "cam_optical_frame"), Segmentation(labels, tuple(instances))


@pytest.fixture
def cast_boxes() -> Callable[..., tuple[Frame, Segmentation]]:
    return cast


@pytest.fixture
def belt() -> tuple[float, ...]:
    return BELT

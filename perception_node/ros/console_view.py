"""What the console shows of one moment: a JPEG with masks, and the packages and grasps as plain data. Free of rclpy."""

from __future__ import annotations

import json
import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node import geometry
from perception_node.bag.decode import camera_from_info, colour_from_compressed, colour_from_image
from perception_node.segment.draw import label_colours
from perception_node.types import CameraModel

JPEG_QUALITY = 78
WIDEST_PX = 960
"""Wider pictures are sent smaller: a tablet shows no more. Source: judgement."""
_PALETTE = label_colours(24)[1:]
_REMEMBERED = 400
_SQUARE = np.ones((3, 3), np.uint8)
_COLOURS = np.concatenate([np.zeros((1, 3), np.uint8), _PALETTE, np.zeros((1, 3), np.uint8)])
"""Colours by index: 0 = background (unused), then the palette, last what has a label but is no package."""
_LOOKUP = [np.resize(column, 256) for column in _COLOURS.T]


@dataclass(frozen=True, eq=False)
class Moment:
    """One scene with its picture: `data` goes to the page as it is; `labels` and `ids` say what lies under a click."""

    data: bytes
    labels: NDArray[np.uint16]
    ids: dict[int, int]
    stamp_ns: int

    def at(self, x: float, y: float) -> int:
        """Track id at a place, 0..1 from left and from top; 0 = none."""
        height, width = self.labels.shape
        column, row = min(int(x * width), width - 1), min(int(y * height), height - 1)
        return self.ids.get(int(self.labels[max(row, 0), max(column, 0)]), 0)


class Grasped:
    """The newest grasps of each package, also of those that have left: outcomes are reported afterwards."""

    def __init__(self) -> None:
        self._newest: OrderedDict[int, tuple[Any, dict[str, Any]]] = OrderedDict()

    def remember(self, scene: Any) -> None:
        """Keep the best grasp of each package and kind of a PickScene message."""
        found: dict[int, dict[str, Any]] = {}
        for grasp in scene.grasps:
            found.setdefault(grasp.track_id, {}).setdefault(grasp.kind, grasp)
        for track_id, kinds in found.items():
            self._newest.pop(track_id, None)
            self._newest[track_id] = scene.header.stamp, kinds
        while len(self._newest) > _REMEMBERED:
            self._newest.popitem(last=False)

    def find(self, track_id: int, kind: str = "") -> tuple[Any, Any] | None:
        """(stamp of the scene, grasp) last proposed for a package; kind "" = the more probable one; None = there was none."""
        stamp, kinds = self._newest.get(track_id, (None, {}))
        grasp = kinds.get(kind) if kind else max(kinds.values(), key=lambda grasp: grasp.score, default=None)
        return None if grasp is None else (stamp, grasp)


def moment(scene: Any, image: Any, info: Any) -> Moment:
    """Draw one scene.

    Args:
        scene: PickScene. image: Image or CompressedImage of the same stamp, None = black. info: CameraInfo, None = no grasps.

    Raises:
        FrameError: the picture cannot be decoded.
    """
    picture = scene.labels
    stride = np.frombuffer(picture.data, dtype="<u2").reshape(picture.height, picture.step // 2)
    labels = np.ascontiguousarray(stride[:, :picture.width], dtype=np.uint16)
    rgb = np.zeros((*labels.shape, 3), np.uint8) if image is None else decoded(image)
    ids = {package.label: package.track_id for package in scene.packages}
    factor = min(1.0, WIDEST_PX / labels.shape[1])
    size = (round(labels.shape[1] * factor), round(labels.shape[0] * factor))
    if rgb.shape[:2] != size[::-1]:
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    small = labels if factor == 1.0 else cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST).astype(np.uint16)
    bgr = cv2.cvtColor(_tinted(rgb, small, ids), cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    stamp_ns = scene.header.stamp.sec * 10**9 + scene.header.stamp.nanosec
    text = json.dumps({
        "type": "frame", "stamp": stamp_ns / 1e9, "width": labels.shape[1], "height": labels.shape[0],
        "degraded": scene.degraded, "packages": [_package(package) for package in scene.packages],
        "grasps": [] if info is None else _grasps(scene, camera_from_info(info)),
    }, separators=(",", ":")).encode()
    return Moment(struct.pack("<I", len(text)) + text + jpeg.tobytes(), labels, ids, stamp_ns)


def decoded(image: Any) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of an Image or CompressedImage message."""
    return colour_from_compressed(image) if hasattr(image, "format") else colour_from_image(image)


def _tinted(rgb: NDArray[np.uint8], labels: NDArray[np.uint16], ids: dict[int, int]) -> NDArray[np.uint8]:
    """The picture with each package in its colour, stronger along its border. Much faster by 8 bit indices than by colours."""
    table = np.full(int(labels.max(initial=0)) + 1, len(_COLOURS) - 1, np.uint8)
    table[0] = 0
    for label, track_id in ids.items():
        if label < len(table):
            table[label] = 1 + (track_id or label) % len(_PALETTE)
    index = table[labels]
    tint = cv2.merge([cv2.LUT(index, column) for column in _LOOKUP])
    out = rgb.copy()
    cv2.copyTo(cv2.addWeighted(rgb, 0.7, tint, 0.3, 0.0), index, out)
    border = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, _SQUARE)
    cv2.copyTo(tint, index * (border > 0), out)
    return out


def _package(package: Any) -> dict[str, Any]:
    roi = package.roi
    return {"id": package.track_id, "name": package.class_name, "x": roi.x_offset + roi.width / 2,
            "y": roi.y_offset + roi.height / 2, "w": roi.width, "h": roi.height}


def _grasps(scene: Any, camera: CameraModel) -> list[dict[str, Any]]:
    """The best grasp of each package and kind, in pixels."""
    seen: set[tuple[int, str]] = set()
    rows = []
    for grasp in scene.grasps:
        if (grasp.label, grasp.kind) in seen:
            continue
        seen.add((grasp.label, grasp.kind))
        q, p, half = grasp.pose.orientation, grasp.pose.position, grasp.width_m / 2
        turn = geometry.rotation_from_quaternion((q.x, q.y, q.z, q.w))
        middle = np.array([p.x, p.y, p.z])
        points = np.array([middle - half * turn[:, 0], middle, middle + half * turn[:, 0], middle - 0.05 * turn[:, 2]])
        pixels = geometry.project(camera, points)
        if np.isfinite(pixels).all() and np.abs(pixels).max() < 1e5:
            rows.append({"id": grasp.track_id, "kind": grasp.kind, "score": round(float(grasp.score), 3),
                         "points": pixels.round(1).tolist()})
    return rows

"""What the console shows of one moment: a JPEG with masks, and the packages and grasps as plain data. Free of rclpy."""

from __future__ import annotations

import json
import struct
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node import geometry
from perception_node.bag.decode import camera_from_info, colour_from_compressed, colour_from_image
from perception_node.segment.draw import label_colours
from perception_node.types import F64, CameraModel

JPEG_QUALITY = 78
WIDEST_PX = 960
"""Wider pictures are sent smaller by a whole factor: a tablet shows no more (judgement), and OpenCV averages whole blocks of pixels
twenty times faster than others (measured: 1280x720 to 640 wide 0.2 ms, to 960 wide 4.8 ms)."""
_PALETTE = label_colours(24)[1:]
_REMEMBERED = 400
_SQUARE = np.ones((3, 3), np.uint8)
_COLOURS = np.concatenate([np.zeros((1, 3), np.uint8), _PALETTE, np.zeros((1, 3), np.uint8)])
"""Colours by index: 0 = background (unused), then the palette, last what has a label but is no package."""
_LOOKUP = np.resize(_COLOURS, (256, 3))[:, None]
_APPROACH_M = 0.05
"""How much of the way in is drawn of a suction grasp."""


@dataclass(frozen=True, eq=False)
class Moment:
    """One scene with its picture.

    Attributes:
        data: goes to the page as it is. labels, ids: what lies under a click; ids are the packages' numbers by label. order: the
            numbers as the scene orders them; while they stay, so does the order of picking, but for scores that waver.
    """

    data: bytes
    labels: NDArray[np.uint16]
    ids: dict[int, int]
    order: tuple[int, ...]

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
    labels = stride[:, :picture.width]
    rgb = np.zeros((*labels.shape, 3), np.uint8) if image is None else decoded(image)
    if rgb.shape[:2] != labels.shape:
        rgb = cv2.resize(rgb, labels.shape[::-1], interpolation=cv2.INTER_AREA)
    ids = {package.label: package.track_id for package in scene.packages}
    rgb, small = _shrunk(rgb, labels)
    bgr = cv2.cvtColor(_tinted(rgb, small, ids), cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    stamp = scene.header.stamp
    text = json.dumps({
        "type": "frame", "stamp": stamp.sec + stamp.nanosec / 1e9, "width": labels.shape[1], "height": labels.shape[0],
        "degraded": scene.degraded, "packages": [_package(package) for package in scene.packages],
        "grasps": [] if info is None else _grasps(scene, camera_from_info(info)),
    }, separators=(",", ":")).encode()
    order = tuple(package.track_id for package in scene.packages)
    return Moment(struct.pack("<I", len(text)) + text + jpeg.tobytes(), labels, ids, order)


def _shrunk(rgb: NDArray[np.uint8], labels: NDArray[np.uint16]) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Picture and labels, smaller by the least whole factor that makes them at most `WIDEST_PX` wide.

    The last rows and columns that fill no block are left out.
    """
    factor = -(-labels.shape[1] // WIDEST_PX)
    height, width = labels.shape[0] // factor, labels.shape[1] // factor
    if factor == 1 or height == 0:
        return rgb, labels
    whole = rgb[:height * factor, :width * factor]
    middle = labels[factor // 2::factor, factor // 2::factor][:height, :width]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8), middle


def decoded(image: Any) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of an Image or CompressedImage message."""
    return colour_from_compressed(image) if hasattr(image, "format") else colour_from_image(image)


def _tinted(rgb: NDArray[np.uint8], labels: NDArray[np.uint16], ids: dict[int, int]) -> NDArray[np.uint8]:
    """The picture with each package in its colour, stronger along its border. By 8 bit numbers where they do: much faster."""
    highest = int(labels.max(initial=0))
    known = {label: 1 + (track_id or label) % len(_PALETTE) for label, track_id in ids.items() if label <= highest}
    table = np.full(max(highest + 1, 256), len(_COLOURS) - 1, np.uint8)
    table[0] = 0
    table[list(known)] = list(known.values())
    numbers = labels.astype(np.uint8) if highest < 256 else np.ascontiguousarray(labels)
    index = cv2.LUT(numbers, table) if highest < 256 else table[numbers]
    tint = cv2.applyColorMap(index, _LOOKUP)
    out = rgb.copy()
    cv2.copyTo(cv2.addWeighted(rgb, 0.7, tint, 0.3, 0.0), index, out)
    border = cv2.morphologyEx(numbers, cv2.MORPH_GRADIENT, _SQUARE)
    cv2.copyTo(tint, index * (border > 0), out)
    return out


def _package(package: Any) -> dict[str, Any]:
    roi = package.roi
    return {"id": package.track_id, "name": package.class_name, "x": roi.x_offset + roi.width / 2,
            "y": roi.y_offset + roi.height / 2, "w": roi.width, "h": roi.height}


def _grasps(scene: Any, camera: CameraModel) -> list[dict[str, Any]]:
    """The best grasp of each package and kind, in pixels."""
    best: dict[tuple[int, str], Any] = {}
    for grasp in scene.grasps:
        best.setdefault((grasp.label, grasp.kind), grasp)
    pixels = geometry.project(camera, _points(list(best.values()))).reshape(-1, 4, 2)
    near = np.abs(pixels).max(axis=(1, 2)) < 1e5  # not NaN, either: behind the camera
    return [{"id": grasp.track_id, "kind": grasp.kind, "score": round(float(grasp.score), 3), "points": places}
            for grasp, places, seen in zip(best.values(), pixels.round(1).tolist(), near.tolist(), strict=True) if seen]


def _points(grasps: Sequence[Any]) -> F64:
    """(4 * N, 3) points in the camera's frame: of each grasp one end of its width, its middle, the other end, whence it comes."""
    poses = [grasp.pose for grasp in grasps]
    middle = np.array([(p.position.x, p.position.y, p.position.z) for p in poses]).reshape(-1, 3)
    xyzw = np.array([(p.orientation.x, p.orientation.y, p.orientation.z, p.orientation.w) for p in poses]).reshape(-1, 4)
    half = np.array([grasp.width_m / 2 for grasp in grasps])[:, None] * _turned(xyzw, np.array([1.0, 0.0, 0.0]))
    way = _APPROACH_M * _turned(xyzw, np.array([0.0, 0.0, 1.0]))
    return np.stack([middle - half, middle, middle + half, middle - way], axis=1).reshape(-1, 3)


def _turned(xyzw: F64, axis: F64) -> F64:
    """(N, 3): an axis turned by each of (N, 4) unit quaternions. Source: O. Rodrigues; v + 2 w (u x v) + 2 u x (u x v)."""
    across = 2.0 * np.cross(xyzw[:, :3], axis)
    return axis + xyzw[:, 3:] * across + np.cross(xyzw[:, :3], across)

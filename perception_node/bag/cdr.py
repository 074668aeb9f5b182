"""Scene -> serialised messages, for the live node and the replayer alike: PickScene, label image, the grasps' poses; and pictures.

Making message objects and having a library convert them costs several times what is done here: what stays the same from frame to
frame is laid out once and kept, poses and covariances go in as arrays. Only messages whose definition is this project's, or has
not changed since ROS 2 exists, are written this way; tests hold the bytes against rclpy and rosbags. Imports neither.

Source: OMG DDS-XTypes 1.3, 7.4.3, XCDR1 (plain CDR, here little-endian): members in order, each aligned to its size counted from
the end of the four bytes of encapsulation; texts and sequences begin with their length; gaps are zero.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from perception_node.geometry import quaternions_xyzw
from perception_node.types import F64, Grasp, Scene, Track

_LITTLE_ENDIAN = b"\0\1\0\0"
_SIZES = {"?": 1, "B": 1, "H": 2, "I": 4, "i": 4, "f": 4, "d": 8}
_ALIGNED = 8  # a layout depends on where it begins, modulo the largest member's size
_KEPT = 4096  # layouts: of packages and grasps some dozens; of rejections one for each length of their words
_POSE, _VARIANCE, _VECTOR = 7, 6, 3  # float64 numbers of a Pose, a `pose_variance`, a Vector3
_PACKAGE_DOUBLES = _POSE + 36 + _VECTOR + _VECTOR + 9


class SceneBytes:
    """The messages of one scene, serialised; all but the scene itself are made when they are asked for.

    Args:
        scene: what to say. timing: False = leave `timing_names` and `timing_ms` empty.
    """

    def __init__(self, scene: Scene, timing: bool = True) -> None:
        labels = scene.segmentation.labels
        image = _image_head(scene.stamp_ns, scene.frame_id, labels, "mono16")
        self._image = image, _octets(labels)
        order = {label: place for place, label in enumerate(scene.pick_order)}
        tracks = sorted(scene.tracks, key=lambda track: order.get(track.label, len(order)))
        poses = pose_rows([*(track.T_cam_package for track in tracks), *(grasp.T_cam_grasp for grasp in scene.grasps)])
        self._scene, self._poses = scene, poses[len(tracks):]
        begin = _Writer()
        begin.header(scene.stamp_ns, scene.frame_id)
        begin.align(4)  # an Image's largest member: from here on its bytes are those of an Image by itself
        rest = _Writer(begin.at + len(image) + labels.nbytes)
        _packages(rest, scene, tracks, order, poses[:len(tracks)])
        _grasps(rest, scene.grasps, self._poses)
        _rejections(rest, scene)
        velocity = (0.0, 0.0, 0.0) if scene.belt_velocity_m_s is None else scene.belt_velocity_m_s.tolist()
        rest.add("?ddd", scene.belt_velocity_m_s is not None, *velocity)
        rest.add("?", scene.depth_used)
        rest.text(scene.degraded)
        rest.text(scene.model_id)
        rest.align(4)
        tail = _Writer(rest.at + 4)
        tail.named("f", scene.timing_ms if timing else {})
        self._before, self._tail = (_LITTLE_ENDIAN, begin.octets(), *self._image, rest.octets()), tail.octets()

    def scene(self, latency_s: float) -> bytes:
        """perception_node_msgs/PickScene; `latency_s`: from the picture's stamp to now."""
        return b"".join((*self._before, struct.pack("<f", latency_s), self._tail))

    def masks(self) -> bytes:
        """sensor_msgs/Image, mono16: the label image."""
        return b"".join((_LITTLE_ENDIAN, *self._image))

    def grasp_poses(self) -> bytes:
        """geometry_msgs/PoseArray: the grasps' poses alone, best first."""
        made = _Writer()
        made.header(self._scene.stamp_ns, self._scene.frame_id)
        made.add("I", len(self._poses))
        if len(self._poses):
            made.doubles(self._poses.tobytes())
        return _LITTLE_ENDIAN + made.octets()


def image_bytes(pixels: np.ndarray[Any, Any], encoding: str, stamp_ns: int, frame_id: str) -> bytes:
    """sensor_msgs/Image of (H, W) or (H, W, C) pixels, little-endian."""
    return b"".join((_LITTLE_ENDIAN, _image_head(stamp_ns, frame_id, pixels, encoding), _octets(pixels)))


def pose_rows(transforms: Sequence[F64]) -> F64:
    """(N, 7) position and quaternion x, y, z, w, as a geometry_msgs/Pose has them, of N (4, 4) transforms."""
    if not transforms:
        return np.zeros((0, _POSE))
    stacked = np.concatenate(transforms).reshape(-1, 4, 4)
    return np.hstack([stacked[:, :3, 3], quaternions_xyzw(stacked[:, :3, :3])])


class _Writer:
    """Collects members. `at`: the place of the next one, counted from the end of the encapsulation."""

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self._parts: list[bytes] = []

    def octets(self) -> bytes:
        """What was written."""
        return b"".join(self._parts)

    def align(self, size: int) -> None:
        """Fill up with zeros to a multiple of `size`."""
        self.put(bytes(-self.at % size))

    def put(self, octets: bytes) -> None:
        """Write what is laid out already."""
        self._parts.append(octets)
        self.at += len(octets)

    def add(self, codes: str, *values: Any) -> None:
        """Write numbers, each with its code of `struct`."""
        self.put(_layout(tuple(codes), self.at % _ALIGNED).pack(*values))

    def doubles(self, octets: bytes) -> None:
        """Write float64 numbers, at least one, that are bytes already."""
        self.align(8)
        self.put(octets)

    def text(self, words: str) -> None:
        """Write a string."""
        self.align(4)
        self.put(_text(words))

    def named(self, code: str, numbers: Mapping[str, float]) -> None:
        """Write a mapping as string[] of its names and a sequence of its values."""
        self.align(4)
        self.put(_names(tuple(numbers)))
        self.add("I" + code * len(numbers), len(numbers), *numbers.values())

    def header(self, stamp_ns: int, frame_id: str) -> None:
        """Write a std_msgs/Header."""
        self.add("iI", *divmod(stamp_ns, 1_000_000_000))
        self.text(frame_id)


def _packages(out: _Writer, scene: Scene, tracks: Sequence[Track], order: Mapping[int, int], poses: F64) -> None:
    out.add("I", len(tracks))
    if not tracks:
        return
    rows = np.hstack([poses, *_stacked(tracks)]).astype("<f8").tobytes()
    size, last = _PACKAGE_DOUBLES * 8, len(order)
    for k, track in enumerate(tracks):
        instance, found, covers = scene.segmentation.instances[track.label - 1], track.package, track.package.covered_by
        x0, y0, x1, y1 = instance.bbox_xyxy
        layout, class_name = _package_layout(track.class_name, len(covers), out.at % _ALIGNED)
        out.put(layout.pack(
            track.label, track.track_id, class_name, found.score, order.get(track.label, last), len(covers), *covers,
            x0, y0, y1 - y0, x1 - x0, False, instance.area_px, rows[k * size:(k + 1) * size], found.visible_fraction,
            found.depth_valid_fraction, found.from_depth, found.truncated, found.placed))


def _stacked(tracks: Sequence[Track]) -> tuple[F64, ...]:
    """What follows a package's pose, (N, ...) each: covariance, size, velocity, its covariance."""
    count = len(tracks)
    return (np.concatenate([track.covariance for track in tracks]).reshape(count, 36), np.array([track.size_m for track in tracks]),
            np.concatenate([track.velocity_m_s for track in tracks]).reshape(count, _VECTOR),
            np.concatenate([track.velocity_covariance for track in tracks]).reshape(count, 9))


def _grasps(out: _Writer, grasps: Sequence[Grasp], poses: F64) -> None:
    out.add("I", len(grasps))
    if not grasps:
        return
    variances = np.concatenate([grasp.covariance for grasp in grasps]).reshape(-1, _VARIANCE**2)[:, ::_VARIANCE + 1]  # diagonals
    rows, size = np.hstack([poses, variances]).astype("<f8").tobytes(), (_POSE + _VARIANCE) * 8
    at, put = out.at, []
    for k, grasp in enumerate(grasps):
        terms = grasp.terms
        layout, kind, names = _grasp_layout(grasp.kind, tuple(terms), at % _ALIGNED)
        until = grasp.deadline_ns
        sec, nanosec = divmod(until or 0, 1_000_000_000)
        put.append(layout.pack(kind, grasp.label, grasp.track_id, rows[k * size:(k + 1) * size], grasp.width_m, grasp.score,
                               until is not None, sec, nanosec, grasp.degraded, names, len(terms), *terms.values()))
        at += layout.size
    out.put(b"".join(put))


def _rejections(out: _Writer, scene: Scene) -> None:
    out.add("I", len(scene.rejections))
    for rejection in scene.rejections:
        out.add("HI", rejection.label, rejection.track_id)
        out.text(rejection.kind)
        out.text(rejection.reason)
        out.named("d", rejection.numbers)


@lru_cache(_KEPT)
def _layout(members: tuple[str, ...], at: int) -> struct.Struct:
    """Where members lie that begin at `at`: codes of `struct`, or "4*N" for N bytes that must begin at a multiple of 4."""
    form, place = "<", at
    for member in members:
        head, _, count = member.partition("*")
        size = int(head) if count else _SIZES[member]
        gap = -place % size
        form += f"{gap}x" + (f"{count}s" if count else member)
        place += gap + int(count or size)
    return struct.Struct(form)


@lru_cache(_KEPT)
def _package_layout(class_name: str, covers: int, at: int) -> tuple[struct.Struct, bytes]:
    """How a package of a class, covered by so many others, is laid out from `at` on, and what stays the same: its class."""
    octets = _text(class_name)
    return _layout(("H", "I", f"4*{len(octets)}", "f", "H", "I", *"H" * covers, *"IIII?I", f"8*{_PACKAGE_DOUBLES * 8}", *"ff???"),
                   at), octets


@lru_cache(_KEPT)
def _grasp_layout(kind: str, names: tuple[str, ...], at: int) -> tuple[struct.Struct, bytes, bytes]:
    """How a grasp with these names of terms is laid out from `at` on, and what stays the same: its kind, the names."""
    kind_octets, block = _text(kind), _names(names)
    members = (f"4*{len(kind_octets)}", "H", "I", f"8*{(_POSE + _VARIANCE) * 8}", "f", "f", "?", "i", "I", "?", f"4*{len(block)}",
               "I", *"f" * len(names))
    return _layout(members, at), kind_octets, block


@lru_cache(_KEPT)
def _names(names: tuple[str, ...]) -> bytes:
    """A string[], from a multiple of 4 on."""
    octets = struct.pack("<I", len(names))
    for name in names:
        octets += bytes(-len(octets) % 4) + _text(name)
    return octets


@lru_cache(_KEPT)
def _text(words: str) -> bytes:
    octets = words.encode() + b"\0"
    return struct.pack("<I", len(octets)) + octets


def _image_head(stamp_ns: int, frame_id: str, pixels: np.ndarray[Any, Any], encoding: str) -> bytes:
    """A sensor_msgs/Image up to its pixels, from a multiple of 4 on."""
    height, width = pixels.shape[:2]
    head = _Writer()
    head.header(stamp_ns, frame_id)
    head.add("II", height, width)
    head.text(encoding)
    head.add("BII", 0, pixels.nbytes // height, pixels.nbytes)
    return head.octets()


def _octets(pixels: np.ndarray[Any, Any]) -> memoryview:
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data

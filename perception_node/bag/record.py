"""Writing frames as a rosbag2 recording (mcap): colour as JPEG, depth as compressedDepth PNG, calibration, and the truth."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, get_typestore

from perception_node.bag import decode
from perception_node.bag.truth import Truth, save_truth
from perception_node.errors import DatasetError
from perception_node.types import CameraModel, Frame

COLOUR_TOPIC = "/image/compressed"
DEPTH_TOPIC = "/depth/compressedDepth"
INFO_TOPIC = "/camera_info"
TRUTH_NAME = "truth.npz"

_COMPRESSED = "sensor_msgs/msg/CompressedImage"
_INFO = "sensor_msgs/msg/CameraInfo"
_JPEG_QUALITY = 85
_FOREVER = QosTime(sec=9223372036, nsec=854775807)
_SENSOR_QOS = Qos(history=QosHistory.KEEP_LAST, depth=5, reliability=QosReliability.BEST_EFFORT, durability=QosDurability.VOLATILE,
                  deadline=_FOREVER, lifespan=_FOREVER, liveliness=QosLiveliness.AUTOMATIC, liveliness_lease_duration=_FOREVER,
                  avoid_ros_namespace_conventions=False)
"""Source: rmw/qos_profiles.h, rmw_qos_profile_sensor_data; unset times are infinite."""


class RecordingWriter:
    """Writes one recording; a context manager.

    Args:
        path: the folder to make; `path.name` is also the name of the file in it.
        replace: True = remove an older recording of that name first.
        quality: of the colour pictures, JPEG 1..100.

    Raises:
        DatasetError: the folder exists, or cannot be made.
    """

    def __init__(self, path: str | Path, *, replace: bool = False, quality: int = _JPEG_QUALITY) -> None:
        self.path = Path(path)
        self._quality = quality
        self._store = get_typestore(Stores.ROS2_KILTED)
        if replace and (self.path / "metadata.yaml").exists():
            shutil.rmtree(self.path)
        try:
            self._writer = Writer(self.path, version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
        except (WriterError, OSError) as error:
            raise DatasetError(f"{self.path}: the recording cannot be written: {error}") from None
        self._colour = self._connect(COLOUR_TOPIC, _COMPRESSED)
        self._depth = self._connect(DEPTH_TOPIC, _COMPRESSED)
        self._info = self._connect(INFO_TOPIC, _INFO)

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.close()

    def add(self, frame: Frame) -> None:
        """Append one frame; depth is rounded to whole millimetres."""
        header = self._header(frame)
        self._write(self._info, frame, self._camera_info(header, frame.camera))
        if frame.depth_m is not None:
            self._write(self._depth, frame, self._picture(header, "16UC1; compressedDepth png", decode.encode_depth(frame.depth_m)))
        jpeg = decode.encode_colour(frame.rgb, self._quality)
        self._write(self._colour, frame, self._picture(header, "rgb8; jpeg compressed bgr8", jpeg))

    def _connect(self, topic: str, kind: str) -> Any:
        return self._writer.add_connection(topic, kind, typestore=self._store, offered_qos_profiles=[_SENSOR_QOS])

    def _write(self, connection: Any, frame: Frame, message: Any) -> None:
        self._writer.write(connection, frame.stamp_ns, self._store.serialize_cdr(message, connection.msgtype))

    def _header(self, frame: Frame) -> Any:
        types = self._store.types
        stamp = types["builtin_interfaces/msg/Time"](sec=frame.stamp_ns // 10**9, nanosec=frame.stamp_ns % 10**9)
        return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame.frame_id)

    def _picture(self, header: Any, form: str, data: bytes) -> Any:
        return self._store.types[_COMPRESSED](header=header, format=form, data=np.frombuffer(data, dtype=np.uint8))

    def _camera_info(self, header: Any, camera: CameraModel) -> Any:
        types = self._store.types
        projection = np.hstack([camera.K, np.zeros((3, 1))])
        roi = types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
        return types[_INFO](
            header=header, height=camera.height, width=camera.width,
            distortion_model="rational_polynomial" if len(camera.distortion) == 8 else "plumb_bob",
            d=np.array(camera.distortion or (0.0,) * 5), k=camera.K.ravel(), r=np.eye(3).ravel(), p=projection.ravel(),
            binning_x=0, binning_y=0, roi=roi)


def write_recording(path: str | Path, frames: Sequence[Frame], truth: Truth | None = None, *, replace: bool = False,
                    quality: int = _JPEG_QUALITY) -> None:
    """Write frames and, beside them, their ground truth (`truth.npz`). Arguments as in `RecordingWriter`.

    Raises:
        DatasetError: the folder exists and `replace` is False, or frames and truth do not belong together.
    """
    if truth is not None and [f.stamp_ns for f in frames] != [f.stamp_ns for f in truth.frames]:
        raise DatasetError(f"{path}: expected the truth of the same {len(frames)} stamps, got {len(truth.frames)} others")
    with RecordingWriter(path, replace=replace, quality=quality) as writer:
        for frame in frames:
            writer.add(frame)
    if truth is not None:
        save_truth(Path(path) / TRUTH_NAME, truth)

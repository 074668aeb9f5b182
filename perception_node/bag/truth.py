"""The ground truth beside a recording: which pixel belongs to which package, in every frame. One `.npz`, no pickles."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_node.errors import DatasetError, one_line
from perception_node.types import F64

IGNORE = 65535
"""Label of pixels that do not count (slivers of packages that are as good as hidden)."""


@dataclass(frozen=True)
class TrueInstance:
    """One package of one frame.

    Attributes:
        label: its value in the frame's label image. package_id: the same over all frames. class_name: its class.
        T_cam_package: rows of the (4, 4) pose of its box. size_m: (length, width, height).
        visible_fraction: visible share of its silhouette, 0..1.
    """

    label: int
    package_id: int
    class_name: str
    T_cam_package: tuple[tuple[float, ...], ...]
    size_m: tuple[float, float, float]
    visible_fraction: float


@dataclass(frozen=True, eq=False)
class FrameTruth:
    """Truth of one frame: `labels` (H, W) uint16, 0 = background, `IGNORE` = does not count; and its packages."""

    stamp_ns: int
    labels: NDArray[np.uint16]
    instances: tuple[TrueInstance, ...]


@dataclass(frozen=True, eq=False)
class Truth:
    """Truth of a whole recording, in the order of its frames.

    Attributes:
        frames: one per frame. belt_velocity_m_s: (3,) in the camera frame. belt_plane: (4,) as in `Packages`.
    """

    frames: tuple[FrameTruth, ...]
    belt_velocity_m_s: F64
    belt_plane: F64


def save_truth(path: Path, truth: Truth) -> None:
    """Write the sidecar; the same truth gives the same bytes of content."""
    instances = [[asdict(instance) for instance in frame.instances] for frame in truth.frames]
    np.savez_compressed(
        path, allow_pickle=False,
        stamps_ns=np.array([frame.stamp_ns for frame in truth.frames], dtype=np.int64),
        labels=np.stack([frame.labels for frame in truth.frames]),
        instances=np.frombuffer(json.dumps(instances, separators=(",", ":")).encode(), dtype=np.uint8),
        belt_velocity_m_s=np.asarray(truth.belt_velocity_m_s, dtype=np.float64),
        belt_plane=np.asarray(truth.belt_plane, dtype=np.float64))


def load_truth(path: Path) -> Truth:
    """Read a sidecar.

    Raises:
        DatasetError: missing, not such a file, or of a size that does not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            stamps, labels = file["stamps_ns"], file["labels"]
            instances = json.loads(file["instances"].tobytes().decode())
            velocity, plane = file["belt_velocity_m_s"], file["belt_plane"]
        if labels.dtype != np.uint16 or labels.ndim != 3 or not len(stamps) == len(labels) == len(instances):
            raise DatasetError(f"{path}: expected one (H, W) uint16 label image per stamp, got {len(stamps)} stamps and labels of "
                               f"{labels.shape} {labels.dtype}")
        frames = tuple(FrameTruth(int(stamp), picture, tuple(_instance(entry) for entry in entries))
                       for stamp, picture, entries in zip(stamps, labels, instances, strict=True))
        return Truth(frames, np.array(velocity, dtype=np.float64).reshape(3), np.array(plane, dtype=np.float64).reshape(4))
    except FileNotFoundError:
        raise DatasetError(f"{path}: expected the ground truth of the recording, got no such file") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path}: expected the ground truth of a recording: {one_line(error)}") from None


def _instance(entry: dict[str, Any]) -> TrueInstance:
    pose = tuple(tuple(float(value) for value in row) for row in entry.pop("T_cam_package"))
    length, width, height = (float(value) for value in entry.pop("size_m"))
    return TrueInstance(T_cam_package=pose, size_m=(length, width, height), **entry)

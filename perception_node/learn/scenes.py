"""Pictures with their true geometry: what grasps are simulated on and judged by."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node import geometry
from perception_node.errors import DatasetError
from perception_node.grasp.patch import View
from perception_node.types import F32, F64, CameraModel, Frame, Instance, Scene, Segmentation

_IGNORE = 65535
MIN_TRUE_PX = 60
"""Smaller visible areas are slivers, no packages. Source: `sim.dataset.SLIVER_PX`."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The true geometry of one frame.

    Attributes:
        camera: of the picture. labels: (H, W) uint16 true instance ids, 0 = background or ignore. depth_m: (H, W) exact, NaN =
            nothing there. classes: name by id. boxes: by id, T_cam_box (4, 4) and (3,) size in metres. plane: (4,) belt or None.
    """

    camera: CameraModel
    labels: NDArray[np.uint16]
    depth_m: F32
    classes: Mapping[int, str]
    boxes: Mapping[int, tuple[F64, F64]]
    plane: F64 | None

    def view(self) -> View:
        """As lookup tables."""
        return View(self.camera, self.labels, self.depth_m, geometry.ray_image(self.camera).reshape(-1, 2))


class TrueMasks:
    """Stands in for the segmenter and answers with what was put into `next`: the ground truth, or what was computed before."""

    model_id = "ground truth"

    def __init__(self) -> None:
        self.next: Segmentation | None = None

    def segment(self, frame: Frame, belt_plane: F64 | None = None) -> Segmentation:
        """The masks that were put in."""
        assert self.next is not None
        return self.next


def frames(dataset: Path, count: int | None) -> Iterator[tuple[Frame, Truth, Segmentation, tuple[int, ...]]]:
    """Frames of a data set in `perception synthesize`'s layout, in the order of their numbers.

    Yields:
        frame with sensor depth, truth, true segmentation, and the true id of each of its labels.

    Raises:
        DatasetError: a folder or file is missing or unreadable.
    """
    metas = sorted((dataset / "meta").glob("*.json"))
    if not metas:
        raise DatasetError(f"{dataset}: expected meta/*.json, found none")
    for number, path in enumerate(metas[:count]):
        meta = _meta(path)
        bgr = _read(dataset / "rgb" / f"{path.stem}.jpg", cv2.IMREAD_COLOR)
        depth = _read(dataset / "depth" / f"{path.stem}.png", cv2.IMREAD_UNCHANGED)
        exact = _read(dataset / "depth_true" / f"{path.stem}.png", cv2.IMREAD_UNCHANGED)
        labels = _read(dataset / "labels" / f"{path.stem}.png", cv2.IMREAD_UNCHANGED).astype(np.uint16)
        labels[labels == _IGNORE] = 0
        unit = float(meta.get("depth_unit_m", 0.001))
        camera = CameraModel(meta["fx"], meta["fy"], meta["cx"], meta["cy"], meta["width"], meta["height"])
        rgb = np.ascontiguousarray(bgr[..., ::-1])
        frame = Frame(rgb, _metres(depth, unit), camera, number * 66_666_667, "camera_optical_frame")
        plane = meta.get("belt_plane")
        truth = Truth(camera, labels, _metres(exact, unit), {a["id"]: a["class"] for a in meta["instances"]},
                      {a["id"]: (np.array(a["pose_cam"]), np.array(a["obb_size_lwh_m"])) for a in meta["instances"]},
                      np.array([*plane["normal"], plane["offset"]]) if plane else None)
        yield (frame, truth, *_segmentation(labels, truth))


def _meta(path: Path) -> dict[str, Any]:
    needed = ("fx", "fy", "cx", "cy", "width", "height", "instances")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: expected readable JSON: {error}") from None
    missing = [key for key in needed if key not in meta] if isinstance(meta, dict) else list(needed)
    if missing:
        raise DatasetError(f"{path}: expected {', '.join(needed)}, missing {', '.join(missing)}")
    return dict(meta)


def _read(path: Path, flags: int) -> np.ndarray:
    picture = cv2.imread(str(path), flags)
    if picture is None:
        raise DatasetError(f"{path}: expected a readable picture")
    return np.asarray(picture)


def _metres(raw: np.ndarray, unit: float) -> np.ndarray:
    return np.where(raw > 0, raw.astype(np.float32) * np.float32(unit), np.float32(np.nan)).astype(np.float32)


def _segmentation(labels: np.ndarray, truth: Truth) -> tuple[Segmentation, tuple[int, ...]]:
    instances, ids = [], []
    table = np.zeros(int(labels.max()) + 1, dtype=np.uint16)
    for identity, name in truth.classes.items():
        rows, columns = np.nonzero(labels == identity)
        if len(rows) < MIN_TRUE_PX:
            continue
        ids.append(identity)
        table[identity] = len(ids)
        box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        instances.append(Instance(len(ids), name, 1.0, box, len(rows)))
    return Segmentation(table[labels], tuple(instances)), tuple(ids)


def true_ids(scene: Scene, truth: Truth) -> dict[int, int]:
    """For each label of a scene the true id that most of its pixels belong to, 0 = none (a phantom)."""
    found = scene.segmentation.labels
    owners = {}
    for instance in scene.segmentation.instances:
        inside = truth.labels[found == instance.label]
        owners[instance.label] = int(np.bincount(inside, minlength=1).argmax()) if len(inside) else 0
    return owners

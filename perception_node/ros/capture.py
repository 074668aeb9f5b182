"""Keeping frames for relabelling and training, in the layout that `perception evaluate` and `perception finetune` read:
rgb/NNNN.jpg, depth/NNNN.png (mm), labels/NNNN.png, meta/NNNN.json and annotations.json (COCO). Free of rclpy.

Names are numbers that the node gives: nothing of a request becomes part of a path.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from perception_node.bag.decode import encode_colour, millimetres_from_depth
from perception_node.errors import PerceptionError
from perception_node.types import CLASS_NAMES, Frame, Scene

MIN_FREE_BYTES = 500_000_000
"""Nothing is kept on a disk with less space left, so that captures cannot stop the cell. Source: judgement."""

MAX_NOTE = 500
"""Characters of a note at most."""

_JPEG_QUALITY = 97
_MIN_POLYGON_POINTS = 3


def capture(folder: Path, frame: Frame, scene: Scene, note: str, belt_plane: tuple[float, ...] = ()) -> tuple[Path, int]:
    """Write one frame with the node's own labels; returns the data set's folder and the frame's number.

    `belt_plane` is (nx, ny, nz, d) where the belt is calibrated, as `belt.plane` of the configuration.

    Raises:
        PerceptionError: the note is too long, the disk is (nearly) full or cannot be written.
    """
    if len(note) > MAX_NOTE:
        raise PerceptionError(f"note: expected at most {MAX_NOTE} characters, got {len(note)}")
    try:
        for part in ("rgb", "depth", "labels", "meta"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < MIN_FREE_BYTES:
            raise PerceptionError(f"{folder}: expected at least {MIN_FREE_BYTES // 10**6} MB of free disk, got {free // 10**6} MB")
        number = 1 + max((int(path.stem) for path in (folder / "rgb").glob("*.jpg") if path.stem.isdigit()), default=-1)
        name = f"{number:04d}"
        (folder / "labels" / f"{name}.png").write_bytes(_png(scene.segmentation.labels))
        if frame.depth_m is not None:
            (folder / "depth" / f"{name}.png").write_bytes(_png(millimetres_from_depth(frame.depth_m)))
        _write_json(folder / "meta" / f"{name}.json", _meta(frame, scene, note, belt_plane))
        _annotate(folder / "annotations.json", number, name, frame, scene)
        (folder / "rgb" / f"{name}.jpg").write_bytes(encode_colour(frame.rgb, _JPEG_QUALITY))
    except OSError as error:
        raise PerceptionError(f"{folder}: cannot be written: {error.strerror}") from None
    return folder, number


def _png(picture: np.ndarray[Any, Any]) -> bytes:
    done, data = cv2.imencode(".png", picture)
    assert done
    return bytes(data.tobytes())


def _write_json(path: Path, content: Any) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content), encoding="utf-8")
    os.replace(part, path)


def _meta(frame: Frame, scene: Scene, note: str, belt_plane: tuple[float, ...]) -> dict[str, Any]:
    camera = frame.camera
    instances = [{"id": t.label, "class": t.class_name, "category_id": CLASS_NAMES.index(t.class_name) + 1,
                  "score": float(t.package.score), "track_id": t.track_id, "size_m": list(t.size_m),
                  "T_cam_package": t.T_cam_package.tolist(),
                  "visible_fraction": float(t.package.visible_fraction)} for t in scene.tracks]
    plane = {"belt_plane": {"normal": list(belt_plane[:3]), "offset": belt_plane[3]}} if any(belt_plane) else {}
    return {**plane, "K": camera.K.tolist(), "fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy,
            "distortion": list(camera.distortion), "width": camera.width, "height": camera.height, "depth_unit_m": 0.001,
            "stamp_ns": frame.stamp_ns, "frame_id": frame.frame_id, "model_id": scene.model_id, "note": note,
            "labels_by": "perception_node, unchecked", "instances": instances}


def _annotate(path: Path, number: int, name: str, frame: Frame, scene: Scene) -> None:
    try:
        coco = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        coco = {"images": [], "annotations": [], "categories": [{"id": i, "name": n} for i, n in enumerate(CLASS_NAMES, start=1)]}
    except ValueError:
        raise PerceptionError(f"{path}: expected JSON; move it away and capture again") from None
    height, width = frame.rgb.shape[:2]
    coco["images"].append({"id": number, "file_name": f"rgb/{name}.jpg", "width": width, "height": height})
    visible = {track.label: float(track.package.visible_fraction) for track in scene.tracks}
    for instance in scene.segmentation.instances:
        mask = (scene.segmentation.labels == instance.label).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        x0, y0, x1, y1 = (int(n) for n in instance.bbox_xyxy)
        coco["annotations"].append({
            "id": len(coco["annotations"]) + 1, "image_id": number, "instance_id": instance.label, "iscrowd": 0,
            "area": int(instance.area_px), "visible_fraction": visible.get(instance.label, 1.0),
            "category_id": CLASS_NAMES.index(instance.class_name) + 1, "bbox": [x0, y0, x1 - x0, y1 - y0],
            "segmentation": [o.ravel().tolist() for o in outlines if len(o) >= _MIN_POLYGON_POINTS]})
    _write_json(path, coco)

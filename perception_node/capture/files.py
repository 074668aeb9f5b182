"""One kept frame on disk, in the layout that data sets have, and whole or not there after a power cut:

    rgb/NNNN.jpg  depth/NNNN.png (mm)  labels/NNNN.png  scene/NNNN.json (what was published)  small/NNNN.png (to find duplicates)
    meta/NNNN.json   camera, model, reason, packages; written last: a frame without it was never kept

`perception capture export` adds the annotations.json that makes it a data set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.bag.decode import encode_colour, millimetres_from_depth
from perception_node.errors import PerceptionError
from perception_node.files import put
from perception_node.types import CLASS_NAMES, Frame, Scene

SUFFIXES: Mapping[str, str] = {"rgb": ".jpg", "depth": ".png", "labels": ".png", "scene": ".json", "small": ".png", "meta": ".json"}
"""Folders and their files' suffixes in the order of writing."""

_JPEG_QUALITY = 97
_SMALL = (64, 48)
"""Size of the pictures that duplicates are found by. Source: `learn/near.py`, which makes such of every picture."""


def encode(frame: Frame, scene: Scene, reason: str, why: str, belt_plane: tuple[float, ...] = ()) -> dict[str, bytes]:
    """A frame's files by folder, in the order of writing. Pictures are encoded outside of Python's lock."""
    found = {**_pictures(frame), "labels": _png(scene.segmentation.labels), "small": _png(small(frame.rgb)),
             "scene": scene_text(scene).encode(), "meta": json.dumps(_meta(frame, scene, reason, why, belt_plane)).encode()}
    return {part: found[part] for part in SUFFIXES if part in found}


def encode_picture(frame: Frame, belt_plane: tuple[float, ...] = ()) -> dict[str, bytes]:
    """The files, by folder, of a frame that nobody has looked at: colour, depth, camera."""
    return {**_pictures(frame), "meta": json.dumps(_camera(frame, belt_plane)).encode()}


def _pictures(frame: Frame) -> dict[str, bytes]:
    depth = {} if frame.depth_m is None else {"depth": _png(millimetres_from_depth(frame.depth_m))}
    return {"rgb": encode_colour(frame.rgb, _JPEG_QUALITY), **depth}


def write(folder: Path, number: int, files: Mapping[str, bytes]) -> None:
    """Write a frame's files, the one that says that the frame is there last, each on the disk before the next.

    Raises:
        PerceptionError: the disk is full or cannot be written; nothing of the frame is left.
    """
    try:
        for part, content in files.items():
            put(path_of(folder, part, number), content, durable=True)
    except PerceptionError:
        remove(folder, number)
        raise


def remove(folder: Path, number: int) -> None:
    """Delete a frame, first of all the file that says that it is there. What cannot be deleted stays."""
    for part in reversed(list(SUFFIXES)):
        path = path_of(folder, part, number)
        for file in (path, path.with_name(f".{path.name}.part")):
            try:
                file.unlink(missing_ok=True)
            except OSError:
                continue


def sweep(folder: Path) -> list[int]:
    """Delete what a power cut left of frames that were never whole; the numbers of those that are there."""
    whole = listed(folder)
    for orphan in set().union(*(_numbers(folder / part) for part in SUFFIXES)) - set(whole):
        remove(folder, orphan)
    return whole


def listed(folder: Path) -> list[int]:
    """The numbers of the frames in a folder, whole ones and broken ones."""
    return sorted(int(path.stem) for path in (folder / "meta").glob("*.json") if path.stem.isdigit())


def size_of(folder: Path, number: int) -> int:
    """Bytes of a frame's files."""
    return sum(path.stat().st_size for part in SUFFIXES if (path := path_of(folder, part, number)).is_file())


def path_of(folder: Path, part: str, number: int) -> Path:
    """Path of one of a frame's files."""
    return folder / part / f"{number:04d}{SUFFIXES[part]}"


def small(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(48, 64) grey picture of an (H, W, 3) RGB one."""
    grey: NDArray[np.uint8] = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), _SMALL,  # type: ignore[assignment]
                                         interpolation=cv2.INTER_AREA)
    return grey


def _numbers(folder: Path) -> set[int]:
    """Numbers of the files of one folder, those written aside among them."""
    stems = (path.name.lstrip(".").split(".")[0] for path in folder.glob("*"))
    return {int(stem) for stem in stems if stem.isdigit()}


def _png(picture: NDArray[Any]) -> bytes:
    done, data = cv2.imencode(".png", picture)
    assert done
    return bytes(data.tobytes())


def _meta(frame: Frame, scene: Scene, reason: str, why: str, belt_plane: tuple[float, ...]) -> dict[str, Any]:
    visible = {track.label: track for track in scene.tracks}
    instances = [{"id": i.label, "class": i.class_name, "category_id": CLASS_NAMES.index(i.class_name) + 1, "score": float(i.score),
                  "track_id": visible[i.label].track_id if i.label in visible else 0,
                  "visible_fraction": float(visible[i.label].package.visible_fraction) if i.label in visible else 1.0}
                 for i in scene.segmentation.instances]
    return {**_camera(frame, belt_plane), "model_id": scene.model_id, "reason": reason, "note": why,
            "labels_by": "perception_node, unchecked", "instances": instances}


def _camera(frame: Frame, belt_plane: tuple[float, ...]) -> dict[str, Any]:
    camera = frame.camera
    plane = {"belt_plane": {"normal": list(belt_plane[:3]), "offset": belt_plane[3]}} if any(belt_plane) else {}
    return {**plane, "K": camera.K.tolist(), "fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy,
            "distortion": list(camera.distortion), "width": camera.width, "height": camera.height, "depth_unit_m": 0.001,
            "stamp_ns": frame.stamp_ns, "frame_id": frame.frame_id}


def scene_text(scene: Scene) -> str:
    """What was published of a frame, as JSON; the label image is beside it. Numbers as in the types, poses as rows of 4.

    Made piece by piece: one long call would stop the thread that computes for its whole time.
    """
    tracks = [{"track_id": t.track_id, "label": t.label, "class_name": t.class_name, "score": float(t.package.score),
               "T_cam_package": t.T_cam_package.tolist(), "size_m": [float(n) for n in t.size_m],
               "velocity_m_s": t.velocity_m_s.tolist(), "visible_fraction": float(t.package.visible_fraction),
               "covered_by": [int(n) for n in t.package.covered_by]} for t in scene.tracks]
    grasps = [{"kind": g.kind, "label": g.label, "track_id": g.track_id, "T_cam_grasp": g.T_cam_grasp.tolist(),
               "width_m": float(g.width_m), "score": float(g.score), "terms": {k: float(v) for k, v in g.terms.items()},
               "deadline_ns": g.deadline_ns, "degraded": g.degraded} for g in scene.grasps]
    rejections = [{"label": r.label, "kind": r.kind, "reason": r.reason, "track_id": r.track_id} for r in scene.rejections]
    velocity = scene.belt_velocity_m_s
    head = json.dumps({"stamp_ns": scene.stamp_ns, "frame_id": scene.frame_id, "model_id": scene.model_id,
                       "degraded": scene.degraded, "depth_used": scene.depth_used, "pick_order": [int(n) for n in scene.pick_order],
                       "belt_velocity_m_s": None if velocity is None else [float(n) for n in velocity],
                       "timing_ms": {k: float(v) for k, v in scene.timing_ms.items()}})
    lists = [f'"{name}": [{", ".join(json.dumps(row) for row in rows)}]' for name, rows in
             (("tracks", tracks), ("grasps", grasps), ("rejections", rejections))]
    return f"{head[:-1]}, {', '.join(lists)}}}"

"""What a replay says of each frame, as one JSON line: `results.jsonl`. The same scenes give the same bytes.

No times of computing are in it. `labels_png` is the label image as PNG in base64, so that a line says everything of its frame.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.errors import DatasetError, one_line
from perception_node.files import aside
from perception_node.geometry import quaternions_xyzw
from perception_node.types import F64, Scene

MAX_LINE_BYTES = 64_000_000
MAX_FILE_BYTES = 4_000_000_000
"""Larger lines and files are refused before they are taken apart. Source: judgement; a frame of 60 packages has 100 kB."""

_DIGITS = 6  # of metres: micrometres
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 9]

Line = dict[str, Any]


def line_of_scene(scene: Scene) -> Line:
    """The JSON object of one frame; poses in the camera frame, metres and quaternions (x, y, z, w)."""
    order = {label: place for place, label in enumerate(scene.pick_order)}
    instances = {instance.label: instance for instance in scene.segmentation.instances}
    packages = [{
        "label": t.label, "track_id": t.track_id, "class_name": t.class_name, "score": _number(t.package.score),
        "pick_order": order.get(t.label, len(order)), "covered_by": list(t.package.covered_by),
        "bbox_xyxy": [int(n) for n in instances[t.label].bbox_xyxy], "area_px": int(instances[t.label].area_px),
        **_pose(t.T_cam_package), "size_m": _numbers(t.size_m), "velocity_m_s": _numbers(t.velocity_m_s),
        "visible_fraction": _number(t.package.visible_fraction), "from_depth": bool(t.package.from_depth),
        "truncated": bool(t.package.truncated), "placed": bool(t.package.placed)} for t in scene.tracks]
    grasps = [{
        "kind": g.kind, "label": g.label, "track_id": g.track_id, **_pose(g.T_cam_grasp), "width_m": _number(g.width_m),
        "score": _number(g.score), "deadline_ns": g.deadline_ns, "degraded": bool(g.degraded)} for g in scene.grasps]
    rejections = [{"kind": r.kind, "label": r.label, "track_id": r.track_id, "reason": r.reason} for r in scene.rejections]
    velocity = scene.belt_velocity_m_s
    return {"stamp_ns": scene.stamp_ns, "frame_id": scene.frame_id, "depth_used": bool(scene.depth_used),
            "degraded": scene.degraded, "belt_velocity_m_s": None if velocity is None else _numbers(velocity),
            "packages": packages, "grasps": grasps, "rejections": rejections, "labels_png": _pack(scene.segmentation.labels)}


def text_of_line(line: Line) -> str:
    """One line of the file, with its line end."""
    return json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n"


def without_numbers(words: str) -> str:
    """Words with # for each number: two reasons are the same when only the numbers in them differ."""
    return re.sub(r"[-+]?[0-9]+(?:[.][0-9]+)?", "#", words)


def labels_of_line(line: Line) -> NDArray[np.uint16]:
    """(H, W) uint16 label image of a line.

    Raises:
        DatasetError: it holds none.
    """
    try:
        data = np.frombuffer(base64.b64decode(line["labels_png"], validate=True), np.uint8)
        labels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except (KeyError, TypeError, ValueError, cv2.error):
        labels = None
    if labels is None or labels.ndim != 2:
        raise DatasetError(f"results: expected a label image in labels_png of frame {line.get('stamp_ns')}")
    return labels.astype(np.uint16)


def read_results(path: Path) -> Iterator[Line]:
    """The lines of a `results.jsonl`, of a packed one (.jsonl.gz), or of the folder of a replay.

    Raises:
        DatasetError: no such file, or not one of ours.
    """
    file = path / "results.jsonl" if path.is_dir() else path
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise DatasetError(f"{file}: expected at most {MAX_FILE_BYTES} bytes, got {file.stat().st_size}")
        with (gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb")) as stream:
            number = 0
            while raw := stream.readline(MAX_LINE_BYTES):
                number += 1
                yield _checked(json.loads(raw), f"{file}, line {number}")
    except OSError as error:
        raise DatasetError(f"{file}: expected the results of a replay (results.jsonl): {error.strerror or error}") from None
    except (ValueError, EOFError, zlib.error, RecursionError) as error:
        raise DatasetError(f"{file}: expected the results of a replay, line by line: {one_line(error)}") from None


def _checked(line: Any, where: str) -> Line:
    """A line that has what the comparison reads."""
    if not isinstance(line, dict) or not isinstance(line.get("stamp_ns"), int):
        raise DatasetError(f"{where}: expected an object with stamp_ns")
    if "failed" in line:
        return line
    try:
        for package in line["packages"]:
            int(package["label"]), int(package["track_id"]), str(package["class_name"])
            np.array([*package["position_m"], *package["quaternion_xyzw"], *package["size_m"]], dtype=np.float64).reshape(10)
            np.array(package.get("velocity_m_s", (0.0, 0.0, 0.0)), dtype=np.float64).reshape(3)
            [int(label) for label in package.get("covered_by", ())]
        for grasp in line["grasps"]:
            str(grasp["kind"]), int(grasp["label"]), float(grasp["score"]), float(grasp["width_m"])
            np.array([*grasp["position_m"], *grasp["quaternion_xyzw"]], dtype=np.float64).reshape(7)
        for rejection in line["rejections"]:
            str(rejection["kind"]), int(rejection["label"]), str(rejection["reason"])
        str(line["labels_png"]), str(line["degraded"])
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{where}: expected packages, grasps and rejections as this version writes them ({error!r})") from None
    return line


def _pack(labels: NDArray[np.uint16]) -> str:
    done, data = cv2.imencode(".png", labels if labels.max(initial=0) > 255 else labels.astype(np.uint8), _PNG)
    assert done
    return base64.b64encode(data.tobytes()).decode("ascii")


def _pose(T: F64) -> dict[str, list[float]]:
    return {"position_m": _numbers(T[:3, 3]), "quaternion_xyzw": _numbers(quaternions_xyzw(T[None, :3, :3])[0])}


def _numbers(values: Any) -> list[float]:
    return [_number(value) for value in values]


def _number(value: Any) -> float:
    return round(float(value), _DIGITS) + 0.0  # no negative zero


def reduced(line: Line, step: int = 2) -> Line:
    """What a comparison needs of a line, for a small golden file: the best grasp of each package and kind, numbers to 0.1 mm,
    every `step`-th row and column of the label image."""
    if "failed" in line:
        return line
    best: dict[tuple[int, str], Any] = {}
    for grasp in line["grasps"]:
        best.setdefault((grasp["label"], grasp["kind"]), {name: _coarse(grasp[name]) for name in (
            "kind", "label", "position_m", "quaternion_xyzw", "width_m", "score")})
    packages = [{name: _coarse(package[name]) for name in (
        "label", "track_id", "class_name", "score", "covered_by", "position_m", "quaternion_xyzw", "size_m", "velocity_m_s")}
        for package in line["packages"]]
    rejections = [{name: rejection[name] for name in ("kind", "label", "reason")} for rejection in line["rejections"]]
    return {"stamp_ns": line["stamp_ns"], "degraded": line["degraded"], "packages": packages, "grasps": list(best.values()),
            "rejections": rejections, "labels_png": _pack(np.ascontiguousarray(labels_of_line(line)[::step, ::step]))}


def write_golden(path: Path, lines: Iterator[Line]) -> None:
    """Write reduced lines, packed; the same lines give the same bytes."""
    with aside(path) as part, part.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as stream:
        for line in lines:
            stream.write(text_of_line(reduced(line)).encode())


def _coarse(value: Any) -> Any:
    if isinstance(value, list):
        return [_coarse(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value

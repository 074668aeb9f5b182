"""What happened to picks: checked against the scenes that were published, and appended to a log that is never rewritten.

One JSON object a line; the keys are in docs/interfaces.md. `perception fit-ranking` learns from it. Free of rclpy.
"""

from __future__ import annotations

import json
import math
import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_node.errors import PerceptionError
from perception_node.types import F32, F64, GRASP_KINDS, Scene

REMEMBERED = 3000
"""Scenes that a report may refer to: 100 s at 30 Hz, longer than any pick takes. Source: judgement."""

MAX_WORDS = 200
"""Characters of a failure's description at most."""

MAX_WEIGHT_KG = 500.0
"""Source: the largest payload that a gripper may have (`gripper.suction.payload_kg`)."""

SAME_M = 1e-3
"""A reported grasp is the proposed one when its position is within this. Source: judgement; proposals are a cup's radius apart."""


@dataclass(frozen=True, eq=False)
class _Proposed:
    """The grasps of one kind of one scene: names of their terms, (N,) labels, and (N, 6 + terms) float32 position, width, score,
    degraded, terms. Numbers in an array: thousands of scenes are remembered."""

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    table: F32


@dataclass(frozen=True, eq=False)
class _Remembered:
    """What is kept of a scene: track id, class name and score by label; grasps by kind."""

    frame_id: str
    model_id: str
    packages: dict[int, tuple[int, str, float]]
    grasps: dict[str, _Proposed]


def _proposed(scene: Scene) -> dict[str, _Proposed]:
    found = {}
    for kind in GRASP_KINDS:
        for degraded in (False, True):  # grasps made without depth have other terms
            mine = [grasp for grasp in scene.grasps if grasp.kind == kind and grasp.degraded == degraded]
            if mine:
                rows = [(*grasp.T_cam_grasp[:3, 3].tolist(), grasp.width_m, grasp.score, degraded, *grasp.terms.values())
                        for grasp in mine]
                found[f"{kind}{'/degraded' * degraded}"] = _Proposed(
                    tuple(mine[0].terms), np.array([grasp.label for grasp in mine]), np.array(rows, dtype=np.float32))
    return found


def _remembered(scene: Scene) -> _Remembered:
    packages = {track.label: (track.track_id, track.class_name, float(track.package.score)) for track in scene.tracks}
    return _Remembered(scene.frame_id, scene.model_id, packages, _proposed(scene))


class Outcomes:
    """Knows the last scenes' packages; keeps reports that refer to them. Used from the executor and the worker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._scenes: OrderedDict[int, _Remembered | Scene] = OrderedDict()

    @property
    def path(self) -> Path:
        """The log."""
        return self._folder / "outcomes.jsonl"

    def remember(self, scene: Scene) -> None:
        """A scene is about to be published: reports may refer to it from now on."""
        self._scenes[scene.stamp_ns] = scene
        while len(self._scenes) > REMEMBERED:
            self._scenes.popitem(last=False)

    def pack(self, scene: Scene) -> None:
        """The scene was published: from now on no more of it is kept than reports need."""
        if scene.stamp_ns in self._scenes:
            self._scenes[scene.stamp_ns] = _remembered(scene)

    def report(self, request: Any, stamp_ns: int, scene_stamp_ns: int) -> Path:
        """Check and append one ReportOutcome request; returns the log's path. Arguments and errors as `checked` and `append`."""
        return self.append(self.checked(request, stamp_ns, scene_stamp_ns))

    def checked(self, request: Any, stamp_ns: int, scene_stamp_ns: int) -> dict[str, Any]:
        """The log's entry of one ReportOutcome request: what the grasp was as proposed, whatever the request repeats of it.

        Args:
            request: the service's request. stamp_ns: now. scene_stamp_ns: stamp of the scene that the grasp came from.

        Raises:
            PerceptionError: unknown scene, package or grasp (kind, label and position within a millimetre), contradictory or
                impossible values.
        """
        grasp = request.grasp
        known = self._scenes.get(scene_stamp_ns)
        if known is None:
            raise PerceptionError(f"scene_stamp: expected one of the last {len(self._scenes)} scenes, got {scene_stamp_ns} ns")
        if isinstance(known, Scene):
            known = _remembered(known)
        packages = known.packages
        if grasp.kind not in GRASP_KINDS:
            raise PerceptionError(f"grasp.kind: expected one of {', '.join(GRASP_KINDS)}, got {grasp.kind!r}")
        if grasp.label not in packages:
            raise PerceptionError(f"grasp.label: expected a package of that scene (1 to {len(packages)}), got {grasp.label}")
        track_id, class_name, package_score = packages[grasp.label]
        if grasp.track_id != track_id:
            raise PerceptionError(f"grasp.track_id: expected {track_id} for label {grasp.label} of that scene, "
                                  f"got {grasp.track_id}")
        position, turn = grasp.pose.position, grasp.pose.orientation
        pose = [position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w]
        if not all(math.isfinite(number) for number in pose):
            raise PerceptionError(f"grasp.pose: expected finite numbers, got {pose}")
        proposed, k = _find(known, grasp.kind, grasp.label, np.array(pose[:3]))
        if request.success and request.failure:
            raise PerceptionError(f"failure: expected no words with success, got {request.failure[:MAX_WORDS]!r}")
        if len(request.failure) > MAX_WORDS:
            raise PerceptionError(f"failure: expected at most {MAX_WORDS} characters, got {len(request.failure)}")
        if request.has_weight and not 0.0 <= request.weight_kg <= MAX_WEIGHT_KG:  # NaN is not
            raise PerceptionError(f"weight_kg: expected 0 to {MAX_WEIGHT_KG:g} kg, got {request.weight_kg}")
        width_m, score, degraded, *terms = proposed.table[k, 3:].tolist()
        return {
            "stamp_ns": stamp_ns, "scene_stamp_ns": scene_stamp_ns, "frame_id": known.frame_id, "model_id": known.model_id,
            "track_id": track_id, "label": int(grasp.label), "class_name": class_name, "package_score": package_score,
            "kind": grasp.kind, "success": bool(request.success), "failure": request.failure,
            "weight_kg": float(request.weight_kg) if request.has_weight else None,
            "position_m": pose[:3], "quaternion_xyzw": pose[3:],
            "width_m": _short(width_m), "score": _short(score), "degraded": bool(degraded),
            "terms": {name: _short(value) for name, value in zip(proposed.names, terms, strict=True)},
        }

    def append(self, entry: dict[str, Any]) -> Path:
        """Write an entry behind the others, on a line of its own also where a crash has cut the last one off.

        Raises:
            PerceptionError: the log cannot be written.
        """
        path, text = self.path, json.dumps(entry, allow_nan=False)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with path.open("a+b") as log:
                whole = log.seek(0, os.SEEK_END) == 0 or (log.seek(-1, os.SEEK_END), log.read(1))[1] == b"\n"
                log.write(("" if whole else "\n").encode() + text.encode() + b"\n")
                log.flush()
                os.fsync(log.fileno())
        except OSError as error:
            raise PerceptionError(f"{path}: cannot be written: {error.strerror}") from None
        return path


def _find(known: _Remembered, kind: str, label: int, position: F64) -> tuple[_Proposed, int]:
    """Which of a scene's grasps a request means: same kind and label, same position. What the log says of it (width, score, terms)
    is what was proposed, not what the request repeats."""
    nearest = np.inf
    for name in (kind, f"{kind}/degraded"):
        proposed = known.grasps.get(name)
        if proposed is None or not (proposed.labels == label).any():
            continue
        away = np.where(proposed.labels == label, np.linalg.norm(proposed.table[:, :3] - position, axis=1), np.inf)
        k = int(np.argmin(away))
        if away[k] <= SAME_M:
            return proposed, k
        nearest = min(nearest, float(away[k]))
    if not np.isfinite(nearest):
        raise PerceptionError(f"grasp: expected one of that scene, got {kind} of label {label}, not proposed there")
    raise PerceptionError(f"grasp.pose: expected a position proposed in that scene (within {1e3 * SAME_M:.0f} mm), got one "
                          f"{1e3 * nearest:.0f} mm from the nearest {kind} grasp of label {label}")


def _short(value: float) -> float:
    """Rounded to what a float32 holds, so that lines stay readable."""
    return float(f"{value:.7g}")


def output_folder(output_dir: str, node_name: str) -> Path:
    """The node's own folder: below `output_dir`, else below $ROS_HOME or ~/.ros, named after the node.

    Args:
        output_dir: the configured folder, "" = ROS' own. node_name: fully qualified, as "/left/perception".
    """
    ros_home = Path(os.environ.get("ROS_HOME") or Path.home() / ".ros")
    root = Path(output_dir).expanduser() if output_dir else ros_home / "perception_node"
    return root / (node_name.strip("/").replace("/", ".") or "perception")

"""What happened to picks: checked against the scenes that were published, and appended to a log that is never rewritten.

One JSON object a line; the keys are in docs/interfaces.md. The log teaches the ranking (advise/). Free of rclpy.
"""

from __future__ import annotations

import json
import math
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

from perception_node.errors import PerceptionError
from perception_node.types import GRASP_KINDS, Scene

REMEMBERED = 3000
"""Scenes that a report may refer to: 100 s at 30 Hz, longer than any pick takes. Source: judgement."""

MAX_WORDS = 200
"""Characters of a failure's description at most."""


_Remembered = tuple[str, str, dict[int, tuple[int, str, float]], frozenset[tuple[int, str]]]
"""frame_id, model_id, (track_id, class name, score) by label, and the (label, kind) of all grasps."""


class Outcomes:
    """Knows the last scenes' packages; keeps reports that refer to them. Used from the executor and the worker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._scenes: OrderedDict[int, _Remembered] = OrderedDict()

    def remember(self, scene: Scene) -> None:
        """A scene was published: reports may refer to it from now on."""
        packages = {track.label: (track.track_id, track.class_name, float(track.package.score)) for track in scene.tracks}
        grasps = frozenset((grasp.label, grasp.kind) for grasp in scene.grasps)
        self._scenes[scene.stamp_ns] = scene.frame_id, scene.model_id, packages, grasps
        while len(self._scenes) > REMEMBERED:
            self._scenes.popitem(last=False)

    def report(self, request: Any, stamp_ns: int, scene_stamp_ns: int) -> Path:
        """Check and append one ReportOutcome request; returns the log's path.

        Args:
            request: the service's request. stamp_ns: now. scene_stamp_ns: stamp of the scene that the grasp came from.

        Raises:
            PerceptionError: unknown scene, package or grasp, contradictory or impossible values, or the log cannot be written.
        """
        grasp = request.grasp
        known = self._scenes.get(scene_stamp_ns)
        if known is None:
            raise PerceptionError(f"scene_stamp: expected one of the last {len(self._scenes)} scenes, got {scene_stamp_ns} ns")
        frame_id, model_id, packages, grasps = known
        if grasp.kind not in GRASP_KINDS:
            raise PerceptionError(f"grasp.kind: expected one of {', '.join(GRASP_KINDS)}, got {grasp.kind!r}")
        if grasp.label not in packages:
            raise PerceptionError(f"grasp.label: expected a package of that scene (1 to {len(packages)}), got {grasp.label}")
        track_id, class_name, package_score = packages[grasp.label]
        if grasp.track_id != track_id:
            raise PerceptionError(f"grasp.track_id: expected {track_id} for label {grasp.label} of that scene, "
                                  f"got {grasp.track_id}")
        if (grasp.label, grasp.kind) not in grasps:
            raise PerceptionError(f"grasp: expected one of that scene, got {grasp.kind} of label {grasp.label}, not proposed there")
        if request.success and request.failure:
            raise PerceptionError(f"failure: expected no words with success, got {request.failure[:MAX_WORDS]!r}")
        if len(request.failure) > MAX_WORDS:
            raise PerceptionError(f"failure: expected at most {MAX_WORDS} characters, got {len(request.failure)}")
        if request.has_weight and not (math.isfinite(request.weight_kg) and request.weight_kg >= 0):
            raise PerceptionError(f"weight_kg: expected a number of at least 0, got {request.weight_kg}")
        position, turn = grasp.pose.position, grasp.pose.orientation
        line = {
            "stamp_ns": stamp_ns, "scene_stamp_ns": scene_stamp_ns, "frame_id": frame_id, "model_id": model_id,
            "track_id": track_id, "label": int(grasp.label), "class_name": class_name, "package_score": package_score,
            "kind": grasp.kind, "success": bool(request.success), "failure": request.failure,
            "weight_kg": float(request.weight_kg) if request.has_weight else None,
            "position_m": [position.x, position.y, position.z], "quaternion_xyzw": [turn.x, turn.y, turn.z, turn.w],
            "width_m": float(grasp.width_m), "score": float(grasp.score), "degraded": bool(grasp.degraded),
            "terms": {name: float(value) for name, value in zip(grasp.term_names, grasp.term_values, strict=False)},
        }
        try:
            text = json.dumps(line, allow_nan=False)
        except ValueError:
            raise PerceptionError("grasp: expected finite numbers in pose, width, score and terms") from None
        return self._append(text)

    def _append(self, text: str) -> Path:
        path = self._folder / "outcomes.jsonl"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as log:
                log.write(text + "\n")
                log.flush()
                os.fsync(log.fileno())
        except OSError as error:
            raise PerceptionError(f"{path}: cannot be written: {error.strerror}") from None
        return path


def output_folder(output_dir: str, node_name: str) -> Path:
    """The node's own folder: below `output_dir`, else below $ROS_HOME or ~/.ros, named after the node.

    Args:
        output_dir: the configured folder, "" = ROS' own. node_name: fully qualified, as "/left/perception".
    """
    ros_home = Path(os.environ.get("ROS_HOME") or Path.home() / ".ros")
    root = Path(output_dir).expanduser() if output_dir else ros_home / "perception_node"
    return root / (node_name.strip("/").replace("/", ".") or "perception")

"""What happened to picks: checked against the scenes that were published, and appended to a log that is never rewritten.

One JSON object a line; the keys are in docs/interfaces.md. `perception fit-ranking` learns from it. Free of rclpy.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_node.errors import PerceptionError
from perception_node.geometry import quaternions_xyzw
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
    """The grasps of one kind of one scene: names of their terms, (N,) labels, and (N, 10 + terms) float32 position, quaternion,
    width, score, degraded, terms. Numbers in an array: thousands of scenes are remembered."""

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


Told = tuple[bool, str, float | None]
"""What was reported of a pick: success, failure, weight in kg."""


@dataclass(eq=False)
class _Kept:
    """A scene that reports may refer to: which run of track ids its numbers are of, and what was told already, by the grasp's kind
    and place among those of its kind."""

    scene: Scene | _Remembered
    run: object
    told: dict[tuple[str, int], Told] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Report:
    """An accepted report.

    Attributes:
        entry: the log's line. path: of the log. known: the same was reported before: nothing was written, nothing is to be learned
            twice. current: the track ids of its scene are those of the newest one; False = the tracker has started over since, and
            the same number is another package now.
    """

    entry: Mapping[str, Any]
    path: Path
    known: bool
    current: bool


def _proposed(scene: Scene) -> dict[str, _Proposed]:
    found = {}
    for kind in GRASP_KINDS:
        for degraded in (False, True):  # grasps made without depth have other terms
            mine = [grasp for grasp in scene.grasps if grasp.kind == kind and grasp.degraded == degraded]
            if mine:
                turns = quaternions_xyzw(np.array([grasp.T_cam_grasp[:3, :3] for grasp in mine])).tolist()
                rows = [(*grasp.T_cam_grasp[:3, 3].tolist(), *turn, grasp.width_m, grasp.score, degraded, *grasp.terms.values())
                        for grasp, turn in zip(mine, turns, strict=True)]
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
        self._scenes: OrderedDict[int, _Kept] = OrderedDict()
        self._run: object = None

    @property
    def path(self) -> Path:
        """The log."""
        return self._folder / "outcomes.jsonl"

    def remember(self, scene: Scene, run: object = None) -> None:
        """A scene is about to be published: reports may refer to it from now on. A scene of the same stamp, from before the clock
        jumped back, is forgotten.

        Args:
            run: another one than before when the tracker has started over since: its ids begin at 1 again.
        """
        self._run = run
        self._scenes[scene.stamp_ns] = _Kept(scene, run)
        self._scenes.move_to_end(scene.stamp_ns)
        while len(self._scenes) > REMEMBERED:
            self._scenes.popitem(last=False)

    def pack(self, scene: Scene) -> None:
        """The scene was published: from now on no more of it is kept than reports need."""
        kept = self._scenes.get(scene.stamp_ns)
        if kept is not None:
            kept.scene = _remembered(scene)

    def report(self, request: Any, stamp_ns: int, scene_stamp_ns: int) -> Report:
        """Check one ReportOutcome request and append it to the log, once: clients repeat a call whose answer they missed.

        A pick is known by the scene's stamp and the grasp in it. What was proposed is logged, whatever the request repeats of it.

        Args:
            request: the service's request. stamp_ns: now. scene_stamp_ns: stamp of the scene that the grasp came from.

        Raises:
            PerceptionError: unknown scene, package or grasp (kind, label and position within a millimetre), contradictory or
                impossible values, something else was reported of this grasp before, or the log cannot be written.
        """
        kept = self._scenes.get(scene_stamp_ns)
        if kept is None:
            raise PerceptionError(f"scene_stamp: expected one of the last {len(self._scenes)} scenes, got {scene_stamp_ns} ns")
        known = kept.scene if isinstance(kept.scene, _Remembered) else _remembered(kept.scene)
        entry, pick = _checked(request, known, stamp_ns, scene_stamp_ns)
        told: Told = (entry["success"], entry["failure"], entry["weight_kg"])
        before = kept.told.get(pick)
        if before is not None and before != told:
            raise PerceptionError(f"outcome: expected one for each grasp of a scene, got {_words(told)} after {_words(before)}: "
                                  "report a pick when it is over, and another try with a grasp of a newer scene")
        if before is None:
            self._append(entry)
            kept.told[pick] = told
        return Report(entry, self.path, before is not None, kept.run == self._run)

    def _append(self, entry: Mapping[str, Any]) -> None:
        """Write an entry behind the others, on a line of its own also where a crash has cut the last one off. Locked: lines of
        several processes do not mix."""
        path, text = self.path, json.dumps(entry, allow_nan=False)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with path.open("a+b") as log:
                fcntl.flock(log, fcntl.LOCK_EX)  # until it is closed
                whole = log.seek(0, os.SEEK_END) == 0 or (log.seek(-1, os.SEEK_END), log.read(1))[1] == b"\n"
                log.write(("" if whole else "\n").encode() + text.encode() + b"\n")
                log.flush()
                os.fsync(log.fileno())
        except OSError as error:
            raise PerceptionError(f"{path}: cannot be written: {error.strerror}") from None


def _checked(request: Any, known: _Remembered, stamp_ns: int, scene_stamp_ns: int) -> tuple[dict[str, Any], tuple[str, int]]:
    """The log's entry of one request, and which of the scene's grasps it means: kind, and place among those of its kind."""
    grasp = request.grasp
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
    name, k = _find(known, grasp.kind, grasp.label, np.array(pose), grasp.width_m)
    proposed = known.grasps[name]
    if request.success and request.failure:
        raise PerceptionError(f"failure: expected no words with success, got {request.failure[:MAX_WORDS]!r}")
    if len(request.failure) > MAX_WORDS:
        raise PerceptionError(f"failure: expected at most {MAX_WORDS} characters, got {len(request.failure)}")
    if request.has_weight and not 0.0 <= request.weight_kg <= MAX_WEIGHT_KG:  # NaN is not
        raise PerceptionError(f"weight_kg: expected 0 to {MAX_WEIGHT_KG:g} kg, got {request.weight_kg}")
    width_m, score, degraded, *terms = proposed.table[k, 7:].tolist()
    entry = {
        "stamp_ns": stamp_ns, "scene_stamp_ns": scene_stamp_ns, "frame_id": known.frame_id, "model_id": known.model_id,
        "track_id": track_id, "label": int(grasp.label), "class_name": class_name, "package_score": package_score,
        "kind": grasp.kind, "success": bool(request.success), "failure": request.failure,
        "weight_kg": float(request.weight_kg) if request.has_weight else None,
        "position_m": pose[:3], "quaternion_xyzw": pose[3:],
        "width_m": _short(width_m), "score": _short(score), "degraded": bool(degraded),
        "terms": {name: _short(value) for name, value in zip(proposed.names, terms, strict=True)},
    }
    return entry, (name, k)


def _words(told: Told) -> str:
    success, failure, weight_kg = told
    return ("success" if success else failure or "failure") + ("" if weight_kg is None else f" with {weight_kg:.3g} kg")


def _find(known: _Remembered, kind: str, label: int, pose: F64, width_m: float) -> tuple[str, int]:
    """Which of a scene's grasps a request means, as a key of `known.grasps` and a row: same kind and label, same position; of
    several there (jaws close across and along, and open more or less wide) the nearest in orientation, then in width. What the log
    says of it is what was proposed, not what the request repeats."""
    nearest = np.inf
    for name in (kind, f"{kind}/degraded"):
        proposed = known.grasps.get(name)
        if proposed is None or not (proposed.labels == label).any():
            continue
        table = proposed.table.astype(np.float64)
        away = np.where(proposed.labels == label, np.linalg.norm(table[:, :3] - pose[:3], axis=1), np.inf)
        same = np.flatnonzero(away <= SAME_M)
        if len(same):
            turned = np.round(np.abs(table[same, 3:7] @ pose[3:]), 3)
            other_width = np.abs(table[same, 7] - (width_m if math.isfinite(width_m) else 0.0))
            return name, int(same[np.lexsort((other_width, -turned))[0]])
        nearest = min(nearest, float(away.min()))
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

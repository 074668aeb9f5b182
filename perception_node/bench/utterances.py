"""The collected utterances: what was said about described scenes, and what was meant. Scenes are built from their description."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perception_node.advise.request import ACTIONS
from perception_node.errors import DatasetError
from perception_node.types import Grasp, GraspKind, Instance, Package, Rejection, Scene, Segmentation, Track

WIDTH_PX, HEIGHT_PX = 320, 240
FOCAL_PX, DEPTH_M = 250.0, 1.0
RGB = {"white": (235, 235, 235), "black": (22, 22, 24), "grey": (128, 128, 128), "brown": (150, 108, 66), "red": (200, 30, 30),
       "yellow": (230, 200, 40), "blue": (40, 70, 190), "green": (40, 150, 60)}
BELT = (60, 62, 66)


@dataclass(frozen=True)
class Utterance:
    """One thing that was said.

    Attributes:
        scene: name of the scene. text: as typed. action, slots: what it means. target: for choices, the track ids that it bears
            on; empty = nothing may be done without asking.
    """

    scene: str
    text: str
    action: str
    slots: frozenset[str]
    target: frozenset[int]


@dataclass(frozen=True, eq=False)
class Described:
    """A scene made from words: with its picture, known weights (kg by track id) and the package pointed at last (0 = none)."""

    scene: Scene
    rgb: Any
    weights_kg: Mapping[int, float]
    focus: int


def load_utterances(folder: Path, name: str = "utterances") -> list[Utterance]:
    """Read one file of utterances.

    Raises:
        DatasetError: a line of another form, or no such file.
    """
    path = folder / f"{name}.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DatasetError(f"{path}: expected the collected utterances: {error.strerror}") from None
    found = []
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split("|")]
        if len(parts) != 5 or parts[2] not in ACTIONS:
            raise DatasetError(f"{path}:{number}: expected scene | text | action | arguments | target, got {line!r}")
        scene, text, action, slots, target = parts
        ids = frozenset(int(part) for part in target.split(",")) if target and target != "ask" else frozenset[int]()
        found.append(Utterance(scene, text, action, frozenset(filter(None, slots.split(";"))), ids))
    return found


def load_scenes(folder: Path) -> dict[str, Described]:
    """Build the scenes of `scenes.json`.

    Raises:
        DatasetError: no such file, or not JSON.
    """
    path = folder / "scenes.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: expected described scenes: {error}") from None
    return {name: build(value) for name, value in document.items() if name != "about"}


def build(description: Mapping[str, Any], stamp_ns: int = 1_000_000_000) -> Described:
    """A scene as the pipeline would give it, from its description (see scenes.json)."""
    rows = description["packages"]
    by_id = {row["id"]: label for label, row in enumerate(rows, start=1)}
    labels = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint16)
    rgb = np.full((HEIGHT_PX, WIDTH_PX, 3), BELT, np.uint8)
    covered = [by_id[other] for row in rows for other in row.get("covered_by", ())]
    tracks, grasps, rejections, boxes = [], [], [], {}
    for row in sorted(rows, key=lambda row: by_id[row["id"]] in covered):
        u, v = row["at"][0] * WIDTH_PX, row["at"][1] * HEIGHT_PX
        half = [0.5 * side * 1e-3 * FOCAL_PX / DEPTH_M for side in row["size_mm"][:2]]
        x0, x1 = (int(np.clip(u + sign * half[0], 0, WIDTH_PX - 1)) for sign in (-1, 1))
        y0, y1 = (int(np.clip(v + sign * half[1], 0, HEIGHT_PX - 1)) for sign in (-1, 1))
        labels[y0:y1, x0:x1] = by_id[row["id"]]
        rgb[y0:y1, x0:x1] = RGB[row["colour"]]
        boxes[row["id"]] = (x0, y0, x1, y1)
    for row in rows:
        track = _track(row, by_id, stamp_ns)
        tracks.append(track)
        kinds: tuple[tuple[str, GraspKind], ...] = (("suction", "suction"), ("jaw", "parallel_jaw"))
        for key, kind in kinds:
            if key in row:
                grasps.append(Grasp(kind=kind, T_cam_grasp=track.T_cam_package, width_m=0.03, score=row[key], label=track.label,
                                    track_id=track.track_id, deadline_ns=stamp_ns + 8_000_000_000))
            else:
                rejections.append(Rejection(track.label, kind, "too rough for the cup: 4.1 mm at best, the seal takes 3.0 mm"
                                            if kind == "suction" else "narrowest side 150 mm, jaws open 140 mm",
                                            {"seal_m": 0.0041, "limit_m": 0.003}, track.track_id))
    instances = tuple(Instance(track.label, track.class_name, 0.9, boxes[track.track_id], int((labels == track.label).sum()))
                      for track in tracks)
    scene = Scene(stamp_ns=stamp_ns, frame_id="camera_optical_frame", segmentation=Segmentation(labels, instances),
                  tracks=tuple(tracks), grasps=tuple(sorted(grasps, key=lambda grasp: -grasp.score)), rejections=tuple(rejections),
                  pick_order=tuple(track.label for track in tracks), belt_velocity_m_s=np.array([0.2, 0.0, 0.0]), timing_ms={},
                  degraded="", depth_used=True, model_id="described")
    weights = {row["id"]: float(row["weight_kg"]) for row in rows if "weight_kg" in row}
    return Described(scene, rgb, weights, int(description["focus"]))


def _track(row: Mapping[str, Any], by_id: Mapping[int, int], stamp_ns: int) -> Track:
    length, width, height = (side * 1e-3 for side in row["size_mm"])
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    u, v = row["at"]
    pose[:3, 3] = ((u - 0.5) * WIDTH_PX * DEPTH_M / FOCAL_PX, (v - 0.5) * HEIGHT_PX * DEPTH_M / FOCAL_PX, DEPTH_M)
    label = by_id[row["id"]]
    package = Package(label=label, class_name=row["class"], score=0.9, T_cam_package=pose, size_m=(length, width, height),
                      covariance=np.eye(6) * 1e-6, visible_fraction=0.5 if "covered_by" in row else 1.0,
                      covered_by=tuple(by_id[other] for other in row.get("covered_by", ())), depth_valid_fraction=1.0,
                      from_depth=True)
    return Track(track_id=row["id"], label=label, class_name=row["class"], T_cam_package=pose, size_m=package.size_m,
                 velocity_m_s=np.array([0.2, 0.0, 0.0]), stamp_ns=stamp_ns, covariance=np.eye(6) * 1e-6,
                 velocity_covariance=np.eye(3) * 1e-6, package=package)

"""`perception bench track`: ids, belt velocity and prediction on simulated conveyors, and how long they take."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from perception_node.config import Config, from_flat
from perception_node.learn.scenes import TrueMasks
from perception_node.pipeline import Pipeline
from perception_node.types import F64, Frame, Instance, Scene, Segmentation

AHEAD_S = 0.5
SETTLE_FRAMES = 8
"""Frames at the start of a sequence whose velocity and prediction are not judged: about half a second at 15 Hz."""
_MIN_PX = 150
_IGNORE = 65535
TARGETS = {"belt_velocity_error": 0.02, "prediction_m_p50": 0.005, "prediction_m_p95": 0.010, "id_switches_per_100": 1.0}


class PackageLike(Protocol):
    """What is true of one package in one frame."""

    package_id: int
    class_name: str
    T_cam_package: F64
    visible_fraction: float


class TrueFrame(Protocol):
    """A frame with its truth, as `perception_node.sim.conveyor` makes them."""

    @property
    def frame(self) -> Frame:
        """What the camera sees."""

    @property
    def labels(self) -> NDArray[Any]:
        """(H, W) ids of packages."""

    @property
    def packages(self) -> Sequence[Any]:
        """`PackageLike` of each visible package."""

    @property
    def belt_plane(self) -> F64:
        """(4,) plane."""

    @property
    def belt_velocity_m_s(self) -> F64:
        """(3,) in the camera frame."""


@dataclass
class Tally:
    """Errors over all sequences."""

    packages: int = 0
    switches: int = 0
    velocity: list[float] = field(default_factory=list)
    prediction_m: list[float] = field(default_factory=list)
    contact_m: list[float] = field(default_factory=list)
    times_ms: list[float] = field(default_factory=list)


def true_segmentation(labels: NDArray[Any], packages: Iterable[Any]) -> tuple[Segmentation, tuple[int, ...]]:
    """The true masks as a segmentation, and the true id of each label."""
    clean = np.where(labels == _IGNORE, 0, labels).astype(np.int64)
    table = np.zeros(int(clean.max()) + 1, dtype=np.uint16)
    instances, ids = [], []
    for package in packages:
        rows, columns = np.nonzero(clean == package.package_id)
        if len(rows) < _MIN_PX:
            continue
        ids.append(int(package.package_id))
        table[package.package_id] = len(ids)
        box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        instances.append(Instance(len(ids), package.class_name, 1.0, box, len(rows)))
    return Segmentation(table[clean], tuple(instances)), tuple(ids)


def follow(sequence: Iterable[TrueFrame], config: Config, tally: Tally) -> None:
    """Run one sequence through the pipeline with true masks and add its errors.

    Prediction: each best suction contact is carried `AHEAD_S` along its track's velocity and compared with where the same
    point of the true package has gone by then (its true velocity; measured poses are the truth's own).
    """
    masks = TrueMasks()
    pipeline: Pipeline | None = None
    track_of: dict[int, int] = {}
    for number, true in enumerate(sequence):
        if pipeline is None:
            plane = tuple(float(n) for n in true.belt_plane)
            pipeline = Pipeline(from_flat({"belt.plane": plane, "segment.score_threshold": 0.0}, config), masks)
        masks.next, ids = true_segmentation(true.labels, true.packages)
        scene = pipeline.process(true.frame)
        tally.times_ms.append(sum(scene.timing_ms[stage] for stage in ("locate", "track", "grasp")))
        _count_switches(scene, ids, track_of, tally)
        if number >= SETTLE_FRAMES:
            speed = float(np.linalg.norm(true.belt_velocity_m_s))
            if scene.belt_velocity_m_s is not None and speed > 0:
                tally.velocity.append(float(np.linalg.norm(scene.belt_velocity_m_s - true.belt_velocity_m_s)) / speed)
            _predict(scene, ids, true, tally)
    tally.packages += len(track_of)


def _count_switches(scene: Scene, ids: Sequence[int], track_of: dict[int, int], tally: Tally) -> None:
    for track in scene.tracks:
        identity = ids[track.label - 1]
        if identity in track_of and track_of[identity] != track.track_id:
            tally.switches += 1
        track_of[identity] = track.track_id


def _predict(scene: Scene, ids: Sequence[int], true: TrueFrame, tally: Tally) -> None:
    truth = {int(package.package_id): package for package in true.packages}
    later_ns = scene.stamp_ns + round(AHEAD_S * 1e9)
    for track in scene.tracks:
        package = truth[ids[track.label - 1]]
        predicted, _ = track.at(later_ns)
        moved = predicted[:3, 3] - track.T_cam_package[:3, 3]
        tally.prediction_m.append(float(np.linalg.norm(moved - package.velocity_m_s * AHEAD_S)))
        if package.visible_fraction > 0.95 and not track.package.truncated:
            whole = predicted[:3, 3] - (package.T_cam_package[:3, 3] + package.velocity_m_s * AHEAD_S)
            tally.contact_m.append(float(np.linalg.norm(whole)))


def figures(tally: Tally) -> dict[str, Any]:
    """The tally as medians, percentiles and rates."""
    def percentile(values: list[float], share: float) -> float | None:
        return float(np.percentile(values, share)) if values else None

    return {
        "belt_velocity_error": percentile(tally.velocity, 50), "belt_velocity_error_p95": percentile(tally.velocity, 95),
        "prediction_m_p50": percentile(tally.prediction_m, 50), "prediction_m_p95": percentile(tally.prediction_m, 95),
        "centre_m_p50": percentile(tally.contact_m, 50), "centre_m_p95": percentile(tally.contact_m, 95),
        "id_switches_per_100": 100 * tally.switches / tally.packages if tally.packages else None,
        "packages": tally.packages, "ms_p50": percentile(tally.times_ms, 50), "ms_p95": percentile(tally.times_ms, 95),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `perception bench track`."""
    parser.add_argument("--seeds", type=int, nargs="+", default=[901, 902, 903], help="seeds of the simulated conveyors")
    parser.add_argument("--frames", type=int, default=30, help="frames per conveyor")
    parser.add_argument("--fps", type=float, default=15.0, help="frames per second")
    parser.add_argument("--speed", type=float, default=0.3, help="belt speed in m/s")
    parser.add_argument("--json", type=Path, help="write all figures to this file")


def run(args: argparse.Namespace) -> int:
    """Measure and print a table.

    Returns:
        0, or 1 when a target of `TARGETS` is missed.

    Raises:
        PerceptionError: arguments out of range.
    """
    from perception_node.sim.conveyor import conveyor_sequence

    tally = Tally()
    for seed in args.seeds:
        follow(conveyor_sequence(seed, frames=args.frames, fps=args.fps, belt_speed_m_s=args.speed), Config(), tally)
    result = figures(tally)
    result["machine"] = platform.processor() or platform.machine()
    print(f"{'':44s}{'measured':>10s}{'target':>10s}")
    for name, text, scale, unit in (
            ("belt_velocity_error", "belt velocity, relative error, median", 100, "%"),
            ("prediction_m_p50", f"way predicted {AHEAD_S} s ahead, error, median", 1e3, "mm"),
            ("prediction_m_p95", "the same, 95th percentile", 1e3, "mm"),
            ("id_switches_per_100", "id switches per 100 packages", 1, "")):
        value = "-" if result[name] is None else f"{scale * result[name]:.2f} {unit}"
        print(f"{text:44s}{value:>10s}{scale * TARGETS[name]:7.0f} {unit}")
    for name, text in (("centre_m_p50", "centre of fully visible packages 0.5 s ahead"),
                       ("centre_m_p95", "the same, 95th percentile")):
        print(f"{text:44s}" + ("-" if result[name] is None else f"{1e3 * result[name]:7.1f} mm").rjust(10))
    print(f"locate+track+grasp: {result['ms_p50']:.1f} ms p50, {result['ms_p95']:.1f} ms p95; {result['packages']} packages")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if all(result[name] is not None and result[name] <= wanted for name, wanted in TARGETS.items()) else 1

"""Frame -> Scene: segment, locate, track, grasp, with the time of each stage. No ROS, no files, no wall clock."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from perception_node import config as configuration
from perception_node.checked import altered
from perception_node.config import Config, GripperConfig, SegmentConfig
from perception_node.errors import ModelError, PerceptionError
from perception_node.grasp.candidates import propose_grasps
from perception_node.grasp.score import load_ranking
from perception_node.locate.belt import calibrated_plane
from perception_node.locate.cover_memory import CoverMemory
from perception_node.locate.empty_cell import load_empty_cell, unchanged_masks
from perception_node.locate.flat import flat_masks
from perception_node.locate.packages import locate_packages
from perception_node.segment.kernels import renumbered
from perception_node.track.tracker import Tracker, TrackUpdate
from perception_node.types import F64, Frame, Grasp, GraspKind, Packages, Rejection, Scene, Segmentation

if TYPE_CHECKING:
    from perception_node.segment.infer import Segmenter


Refusal = tuple[str, Mapping[str, float]]
"""Why something that was found gets no grasp: a sentence, and its numbers by name."""


class SegmenterLike(Protocol):
    """What the pipeline needs of a segmenter: `perception_node.segment.infer.Segmenter`, or a stand-in for tests."""

    @property
    def model_id(self) -> str:
        """Name and sha256 prefix."""

    def segment(self, frame: Frame, belt_plane: F64 | None = None) -> Segmentation:
        """Labels and instances of one frame."""


class Pipeline:
    """The whole computation. The same frames in the same order give the same scenes.

    Args:
        config: everything there is to set; default: the defaults.
        segmenter: finds the packages; default: the network that `config.segment` names.

    Raises:
        ModelError: the network cannot be loaded. MissingDependencyError: its runtime is not installed.
    """

    def __init__(self, config: Config | None = None, segmenter: SegmenterLike | None = None) -> None:
        self._config = config or Config()
        self._ranking = load_ranking(self._config.grasp.ranking)
        self._empty = load_empty_cell(Path(self._config.belt.empty_cell)) if self._config.belt.empty_cell else None
        self._segmenter = segmenter if segmenter is not None else load_segmenter(self._config.segment)
        self._tracker = Tracker(self._config.track, self._config.belt)
        self._cover = CoverMemory()
        self.clock_jumps = 0
        self.belt_reading_used, self.belt_doubt = False, ""
        """Whether the last frame took the measured belt velocity, and what has been wrong with that for a while, in words."""

    @classmethod
    def from_file(cls, path: str | Path, **overrides: Any) -> Pipeline:
        """Read `cell.yaml` (and `gripper.yaml` beside it); overrides as in `config.load`: `segment__threads=1`."""
        return cls(configuration.load(path, **overrides))

    @property
    def config(self) -> Config:
        """What is in force now."""
        return self._config

    @property
    def model_id(self) -> str:
        """Name and sha256 prefix of the segmenter."""
        return self._segmenter.model_id

    @property
    def runtime(self) -> str:
        """What runs the network: "openvino", "onnxruntime" or "torch"."""
        return str(getattr(self._segmenter, "runtime", "unknown"))

    @property
    def device(self) -> str:
        """Where the network runs: "cpu" or "cuda"."""
        return str(getattr(self._segmenter, "device", "unknown"))

    def reset(self) -> None:
        """Forget all tracks, the belt's velocity and what lay on what."""
        self._tracker.reset()
        self._cover.forget()
        self.belt_reading_used, self.belt_doubt = False, ""

    def update_config(self, config: Config) -> None:
        """Take over live parameters between two frames; tracks are kept.

        Raises:
            PerceptionError: when model, runtime, device or threads differ: they need a new pipeline.
        """
        old, new = self._config.segment, config.segment
        for name in ("model", "runtime", "device", "threads"):
            if getattr(old, name) != getattr(new, name):
                raise PerceptionError(f"segment.{name}: expected {getattr(old, name)!r} while running, got {getattr(new, name)!r}; "
                                      "make a new pipeline")
        if config.grasp.ranking != self._config.grasp.ranking:
            self._ranking = load_ranking(config.grasp.ranking)
        if config.belt.empty_cell != self._config.belt.empty_cell:
            self._empty = load_empty_cell(Path(config.belt.empty_cell)) if config.belt.empty_cell else None
        self._config = config
        self._tracker.track, self._tracker.belt = config.track, config.belt

    def process(self, frame: Frame, belt_velocity_m_s: Sequence[float] | F64 | None = None) -> Scene:
        """Everything that one frame says.

        Args:
            frame: picture, with or without depth. A stamp before the last one resets the tracker.
            belt_velocity_m_s: (3,) in the camera frame, measured by the belt's drive at the frame's time; None = estimate it. It is
                estimated as well while the packages contradict what was measured.

        Raises:
            FrameError: this frame cannot be used; the next one may be.
        """
        measured = _checked_velocity(belt_velocity_m_s)
        times = [time.perf_counter()]
        found = self._segmenter.segment(frame, calibrated_plane(self._config.belt))
        segmentation = reported(found, self._config.segment)
        times.append(time.perf_counter())
        located = locate_packages(frame, segmentation, self._config.belt)
        times.append(time.perf_counter())
        packages, update = self._over_time(located, self._tracker.update(located, frame.stamp_ns, measured), frame.stamp_ns)
        self.clock_jumps += update.reset
        self.belt_reading_used, self.belt_doubt = update.reading_used, update.reading_words
        times.append(time.perf_counter())
        grasps, rejections = propose_grasps(frame, packages, segmentation, update.tracks, self._config.gripper, self._config.grasp,
                                            self._config.belt, update.belt_velocity_m_s, self._ranking)
        grasps, rejections = without_refused(grasps, rejections, self._refused(frame, segmentation, packages, update), update,
                                             self._config.gripper)
        times.append(time.perf_counter())
        stages = ("segment", "locate", "track", "grasp")
        timing = {name: 1e3 * (end - start) for name, start, end in zip(stages, times[:-1], times[1:], strict=True)}
        timing["total"] = 1e3 * (times[-1] - times[0])
        return Scene(
            stamp_ns=frame.stamp_ns, frame_id=frame.frame_id, segmentation=segmentation, tracks=update.tracks, grasps=grasps,
            rejections=rejections, pick_order=packages.pick_order, belt_velocity_m_s=update.belt_velocity_m_s, timing_ms=timing,
            degraded=shortfall(frame, packages), depth_used=depth_used(frame, packages),
            model_id=self._segmenter.model_id)

    def _over_time(self, packages: Packages, update: TrackUpdate, stamp_ns: int) -> tuple[Packages, TrackUpdate]:
        """What lies on what by all frames of these tracks, in the packages and in the tracks alike."""
        if update.reset:
            self._cover.forget()
        ids = [track.track_id for track in update.tracks]
        steady = self._cover.update(packages, ids, stamp_ns, self._config.track.max_missed_s)
        if steady is packages:
            return packages, update
        return steady, altered(update, tracks=tuple(
            track if track.package is package else altered(track, package=package)
            for track, package in zip(update.tracks, steady.items, strict=True)))

    def _refused(self, frame: Frame, segmentation: Segmentation, packages: Packages, update: TrackUpdate) -> dict[int, Refusal]:
        """What is no package for plain reasons, by label; it stays in the scene."""
        limit_m = self._config.belt.min_height_m
        found: dict[int, Refusal] = {}
        for label, stay in update.still.items():
            found[label] = (f"does not move with the belt: {1e3 * stay.moved_m:.0f} mm in {stay.time_s:.1f} s, belt "
                            f"{1e3 * stay.belt_m:.0f} mm", {"moved_m": stay.moved_m, "time_s": stay.time_s, "belt_m": stay.belt_m})
        for label, flat in flat_masks(frame, segmentation, packages, limit_m).items():
            found[label] = (f"stands out of the belt around it by {1e3 * flat.step_m:.1f} mm, limit {1e3 * limit_m:.1f} mm: a "
                            "print or a patch", {"step_m": flat.step_m, "upper_step_m": flat.upper_step_m, "limit_m": limit_m})
        if self._empty is not None:
            for label, same in unchanged_masks(frame, segmentation, self._empty, limit_m).items():
                if np.isfinite(same.change_m):
                    found[label] = (f"was there in the empty cell: stands out of it by {1e3 * same.change_m:.1f} mm, limit "
                                    f"{1e3 * limit_m:.1f} mm", {"change_m": same.change_m, "limit_m": limit_m})
                else:
                    found[label] = (f"was there in the empty cell: looks the same (correlation {same.correlation:.2f})",
                                    {"correlation": same.correlation})
        return found


def without_refused(grasps: tuple[Grasp, ...], rejections: tuple[Rejection, ...], refused: Mapping[int, Refusal],
                    update: TrackUpdate, gripper: GripperConfig) -> tuple[tuple[Grasp, ...], tuple[Rejection, ...]]:
    """Grasps and rejections with a rejection of each enabled kind, in place of grasps, for what is refused."""
    if not refused:
        return grasps, rejections
    enabled: list[GraspKind] = []
    if gripper.parallel_jaw.enabled:
        enabled.append("parallel_jaw")
    if gripper.suction.enabled:
        enabled.append("suction")
    ids = {track.label: track.track_id for track in update.tracks}
    more = [Rejection(label, kind, reason, numbers, ids.get(label, 0)) for label, (reason, numbers) in refused.items()
            for kind in enabled]
    kept = [one for one in rejections if one.label not in refused]
    return (tuple(one for one in grasps if one.label not in refused),
            tuple(sorted([*kept, *more], key=lambda one: (one.label, one.kind))))


def load_segmenter(segment: SegmentConfig) -> Segmenter:
    """The network that a configuration names.

    Raises:
        ModelError, MissingDependencyError: as `Pipeline`.
    """
    from perception_node.segment.infer import Segmenter
    from perception_node.segment.weights import default_weights

    path = Path(segment.model)
    if path.suffix == "":
        if not segment.model or path.name != segment.model:
            raise ModelError(f"segment.model: expected a model's name or the path of an .onnx file, got {segment.model!r}")
        path = default_weights().with_name(f"{segment.model}.onnx")
    return Segmenter(path, runtime=segment.runtime, device=segment.device, threads=segment.threads)


def _checked_velocity(velocity: Sequence[float] | F64 | None) -> F64 | None:
    if velocity is None:
        return None
    array = np.asarray(velocity, dtype=np.float64)
    if array.shape != (3,) or not np.isfinite(array).all():
        raise PerceptionError(f"belt_velocity_m_s: expected three finite numbers, got {array.tolist()}")
    return array


def reported(segmentation: Segmentation, segment: SegmentConfig) -> Segmentation:
    """The instances worth reporting: score and area above the configured limits, labels renumbered without gaps."""
    keep = [i for i in segmentation.instances if i.score >= segment.score_threshold and i.area_px >= segment.min_area_px]
    if len(keep) == len(segmentation.instances):
        return segmentation
    table = np.zeros(1 << 16, dtype=np.uint16)  # one for each label that there can be
    table[[i.label for i in keep]] = np.arange(1, len(keep) + 1)
    instances = tuple(altered(one, label=n) for n, one in enumerate(keep, start=1))
    return Segmentation(renumbered(segmentation.labels, table), instances)


def depth_used(frame: Frame, packages: Packages) -> bool:
    """True when depth took part: in the place of a package or, with none in sight, in the belt's."""
    if frame.depth_m is None:
        return False
    if packages.items:
        return any(package.from_depth for package in packages.items)
    return bool(np.isfinite(frame.depth_m[::8, ::8]).any())


def shortfall(frame: Frame, packages: Packages) -> str:
    """Why a scene is less than promised, in words; "" = it is not."""
    flat = [package for package in packages.items if package.placed and not package.from_depth]
    lost = [package for package in packages.items if not package.placed]
    reasons = []
    if frame.depth_m is None:
        reasons.append("no depth")
    elif not depth_used(frame, packages):
        reasons.append("depth without readings")
    elif flat or lost:
        reasons.append(f"no depth on {len(flat) + len(lost)} of {len(packages.items)} packages")
    if flat:
        reasons.append(f"{len(flat)} on the belt plane, height unknown")
    if packages.belt_plane is None:
        reasons.append("belt plane neither calibrated nor found in depth")
    if lost:
        reasons.append(f"{len(lost)} without a place in space: pose is one metre along the ray, covariance is 10 m")
    return "; ".join(reasons)

"""Summary of a replay as data and as text. Nothing in it depends on the machine's speed or on where the files lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from perception_node import __version__
from perception_node.bag.depth_check import DepthCheck
from perception_node.bag.reader import Recording
from perception_node.bag.replay import Step
from perception_node.bag.results import without_numbers
from perception_node.types import F64

_SHOWN = 5
"""Reasons of rejections in the text, the most frequent ones; all are in the JSON."""


class Tally:
    """Counts what a replay finds, step by step. `belt_plane`: (4,) as calibrated, None = it is not."""

    def __init__(self, belt_plane: F64 | None = None) -> None:
        self.frames = 0
        self._belt_plane, self._depth_check, self._doubts = belt_plane, DepthCheck(), dict[str, str]()
        self.failed: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._grasps: Counter[str] = Counter()
        self._rejections: Counter[str] = Counter()
        self._ids: set[tuple[int, int]] = set()
        self._run = 0
        self._best: list[float] = []
        self._speeds: list[float] = []
        self._degraded: Counter[str] = Counter()
        self._belt: Counter[str] = Counter()

    def add(self, step: Step) -> None:
        """Take one frame in."""
        self.frames += 1
        self._run += step.restarted
        self._counts["with_depth"] += step.frame.depth_m is not None
        scene = step.scene
        if step.dropped:
            self.dropped[f"{step.dropped}: {without_numbers(step.failure)}"] += 1
            return
        self._belt[without_numbers(step.belt)] += 1
        if scene is None:
            self.failed[step.failure] += 1
            return
        self._depth_check.look(step.frame, scene.segmentation.labels, self._belt_plane)
        for name, words in (("unit", self._depth_check.unit), ("plane", self._depth_check.plane),
                            ("alignment", self._depth_check.alignment), (without_numbers(step.belt_doubt), step.belt_doubt)):
            if words:
                self._doubts.setdefault(name, words)
        self._counts["packages"] += len(scene.tracks)
        self._ids.update((self._run, track.track_id) for track in scene.tracks if track.track_id)
        self._grasps.update(grasp.kind for grasp in scene.grasps)
        self._rejections.update(f"{r.kind}: {without_numbers(r.reason)}" for r in scene.rejections)
        if scene.grasps:
            self._best.append(scene.grasps[0].score)
        if scene.belt_velocity_m_s is not None:
            self._speeds.append(float(np.linalg.norm(scene.belt_velocity_m_s)))
        if scene.degraded:
            self._degraded[without_numbers(scene.degraded)] += 1

    def summary(self, recording: Recording, name: str, model_id: str) -> dict[str, Any]:
        """The summary as JSON."""
        return {
            "recording": name, "version": __version__, "model_id": model_id,
            "topics": {"colour": recording.topics.colour, "depth": recording.topics.depth,
                       "camera_info": recording.topics.camera_info, "belt": recording.topics.belt},
            "duration_s": round(recording.span.duration_s, 6), "pictures": recording.span.frames, "frames": self.frames,
            "frames_with_depth": self._counts["with_depth"], "frames_failed": dict(sorted(self.failed.items())),
            "frames_dropped": dict(sorted(self.dropped.items())),
            "skipped": dict(sorted(recording.skipped.items())),
            "notes": [*recording.notes, *self._doubts.values()], "restarts": self._run,
            "packages": self._counts["packages"], "tracks": len(self._ids),
            "grasps": dict(sorted(self._grasps.items())), "rejections": dict(self._rejections.most_common()),
            "frames_degraded": dict(self._degraded.most_common()),
            "best_score_mean": round(float(np.mean(self._best)), 4) if self._best else None,
            "belt_speed_m_s": round(float(np.median(self._speeds)), 4) if self._speeds else None,
            "frames_by_belt": dict(self._belt.most_common()) if recording.topics.belt else {}}


def text(summary: Mapping[str, Any]) -> str:
    """The summary in words."""
    topics = summary["topics"]
    lines = [
        f"{summary['recording']}: {summary['frames']} of {summary['pictures']} pictures in {summary['duration_s']:.1f} s, "
        f"{summary['frames_with_depth']} with depth",
        f"  topics      {topics['colour']}, {topics['depth'] or 'no depth'}, {topics['camera_info'] or 'calibration as given'}"
        + (f", {topics['belt']}" if topics["belt"] else ""),
        f"  model       {summary['model_id']}",
        f"  packages    {summary['packages']} in all frames, {summary['tracks']} ids",
        f"  grasps      {_counted(summary['grasps']) or 'none'}",
        f"  belt        {_or_unknown(summary['belt_speed_m_s'], 'm/s')}",
        f"  best score  {_or_unknown(summary['best_score_mean'], 'on average')}"]
    rejected = dict(list(summary["rejections"].items())[:_SHOWN])
    for title, entries in (("no grasp", rejected), ("skipped", summary["skipped"]), ("dropped", summary["frames_dropped"]),
                           ("failed", summary["frames_failed"]), ("belt is", summary["frames_by_belt"]),
                           ("degraded", summary["frames_degraded"])):
        lines += [f"  {title:<11} {count} x {reason}" for reason, count in entries.items()]
    lines += [f"  note        {note}" for note in summary["notes"]]
    if summary["restarts"]:
        lines.append(f"  restarts    {summary['restarts']}: stamps went back or the camera's frame changed, tracks were forgotten")
    return "\n".join(lines) + "\n"


def _counted(entries: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in entries.items())


def _or_unknown(value: float | None, words: str) -> str:
    return "unknown" if value is None else f"{value:.3f} {words}"

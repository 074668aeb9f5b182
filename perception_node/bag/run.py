"""One recording into one folder of results. Also what worker processes and a cluster call, so everything here can be pickled.

The folder holds `results.jsonl`, `summary.json`, `summary.txt`, `published/` (mcap) and `overlay.mp4`: the same bytes for the same
recording and version. Beside them `timings.json`, which says how long the machine took.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from perception_node.bag.calibration import camera_argument
from perception_node.bag.film import FilmWriter, overlay
from perception_node.bag.published import PublishedWriter
from perception_node.bag.reader import Recording
from perception_node.bag.replay import Step, replay
from perception_node.bag.results import line_of_scene, text_of_line
from perception_node.bag.summary import Tally, text
from perception_node.config import Config
from perception_node.errors import DatasetError
from perception_node.files import folder_aside, put, put_json
from perception_node.locate.belt import calibrated_plane
from perception_node.pipeline import Pipeline


@dataclass(frozen=True)
class Settings:
    """How recordings are replayed.

    Attributes:
        config: everything the pipeline reads. colour, depth, camera_info, belt: topic names, None = found.
        use_depth: False = colour only. camera: as on the command line, "" = the recording's.
        frame_id: in place of the recorded one, "" = the recorded one. film, published: write them.
        frames: at most so many, None = all.
    """

    config: Config = field(default_factory=Config)
    colour: str | None = None
    depth: str | None = None
    camera_info: str | None = None
    belt: str | None = None
    use_depth: bool = True
    camera: str = ""
    frame_id: str = ""
    film: bool = True
    published: bool = True
    frames: int | None = None


def open_recording(path: Path, settings: Settings) -> Recording:
    """The recording with the settings' topics and calibration."""
    node = settings.config.node
    return Recording(path, colour=settings.colour, depth=settings.depth, camera_info=settings.camera_info,
                     belt=settings.belt, camera=camera_argument(settings.camera) if settings.camera else None,
                     use_depth=settings.use_depth and node.depth != "off", pair_tolerance_s=node.pair_tolerance_s,
                     frame_id=settings.frame_id)


def replay_one(path: Path, out: Path, settings: Settings, *, replace: bool = False, progress: bool = True,
               pipeline: Pipeline | None = None) -> dict[str, Any]:
    """Replay one recording into a new folder; returns its summary. The folder appears when everything in it is complete.

    Args:
        path: the recording. out: the folder. settings: how. replace: an older replay in `out` may be overwritten.
        progress: show a bar. pipeline: with the settings' configuration, where one is loaded already.

    Raises:
        DatasetError: the recording cannot be used, no frame of it can, or the folder is there already.
    """
    if out.exists() and not (replace and (not any(out.iterdir()) or (out / "summary.json").exists())):
        hint = ", or that of a replay" if replace else " (--replace overwrites a replay)"
        raise DatasetError(f"{out}: expected a new folder{hint}")
    with open_recording(path, settings) as recording, folder_aside(out) as part:
        pipeline = pipeline or Pipeline(settings.config)
        summary, timings = _write(recording, path.resolve().name, part, settings, pipeline, progress)
        put_json(part / "summary.json", summary)
        put(part / "summary.txt", text(summary))
        put_json(part / "timings.json", timings)
        if out.exists():
            shutil.rmtree(out)
    return summary


def _write(recording: Recording, name: str, part: Path, settings: Settings, pipeline: Pipeline,
           progress: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    tally, times = Tally(calibrated_plane(settings.config.belt)), Times()
    rate_hz = film_rate_hz(recording)
    published = PublishedWriter(part / "published") if settings.published else None
    film = FilmWriter(part / "overlay.mp4", rate_hz) if settings.film else None
    try:
        with (part / "results.jsonl").open("w", encoding="utf-8") as lines:
            for step in _steps(recording, settings, pipeline, progress):
                tally.add(step)
                times.add(step)
                if step.scene is None:
                    dropped = {"dropped": step.dropped} if step.dropped else {}
                    lines.write(text_of_line({"stamp_ns": step.frame.stamp_ns, "failed": step.failure, **dropped}))
                else:
                    lines.write(text_of_line(line_of_scene(step.scene)))
                    if published is not None:
                        published.add(step.scene)
                if film is not None:
                    film.add(overlay(step.frame.rgb, step.scene, step.number, step.failure))
    finally:
        for writer in (published, film):
            if writer is not None:
                writer.__exit__(None, None, None)
    if tally.frames == 0:
        raise recording.nothing_usable()
    return tally.summary(recording, name, pipeline.model_id), times.summary(pipeline)


def _steps(recording: Recording, settings: Settings, pipeline: Pipeline, progress: bool) -> Iterator[Step]:
    total = min(recording.span.frames, settings.frames) if settings.frames else recording.span.frames
    with tqdm(total=total, unit="frame", disable=None if progress else True) as bar:
        for step in replay(recording.pictures(), pipeline, recording.skipped):
            if step.number == settings.frames:
                return
            yield step
            bar.update()


def film_rate_hz(recording: Recording) -> float:
    """Pictures per second as recorded, 1 to 60."""
    span = recording.span
    return round(float(np.clip((span.frames - 1) / span.duration_s if span.duration_s > 0 else 10.0, 1.0, 60.0)), 2)


class Times:
    """How long the stages took."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._stages: dict[str, list[float]] = {}
        self._frames = 0

    def add(self, step: Step) -> None:
        """Take one frame in."""
        self._frames += 1
        if step.scene is not None:
            for name, value in step.scene.timing_ms.items():
                self._stages.setdefault(name, []).append(value)

    def summary(self, pipeline: Pipeline) -> dict[str, Any]:
        """Milliseconds at the 50th, 95th and 99th percentile by stage, and frames per second over all."""
        wall_s = time.perf_counter() - self._began
        return {"runtime": pipeline.runtime, "wall_s": round(wall_s, 3), "frames_per_s": round(self._frames / max(wall_s, 1e-9), 3),
                "stages_ms": {name: {f"p{p}": round(float(np.percentile(values, p)), 3) for p in (50, 95, 99)}
                              for name, values in self._stages.items()}}

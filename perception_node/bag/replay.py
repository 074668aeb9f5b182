"""A recording through the pipeline, every frame once and in order: the same computation as the live node's, without its clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from perception_node.bag.reader import RESTART_NS
from perception_node.errors import PerceptionError
from perception_node.pipeline import Pipeline
from perception_node.types import Frame, Scene


@dataclass(frozen=True, eq=False)
class Step:
    """One frame of a replay: its scene, or None and why it failed; `restarted` when tracks were forgotten before it."""

    number: int
    frame: Frame
    scene: Scene | None
    failure: str
    restarted: bool


def replay(frames: Iterable[Frame], pipeline: Pipeline, skipped: Counter[str] | None = None) -> Iterator[Step]:
    """Compute each frame, as the node does: a frame that fails costs that frame, a new sequence forgets the tracks.

    Args:
        frames: in the order of their stamps; the pipeline is reset first. pipeline: with the configuration to test.
        skipped: frames without depth are counted here where `node.depth` of the configuration is "required".
    """
    pipeline.reset()
    last: Frame | None = None
    number = 0
    for frame in frames:
        if frame.depth_m is None and pipeline.config.node.depth == "required":
            if skipped is not None:
                skipped["depth: a picture without depth, node.depth is 'required'"] += 1
            continue
        restarted = last is not None and (frame.stamp_ns < last.stamp_ns - RESTART_NS or frame.frame_id != last.frame_id)
        if restarted:
            pipeline.reset()
        last = frame
        yield _step(number, frame, pipeline, restarted)
        number += 1


def _step(number: int, frame: Frame, pipeline: Pipeline, restarted: bool) -> Step:
    try:
        return Step(number, frame, pipeline.process(frame), "", restarted)
    except PerceptionError as error:
        return Step(number, frame, None, str(error), restarted)
    except Exception as error:  # as in the node: a fault of ours must cost a frame and be said
        pipeline.reset()
        return Step(number, frame, None, f"unexpected {type(error).__name__}: {' '.join(str(error).split())}", restarted)

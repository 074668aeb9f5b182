"""A recording through the pipeline, every frame once and in order: the same computation as the live node's, without its clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from perception_node.bag.belt import CONTRADICTED, measured_velocity
from perception_node.bag.reader import RESTART_NS, Picture
from perception_node.bag.watch import UnusablePicture, Watch
from perception_node.errors import PerceptionError, unexpected
from perception_node.pipeline import Pipeline
from perception_node.types import Frame, Scene


@dataclass(frozen=True, eq=False)
class Step:
    """One frame of a replay: its scene, or None and why it failed; `restarted` when tracks were forgotten before it.

    `dropped` is the reason by which the node counts a picture that it does not compute ("blind", "frozen"), "" = it was computed;
    `belt` says where the belt's velocity came from, `belt_doubt` what has been wrong with the measured one for a while.
    """

    number: int
    frame: Frame
    scene: Scene | None
    failure: str
    restarted: bool
    dropped: str = ""
    belt: str = ""
    belt_doubt: str = ""


def replay(pictures: Iterable[Picture], pipeline: Pipeline, skipped: Counter[str] | None = None) -> Iterator[Step]:
    """Compute each frame, as the node does: a frame that fails costs that frame, one that shows nothing is not computed, a new
    sequence forgets the tracks.

    Args:
        pictures: in the order of their stamps; the pipeline is reset first. pipeline: with the configuration to test.
        skipped: frames without depth are counted here where `node.depth` of the configuration is "required".
    """
    pipeline.reset()
    node = pipeline.config.node
    watch = Watch()
    last_ns: int | None = None
    frame_id = ""
    number = 0
    for picture in pictures:
        frame = picture.frame
        if frame.depth_m is None and node.depth == "required":
            if skipped is not None:
                skipped["depth: a picture without depth, node.depth is 'required'"] += 1
            continue
        restarted = last_ns is not None and frame.stamp_ns < last_ns - RESTART_NS
        last_ns = frame.stamp_ns
        try:
            watch.check(picture, frame, node.max_age_s, node.detect_frozen)
        except UnusablePicture as error:
            if restarted:
                pipeline.reset()
            yield Step(number, frame, None, str(error), restarted, dropped=error.reason)
        else:
            restarted |= frame_id not in ("", frame.frame_id)
            frame_id = frame.frame_id
            if restarted:
                pipeline.reset()
            yield _step(number, picture, pipeline, restarted)
        number += 1


def _step(number: int, picture: Picture, pipeline: Pipeline, restarted: bool) -> Step:
    frame = picture.frame
    velocity, belt = measured_velocity(picture.belt, frame.frame_id, pipeline.config.belt, pipeline.config.track.max_speed_m_s)
    try:
        scene = pipeline.process(frame, velocity)
        belt = belt if velocity is None or pipeline.belt_reading_used else CONTRADICTED
        return Step(number, frame, scene, "", restarted, belt=belt, belt_doubt=pipeline.belt_doubt)
    except PerceptionError as error:
        return Step(number, frame, None, str(error), restarted, belt=belt)
    except Exception as error:  # as in the node: a fault of ours must cost a frame and be said
        pipeline.reset()
        return Step(number, frame, None, unexpected(error), restarted, belt=belt)

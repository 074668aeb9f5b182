"""Which frames are worth keeping, decided from the scenes as they were published. Takes well below a millisecond a frame."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from perception_node.capture.changes import splits_and_merges
from perception_node.config import CaptureConfig
from perception_node.types import CameraModel, Scene

REQUEST = "request"
FAILED_PICK = "failed_pick"

USEFULNESS: Mapping[str, int] = {REQUEST: 5, FAILED_PICK: 4, "split_or_merge": 3, "class_flip": 2, "unsure": 1, "random": 0}
"""Frames of the smallest number make room first. Source: judgement: a person's choice, then a pick that was lost, then mistakes
that the frames themselves show, then doubt."""

_MAX_GAP_NS = 500_000_000
"""Scenes further apart than this are not compared: too much moves. Source: judgement."""


class Rules:
    """Looks at each scene once, in their order. Not for failed picks and requests, which come from outside."""

    def __init__(self, config: CaptureConfig) -> None:
        self._config = config
        self._active = set(config.rules)
        self._previous: Scene | None = None
        self._kept_ns: int | None = None

    def seen(self, scene: Scene, camera: CameraModel) -> tuple[str, str] | None:
        """Why this frame is worth keeping.

        Returns:
            The most useful rule that holds and the words of all that do; None = it is not, or the last one was kept less than
            `interval_s` ago.
        """
        previous, self._previous = self._previous, scene
        if self._kept_ns is not None and 0 <= scene.stamp_ns - self._kept_ns < 1e9 * self._config.interval_s:
            return None
        found = {}
        if previous is not None and 0 < scene.stamp_ns - previous.stamp_ns <= _MAX_GAP_NS:
            if "split_or_merge" in self._active and (words := splits_and_merges(previous, scene, camera)):
                found["split_or_merge"] = words
            if "class_flip" in self._active and (words := class_flips(previous, scene)):
                found["class_flip"] = words
        if "unsure" in self._active and (words := self._unsure(scene)):
            found["unsure"] = words
        if "random" in self._active and fraction(scene.stamp_ns, self._config.seed) < self._config.random_share:
            found["random"] = f"by chance, {self._config.random_share:g} of all frames"
        if not found:
            return None
        self._kept_ns = scene.stamp_ns
        reasons = sorted(found, key=lambda name: -USEFULNESS[name])
        return reasons[0], "; ".join(found[name] for name in reasons)

    def _unsure(self, scene: Scene) -> str:
        low, high = self._config.unsure_low, self._config.unsure_high
        return ", ".join(f"{i.class_name} {i.label} scored {i.score:.2f}" for i in scene.segmentation.instances
                         if low <= i.score <= high)


def class_flips(previous: Scene, scene: Scene) -> str:
    """Tracks that the segmenter called otherwise one scene before, in words; "" = none."""
    before = {track.track_id: track.package.class_name for track in previous.tracks if track.track_id > 0}
    return ", ".join(f"track {track.track_id} was {before[track.track_id]}, is {track.package.class_name}" for track in scene.tracks
                     if before.get(track.track_id, track.package.class_name) != track.package.class_name)


def fraction(stamp_ns: int, seed: int) -> float:
    """A number in [0, 1) that depends on both alone, evenly spread over stamps. Source: first 8 bytes of BLAKE2b."""
    digest = hashlib.blake2b(f"{seed} {stamp_ns}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64

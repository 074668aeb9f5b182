"""What the node asks of captures: every scene is shown, failed picks and requests are said. Free of ROS."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path

import numpy as np

from perception_node.capture.hold import Hold
from perception_node.capture.keeper import Answer, Keeper
from perception_node.capture.rules import FAILED_PICK, REQUEST, Rules
from perception_node.config import Config
from perception_node.errors import PerceptionError, unexpected
from perception_node.types import Frame, Scene

MAX_NOTE = 500
"""Characters of a note at most."""
_MEASURED = 1000
"""Scenes over which the cost is said."""


class Desk:
    """Rules, hold and writing thread together.

    Args:
        config: the node's. folder: of the store.
    """

    def __init__(self, config: Config, folder: Path) -> None:
        wanted = config.capture
        self.keeper = Keeper(folder, 1e6 * wanted.budget_mb, config.belt.plane)
        self.fault = ""
        """What went wrong in looking at a scene, "" = nothing."""
        self.too_late = 0
        """Failed picks whose frame was not held any more."""
        self._rules = Rules(wanted)
        self._hold = Hold(wanted.hold_s, 1e6 * wanted.hold_mb) if FAILED_PICK in wanted.rules else None
        self._cost_s: deque[float] = deque(maxlen=_MEASURED)

    def close(self) -> None:
        """Write what is waiting and end the thread."""
        self.keeper.close()

    def seen(self, scene: Scene, frame: Frame) -> None:
        """A scene was published. Called by the thread that computes: the time is measured, a fault costs no frame."""
        began = time.perf_counter()
        try:
            if self._hold is not None:
                self._hold.put(frame, scene)
            wish = self._rules.seen(scene, frame.camera)
            if wish is not None:
                self.keeper.offer(frame, scene, *wish)
        except Exception as error:  # a fault of ours
            self.fault = unexpected(error)
        self._cost_s.append(time.perf_counter() - began)

    def failed(self, scene_stamp_ns: int, words: str) -> None:
        """A pick failed that a scene led to: the held frame nearest to that scene is kept."""
        if self._hold is None:
            return
        held = self._hold.nearest(scene_stamp_ns)
        if held is None:
            self.too_late += 1
            return
        apart_s = 1e-9 * (held[0].stamp_ns - scene_stamp_ns)
        when = "" if not apart_s else f", frame {abs(apart_s):.2f} s {'after' if apart_s > 0 else 'before'} the pick's scene"
        self.keeper.offer(*held, FAILED_PICK, f"{words}{when}")

    def request(self, frame: Frame, scene: Scene, note: str, answer: Answer) -> None:
        """Somebody asks for a frame.

        Raises:
            PerceptionError: the note is too long, or too many frames are waiting to be written.
        """
        if len(note) > MAX_NOTE:
            raise PerceptionError(f"note: expected at most {MAX_NOTE} characters, got {len(note)}")
        if not self.keeper.offer(frame, scene, REQUEST, note, answer):
            raise PerceptionError("too many frames are waiting to be written: ask again")

    def cost_ms(self) -> tuple[float, float]:
        """Median and 95th percentile of the time that the last scenes took the computing thread, milliseconds; 0, 0 = none yet."""
        cost_s = list(self._cost_s)
        if not cost_s:
            return 0.0, 0.0
        median, p95 = np.percentile(cost_s, (50, 95))
        return 1e3 * float(median), 1e3 * float(p95)

"""Another model in place of the running one, without a stop: loaded and checked aside, on trial for its first frames, then kept or
sent back. Knows neither files nor ROS.

The old model stays until the trial is over. A frame of which the new one makes nothing is answered by the old one, so that none is
lost, and the id that goes with a frame is always that of the model that made its masks.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from perception_node.errors import ModelError, PerceptionError, one_line
from perception_node.segment.aside import Aside, LateError
from perception_node.types import F64, Frame, Segmentation

TRIAL_FRAMES = 100
"""Frames of a trial. Source: the requirement, "its first hundred frames"."""
MAX_FAULTS = 1
"""Frames of the trial of which the new model may make nothing while the old one does. Source: judgement; one may be chance."""
SLOW_SHARE = 0.05
"""Share of the trial's frames that may be slower than allowed: then their 95th percentile is not."""
LATE_FACTOR, LATE_MIN_MS = 3.0, 100.0
"""A frame for which the new model takes this many times what it may, and this long at least, is answered by the old one.
Source: judgement; with 40 ms and the factor 1.5 that is 180 ms, and the old one's answer is still younger than `node.max_age_s`."""
MIN_TIMED, TIMED = 20, 200
"""Frames that the running model must have been timed on, and the last ones that count. Source: of 20 one is 5 %."""
CHECK_S = 60.0
"""Time for loading and checking. Source: judgement; the shipped model takes about 1 s on two idle cores."""


class Model(Protocol):
    """What is swapped: `perception_node.segment.infer.Segmenter`, or a stand-in for tests."""

    @property
    def model_id(self) -> str:
        """Name and sha256 prefix."""

    @property
    def runtime(self) -> str:
        """What runs it."""

    @property
    def device(self) -> str:
        """Where it runs."""

    def segment(self, frame: Frame, belt_plane: F64 | None = None) -> Segmentation:
        """Labels and instances of one frame."""


class Trial:
    """Counts what a model does in its first frames and says when it must go, "" = not yet.

    Args:
        limit_ms: no more than `SLOW_SHARE` of the frames may take longer.
    """

    def __init__(self, limit_ms: float) -> None:
        self.limit_ms = limit_ms
        self.frames = self.faults = self.slow = 0

    @property
    def words(self) -> str:
        """How far it is."""
        return f"trial: {self.frames} of {TRIAL_FRAMES} frames"

    @property
    def over(self) -> bool:
        """All its frames were seen."""
        return self.frames >= TRIAL_FRAMES

    def good(self, took_ms: float) -> str:
        """A frame was answered."""
        self.frames += 1
        self.slow += took_ms > self.limit_ms
        if self.slow > SLOW_SHARE * TRIAL_FRAMES:
            return (f"{self.slow} of its {self.frames} frames took longer than {self.limit_ms:.1f} ms "
                    f"(expected at most {SLOW_SHARE:.0%} of {TRIAL_FRAMES})")
        return ""

    def fault(self, words: str) -> str:
        """A frame was not answered, or what was made of it could not be used."""
        self.frames += 1
        return self.blame(words)

    def blame(self, words: str) -> str:
        """The same of a frame that was counted already."""
        self.faults += 1
        if self.faults > MAX_FAULTS:
            return f"{self.faults} of its {self.frames} frames failed (expected at most {MAX_FAULTS}), the last: {words}"
        return ""


@dataclasses.dataclass(frozen=True)
class Report:
    """What is known at one moment, for diagnostics.

    Attributes:
        model_id: of the model that answered the last frame. state: "steady", "loading" or "trial". candidate: what is loaded or on
        trial. trial: how far it is. frames, faults, slow: of the trial, or of the last one. limit_ms: its limit, 0 = none yet.
        p95_ms: of the running model's last frames, 0 = none yet. last: how the last request ended. went_back: it ended so.
    """

    model_id: str
    state: str
    candidate: str = ""
    trial: str = ""
    frames: int = 0
    faults: int = 0
    slow: int = 0
    limit_ms: float = 0.0
    p95_ms: float = 0.0
    last: str = ""
    went_back: bool = False


class Models:
    """A segmenter that is one model, and for the time of a trial two. `segment` belongs to the thread that computes.

    Args:
        model: the one that runs. slowdown: the new one's 95th percentile may be this many times the old one's.
        failures: how many frames failed behind the segmenter so far, and what was said of the last.
        say: told when something changes: words, and True where somebody should look.
    """

    def __init__(self, model: Model, slowdown: float, failures: Callable[[], tuple[int, str]] = lambda: (0, ""),
                 say: Callable[[str, bool], None] = lambda words, bad: None) -> None:
        self._model, self._slowdown, self._failures, self._say = model, slowdown, failures, say
        self._answered = _named(model)
        self._times_ms: deque[float] = deque(maxlen=TIMED)
        self._lock = threading.Lock()
        self._loading = self._last = ""
        self._offered: tuple[Model, Aside] | None = None
        self._candidate: tuple[Model, Aside] | None = None
        self._trial: Trial | None = None
        self._limit_ms = 0.0
        self._went_back = self._closed = False
        self._failed_before: int | None = None

    @property
    def model_id(self) -> str:
        """Of the model that answered the last frame."""
        return self._answered[0]

    @property
    def runtime(self) -> str:
        """Of the same."""
        return self._answered[1]

    @property
    def device(self) -> str:
        """Of the same."""
        return self._answered[2]

    def report(self) -> Report:
        """As it is now."""
        with self._lock:
            pair, trial = self._candidate or self._offered, self._trial
            state = "loading" if self._loading else "steady" if pair is None else "trial"
            candidate = self._loading or (pair[0].model_id if pair is not None else "")
            words = trial.words if trial is not None else Trial(0.0).words
            report = Report(self.model_id, state, candidate, words if state == "trial" else "", limit_ms=self._limit_ms,
                            p95_ms=p95(self._times_ms), last=self._last, went_back=self._went_back)
            if trial is None:
                return report
            return dataclasses.replace(report, frames=trial.frames, faults=trial.faults, slow=trial.slow)

    def begin(self, name: str) -> None:
        """Reserve the place beside the running model; `admit` must follow.

        Raises:
            ModelError: it is taken, or the running model was not timed on enough frames to compare with.
        """
        report = self.report()
        with self._lock:
            if report.state != "steady" or self._closed:
                raise ModelError(f"{name}: expected no other model under way, got {report.state} of {report.candidate}"
                                 f"{f' ({report.trial})' if report.trial else ''}; ask again when that is over")
            if len(self._times_ms) < MIN_TIMED:
                raise ModelError(f"{name}: expected {MIN_TIMED} frames of the running model to compare with, got "
                                 f"{len(self._times_ms)}; ask again when the camera runs")
            self._loading, self._went_back, self._trial = name, False, None
            self._limit_ms = self._slowdown * p95(self._times_ms)  # before loading takes processor time

    def admit(self, load: Callable[[], Model], frame: Frame, belt_plane: F64 | None = None, limit_s: float = CHECK_S) -> str:
        """Load a model, try it on a frame with and without depth, and put it on trial from the next frame on. For a thread that may
        wait.

        Returns:
            The model's id.

        Raises:
            ModelError: it cannot be loaded, makes nothing of the frame, takes too long, or is the one that runs.
        """
        aside, words = Aside("model on trial"), ""
        try:
            model = aside.call(partial(_checked, load, frame, belt_plane), limit_s)
            if _named(model) == _named(self._model):
                raise ModelError(f"{model.model_id}: expected another model than the one that runs")
        except LateError:
            words = f"{self._loading}: expected it loaded and tried within {limit_s:g} s; its thread is left behind"
        except Exception as error:
            words = _words(error)
        with self._lock:
            self._loading = ""
            if not words and self._closed:
                words = "the node gave its models back"
            if words:
                self._last = f"refused: {words}"
            else:
                self._offered = model, aside
        if words:
            aside.close()
            self._say(f"model refused, {self._model.model_id} goes on: {words}", True)
            raise ModelError(words)
        return model.model_id

    def segment(self, frame: Frame, belt_plane: F64 | None = None) -> Segmentation:
        """Labels and instances of one frame, by the model that `model_id` names afterwards. Between two calls models change places.

        Raises:
            PerceptionError: as the running model does.
        """
        if self._offered is not None:
            self._start()
        if self._candidate is not None and self._trial is not None:
            self._look_back(self._trial)
        if self._candidate is None or self._trial is None:
            began = time.perf_counter()
            found = self._model.segment(frame, belt_plane)
            self._times_ms.append(1e3 * (time.perf_counter() - began))
            self._answered = _named(self._model)
            return found
        return self._try(*self._candidate, self._trial, frame, belt_plane)

    def close(self) -> None:
        """Take no other model any more, end a trial."""
        with self._lock:
            self._closed = True
            pairs = [pair for pair in (self._offered, self._candidate) if pair is not None]
            self._offered = self._candidate = self._trial = None
        for _, aside in pairs:
            aside.close()

    def _start(self) -> None:
        with self._lock:
            self._candidate, self._offered = self._offered, None
            self._trial, self._failed_before = Trial(self._limit_ms), None
        if self._candidate is not None:
            self._say(f"{self._candidate[0].model_id} is on trial for {TRIAL_FRAMES} frames, {self._model.model_id} waits", False)

    def _look_back(self, trial: Trial) -> None:
        """Blame the new model for a frame that failed behind it."""
        failed, words = self._failures()
        if self._failed_before is not None and failed > self._failed_before:
            self._failed_before = None
            if why := trial.blame(f"after the segmenter: {words}"):
                self._end(why)

    def _try(self, model: Model, aside: Aside, trial: Trial, frame: Frame, belt_plane: F64 | None) -> Segmentation:
        self._failed_before = None  # where both fail on a frame, the frame is at fault
        try:
            found, took_ms = aside.call(partial(_timed, model, frame, belt_plane),
                                        1e-3 * max(LATE_MIN_MS, LATE_FACTOR * trial.limit_ms))
        except Exception as error:
            words = _words(error)
            found = self._model.segment(frame, belt_plane)
            self._answered = _named(self._model)
            why = trial.fault(words)
        else:
            self._answered = _named(model)
            why = trial.good(took_ms)
            self._failed_before = self._failures()[0]
        if why or trial.over:
            self._end(why)
        return found

    def _end(self, why: str) -> None:
        """Keep the new model, or go back to the old one if there is a reason; the other is released."""
        with self._lock:
            if self._candidate is None:
                return
            model, aside = self._candidate
            old = self._model.model_id
            self._candidate, self._went_back = None, bool(why)
            if why:
                self._last = f"went back to {old} because {model.model_id}: {why}"
            else:
                self._last = f"{model.model_id} took over from {old}"
                self._model = model
                self._times_ms.clear()
        aside.close()
        self._say(self._last, bool(why))


def p95(times_ms: deque[float]) -> float:
    """Nearest-rank 95th percentile, 0 = of nothing."""
    ordered = sorted(times_ms)
    return ordered[math.ceil((1.0 - SLOW_SHARE) * len(ordered)) - 1] if ordered else 0.0


def _named(model: Model) -> tuple[str, str, str]:
    return model.model_id, model.runtime, model.device


def _timed(model: Model, frame: Frame, belt_plane: F64 | None) -> tuple[Segmentation, float]:
    began = time.perf_counter()
    found = model.segment(frame, belt_plane)
    took_ms = 1e3 * (time.perf_counter() - began)
    if found.labels.shape != frame.rgb.shape[:2]:
        raise ModelError(f"model {model.model_id}: expected labels of shape {frame.rgb.shape[:2]}, got {found.labels.shape}")
    return found, took_ms


def _checked(load: Callable[[], Model], frame: Frame, belt_plane: F64 | None) -> Model:
    model = load()
    for tried in (frame, dataclasses.replace(frame, depth_m=None)):
        _timed(model, tried, belt_plane)
    return model


def _words(error: BaseException) -> str:
    return one_line(error) if isinstance(error, PerceptionError) else f"{type(error).__name__}: {one_line(error)}"

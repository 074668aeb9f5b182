"""What the node says about itself on /diagnostics: published by a timer on a steady clock, so that a dead camera, a stopped
simulation clock and a failed configuration are reported too. The judgement is in plain functions, free of rclpy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from perception_node.bag.watch import WARN_BRIGHT_SHARE, Exposure
from perception_node.config import NO_GRIPPER
from perception_node.ros import drops as reasons
from perception_node.ros.drops import Rate
from perception_node.ros.inbox import Inbox
from perception_node.ros.transport import transport_fault, transport_words
from perception_node.ros.worker import Worker

OK, WARN, ERROR, STALE = 0, 1, 2, 3
"""Levels. Source: diagnostic_msgs/DiagnosticStatus."""

WARN_SHARE, ERROR_SHARE = 0.2, 0.5
"""Share of pictures that were superseded within the window above which it is a WARN, an ERROR.
Source: judgement; at half the camera's rate a tracker sees a package on a 1 m/s belt every 7 cm."""


_MILD = (reasons.UNPAIRED, reasons.OUT_OF_ORDER, reasons.LOST)
_CAMERAS_FAULTS = (reasons.NO_CALIBRATION, reasons.BAD_FRAME, reasons.BLIND, reasons.FROZEN, reasons.FROM_THE_FUTURE, *_MILD)


@dataclass
class Status:
    """One line of diagnostics; `hardware` = what it is about, "" = the node."""

    name: str
    level: int = OK
    words: str = ""
    values: dict[str, str] = field(default_factory=dict)
    hardware: str = ""

    def worsen(self, level: int, words: str) -> None:
        """Raise the level and say why; the worst comes first."""
        first = level > self.level
        if self.level == OK:
            self.words = words
        else:
            self.words = f"{words}; {self.words}" if first else f"{self.words}; {words}"
        self.level = max(self.level, level)


def transport_hint() -> str:
    """What to do about the middleware when large pictures get lost, "" = nothing."""
    return "; ".join(filter(None, transport_fault(os.environ)))


def summary(state: Status, others: Sequence[Status]) -> Status:
    """The node's own status with the worst of the others said in it: one line that tells whether to look at the rest."""
    for status in sorted(others, key=lambda other: -other.level):
        if status.level > OK:
            state.worsen(status.level, f"{status.name}: {status.words}")
    return state


def camera_status(inbox: Inbox, publishers: dict[str, int], topics: dict[str, str], exposure: Exposure | None = None,
                  doubts: Sequence[tuple[str, str]] = ()) -> Status:
    """Is the camera alive, complete and consistent, and does it see? `publishers` counts and `topics` names what it publishes, by
    colour, depth, info; `doubts` are the worker's."""
    node, colour, drops = inbox.config, inbox.colour_rate, inbox.drops
    status = Status("camera", words=f"{colour.hz():.1f} Hz")
    silent_s, interval_s = colour.silent_s(), colour.interval_s()
    if silent_s is None or silent_s > node.camera_timeout_s:
        if silent_s is not None:
            status.worsen(ERROR, f"no picture for {silent_s:.1f} s (camera_timeout_s {node.camera_timeout_s:g} s)")
        elif publishers["colour"] == 0:
            status.worsen(ERROR, f"no picture ever came: nobody publishes {topics['colour']}")
        else:
            hint = transport_hint() or "do their QoS fit (node.reliability), does the driver run?"
            status.worsen(ERROR, f"no picture ever came, though {topics['colour']} has {publishers['colour']} publisher(s): {hint}")
    elif interval_s is not None and interval_s > node.camera_timeout_s:
        status.worsen(WARN, f"pictures come only every {interval_s:.1f} s (camera_timeout_s {node.camera_timeout_s:g} s)")
    for kind, count in publishers.items():
        if count > 1 and kind in ("colour", "depth", "info"):
            status.worsen(WARN, f"{count} publishers on {topics[kind]}, expected one camera")
    recent = drops.recent()
    for reason in _CAMERAS_FAULTS:
        if recent[reason]:
            status.worsen(WARN if reason in _MILD else ERROR, f"{recent[reason]} frames dropped ({reason}): {drops.words(reason)}")
    depth_silent_s = inbox.depth_rate.silent_s()
    if node.depth != "off" and (depth_silent_s is None or depth_silent_s > node.camera_timeout_s):
        level = ERROR if node.depth == "required" else WARN
        since = "ever came" if depth_silent_s is None else f"for {depth_silent_s:.1f} s"
        status.worsen(level, f"no depth {since} on {topics['depth']} ({publishers['depth']} publisher(s))"
                      + ("" if level == ERROR else ": degraded mode"))
    elif inbox.skew_s is not None:
        status.worsen(WARN, "pictures without their depth" + inbox.skew_words())
    if exposure is not None and not exposure.fault() and exposure.bright > WARN_BRIGHT_SHARE:
        status.worsen(WARN, f"{exposure.bright:.0%} of the picture is blown out: shorten the exposure")
    for how, words in doubts:
        status.worsen(ERROR if how == "error" else WARN, words)
    status.values = {
        **{f"{name}_{key}": text for name, rate in (("colour", colour), ("depth", inbox.depth_rate), ("info", inbox.info_rate))
           for key, text in _rate_values(rate).items()},
        **({} if exposure is None else {"brightness": f"{exposure.mean:.3f}", "black_share": f"{exposure.dark:.3f}",
                                        "blown_out_share": f"{exposure.bright:.3f}"}),
        **{f"{name}_topic": topics[name] for name in ("colour", "depth", "info") if name in topics},
        "transport": transport_words(os.environ),
        "rmw": os.environ.get("RMW_IMPLEMENTATION", "default"),
    }
    return status


def pipeline_status(worker: Worker) -> Status:
    """Does it keep up, and how long does each stage take?"""
    pipeline, drops, recent = worker.pipeline, worker.drops, worker.drops.recent()
    status = Status("pipeline", words=f"{worker.results.hz():.1f} results/s")
    came = worker.inbox.colour_rate.count()
    late = recent[reasons.SUPERSEDED]
    share = late / max(came, late) if late else 0.0
    if share > WARN_SHARE:
        level = ERROR if share > ERROR_SHARE else WARN
        status.worsen(level, f"too slow: {share:.0%} of the pictures were superseded; lower the camera's rate or size")
    for reason in (reasons.TOO_OLD, reasons.FAILED):
        if recent[reason]:
            status.worsen(ERROR, f"{recent[reason]} frames dropped ({reason}): {drops.words(reason)}")
    age_s = worker.results.silent_s()
    status.values = {
        "model_id": pipeline.model_id, "runtime": pipeline.runtime, "device": pipeline.device,
        "results": str(worker.results.total), "results_hz": f"{worker.results.hz():.2f}",
        "last_result_age_s": "never" if age_s is None else f"{age_s:.3f}",
        "latency_s": "unknown" if worker.age_s is None else f"{worker.age_s:.4f}",
        **{f"{stage}_ms": f"{ms:.2f}" for stage, ms in worker.timing_ms.items()},
        **{f"dropped_{reason}": str(drops.total(reason)) for reason in reasons.REASONS},
        "resets": str(worker.resets), "last_reset": worker.last_reset, "belt_velocity": worker.belt.words,
    }
    if worker.belt.refused:
        status.worsen(WARN, f"belt velocity {worker.belt.words}")
    gripper = pipeline.config.gripper
    if not (gripper.suction.enabled or gripper.parallel_jaw.enabled):
        status.worsen(WARN, f"{NO_GRIPPER} (gripper.suction.enabled, gripper.parallel_jaw.enabled)")
    if worker.last is not None and worker.last[1].degraded:
        status.worsen(WARN, f"degraded: {worker.last[1].degraded}")
    return status


def _rate_values(rate: Rate) -> dict[str, str]:
    silent_s = rate.silent_s()
    silent = "never came" if silent_s is None else f"{silent_s:.3f}"
    return {"hz": f"{rate.hz():.2f}", "received": str(rate.total), "silent_s": silent}

"""What the doctor says: findings with a level, the check that they come from, words, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "note", "warn", "error"]

CHECKS: Mapping[str, str] = {
    "ros": "is ROS 2 there, a distribution or wheels, and which middleware",
    "messages": "are the interface packages built and can they be imported",
    "cv_bridge": "does cv_bridge load beside the installed NumPy",
    "transport": "do large pictures get through: Fast DDS's transports, discovery range, shared memory, pictures lost on the way",
    "domain": "which ROS domain; are others in it",
    "model": "is the model's file there, whole, its card's, and does it honour the contract",
    "gpu": "is a GPU to be seen where one is asked for",
    "config": "can the configuration be read",
    "belt": "is the belt's plane calibrated",
    "belt_velocity": "where a node's belt velocity comes from",
    "gripper": "is a gripper enabled, and which",
    "node": "does a perception node run, and is it active",
    "publishers": "does somebody publish each topic, and only one",
    "type": "is each topic of the expected type",
    "qos": "do the qualities of service fit",
    "rate": "do pictures come, often enough",
    "encoding": "can the encodings be read, is the data complete",
    "sizes": "have colour, depth and camera_info the same size",
    "frames": "have they the same frame_id, an optical one",
    "calibration": "is camera_info calibrated",
    "stamps": "are stamps set, and do colour and depth have the same",
    "clock": "do the stamps fit this machine's clock, or /clock",
    "depth_unit": "does depth's unit fit its encoding",
    "depth_holes": "has depth readings",
    "picture": "is the picture neither black nor blown out",
    "tf": "is there a transform tree for whoever uses the poses",
    "diagnostics": "do the node's diagnostics come, and what do they say",
}
"""Names of the checks and what each asks. A finding comes from exactly one of them."""


@dataclass(frozen=True)
class Finding:
    """One line: level, check (a key of `CHECKS`), what was found, and the remedy ("" = none is needed)."""

    level: Level
    check: str
    words: str
    remedy: str = ""

    def __post_init__(self) -> None:
        assert self.check in CHECKS, self.check
        assert self.remedy or self.level in ("ok", "note"), self.words
        assert "\n" not in self.words + self.remedy, self.words

    def line(self) -> str:
        """For people."""
        return f"{self.level.upper():<5}  {self.check:<11}  {self.words}" + (f" -> {self.remedy}" if self.remedy else "")


def ok(check: str, words: str) -> Finding:
    """All is well."""
    return Finding("ok", check, words)


def note(check: str, words: str) -> Finding:
    """Worth knowing, not wrong."""
    return Finding("note", check, words)


def warn(check: str, words: str, remedy: str) -> Finding:
    """It works, but less well than it could."""
    return Finding("warn", check, words, remedy)


def error(check: str, words: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding("error", check, words, remedy)


def as_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """For machines."""
    return [asdict(finding) for finding in findings]

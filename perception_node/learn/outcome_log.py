"""Logs of pick outcomes: one JSON object a line, appended by the node (`~/report_outcome`) or by `perception simulate-picks`."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_node.errors import DatasetError
from perception_node.grasp.score import TERMS
from perception_node.types import F64, GRASP_KINDS, GraspKind

SAYS_NOTHING = frozenset({"unreachable"})
"""Failures that are the arm's: they teach nothing about a grasp."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """N picks of one kind.

    Attributes:
        terms: (N,) values by name; terms that no line has are missing, and 0 in lines without them. success: (N,) bool.
        score: (N,) as proposed. scene: (N,) number of the scene; picks of one scene belong together. label: (N,) package in it.
        failures: (N,) kinds of failure, "" = success.
    """

    terms: Mapping[str, F64]
    success: NDArray[np.bool_]
    score: F64
    scene: NDArray[np.int64]
    label: NDArray[np.int64]
    failures: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.success)

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Outcomes:
        """Some of the picks."""
        places = np.arange(len(self))[chosen]
        return Outcomes({name: value[places] for name, value in self.terms.items()}, self.success[places], self.score[places],
                        self.scene[places], self.label[places], tuple(self.failures[k] for k in places.tolist()))


@dataclass(frozen=True, eq=False)
class Log:
    """What some files hold: picks by kind, a name for each scene number, each file's name, sha256 and lines, and how many lines
    were left out because they say nothing about a grasp (made without depth, or the arm could not get there)."""

    by_kind: Mapping[GraspKind, Outcomes]
    scenes: tuple[str, ...]
    files: tuple[Mapping[str, Any], ...]
    left_out: int


def read_logs(paths: Sequence[Path]) -> Log:
    """Read and check logs.

    Raises:
        DatasetError: a file is missing, or a line is not what it should be; the line's number is named.
    """
    numbers: dict[str, int] = {}
    rows: dict[GraspKind, list[dict[str, Any]]] = {kind: [] for kind in GRASP_KINDS}
    files, left_out = [], 0
    for path in paths:
        try:
            data = path.read_bytes()
            text = data.decode("utf-8")
        except OSError as error:
            raise DatasetError(f"{path}: expected a readable log: {error.strerror}") from None
        except UnicodeDecodeError:
            raise DatasetError(f"{path}: expected text (JSON lines), got other bytes") from None
        lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
        for number, line in lines:
            row = _checked(line, f"{path}:{number}")
            if row["degraded"] or row["failure"] in SAYS_NOTHING:
                left_out += 1
                continue
            row["scene"] = numbers.setdefault(f"{row.get('picture', '')}@{row['scene_stamp_ns']}", len(numbers))
            rows[row["kind"]].append(row)
        files.append({"name": path.name, "sha256": hashlib.sha256(data).hexdigest(), "lines": len(lines)})
    return Log({kind: _columns(kind, found) for kind, found in rows.items()}, tuple(numbers), tuple(files), left_out)


def _checked(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DatasetError(f"{where}: expected one JSON object: {error} (cut off by a crash? then delete that line)") from None
    expected = {"kind": str, "success": bool, "failure": str, "degraded": bool, "terms": dict, "score": (int, float),
                "scene_stamp_ns": int, "label": int}
    if not isinstance(row, dict):
        raise DatasetError(f"{where}: expected one JSON object, got {type(row).__name__}")
    for key, kind in expected.items():
        if key not in row or not isinstance(row[key], kind):  # type: ignore[arg-type]
            raise DatasetError(f"{where}: expected {key}, got {row.get(key)!r}")
    if row["kind"] not in GRASP_KINDS:
        raise DatasetError(f"{where}: expected kind {' or '.join(GRASP_KINDS)}, got {row['kind']!r}")
    for name, value in row["terms"].items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise DatasetError(f"{where}: expected a finite number for the term {name}, got {value!r}")
    return row


def _columns(kind: GraspKind, rows: Sequence[dict[str, Any]]) -> Outcomes:
    named = [name for name in TERMS[kind] if any(name in row["terms"] for row in rows)]
    return Outcomes(
        terms={name: np.array([float(row["terms"].get(name, 0.0)) for row in rows]) for name in named},
        success=np.array([row["success"] for row in rows], dtype=bool), score=np.array([float(row["score"]) for row in rows]),
        scene=np.array([row["scene"] for row in rows], dtype=np.int64),
        label=np.array([row["label"] for row in rows], dtype=np.int64),
        failures=tuple("" if row["success"] else row["failure"] or "other" for row in rows))

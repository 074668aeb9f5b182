"""Logs of pick outcomes: one JSON object a line, appended by the node (`~/report_outcome`) or by `perception simulate-picks`."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_node.errors import DatasetError, one_line
from perception_node.grasp.score import TERMS
from perception_node.types import F64, GRASP_KINDS, GraspKind

SAYS_NOTHING = frozenset({"unreachable"})
"""Failures that are the arm's: they teach nothing about a grasp."""

_LONGEST = 1 << 20
"""Bytes of a line. Source: the node's are below 4 KiB."""
_LARGEST = 1e9
"""No score and no term comes near it."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """N picks of one kind.

    Attributes:
        terms: (N,) values by name, of the terms that all lines have. success: (N,) bool.
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
    """What some files hold.

    Attributes:
        by_kind: the picks. scenes: a name for each scene number. files: each file's name, sha256 and lines. left_out: lines that
            say nothing about a grasp (made without depth, or the arm could not get there). repeated: lines that say what another
            one says: the same pick, reported again.
    """

    by_kind: Mapping[GraspKind, Outcomes]
    scenes: tuple[str, ...]
    files: tuple[Mapping[str, Any], ...]
    left_out: int
    repeated: int


@dataclass(eq=False)
class _Columns:
    """Picks of one kind as they are read, in arrays: a cell's log grows for years. `first`: where the first line was."""

    kind: GraspKind
    first: str = ""
    terms: dict[str, array[float]] = field(default_factory=dict)
    success: array[int] = field(default_factory=lambda: array("b"))
    score: array[float] = field(default_factory=lambda: array("d"))
    scene: array[int] = field(default_factory=lambda: array("q"))
    label: array[int] = field(default_factory=lambda: array("q"))
    failures: list[str] = field(default_factory=list)

    def add(self, row: Mapping[str, Any], scene: int, where: str) -> None:
        """One more. All must have the same terms: no value stands for one that an older version did not log."""
        found = row["terms"]
        if not self.first:
            self.first, self.terms = where, {name: array("d") for name in TERMS[self.kind] if name in found}
        lost = [name for name in self.terms if name not in found]
        new = [name for name in TERMS[self.kind] if name in found and name not in self.terms]
        if lost or new:
            names, place, other = (lost, where, self.first) if lost else (new, self.first, where)
            raise DatasetError(f"{place}: expected the {self.kind} terms that {other} has, {', '.join(names)} missing: logged by "
                               f"an older version? Fit the lines that have them alone: grep '\"{names[0]}\"' keeps these")
        for name, values in self.terms.items():
            values.append(float(found[name]))
        self.success.append(row["success"])
        self.score.append(float(row["score"]))
        self.scene.append(scene)
        self.label.append(row["label"])
        self.failures.append("" if row["success"] else row["failure"] or "other")

    def outcomes(self) -> Outcomes:
        """As they are used."""
        return Outcomes({name: np.array(values) for name, values in self.terms.items()}, np.array(self.success, dtype=bool),
                        np.array(self.score), np.array(self.scene), np.array(self.label), tuple(self.failures))


def read_logs(paths: Sequence[Path]) -> Log:
    """Read and check logs.

    Raises:
        DatasetError: a file is missing, a line is not what it should be, or picks of one kind have different terms; the line's
            number is named.
    """
    numbers: dict[str, int] = {}
    columns = {kind: _Columns(kind) for kind in GRASP_KINDS}
    seen: set[bytes] = set()
    files, left_out, repeated = [], 0, 0
    for path in paths:
        digest, count = hashlib.sha256(), 0
        for number, line in _lines(path):
            digest.update(line)
            if not line.strip():
                continue
            count += 1
            where = f"{path}:{number}"
            row = _checked(line, where)
            if row["degraded"] or row["failure"] in SAYS_NOTHING:
                left_out += 1
                continue
            same = identity(row)
            if same in seen:
                repeated += 1
                continue
            seen.add(same)
            scene = numbers.setdefault(f"{row.get('picture', '')}@{row['scene_stamp_ns']}", len(numbers))
            columns[row["kind"]].add(row, scene, where)
        files.append({"name": path.name, "sha256": digest.hexdigest(), "lines": count})
    return Log({kind: found.outcomes() for kind, found in columns.items()}, tuple(numbers), tuple(files), left_out, repeated)


def identity(row: Mapping[str, Any]) -> bytes:
    """What is the same for two lines that say the same of the same pick: everything but the time of the report."""
    said = json.dumps({key: value for key, value in row.items() if key != "stamp_ns"}, sort_keys=True)
    return hashlib.blake2b(said.encode(), digest_size=16).digest()


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, one at a time."""
    try:
        with path.open("rb") as log:
            number = 0
            while line := log.readline(_LONGEST):
                number += 1
                if len(line) == _LONGEST:
                    raise DatasetError(f"{path}:{number}: expected a line below {_LONGEST // 1024} KiB: is that a log of outcomes?")
                yield number, line
    except OSError as error:
        raise DatasetError(f"{path}: expected a readable log: {error.strerror}") from None


def _checked(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise DatasetError(f"{where}: expected text (JSON lines), got other bytes") from None
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: expected one JSON object: {one_line(error)} (cut off by a crash? then delete that "
                           "line)") from None
    expected = {"kind": str, "success": bool, "failure": str, "degraded": bool, "terms": dict, "score": (int, float),
                "scene_stamp_ns": int, "label": int}
    if not isinstance(row, dict):
        raise DatasetError(f"{where}: expected one JSON object, got {type(row).__name__}")
    for key, kind in expected.items():
        if key not in row or not isinstance(row[key], kind):  # type: ignore[arg-type]
            raise DatasetError(f"{where}: expected {key}, got {row.get(key)!r}")
    if row["kind"] not in GRASP_KINDS:
        raise DatasetError(f"{where}: expected kind {' or '.join(GRASP_KINDS)}, got {row['kind']!r}")
    if not 0 <= row["label"] <= 65535:
        raise DatasetError(f"{where}: expected a label of 0 to 65535, got {row['label']}")
    for name, value in (("score", row["score"]), *((f"term {name}", value) for name, value in row["terms"].items())):
        if type(value) not in (int, float) or not abs(value) < _LARGEST:  # NaN is not
            raise DatasetError(f"{where}: expected a finite number for the {name}, got {value!r}")
    return row

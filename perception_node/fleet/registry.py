"""The registry: a YAML file that names each cell's data by content, so that judging is repeatable and nothing is copied.

    format: 1
    champion: {model: models/universal.onnx, sha256: 5d1c...}      # the model that all cells run
    cells:
      north:
        tolerance: 0.01                                             # AP that a new model may lose here, 0..1
        sets:
          - {path: ../north/judge, split: judge, sha256: 9b0e..., licence: CC-BY-4.0, source: "2026-10, line 2", map: {carton: box}}
          - {path: ../north/train, split: train, sha256: 77aa..., licence: CC-BY-4.0, source: "2026-10, line 2"}
        replays:
          - {path: ../north/monday, golden: ../north/monday.golden.jsonl.gz, sha256: c0ff..., allowed: 0.1}
    promotions: []                                                  # written by `perception promote`

Paths start from the registry's folder.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from perception_node.errors import DatasetError, ModelError, one_line
from perception_node.files import put
from perception_node.learn.check import BAD, Report, check_dataset, find_leaks
from perception_node.learn.content import dataset_sha256
from perception_node.learn.dataset import IGNORE_CLASS
from perception_node.segment.weights import check_weights, default_weights, file_sha256
from perception_node.spread import Spread, gather
from perception_node.types import CLASS_NAMES

_ALONE = Spread()
FORMAT = 1
SPLITS = ("train", "judge")
TOLERANCE = 0.01
"""AP that a cell may lose at most, where its entry says nothing. Source: twice the spread over repetitions of one adaptation
(docs/results.md, "Adaptation")."""
ALLOWED = 0.1
"""Share of a golden replay's packages that may be lost, new or of another class or id, where the entry says nothing.
Source: judgement."""


@dataclass(frozen=True)
class DataSet:
    """One set of labelled pictures of a cell; `path` is absolute, `map` turns other names of classes into ours."""

    path: Path
    split: str
    sha256: str
    licence: str
    source: str
    map: Mapping[str, str]


@dataclass(frozen=True)
class Replay:
    """A recording and what the pipeline once made of it; `allowed`: share of packages that may change, 0..1."""

    path: Path
    golden: Path
    sha256: str
    allowed: float


@dataclass(frozen=True)
class Cell:
    """A cell's data, and what it may lose: `tolerance` in AP, 0..1."""

    name: str
    tolerance: float
    sets: tuple[DataSet, ...]
    replays: tuple[Replay, ...]


@dataclass(frozen=True)
class Registry:
    """A registry as read; `data` is the YAML mapping, `champion` the model's path (None = the shipped one)."""

    path: Path
    cells: tuple[Cell, ...]
    champion: Path | None
    champion_sha256: str
    data: Mapping[str, Any]

    def sets(self, split: str) -> Iterator[tuple[Cell, DataSet]]:
        """All sets of a split with their cells."""
        return ((cell, one) for cell in self.cells for one in cell.sets if one.split == split)


def read_registry(path: Path) -> Registry:
    """Read a registry; the files that it names are not looked at (`verify` does).

    Raises:
        DatasetError: missing, broken, or a field is missing, unknown or of the wrong kind.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetError(f"{path}: expected a registry, found none (`perception fleet add` starts one)") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DatasetError(f"{path}: expected a registry in YAML, cannot be read ({one_line(error)})") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise DatasetError(f"{path}: expected a registry of format {FORMAT}, got "
                           f"{data.get('format') if isinstance(data, dict) else type(data).__name__}")
    try:
        _only(data, {"format", "champion", "cells", "promotions"}, str(path))
        champion = data.get("champion") or {}
        _only(champion, {"model", "sha256"}, f"{path}: champion")
        cells = tuple(_cell(path, str(name), entry) for name, entry in (data.get("cells") or {}).items())
        model = path.parent / str(champion["model"]) if champion else None
        return Registry(path, cells, model, str(champion.get("sha256", "")), data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"{path}: a field is missing or of the wrong kind ({error!r})") from None


def _cell(path: Path, name: str, entry: Mapping[str, Any]) -> Cell:
    where = f"{path}: cell {name}"
    _only(entry, {"tolerance", "sets", "replays"}, where)
    tolerance = _share(entry.get("tolerance", TOLERANCE), f"{where}: tolerance")
    sets = []
    for row in entry.get("sets") or ():
        _only(row, {"path", "split", "sha256", "licence", "source", "map"}, where)
        if row["split"] not in SPLITS:
            raise DatasetError(f"{where}: expected split {' or '.join(SPLITS)}, got {row['split']!r}")
        mapping = {str(theirs): str(ours) for theirs, ours in (row.get("map") or {}).items()}
        for ours in mapping.values():
            if ours not in (*CLASS_NAMES, IGNORE_CLASS):
                raise DatasetError(f"{where}: map: expected {', '.join(CLASS_NAMES)} or {IGNORE_CLASS}, got {ours!r}")
        sets.append(DataSet(_place(path, row["path"]), str(row["split"]), str(row["sha256"]), str(row["licence"]),
                            str(row["source"]), mapping))
    replays = []
    for row in entry.get("replays") or ():
        _only(row, {"path", "golden", "sha256", "allowed"}, where)
        replays.append(Replay(_place(path, row["path"]), _place(path, row["golden"]), str(row["sha256"]),
                              _share(row.get("allowed", ALLOWED), f"{where}: allowed")))
    return Cell(name, tolerance, tuple(sets), tuple(replays))


def _place(path: Path, name: Any) -> Path:
    return Path(os.path.normpath(path.parent / str(name)))


def _only(row: Mapping[str, Any], known: set[str], where: str) -> None:
    if set(row) - known:
        raise DatasetError(f"{where}: expected the fields {', '.join(sorted(known))}, got {sorted(set(row) - known)[0]!r}")


def _share(value: Any, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise DatasetError(f"{where}: expected 0 to 1, got {value!r}")
    return float(value)


def champion_of(registry: Registry) -> Path:
    """The model that all cells run; the shipped one while the registry names none.

    Raises:
        ModelError: it is missing or was changed.
    """
    if registry.champion is None:
        return default_weights()
    found = check_weights(registry.champion)[1]
    if found != registry.champion_sha256:
        raise ModelError(f"champion {registry.champion}: expected sha256 {registry.champion_sha256[:8]}... as registered, got "
                         f"{found[:8]}...")
    return registry.champion


def look_at(one: DataSet, progress: bool = True) -> Report:
    """Check a registered set: all pictures usable, and the content that the registry names.

    Raises:
        DatasetError: missing, broken or changed.
    """
    report = look_at_new(one.path, one.map, progress)
    found = dataset_sha256(one.path, report.entries)
    if found != one.sha256:
        raise DatasetError(f"{one.path}: expected content {one.sha256[:8]}..., got {found[:8]}...: the set was changed; look at it "
                           "and register it again (`perception fleet add --again`)")
    return report


def look_at_new(path: Path, mapping: Mapping[str, str], progress: bool = True) -> Report:
    """Check a set that is not registered yet.

    Raises:
        DatasetError: missing, or a picture of it cannot be used.
    """
    report = check_dataset(path, mapping, progress)
    bad = [defect.words for defect in report.defects if defect.grade == BAD]
    if bad:
        raise DatasetError(f"{path}: expected usable pictures only, {len(bad)} defects, such as: {bad[0]}")
    if not report.packages:
        raise DatasetError(f"{path}: expected labelled packages, found none in {len(report.entries)} pictures")
    return report


def leaks(registry: Registry, reports: Mapping[Path, Report]) -> list[str]:
    """One line for each training picture, of any cell, that is nearly or exactly a judging picture of any cell."""
    (train, trains), (judge, judges) = (_joined(registry, reports, split) for split in SPLITS)
    return [f"{mine.rgb} (trains {trains[mine.rgb]}) is in the judging set of {judges[theirs.rgb]}, as {theirs.rgb}"
            for mine, theirs in find_leaks(train, judge)]


def _joined(registry: Registry, reports: Mapping[Path, Report], split: str) -> tuple[Report, dict[Path, str]]:
    """All pictures of a split as one report, and the cell of each: hundreds of sets are compared in one go."""
    whole, owners = Report(registry.path), {}
    for cell, one in registry.sets(split):
        report = reports[one.path]
        whole.entries += report.entries
        whole.hashes += report.hashes
        whole.thumbnails += report.thumbnails
        owners.update({entry.rgb: cell.name for entry in report.entries})
    return whole, owners


def verify(registry: Registry, progress: bool = True, how: Spread = _ALONE) -> dict[Path, Report]:
    """Look at everything that a registry names; returns the report of each set by its path.

    Args:
        registry: as read. progress: show a bar. how: where the sets are looked at.

    Raises:
        DatasetError: a set or golden replay is missing, broken or changed, or training pictures are in judging sets.
    """
    sets = [one for cell in registry.cells for one in cell.sets]
    found = gather(look_at, [(one, False) for one in sets], how, "look", "set", progress)
    reports = {one.path: report for one, report in zip(sets, found, strict=True)}
    leaking = leaks(registry, reports)
    if leaking:
        raise DatasetError(f"{registry.path}: {len(leaking)} training pictures are in judging sets: " + "; ".join(leaking[:5])
                           + (" ..." if len(leaking) > 5 else ""))
    for cell in registry.cells:
        for replay in cell.replays:
            check_golden(replay)
    return reports


def check_golden(replay: Replay) -> None:
    """Make sure that a golden replay is what was registered.

    Raises:
        DatasetError: missing or changed.
    """
    for file in (replay.path, replay.golden):
        if not file.exists():
            raise DatasetError(f"{file}: expected a recording and its golden replay, found none")
    digest = file_sha256(replay.golden)
    if digest != replay.sha256:
        raise DatasetError(f"{replay.golden}: expected sha256 {replay.sha256[:8]}..., got {digest[:8]}...: it was changed")


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a registry while it is changed. The lock ends with the process; its file goes when the work is done.

    Raises:
        DatasetError: another process holds it, or its folder cannot be written.
    """
    lock = path.with_name(f".{path.name}.lock")
    busy = f"{path}: another process is changing it; wait for that one to end"
    try:
        handle = lock.open("w")
    except OSError as error:
        raise DatasetError(f"{lock}: cannot be written ({error.strerror})") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(busy) from None
        except OSError as error:
            raise DatasetError(f"{path}: cannot be locked ({error.strerror})") from None
        if not _same_file(lock, handle.fileno()):
            raise DatasetError(busy)  # its holder ended and took it away between our opening and locking it
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def write_registry(path: Path, data: Mapping[str, Any]) -> None:
    """Write a registry aside, then rename it; errors as `put`."""
    put(path, yaml.safe_dump(dict(data), sort_keys=False, width=132, allow_unicode=True).encode())

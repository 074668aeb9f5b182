"""`perception fleet add|add-replay|check|paths|merge REGISTRY`: each cell's data by content, split, licence and source."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from perception_node.arguments import folder_to_write, some_words, zero_to_one
from perception_node.bag.results import read_results
from perception_node.bag.storage import Storage
from perception_node.errors import DatasetError, PerceptionError
from perception_node.fleet.registry import (
    ALLOWED,
    FORMAT,
    SPLITS,
    Registry,
    champion_of,
    held,
    leaks,
    look_at,
    look_at_new,
    read_registry,
    verify,
    write_registry,
)
from perception_node.learn.content import dataset_sha256
from perception_node.learn.merge import Merged, merge, parse_mapping
from perception_node.segment.weights import file_sha256
from perception_node.spread import Spread, add_spread_arguments
from perception_node.types import CLASS_NAMES


def add_set(path: Path, cell: str, dataset: Path, split: str, licence: str, source: str, mapping: dict[str, str],
            tolerance: float | None = None, again: bool = False, progress: bool = True) -> str:
    """Register a data set of a cell; registry and cell are made when they are new. Returns its content hash.

    Args:
        path: the registry. cell: name. dataset: folder or COCO file, which stays where it is. split: "train" or "judge".
        licence, source: for people. mapping: other names of classes to ours. tolerance: AP that the cell may lose, 0..1,
            None = as it was. again: take the new content of a set that is registered already. progress: show bars.

    Raises:
        DatasetError: the set has defects or is registered already, or pictures of it are in sets of the other split.
    """
    report = look_at_new(dataset, mapping, progress)
    digest = dataset_sha256(dataset, report.entries)
    with held(path):
        data = _start(path)
        entry = data["cells"].setdefault(cell, {})
        if tolerance is not None:
            entry["tolerance"] = tolerance
        place = _relative(path, dataset)
        rows = entry.setdefault("sets", [])
        known = [row for row in rows if row["path"] == place]
        if bool(known) != again:
            raise DatasetError(f"{dataset}: expected a set that is {'' if again else 'not '}registered for {cell}, it is"
                               f"{' not' if again else ' (--again takes its new content)'}")
        row: dict[str, Any] = {"path": place, "split": split, "sha256": digest, "licence": licence, "source": source}
        if mapping:
            row["map"] = mapping
        rows[:] = [old for old in rows if old["path"] != place] + [row]
        registry = _parsed(path, data)
        reports = {one.path: report if one.path == _absolute(path, place) else look_at(one, progress)
                   for other in registry.cells for one in other.sets}
        found = leaks(registry, reports)
        if found:
            raise DatasetError(f"{dataset}: {len(found)} training pictures are in judging sets: " + "; ".join(found[:5])
                               + (" ..." if len(found) > 5 else ""))
        write_registry(path, data)
    return digest


def add_replay(path: Path, cell: str, recording: Path, golden: Path, allowed: float = ALLOWED) -> None:
    """Register a recording of a cell and its golden replay.

    Raises:
        DatasetError: one of them is missing or cannot be read.
    """
    Storage(recording).close()
    if next(iter(read_results(golden)), None) is None:
        raise DatasetError(f"{golden}: expected the results of a replay (`perception replay --golden`), got none")
    with held(path):
        data = _start(path)
        rows = data["cells"].setdefault(cell, {}).setdefault("replays", [])
        place = _relative(path, recording)
        rows[:] = [row for row in rows if row["path"] != place]
        rows.append({"path": place, "golden": _relative(path, golden), "sha256": file_sha256(golden), "allowed": allowed})
        _parsed(path, data)
        write_registry(path, data)


def merge_train(path: Path, out: Path, progress: bool = True) -> Merged:
    """Join all registered training sets into one to learn from, with the class names that were registered for each.

    Raises:
        DatasetError: something that is registered is missing, broken or changed, two sets mean different classes by one name, `out`
            exists. PerceptionError: the disk is full.
    """
    registry = read_registry(path)
    sets = [one for _, one in registry.sets("train")]
    if not sets:
        raise DatasetError(f"{path}: expected a training set at least, found none in {len(registry.cells)} cells")
    mapping: dict[str, str] = {}
    for one in sets:
        mapping.update(one.map)
    for one in sets:
        for theirs, ours in mapping.items():
            mine = one.map.get(theirs, theirs if theirs in CLASS_NAMES else ours)  # who does not map it does not have it
            if mine != ours:
                raise DatasetError(f"{path}: expected one meaning of the class {theirs!r} in all training sets, got {ours} and, in "
                                   f"{one.path}, {mine}")
    verify(registry, progress)
    return merge([one.path for one in sets], out, mapping, progress=progress)


def _start(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = dict(read_registry(path).data) if path.exists() else {"format": FORMAT}
    data["cells"] = dict(data.get("cells") or {})
    return data


def _parsed(path: Path, data: dict[str, Any]) -> Registry:
    """A registry as it would be read once written: checks what is about to be written."""
    trial = path.with_name(f".{path.name}.{os.getpid()}.trial")
    try:
        write_registry(trial, data)
        return read_registry(trial)
    finally:
        trial.unlink(missing_ok=True)


def _relative(path: Path, other: Path) -> str:
    return os.path.relpath(other.resolve(), path.parent.resolve())


def _absolute(path: Path, place: str) -> Path:
    return Path(os.path.normpath(path.parent / place))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `perception fleet`."""
    parts = parser.add_subparsers(dest="part", required=True, metavar="add|add-replay|check|paths|merge")
    add = parts.add_parser("add", help="register a labelled data set of a cell, after looking at every picture")
    replays = parts.add_parser("add-replay", help="register a recording and its golden replay (`perception replay --golden`)")
    check = parts.add_parser("check", help="look at everything that is registered: whole, unchanged, no leaks; exit 2 when not")
    paths = parts.add_parser("paths", help="print the folders of a split, such as those to train on")
    whole = parts.add_parser("merge", help="join all training sets into one, with the class names registered for each")
    for part in (add, replays, check, paths, whole):
        part.add_argument("registry", type=Path, metavar="REGISTRY", help="YAML file; `add` makes it")
    for part in (add, replays):
        part.add_argument("cell", type=some_words, metavar="CELL", help="name of the cell")
    add.add_argument("dataset", type=Path, metavar="DATASET", help="folder (annotations.json or LabelMe files) or COCO file")
    for part in (add, paths):
        part.add_argument("--split", choices=SPLITS, required=True, help="what the pictures are for")
    add.add_argument("--licence", type=some_words, required=True, help="of the pictures, such as CC-BY-4.0 or proprietary")
    add.add_argument("--source", type=some_words, required=True, help="when, where and by whom")
    add.add_argument("--map", nargs="+", default=[], metavar="THEIRS=OURS", help="other names of classes")
    add.add_argument("--tolerance", type=zero_to_one, help="AP (0..1) that a new model may lose in this cell (default: 0.01)")
    add.add_argument("--again", action="store_true", help="the set is registered already and has changed")
    whole.add_argument("--out", type=folder_to_write, required=True, metavar="DIR", help="folder to make")
    add_spread_arguments(check, "sets")
    replays.add_argument("recording", type=Path, metavar="BAG", help="the recording")
    replays.add_argument("golden", type=Path, metavar="GOLDEN", help="results.jsonl or .jsonl.gz")
    replays.add_argument("--allowed", type=zero_to_one, default=ALLOWED,
                         help="share of packages that may be lost, new or of another class or id (0..1, default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run one part; exit status 0, or 2 for bad input."""
    try:
        if args.part == "add":
            digest = add_set(args.registry, args.cell, args.dataset, args.split, args.licence, args.source, parse_mapping(args.map),
                             args.tolerance, args.again)
            print(f"{args.cell}: {args.dataset} is registered to {args.split}, content {digest[:8]}")
        elif args.part == "add-replay":
            add_replay(args.registry, args.cell, args.recording, args.golden, args.allowed)
            print(f"{args.cell}: {args.recording} is registered")
        elif args.part == "check":
            registry = read_registry(args.registry)
            reports = verify(registry, how=Spread(args.processes, args.over))
            for cell in registry.cells:
                pictures = dict.fromkeys(SPLITS, 0)
                for one in cell.sets:
                    pictures[one.split] += len(reports[one.path].entries)
                print(f"{cell.name}: {pictures['train']} pictures to train, {pictures['judge']} to judge, "
                      f"{len(cell.replays)} replays; may lose {100 * cell.tolerance:g} AP")
            print(f"champion: {champion_of(registry)}")
            print(f"{args.registry}: {len(registry.cells)} cells, all whole, unchanged and without leaks")
        elif args.part == "merge":
            merged = merge_train(args.registry, args.out)
            for line in (*merged.broken, *merged.duplicates):
                print(f"left out: {line}")
            packages = sum(merged.packages.values())
            print(f"{args.out}: {merged.pictures} pictures, {packages} packages from {len(merged.from_set)} sets")
        else:
            for _, one in read_registry(args.registry).sets(args.split):
                print(one.path)
        return 0
    except (PerceptionError, OSError) as error:
        print(f"fleet {args.part}: {error}", file=sys.stderr)
        return 2

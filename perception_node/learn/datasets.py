"""`perception dataset check|merge|diff`: labelled pictures of several teams, looked at, joined, compared."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perception_node.arguments import file_to_write, folder_to_write, zero_to_one
from perception_node.errors import DatasetError, PerceptionError
from perception_node.files import put_json
from perception_node.learn.check import BAD, KINDS, Defect, check_dataset, find_leaks
from perception_node.learn.corrections import GOOD_IOU, Corrections, count_corrections
from perception_node.learn.dataset import load_sample, read_dataset
from perception_node.learn.judge import compare
from perception_node.learn.merge import merge, parse_mapping
from perception_node.types import CLASS_NAMES, Instance, Segmentation


def diff(before: Path, after: Path, good_iou: float = GOOD_IOU) -> tuple[Corrections, dict[str, dict[str, Any]], list[str]]:
    """What was changed between two data sets of the same pictures (by name), such as proposals and corrected masks.

    Args:
        before, after: folders or COCO files. good_iou: outlines at least as near count as unchanged, 0.5..1.

    Returns:
        The sum of the changes; those of each picture that was changed; names of pictures that are in one set only.

    Raises:
        DatasetError: a set is broken, or they have no picture in common.
    """
    old = {entry.name: entry for entry in read_dataset(before)}
    new = {entry.name: entry for entry in read_dataset(after)}
    common = [name for name in new if name in old]
    if not common:
        raise DatasetError(f"{after}: expected pictures of {before}, found none of the same name")
    total, changed = Corrections(), {}
    for name in common:
        a, b = load_sample(old[name], False), load_sample(new[name], False)
        if a.labels.shape != b.labels.shape:
            raise DatasetError(f"{new[name].rgb}: expected {a.labels.shape[1]}x{a.labels.shape[0]} as before, got "
                               f"{b.labels.shape[1]}x{b.labels.shape[0]}")
        order = [i for i in a.class_ids if (a.labels == i).any()]
        proposed = Segmentation(_renumber(a.labels, order), tuple(
            Instance(k, CLASS_NAMES[a.class_ids[i] - 1], 1.0, (0, 0, 1, 1), 1) for k, i in enumerate(order, 1)))
        verdict = compare(name, b.labels, b.class_ids, b.visible, proposed)
        one = count_corrections(verdict.iou, verdict.true_class.tolist(), verdict.class_ids.tolist(), good_iou)
        total += one
        if one.total:
            changed[name] = one.to_json()
    return total, changed, sorted(set(old) ^ set(new))


def _renumber(labels: Any, order: list[int]) -> Any:
    import numpy as np

    lookup = np.zeros(65536, np.uint16)
    lookup[order] = np.arange(1, len(order) + 1)
    return lookup[labels]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `perception dataset`."""
    parts = parser.add_subparsers(dest="part", required=True, metavar="check|merge|diff")
    forms = "folder (annotations.json or LabelMe files) or COCO file"
    check = parts.add_parser("check", help="name every defect of a data set; exit 1 when there are some, 2 when it is unusable")
    check.add_argument("dataset", type=Path, metavar="DATASET", help=forms)
    check.add_argument("--except", dest="leave_out", nargs="+", choices=KINDS, default=[], metavar="KIND",
                       help=f"kinds of defects to pass over: {', '.join(KINDS)}")
    join = parts.add_parser("merge", help="join data sets: classes mapped, duplicates and broken files left out and named")
    join.add_argument("datasets", nargs="+", type=Path, metavar="DATASET", help=forms)
    join.add_argument("--out", type=folder_to_write, required=True, metavar="DIR", help="folder to make")
    join.add_argument("--drop-leaks", action="store_true", help="leave out pictures of judging sets instead of refusing")
    for part in (check, join):
        part.add_argument("--map", nargs="+", default=[], metavar="THEIRS=OURS",
                          help="other names of classes, to box, padded_mailer, poly_bag, item or ignore (does not train or judge)")
        part.add_argument("--judging", nargs="+", type=Path, default=[], metavar="DATASET",
                          help="sets that must not share a picture with it, nearly or exactly")
    changes = parts.add_parser("diff", help="what an annotator changed, and the share of packages that needed no correction")
    changes.add_argument("before", type=Path, metavar="PROPOSAL", help=forms)
    changes.add_argument("after", type=Path, metavar="CORRECTED", help=forms + " with the same names of pictures")
    changes.add_argument("--iou", type=zero_to_one, default=GOOD_IOU, help="outlines at least as near count as unchanged, 0.5 to 1 "
                         "(default: %(default)s)")
    for part in (check, join, changes):
        part.add_argument("--json", type=file_to_write, help="write everything to this file")


def run(args: argparse.Namespace) -> int:
    """Run one part; exit status 0, 1 when something was found or left out (not by diff), 2 for bad input."""
    try:
        return {"check": _check, "merge": _merge, "diff": _diff}[args.part](args)
    except (PerceptionError, OSError) as error:
        print(f"dataset {args.part}: {error}", file=sys.stderr)
        return 2


def _check(args: argparse.Namespace) -> int:
    mapping = parse_mapping(args.map)
    report = check_dataset(args.dataset, mapping)
    defects = [d for d in report.defects if d.kind not in args.leave_out]
    for path in args.judging:
        for mine, other in find_leaks(report, check_dataset(path, mapping)):
            defects.append(Defect(BAD, "leak", mine.name, f"{mine.rgb}: is in the judging set, as {other.rgb}"))
    for defect in defects:
        print(f"{defect.kind}: {defect.words}")
    print(f"{args.dataset}: {len(report.entries)} of {report.pictures} pictures usable, {_count(report.packages, 'packages')}, "
          f"{_count(Counter(defect.kind for defect in defects), 'defects')}")
    if args.json:
        put_json(args.json, {"pictures": report.pictures, "usable": len(report.entries), "packages": report.packages,
                             "defects": [defect.__dict__ for defect in defects]})
    if not report.entries:
        first = next((d.words for d in report.defects if d.grade == BAD), "")
        raise DatasetError(f"{args.dataset}: expected one usable picture at least, found none ({first})")
    if not report.packages:
        raise DatasetError(f"{args.dataset}: expected labelled packages, found none in {len(report.entries)} pictures")
    return 1 if defects else 0


def _count(kinds: Mapping[str, int], words: str) -> str:
    """Such as "5 packages (3 box, 2 poly_bag)"."""
    parts = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    return f"{sum(kinds.values())} {words}" + (f" ({parts})" if parts else "")


def _merge(args: argparse.Namespace) -> int:
    done = merge(args.datasets, args.out, parse_mapping(args.map), args.judging, args.drop_leaks)
    for kind, lines in (("broken", done.broken), ("duplicate", done.duplicates), ("leak", done.leaks)):
        for line in lines:
            print(f"left out, {kind}: {line}")
    print(f"{args.out}: {done.pictures} pictures, {_count(done.packages, 'packages')}; left out: {len(done.broken)} broken, "
          f"{len(done.duplicates)} duplicates, {len(done.leaks)} leaks")
    if args.json:
        put_json(args.json, done.__dict__)
    return 1 if done.broken else 0


def _diff(args: argparse.Namespace) -> int:
    if not 0.5 <= args.iou <= 1:
        raise DatasetError(f"--iou: expected 0.5 to 1, got {args.iou:g}")
    total, changed, alone = diff(args.before, args.after, args.iou)
    figures = total.to_json()
    print(f"{total.pictures} pictures, {total.packages} packages: {figures['untouched_share']:.1%} needed no correction, "
          f"{figures['corrections_per_picture']:.2f} corrections per picture\n"
          f"reshaped {total.reshaped}, reclassified {total.reclassified}, both {total.both}, added {total.added}, "
          f"removed {total.removed}; {len(changed)} pictures changed, {len(alone)} in one set only")
    if args.json:
        put_json(args.json, {**figures, "good_iou": args.iou, "changed": changed, "in_one_set_only": alone})
    return 0

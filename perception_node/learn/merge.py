"""Join the data sets of several teams into one: one numbering, one set of classes, no picture twice, none of a judging set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from perception_node.errors import DatasetError
from perception_node.files import folder_aside, put_copy, put_json, put_png
from perception_node.learn.check import BAD, DEPTH, Report, check_dataset, find_leaks
from perception_node.learn.coco import annotate, document
from perception_node.learn.dataset import ANNOTATIONS, IGNORE, IGNORE_CLASS, Entry, draw_labels, read_labels
from perception_node.learn.near import near_pairs
from perception_node.types import CLASS_NAMES


@dataclass
class Merged:
    """What `merge` did: pictures and packages written, and one line for each picture (or depth picture) left out."""

    pictures: int = 0
    packages: dict[str, int] = field(default_factory=dict)
    from_set: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)


def parse_mapping(pairs: Sequence[str]) -> dict[str, str]:
    """Read `theirs=ours` pairs; ours is a class of this software or "ignore".

    Raises:
        DatasetError: no pair, or another class.
    """
    out = {}
    for pair in pairs:
        theirs, equals, ours = pair.partition("=")
        if not equals or not theirs or ours not in (*CLASS_NAMES, IGNORE_CLASS):
            names = ", ".join((*CLASS_NAMES, IGNORE_CLASS))
            raise DatasetError(f"--map: expected THEIRS=OURS with OURS among {names}, got {pair!r}")
        out[theirs] = ours
    return out


def merge(paths: Sequence[Path], out: Path, mapping: Mapping[str, str], judging: Sequence[Path] = (), drop_leaks: bool = False,
          progress: bool = True) -> Merged:
    """Join data sets; the first of equal pictures is kept.

    Args:
        paths: the sets. out: folder to make. mapping: other names of classes. judging: sets that no picture may be in, nearly
            or exactly. drop_leaks: leave such pictures out instead of refusing. progress: show bars.

    Returns:
        What was done. Pictures with defects are left out, each with a line; broken depth leaves out the depth only.

    Raises:
        DatasetError: `out` exists, a set is unusable or has classes that are not mapped, a picture is in a judging set, nothing is
            left. PerceptionError: the disk is full. Nothing is written then.
    """
    if out.exists():
        raise DatasetError(f"{out}: expected a new folder, it is there already")
    done = Merged()
    reports = [check_dataset(path, mapping, progress) for path in paths]
    unknown = [d.words for report in reports for d in report.defects if d.kind == "class" and not d.picture]
    if unknown:
        raise DatasetError(unknown[0] + (f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""))
    done.broken = [d.words for report in reports for d in report.defects if d.grade in (BAD, DEPTH)]
    chosen = _without_duplicates(reports, done)
    chosen = _without_leaks(chosen, reports, [check_dataset(path, mapping, progress) for path in judging], drop_leaks, done)
    if not chosen:
        raise DatasetError(f"{out}: expected one usable picture at least, found none in {len(paths)} sets")
    with folder_aside(out) as part:
        _write(chosen, reports, part, mapping, done, progress)
    return done


def _without_duplicates(reports: Sequence[Report], done: Merged) -> list[tuple[int, int]]:
    """(set, picture) indices without those that came before."""
    places = [(s, i) for s, report in enumerate(reports) for i in range(len(report.entries))]
    thumbnails = [reports[s].thumbnails[i] for s, i in places]
    first: dict[str, int] = {}
    dropped: dict[int, int] = {}
    for k, (s, i) in enumerate(places):
        before = first.setdefault(reports[s].hashes[i], k)
        if before != k:
            dropped[k] = before
    for a, b in sorted(near_pairs(thumbnails)):
        if a not in dropped:
            dropped.setdefault(b, a)
    for k, before in sorted(dropped.items()):
        mine, other = (reports[s].entries[i] for s, i in (places[k], places[before]))
        words = ", but its labels differ" if _counts(mine) != _counts(other) else ""
        done.duplicates.append(f"{mine.rgb}: the same picture as {other.rgb}{words}")
    return [place for k, place in enumerate(places) if k not in dropped]


def _counts(entry: Entry) -> list[int]:
    return sorted(c for _, c, _ in entry.instances)


def _without_leaks(chosen: list[tuple[int, int]], reports: Sequence[Report], judging: Sequence[Report], drop: bool,
                   done: Merged) -> list[tuple[int, int]]:
    bad: set[Path] = set()
    for report in reports:
        for judge in judging:
            for mine, other in find_leaks(report, judge):
                if mine.rgb not in bad:
                    done.leaks.append(f"{mine.rgb}: is in the judging set, as {other.rgb}")
                bad.add(mine.rgb)
    if bad and not drop:
        raise DatasetError(f"{len(bad)} pictures are in a judging set (see --drop-leaks): " + "; ".join(done.leaks[:5])
                           + (" ..." if len(done.leaks) > 5 else ""))
    return [(s, i) for s, i in chosen if reports[s].entries[i].rgb not in bad]


def _write(chosen: Sequence[tuple[int, int]], reports: Sequence[Report], root: Path, mapping: Mapping[str, str], done: Merged,
           progress: bool) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (s, i) in enumerate(tqdm(chosen, desc="merge", unit="picture", disable=not progress, leave=False), 1):
        entry, name = reports[s].entries[i], f"{number:06d}"
        picture = cv2.imread(str(entry.rgb), cv2.IMREAD_COLOR)
        if picture is None:
            raise DatasetError(f"{entry.rgb}: expected a JPEG or PNG picture, cannot be decoded")
        size = picture.shape[:2]
        labels = read_labels(entry, size) if entry.labels else draw_labels(entry, size)
        files = {"rgb": entry.rgb, "depth": entry.depth, "meta": entry.meta}
        for folder, source in files.items():
            if source is not None:
                put_copy(source, root / folder / f"{name}{source.suffix.lower()}")
        put_png(root / "labels" / f"{name}.png", labels)
        visible = {k: {"visible_fraction": v} for k, _, v in entry.instances}
        found = annotate(labels, {k: c for k, c, _ in entry.instances}, visible, exact=True)
        annotations += [{"image_id": number, **annotation} for annotation in found]
        images.append({"id": number, "file_name": f"rgb/{name}{entry.rgb.suffix.lower()}", "width": size[1], "height": size[0],
                       "source": f"{reports[s].path.name}/{entry.rgb.name}", "sha256": reports[s].hashes[i]})
        done.pictures += 1
        done.from_set[str(reports[s].path)] = done.from_set.get(str(reports[s].path), 0) + 1
        for annotation in found:
            kind = CLASS_NAMES[annotation["category_id"] - 1]
            done.packages[kind] = done.packages.get(kind, 0) + 1
    put_json(root / ANNOTATIONS, document(images, annotations, description=f"merged from {len(reports)} sets",
                                          classes_mapped=dict(mapping), ignore_label=IGNORE))

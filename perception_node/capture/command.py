"""`perception capture list|stats|export FOLDER`: what a cell kept. The node may go on writing meanwhile. `take`: of a recording."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from perception_node.arguments import file_to_write, folder_to_write, one_or_more
from perception_node.bag.calibration import camera_argument
from perception_node.bag.reader import Recording
from perception_node.capture import files
from perception_node.capture.export import MIRROR_MIN_SCORE, export, load_segmenter
from perception_node.capture.reading import read_all, reason_of
from perception_node.capture.rules import USEFULNESS
from perception_node.capture.take import take
from perception_node.config import load
from perception_node.errors import ConfigError, PerceptionError
from perception_node.files import put_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `perception capture`."""
    parts = parser.add_subparsers(dest="part", required=True, metavar="list|stats|export|take")
    show = parts.add_parser("list", help="one line a frame: number, time (UTC), reason, packages, model, why")
    count = parts.add_parser("stats", help="frames by reason, day, class and model, and what they take of the disk")
    make = parts.add_parser("export", help="make a data set of frames, labelled by the node; broken frames are named and left out")
    pick = parts.add_parser("take", help="take pictures out of a recording, spread evenly over it, for `perception prelabel`")
    for part in (show, count, make):
        part.add_argument("folder", type=Path, metavar="FOLDER", help="of the kept frames, or node.output_dir above it")
        part.add_argument("--reason", nargs="+", choices=tuple(USEFULNESS), default=[], metavar="REASON",
                          help=f"only frames kept for these: {', '.join(USEFULNESS)}")
        part.add_argument("--json", type=file_to_write, metavar="OUT", help="write everything to this file")
    make.add_argument("--out", type=folder_to_write, required=True, metavar="DIR", help="folder to make")
    make.add_argument("--mirrored", type=float, metavar="BELOW", help="only frames whose masks agree less than this with those of "
                      f"their mirror image, 0..1 (panoptic quality over packages from a score of {MIRROR_MIN_SCORE})")
    make.add_argument("--model", type=Path, help="for --mirrored: .onnx file (default: the universal model)")
    make.add_argument("--runtime", default="auto", choices=("auto", "openvino", "onnxruntime", "torch"), help="what runs it")
    pick.add_argument("recording", type=Path, metavar="BAG", help="rosbag2 folder, .mcap or .db3 file")
    pick.add_argument("--out", type=folder_to_write, required=True, metavar="DIR", help="folder to make: rgb/, depth/, meta/")
    pick.add_argument("--pictures", type=one_or_more, default=20, metavar="N", help="how many (default: %(default)s)")
    pick.add_argument("--config", type=Path, metavar="YAML", help="cell.yaml: its belt.plane is written with each picture")
    for name in ("colour", "depth", "camera-info"):
        pick.add_argument(f"--{name}-topic", metavar="TOPIC", help="default: found by type and name")
    pick.add_argument("--camera", default="", metavar="FX,FY,CX,CY|YAML", help="calibration in px, in place of the recorded one")
    pick.add_argument("--no-depth", action="store_true", help="colour only")


def run(args: argparse.Namespace) -> int:
    """Run one part; exit status 0, 1 when frames are broken, 2 for bad input."""
    try:
        if args.part == "take":
            return _take(args)
        folder = _store(args.folder)
        return {"list": _list, "stats": _stats, "export": _export}[args.part](folder, args)
    except BrokenPipeError:  # `| head` has what it wanted; the command line sees to it
        raise
    except (PerceptionError, OSError) as error:
        print(f"capture {args.part}: {error}", file=sys.stderr)
        return 2


def _take(args: argparse.Namespace) -> int:
    plane = load(args.config).belt.plane if args.config else ()
    camera = camera_argument(args.camera) if args.camera else None
    with Recording(args.recording, colour=args.colour_topic, depth=args.depth_topic, camera_info=args.camera_info_topic,
                   camera=camera, use_depth=not args.no_depth) as recording:
        count = take(recording, args.recording.resolve().stem, args.out, args.pictures, plane)
        depths = len(list((args.out / "depth").glob("*")))
        print(f"{args.out}: {count} of {recording.span.frames} pictures, {depths} with depth, from {recording.topics.colour}")
    return 0


def _store(folder: Path) -> Path:
    """The frames' folder, given it, the node's own, or `node.output_dir` when one node only kept frames there.

    Raises:
        ConfigError: several did.
    """
    for pattern in ("meta", "capture/meta", "*/capture/meta"):
        found = sorted(path.parent for path in folder.glob(pattern) if path.is_dir())
        if len(found) > 1:
            raise ConfigError(f"{folder}: expected the frames of one node, found {', '.join(map(str, found))}"[:300])
        if found:
            return found[0]
    return folder


def _rows(folder: Path, args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """What is known of each frame, and a line for each broken one."""
    broken: list[str] = []
    rows = []
    for number, meta in read_all(folder, broken):
        if not args.reason or reason_of(meta) in args.reason:
            classes = Counter(str(i.get("class")) for i in meta["instances"] if isinstance(i, dict))
            rows.append({"number": number, "time": _time(int(meta["stamp_ns"])), "reason": reason_of(meta),
                         "packages": dict(sorted(classes.items())), "model_id": str(meta.get("model_id", "unknown")),
                         "why": str(meta.get("note", "")), "bytes": files.size_of(folder, number)})
    return rows, broken


def _time(stamp_ns: int) -> str:
    try:
        return datetime.fromtimestamp(stamp_ns * 1e-9, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # a clock that was never set
        return f"{stamp_ns} ns"


def _list(folder: Path, args: argparse.Namespace) -> int:
    rows, broken = _rows(folder, args)
    for row in rows:
        print(f"{row['number']:04d}  {row['time']}  {row['reason']:<14}  {sum(row['packages'].values()):>3}  {row['model_id']}  "
              f"{' '.join(row['why'].split())}")
    return _end(args, {"frames": rows}, broken)


def _stats(folder: Path, args: argparse.Namespace) -> int:
    rows, broken = _rows(folder, args)
    size = sum(row["bytes"] for row in rows)
    figures: dict[str, Any] = {
        "frames": len(rows), "bytes": size, "reasons": _count(row["reason"] for row in rows),
        "days": _count(row["time"].split()[0] for row in rows), "models": _count(row["model_id"] for row in rows),
        "packages": dict(sorted(sum((Counter(row["packages"]) for row in rows), Counter()).items()))}
    print(f"{folder}: {len(rows)} frames, {1e-6 * size:.1f} MB" + (f" ({1e-6 * size / len(rows):.2f} MB each)" if rows else ""))
    for name in ("reasons", "packages", "models", "days"):
        print(f"{name}: " + (", ".join(f"{count} {what}" for what, count in figures[name].items()) or "none"))
    return _end(args, figures, broken)


def _count(values: Any) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _export(folder: Path, args: argparse.Namespace) -> int:
    if args.mirrored is not None and not 0 < args.mirrored <= 1:
        raise ConfigError(f"--mirrored: expected more than 0 and at most 1, got {args.mirrored:g}")
    segmenter = load_segmenter(args.model, args.runtime) if args.mirrored is not None else None
    done = export(folder, args.out, args.reason, segmenter, 1.0 if args.mirrored is None else args.mirrored)
    words = f", {len(done.agreeing)} agree with their mirror images" if segmenter is not None else ""
    print(f"{args.out}: {done.pictures} pictures with {done.packages} packages, labelled by the node, unchecked{words}")
    return _end(args, {**done.__dict__, "broken": list(done.broken)}, list(done.broken))


def _end(args: argparse.Namespace, figures: dict[str, Any], broken: list[str]) -> int:
    for line in broken:
        print(f"capture {args.part}: broken frame: {line}", file=sys.stderr)
    if args.json:
        put_json(args.json, {**figures, "broken": broken})
    return 1 if broken else 0

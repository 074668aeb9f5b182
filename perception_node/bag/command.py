"""`perception replay BAG --out DIR`: a recording through the pipeline, frame by frame and repeatably, without ROS."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from perception_node import config as configuration
from perception_node.arguments import file_to_write, folder_to_write, not_negative, one_or_more, zero_to_one
from perception_node.bag.compare import Comparison, Tolerances, compare
from perception_node.bag.film import draw_change
from perception_node.bag.many import names_of, recordings_below, replay_many
from perception_node.bag.results import labels_of_line, read_results, write_golden
from perception_node.bag.run import Settings, open_recording, replay_one
from perception_node.bag.summary import text
from perception_node.errors import ConfigError, DatasetError, PerceptionError
from perception_node.files import put, put_json, put_png
from perception_node.spread import add_spread_arguments

MAX_DRAWN = 50
"""Changed frames that are drawn at most."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("recording", nargs="?", type=Path, metavar="BAG", help="rosbag2 folder, .mcap or .db3 file")
    parser.add_argument("--many", type=Path, metavar="FOLDER", help="replay all recordings of a folder, each into OUT/NAME")
    parser.add_argument("--out", type=folder_to_write, required=True, metavar="DIR", help="folder for the results; it must be new")
    parser.add_argument("--replace", action="store_true", help="overwrite an older replay in DIR")
    parser.add_argument("--config", type=Path, metavar="YAML", help="cell.yaml, a gripper.yaml beside it (default: the defaults)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter, as segment.threads=1")
    parser.add_argument("--colour-topic", metavar="TOPIC", help="Image or CompressedImage (default: found by type and name)")
    parser.add_argument("--depth-topic", metavar="TOPIC", help="depth, aligned to the colour picture (default: found)")
    parser.add_argument("--camera-info-topic", metavar="TOPIC", help="calibration (default: found)")
    parser.add_argument("--belt-topic", metavar="TOPIC",
                        help="the belt's measured velocity in m/s, TwistStamped (default: named belt_velocity; '' = not used)")
    parser.add_argument("--camera", default="", metavar="FX,FY,CX,CY|YAML",
                        help="calibration in px, or a file of camera_calibration, in place of the recorded one")
    parser.add_argument("--frame-id", default="", metavar="NAME", help="optical frame of the pictures, in place of the recorded")
    parser.add_argument("--no-depth", action="store_true", help="colour only")
    parser.add_argument("--no-film", action="store_true", help="write no overlay.mp4")
    parser.add_argument("--no-published", action="store_true", help="write no recording of what the node would publish")
    parser.add_argument("--frames", type=one_or_more, metavar="N", help="only the first N frames")
    parser.add_argument("--against", type=Path, metavar="GOLDEN",
                        help="compare with an earlier replay: its folder or a golden file; with --many a folder of them")
    parser.add_argument("--golden", type=file_to_write, metavar="FILE", help="also write what --against reads, small (.jsonl.gz)")
    limits = Tolerances()
    for name, unit, words in (("iou", "0..1", "least overlap of a package's masks"), ("position_m", "m", "poses"),
                              ("angle_rad", "rad", "poses"), ("size_m", "m", "sizes"), ("score", "0..1", "grasp scores"),
                              ("velocity_m_s", "m/s", "velocities of packages"),
                              ("allowed", "0..1", "share of packages lost, new, or with another mask, class or id"),
                              ("allowed_grasps", "0..1", "share of packages with another pose, size, velocity, cover or grasp")):
        value = getattr(limits, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=zero_to_one if unit == "0..1" else not_negative, default=value,
                            metavar="LIMIT", dest=name,
                            help=f"tolerance of --against: {words}, {unit} (default: {value:g})")
    add_spread_arguments(parser, "recordings of --many")
    parser.add_argument("--json", type=file_to_write, metavar="OUT", help="write summary, times and comparison to this file")


def run(args: argparse.Namespace) -> int:
    """Replay and compare; 0 = done, 1 = frames failed or changed.

    Raises:
        PerceptionError: a recording, configuration or golden that cannot be used.
    """
    if (args.recording is None) == (args.many is None):
        raise DatasetError("replay: expected one recording, or --many FOLDER")
    if args.against is not None:
        _keep_golden(args.against, args)
    settings = Settings(
        config=_config(args.config, args.set), colour=args.colour_topic, depth=args.depth_topic, camera_info=args.camera_info_topic,
        belt=args.belt_topic, use_depth=not args.no_depth, camera=args.camera, frame_id=args.frame_id, film=not args.no_film,
        published=not args.no_published, frames=args.frames)
    tolerances = Tolerances(**{entry.name: getattr(args, entry.name) for entry in dataclasses.fields(Tolerances)})
    return _many(args, settings, tolerances) if args.many else _one(args, settings, tolerances)


def _keep_golden(golden: Path, args: argparse.Namespace) -> None:
    """Refuse a golden that this replay overwrites before anything was compared with it.

    Raises:
        DatasetError: it is, or lies in, what is written.
    """
    path, out = golden.resolve(), args.out.resolve()
    if path == out or (not args.many and out in path.parents) or (args.golden is not None and path == args.golden.resolve()):
        raise DatasetError(f"--against {golden}: expected results that this replay does not overwrite, got those in "
                           f"{args.out if path == out or out in path.parents else args.golden}")
    if args.many and not golden.is_dir():
        raise DatasetError(f"--against {golden}: expected the folder of an earlier --many, got "
                           f"{'a file' if golden.exists() else 'no such folder'}")


def _one(args: argparse.Namespace, settings: Settings, tolerances: Tolerances) -> int:
    if args.against is not None:
        first = next(iter(read_results(args.against)), None)  # before the long part
        if first is None:
            raise DatasetError(f"{args.against}: expected the results of a replay, got none")
    summary = replay_one(args.recording, args.out, settings, replace=args.replace)
    print(text(summary), end="")
    report: dict[str, Any] = {"summary": summary, "timings": json.loads((args.out / "timings.json").read_text(encoding="utf-8"))}
    stages = report["timings"]["stages_ms"].get("total")
    if stages:
        runtime = report["timings"]["runtime"]
        print(f"  time        {stages['p50']:.1f} ms p50, {stages['p95']:.1f} ms p95 in the pipeline ({runtime})")
    if args.golden is not None:
        write_golden(args.golden, read_results(args.out))
        print(f"golden: {args.golden}, {args.golden.stat().st_size // 1000} kB")
    status = 1 if summary["frames_failed"] else 0
    if args.against is not None:
        comparison = compare_into(args.recording, args.against, args.out, settings, tolerances)
        report["comparison"] = comparison_data(comparison)
        print(comparison_text(comparison), end="")
        status = status or (0 if comparison.same else 1)
    if args.json is not None:
        put_json(args.json, report)
    return status


def _many(args: argparse.Namespace, settings: Settings, tolerances: Tolerances) -> int:
    if args.golden is not None:
        raise DatasetError("--golden: expected one recording, got --many; with --many an earlier OUT is the golden")
    outcomes = replay_many(args.many, args.out, settings, processes=args.processes, over=args.over, replace=args.replace)
    recordings = recordings_below(args.many)
    paths = dict(zip(names_of(recordings, args.many), recordings, strict=True))
    status, report = 0, []
    for name, summary, error in outcomes:
        entry: dict[str, Any] = {"name": name, "summary": summary, "error": error}
        if summary is None:
            status = max(status, 2)
            print(f"{name}: {error}", file=sys.stderr)
        else:
            words = f"{name}: {summary['frames']} of {summary['pictures']} pictures, {summary['packages']} packages"
            status = max(status, 1 if summary["frames_failed"] else 0)
            if args.against is not None:
                try:
                    comparison = compare_into(paths[name], args.against / name, args.out / name, settings, tolerances)
                except PerceptionError as wrong:
                    entry["error"] = f"not compared: {wrong}"
                    status = 2
                    print(f"{name}: {entry['error']}", file=sys.stderr)
                else:
                    entry["comparison"] = comparison_data(comparison)
                    status = max(status, 0 if comparison.same else 1)
                    words += f"; {comparison_text(comparison).splitlines()[0]}"
            print(words)
        report.append(entry)
    for name in [] if args.against is None else _without_recording(args.against, {name for name, _, _ in outcomes}):
        error = f"expected its recording in {args.many}, as for {args.against / name}, got none"
        report.append({"name": name, "summary": None, "error": error})
        status = max(status, 1)
        print(f"{name}: {error}", file=sys.stderr)
    if args.json is not None:
        put_json(args.json, report)
    return status


def _without_recording(golden: Path, names: set[str]) -> list[str]:
    """Golden replays that no recording belongs to any more."""
    return sorted(path.parent.name for path in golden.glob("*/results.jsonl") if path.parent.name not in names)


def compare_into(recording: Path, golden: Path, out: Path, settings: Settings, tolerances: Tolerances) -> Comparison:
    """Compare the replay in `out` with a golden one; write `comparison.json`, `comparison.txt` and `changes/*.png` there."""
    old, new = list(read_results(golden)), list(read_results(out))
    if settings.frames is not None:
        old = old[:settings.frames]
    comparison = compare(old, new, tolerances)
    put_json(out / "comparison.json", comparison_data(comparison))
    put(out / "comparison.txt", comparison_text(comparison, all_frames=True))
    wanted = {change.stamp_ns: change for change in comparison.changed[:MAX_DRAWN]}
    lines = [{line["stamp_ns"]: line for line in lines} for lines in (old, new)]
    if wanted:
        with open_recording(recording, settings) as opened:
            for frame in opened.frames():
                change = wanted.pop(frame.stamp_ns, None)
                both = [by_stamp.get(frame.stamp_ns, {}) for by_stamp in lines]
                if change is not None and all("labels_png" in line for line in both):
                    picture = draw_change(frame.rgb, labels_of_line(both[0]), labels_of_line(both[1]),
                                          {label for label, _ in change.changes}, [words for _, words in change.changes])
                    put_png(out / "changes" / f"{change.number:05d}.png", picture)
                if not wanted:
                    break
    return comparison


def comparison_text(comparison: Comparison, all_frames: bool = False) -> str:
    """A comparison in words: the verdict, what changed, which frames."""
    verdict = "same" if comparison.same else "CHANGED"
    limits, count = comparison.tolerances, max(comparison.packages, 1)
    lines = [f"{verdict}: {len(comparison.changed)} of {comparison.frames} frames and {comparison.packages_changed} of "
             f"{comparison.packages} packages differ; mask, class or id of {comparison.found_changed / count:.1%} (allowed "
             f"{limits.allowed:.1%}), pose or grasp of {comparison.grasps_changed / count:.1%} ({limits.allowed_grasps:.1%})"]
    if comparison.frames_missing:
        lines.append(f"  {comparison.frames_missing} frames are in one of both only")
    lines += [f"  {count} x {kind}" for kind, count in comparison.kinds.most_common()]
    shown = comparison.changed if all_frames else comparison.changed[:10]
    for change in shown:
        lines += [f"  frame {change.number} ({change.stamp_ns}): {words}" for _, words in (
            change.changes if all_frames else change.changes[:2])]
    if len(shown) < len(comparison.changed):
        lines.append(f"  and {len(comparison.changed) - len(shown)} more frames: comparison.txt, changes/")
    return "\n".join(lines) + "\n"


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON."""
    return {"same": comparison.same, "frames": comparison.frames, "frames_missing": comparison.frames_missing,
            "frames_changed": len(comparison.changed), "packages": comparison.packages,
            "packages_changed": comparison.packages_changed, "found_changed": comparison.found_changed,
            "grasps_changed": comparison.grasps_changed, "share": round(comparison.share, 6),
            "kinds": dict(comparison.kinds.most_common()), "worst": {k: round(v, 6) for k, v in sorted(comparison.worst.items())},
            "tolerances": dataclasses.asdict(comparison.tolerances),
            "changed": [{"frame": c.number, "stamp_ns": c.stamp_ns, "changes": [words for _, words in c.changes]}
                        for c in comparison.changed]}


def _config(path: Path | None, overrides: list[str]) -> configuration.Config:
    values: dict[str, Any] = {}
    for entry in overrides:
        name, found, value = entry.partition("=")
        if not found:
            raise ConfigError(f"--set: expected NAME=VALUE, got {entry!r}")
        try:
            values[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--set {name}: expected a number, a text or a list, got {value!r}") from None
    if path is None:
        return configuration.from_flat(values)
    return configuration.load(path, **{name.replace(".", "__"): value for name, value in values.items()})

"""`perception bench cover`: is what lies on what found, is the order of picking right, and does it stay so along a belt?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from perception_node import geometry
from perception_node.arguments import above_zero, file_to_write, not_negative, one_or_more, zero_or_more
from perception_node.config import BeltConfig
from perception_node.errors import DatasetError, PerceptionError
from perception_node.files import put_json
from perception_node.learn.scenes import frames
from perception_node.locate import locate_packages
from perception_node.types import F64

LIES_ON_M2 = 4e-4
"""A package that lies above another over this area or more must be named; over less it may."""
_STEP_M = 0.004
_SHRINK_M = 0.003
"""True boxes are taken smaller by this on each side: packages that lean on each other do not lie on each other."""
TARGETS = {"covered_precision": 0.95}


@dataclass
class Tally:
    """Counts over a data set. Relations: pairs (upper, lower). Covered: packages with anything on top. turned: relations of which
    the lower package comes first in the order of picking."""

    frames: int = 0
    right: int = 0
    wrong: int = 0
    missed: int = 0
    covered_right: int = 0
    covered_wrong: int = 0
    covered_missed: int = 0
    turned: int = 0


def true_relations(boxes: Mapping[int, tuple[F64, F64]], plane: F64) -> dict[tuple[int, int], float]:
    """{(upper, lower): area in square metres over which the one box lies above the other along the belt's normal}.

    Args:
        boxes: by id, T_cam_box (4, 4) and (3,) size in metres. plane: (4,) of the belt, normal towards the camera.
    """
    up = plane[:3]
    T_cam_belt = geometry.frame_from_axes(-up * plane[3], up, np.array([1.0, 0.0, 0.0]))
    signs = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    bounds = {}
    for i, (T_cam_box, size) in boxes.items():
        corners = geometry.transform_points(geometry.transform_inverse(T_cam_belt) @ T_cam_box, signs * size)
        bounds[i] = corners[:, :2].min(axis=0), corners[:, :2].max(axis=0)
    found = {}
    for i, j in combinations(boxes, 2):
        low, high = np.maximum(bounds[i][0], bounds[j][0]), np.minimum(bounds[i][1], bounds[j][1])
        if (high <= low).any():
            continue
        x, y = np.meshgrid(*(np.arange(low[k], high[k], _STEP_M) + _STEP_M / 2 for k in (0, 1)))
        feet = geometry.transform_points(T_cam_belt, np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)]))
        middle_i, middle_j = _middle(boxes[i], feet, up), _middle(boxes[j], feet, up)
        both = np.isfinite(middle_i) & np.isfinite(middle_j)
        if both.any():
            upper, lower = (i, j) if np.median((middle_i - middle_j)[both]) > 0 else (j, i)
            found[upper, lower] = float(both.sum()) * _STEP_M**2
    return found


def _middle(box: tuple[F64, F64], feet: F64, up: F64) -> F64:
    """(N,) height of the middle of a box's part over each foot, NaN where the perpendicular misses it."""
    T_box_cam = geometry.transform_inverse(box[0])
    start, way = geometry.transform_points(T_box_cam, feet), T_box_cam[:3, :3] @ up
    half = box[1] / 2 - _SHRINK_M
    safe = np.where(np.abs(way) < 1e-9, 1e-9, way)
    ends = np.sort(np.stack([(-half - start) / safe, (half - start) / safe]), axis=0)
    low, high = ends[0].max(axis=1), ends[1].min(axis=1)
    return np.where(low < high, (low + high) / 2, np.nan)


def judge(true: Mapping[tuple[int, int], float], found: set[tuple[int, int]], order: list[int], tally: Tally) -> None:
    """Add one frame.

    Args:
        true: from `true_relations`. found: (upper, lower) as located. order: ids, first to be picked first.
    """
    must = {pair for pair, area in true.items() if area >= LIES_ON_M2}
    tally.frames += 1
    tally.right += len(must & found)
    tally.missed += len(must - found)
    tally.wrong += len(found - set(true))
    lower_must, lower_true, lower_found = ({lower for _, lower in pairs} for pairs in (must, set(true), found))
    tally.covered_right += len(lower_must & lower_found)
    tally.covered_missed += len(lower_must - lower_found)
    tally.covered_wrong += len(lower_found - lower_true)
    place = {identity: n for n, identity in enumerate(order)}
    tally.turned += sum(place[lower] < place[upper] for upper, lower in must)


def figures(tally: Tally) -> dict[str, float | int | None]:
    """Precision, recall and counts; None where there was nothing to count."""
    def share(part: int, rest: int) -> float | None:
        return part / (part + rest) if part + rest else None

    relations = tally.right + tally.missed
    return {
        "frames": tally.frames, "relations": relations,
        "precision": share(tally.right, tally.wrong), "recall": share(tally.right, tally.missed),
        "covered_precision": share(tally.covered_right, tally.covered_wrong),
        "covered_recall": share(tally.covered_right, tally.covered_missed),
        "order_turned": share(tally.turned, relations - tally.turned)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `perception bench cover`."""
    parser.add_argument("dataset", type=Path, nargs="?", help="folder that `perception synthesize` wrote, or one laid out like it")
    parser.add_argument("--skip", type=zero_or_more, default=0, help="pictures left out at the start")
    parser.add_argument("--frames", type=one_or_more, default=80, help="pictures judged, of the folder or of each belt")
    parser.add_argument("--belts", type=zero_or_more, nargs="+", metavar="SEED",
                        help="in place of a folder: simulated belts with these seeds, judged over time")
    parser.add_argument("--masks", choices=("truth", "model"), default="truth", help="of belts: whose masks")
    parser.add_argument("--fps", type=above_zero, default=15.0, help="of belts: frames per second")
    parser.add_argument("--speed", type=not_negative, default=0.3, help="of belts: m/s")
    parser.add_argument("--json", type=file_to_write, help="write all figures to this file")


def run(args: argparse.Namespace) -> int:
    """Compare `covered_by` from sensor depth with the true boxes and print the shares.

    Returns:
        0, or 1 when a figure is below `TARGETS` (or, of belts, above those of `cover_belts`).

    Raises:
        DatasetError: nothing to judge. PerceptionError: arguments out of range.
    """
    if (args.dataset is None) == (args.belts is None):
        raise PerceptionError("expected a folder or --belts SEED ..., got " + ("neither" if args.dataset is None else "both"))
    if args.belts is not None:
        from perception_node.bench.cover_belts import run_belts

        return run_belts(args.belts, args.frames, args.fps, args.speed, args.masks, args.json)
    if args.skip < 0 or args.frames < 1:
        raise PerceptionError(f"expected --skip 0 or more and --frames 1 or more, got {args.skip} and {args.frames}")
    tally = Tally()
    pictures = islice(frames(args.dataset, args.skip + args.frames), args.skip, None)
    for frame, truth, segmentation, ids in tqdm(pictures, total=args.frames, desc="pictures", disable=None):
        if truth.plane is None:
            continue
        packages = locate_packages(frame, segmentation, BeltConfig(plane=tuple(truth.plane.tolist())))
        found = {(ids[upper - 1], ids[package.label - 1]) for package in packages.items for upper in package.covered_by}
        true = true_relations({i: truth.boxes[i] for i in ids}, truth.plane)
        judge(true, found, [ids[label - 1] for label in packages.pick_order], tally)
    if not tally.frames:
        raise DatasetError(f"{args.dataset}: expected pictures with a belt plane after the first {args.skip}, found none")
    result: dict[str, Any] = figures(tally)

    def percent(name: str) -> str:
        return "-" if result[name] is None else f"{100 * result[name]:.1f} %"

    print(f"{tally.frames} pictures, {result['relations']} times a package lies on another over {1e4 * LIES_ON_M2:.0f} cm2 or more")
    print(f"relations:                precision {percent('precision')}, recall {percent('recall')}")
    print(f"packages called covered:  precision {percent('covered_precision')}, recall {percent('covered_recall')}; "
          f"target: precision {100 * TARGETS['covered_precision']:.0f} %")
    print(f"relations turned round in the order of picking: {percent('order_turned')}")
    if args.json:
        put_json(args.json, result)
    return int(any(result[name] is not None and result[name] < wanted for name, wanted in TARGETS.items()))

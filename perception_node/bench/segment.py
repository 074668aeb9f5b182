"""`perception bench segment`: picture in to label picture out, by runtime and number of packages, with the stages' times."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.arguments import above_zero, file_to_write, one_or_more
from perception_node.errors import PerceptionError
from perception_node.files import put_json
from perception_node.segment.infer import Segmenter, installed_runtimes
from perception_node.types import CameraModel, Frame

PACKAGE_COUNTS = (5, 20, 40)
_STAGES = ("encode", "network", "group")


def bench_frame(packages: int, width: int = 640, height: int = 480, depth: bool = True, seed: int = 0) -> Frame:
    """Draw a belt with cardboard-coloured blocks in a loose grid: enough structure to time the grouping, no simulator needed.

    Args:
        packages: how many. width, height: of the picture in pixels. depth: with a depth picture. seed: of places and colours.
    """
    rng = np.random.default_rng(seed)
    rgb = np.full((height, width, 3), 60, np.uint8)
    depth_m = np.full((height, width), 1.1, np.float32)
    columns = int(np.ceil(np.sqrt(packages * width / height)))
    rows = int(np.ceil(packages / columns))
    cell_w, cell_h = width / columns, height / rows
    for k in range(packages):
        centre = ((k % columns + 0.5) * cell_w + rng.uniform(-2, 2), (k // columns + 0.5) * cell_h + rng.uniform(-2, 2))
        size = (cell_w * rng.uniform(0.55, 0.75), cell_h * rng.uniform(0.55, 0.75))
        box = np.rint(cv2.boxPoints((centre, size, float(rng.uniform(-20, 20))))).astype(np.int32)
        cv2.fillPoly(rgb, [box], [int(c) for c in rng.normal((176, 136, 92), 8)])
        cv2.fillPoly(depth_m, [box], float(rng.uniform(0.85, 1.05)))
    noise = rng.normal(0, 4, rgb.shape)
    rgb = np.clip(rgb + noise, 0, 255).astype(np.uint8)
    depth_m += rng.normal(0, 0.001, depth_m.shape).astype(np.float32)
    depth_m[rng.random(depth_m.shape) < 0.01] = np.nan
    camera = CameraModel(float(width), float(width), (width - 1) / 2, (height - 1) / 2, width, height)
    return Frame(rgb, depth_m if depth else None, camera, 0, "camera_optical_frame")


def synthetic_heads(packages: int, width: int = 320, height: int = 240) -> NDArray[np.float32]:
    """Heads as a perfect network would give them for a grid of blocks, to time the grouping by itself.

    Returns:
        (8, height, width) float32 activated heads.
    """
    heads = np.zeros((8, height, width), np.float32)
    heads[0] = 1.0
    columns = int(np.ceil(np.sqrt(packages * width / height)))
    rows = int(np.ceil(packages / columns))
    cell_w, cell_h = width / columns, height / rows
    for k in range(packages):
        x0, y0 = round(k % columns * cell_w), round(k // columns * cell_h)
        x1, y1 = round(x0 + 0.85 * cell_w), round(y0 + 0.85 * cell_h)
        ys, xs = np.mgrid[y0:y1, x0:x1].astype(np.float32)
        cx, cy = float(xs.mean()), float(ys.mean())
        heads[0, y0:y1, x0:x1], heads[1 + k % 3, y0:y1, x0:x1] = 0.05, 0.95
        heads[5, y0:y1, x0:x1] = np.exp(-((xs - cx) ** 2 + (ys - cy) ** 2) / 18)
        heads[6, y0:y1, x0:x1], heads[7, y0:y1, x0:x1] = cx - xs, cy - ys
    return heads


def measure(segmenter: Segmenter, frame: Frame, heads: NDArray[np.float32] | None, repeats: int) -> dict[str, Any]:
    """Time whole calls of a segmenter on one frame.

    Args:
        segmenter: the segmenter. frame: the picture, with the belt plane fitted in each call.
        heads: when given, the grouping works on these instead of on what the network said, so that the number of packages is
            what it should be whatever the weights; the network runs all the same. repeats: calls, after three to warm up.

    Returns:
        p50, p95 and the stages' medians in milliseconds, and the number of packages found.
    """
    from perception_node.segment.postprocess import group

    size = (frame.camera.width, frame.camera.height)
    totals: list[float] = []
    stages: dict[str, list[float]] = {name: [] for name in _STAGES}
    found = 0
    for k in range(repeats + 3):
        start = time.perf_counter()
        said = segmenter.heads(frame)
        ran = time.perf_counter()
        found = len(group(said if heads is None else heads, size, segmenter.grouping).instances)
        end = time.perf_counter()
        if k < 3:
            continue
        totals.append((end - start) * 1e3)
        for name in ("encode", "network"):
            stages[name].append(segmenter.last_timing_ms[name])
        stages["group"].append((end - ran) * 1e3)
    return {"p50_ms": float(np.percentile(totals, 50)), "p95_ms": float(np.percentile(totals, 95)), "packages_found": found,
            "stages_p50_ms": {name: float(np.median(values)) for name, values in stages.items()}}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `perception bench segment`."""
    parser.add_argument("--model", type=Path, help=".onnx file (default: the universal model)")
    parser.add_argument("--runtime", nargs="+", choices=("auto", "openvino", "onnxruntime", "torch"),
                        help="default: auto, then each that is installed with the model as it is")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"),
                        help="cuda needs the torch runtime (default: %(default)s)")
    parser.add_argument("--threads", type=one_or_more, default=2, help="CPU threads (default: %(default)s)")
    parser.add_argument("--size", default="640x480", metavar="WxH", help="picture size in pixels (default: %(default)s)")
    parser.add_argument("--repeats", type=one_or_more, default=50, help="timed calls per line (default: %(default)s)")
    parser.add_argument("--max-p50", type=above_zero, metavar="MS",
                        help="exit 1 when the fastest runtime's p50 with 20 packages is above this")
    parser.add_argument("--json", type=file_to_write, help="write all figures to this file")


def run(args: argparse.Namespace) -> int:
    """Measure and print; exit status 0, 1 when too slow, 2 for bad input."""
    report: dict[str, Any] = {"threads": args.threads, "size": args.size, "load_average": os.getloadavg(), "cpus": os.cpu_count(),
                              "runs": []}
    try:
        sides = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", args.size, re.ASCII)
        if sides is None:
            raise PerceptionError(f"--size: expected WIDTHxHEIGHT in pixels, got {args.size!r}")
        width, height = (int(side) for side in sides.groups())
        cv2.setNumThreads(args.threads)
        print(f"{args.size}, {args.threads} threads of {os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.2f} at the start")
        print(f"{'runtime':16}{'packages':>9}{'p50 ms':>9}{'p95 ms':>9}" + "".join(f"{name:>10}" for name in _STAGES))
        for runtime in args.runtime or (["torch"] if args.device == "cuda" else ["auto", *installed_runtimes()]):
            segmenter = Segmenter(args.model, runtime=runtime, device=args.device, threads=args.threads)
            for packages in PACKAGE_COUNTS:
                frame = bench_frame(packages, width, height)
                grid = segmenter.heads(frame).shape
                line = measure(segmenter, frame, synthetic_heads(packages, grid[2], grid[1]), args.repeats)
                report["runs"].append({"runtime": segmenter.runtime, "model_id": segmenter.model_id, "packages": packages, **line})
                print(f"{segmenter.runtime:16}{packages:9d}{line['p50_ms']:9.1f}{line['p95_ms']:9.1f}"
                      + "".join(f"{line['stages_p50_ms'][name]:10.1f}" for name in _STAGES))
        report["load_average_end"] = os.getloadavg()
        if args.json:
            put_json(args.json, report)
    except (PerceptionError, OSError) as error:
        print(f"bench segment: {error}", file=sys.stderr)
        return 2
    best = min(line["p50_ms"] for line in report["runs"] if line["packages"] == 20)
    return 1 if args.max_p50 and best > args.max_p50 else 0

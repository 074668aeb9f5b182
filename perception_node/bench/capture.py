"""`perception bench capture`: what keeping frames costs the thread that computes, and the frames beside which one is written.

The bundled recording is computed at its own rate, in turns with and without keeping; every rule is on, and a frame is kept each
second: far more than a cell would (docs/fleet.md).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from perception_node.arguments import file_to_write, one_or_more
from perception_node.bag.reader import Recording
from perception_node.capture.desk import Desk
from perception_node.config import CAPTURE_RULES, Config, from_flat
from perception_node.files import put_json
from perception_node.pipeline import Pipeline
from perception_node.types import Frame

TARGET_MS = 1.0
"""95th percentile. Source: the project's requirement for captures."""

_HZ = 30.0
_EACH_TURN = 60
_SHIFT_PX = 61
"""The recording's pictures are shifted by this much more in each turn, so that they are not left out as known ones."""
_RECORDING = Path(__file__).resolve().parents[1] / "data" / "demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--turns", type=one_or_more, default=20,
                        help=f"turns of {_EACH_TURN} frames, half of them without (default: 20)")
    parser.add_argument("--json", type=file_to_write, metavar="OUT", help="write the figures to this file")


def run(args: argparse.Namespace) -> int:
    """Measure and print; 0 = within the target, 1 = slower."""
    with Recording(_RECORDING) as recording:
        frames = list(recording.frames())
    config = from_flat({"capture.rules": list(CAPTURE_RULES), "capture.interval_s": 1.0, "capture.random_share": 0.1})
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(frames, config, Path(folder) / "capture", args.turns)
    wall, cpu = figures["cost_ms"], figures["cost_cpu_ms"]
    own, other = figures["frame_ms"]["with"], figures["frame_ms"]["without"]
    print(f"keeping frames costs the computing thread, a frame: p50 {wall['p50']:.3f} ms, p95 {wall['p95']:.3f} ms, p99 "
          f"{wall['p99']:.3f} ms (processor time p95 {cpu['p95']:.3f} ms; target p95 {TARGET_MS:g} ms)\n"
          f"computing a frame, p50 / p95: {own['p50']:.2f} / {own['p95']:.2f} ms with, {other['p50']:.2f} / {other['p95']:.2f} ms "
          "without; frames: "
          + ", ".join(f"{count} {what}" for what, count in figures["frames"].items()))
    if args.json is not None:
        put_json(args.json, figures)
    return 0 if wall["p95"] <= TARGET_MS else 1


def measure(frames: Sequence[Frame], config: Config, folder: Path, turns: int) -> dict[str, Any]:
    """Times in ms as percentiles, and what became of the frames.

    Args:
        frames: of a recording, played over and over. config: with the rules. folder: of the kept frames. turns: every second one
            with keeping.
    """
    pipeline, desk = Pipeline(config), Desk(config, folder)
    cost: list[tuple[float, float]] = []
    took: dict[str, list[float]] = {"without": [], "with": []}
    stamp_ns = time.time_ns()
    try:
        for turn in tqdm(range(turns), desc="bench capture", unit="turn"):
            pipeline.reset()
            for k in range(_EACH_TURN):
                stamp_ns += int(1e9 / _HZ)
                frame = _shifted(frames[k % len(frames)], turn // 2 * _SHIFT_PX, stamp_ns)
                began = time.perf_counter()
                scene = pipeline.process(frame)
                if turn % 2:
                    before, cpu_before = time.perf_counter(), time.thread_time()
                    desk.seen(scene, frame)
                    cost.append((time.perf_counter() - before, time.thread_time() - cpu_before))
                spent = time.perf_counter() - began
                took["with" if turn % 2 else "without"].append(spent)
                time.sleep(max(0.0, 1.0 / _HZ - spent))
    finally:
        desk.close()
    wall, cpu = np.array(cost).T
    return {"target_ms": TARGET_MS, "cost_ms": _percentiles(wall), "cost_cpu_ms": _percentiles(cpu),
            "frame_ms": {name: _percentiles(times) for name, times in took.items()},
            "frames": {"seen": len(cost), **dict(desk.keeper.counts)}}


def _shifted(frame: Frame, by_px: int, stamp_ns: int) -> Frame:
    """Another picture of as many packages: what leaves it on the right comes back on the left."""
    depth_m = None if frame.depth_m is None else np.roll(frame.depth_m, by_px, axis=1)
    return replace(frame, rgb=np.roll(frame.rgb, by_px, axis=1), depth_m=depth_m, stamp_ns=stamp_ns)


def _percentiles(seconds: Any) -> dict[str, float]:
    p50, p95, p99 = (1e3 * float(p) for p in np.percentile(seconds, (50, 95, 99)))
    return {"p50": p50, "p95": p95, "p99": p99}

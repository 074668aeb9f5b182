"""Does the node stay as it is: `perception bench soak`. One camera, many frames over real DDS; memory, file descriptors, threads.

Exit status 1 when the node gains 0.5 MB or more in 1,000 frames, or a file descriptor or thread, or loses a frame without a reason.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from perception_node.arguments import above_zero, file_to_write, folder_to_write, one_or_more
from perception_node.bench.usage import MachineUse, ProcessUse
from perception_node.errors import PerceptionError
from perception_node.files import put_json

SLOPE_MB = 0.5
"""Memory that may be gained in 1,000 frames. Source: the project's requirement for the node (docs/results.md)."""

WARM_SHARE = 0.2
"""Share of the run that is left out at its begin: caches, arenas of the allocator and of the network's runtime fill up."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--frames", type=one_or_more, default=20_000, help="frames to send (default: 20000, 11 minutes at 30 Hz)")
    parser.add_argument("--hz", type=above_zero, default=30.0, help="frames per second (default: 30)")
    parser.add_argument("--width", type=one_or_more, default=640, help="width of the pictures in px (default: 640)")
    parser.add_argument("--height", type=one_or_more, default=480, help="height of the pictures in px (default: 480)")
    parser.add_argument("--out", type=folder_to_write, default=Path("out/soak"),
                        help="folder for the processes' words (default: out/soak)")
    parser.add_argument("--json", type=file_to_write, metavar="OUT", help="write the figures to this file")


def run(args: argparse.Namespace) -> int:
    """Measure and print; 0 = flat, 1 = it grows.

    Raises:
        PerceptionError: an argument cannot be used, or a process failed to do its work.
    """
    if args.frames < 20 or not 0.1 <= args.hz <= 240.0:
        raise PerceptionError(f"expected --frames of at least 20 and --hz of 0.1 to 240, got {args.frames} and {args.hz:g}")
    from perception_node.ros.live_cell import live_cell

    samples: list[tuple[int, ProcessUse]] = []
    with live_cell(1, (args.width, args.height), args.out, keep=False) as cell:
        camera, = cell.cameras
        cell.connect()
        clock = MachineUse()
        with tqdm(total=args.frames, unit="frame", desc="soak", leave=False, dynamic_ncols=True) as bar:
            def sample() -> None:
                if clock.sample(min(1.0, 0.02 * args.frames / args.hz)):
                    samples.append((cell.accounted(camera), ProcessUse.of(cell.pid(camera))))
                    bar.update(samples[-1][0] - bar.n)
            cell.play(args.hz, args.frames, sample)
        samples.append((cell.accounted(camera), ProcessUse.of(cell.pid(camera))))
        counts, sent = cell.delta(camera), len(camera.sent)
    found = figures(samples, counts, sent)
    print(f"{sent} frames sent, {found['processed']} processed, {found['dropped']} dropped with a reason, "
          f"{found['unaccounted']} without")
    print(f"memory {found['memory_mb'][0]:.1f} MB after {WARM_SHARE:.0%} of the run, {found['memory_mb'][1]:.1f} MB at its end: "
          f"{found['slope_mb_per_1000']:+.3f} MB in 1,000 frames (less than {SLOPE_MB:g})")
    print(f"file descriptors {found['descriptors'][0]} -> {found['descriptors'][1]}, threads {found['threads'][0]} -> "
          f"{found['threads'][1]}")
    words = shortfalls(found)
    for word in words:
        print(f"FALLS SHORT: {word}")
    if args.json is not None:
        put_json(args.json, {**found, "falls_short": words})
    return 1 if words else 0


def figures(samples: Sequence[tuple[int, ProcessUse]], counts: Mapping[str, int], sent: int) -> dict[str, Any]:
    """The slope and what else was gained.

    The slope is the median of those between all pairs of samples (Theil-Sen), so that single steps do not tilt it.

    Args:
        samples: (frames so far, use). counts: frames by what became of them. sent: frames.
    """
    warm = [(frames, use) for frames, use in samples if frames >= WARM_SHARE * samples[-1][0]]
    pick = np.unique(np.linspace(0, len(warm) - 1, min(len(warm), 400)).astype(int))
    frames = np.array([warm[k][0] for k in pick], dtype=float)
    memory = np.array([warm[k][1].memory_mb for k in pick])
    run, rise = frames[:, None] - frames, memory[:, None] - memory
    slope = float(np.median(rise[run > 0] / run[run > 0])) if (run > 0).any() else 0.0
    first, last = warm[0][1], warm[-1][1]
    dropped = sum(count for name, count in counts.items() if name != "results")
    return {"sent": sent, "processed": counts.get("results", 0), "dropped": dropped,
            "unaccounted": sent - counts.get("results", 0) - dropped, "slope_mb_per_1000": 1000.0 * slope,
            "memory_mb": [first.memory_mb, last.memory_mb], "descriptors": [first.descriptors, last.descriptors],
            "threads": [first.threads, last.threads],
            "samples": [[int(f), round(m, 3)] for f, m in zip(frames, memory, strict=True)]}


def shortfalls(found: Mapping[str, Any]) -> list[str]:
    """Why the node does not stay as it is, one sentence each."""
    words = []
    if found["slope_mb_per_1000"] >= SLOPE_MB:
        words.append(f"expected less than {SLOPE_MB:g} MB gained in 1,000 frames, got {found['slope_mb_per_1000']:.2f} MB")
    for name in ("descriptors", "threads"):
        first, last = found[name]
        if last > first:
            words.append(f"expected no {name} gained, got {last - first}")
    if found["unaccounted"]:
        words.append(f"expected every frame processed or dropped with a reason, {found['unaccounted']} of {found['sent']} are "
                     "neither")
    return words

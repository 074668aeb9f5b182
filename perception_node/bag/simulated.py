"""The simulator's conveyor as a recording: `python -m perception_node.bag.simulated perception_node/data/demo`.

The recording that comes with the package was made by that command on 2026-11-21; a simulator that was changed since then
draws other pictures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from perception_node.bag.record import write_recording
from perception_node.bag.truth import IGNORE, FrameTruth, TrueInstance, Truth
from perception_node.errors import DatasetError, PerceptionError
from perception_node.sim.conveyor import SimulatedFrame, conveyor_sequence
from perception_node.types import Frame


def record_simulation(path: str | Path, sequence: Iterable[SimulatedFrame], *, replace: bool = False,
                      quality: int = 75) -> int:
    """Write a simulated sequence with its ground truth, colour as JPEG of `quality`; return the number of frames.

    Raises:
        DatasetError: an empty sequence, or a folder that exists while `replace` is False.
    """
    frames: list[Frame] = []
    truths: list[FrameTruth] = []
    last: SimulatedFrame | None = None
    for simulated in sequence:
        frames.append(simulated.frame)
        truths.append(frame_truth(simulated))
        last = simulated
    if last is None:
        raise DatasetError(f"{path}: expected at least one simulated frame, got none")
    write_recording(path, frames, Truth(tuple(truths), np.asarray(last.belt_velocity_m_s), np.asarray(last.belt_plane)),
                    replace=replace, quality=quality)
    return len(frames)


def frame_truth(simulated: SimulatedFrame) -> FrameTruth:
    """Truth of one simulated frame; slivers keep their `IGNORE` pixels and lose their entry."""
    labels = simulated.labels.astype(np.uint16)
    seen = set(np.unique(labels).tolist()) - {0, IGNORE}
    instances = tuple(
        TrueInstance(label=p.package_id, package_id=p.package_id, class_name=p.class_name,
                     T_cam_package=tuple(tuple(float(v) for v in row) for row in p.T_cam_package),
                     size_m=(float(p.size_m[0]), float(p.size_m[1]), float(p.size_m[2])),
                     visible_fraction=float(p.visible_fraction))
        for p in simulated.packages if p.package_id in seen)
    return FrameTruth(simulated.frame.stamp_ns, labels, instances)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m perception_node.bag.simulated", description=__doc__,
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the recording to write")
    parser.add_argument("--seed", type=int, default=6, help="the same seed gives the same recording")
    parser.add_argument("--frames", type=int, default=60, help="number of frames")
    parser.add_argument("--fps", type=float, default=15.0, help="frames per second")
    parser.add_argument("--belt-speed", type=float, default=0.25, metavar="M_S", help="speed of the belt in m/s")
    parser.add_argument("--quality", type=int, default=75, help="of the colour pictures (JPEG), 1 to 100")
    parser.add_argument("--replace", action="store_true", help="overwrite an older recording")
    options = parser.parse_args(arguments)
    try:
        sequence = conveyor_sequence(options.seed, options.frames, options.fps, options.belt_speed)
        count = record_simulation(options.out, tqdm(sequence, total=options.frames, unit="frame"), replace=options.replace,
                                  quality=options.quality)
    except PerceptionError as error:
        print(error, file=sys.stderr)
        return 2
    size = sum(file.stat().st_size for file in options.out.iterdir())
    print(f"{options.out}: {count} frames, {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

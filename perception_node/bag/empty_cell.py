"""`perception learn-empty`: a recording of the empty, running cell in; out the file that tells its machinery from packages, and the
belt's plane."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from perception_node import config as configuration
from perception_node.arguments import file_to_write
from perception_node.bag.calibration import camera_argument
from perception_node.bag.reader import Recording
from perception_node.config import Config
from perception_node.errors import FrameError
from perception_node.files import put_json
from perception_node.locate.belt import calibrated_plane, fit_belt_plane
from perception_node.locate.empty_cell import learn_empty_cell, save_empty_cell
from perception_node.locate.runs import runs_of
from perception_node.pipeline import SegmenterLike, load_segmenter, reported
from perception_node.types import F64, Frame, Segmentation

_MOST_TAKEN = 0.5
"""More of the picture than this called a package: the cell was not empty, or the network is blind here."""
_MUCH_TAKEN = 0.1
"""More than this deserves a look. Source: judgement; rails and brackets fill less, a belt with packages more."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `perception learn-empty`."""
    parser.description = ("Learn what the empty cell looks like: rails, brackets, tools and patterns that the network takes for "
                          "packages get no grasps from then on. Record ten seconds of the running belt without packages, with "
                          "colour and depth. Learn again whenever the camera or the machinery was moved. Says also what to write "
                          "into cell.yaml for belt.plane.")
    parser.epilog = ("Name the file in cell.yaml, belt.empty_cell. Exit status: 0, 1 = the cell was not empty (nothing is "
                     "written), 2 = input that cannot be read. More: docs/grasping.md")
    parser.add_argument("recording", type=Path, help="a rosbag2 recording of the empty cell: 5 frames or more, 60 are used")
    parser.add_argument("--out", type=file_to_write, required=True, metavar="FILE", help="file to write (.npz)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="cell.yaml: model and belt plane (default: the defaults)")
    parser.add_argument("--colour-topic", metavar="TOPIC", help="colour images, when the recording has several")
    parser.add_argument("--depth-topic", metavar="TOPIC", help="depth images, when the recording has several")
    parser.add_argument("--camera", default="", metavar="FX,FY,CX,CY|YAML", help="calibration in px, in place of the recorded one")
    parser.add_argument("--json", type=file_to_write, metavar="OUT", help="write the numbers to this file")


def run(args: argparse.Namespace) -> int:
    """Learn and write; 0 = done, 1 = the cell was not empty.

    Raises:
        PerceptionError: a recording or configuration that cannot be used.
    """
    config = configuration.load(args.config) if args.config else Config()
    segmenter = load_segmenter(config.segment)
    camera = camera_argument(args.camera) if args.camera else None
    with Recording(args.recording, colour=args.colour_topic, depth=args.depth_topic, camera=camera) as recording:
        planes: list[F64] = []
        empty = learn_empty_cell(segmented(tqdm(recording.frames(), unit="frame", disable=None), segmenter, config, planes))
    known, taken = float(np.isfinite(empty.depth_m).mean()), float(empty.taken.mean())
    print(f"{empty.frames} frames; depth known and steady on {100 * known:.1f} % of the picture; taken for packages: "
          f"{100 * taken:.1f} % of it")
    belt = middle_plane(planes) if planes else None
    print("belt.plane: none found, no plane holds enough of the depth" if belt is None else
          f"belt.plane: [{', '.join(f'{number:.5f}' for number in belt.plane)}]   for cell.yaml; the middle of {len(planes)} "
          f"pictures, which differ from it by up to {1e3 * belt.apart_m:.1f} mm and {np.degrees(belt.apart_rad):.2f} degrees")
    numbers = {"frames": empty.frames, "depth_share": known, "taken_share": taken, "written": taken <= _MOST_TAKEN,
               "belt_plane": None if belt is None else belt.plane.tolist()}
    if args.json:
        put_json(args.json, numbers)
    if taken > _MOST_TAKEN:
        print(f"not written: expected at most {100 * _MOST_TAKEN:.0f} % of the picture taken for packages: is the cell empty?")
        return 1
    if taken > _MUCH_TAKEN:
        print(f"look at it: more than {100 * _MUCH_TAKEN:.0f} % of the picture is taken for packages; were there any on the belt?")
    save_empty_cell(args.out, empty)
    print(f"written: {args.out}; name it in cell.yaml, belt.empty_cell")
    return 0


def segmented(frames: Iterator[Frame], segmenter: SegmenterLike, config: Config,
              planes: list[F64]) -> Iterator[tuple[Frame, Segmentation]]:
    """Each frame that can be used with what the network takes for packages in it; `planes` gets the belt's in each."""
    plane = calibrated_plane(config.belt)
    for frame in frames:
        try:
            found = reported(segmenter.segment(frame, plane), config.segment)
        except FrameError:
            continue
        fitted = fit_belt_plane(frame, runs_of(found.labels))
        if fitted is not None:
            planes.append(fitted)
        yield frame, found


@dataclass(frozen=True, eq=False)
class MiddlePlane:
    """The belt's plane (4,) as `belt.plane`, and by how much single pictures differ from it: in metres where the optical axis meets
    it, and in radians."""

    plane: F64
    apart_m: float
    apart_rad: float


def middle_plane(planes: Sequence[F64]) -> MiddlePlane:
    """The plane in the middle of at least one: each number's median, the normal brought to unit length.

    Args:
        planes: (4,) each, (nx, ny, nz, d), n.X + d = 0 in the camera frame, n towards the camera (nz < 0), metres.
    """
    all_planes = np.array(planes)
    middle = np.median(all_planes, axis=0)
    middle /= np.linalg.norm(middle[:3])
    axis_m = -middle[3] / middle[2]
    turned = np.arccos(np.clip(all_planes[:, :3] @ middle[:3], -1.0, 1.0))
    return MiddlePlane(middle, float(np.abs(all_planes[:, 2] * axis_m + all_planes[:, 3]).max()), float(turned.max()))

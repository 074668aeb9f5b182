"""`perception calibrate`: views of an LED beacon in, the camera's pose for `config/cell.yaml` out, with residuals and a verdict."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from perception_node.arguments import file_to_write
from perception_node.bag.calibration import camera_argument
from perception_node.bag.reader import Calibration as CameraCalibration
from perception_node.beacon.calibration import Calibration, calibrate
from perception_node.beacon.config import load_beacon
from perception_node.beacon.tracker import BeaconTracker
from perception_node.config import Config, from_flat, load
from perception_node.config_yaml import to_yaml
from perception_node.errors import ConfigError, DatasetError
from perception_node.files import put, put_json
from perception_node.geometry import quaternions_xyzw, rotation_from_quaternion
from perception_node.types import F64, CameraModel

View = tuple[np.ndarray[Any, Any], CameraModel, int]
"""Gray picture, its calibration, its stamp in ns."""

_PERIOD_NS = 33_333_333
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `perception calibrate`."""
    parser.description = ("Find the camera's pose in the cell from views of an LED beacon. Mount the beacon where its place in the "
                          "cell is known; camera and beacon stand still meanwhile. At least 10 good views are needed.")
    parser.epilog = ("Exit status: 0, 1 = the result must not be used (nothing is written to --out), 2 = input that cannot be read "
                     "or shows no beacon. More: docs/calibration.md")
    parser.add_argument("--beacon", type=Path, required=True, metavar="FILE", help="configuration of the beacon: a copy of "
                        "config/beacon.yaml with the LEDs' places (leds_m) in metres")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--pictures", type=Path, nargs="+", metavar="PATH", help="pictures (8 or 16 bits), or folders of them, all "
                        "from the camera as it stands; needs --camera")
    source.add_argument("--bag", type=Path, metavar="RECORDING", help="a rosbag2 recording of the camera (8 bit pictures), with "
                        "camera_info or with --camera")
    source.add_argument("--live", type=float, metavar="SECONDS", help="listen to the topics `image` and `camera_info` for so many "
                        "seconds (5 are plenty); remap them with --ros")
    parser.add_argument("--camera", metavar="FX,FY,CX,CY|FILE", help="calibration for --pictures, or in place of the recorded one: "
                        "four numbers in pixels, or a YAML file as ROS' camera_calibration writes it")
    parser.add_argument("--topic", help="image topic in the recording; needed when there are several, or only infrared ones")
    parser.add_argument("--ros", default="", metavar="ARGUMENTS", help="ROS arguments for --live, in quotes: \"-r "
                        "image:=/infra/image_raw -r camera_info:=/infra/camera_info\"")
    parser.add_argument("--compressed", action="store_true", help="with --live: read `image/compressed`")
    parser.add_argument("--beacon-in-cell", type=float, nargs=7, metavar=("X", "Y", "Z", "QX", "QY", "QZ", "QW"),
                        default=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0), help="where the beacon is in the cell: position in metres and "
                        "unit quaternion; default: the beacon's frame is the cell's")
    parser.add_argument("--cell", type=Path, metavar="FILE", help="cell.yaml whose other values are kept (comments of your own are "
                        "not); default: the defaults")
    parser.add_argument("--out", type=file_to_write, metavar="FILE",
                        help="write the cell.yaml with the camera's and the beacon's pose "
                        "here, only when the verdict is good; may be the file of --cell")
    parser.add_argument("--json", type=file_to_write, metavar="FILE",
                        help="write pose, residuals (m, rad, px) and verdict to this file")


def run(args: argparse.Namespace) -> int:
    """Calibrate.

    Returns:
        0, or 1 when the verdict is that the result must not be used (nothing is written to --out then).

    Raises:
        PerceptionError: configuration, pictures or recording that cannot be read; no view of the beacon.
    """
    config = load_beacon(args.beacon)
    try:
        leds_m = config.layout().leds_m
    except ConfigError as error:
        raise ConfigError(f"{args.beacon}: {error}") from None
    T_cell_beacon = _pose(args.beacon_in_cell)
    before = load(args.cell) if args.cell else Config()
    poses, refused, reasons, tracker = [], 0, Counter[str](), None
    for gray, camera, stamp_ns in tqdm(_views(args), unit="view", disable=None):
        if tracker is None or tracker.camera != camera:
            tracker = BeaconTracker(camera, leds_m, config.tracker)
        pose = tracker.update(gray, stamp_ns)
        if pose is None or not pose.good:
            refused += 1
            reasons[tracker.why] += 1
        else:
            poses.append(pose)
    if not poses:
        why = reasons.most_common(1)[0][0] if reasons else "no picture came"
        raise DatasetError(f"calibration: expected views of the beacon, got none that is good of {refused}: {why}")
    result = calibrate(poses, T_cell_beacon, refused)
    text = to_yaml("cell", from_flat(result.parameters(), before))
    _report(result, reasons)
    if args.out and not result.faults:
        put(args.out, text)
        print(f"written: {args.out}")
    if args.json:
        put_json(args.json, _as_json(result))
    return 1 if result.faults else 0


def _views(args: argparse.Namespace) -> Iterator[View]:
    if args.pictures:
        if args.camera is None:
            raise ConfigError("calibration: expected --camera with --pictures: pictures do not carry a calibration")
        return _from_pictures(args.pictures, camera_argument(args.camera))
    if args.bag:
        return _from_bag(args.bag, args.topic, camera_argument(args.camera) if args.camera else None)
    try:
        ros_arguments = shlex.split(args.ros)
    except ValueError as error:
        raise ConfigError(f"calibration: --ros: {error}") from None
    from perception_node.ros.calibrate_live import listen
    return listen(args.live, ros_arguments, args.compressed)


def _from_pictures(paths: list[Path], calibration: CameraCalibration) -> Iterator[View]:
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])
             if not path.is_dir() or file.suffix.lower() in _SUFFIXES]
    if not files:
        raise DatasetError(f"{paths[0]}: expected pictures ({', '.join(_SUFFIXES)}), got none")
    for number, file in enumerate(files):
        gray = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
        if gray is None:
            raise DatasetError(f"{file}: expected a picture, got a file that cannot be read as one")
        camera = calibration if isinstance(calibration, CameraModel) else calibration(gray.shape[1], gray.shape[0])
        if gray.shape != (camera.height, camera.width):
            raise DatasetError(f"{file}: picture is {gray.shape[1]}x{gray.shape[0]}, the calibration says "
                               f"{camera.width}x{camera.height}")
        yield gray, camera, (number + 1) * _PERIOD_NS


def _from_bag(path: Path, topic: str | None, camera: CameraCalibration | None) -> Iterator[View]:
    from perception_node.bag.reader import Recording

    with Recording(path, colour=topic, camera=camera, use_depth=False) as recording:
        for frame in recording.frames():
            yield cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY), frame.camera, frame.stamp_ns
        if recording.skipped:
            words, count = recording.skipped.most_common(1)[0]
            tqdm.write(f"{sum(recording.skipped.values())} pictures skipped, {count} of them: {words}")


def _pose(numbers: Any) -> F64:
    x, y, z, *xyzw = (float(n) for n in numbers)
    length = float(np.linalg.norm(xyzw))
    if not np.isfinite(numbers).all() or abs(length - 1.0) > 1e-2:
        raise ConfigError(f"calibration: expected a unit quaternion in --beacon-in-cell, got one of length {length:.4g}")
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rotation_from_quaternion((xyzw[0], xyzw[1], xyzw[2], xyzw[3])), (x, y, z)
    return T


def _report(result: Calibration, reasons: Counter[str]) -> None:
    x, y, z = result.T_cell_cam[:3, 3]
    q = quaternions_xyzw(result.T_cell_cam[None, :3, :3])[0]
    print(f"camera in the cell: position {x:.4f} {y:.4f} {z:.4f} m, quaternion {q[0]:.5f} {q[1]:.5f} {q[2]:.5f} {q[3]:.5f}")
    print(f"{result.views} good views, {result.refused} refused; beacon at {result.range_m:.3f} m")
    for why, count in reasons.most_common(3):
        print(f"  {count} x {why}")
    print(f"single views: {1e3 * result.spread_m:.3f} mm and {np.rad2deg(result.spread_rad):.3f} deg rms from their middle; "
          f"claimed by the tracker {1e3 * result.sigma_m:.3f} mm, {np.rad2deg(result.sigma_rad):.3f} deg; reprojection "
          f"{result.reprojection_px:.3f} px")
    print("verdict: " + ("good" if not result.faults else "not usable: " + "; ".join(result.faults)))


def _as_json(result: Calibration) -> dict[str, Any]:
    numbers = {name: getattr(result, name) for name in ("views", "refused", "spread_m", "spread_rad", "sigma_m", "sigma_rad",
                                                        "reprojection_px", "range_m")}
    return {**numbers, "parameters": result.parameters(), "T_cam_beacon": result.T_cam_beacon.tolist(), "good": not result.faults,
            "faults": list(result.faults)}

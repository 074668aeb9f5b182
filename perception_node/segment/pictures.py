"""`perception segment PICTURE... --out DIR`: masks and classes drawn on a user's own pictures; needs neither ROS nor torch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.arguments import above_zero, file_to_write, folder_to_write, zero_to_one
from perception_node.errors import DatasetError, PerceptionError
from perception_node.files import put_json, put_png
from perception_node.segment.draw import draw_segmentation
from perception_node.segment.infer import Segmenter
from perception_node.segment.postprocess import above_score
from perception_node.types import CameraModel, Frame


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a JPEG or PNG file as (H, W, 3) RGB.

    Raises:
        DatasetError: when it is missing or cannot be decoded.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: expected a picture, {'got a folder: name its pictures' if path.is_dir() else 'found no file'}")
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise DatasetError(f"{path}: expected a JPEG or PNG picture, got something that cannot be decoded")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def read_depth(path: Path, unit_m: float) -> NDArray[np.float32]:
    """Read a one-channel PNG (uint16) or TIFF (float32) of depth as (H, W) float32 metres, NaN = no reading.

    Args:
        path: the file. unit_m: metres per unit of an integer picture; float pictures are metres.

    Raises:
        DatasetError: when it is missing or is not a depth picture.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: expected a depth picture, found no file")
    raw = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if raw is None or raw.ndim != 2 or raw.dtype not in (np.uint16, np.float32):
        came = "an undecodable file" if raw is None else f"{raw.dtype} of shape {raw.shape}"
        raise DatasetError(f"{path}: expected one channel of uint16 or float32, got {came}")
    depth = raw.astype(np.float32) * np.float32(unit_m if raw.dtype == np.uint16 else 1.0)
    depth[~(depth > 0)] = np.nan
    return depth


def segment_picture(segmenter: Segmenter, rgb: NDArray[np.uint8], depth_m: NDArray[np.float32] | None,
                    focal_px: float | None = None,
                    min_score: float = 0.0) -> tuple[NDArray[np.uint8], NDArray[np.uint16], list[dict[str, Any]]]:
    """Segment one picture.

    Args:
        segmenter: the segmenter. rgb: (H, W, 3) uint8. depth_m: (H, W) float32 metres or None.
        focal_px: focal length, None = the picture's width (a view of 53 degrees); it matters little, and only with depth.
        min_score: packages below are left out, 0..1.

    Returns:
        The drawn picture, (H, W) uint16 labels, one JSON mapping per package.
    """
    height, width = rgb.shape[:2]
    focal = float(focal_px or width)
    camera = CameraModel(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)
    found = above_score(segmenter.segment(Frame(rgb, depth_m, camera, 0, "camera_optical_frame")), min_score)
    packages = [{"label": i.label, "class": i.class_name, "score": round(i.score, 4), "bbox_xyxy": list(i.bbox_xyxy),
                 "area_px": i.area_px} for i in found.instances]
    return draw_segmentation(rgb, found), found.labels, packages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `perception segment`."""
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="JPEG or PNG colour pictures")
    parser.add_argument("--depth", nargs="+", type=Path, metavar="PICTURE", default=[],
                        help="depth pictures, one per colour picture in the same order: uint16 PNG, or float32 TIFF in metres")
    parser.add_argument("--depth-unit", type=above_zero, default=0.001, metavar="M",
                        help="metres per unit of a uint16 depth picture "
                        "(default: %(default)s)")
    parser.add_argument("--focal", type=above_zero, metavar="PX", help="focal length in pixels (default: the picture's width)")
    parser.add_argument("--min-score", type=zero_to_one, default=0.5,
                        help="leave packages below this score out, 0..1 (default: %(default)s)")
    parser.add_argument("--out", type=folder_to_write, required=True, metavar="DIR",
                        help="folder for NAME.png (drawn), NAME.labels.png (uint16 labels), NAME.json")
    parser.add_argument("--model", type=Path, help=".onnx file (default: the universal model)")
    parser.add_argument("--runtime", default="auto", choices=("auto", "openvino", "onnxruntime", "torch"),
                        help="what runs the model")
    parser.add_argument("--json", type=file_to_write, help="write everything that was found to this file")


def run(args: argparse.Namespace) -> int:
    """Segment pictures; exit status 0, or 2 for bad input."""
    found: dict[str, Any] = {}
    try:
        if args.depth and len(args.depth) != len(args.pictures):
            raise DatasetError(f"--depth: expected {len(args.pictures)} pictures like the colour ones, got {len(args.depth)}")
        stems = [path.stem for path in args.pictures]
        for path in args.pictures:
            if stems.count(path.stem) > 1:
                raise DatasetError(f"{path}: expected pictures of different names, got another {path.stem}: one would be written "
                                   "over the other")
        segmenter = Segmenter(args.model, runtime=args.runtime)
        for i, path in enumerate(args.pictures):
            depth_m = read_depth(args.depth[i], args.depth_unit) if args.depth else None
            drawn, labels, packages = segment_picture(segmenter, read_picture(path), depth_m, args.focal, args.min_score)
            put_png(args.out / f"{path.stem}.png", drawn)
            put_png(args.out / f"{path.stem}.labels.png", labels)
            put_json(args.out / f"{path.stem}.json", packages)
            found[str(path)] = packages
            print(f"{path}: {len(packages)} packages -> {args.out / (path.stem + '.png')}")
        if args.json:
            put_json(args.json, {"model_id": segmenter.model_id, "pictures": found})
    except (PerceptionError, OSError) as error:
        print(f"segment: {error}", file=sys.stderr)
        return 2
    return 0

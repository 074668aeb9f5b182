"""A camera's calibration from the command line: four numbers, or a YAML file as ROS' camera_calibration writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from perception_node.bag.reader import Calibration
from perception_node.errors import DatasetError, FrameError, one_line
from perception_node.types import CameraModel

MAX_FILE_BYTES = 1_000_000


def camera_argument(value: str) -> Calibration:
    """`fx,fy,cx,cy` in pixels of the recorded picture, or the path of a YAML file.

    Raises:
        DatasetError: neither.
    """
    numbers = value.split(",")
    if not value.isprintable():  # a line break in a name would break the message
        raise DatasetError(f"camera: expected fx,fy,cx,cy or the path of a YAML file, got {value!r}")
    if len(numbers) != 4:
        return camera_from_yaml(Path(value))
    try:
        fx, fy, cx, cy = (float(number) for number in numbers)
        CameraModel(fx, fy, cx, cy, width=max(1, round(2 * abs(cx))), height=max(1, round(2 * abs(cy))))
    except (ValueError, OverflowError, FrameError):
        raise DatasetError(f"camera: expected fx,fy,cx,cy in pixels with focal lengths above 0, got {value!r}") from None
    return lambda width, height: CameraModel(fx, fy, cx, cy, width, height)


def camera_from_yaml(path: Path) -> CameraModel:
    """The calibration of a file with image_width, image_height, camera_matrix, distortion_model, distortion_coefficients.

    Source: the form that camera_calibration writes and camera_calibration_parsers reads.

    Raises:
        DatasetError: no such file, or not such a calibration.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DatasetError(f"{path}: expected a calibration of at most {MAX_FILE_BYTES} bytes, got {path.stat().st_size}")
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        k = [float(number) for number in document["camera_matrix"]["data"]]
        distortion = tuple(float(number) for number in document.get("distortion_coefficients", {}).get("data", ()))
        model = str(document.get("distortion_model", "plumb_bob"))
        width, height = int(document["image_width"]), int(document["image_height"])
        if len(k) != 9:
            raise ValueError(f"camera_matrix: expected 9 numbers, got {len(k)}")
    except OSError as error:
        raise DatasetError(f"camera {path}: expected fx,fy,cx,cy or a readable YAML file: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise DatasetError(f"camera {path}: expected image_width, image_height, camera_matrix: {one_line(error)}") \
            from None
    if any(distortion) and (model not in ("plumb_bob", "rational_polynomial") or len(distortion) not in (4, 5, 8)):
        raise DatasetError(f"camera {path}: expected 4, 5 or 8 coefficients of plumb_bob or rational_polynomial, got "
                           f"{len(distortion)} of {model!r}")
    try:
        return CameraModel(k[0], k[4], k[2], k[5], width, height, distortion if any(distortion) else ())
    except FrameError as error:
        raise DatasetError(f"camera {path}: {error}") from None

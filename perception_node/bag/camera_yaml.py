"""Camera calibrations in the YAML form of ROS' camera_calibration (`camera_info_manager`)."""

from __future__ import annotations

from pathlib import Path

import yaml

from perception_node.errors import DatasetError, FrameError
from perception_node.types import CameraModel


def read_camera(path: str | Path) -> CameraModel:
    """The calibration in a file with image_width, image_height, camera_matrix and distortion_coefficients.

    Raises:
        DatasetError: not readable, not YAML, not of that form, or not a usable calibration.
    """
    path = Path(path)
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        k = [float(value) for value in document["camera_matrix"]["data"]]
        coefficients = document.get("distortion_coefficients") or {"data": []}
        distortion = tuple(float(value) for value in coefficients["data"])
        model = str(document.get("distortion_model", "plumb_bob"))
        if len(k) != 9 or (any(distortion) and model not in ("plumb_bob", "rational_polynomial")):
            raise ValueError(f"{len(k)} numbers in camera_matrix, distortion_model {model!r}")
        return CameraModel(fx=k[0], fy=k[4], cx=k[2], cy=k[5], width=int(document["image_width"]),
                           height=int(document["image_height"]), distortion=distortion if any(distortion) else ())
    except OSError as error:
        raise DatasetError(f"{path}: expected a readable file: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, AttributeError, FrameError, yaml.YAMLError) as error:
        raise DatasetError(f"{path}: expected a calibration as ROS' camera_calibration writes it: "
                           f"{' '.join(str(error).split())}") from None

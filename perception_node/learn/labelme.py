"""LabelMe files, one JSON per picture: read as COCO annotations, and written as proposals for annotators.

Source: the file format of LabelMe 5 (github.com/wkentaro/labelme, `labelme/label_file.py` and `labelme/utils/shape.py`).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.errors import DatasetError
from perception_node.types import CLASS_NAMES

_VERSION = "5.4.1"
_MARK = '"shapes"'


def labelme_files(folder: Path) -> list[Path]:
    """The LabelMe files of a folder, sorted; JSON files that cannot be read are among them when there are others."""
    whole, broken = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            broken.append(path)
            continue
        if _MARK in text:
            whole.append(path)
        else:
            try:
                json.loads(text)
            except json.JSONDecodeError:
                broken.append(path)
    return sorted(whole + broken) if whole else []


def read_labelme(files: Sequence[Path], broken: list[str] | None = None) -> dict[str, Any]:
    """Read LabelMe files as one COCO mapping; file names are relative to the files' folder.

    Args:
        files: the files. broken: takes one line for each broken file, which is then left out; None = raise.

    Raises:
        DatasetError: a file is broken or holds a shape that is no area.
    """
    images: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    names = list(CLASS_NAMES)
    for number, path in enumerate(files, 1):
        try:
            image, shapes = read_labelme_file(path)
        except DatasetError as error:
            if broken is None:
                raise
            broken.append(str(error))
            continue
        images.append({"id": number, **image})
        for name, segmentation in shapes:
            if name not in names:
                names.append(name)
            found.append({"id": len(found) + 1, "image_id": number, "category_id": names.index(name) + 1, "iscrowd": 0,
                          "segmentation": segmentation})
    return {"images": images, "annotations": found, "categories": [{"id": i, "name": name} for i, name in enumerate(names, 1)]}


def read_labelme_file(path: Path) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """Read one LabelMe file.

    Returns:
        The COCO image (without id); label and COCO segmentation of each object. Shapes of one group and label are one object.

    Raises:
        DatasetError: the file is broken or holds a shape that is no area.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        image: dict[str, Any] = {"file_name": str(data["imagePath"]).replace("\\", "/")}
        image |= {key: int(data[f"image{key.title()}"]) for key in ("width", "height") if data.get(f"image{key.title()}")}
        groups: dict[Any, list[dict[str, Any]]] = {}
        for place, shape in enumerate(data["shapes"]):
            group = shape.get("group_id")
            groups.setdefault((shape["label"], group) if group is not None else place, []).append(shape)
        return image, [(str(shapes[0]["label"]), _segmentation(shapes, image)) for shapes in groups.values()]
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DatasetError(f"{path}: expected a LabelMe file, cannot be read ({error})") from None
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, cv2.error) as error:
        raise DatasetError(f"{path}: expected a LabelMe file, a field is missing or wrong ({error!r})") from None


def _segmentation(shapes: Sequence[Mapping[str, Any]], image: Mapping[str, Any]) -> Any:
    kinds = {str(shape.get("shape_type") or "polygon") for shape in shapes}
    strange = sorted(kinds - {"polygon", "rectangle", "mask"})
    if strange:
        raise DatasetError(f"expected polygons, rectangles or masks, got a {strange[0]} labelled {shapes[0]['label']!r}")
    outlines = [_outline(shape) for shape in shapes if shape.get("shape_type") != "mask"]
    if "mask" not in kinds:
        return [outline.ravel().tolist() for outline in outlines]
    from perception_node.learn.coco import run_lengths  # which imports this file's users

    canvas = np.zeros((image["height"], image["width"]), np.uint8)
    for outline in outlines:
        cv2.fillPoly(canvas, [np.rint(outline).astype(np.int32)], 1)
    for shape in shapes:
        if shape.get("shape_type") == "mask":
            x, y = (round(float(v)) for v in shape["points"][0])
            piece = cv2.imdecode(np.frombuffer(base64.b64decode(shape["mask"]), np.uint8), cv2.IMREAD_GRAYSCALE)
            if piece is None:
                raise DatasetError(f"the mask labelled {shape['label']!r} cannot be decoded")
            view = canvas[y:y + piece.shape[0], x:x + piece.shape[1]]
            view |= (piece[:view.shape[0], :view.shape[1]] > 0).astype(np.uint8)
    return run_lengths(canvas > 0)


def _outline(shape: Mapping[str, Any]) -> NDArray[np.float64]:
    points = np.asarray(shape["points"], dtype=np.float64).reshape(-1, 2)
    if shape.get("shape_type") == "rectangle":
        (x0, y0), (x1, y1) = points
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    if len(points) < 3:
        raise DatasetError(f"expected three points or more, got {len(points)} in a polygon labelled {shape['label']!r}")
    return points


def labelme_document(image_path: str, width: int, height: int,
                     objects: Sequence[tuple[str, Sequence[Sequence[float]], str]]) -> str:
    """Text of a LabelMe file.

    Args:
        image_path: the picture, relative to the file. width, height: of the picture in pixels.
        objects: label, COCO polygons (flat lists of x, y) and description of each; several polygons become one group.
    """
    shapes: list[dict[str, Any]]
    shapes = [{"label": label, "points": np.asarray(polygon, dtype=np.float64).reshape(-1, 2).tolist(),
               "group_id": number if len(polygons) > 1 else None, "description": words, "shape_type": "polygon", "flags": {}}
              for number, (label, polygons, words) in enumerate(objects, 1) for polygon in polygons]
    return json.dumps({"version": _VERSION, "flags": {}, "shapes": shapes, "imagePath": image_path, "imageData": None,
                       "imageHeight": height, "imageWidth": width}, indent=1) + "\n"

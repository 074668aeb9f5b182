"""Drawing a segmentation on its picture."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.types import Segmentation

_AROUND = np.ones((3, 3), np.uint8)
_SHORT_NAMES = {"box": "box", "padded_mailer": "mailer", "poly_bag": "bag", "item": "item"}


def label_colours(count: int) -> NDArray[np.uint8]:
    """(count + 1, 3) RGB: row 0 black, then colours whose neighbours in the list differ much (golden ratio of the hue)."""
    hues = (np.arange(count) * 0.618034) % 1.0
    colours = [colorsys.hsv_to_rgb(float(h), 0.75 + 0.2 * (i % 2), 1.0) for i, h in enumerate(hues)]
    return np.concatenate([np.zeros((1, 3)), np.asarray(colours).reshape(-1, 3) * 255]).astype(np.uint8)


def draw_segmentation(rgb: NDArray[np.uint8], segmentation: Segmentation, text: bool = True) -> NDArray[np.uint8]:
    """Tint each package, draw its outline and write its class and score.

    Args:
        rgb: (H, W, 3) uint8 RGB picture; it is not changed. segmentation: of that picture. text: write classes and scores.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    labels = segmentation.labels
    tint = np.take(label_colours(len(segmentation.instances)), labels, axis=0)
    out = np.empty_like(rgb)
    cv2.addWeighted(rgb, 0.6, tint, 0.4, 0.0, dst=out)
    cv2.copyTo(rgb, (labels == 0).view(np.uint8), out)
    edge = (cv2.dilate(labels, _AROUND) != cv2.erode(labels, _AROUND)) & (labels > 0)
    cv2.copyTo(tint, edge.view(np.uint8), out)
    if not text:
        return out
    size = max(0.35, rgb.shape[1] / 1600)
    for instance in segmentation.instances:
        words = f"{_SHORT_NAMES.get(instance.class_name, instance.class_name)} {instance.score:.2f}"
        x0, y0, x1, y1 = instance.bbox_xyxy
        write_words(out, words, ((x0 + x1) // 2, (y0 + y1) // 2), size)
    return out


def write_words(picture: NDArray[np.uint8], words: str, centre: tuple[int, int], size: float = 0.38) -> None:
    """Write white words on a darkened box into an RGB picture, moved so that they lie inside.

    Args:
        picture: (H, W, 3) uint8, changed in place. words: one line. centre: (x, y) in pixels. size: OpenCV's font scale.
    """
    font = cv2.FONT_HERSHEY_SIMPLEX
    (width, height), below = cv2.getTextSize(words, font, size, 1)
    x = int(np.clip(centre[0] - width // 2, 2, max(2, picture.shape[1] - width - 2)))
    y = int(np.clip(centre[1] + height // 2, height + 2, max(height + 2, picture.shape[0] - below - 2)))
    picture[max(0, y - height - 2):y + below, max(0, x - 2):x + width + 2] //= 3
    cv2.putText(picture, words, (x, y), font, size, (255, 255, 255), 1, cv2.LINE_AA)

"""What the demo leaves to look at: a film, a contact sheet, the ranked grasps on depth, and both side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.files import put_png
from perception_node.grasp.draw import draw_grasps
from perception_node.segment.draw import label_colours, write_words
from perception_node.types import Frame, Scene

Picture = NDArray[np.uint8]

_SHEET_COLUMNS, _SHEET_ROWS, _THUMB_WIDTH_PX = 4, 3, 400
_LINE_PX = 22
_PALETTE = 24  # colours; tracks that are 24 apart share one
_CROSS = np.ones((3, 3), np.uint8)
_SHORT = {"padded_mailer": "mailer", "poly_bag": "bag"}
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_all(folder: Path, pairs: Sequence[tuple[Frame, Scene]]) -> list[Path]:
    """Draw everything; return the files written.

    Args:
        folder: exists. pairs: frames with their scenes, in order.
    """
    if not pairs:
        return []
    overlays = [overlay(frame, scene) for frame, scene in pairs]
    rate_hz = 1e9 / max(float(np.median(np.diff([frame.stamp_ns for frame, _ in pairs]))), 1e7) if len(pairs) > 1 else 15.0
    files = write_film(folder / "overlay.mp4", overlays, rate_hz)
    frame, scene = pairs[len(pairs) // 2]
    grasps = draw_grasps(frame.rgb if frame.depth_m is None else frame.depth_m, scene, frame.camera)
    pictures = {"contact_sheet.png": contact_sheet(overlays), "grasps.png": grasps,
                "demo.png": np.hstack([overlays[len(pairs) // 2], grasps])}
    for name, picture in pictures.items():
        put_png(folder / name, picture)
    return [*files, *(folder / name for name in pictures)]


def overlay(frame: Frame, scene: Scene) -> Picture:
    """The frame with its masks, coloured and numbered by track, classes, and a line about the scene."""
    labels = scene.segmentation.labels
    palette = label_colours(_PALETTE)[1:]
    colours = np.zeros((len(scene.segmentation.instances) + 1, 3), np.uint8)
    for track in scene.tracks:
        colours[track.label] = palette[(track.track_id or track.label) % _PALETTE]
    tint = colours[labels]
    picture = np.where(labels[..., None] > 0, cv2.addWeighted(frame.rgb, 0.55, tint, 0.45, 0.0), frame.rgb)
    edge = (cv2.dilate(labels, _CROSS) != cv2.erode(labels, _CROSS)) & (labels > 0)
    picture[edge] = tint[edge]
    for track in scene.tracks:
        x0, y0, x1, y1 = scene.segmentation.instances[track.label - 1].bbox_xyxy
        write_words(picture, f"{track.track_id} {_SHORT.get(track.class_name, track.class_name)}", ((x0 + x1) // 2, (y0 + y1) // 2))
    words = f"{len(scene.tracks)} packages, {len(scene.grasps)} grasps"
    if scene.belt_velocity_m_s is not None:
        words += f", belt {float(np.linalg.norm(scene.belt_velocity_m_s)):.2f} m/s"
    picture[-_LINE_PX:] //= 3
    cv2.putText(picture, words, (8, picture.shape[0] - 7), _FONT, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return picture


def contact_sheet(pictures: Sequence[Picture]) -> Picture:
    """Up to twelve pictures, evenly over the whole time, in rows."""
    places = np.unique(np.linspace(0, len(pictures) - 1, min(len(pictures), _SHEET_COLUMNS * _SHEET_ROWS)).round().astype(int))
    height, width = pictures[0].shape[:2]
    size = (_THUMB_WIDTH_PX, round(_THUMB_WIDTH_PX * height / width))
    small = [cv2.resize(pictures[place], size, interpolation=cv2.INTER_AREA) for place in places]
    small += [np.zeros_like(small[0])] * (-len(small) % _SHEET_COLUMNS)
    rows = [np.hstack(small[start:start + _SHEET_COLUMNS]) for start in range(0, len(small), _SHEET_COLUMNS)]
    return np.vstack(rows).astype(np.uint8)


def write_film(path: Path, pictures: Sequence[Picture], rate_hz: float) -> list[Path]:
    """MPEG-4 film where this OpenCV can write one; else nothing (the contact sheet shows the same). Returns the files."""
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate_hz, (width, height))
    if not writer.isOpened():
        path.unlink(missing_ok=True)
        return []
    for picture in pictures:
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()
    return [path]

"""Pictures of a replay: an overlay film, and for each frame that changed the old and the new masks side by side."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.segment.draw import draw_segmentation, label_colours, write_words
from perception_node.types import Scene

Picture = NDArray[np.uint8]

MAX_WIDTH_PX = 960
"""Wider pictures are made smaller in the film."""


_CAPTIONS = (0.45, 0.42, 0.39, 0.36, 0.33, 0.3)
"""OpenCV's font scales of the line below a picture."""


class FilmWriter:
    """MPEG-4 film; the same pictures give the same bytes. Where OpenCV cannot write one, `written` stays False.

    Args:
        path: of the .mp4 file. rate_hz: pictures per second.
    """

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path, self._rate_hz = path, rate_hz
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self.written = False

    def __enter__(self) -> FilmWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.release()
        if not self.written:
            self._path.unlink(missing_ok=True)

    def add(self, picture: Picture) -> None:
        """Append an RGB picture; all get the size of the first one."""
        if self._writer is None:
            height, width = picture.shape[:2]
            scale = min(1.0, MAX_WIDTH_PX / width)
            self._size = (max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2))
            self._writer = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*"mp4v"), self._rate_hz, self._size)
            self.written = self._writer.isOpened()
        if self.written:
            if picture.shape[1::-1] != self._size:
                picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
            self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def overlay(rgb: Picture, scene: Scene | None, number: int, failure: str) -> Picture:
    """Masks with track ids, and a line of words, on a frame's picture."""
    if scene is None:
        picture = rgb.copy()
        words = f"{number}: no scene: {failure}"
    else:
        picture = draw_segmentation(rgb, scene.segmentation, text=False)
        for track in scene.tracks:
            x0, y0, x1, y1 = scene.segmentation.instances[track.label - 1].bbox_xyxy
            write_words(picture, f"{track.track_id} {track.class_name.split('_')[-1]}", ((x0 + x1) // 2, (y0 + y1) // 2))
        words = f"{number}: {len(scene.tracks)} packages, {len(scene.grasps)} grasps"
        if scene.degraded:
            words += f", degraded: {scene.degraded}"
    words, size = fitted(words, picture.shape[1] - 8)
    write_words(picture, words, (picture.shape[1] // 2, picture.shape[0] - 10), size)
    return picture


def fitted(words: str, width_px: int) -> tuple[str, float]:
    """A line and its font scale so that it is no wider than a picture: smaller to two thirds, then cut with "..."."""
    def fits(text: str, size: float) -> bool:
        return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0] <= width_px
    for size in _CAPTIONS:
        if fits(words, size):
            return words, size
    length = len(words)
    while length > 0 and not fits(f"{words[:length]}...", size):
        length -= 1
    return f"{words[:length]}...", size


def draw_change(rgb: Picture, golden: NDArray[np.uint16], new: NDArray[np.uint16], labels: set[int], words: list[str]) -> Picture:
    """The golden masks on the left, the new ones on the right with the changed ones bright, the differences in words below.

    Args:
        rgb: (H, W, 3) picture. golden, new: label images, thinned or of the picture's size. labels: changed labels of `new`.
        words: one line for each difference.
    """
    height, width = rgb.shape[:2]
    halves = []
    for image, chosen in ((golden, None), (new, labels)):
        full = cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST)
        colours = label_colours(int(full.max(initial=0)))
        bright = full > 0 if chosen is None else np.isin(full, sorted(chosen))
        half = (rgb * 0.5).astype(np.uint8)
        half[bright] = (rgb[bright] * 0.5 + colours[full][bright] * 0.5).astype(np.uint8)
        edge = (cv2.dilate(full, np.ones((3, 3), np.uint8)) != cv2.erode(full, np.ones((3, 3), np.uint8))) & (full > 0)
        half[edge] = 255
        halves.append(half)
    write_words(halves[0], "golden", (40, 12), 0.45)
    write_words(halves[1], "new", (40, 12), 0.45)
    lines = words[:12] + ([f"and {len(words) - 12} more"] if len(words) > 12 else [])
    below = np.zeros((18 * len(lines) + 8, 2 * width, 3), np.uint8)
    for row, line in enumerate(lines):
        cv2.putText(below, line[:170], (6, 18 * (row + 1)), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([np.hstack(halves), below]).astype(np.uint8)

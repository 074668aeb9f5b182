"""Films of tracks: ids, where each package is, and where it is predicted to be."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node import geometry
from perception_node.bag.film import FilmWriter
from perception_node.errors import PerceptionError
from perception_node.files import put_png
from perception_node.types import F64, CameraModel, Scene

_SHEET = 6
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GOLDEN = 0.618034


class Film:
    """Writes `NAME.mp4` and a contact sheet `NAME.png` of six of its pictures into a folder.

    Solid: the package's upper face where the track has it now, with its id. Thin, with a line to it: where that face is
    predicted to be `ahead_s` later. Cross: where the prediction made that long ago has it now.
    """

    def __init__(self, folder: Path, name: str, rate_hz: float, ahead_s: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._rate_hz, self._ahead_ns = folder / name, rate_hz, round(ahead_s * 1e9)
        self._film = FilmWriter(self._path.with_suffix(".mp4"), rate_hz)
        self._pictures: list[NDArray[np.uint8]] = []
        self._predicted: list[tuple[int, int, F64]] = []

    def __enter__(self) -> Film:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._film.__exit__(kind, error, trace)
        if self._pictures:
            chosen = np.linspace(0, len(self._pictures) - 1, min(_SHEET, len(self._pictures))).astype(int)
            tiles = [self._pictures[i] for i in chosen]
            tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 2)
            rows = [np.hstack(tiles[i:i + 2]) for i in range(0, len(tiles), 2)]
            put_png(self._path.with_suffix(".png"), np.vstack(rows))

    def add(self, rgb: NDArray[np.uint8], scene: Scene, camera: CameraModel) -> None:
        """Draw one frame.

        Raises:
            PerceptionError: this OpenCV writes no mp4.
        """
        canvas = rgb.copy()
        now = scene.stamp_ns
        for track in scene.tracks:
            if track.track_id == 0:
                continue
            colour = _colour(track.track_id)
            later, _ = track.at(now + self._ahead_ns)
            self._predicted.append((now + self._ahead_ns, track.track_id, later[:3, 3]))
            here, there = (_face(pose, track.size_m, camera) for pose in (track.T_cam_package, later))
            if here is None or there is None:
                continue
            cv2.polylines(canvas, [there], True, colour, 1, cv2.LINE_AA)
            cv2.line(canvas, _middle(here), _middle(there), colour, 1, cv2.LINE_AA)
            cv2.polylines(canvas, [here], True, colour, 2, cv2.LINE_AA)
            for due_ns, track_id, place in self._predicted:
                if track_id == track.track_id and abs(due_ns - now) < 0.4e9 / self._rate_hz:
                    spot = geometry.project(camera, place[None])[0]
                    cv2.drawMarker(canvas, (round(spot[0]), round(spot[1])), (255, 255, 255), cv2.MARKER_CROSS, 9, 1, cv2.LINE_AA)
            _word(canvas, str(track.track_id), _middle(here), colour)
        self._predicted = [p for p in self._predicted if p[0] >= now]
        speed = "unknown" if scene.belt_velocity_m_s is None else f"{float(np.linalg.norm(scene.belt_velocity_m_s)):.3f} m/s"
        _word(canvas, f"belt {speed}", (8 + 60, canvas.shape[0] - 12), (255, 255, 255))
        self._film.add(canvas)
        if not self._film.written:
            raise PerceptionError(f"{self._path}.mp4: expected an OpenCV that writes mp4, got one that does not")
        self._pictures.append(canvas)


def _face(pose: F64, size_m: tuple[float, float, float], camera: CameraModel) -> NDArray[np.int32] | None:
    length, width, height = (side / 2 for side in size_m)
    corners = np.array([(-length, -width, height), (length, -width, height), (length, width, height), (-length, width, height)])
    pixels = geometry.project(camera, geometry.transform_points(pose, corners))
    return np.round(pixels).astype(np.int32) if np.isfinite(pixels).all() else None


def _middle(corners: NDArray[np.int32]) -> tuple[int, int]:
    u, v = corners.mean(axis=0)
    return round(float(u)), round(float(v))


def _colour(track_id: int) -> tuple[int, int, int]:
    hue = np.array([[[int(track_id * _GOLDEN % 1 * 179), 200, 255]]], dtype=np.uint8)
    r, g, b = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return r, g, b


def _word(canvas: NDArray[np.uint8], text: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
    (width, height), _ = cv2.getTextSize(text, _FONT, 0.5, 1)
    u, v = at[0] - width // 2, at[1] + height // 2
    cv2.rectangle(canvas, (u - 2, v - height - 2), (u + width + 2, v + 3), (0, 0, 0), -1)
    cv2.putText(canvas, text, (u, v), _FONT, 0.5, colour, 1, cv2.LINE_AA)

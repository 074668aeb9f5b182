"""Pictures of grasps: ranked and numbered, on colour or on colour-mapped depth."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node import geometry
from perception_node.types import F32, F64, CameraModel, Grasp, Scene

_NEAR_PERCENTILE, _FAR_PERCENTILE = 2.0, 98.0
_NORMAL_M = 0.06
_RED_TO_GREEN = ((235, 70, 50), (245, 190, 40), (60, 215, 90))
_JAW = (80, 200, 255)
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def depth_colours(depth_m: F32, focus: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """(H, W, 3) RGB picture of depth: near is warm, far is cold, no reading is black.

    Args:
        depth_m: (H, W), NaN = no reading. focus: (H, W) pixels whose range of depth gets all the colours, None = all.
    """
    valid = np.isfinite(depth_m) & (depth_m > 0)
    if not valid.any():
        return np.zeros((*depth_m.shape, 3), dtype=np.uint8)
    chosen = valid & focus if focus is not None and (valid & focus).any() else valid
    near, far = np.percentile(depth_m[chosen], [_NEAR_PERCENTILE, _FAR_PERCENTILE])
    share = (far - np.where(valid, depth_m, far)) / max(float(far - near), 1e-3)
    coloured = cv2.applyColorMap(np.clip(share * 255, 0, 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1].copy()
    coloured[~valid] = 0
    return np.asarray(coloured, dtype=np.uint8)


def draw_grasps(picture: NDArray[np.uint8] | F32, scene: Scene, camera: CameraModel, limit: int = 12,
                jaws: bool = True) -> NDArray[np.uint8]:
    """Draw the best grasp of each package and kind, numbered by rank over the whole scene.

    Suction: the cup's disc and its approach as a line; jaw: both fingers and the line between them. Green is likely to hold,
    red is not. The packages' outlines are thin white.

    Args:
        picture: (H, W, 3) uint8 RGB, or (H, W) float32 depth in metres. scene: of that picture. camera: likewise.
        limit: how many grasps are drawn at most. jaws: draw jaw grasps, too.

    Returns:
        (H, W, 3) uint8 RGB, a new picture.
    """
    labels = scene.segmentation.labels
    canvas: NDArray[np.uint8] = (depth_colours(picture.astype(np.float32), labels > 0) if picture.ndim == 2
                                 else np.array(picture, dtype=np.uint8, order="C"))
    edge = np.zeros(labels.shape, dtype=bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    canvas[edge] = _WHITE
    drawn: set[tuple[int, str]] = set()
    chosen = []
    for rank, grasp in enumerate(scene.grasps, start=1):
        if (grasp.label, grasp.kind) not in drawn and (jaws or grasp.kind == "suction"):
            drawn.add((grasp.label, grasp.kind))
            chosen.append((rank, grasp))
    chosen = chosen[:limit]
    for _, grasp in reversed(chosen):
        (_draw_cup if grasp.kind == "suction" else _draw_jaw)(canvas, grasp, camera)
    taken: list[tuple[int, int]] = []
    for rank, grasp in chosen:
        _tag(canvas, grasp, rank, camera, taken)
    return canvas


def _colour(score: float) -> tuple[int, int, int]:
    position = float(np.clip(score, 0.0, 1.0)) * (len(_RED_TO_GREEN) - 1)
    low = min(int(position), len(_RED_TO_GREEN) - 2)
    share = position - low
    mixed = [round((1 - share) * a + share * b) for a, b in zip(_RED_TO_GREEN[low], _RED_TO_GREEN[low + 1], strict=True)]
    return mixed[0], mixed[1], mixed[2]


def _pixels(camera: CameraModel, grasp: Grasp, points_grasp: F64) -> NDArray[np.int32] | None:
    pixels = geometry.project(camera, geometry.transform_points(grasp.T_cam_grasp, points_grasp))
    if not np.isfinite(pixels).all() or np.abs(pixels).max() > 1e5:
        return None
    return np.rint(pixels).astype(np.int32)


def _lines(canvas: NDArray[np.uint8], pixels: NDArray[np.int32] | None, colour: tuple[int, int, int], closed: bool) -> None:
    if pixels is not None:
        cv2.polylines(canvas, [pixels], closed, _BLACK, 4, cv2.LINE_AA)
        cv2.polylines(canvas, [pixels], closed, colour, 2, cv2.LINE_AA)


def _draw_cup(canvas: NDArray[np.uint8], grasp: Grasp, camera: CameraModel) -> None:
    angle = np.linspace(0, 2 * np.pi, 33)[:-1]
    ring = np.column_stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)]) * (grasp.width_m / 2)
    colour = _colour(grasp.score)
    _lines(canvas, _pixels(camera, grasp, ring), colour, True)
    _lines(canvas, _pixels(camera, grasp, np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -_NORMAL_M]])), colour, False)


def _draw_jaw(canvas: NDArray[np.uint8], grasp: Grasp, camera: CameraModel) -> None:
    half, finger = grasp.width_m / 2, 0.012
    colour = _colour(grasp.score)
    _lines(canvas, _pixels(camera, grasp, np.array([[-half, 0.0, 0.0], [half, 0.0, 0.0]])), _JAW, False)
    for side in (-half, half):
        bar = np.array([[side, -finger, 0.0], [side, finger, 0.0]])
        pixels = _pixels(camera, grasp, bar)
        if pixels is not None:
            cv2.polylines(canvas, [pixels], False, _BLACK, 7, cv2.LINE_AA)
            cv2.polylines(canvas, [pixels], False, colour, 4, cv2.LINE_AA)


def _tag(canvas: NDArray[np.uint8], grasp: Grasp, rank: int, camera: CameraModel, taken: list[tuple[int, int]]) -> None:
    """The rank and score in a box beside the grasp, moved down until it covers no other tag."""
    anchor = _pixels(camera, grasp, np.zeros((1, 3)))
    if anchor is None:
        return
    scale = max(canvas.shape[0] / 480, 0.6)
    text = f"{rank}: {grasp.score:.2f}"
    (width, height), base = cv2.getTextSize(text, _FONT, 0.42 * scale, 1)
    x = int(np.clip(anchor[0, 0] + 10 * scale, 0, max(canvas.shape[1] - width - 4, 0)))
    y = int(np.clip(anchor[0, 1] - 8 * scale, height + 4, canvas.shape[0] - base - 2))
    for _ in range(6):
        if all(abs(x - tx) > width + 4 or abs(y - ty) > height + base + 2 for tx, ty in taken):
            break
        y = min(y + height + base + 4, canvas.shape[0] - base - 2)
    taken.append((x, y))
    cv2.rectangle(canvas, (x - 2, y - height - 3), (x + width + 2, y + base), _BLACK, -1)
    cv2.putText(canvas, text, (x, y), _FONT, 0.42 * scale, _JAW if grasp.kind == "parallel_jaw" else _WHITE, 1, cv2.LINE_AA)

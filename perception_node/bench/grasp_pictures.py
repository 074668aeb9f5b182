"""Pictures of grasps for the eye: colour and depth side by side, packages without a suction grasp crossed, reasons below."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.grasp.draw import draw_grasps
from perception_node.types import Frame, Scene

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LINE_PX = 18
_RED, _AMBER, _WHITE, _BLACK = (255, 70, 60), (255, 190, 40), (240, 240, 240), (0, 0, 0)


def grasp_picture(frame: Frame, scene: Scene) -> NDArray[np.uint8]:
    """(H + text, 2 W, 3) uint8 RGB: grasps on colour and on depth; below, why packages have none and what covers what.

    Args:
        frame: with or without depth. scene: of that frame.
    """
    empty = np.full(scene.segmentation.labels.shape, np.nan, dtype=np.float32)
    halves = [draw_grasps(picture, scene, frame.camera, 30, jaws) for picture, jaws in
              ((frame.rgb, True), (frame.depth_m if frame.depth_m is not None else empty, False))]
    refused = {rejection.label: rejection.reason for rejection in scene.rejections if rejection.kind == "suction"}
    covered = {track.label: track.package.covered_by for track in scene.tracks if track.package.covered_by}
    lines = [(f"{label}: {reason}", _RED) for label, reason in sorted(refused.items())]
    lines += [(f"{label}: covered by {', '.join(map(str, above))}", _AMBER) for label, above in sorted(covered.items())
              if label not in refused]
    for half in halves:
        for label in sorted({*refused, *covered}):
            rows, columns = np.nonzero(scene.segmentation.labels == label)
            if len(rows) == 0:
                continue
            x, y = int(np.median(columns)), int(np.median(rows))
            colour = _RED if label in refused else _AMBER
            if label in refused:
                cv2.drawMarker(half, (x, y), colour, cv2.MARKER_TILTED_CROSS, 18, 2, cv2.LINE_AA)
            _write(half, str(label), (x + 10, y + 16), colour)
    width = halves[0].shape[1] * 2
    strip = np.zeros((_LINE_PX * max(len(lines), 1) + 8, width, 3), dtype=np.uint8)
    for n, (text, colour) in enumerate(lines):
        _write(strip, text[: width // 8], (8, _LINE_PX * (n + 1) - 4), colour)
    if not lines:
        _write(strip, "every package has a suction grasp, nothing lies on another", (8, _LINE_PX - 4), _WHITE)
    return np.concatenate([np.concatenate(halves, axis=1), strip])


def _write(picture: NDArray[np.uint8], text: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
    cv2.putText(picture, text, at, _FONT, 0.45, _BLACK, 3, cv2.LINE_AA)
    cv2.putText(picture, text, at, _FONT, 0.45, colour, 1, cv2.LINE_AA)

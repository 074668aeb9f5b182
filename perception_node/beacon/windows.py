"""Where to look in the next picture and for what: small windows around the predicted lights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perception_node.beacon.blobs import Window
from perception_node.beacon.hypotheses import Hypothesis, spacing_px
from perception_node.beacon.layout import Layout
from perception_node.beacon.limits import Limits, schedule
from perception_node.geometry import project, transform_points
from perception_node.types import F64, CameraModel

_MARGIN_PX = 9.0
"""Free pixels around a spot: its halo, and what a light may jump at 30 Hz when the camera is knocked. Source: judgement."""
_MOTION = 0.35
"""Share of the motion since the last picture that the prediction may be wrong by. Source: judgement."""


def plan(camera: CameraModel, layout: Layout, last: Hypothesis, places: Sequence[F64], T: F64, stamp_ns: int,
         ) -> tuple[list[Window], Limits, float]:
    """Windows, limits and the expected height of the spots.

    Args:
        last: the best hypothesis as of the last picture. places: (N, 2) predicted pixels of the LEDs, for each hypothesis, the
            best one first. T: (4, 4) predicted pose of the best one. stamp_ns: of the picture.
    """
    before = project(camera, transform_points(last.fit.T, layout.leds_m))
    range_now, range_last = (float(np.linalg.norm(T[:3, 3])) for T in (T, last.fit.T))
    first = places[0]
    limits = schedule(last.area_px, range_last, range_now, spacing_px(first))
    across = 2.0 * np.sqrt(max(last.area_px, 4.0) / np.pi) * max(range_last / range_now, 1.0)
    moved = float(np.nanmax(np.linalg.norm(first - before, axis=1), initial=0.0))
    missed = max(1e-9 * (stamp_ns - last.stamp_ns) / 0.05, 1.0)
    reach = (0.75 * across + _MARGIN_PX + _MOTION * moved) * min(missed, 3.0)
    boxes: list[list[float]] = []
    for place in places:
        for u, v in place[np.isfinite(place).all(axis=1)]:
            boxes.append([u - reach, v - reach, u + reach, v + reach])
    peak = last.peak * min((range_last / range_now) ** 2, 4.0)
    return _joined(boxes, camera.width, camera.height), limits, peak


def _joined(boxes: list[list[float]], width: int, height: int) -> list[Window]:
    """Overlapping boxes made one, cut to the picture."""
    done: list[list[float]] = []
    for box in boxes:
        merged = True
        while merged:
            merged = False
            for other in done:
                if box[0] <= other[2] and other[0] <= box[2] and box[1] <= other[3] and other[1] <= box[3]:
                    done.remove(other)
                    box = [min(box[0], other[0]), min(box[1], other[1]), max(box[2], other[2]), max(box[3], other[3])]
                    merged = True
                    break
        done.append(box)
    windows = [(max(int(x0), 0), max(int(y0), 0), min(int(np.ceil(x1)), width), min(int(np.ceil(y1)), height))
               for x0, y0, x1, y1 in done if x1 > 0 and y1 > 0 and x0 < width and y0 < height]
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in windows if x1 - x0 >= 5 and y1 - y0 >= 5]

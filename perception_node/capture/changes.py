"""Packages that fell apart or grew together from one scene to the next: where two packages are now lay one before, or the reverse.

Boxes of visible masks are compared in the picture, after each was moved by its track's velocity.
"""

from __future__ import annotations

import numpy as np

from perception_node.types import F64, CameraModel, Scene

INSIDE_SHARE = 0.8
"""A part lies in the whole when this share of its box does."""
MAX_PART, PARTS_SUM = 0.85, (0.7, 1.2)
"""A part has at most this share of the whole's area, and all parts together this much of it: a package that merely comes to lie
beside another leaves that one's area as it is. Source: judgement; seams hide some per cent of the area."""
_GROW_PX = 4.0


def splits_and_merges(previous: Scene, scene: Scene, camera: CameraModel) -> str:
    """What fell apart or grew together between two scenes of one camera, in words; "" = nothing.

    At least one part of a split has a track id that was not there before, at least one of a merge one that is gone.
    """
    if not previous.tracks or not scene.tracks:
        return ""
    before, now = _boxes(previous, camera, 1e-9 * (scene.stamp_ns - previous.stamp_ns)), _boxes(scene, camera, 0.0)
    words = [f"track {whole} split into {parts}" for whole, parts in _parts(before, now)]
    words += [f"tracks {parts} merged into {whole}" for whole, parts in _parts(now, before)]
    return "; ".join(words)


def _boxes(scene: Scene, camera: CameraModel, ahead_s: float) -> F64:
    """(N, 6) track id, box x0, y0, x1, y1 in pixels where it will be `ahead_s` later, visible area."""
    instances = scene.segmentation.instances
    rows = np.array([(t.track_id, *instances[t.label - 1].bbox_xyxy, instances[t.label - 1].area_px) for t in scene.tracks],
                    dtype=np.float64)
    if ahead_s:
        place = np.array([t.T_cam_package[:3, 3] for t in scene.tracks])
        later = place + ahead_s * np.array([t.velocity_m_s for t in scene.tracks])
        ahead = (place[:, 2] > 0) & (later[:, 2] > 0)  # what lies behind the camera has no place in the picture
        for axis, focal in ((0, camera.fx), (1, camera.fy)):
            shift = np.zeros(len(rows))
            shift[ahead] = focal * (later[ahead, axis] / later[ahead, 2] - place[ahead, axis] / place[ahead, 2])
            rows[:, 1 + axis] += shift
            rows[:, 3 + axis] += shift
    return rows


def _parts(wholes: F64, parts: F64) -> list[tuple[int, str]]:
    """Which of the first hold at least two of the second: (id, the parts' ids in words). A part has the whole's id, or one that
    none of the first has: a neighbour that is there all the time is no part."""
    low = np.maximum(parts[:, None, 1:3], wholes[None, :, 1:3] - _GROW_PX)
    high = np.minimum(parts[:, None, 3:5], wholes[None, :, 3:5] + _GROW_PX)
    size = np.prod(parts[:, 3:5] - parts[:, 1:3], axis=1)
    inside = np.prod(np.maximum(high - low, 0.0), axis=2) >= INSIDE_SHARE * size[:, None]
    inside &= parts[:, None, 5] <= MAX_PART * wholes[None, :, 5]
    inside &= ~np.isin(parts[:, 0], wholes[:, 0])[:, None] | (parts[:, None, 0] == wholes[None, :, 0])
    found = []
    for k in np.flatnonzero(inside.sum(axis=0) >= 2):
        share = parts[inside[:, k], 5].sum() / wholes[k, 5]
        if PARTS_SUM[0] <= share <= PARTS_SUM[1]:
            found.append((int(wholes[k, 0]), " and ".join(str(int(i)) for i in parts[inside[:, k], 0])))
    return found

"""Does the segmenter say the same of a picture and of its mirror image? Where not, it is wrong at least once.

Not done while the node runs: it takes as long as the frame itself (docs/fleet.md). `perception capture export --mirrored` does it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from perception_node.pipeline import SegmenterLike
from perception_node.types import F64, Frame, Segmentation


def mirrored(frame: Frame) -> Frame:
    """A frame as the camera would have taken it in a mirror: left and right exchanged. Distortion is left as it is."""
    camera = replace(frame.camera, cx=frame.camera.width - 1 - frame.camera.cx)
    depth_m = None if frame.depth_m is None else np.ascontiguousarray(frame.depth_m[:, ::-1])
    return replace(frame, rgb=np.ascontiguousarray(frame.rgb[:, ::-1]), depth_m=depth_m, camera=camera)


def mirror_agreement(segmenter: SegmenterLike, frame: Frame, belt_plane: F64 | None, min_score: float) -> float:
    """Agreement of the answers to a frame and to its mirror image, 0..1; `belt_plane`: (4,) as `belt.plane`.

    Only packages with at least `min_score` count.
    """
    plane = None if belt_plane is None else belt_plane * np.array([-1.0, 1.0, 1.0, 1.0])
    first = segmenter.segment(frame, belt_plane)
    second = segmenter.segment(mirrored(frame), plane)
    return agreement(first, Segmentation(np.ascontiguousarray(second.labels[:, ::-1]), second.instances), min_score)


def agreement(first: Segmentation, second: Segmentation, min_score: float = 0.0) -> float:
    """Panoptic quality of one segmentation against another of the same size, packages of all classes together; 1 = equal.

    Source: A. Kirillov et al., "Panoptic Segmentation", CVPR 2019: sum of IoU over 0.5 of the pairs of one class, divided by the
    mean number of packages.
    """
    rows, columns = len(first.instances) + 1, len(second.instances) + 1
    pairs = first.labels.astype(np.int64) * columns + second.labels
    common = np.bincount(pairs.ravel(), minlength=rows * columns).reshape(rows, columns)
    union = common.sum(axis=1)[:, None] + common.sum(axis=0)[None, :] - common
    mine, theirs = ([i for i in s.instances if i.score >= min_score] for s in (first, second))
    if not mine and not theirs:
        return 1.0
    iou = [common[a.label, b.label] / union[a.label, b.label] for a in mine for b in theirs
           if a.class_name == b.class_name and 2 * common[a.label, b.label] > union[a.label, b.label]]
    return float(2 * sum(iou) / (len(mine) + len(theirs)))

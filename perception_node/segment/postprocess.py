"""From the network's heads to one label per package: bottom-up grouping whose cost hardly depends on the number of packages.

Each foreground pixel votes for the centre of its package's visible part; peaks of the centre map are the packages; each square
of the grid knows the few peaks that may be nearest there, so a vote is settled by comparing these.

Source: B. Cheng et al., "Panoptic-DeepLab", CVPR 2020 (centre map and offsets).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import steady
from perception_node.segment import kernels
from perception_node.segment.encode import CENTRE_CHANNEL
from perception_node.types import CLASS_NAMES, F32, F64, Instance, Segmentation

_MAX_PACKAGES = 250  # the label picture is smoothed as uint8


@dataclass(frozen=True)
class Grouping:
    """Thresholds of the grouping; lengths in grid pixels.

    Attributes:
        centre_threshold: smallest peak, 0..1. centre_window_px: side of the window in which a peak must be the largest.
        foreground_threshold: smallest probability of not being background, 0..1.
        min_area_px: smaller packages are dropped. max_vote_error_px, vote_error_share: a pixel whose vote misses its peak by
            more than the sum of `max_vote_error_px` and this share of its own offset is left out.
        merge_distance, merge_boundary: neighbours are one package when their peaks are nearer than this share of the smaller
            one's width (and no clear boundary runs between them), or when the mean boundary probability between them is less.
        calibration: (weight of the logit, bias) of the score's logistic calibration, fitted on validation data.

    Source: measured: docs/segmenter.md.
    """

    centre_threshold: float = 0.25
    centre_window_px: int = 11
    foreground_threshold: float = 0.5
    min_area_px: int = 24
    max_vote_error_px: float = 12.0
    vote_error_share: float = 0.5
    merge_distance: float = 0.4
    merge_boundary: float = 0.35
    calibration: tuple[float, float] = (1.0, 0.0)


def group(heads: F32, size: tuple[int, int], grouping: Grouping | None = None,
          classes: Sequence[str] = CLASS_NAMES) -> Segmentation:
    """Turn activated heads into packages.

    Args:
        heads: (C, h, w) float32, the exported model's output for one picture. size: (width, height) of the picture.
        grouping: thresholds. classes: names of the class channels after background.

    Returns:
        labels at the picture's resolution, largest score first.
    """
    grouping = grouping or Grouping()
    heads = steady(heads)
    centres = _peaks(heads, grouping)
    labels = kernels.settle_votes(heads, centres, float(grouping.foreground_threshold), float(grouping.max_vote_error_px),
                                  float(grouping.vote_error_share))
    kernels.merge_fragments(labels, heads, centres, float(grouping.merge_distance), float(grouping.merge_boundary))
    kept, certainty, votes = kernels.largest_pieces(labels, heads, len(centres), float(grouping.min_area_px))
    scores, seams = _scores(heads, centres, certainty, grouping), kernels.seams(labels, heads, len(centres))
    ranked = sorted(np.flatnonzero(kept).tolist(), key=lambda label: (-scores[label], label))
    full, area_px, box = _upsample(labels, heads, size, ranked, grouping.foreground_threshold)
    instances = tuple(
        Instance(new, classes[int(votes[:, label].argmax())], scores[label], (x0, y0, x1, y1), int(area_px[label]),
                 min(float(certainty[label]), 1.0), min(float(seams[label]), 1.0))
        for new, label in enumerate((label for label in ranked if area_px[label] > 0), start=1)
        for x0, y0, x1, y1 in [box[label].tolist()])
    return Segmentation(full, instances)


def above_score(found: Segmentation, min_score: float) -> Segmentation:
    """Leave out packages below a score; `found` must come best first, as `group` gives it."""
    count = sum(instance.score >= min_score for instance in found.instances)
    return Segmentation(np.where(found.labels <= count, found.labels, np.uint16(0)), found.instances[:count])


def _peaks(heads: F32, grouping: Grouping) -> NDArray[np.int64]:
    """(K, 2) rows and columns of the centre map's local maxima, highest first."""
    smooth = np.asarray(cv2.GaussianBlur(heads[CENTRE_CHANNEL], (3, 3), 0), dtype=np.float32)  # breaks ties of flat tops
    found = kernels.peaks(heads, smooth, float(grouping.centre_threshold), int(grouping.centre_window_px))
    order = np.argsort(-smooth[found[:, 0], found[:, 1]], kind="stable")
    return found[order[:_MAX_PACKAGES]]


def _scores(heads: F32, centres: NDArray[np.int64], certainty: F64, grouping: Grouping) -> list[float]:
    """Calibrated score by label; that of 0 means nothing."""
    raw = np.clip(heads[CENTRE_CHANNEL][centres[:, 0], centres[:, 1]] * certainty[1:], 1e-6, 1 - 1e-6)
    weight, bias = grouping.calibration
    calibrated: list[float] = (1.0 / (1.0 + np.exp(-(weight * np.log(raw / (1 - raw)) + bias)))).tolist()
    return [0.0, *calibrated]


def _upsample(labels: NDArray[np.uint8], heads: F32, size: tuple[int, int], ranked: list[int],
              threshold: float) -> tuple[NDArray[np.uint16], NDArray[np.int64], NDArray[np.int64]]:
    """Bring grid labels to (height, width): outlines from the interpolated foreground, borders between packages smoothed.

    Returns:
        (height, width) labels, renumbered in the order of `ranked`; and by grid label (256,) areas, (256, 4) bounding boxes.
    """
    grown = cv2.dilate(labels, np.ones((3, 3), np.uint8))
    np.copyto(grown, labels, where=labels > 0)
    full = np.asarray(cv2.medianBlur(cv2.resize(grown, size, interpolation=cv2.INTER_NEAREST), 5), dtype=np.uint8)
    foreground = cv2.convertScaleAbs(heads[0], alpha=-255, beta=255)
    soft = np.asarray(cv2.resize(foreground, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    limit = int(np.clip(np.floor(255 * threshold), -1, 255))
    lookup, area_px, box = np.zeros(256, np.uint16), np.empty(256, np.int64), np.empty((256, 4), np.int64)
    lookup[ranked] = np.arange(1, len(ranked) + 1)
    out = kernels.outline(full, soft, limit, lookup, area_px, box)
    if ranked and not area_px[ranked].all():  # nothing is left of a package: the numbers after it move up
        lookup[ranked] = np.cumsum(area_px[ranked] > 0)
        out = kernels.outline(full, soft, limit, lookup, area_px, box)
    return out, area_px, box

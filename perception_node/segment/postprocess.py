"""From the network's heads to one label per package: bottom-up grouping whose cost hardly depends on the number of packages.

Each foreground pixel votes for the centre of its package's visible part; peaks of the centre map are the packages; a
Voronoi map of the peaks says for every spot which peak is nearest, so a vote is settled by one look-up.

Source: B. Cheng et al., "Panoptic-DeepLab", CVPR 2020 (centre map and offsets).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.segment.encode import BOUNDARY_CHANNEL, CENTRE_CHANNEL, CLASS_CHANNELS, OFFSET_CHANNELS
from perception_node.types import CLASS_NAMES, F32, Instance, Segmentation

_MAX_PACKAGES = 250  # the label picture is smoothed as uint8
_MIN_SHARED_BORDER_PX = 4
_CLEAR_BOUNDARY = 0.75
_VOTE_STEP = 2


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
    height, width = heads.shape[1:]
    foreground = 1.0 - heads[0]
    centres = _peaks(heads[CENTRE_CHANNEL], foreground, grouping)
    empty = Segmentation(np.zeros((size[1], size[0]), np.uint16), ())
    if len(centres) == 0:
        return empty
    seeds = np.ones((height, width), np.uint8)
    seeds[centres[:, 0], centres[:, 1]] = 0
    voronoi = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)[1]
    ordinal = np.zeros(len(centres) + 1, np.uint8)
    ordinal[voronoi[centres[:, 0], centres[:, 1]]] = np.arange(1, len(centres) + 1)
    labels = _settle_votes(heads[OFFSET_CHANNELS], ordinal[voronoi], centres, grouping)
    labels[foreground <= grouping.foreground_threshold] = 0
    _merge_fragments(labels, heads[BOUNDARY_CHANNEL], centres, grouping)
    kept, boxes = _largest_pieces(labels, len(centres), grouping.min_area_px)
    if not kept:
        return empty
    return _finish(labels, kept, boxes, heads, foreground, centres, size, grouping, classes)


def above_score(found: Segmentation, min_score: float) -> Segmentation:
    """Leave out packages below a score; `found` must come best first, as `group` gives it."""
    count = sum(instance.score >= min_score for instance in found.instances)
    return Segmentation(np.where(found.labels <= count, found.labels, np.uint16(0)), found.instances[:count])


def _settle_votes(offsets: F32, nearest: NDArray[np.uint8], centres: NDArray[np.intp],
                  grouping: Grouping) -> NDArray[np.uint8]:
    """(h, w) uint8: for each pixel the peak (1..) that is nearest to where it votes; 0 where the vote misses it by too much."""
    height, width = nearest.shape
    dx, dy = offsets
    vote_x = dx + np.arange(width, dtype=np.float32)[None, :]
    vote_y = dy + np.arange(height, dtype=np.float32)[:, None]
    chosen = np.asarray(cv2.remap(nearest, vote_x, vote_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)
    rows, columns = np.zeros((2, 256), np.float32)  # by label, as tables for cv2.LUT
    rows[1:len(centres) + 1], columns[1:len(centres) + 1] = centres.T
    miss = cv2.magnitude(cv2.LUT(chosen, columns) - vote_x, cv2.LUT(chosen, rows) - vote_y)
    allowed = cv2.magnitude(dx, dy) * np.float32(grouping.vote_error_share) + np.float32(grouping.max_vote_error_px)
    chosen[miss > allowed] = 0
    return chosen


def _peaks(heat: F32, foreground: F32, grouping: Grouping) -> NDArray[np.intp]:
    """(K, 2) rows and columns of the centre map's local maxima, highest first."""
    smooth = cv2.GaussianBlur(heat, (3, 3), 0)  # breaks ties of flat tops
    window = np.ones((grouping.centre_window_px, grouping.centre_window_px), np.uint8)
    top = smooth >= cv2.dilate(smooth, window)
    found = np.argwhere(top & (heat > grouping.centre_threshold) & (smooth > 0.5 * grouping.centre_threshold))
    order = np.argsort(-smooth[found[:, 0], found[:, 1]], kind="stable")
    return found[order[:_MAX_PACKAGES]]


def _merge_fragments(labels: NDArray[np.uint8], boundary: F32, centres: NDArray[np.intp], grouping: Grouping) -> None:
    """Join neighbours (in place) whose peaks are too near for two packages, or that no boundary divides."""
    count = len(centres) + 1
    keys, walls = [], []
    for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        a, b = labels[first], labels[second]
        at = np.flatnonzero((a != b) & (a > 0) & (b > 0))
        low, high = a.ravel()[at].astype(np.intp), b.ravel()[at].astype(np.intp)
        keys.append(np.minimum(low, high) * count + np.maximum(low, high))
        walls.append(np.maximum(boundary[first].ravel()[at], boundary[second].ravel()[at]))
    pairs, which, length = np.unique(np.concatenate(keys), return_inverse=True, return_counts=True)
    wall = np.bincount(which, np.concatenate(walls)) / length if len(pairs) else np.zeros(0)
    area = np.bincount(labels.ravel(), minlength=count)
    owner = np.arange(count)
    for pair, border, strength in zip(pairs.tolist(), length.tolist(), wall.tolist(), strict=True):
        i, j = divmod(pair, count)
        apart = float(np.hypot(*(centres[i - 1] - centres[j - 1])))
        near = apart < grouping.merge_distance * float(np.sqrt(min(area[i], area[j])))
        if border >= _MIN_SHARED_BORDER_PX and (strength < grouping.merge_boundary or (near and strength < _CLEAR_BOUNDARY)):
            owner[owner == max(owner[i], owner[j])] = min(owner[i], owner[j])
    if (owner != np.arange(count)).any():
        labels[:] = owner.astype(np.uint8)[labels]


def _largest_pieces(labels: NDArray[np.uint8], count: int,
                    min_area_px: int) -> tuple[list[int], dict[int, tuple[int, int, int, int]]]:
    """Clear islands (in place) that are smaller than a fifth of a package's largest piece, and packages too small.

    A package that another one crosses may be visible in two large pieces; both stay.
    """
    kept, boxes = [], {}
    for label in range(1, count + 1):
        mask = (labels == label).view(np.uint8)
        x, y, w, h = cv2.boundingRect(mask)
        if w == 0:
            continue
        view = mask[y:y + h, x:x + w]
        pieces, piece_map = cv2.connectedComponents(view, connectivity=4, ltype=cv2.CV_16U)
        areas = np.bincount(piece_map.ravel())[1:] if pieces > 2 else np.array([cv2.countNonZero(view)])
        big = areas >= max(0.2 * areas.max(), min(min_area_px, areas.max()))
        if areas[big].sum() < min_area_px:
            labels[y:y + h, x:x + w][view > 0] = 0
            continue
        if not big.all():
            drop = np.concatenate([[False], ~big])[piece_map]
            labels[y:y + h, x:x + w][drop] = 0
        kept.append(label)
        boxes[label] = (x, y, w, h)
    return kept, boxes


def _finish(labels: NDArray[np.uint8], kept: list[int], boxes: dict[int, tuple[int, int, int, int]], heads: F32,
            foreground: F32, centres: NDArray[np.intp], size: tuple[int, int], grouping: Grouping,
            classes: Sequence[str]) -> Segmentation:
    """Score, classify and bring the labels to the picture's resolution."""
    bins = len(centres) + 1
    some = labels[::_VOTE_STEP, ::_VOTE_STEP].ravel()  # the class is a vote of thousands: every fourth pixel will do
    votes = np.stack([np.bincount(some, c[::_VOTE_STEP, ::_VOTE_STEP].ravel(), bins) for c in heads[CLASS_CHANNELS][1:]])
    flat = labels.ravel().astype(np.intp)
    area = np.maximum(np.bincount(flat, minlength=bins), 1)
    certainty = np.bincount(flat, foreground.ravel(), bins) / area
    raw = heads[CENTRE_CHANNEL][centres[:, 0], centres[:, 1]]
    full = _upsample(labels, foreground, size, grouping.foreground_threshold)
    full_area = cv2.calcHist([full], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    scored = []
    for label in kept:
        if full_area[label] == 0:
            continue
        score = float(np.clip(raw[label - 1] * certainty[label], 1e-6, 1 - 1e-6))
        weight, bias = grouping.calibration
        score = float(1.0 / (1.0 + np.exp(-(weight * np.log(score / (1 - score)) + bias))))
        scored.append((score, label))
    scored.sort(key=lambda pair: (-pair[0], pair[1]))
    lookup = np.zeros(256, np.uint16)
    instances = []
    scale_x, scale_y = size[0] / labels.shape[1], size[1] / labels.shape[0]
    for new, (score, label) in enumerate(scored, 1):
        lookup[label] = new
        x, y, w, h = boxes[label]  # grid box, with a margin: the exact box is read off the full picture
        x0, y0 = max(0, int((x - 2) * scale_x)), max(0, int((y - 2) * scale_y))
        x1, y1 = int((x + w + 2) * scale_x) + 1, int((y + h + 2) * scale_y) + 1
        bx, by, bw, bh = cv2.boundingRect((full[y0:y1, x0:x1] == label).view(np.uint8))
        name = classes[int(np.argmax(votes[:, label]))]
        instances.append(Instance(new, name, score, (x0 + bx, y0 + by, x0 + bx + bw, y0 + by + bh), int(full_area[label])))
    return Segmentation(np.asarray(cv2.LUT(full, lookup), dtype=np.uint16), tuple(instances))


def _upsample(labels: NDArray[np.uint8], foreground: F32, size: tuple[int, int], threshold: float) -> NDArray[np.uint8]:
    """Bring grid labels to (height, width): outlines from the interpolated foreground, borders between packages smoothed."""
    grown = np.where(labels > 0, labels, cv2.dilate(labels, np.ones((3, 3), np.uint8)))
    full = cv2.resize(grown, size, interpolation=cv2.INTER_NEAREST)
    full = cv2.medianBlur(full, 5)
    soft = cv2.resize(cv2.convertScaleAbs(foreground, alpha=255), size, interpolation=cv2.INTER_LINEAR)
    return np.multiply(full, soft > 255 * threshold, dtype=np.uint8)

"""Compiled loops of the grouping: peaks, votes, fragments, islands, and the labels of the full picture.

Heads come contiguous and read-only (`steady`), all other arrays fresh: each loop is compiled for one set of types.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from perception_node.compiled import compiled, steady
from perception_node.types import F32, F64

Labels = NDArray[np.uint8]
Whole = NDArray[np.int64]

_MIN_SHARED_BORDER_PX = 4
_CLEAR_BOUNDARY = 0.75
_VOTE_STEP = 2  # the class is a vote of thousands: every fourth pixel will do
_SMALL_PIECE = 0.2
_INSIDE_PX = 2  # as far from the mask's edge, in grid pixels, a border is no longer its own
_BLOCK = 8  # side in grid pixels of the squares that share a list of the peaks that may be nearest
_WORD, _EACH_BYTE = 8, np.uint64(0x0101010101010101)  # pixels that are compared at once


@compiled
def peaks(heads: F32, smooth: F32, threshold: float, window: int) -> Whole:
    """(K, 2) rows and columns of the centre map's local maxima, row by row.

    Args:
        heads: (C, h, w). smooth: (h, w) its centre map without ties. threshold: least of the map, 0..1. window: side in grid pixels
            of the window in which a peak must be the largest.
    """
    heat = heads[len(heads) - 3]
    height, width = heat.shape
    found = np.empty((height * width, 2), np.int64)
    count = 0
    before, after = window // 2, window - 1 - window // 2
    for v in range(height):
        for u in range(width):
            here = smooth[v, u]
            if not (heat[v, u] > threshold and here > 0.5 * threshold):
                continue
            largest = True
            for row in range(max(0, v - before), min(height, v + after + 1)):
                for column in range(max(0, u - before), min(width, u + after + 1)):
                    if smooth[row, column] > here:
                        largest = False
                        break
                if not largest:
                    break
            if largest:
                found[count, 0], found[count, 1] = v, u
                count += 1
    return found[:count].copy()


@compiled
def settle_votes(heads: F32, centres: Whole, foreground: float, error_px: float, error_share: float) -> Labels:
    """(h, w) uint8: for each pixel the peak (1..) that is nearest to where it votes; 0 = background, or a vote beside its peak.

    Args:
        heads: (C, h, w). centres: (K, 2) rows and columns of the peaks; of two that are as near, the first counts.
        foreground: smallest probability of not being background. error_px, error_share: see `Grouping`.
    """
    channels, height, width = heads.shape
    background, right, down = heads[0], heads[channels - 2], heads[channels - 1]
    labels = np.zeros((height, width), np.uint8)
    if len(centres) == 0:
        return labels
    near, first = _near_centres(centres, height, width)
    blocks = (width + _BLOCK - 1) // _BLOCK
    least, share, spare, one = np.float32(foreground), np.float32(error_share), np.float32(error_px), np.uint64(1)
    for v in range(height):
        for u in range(width):
            if not np.float32(1.0) - background[v, u] > least:
                continue
            dx, dy = right[v, u], down[v, u]
            x, y = dx + np.float32(u), dy + np.float32(v)
            column = int(np.rint(min(max(x, np.float32(0.0)), np.float32(width - 1))))
            row = int(np.rint(min(max(y, np.float32(0.0)), np.float32(height - 1))))
            block = np.uint64(row // _BLOCK * blocks + column // _BLOCK)
            chosen, end = near[first[block]], first[block + one]
            if first[block] + 1 < end:
                least2 = np.int64(height * height + width * width)
                for k in range(first[block], end):
                    rows, columns = centres[near[k], 0] - row, centres[near[k], 1] - column
                    if rows * rows + columns * columns < least2:
                        chosen, least2 = near[k], rows * rows + columns * columns
            x, y = np.float32(centres[chosen, 1]) - x, np.float32(centres[chosen, 0]) - y
            if math.sqrt(x * x + y * y) <= math.sqrt(dx * dx + dy * dy) * share + spare:
                labels[v, u] = chosen + 1
    return labels


@compiled
def _near_centres(centres: Whole, height: int, width: int) -> tuple[Whole, Whole]:
    """For each block of the grid, row by row, the peaks (0..) that may be the nearest one of a pixel in it.

    Returns:
        Peaks, block after block, and (blocks + 1,) where those of each block begin.
    """
    down, across = (height + _BLOCK - 1) // _BLOCK, (width + _BLOCK - 1) // _BLOCK
    near, first = np.empty(down * across * len(centres), np.int64), np.zeros(down * across + 1, np.int64)
    count = 0
    closest = np.empty(len(centres), np.int64)
    for i in range(down):
        for j in range(across):
            top, left = i * _BLOCK, j * _BLOCK
            bottom, right = top + _BLOCK - 1, left + _BLOCK - 1
            bound = np.int64(4 * (height * height + width * width))
            for k in range(len(centres)):
                row, column = centres[k, 0], centres[k, 1]
                outside = max(top - row, row - bottom, 0), max(left - column, column - right, 0)
                farthest = max(row - top, bottom - row), max(column - left, right - column)
                closest[k] = outside[0] * outside[0] + outside[1] * outside[1]
                bound = min(bound, farthest[0] * farthest[0] + farthest[1] * farthest[1])
            for k in range(len(centres)):
                if closest[k] <= bound:
                    near[count] = k
                    count += 1
            first[i * across + j + 1] = count
    return near[:count], first


@compiled
def merge_fragments(labels: Labels, heads: F32, centres: Whole, merge_distance: float, merge_boundary: float) -> None:
    """Join neighbours (in place) whose peaks are too near for two packages, or that no boundary divides; see `Grouping`."""
    boundary = heads[len(heads) - 4]
    height, width = labels.shape
    count = len(centres) + 1
    length, walls = np.zeros((count, count), np.int64), np.zeros((count, count))
    area, owner = np.zeros(count, np.int64), np.arange(count)
    for v in range(height):
        for u in range(width):
            here = labels[v, u]
            if here == 0:
                continue
            area[here] += 1
            if u + 1 < width and labels[v, u + 1] != here and labels[v, u + 1] > 0:
                low, high = min(here, labels[v, u + 1]), max(here, labels[v, u + 1])
                length[low, high] += 1
                walls[low, high] += max(boundary[v, u], boundary[v, u + 1])
            if v + 1 < height and labels[v + 1, u] != here and labels[v + 1, u] > 0:
                low, high = min(here, labels[v + 1, u]), max(here, labels[v + 1, u])
                length[low, high] += 1
                walls[low, high] += max(boundary[v, u], boundary[v + 1, u])
    joined = False
    for i in range(1, count):
        for j in range(i + 1, count):
            if length[i, j] < _MIN_SHARED_BORDER_PX:
                continue
            strength = walls[i, j] / length[i, j]
            apart = math.hypot(float(centres[i - 1, 0] - centres[j - 1, 0]), float(centres[i - 1, 1] - centres[j - 1, 1]))
            near = apart < merge_distance * math.sqrt(float(min(area[i], area[j])))
            if strength < merge_boundary or (near and strength < _CLEAR_BOUNDARY):
                first, second = min(owner[i], owner[j]), max(owner[i], owner[j])
                for k in range(count):
                    if owner[k] == second:
                        owner[k] = first
                joined = True
    if joined:
        for v in range(height):
            for u in range(width):
                labels[v, u] = owner[labels[v, u]]


@compiled
def largest_pieces(labels: Labels, heads: F32, count: int, min_area_px: float) -> tuple[NDArray[np.bool_], F64, F64]:
    """Clear islands (in place) that are smaller than a fifth of a package's largest piece, and packages too small.

    A package that another one crosses may be visible in two large pieces; both stay.

    Args:
        labels: (h, w) up to `count`. heads: (C, h, w). min_area_px: of a package.

    Returns:
        By label, 0..count: whether it is still there; mean probability that its pixels are not background; and (classes,
        count + 1) sums of its class probabilities.
    """
    height, width = labels.shape
    classes = len(heads) - 5
    piece = np.zeros((height, width), np.int32)
    parent, size = np.zeros(height * width + 1, np.int32), np.zeros(height * width + 1, np.int64)
    owner = np.zeros(height * width + 1, np.uint8)
    pieces = 0
    for v in range(height):
        for u in range(width):
            here = labels[v, u]
            if here == 0:
                continue
            left = piece[v, u - 1] if u > 0 and labels[v, u - 1] == here else np.int32(0)
            above = piece[v - 1, u] if v > 0 and labels[v - 1, u] == here else np.int32(0)
            mine = left if left > 0 else above
            if mine == 0:
                pieces += 1
                mine = np.int32(pieces)
                parent[pieces], owner[pieces] = pieces, here
            elif left > 0 and above > 0 and left != above:
                while parent[left] != left:
                    left = parent[left]
                while parent[above] != above:
                    above = parent[above]
                parent[max(left, above)] = min(left, above)
            piece[v, u] = mine
            size[mine] += 1
    largest, whole = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    for k in range(pieces, 0, -1):  # a parent's number is less than its children's
        if parent[k] != k:
            size[parent[k]] += size[k]
    for k in range(1, pieces + 1):
        if parent[k] != k:
            parent[k] = parent[parent[k]]
        elif size[k] > largest[owner[k]]:
            largest[owner[k]] = size[k]
    stays = np.zeros(pieces + 1, np.bool_)
    for k in range(1, pieces + 1):
        most = largest[owner[k]]
        if parent[k] == k and size[k] >= max(_SMALL_PIECE * most, min(min_area_px, most)):
            stays[k] = True
            whole[owner[k]] += size[k]
    kept = whole >= max(min_area_px, 1.0)
    kept[0] = False
    certainty, votes = np.zeros(count + 1), np.zeros((classes, count + 1))
    for v in range(height):
        for u in range(width):
            here = labels[v, u]
            if here == 0:
                continue
            if not (kept[here] and stays[parent[piece[v, u]]]):
                labels[v, u] = 0
                continue
            certainty[here] += np.float32(1.0) - heads[0, v, u]
            if v % _VOTE_STEP == 0 and u % _VOTE_STEP == 0:
                for k in range(classes):
                    votes[k, here] += heads[1 + k, v, u]
    for k in range(1, count + 1):
        certainty[k] /= max(whole[k], 1)
    return kept, certainty, votes


@compiled
def seams(labels: Labels, heads: F32, count: int) -> F64:
    """(count + 1,) by label the mean probability of a border between packages inside its mask; where no pixel is inside, of all.

    Args:
        labels: (h, w) up to `count`. heads: (C, h, w).
    """
    boundary = heads[len(heads) - 4]
    height, width = labels.shape
    inside, every = np.zeros(count + 1), np.zeros(count + 1)
    inner_px, all_px = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    for v in range(0, height, _VOTE_STEP):
        above, below = labels[max(v - _INSIDE_PX, 0)], labels[min(v + _INSIDE_PX, height - 1)]
        line = labels[v]
        for u in range(0, width, _VOTE_STEP):
            here = line[u]
            if here == 0:
                continue
            all_px[here] += 1
            every[here] += boundary[v, u]
            left, right = max(u - _INSIDE_PX, 0), min(u + _INSIDE_PX, width - 1)
            if (above[left] == here and above[u] == here and above[right] == here and line[left] == here and line[right] == here
                    and below[left] == here and below[u] == here and below[right] == here):
                inner_px[here] += 1
                inside[here] += boundary[v, u]
    for k in range(1, count + 1):
        inside[k] = inside[k] / inner_px[k] if inner_px[k] > 0 else every[k] / max(all_px[k], 1)
    return inside


@compiled
def outline(grown: Labels, soft: Labels, limit: int, lookup: NDArray[np.uint16], area_px: Whole, box: Whole) -> NDArray[np.uint16]:
    """(H, W) labels of the full picture under their new numbers, with area and bounding box of each.

    Args:
        grown: (H, W) labels, a little too large. soft: (H, W) foreground's probability, 0..255. limit: labels are 0 up to this
            one, -1..255. lookup: (256,) new numbers, 0 for none. area_px: (256,), box: (256, 4) x0, y0, x1, y1, by old number:
            written.
    """
    height, width = grown.shape
    out = np.zeros((height, width), np.uint16)
    box[:, 0], box[:, 1], box[:, 2], box[:, 3] = width, height, 0, 0
    area_px[:] = 0
    everywhere, least = limit < 0, np.uint8(max(limit, 0))
    row = np.zeros((width // _WORD + 2) * _WORD, np.uint8)  # column u is row[u + 1]; 0 on both sides
    words = row.view(np.uint64)
    for v in range(height):
        labels, likely, line = grown[v], soft[v], out[v]
        for u in range(width):
            row[u + 1] = labels[u] if everywhere | (likely[u] > least) else np.uint8(0)
        start, before = 0, np.uint8(0)
        for word in range(len(words)):
            if words[word] == np.uint64(before) * _EACH_BYTE:
                continue
            for k in range(word * _WORD, (word + 1) * _WORD):
                here = row[k]
                if here == before:
                    continue
                end = k - 1
                if before > 0:
                    number = lookup[before]
                    for u in range(start, end):
                        line[u] = number
                    area_px[before] += end - start
                    box[before, 0], box[before, 1] = min(box[before, 0], start), min(box[before, 1], v)
                    box[before, 2], box[before, 3] = max(box[before, 2], end), v + 1
                start, before = end, here
    return out


def renumbered(labels: NDArray[np.uint16], table: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """(H, W) `table`[label] for each pixel; several times as fast as numpy. table: (65536,), so that it has every label."""
    assert len(table) == 1 << 16
    return _renumbered(steady(labels), steady(table))


@compiled
def _renumbered(labels: NDArray[np.uint16], table: NDArray[np.uint16]) -> NDArray[np.uint16]:
    out = np.empty(labels.shape, np.uint16)
    for v in range(labels.shape[0]):
        old, new = labels[v], out[v]
        for u in range(labels.shape[1]):
            new[u] = table[np.uint64(old[u])]
    return out

"""The empty cell as a still background: what looked like a package before any came is none now.

Learned from some seconds of the empty, running cell (`perception learn-empty`); rails, brackets, tools and painted patterns that
the network takes for packages are told from packages by what each place was before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node.errors import ConfigError, DatasetError, FrameError, one_line
from perception_node.files import aside
from perception_node.types import F32, Frame, Instance, Segmentation

_VERSION = 1
_MIN_FRAMES = 5
_MOST_FRAMES = 60
"""Frames that are kept for the medians; more change nothing."""
_MIN_COMPARED = 200
"""Pixels with a reading now and then that a mask needs to be judged by depth, and"""
_MIN_SHARE = 0.3
"""the share of the mask that they must be."""
_UPPER = 75
"""Percentile of the change that is judged: a package fills at least a quarter of its mask."""
_UNSTEADY_M = 0.01
"""Places whose depth scattered by more in the empty cell are not compared."""
_SEEN_BEFORE = 0.6
"""Without depth: share of the mask that was called a package in the empty cell, too, and"""
_SAME_LOOK = 0.85
"""correlation of its grey values with the empty cell's. Source: judgement; another object's print does not correlate."""
_MIN_CONTRAST = 4.0
"""Grey levels (one sigma) below which there is no pattern to correlate."""


@dataclass(frozen=True, eq=False)
class EmptyCell:
    """What the camera sees when no package is there.

    Attributes:
        depth_m: (H, W) float32 median, NaN = unknown or unsteady. gray: (H, W) uint8 median.
        taken: (H, W) bool, called a package in at least half of the frames. frames: how many it was learned from.
    """

    depth_m: F32
    gray: NDArray[np.uint8]
    taken: NDArray[np.bool_]
    frames: int


@dataclass(frozen=True)
class Unchanged:
    """A mask where the cell is as it was when it was empty.

    Attributes:
        change_m: how far it now stands out of the empty cell (75th percentile), NaN = judged without depth.
        correlation: of its grey values with the empty cell's, NaN = judged by depth.
    """

    change_m: float
    correlation: float


def learn_empty_cell(frames: Iterable[tuple[Frame, Segmentation]]) -> EmptyCell:
    """The empty cell from frames of it and from what the network took for packages in them.

    Raises:
        DatasetError: fewer than five frames, or of different sizes.
    """
    depths: list[F32] = []
    grays: list[NDArray[np.uint8]] = []
    taken: NDArray[np.int64] | None = None
    for frame, segmentation in frames:
        gray = np.asarray(cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY), np.uint8)
        if taken is None:
            taken = np.zeros(gray.shape, np.int64)
        if gray.shape != taken.shape:
            raise DatasetError(f"empty cell: expected pictures of {_size(taken)}, got one of {_size(gray)}")
        grays.append(gray)
        depths.append(np.full(gray.shape, np.nan, np.float32) if frame.depth_m is None else frame.depth_m)
        taken += segmentation.labels > 0
        if len(grays) == _MOST_FRAMES:
            break
    if taken is None or len(grays) < _MIN_FRAMES:
        raise DatasetError(f"empty cell: expected {_MIN_FRAMES} frames or more, got {len(grays)}")
    stack = np.stack(depths)
    known = np.isfinite(stack).sum(0) * 2 > len(stack)
    stack = np.where(known, stack, np.float32(0))
    middle = np.nanmedian(stack, 0)
    scatter = 1.4826 * np.nanmedian(np.abs(stack - middle), 0)
    depth_m = np.where(known & (scatter <= _UNSTEADY_M), middle, np.nan).astype(np.float32)
    return EmptyCell(depth_m, np.median(np.stack(grays), 0).astype(np.uint8), taken * 2 >= len(grays), len(grays))


def unchanged_masks(frame: Frame, segmentation: Segmentation, empty: EmptyCell, min_height_m: float) -> dict[int, Unchanged]:
    """Which masks show what the empty cell showed at their place.

    By depth where both have it: nothing stands out by `min_height_m`. Else by look: the network took the same place for a package
    in the empty cell, and its pattern is the same. A package on a place that was learned stands out, or covers the pattern.

    Args:
        frame, segmentation: of one moment. empty: learned with the same camera at the same place.
        min_height_m: the lowest package; 0 = nothing is judged by depth.

    Returns:
        By label, of the unchanged masks only.

    Raises:
        FrameError: the picture has another size than the empty cell.
    """
    if segmentation.labels.shape != empty.gray.shape:
        raise FrameError(f"picture is {_size(segmentation.labels)}, the empty cell was learned with {_size(empty.gray)}: learn it "
                         "again")
    found = {}
    for instance in segmentation.instances:
        unchanged = _compare(frame, segmentation.labels, instance, empty, min_height_m)
        if unchanged is not None:
            found[instance.label] = unchanged
    return found


def _compare(frame: Frame, labels: NDArray[np.uint16], instance: Instance, empty: EmptyCell,
             min_height_m: float) -> Unchanged | None:
    x0, y0, x1, y1 = instance.bbox_xyxy
    window = np.s_[max(y0, 0):y1, max(x0, 0):x1]
    mask = labels[window] == instance.label
    if frame.depth_m is not None and min_height_m > 0:
        change_m = (empty.depth_m[window] - frame.depth_m[window])[mask]
        change_m = change_m[np.isfinite(change_m)]
        if len(change_m) >= max(_MIN_COMPARED, _MIN_SHARE * int(mask.sum())):
            upper_m = float(np.percentile(change_m, _UPPER))
            return Unchanged(upper_m, float("nan")) if upper_m < min_height_m else None
    if not mask.any() or empty.taken[window][mask].mean() < _SEEN_BEFORE:
        return None
    before = empty.gray[window][mask].astype(np.float64)
    now = np.asarray(cv2.cvtColor(np.ascontiguousarray(frame.rgb[window]), cv2.COLOR_RGB2GRAY))[mask].astype(np.float64)
    if min(before.std(), now.std()) < _MIN_CONTRAST:
        return None
    correlation = float(np.corrcoef(before, now)[0, 1])
    return Unchanged(float("nan"), correlation) if correlation >= _SAME_LOOK else None


def save_empty_cell(path: Path, empty: EmptyCell) -> None:
    """Write what `load_empty_cell` reads.

    Raises:
        PerceptionError: it cannot be written.
    """
    with aside(path) as part, part.open("wb") as file:
        np.savez_compressed(file, version=_VERSION, depth_m=empty.depth_m, gray=empty.gray, taken=empty.taken, frames=empty.frames)


def load_empty_cell(path: Path) -> EmptyCell:
    """Read what `save_empty_cell` wrote.

    Raises:
        ConfigError: missing, cut, or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            version = int(file["version"])
            empty = EmptyCell(file["depth_m"], file["gray"], file["taken"], int(file["frames"]))
    except FileNotFoundError:
        raise ConfigError(f"belt.empty_cell: expected a file of `perception learn-empty`, {path} does not exist") from None
    except Exception as error:  # whatever a broken archive makes zipfile, zlib and numpy raise
        raise ConfigError(f"belt.empty_cell: expected a file of `perception learn-empty`, {path} cannot be read: "
                          f"{one_line(error)}") from None
    whole = (version == _VERSION and empty.gray.ndim == 2 and empty.gray.dtype == np.uint8
             and empty.depth_m.shape == empty.taken.shape == empty.gray.shape
             and empty.depth_m.dtype == np.float32 and empty.taken.dtype == np.bool_)
    if not whole:
        raise ConfigError(f"belt.empty_cell: expected a file of `perception learn-empty` of this version, got another: {path}")
    return empty


def _size(picture: NDArray[np.generic]) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"

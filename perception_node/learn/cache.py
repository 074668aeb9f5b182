"""Decoded samples at the network's size in memory-mapped arrays, so that training never waits for decoders."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from perception_node.files import folder_aside, put_json
from perception_node.learn.dataset import IGNORE, Entry, annotation_files, load_sample, read_dataset
from perception_node.segment.encode import KNOWN_SHARE, fit_belt_plane, grid_rays, network_size
from perception_node.segment.shrink import shrunk_depth
from perception_node.types import CameraModel

CACHE_IGNORE = 255
"""Label of ignored pixels in the cache; at most 254 packages per picture."""

_DEPTH_UNIT_M = 1e-4
_VERSION = 1


@dataclass(frozen=True, eq=False)
class CachedSet:
    """One data set, decoded.

    Attributes:
        rgb: (N, H, W, 3) uint8. labels: (N, H, W) uint8, 0 = background, 255 = ignore.
        depth: (N, H/2, W/2) uint16 in 0.1 mm, 0 = unknown (or no depth at all).
        class_ids: (N, 256) uint8 class id by label. planes: (N, 2, 4) float64: given and fitted plane, NaN = none.
        intrinsics: (N, 4) float64 fx, fy, cx, cy in network pixels. names: of the pictures.
    """

    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    depth: NDArray[np.uint16]
    class_ids: NDArray[np.uint8]
    planes: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def heights(self, index: int, plane: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(H/2, W/2) metres above `plane`, and where they are known."""
        raw = self.depth[index]
        fx, fy, cx, cy = self.intrinsics[index].astype(np.float32) / 2
        height, width = raw.shape
        x = (np.arange(width, dtype=np.float32) - (cx - 0.25)) / fx
        y = (np.arange(height, dtype=np.float32) - (cy - 0.25)) / fy
        nx, ny, nz, d = plane.astype(np.float32)
        metres = raw.astype(np.float32) * np.float32(_DEPTH_UNIT_M)
        return metres * ((nx * x)[None, :] + (ny * y + nz)[:, None]) + d, raw > 0


def cached(folder: Path, root: Path, entries: list[Entry] | None = None, progress: bool = True) -> CachedSet:
    """Open a data set's cache; decode the data set first when there is none or it has changed.

    Args:
        folder: the data set. root: folder of caches. entries: a selection of its pictures, None = all.
        progress: show a progress bar while decoding.

    Raises:
        DatasetError: as `read_dataset` and `load_sample`.
    """
    entries = read_dataset(folder) if entries is None else entries
    annotations = annotation_files(folder)[0].stat()
    key = json.dumps([_VERSION, str(folder.resolve()), annotations.st_size, annotations.st_mtime_ns, [e.name for e in entries]])
    target = root / f"{folder.stem}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    if not (target / "index.json").is_file() or (target / "index.json").stat().st_ctime_ns < _last_change(folder, entries):
        _decode(entries, target, progress)
    index = json.loads((target / "index.json").read_text())
    arrays: dict[str, Any] = {name: np.load(target / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                              for name in ("rgb", "labels", "depth", "class_ids", "planes", "intrinsics")}
    return CachedSet(**arrays, names=tuple(index["names"]))


def _last_change(folder: Path, entries: list[Entry]) -> int:
    """When the newest of a data set's files was written, nanoseconds."""
    files = [*annotation_files(folder), *(p for e in entries for p in (e.rgb, e.labels, e.depth, e.meta) if p)]
    return max(path.stat().st_ctime_ns for path in files)


def _decode(entries: list[Entry], target: Path, progress: bool) -> None:
    first = load_sample(entries[0]).frame.camera
    width, height = network_size(first.width, first.height)
    grid = (width // 2, height // 2)
    count = len(entries)
    with folder_aside(target) as part:
        def new(name: str, shape: tuple[int, ...], dtype: type) -> Any:
            array = np.lib.format.open_memmap(part / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
            with (part / f"{name}.npy").open("r+b") as file:  # a full disk is an error here, not a dead process later
                os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
            return array

        rgb = new("rgb", (count, height, width, 3), np.uint8)
        labels = new("labels", (count, height, width), np.uint8)
        depth = new("depth", (count, grid[1], grid[0]), np.uint16)
        class_ids = new("class_ids", (count, 256), np.uint8)
        planes = new("planes", (count, 2, 4), np.float64)
        intrinsics = new("intrinsics", (count, 4), np.float64)
        planes[:] = np.nan
        for i, entry in enumerate(tqdm(entries, desc="decode", unit="picture", disable=not progress, leave=False)):
            sample = load_sample(entry)
            camera = sample.frame.camera
            rgb[i] = cv2.resize(sample.frame.rgb, (width, height), interpolation=cv2.INTER_AREA)
            order = sorted(sample.class_ids)[:CACHE_IGNORE - 1]
            lookup = np.zeros(IGNORE + 1, np.uint8)
            lookup[IGNORE] = CACHE_IGNORE
            lookup[order] = np.arange(1, len(order) + 1)
            class_ids[i, 1:len(order) + 1] = [sample.class_ids[label] for label in order]
            labels[i] = cv2.resize(lookup[sample.labels], (width, height), interpolation=cv2.INTER_NEAREST)
            sx, sy = width / camera.width, height / camera.height
            scaled = CameraModel(camera.fx * sx, camera.fy * sy, (camera.cx + 0.5) * sx - 0.5, (camera.cy + 0.5) * sy - 0.5,
                                 width, height)
            intrinsics[i] = (scaled.fx, scaled.fy, scaled.cx, scaled.cy)
            if sample.frame.depth_m is None:
                continue
            mean, share = shrunk_depth(sample.frame.depth_m, grid)
            depth[i] = np.where(share > KNOWN_SHARE, np.clip(mean / _DEPTH_UNIT_M, 0, 65535), 0)
            fitted = fit_belt_plane(mean, share, grid_rays(camera, grid))
            planes[i, 0] = sample.belt_plane if sample.belt_plane is not None else np.nan
            planes[i, 1] = fitted if fitted is not None else np.nan
        for array in (rgb, labels, depth, class_ids, planes, intrinsics):
            array.flush()
        put_json(part / "index.json", {"names": [entry.name for entry in entries]})
        if target.exists():
            shutil.rmtree(target)

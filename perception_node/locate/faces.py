"""The upper face of every package at once: a robust plane through the depth of its mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_node.types import F32, F64, Frame, Segmentation

SAMPLES = 240
"""Depth readings looked at per package; more do not move the plane by a tenth of a millimetre."""
_JUDGED = 2
"""Planes are judged by every second reading and refined with all of them."""
_TRIPLES = 24
_LEVELS = 8
_SEED = 7
_MIN_READINGS = 12
_MIN_COS = 0.5
"""An upper face leans less than 60 degrees from the belt's normal; a steeper one is a side."""
FACE_TOLERANCE_M = {"box": 0.004, "padded_mailer": 0.008, "poly_bag": 0.010, "item": 0.008}
"""How far the points of an upper face lie from its plane. Source: four times the measured depth error (1 mm) of a stereo
camera at 1.1 m for rigid boxes; soft packages bulge by 1 cm, the tops of cans and
bottles nearly as much."""


@dataclass(frozen=True, eq=False)
class Mask:
    """One mask, cut out of the picture: `inside` (h, w) bool, its first pixel at (u, v) = `corner`."""

    inside: NDArray[np.bool_]
    corner: tuple[int, int]

    @property
    def part(self) -> tuple[slice, slice]:
        """Rows and columns of the crop in the picture."""
        (u, v), (height, width) = self.corner, self.inside.shape
        return slice(v, v + height), slice(u, u + width)


@dataclass(frozen=True, eq=False)
class Faces:
    """Upper faces of P packages in the camera frame.

    Attributes:
        normal: (P, 3) unit, towards the camera. offset: (P,) metres, n.X + d = 0.
        rms_m: (P,) of the face's readings. readings: (P,) how many of the samples lie on the face.
        valid_fraction: (P,) share of mask pixels with a reading. found: (P,) bool.
        points: (P, SAMPLES, 3) the samples in the camera frame, valid: (P, SAMPLES) which of them are. pixels: (P,) pixels of the
            mask that each sample stands for.
    """

    normal: F64
    offset: F64
    rms_m: F64
    readings: NDArray[np.int64]
    valid_fraction: F64
    found: NDArray[np.bool_]
    points: F64
    valid: NDArray[np.bool_]
    pixels: F64

    def of(self, i: int) -> FaceFit:
        """The fit of one package."""
        return FaceFit(self.normal[i], float(self.offset[i]), float(self.rms_m[i]), int(self.readings[i]),
                       float(self.valid_fraction[i]), bool(self.found[i]))


@dataclass(frozen=True, eq=False)
class FaceFit:
    """The upper face of one package; see `Faces`."""

    normal: F64
    offset: float
    rms_m: float
    readings: int
    valid_fraction: float
    found: bool


def masks_of(segmentation: Segmentation) -> list[Mask]:
    """The mask of each instance, looked for inside its bounding box only."""
    labels = segmentation.labels
    height, width = labels.shape
    found = []
    for instance in segmentation.instances:
        x0, y0, x1, y1 = instance.bbox_xyxy
        x0, y0, x1, y1 = max(0, x0), max(0, y0), min(width, x1), min(height, y1)
        found.append(Mask(labels[y0:y1, x0:x1] == instance.label, (x0, y0)))
    return found


def fit_faces(frame: Frame, rays: F32, masks: list[Mask], classes: list[str], up: F64) -> Faces:
    """Fit each package's upper face: random triples and level planes compete, the best is refined by least squares.

    Args:
        frame: with depth. rays: (H, W, 2) x/z and y/z per pixel. masks, classes: per package.
        up: (3,) unit normal of the belt (or of the picture plane when unknown), towards the camera.

    Source: preemptive choice by truncated quadratic cost (MSAC), P. Torr, A. Zisserman, CVIU 78(1), 2000.
    """
    assert frame.depth_m is not None
    count = len(masks)
    width = rays.shape[1]
    where = np.zeros((count, SAMPLES), dtype=np.intp)
    sampled, pixels = np.zeros(count), np.ones(count)
    for i, mask in enumerate(masks):
        chosen = np.flatnonzero(mask.inside)
        if len(chosen) > SAMPLES:
            pixels[i] = len(chosen) / SAMPLES
            chosen = chosen[(np.arange(SAMPLES) * (len(chosen) - 1)) // (SAMPLES - 1)]
        sampled[i] = len(chosen)
        rows, columns = np.divmod(chosen, max(mask.inside.shape[1], 1))
        where[i, :len(chosen)] = (rows + mask.corner[1]) * width + columns + mask.corner[0]
    valid = np.arange(SAMPLES) < sampled[:, None]
    z = frame.depth_m.ravel()[where].astype(np.float64)
    xy = rays.reshape(-1, 2)[where]
    valid &= (z > 0) & np.isfinite(z)
    z = np.where(valid, z, 0.0)
    points = np.concatenate([xy * z[..., None], z[..., None]], axis=2)
    tolerance = np.array([FACE_TOLERANCE_M.get(name, 0.008) for name in classes])
    readings = valid.sum(axis=1)
    enough = readings >= _MIN_READINGS
    normal, offset = _hypothesise(points, valid, readings, tolerance, up)
    inside = valid
    for shrink in (1.5, 1.0, 1.0):
        distance = (points @ normal[..., None])[..., 0] + offset[:, None]
        inside = valid & (np.abs(distance) < shrink * tolerance[:, None])
        normal, offset = _refit(points, inside, normal, offset)
    distance = np.where(inside, (points @ normal[..., None])[..., 0] + offset[:, None], 0.0)
    on_face = inside.sum(axis=1)
    weight = np.maximum(on_face, 1)
    return Faces(
        normal=normal, offset=offset, rms_m=np.sqrt((distance**2).sum(axis=1) / weight), readings=on_face,
        valid_fraction=readings / np.maximum(sampled, 1.0), found=enough & (on_face >= _MIN_READINGS),
        points=points, valid=valid, pixels=pixels,
    )


def _hypothesise(points: F64, valid: NDArray[np.bool_], readings: NDArray[np.int64], tolerance: F64,
                 up: F64) -> tuple[F64, F64]:
    """The best of some planes through three random readings and of some level planes: (P, 3) normals, (P,) offsets."""
    count = len(points)
    rng = np.random.default_rng(_SEED)
    ordered = np.argsort(~valid, axis=1, kind="stable")
    rows = np.arange(count)[:, None]

    def draw(size: int) -> F64:
        rank = (rng.random((count, size)) * np.maximum(readings, 1)[:, None]).astype(np.intp)
        drawn: F64 = points[rows, ordered[rows, rank]]
        return drawn

    a, b, c = draw(_TRIPLES), draw(_TRIPLES), draw(_TRIPLES)
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=2, keepdims=True)
    normals = np.where(lengths > 1e-9, normals / np.maximum(lengths, 1e-9), up)
    normals *= np.where(normals @ up < 0, -1.0, 1.0)[..., None]
    normals = np.concatenate([normals, np.broadcast_to(up, (count, _LEVELS, 3))], axis=1)
    anchors = np.concatenate([a, draw(_LEVELS)], axis=1)
    offsets = -np.einsum("phi,phi->ph", normals, anchors)
    upright = normals @ up
    some = points[:, ::_JUDGED].astype(np.float32)
    distance = (normals / tolerance[:, None, None]).astype(np.float32) @ some.transpose(0, 2, 1)
    distance += (offsets / tolerance[:, None])[..., None].astype(np.float32)
    np.square(distance, out=distance)
    np.subtract(1.0, distance, out=distance)
    np.maximum(distance, 0.0, out=distance)
    distance *= valid[:, None, ::_JUDGED]
    support = distance.sum(axis=2) * np.where(upright > _MIN_COS, 0.5 + 0.5 * upright, 0.0)
    best = np.argmax(support, axis=1)
    return normals[np.arange(count), best], offsets[np.arange(count), best]


def _refit(points: F64, inside: NDArray[np.bool_], normal: F64, offset: F64) -> tuple[F64, F64]:
    weight = inside.sum(axis=1)
    enough = weight >= _MIN_READINGS
    masked = points * inside[..., None]
    total = masked.sum(axis=1)
    centre = total / np.maximum(weight, 1)[:, None]
    scatter = masked.transpose(0, 2, 1) @ points - total[:, :, None] * centre[:, None]
    _, vectors = np.linalg.eigh(scatter)
    fitted = vectors[:, :, 0]
    fitted *= np.where(np.einsum("pi,pi->p", fitted, normal) < 0, -1.0, 1.0)[:, None]
    fitted_offset = -np.einsum("pi,pi->p", fitted, centre)
    return np.where(enough[:, None], fitted, normal), np.where(enough, fitted_offset, offset)

"""The surface under many discs at once: what the cup would touch, from depth and mask."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_node import geometry
from perception_node.types import F32, F64, CameraModel

Floats = NDArray[np.floating[Any]]

_GOLDEN = 2.399963229728653
_MIN_READINGS = 6


def sunflower(count: int) -> F64:
    """(count, 2) points spread evenly over the unit disc.

    Source: H. Vogel, "A better way to construct the sunflower head", Mathematical Biosciences 44, 1979.
    """
    k = np.arange(count)
    radius, angle = np.sqrt((k + 0.5) / count), k * _GOLDEN
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


@dataclass(frozen=True, eq=False)
class View:
    """One frame as lookup tables: camera, labels (H, W), depth (H, W) with NaN = no reading, rays (H * W, 2), and the colour
    picture (H, W, 3) where it is at hand."""

    camera: CameraModel
    labels: NDArray[np.uint16]
    depth_m: F32
    rays: F32
    rgb: NDArray[np.uint8] | None = None

    def look(self, pixels: F64) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Flat index of the nearest pixel of (..., 2) positions, and which of them lie in the picture."""
        return self.flat(pixels[..., 0], pixels[..., 1])

    def flat(self, u: Floats, v: Floats) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Flat index of the nearest pixel of positions in pixels, and which of them lie in the picture (NaN does not)."""
        height, width = self.labels.shape
        inside = (u >= -0.5) & (u < width - 0.5) & (v >= -0.5) & (v < height - 0.5)
        column, row = (np.where(inside, np.rint(value), 0.0).astype(np.int64) for value in (u, v))
        return np.minimum(row, height - 1) * width + np.minimum(column, width - 1), inside

    def project(self, points: F64) -> F64:
        """(..., 2) pixels of (..., 3) points in the camera frame."""
        return np.stack(self.pixels(points[..., 0], points[..., 1], points[..., 2]), axis=-1)

    def pixels(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats]:
        """Pixels (u, v) of points in the camera frame given by their coordinates; NaN behind the camera."""
        if self.camera.distortion:
            flat = geometry.project(self.camera, np.stack([x, y, z], axis=-1, dtype=np.float64).reshape(-1, 3))
            return flat[:, 0].reshape(x.shape), flat[:, 1].reshape(x.shape)
        inverse = 1.0 / np.where(z > 1e-6, z, np.nan)
        return self.camera.fx * x * inverse + self.camera.cx, self.camera.fy * y * inverse + self.camera.cy


@dataclass(frozen=True, eq=False)
class Patches:
    """The surface under N discs.

    Attributes:
        contact: (N, 3) middle of each disc on the fitted plane. normal: (N, 3) towards the camera.
        rms_m: (N,) distance of the readings from the plane.
        on_mask: (N,) share of the disc that is this package in the picture. reading: (N,) share with a depth reading on it.
        lopsided: (N,) 0..1, distance of the readings' centre from the disc's middle, in radii.
        cup_reading: (N,) least share of readings under any one cup. fitted: (N,) bool.
        contrast: (N,) spread (one sigma) of the brightness under the disc, 0..255; 0 where there is no colour picture.
    """

    contact: F64
    normal: F64
    rms_m: F64
    on_mask: F64
    reading: F64
    lopsided: F64
    cup_reading: F64
    fitted: NDArray[np.bool_]
    contrast: F64

    def take(self, chosen: NDArray[np.int64]) -> Patches:
        """Some of the discs."""
        return Patches(*(getattr(self, entry.name)[chosen] for entry in dataclasses.fields(self)))


def tangent_axes(normal: F64, hint: F64) -> tuple[F64, F64]:
    """(N, 3) orthonormal axes in the planes of (N, 3) normals, the first one near (N, 3) hints."""
    first = hint - normal * np.einsum("ni,ni->n", hint, normal)[:, None]
    length = np.sqrt(np.einsum("ni,ni->n", first, first))[:, None]
    if length.size and length.min() <= 1e-6:
        spare = np.eye(3)[np.argmin(np.abs(normal), axis=1)]
        spare = spare - normal * np.einsum("ni,ni->n", spare, normal)[:, None]
        first = np.where(length > 1e-6, first, spare)
        length = np.linalg.norm(first, axis=1, keepdims=True)
    first = first / length
    return first, cross(normal, first)


def cross(a: F64, b: F64) -> F64:
    """(N, 3) cross products; several times as fast as numpy's for few rows."""
    result = np.empty_like(a)
    result[:, 0] = a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1]
    result[:, 1] = a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2]
    result[:, 2] = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    return result


def fit_patches(view: View, contact: F64, normal: F64, hint: F64, label: NDArray[np.int64], pattern_m: F64, cups: int,
                tolerance_m: F64, rounds: int = 3) -> Patches:
    """Fit a plane to what lies under each disc.

    Args:
        view: the frame. contact, normal, hint: (N, 3) first guess of the disc's middle, normal and first axis.
        label: (N,) package that must lie under it. pattern_m: (M, 2) sample points in the disc's plane, cup after cup.
        cups: number of cups in the pattern. tolerance_m: (N,) scale beyond which a reading loses its weight.
        rounds: of re-weighting.

    Source: iteratively re-weighted least squares with Geman-McClure weights, P. Huber, "Robust statistics", 1981.
    """
    first, second = tangent_axes(normal, hint)
    px, py = pattern_m.astype(np.float32).T
    here, first32, second32, normal32 = (of.astype(np.float32) for of in (contact, first, second, normal))
    flat, inside = view.flat(*view.pixels(*(
        here[:, i, None] + first32[:, i, None] * px + second32[:, i, None] * py for i in range(3))))
    on_mask = inside & (view.labels.ravel().take(flat) == label.astype(view.labels.dtype)[:, None])
    z = view.depth_m.ravel().take(flat)
    readable = on_mask & (z > 0) & (z < np.inf)
    z = np.where(readable, z, np.float32(0))
    ray = view.rays.take(flat, axis=0)
    x, y = ray[..., 0] * z - here[:, :1], ray[..., 1] * z - here[:, 1:2]
    z = z - here[:, 2:]
    a, b, h = (x * axis[:, :1] + y * axis[:, 1:2] + z * axis[:, 2:] for axis in (first32, second32, normal32))
    # A first guess may lie beside the surface: start from the middle reading, then let far ones lose their say.
    plane = np.zeros((3, len(contact)))
    plane[2] = _middle(h, readable)
    given = readable.astype(np.float32)
    span = 2.5
    for _ in range(rounds):
        scaled = _residual(a, b, h, plane) * (1.0 / (span * tolerance_m)).astype(np.float32)[:, None]
        scaled = 1 / (1 + scaled * scaled)
        plane = _solve(a, b, h, given * scaled * scaled, plane)
        span = 1.0
    residual = _residual(a, b, h, plane)
    count = readable.sum(axis=1)
    safe = np.maximum(count, 1)
    steep = 1.0 + plane[0] ** 2 + plane[1] ** 2
    new_normal = (normal - plane[0, :, None] * first - plane[1, :, None] * second) / np.sqrt(steep)[:, None]
    radius = float(np.abs(pattern_m).max())
    centre = np.hypot(np.einsum("nm,nm->n", given, a), np.einsum("nm,nm->n", given, b)).astype(np.float64) / safe / radius
    return Patches(
        contact=contact + normal * plane[2][:, None], normal=new_normal,
        rms_m=np.sqrt(np.einsum("nm,nm,nm->n", given, residual, residual) / safe / steep),
        on_mask=on_mask.mean(axis=1), reading=count / len(px), lopsided=np.clip(centre, 0.0, 1.0),
        cup_reading=readable.reshape(len(contact), cups, -1).mean(axis=2).min(axis=1) if len(contact) else np.zeros(0),
        fitted=count >= _MIN_READINGS, contrast=_contrast(view, flat),
    )


def _residual(a: F32, b: F32, h: F32, plane: F64) -> F32:
    """(N, M) heights above (3, N) planes."""
    p0, p1, level = plane.astype(np.float32)[..., None]
    residual: F32 = h - (p0 * a + p1 * b + level)
    return residual


def _contrast(view: View, flat: NDArray[np.int64]) -> F64:
    if view.rgb is None:
        return np.zeros(len(flat))
    green = view.rgb.ravel().take(3 * flat + 1).astype(np.float32)
    return np.asarray(green.std(axis=1), dtype=np.float64)


def _middle(h: F32, readable: NDArray[np.bool_]) -> F32:
    """(N,) median of the readable values of (N, M); 0 where there is none."""
    ordered = np.sort(np.where(readable, h, np.float32(np.inf)), axis=1)
    count = readable.sum(axis=1)
    middle: F32 = ordered[np.arange(len(h)), np.maximum(count - 1, 0) // 2]
    return np.where(count > 0, middle, np.float32(0))


def _solve(a: F32, b: F32, h: F32, weight: F32, previous: F64) -> F64:
    """(3, N) weighted planes h = p0 a + p1 b + p2, drawn a little towards level where readings are few or in a row."""
    wa, wb = weight * a, weight * b
    aa, ab, bb, ah, bh, sh = (np.einsum("nm,nm->n", left, right).astype(np.float64) for left, right in (
        (wa, a), (wa, b), (wb, b), (wa, h), (wb, h), (weight, h)))
    sa, sb, s = (of.sum(axis=1, dtype=np.float32).astype(np.float64) for of in (wa, wb, weight))
    ridge = 0.02 * (aa + bb + 1e-9)
    aa, bb, full = aa + ridge, bb + ridge, s + 1e-6
    # Eliminate the level, then two equations in two slopes are left; the ridge keeps them apart.
    caa, cab, cbb = aa - sa * sa / full, ab - sa * sb / full, bb - sb * sb / full
    cah, cbh = ah - sa * sh / full, bh - sb * sh / full
    determinant = np.maximum(caa * cbb - cab * cab, 1e-30)
    p0, p1 = (cah * cbb - cbh * cab) / determinant, (cbh * caa - cah * cab) / determinant
    solved = np.stack([p0, p1, (sh - p0 * sa - p1 * sb) / full])
    return np.where(s > 1e-3, solved, previous)

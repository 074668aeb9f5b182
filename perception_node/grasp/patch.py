"""The surface under many discs at once: what the cup would touch, from depth and mask."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_node import geometry
from perception_node.types import F32, F64, CameraModel

_GOLDEN = 2.399963229728653
_IRLS = 3
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
    """One frame as lookup tables: labels (H, W), depth (H, W) with NaN = no reading, rays (H * W, 2), camera."""

    camera: CameraModel
    labels: NDArray[np.uint16]
    depth_m: F32
    rays: F32

    def look(self, pixels: F64) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Flat index of the nearest pixel of (..., 2) positions, and which of them lie in the picture."""
        height, width = self.labels.shape
        rounded = np.rint(np.nan_to_num(pixels, nan=-1e6, posinf=-1e6, neginf=-1e6))
        u, v = rounded[..., 0].astype(np.int64), rounded[..., 1].astype(np.int64)
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        return np.where(inside, v * width + u, 0), inside

    def project(self, points: F64) -> F64:
        """(..., 2) pixels of (..., 3) points in the camera frame."""
        if not self.camera.distortion:
            z = np.where(points[..., 2] > 1e-6, points[..., 2], np.nan)
            return np.stack([self.camera.fx * points[..., 0] / z + self.camera.cx,
                             self.camera.fy * points[..., 1] / z + self.camera.cy], axis=-1)
        return geometry.project(self.camera, points.reshape(-1, 3)).reshape(*points.shape[:-1], 2)


@dataclass(frozen=True, eq=False)
class Patches:
    """The surface under N discs.

    Attributes:
        contact: (N, 3) middle of each disc on the fitted plane. normal: (N, 3) towards the camera.
        rms_m: (N,) distance of the readings from the plane. peak_m: (N,) the largest after dropping the worst tenth.
        on_mask: (N,) share of the disc that is this package in the picture. reading: (N,) share with a depth reading on it.
        lopsided: (N,) 0..1, distance of the readings' centre from the disc's middle, in radii.
        cup_reading: (N,) least share of readings under any one cup. fitted: (N,) bool.
    """

    contact: F64
    normal: F64
    rms_m: F64
    peak_m: F64
    on_mask: F64
    reading: F64
    lopsided: F64
    cup_reading: F64
    fitted: NDArray[np.bool_]

    def take(self, chosen: NDArray[np.int64]) -> Patches:
        """Some of the discs."""
        return Patches(*(getattr(self, entry.name)[chosen] for entry in dataclasses.fields(self)))


def tangent_axes(normal: F64, hint: F64) -> tuple[F64, F64]:
    """(N, 3) orthonormal axes in the planes of (N, 3) normals, the first one near (N, 3) hints."""
    first = hint - normal * np.einsum("ni,ni->n", hint, normal)[:, None]
    length = np.linalg.norm(first, axis=1, keepdims=True)
    spare = np.eye(3)[np.argmin(np.abs(normal), axis=1)]
    spare = spare - normal * np.einsum("ni,ni->n", spare, normal)[:, None]
    first = np.where(length > 1e-6, first, spare)
    first = first / np.linalg.norm(first, axis=1, keepdims=True)
    return first, np.cross(normal, first)


def fit_patches(view: View, contact: F64, normal: F64, hint: F64, label: NDArray[np.int64], pattern_m: F64, cups: int,
                tolerance_m: F64) -> Patches:
    """Fit a plane to what lies under each disc.

    Args:
        view: the frame. contact, normal, hint: (N, 3) first guess of the disc's middle, normal and first axis.
        label: (N,) package that must lie under it. pattern_m: (M, 2) sample points in the disc's plane, cup after cup.
        cups: number of cups in the pattern. tolerance_m: (N,) scale beyond which a reading loses its weight.

    Source: iteratively re-weighted least squares with Geman-McClure weights, P. Huber, "Robust statistics", 1981.
    """
    first, second = tangent_axes(normal, hint)
    grid = (contact[:, None] + pattern_m[None, :, :1] * first[:, None] + pattern_m[None, :, 1:] * second[:, None])
    flat, inside = view.look(view.project(grid))
    on_mask = inside & (view.labels.ravel()[flat] == label[:, None])
    z = view.depth_m.ravel()[flat].astype(np.float64)
    readable = on_mask & (z > 0)
    z = np.where(readable, z, 0.0)
    xy = view.rays[flat]
    offset = np.concatenate([xy * z[..., None], z[..., None]], axis=2) - contact[:, None]
    a, b, h = np.moveaxis(np.stack([first, second, normal], axis=1) @ offset.transpose(0, 2, 1), 1, 0)
    weight = readable.astype(np.float64)
    plane = np.zeros((len(contact), 3))
    # A first guess may lie beside the surface: start from the middle reading, then let far ones lose their say.
    plane[:, 2] = _middle(h, readable)
    span = 2.5
    for _ in range(_IRLS):
        residual = h - (plane[:, :1] * a + plane[:, 1:2] * b + plane[:, 2:])
        weight = readable / (1.0 + (residual / (span * tolerance_m[:, None])) ** 2) ** 2
        plane = _solve(a, b, h, weight, plane)
        span = 1.0
    residual = h - (plane[:, :1] * a + plane[:, 1:2] * b + plane[:, 2:])
    count = readable.sum(axis=1)
    safe = np.maximum(count, 1)
    distance = np.where(readable, np.abs(residual), 0.0) / np.sqrt(1.0 + plane[:, :1] ** 2 + plane[:, 1:2] ** 2)
    new_normal = normal - plane[:, :1] * first - plane[:, 1:2] * second
    new_normal /= np.linalg.norm(new_normal, axis=1, keepdims=True)
    radius = float(np.abs(pattern_m).max())
    centre = np.hypot((readable * a).sum(axis=1), (readable * b).sum(axis=1)) / safe / radius
    return Patches(
        contact=contact + normal * plane[:, 2:], normal=new_normal,
        rms_m=np.sqrt((distance**2).sum(axis=1) / safe), peak_m=np.percentile(distance, 90, axis=1),
        on_mask=on_mask.mean(axis=1), reading=readable.mean(axis=1), lopsided=np.clip(centre, 0.0, 1.0),
        cup_reading=readable.reshape(len(contact), cups, -1).mean(axis=2).min(axis=1) if len(contact) else np.zeros(0),
        fitted=count >= _MIN_READINGS,
    )


def _middle(h: F64, readable: NDArray[np.bool_]) -> F64:
    """(N,) median of the readable values of (N, M); 0 where there is none."""
    ordered = np.sort(np.where(readable, h, np.inf), axis=1)
    count = readable.sum(axis=1)
    middle: F64 = ordered[np.arange(len(h)), np.maximum(count - 1, 0) // 2]
    return np.where(count > 0, middle, 0.0)


def _solve(a: F64, b: F64, h: F64, weight: F64, previous: F64) -> F64:
    """(N, 3) weighted planes h = p0 a + p1 b + p2, drawn a little towards level where readings are few or in a row."""
    one = np.ones_like(a)
    rows = np.stack([a, b, one], axis=1)
    weighted = rows * weight[:, None]
    normal_matrix = weighted @ rows.transpose(0, 2, 1)
    right = (weighted @ h[..., None])[..., 0]
    spread = np.einsum("nm,nm->n", weight, a**2 + b**2) + 1e-9
    normal_matrix[:, 0, 0] += 0.02 * spread
    normal_matrix[:, 1, 1] += 0.02 * spread
    normal_matrix[:, 2, 2] += 1e-6
    enough = weight.sum(axis=1) > 1e-3
    solved = np.linalg.solve(np.where(enough[:, None, None], normal_matrix, np.eye(3)), right[..., None])[..., 0]
    return np.where(enough[:, None], solved, previous)

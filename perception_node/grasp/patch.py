"""The surface under many discs at once: what the cup would touch, from depth and mask."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_node import geometry
from perception_node.errors import FrameError
from perception_node.grasp import kernels
from perception_node.types import F32, F64, CameraModel

_GOLDEN = 2.399963229728653
_COEFFICIENTS = (0, 4, 5, 8)
_NOISE_AT_1M = 0.001
"""Depth noise at one metre, metres. Source: stereo-like depth at 1.1 m: 68 % of errors below 1 mm, 95 % below 2.4."""
_GRAIN_PX2 = 15.0
"""Pixels that err alike, as an area. Source: simulated sensors, docs/grasping.md; block matching leaves the like."""
_LEAST_M = 0.0012
"""Depth is no surer than this, whatever the readings and however near."""
_WAVES_RAD, _WAVES_AT_1M = 0.02, 0.0006
"""Slow waves in the depth, which no residual under a cup shows: slope, and metres at one metre. Source: as for the grain."""
_ANY_RAD = 1.0
"""The approach is no less sure than this: what leans more was not proposed (`gripper.suction.max_tilt_rad`)."""


@functools.lru_cache(maxsize=8)
def sunflower(count: int) -> F64:
    """(count, 2) points spread evenly over the unit disc; computed once, read-only.

    Source: H. Vogel, "A better way to construct the sunflower head", Mathematical Biosciences 44, 1979.
    """
    k = np.arange(count)
    radius, angle = np.sqrt((k + 0.5) / count), k * _GOLDEN
    points = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    points.setflags(write=False)
    return points


@dataclass(frozen=True, eq=False)
class View:
    """One frame as lookup tables: camera, labels (H, W), depth (H, W) with NaN = no reading, rays (H * W, 2), and the colour
    picture (H, W, 3) where it is at hand; `numbers`: the camera as `kernels.pixel_of` takes it.

    Raises:
        FrameError: pictures of different sizes, or distortion coefficients that are not OpenCV's first 4, 5 or 8.
    """

    camera: CameraModel
    labels: NDArray[np.uint16]
    depth_m: F32
    rays: F32
    rgb: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        # The loops are compiled for pictures that lie in one piece and are only read, whoever made them.
        for name, picture in (("labels", self.labels), ("depth_m", self.depth_m), ("rays", self.rays),
                              ("rgb", np.zeros((0, 0, 3), np.uint8) if self.rgb is None else self.rgb)):
            whole = np.require(picture, requirements=("C", "A")).view()
            whole.setflags(write=False)
            object.__setattr__(self, name, whole)
        size = (self.camera.height, self.camera.width)
        if not self.labels.shape == self.depth_m.shape == size or len(self.rays) != size[0] * size[1]:
            raise FrameError(f"view: expected labels and depth of {size[1]}x{size[0]} pixels, got shapes {self.labels.shape} and "
                             f"{self.depth_m.shape}")
        count = len(self.camera.distortion)
        if count not in _COEFFICIENTS:
            raise FrameError(f"camera: expected 4, 5 or 8 distortion coefficients, got {count}")

    @property
    def numbers(self) -> F64:
        """(4,) focal lengths and principal point, or (12,) with the distortion."""
        camera = self.camera
        bent = (*camera.distortion, *(0.0,) * (8 - len(camera.distortion))) if camera.distortion else ()
        return np.array((camera.fx, camera.fy, camera.cx, camera.cy, *bent), dtype=np.float64)

    def look(self, pixels: F64) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Flat index of the nearest pixel of (..., 2) positions, and which of them lie in the picture (NaN does not)."""
        height, width = self.labels.shape
        u, v = pixels[..., 0], pixels[..., 1]
        inside = (u >= -0.5) & (u < width - 0.5) & (v >= -0.5) & (v < height - 0.5)
        column, row = (np.where(inside, np.rint(value), 0.0).astype(np.int64) for value in (u, v))
        return np.minimum(row, height - 1) * width + np.minimum(column, width - 1), inside

    def project(self, points: F64) -> F64:
        """(N, 2) pixels of (N, 3) points in the camera frame; NaN behind the camera."""
        return geometry.project(self.camera, points)


@dataclass(frozen=True, eq=False)
class Patches:
    """The surface under N discs, as a `table` (N, kernels.PATCH_COLUMNS); `focal_px`: of the camera, `samples`: points of each."""

    table: F64
    focal_px: float
    samples: int

    @property
    def contact(self) -> F64:
        """(N, 3) middle of each disc on the fitted plane."""
        return self.table[:, 0:3]

    @property
    def normal(self) -> F64:
        """(N, 3) of the surface, towards the camera."""
        return self.table[:, 3:6]

    @property
    def rms_m(self) -> F64:
        """(N,) distance of the readings from the plane."""
        return self.table[:, 6]

    @property
    def on_mask(self) -> F64:
        """(N,) share of the disc that is this package in the picture."""
        return self.table[:, 7]

    @property
    def reading(self) -> F64:
        """(N,) share of the disc with a depth reading on the package."""
        return self.table[:, 8]

    @property
    def lopsided(self) -> F64:
        """(N,) 0..1, distance of the readings' centre from the disc's middle, in radii."""
        return self.table[:, 9]

    @property
    def cup_reading(self) -> F64:
        """(N,) least share of readings under any one cup."""
        return self.table[:, 10]

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """(N,) whether there were readings enough for a plane."""
        return self.table[:, 11] > 0.0

    @property
    def contrast(self) -> F64:
        """(N,) spread (one sigma) of the brightness under the disc, 0..255; 0 where there is no colour picture."""
        return self.table[:, 12]

    @property
    def span(self) -> F64:
        """(N,) how widely the readings lie in the direction in which they lie closest, 1 = as widely as the disc: a surface seen
        from its edge gives a row of readings, through which any plane goes."""
        return self.table[:, 13]

    @property
    def bend(self) -> F64:
        """(N,) radians between the robust plane and the one through all readings alike: where they differ, the disc lies over a
        fold, an edge or a step, and the robust plane is that of its larger part."""
        return self.table[:, 14]

    def take(self, chosen: NDArray[np.int64]) -> Patches:
        """Some of the discs."""
        return Patches(self.table[chosen], self.focal_px, self.samples)

    def covariances(self, radius_m: float) -> F64:
        """(N, 6, 6) of contact (m) and approach (rad), in the axes of the camera: planes through the readings under a cup.

        Depth is noisier with the square of the distance, and neighbouring pixels err alike: far away a cup covers few pixels, a
        plane goes through them nearly whatever they say, and its residual no longer shows their noise. Along the surface, and about
        its normal, the cup is where it is put.

        Args:
            radius_m: of one cup.

        Source: variance of the slopes of a plane through n even readings in a disc, 4 s^2 / (n r^2); noise: Intel RealSense D400
        datasheet, depth quality; the share of true normals within three sigma: docs/grasping.md.
        """
        z = self.contact[:, 2]
        facing = np.abs(np.einsum("ni,ni->n", self.contact, self.normal)) / np.linalg.norm(self.contact, axis=1)
        grains = np.pi * (radius_m * self.focal_px / z) ** 2 * facing / _GRAIN_PX2
        count = np.maximum(self.reading * np.minimum(self.samples, grains), 1.0)
        hidden_m = _NOISE_AT_1M * z**2 * np.sqrt(np.minimum(3.0 / count, 1.0))  # what three numbers of a plane take up
        variance = self.rms_m**2 + np.maximum(hidden_m, _LEAST_M) ** 2
        turn = np.minimum(4 * variance / count / radius_m**2 + _WAVES_RAD**2, _ANY_RAD**2)
        along = variance / count + _LEAST_M**2 + (_WAVES_AT_1M * z**2) ** 2
        across = self.normal[:, :, None] * self.normal[:, None, :]
        within = np.eye(3) - across
        found = np.zeros((len(z), 6, 6))
        found[:, :3, :3] = across * along[:, None, None] + within * _LEAST_M**2
        found[:, 3:, 3:] = within * turn[:, None, None] + across * 1e-4
        return found


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
    assert view.rgb is not None
    contact, normal, hint, pattern_m, tolerance_m = (np.array(of, dtype=np.float64, order="C") for of in (
        contact, normal, hint, pattern_m, tolerance_m))
    table = kernels.fit_discs(view.labels, view.depth_m, view.rays, view.rgb, view.numbers, contact, normal, hint,
                              np.array(label, dtype=np.int64), pattern_m, cups, tolerance_m, rounds)
    return Patches(table, (view.camera.fx + view.camera.fy) / 2, len(pattern_m) // cups)

"""Soft packages give way: mailers and bags sag over the edges of what they lie on."""

from __future__ import annotations

import cv2
import numpy as np

from perception_node.sim import kernels
from perception_node.sim.meshes import Mesh

_CELL_M = 0.005
"""Cell of the height maps."""

_CONTACT_M = 0.006
"""Gaps below this count as carried; the physics leaves about as much under soft packages."""

_STEEPEST = 0.6
"""Slope of hanging parts at most; paper and film resist more than that near an edge. Source: judged by eye."""


def sag(mesh: Mesh, below: list[Mesh], curvature_per_m: float, floor_z_m: float = 0.0) -> Mesh:
    """Lowers the parts of a soft package that hang over free space.

    A point at distance d from where the package is carried sinks by up to ``curvature * d^2 / 2``, but never
    into what lies below.

    Args:
        mesh: the package in the world frame.
        below: meshes that may carry it, world frame.
        curvature_per_m: how limp it is; 1 = stiff card, 20 = thin film.
        floor_z_m: height of the surface.

    Returns:
        The same mesh with moved vertices (normals are kept, the slopes are small).
    """
    low = mesh.vertices[:, :2].min(0) - 2 * _CELL_M
    span = mesh.vertices[:, :2].max(0) + 2 * _CELL_M - low
    size = int(np.ceil(float(span.max()) / _CELL_M)) + 1
    top = np.full((size, size), -floor_z_m, np.float32)
    for other in below:
        place = other.vertices.astype(np.float32).copy()
        place[:, :2] = (place[:, :2] - low) / _CELL_M
        if (place[:, :2].max(0) < 0).any() or (place[:, :2].min(0) > size).any():
            continue
        place[:, 2] *= -1
        kernels.light_depth(place, other.triangles, np.ones(len(other.triangles), np.uint8), top)
    support = -top
    own = np.full((size, size), 1e3, np.float32)
    place = mesh.vertices.astype(np.float32).copy()
    place[:, :2] = (place[:, :2] - low) / _CELL_M
    kernels.light_depth(place, mesh.triangles, np.ones(len(mesh.triangles), np.uint8), own)
    covered = own < 1e2
    if not covered.any():
        return mesh
    gap = np.where(covered, own - support, 1e3)
    least = float(gap.min())
    carried = covered & (gap < max(least, 0.0) + _CONTACT_M)
    distance = cv2.distanceTransform((~carried).astype(np.uint8), cv2.DIST_L2, 5) * _CELL_M
    drop = np.minimum(0.5 * curvature_per_m * distance * distance, _STEEPEST * distance)
    drop = np.minimum(drop, np.clip(gap, 0, None))
    drop = cv2.blur(np.where(covered, drop, 0).astype(np.float32), (3, 3))
    column = np.clip(np.round(place[:, 0]), 0, size - 1).astype(int)
    row = np.clip(np.round(place[:, 1]), 0, size - 1).astype(int)
    vertices = mesh.vertices.copy()
    vertices[:, 2] -= drop[row, column]
    return Mesh(vertices, mesh.normals, mesh.uv, mesh.triangles, mesh.part)

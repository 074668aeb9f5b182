"""Suction without depth: on the belt plane, height unknown, flagged, never scored high."""

from __future__ import annotations

import numpy as np

from perception_node import geometry
from perception_node.config import SuctionConfig
from perception_node.grasp.bookkeeping import Bookkeeping
from perception_node.grasp.edges import EdgeMap
from perception_node.grasp.patch import View
from perception_node.grasp.score import DEGRADED_CAP
from perception_node.grasp.suction import footprint_m
from perception_node.types import F64, Grasp, Package

_TILT_SIGMA_RAD = 0.2
"""One sigma of an unseen upper face's tilt. Source: settled piles: two thirds of faces lie within 12 degrees of the belt's."""


def suction_on_belt(view: View, package: Package, edges: EdgeMap, plane: F64, config: SuctionConfig,
                    book: Bookkeeping) -> list[Grasp]:
    """One grasp where the mask is widest, its contact on the belt plane; the covariance says that the height is unknown."""
    focal = (view.camera.fx + view.camera.fy) / 2
    pixel_m = float(package.T_cam_package[2, 3]) / focal
    u, v, half_px = edges.innermost(package.label, book.instances[package.label].bbox_xyxy)
    half = half_px * pixel_m
    needed = footprint_m(config) / 2
    if half < needed:
        book.reject(package, "suction", f"without depth: widest place holds {2e3 * half:.0f} mm, the gripper needs "
                        f"{2e3 * needed:.0f} mm{book.covered_words(package)}", widest_m=2 * half, cup_m=2 * needed)
        return []
    ray = np.array([*view.rays[v * view.labels.shape[1] + u], 1.0], dtype=np.float64)
    contact = geometry.intersect_plane(ray[None], plane[:3], float(plane[3]))[0]
    if not np.isfinite(contact).all():
        book.reject(package, "suction", "without depth: its viewing ray does not meet the belt plane")
        return []
    covariance = package.covariance.copy()
    covariance[3:, 3:] += np.eye(3) * _TILT_SIGMA_RAD**2
    edge = min(half / needed - 1.0, 1.0)
    score = DEGRADED_CAP * (0.4 + 0.3 * edge + 0.3 * package.score)
    return [Grasp(kind="suction", T_cam_grasp=geometry.frame_from_axes(contact, -plane[:3], package.T_cam_package[:3, 0]),
                  width_m=footprint_m(config), score=score, label=package.label,
                  track_id=book.track_ids.get(package.label, 0),
                  terms={"edge": edge, "mask": package.score, "degraded": 1.0}, covariance=covariance,
                  deadline_ns=book.deadlines_ns([package.label], contact[None])[0], degraded=True)]

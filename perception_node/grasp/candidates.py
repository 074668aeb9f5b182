"""Frame + packages + tracks -> ranked grasps, and a reason for each package without one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_node import geometry
from perception_node.config import BeltConfig, GraspConfig, GripperConfig
from perception_node.grasp.deadline import deadline_ns, out_of_reach_m, travel_direction
from perception_node.grasp.degraded import suction_on_belt
from perception_node.grasp.jaw import jaw_grasps
from perception_node.grasp.patch import View
from perception_node.grasp.score import PRIORS, RankingModel
from perception_node.grasp.suction import suction_grasps
from perception_node.grasp.words import Verdicts
from perception_node.types import F32, F64, Frame, Grasp, GraspKind, Package, Packages, Rejection, Segmentation, Track


def propose_grasps(frame: Frame, packages: Packages, segmentation: Segmentation, tracks: Sequence[Track], gripper: GripperConfig,
                   grasp: GraspConfig, belt: BeltConfig, belt_velocity_m_s: F64 | None = None,
                   models: Mapping[GraspKind, RankingModel] = PRIORS) -> tuple[tuple[Grasp, ...], tuple[Rejection, ...]]:
    """Propose grasps for every package with every enabled gripper.

    Args:
        frame: picture and depth. packages, segmentation: of this frame. tracks: of this frame, for ids and velocities.
        gripper, grasp, belt: configuration. belt_velocity_m_s: (3,) camera frame, None = unknown. models: scores by kind.

    Returns:
        Grasps, best first: all of what nothing lies on before what is covered, and by falling probability within. Rejections:
        one for each package and enabled kind without a grasp, with its numbers.
    """
    kinds: list[GraspKind] = []
    if gripper.suction.enabled:
        kinds.append("suction")
    if gripper.parallel_jaw.enabled:
        kinds.append("parallel_jaw")
    track_of = {track.label: track for track in tracks}
    verdicts = Verdicts({label: track.track_id for label, track in track_of.items()})
    direction = travel_direction(belt, belt_velocity_m_s)
    reachable = [package for package in packages.items
                 if _can_be_tried(package, kinds, track_of, belt, direction, verdicts)]
    if not kinds or not reachable:
        return (), verdicts.all()
    empty = np.full(segmentation.labels.shape, np.nan, dtype=np.float32)
    view = View(frame.camera, segmentation.labels, frame.depth_m if frame.depth_m is not None else empty,
                geometry.ray_image(frame.camera).reshape(-1, 2))
    plane = packages.belt_plane
    up = plane[:3] if plane is not None else np.array([0.0, 0.0, -1.0])
    with_depth = [package for package in reachable if package.from_depth]
    flat = [package for package in reachable if not package.from_depth]
    found: list[Grasp] = []
    if "suction" in kinds:
        crops, corners = edge_crops(segmentation)
        found += suction_grasps(view, with_depth, crops, corners, up, gripper.suction, grasp, models["suction"], verdicts)
        for package in flat:
            assert plane is not None
            found += suction_on_belt(view, package, crops[package.label], corners[package.label], plane, gripper.suction, verdicts)
    if "parallel_jaw" in kinds:
        found += jaw_grasps(view, with_depth, packages.items, plane, gripper.parallel_jaw, grasp, models["parallel_jaw"], verdicts)
        for package in flat:
            verdicts.reject(package, "parallel_jaw", "without depth the package's height is unknown: fingers cannot be placed")
    level = cover_levels(packages)
    ordered = sorted(found, key=lambda g: (level[g.label], -g.score, g.label, g.kind))
    timed = (dataclasses.replace(g, deadline_ns=deadline_ns(g.T_cam_grasp[:3, 3], _velocity(track_of.get(g.label)),
                                                            frame.stamp_ns, belt, direction)) for g in ordered)
    return tuple(timed), verdicts.all()


def _velocity(track: Track | None) -> F64:
    return np.zeros(3) if track is None else track.velocity_m_s


def _can_be_tried(package: Package, kinds: Sequence[GraspKind], track_of: Mapping[int, Track], belt: BeltConfig,
                  direction: F64 | None, verdicts: Verdicts) -> bool:
    """False, with a reason for each kind, for what has no place in space or has passed the arm."""
    passed = out_of_reach_m(package.T_cam_package[:3, 3], _velocity(track_of.get(package.label)), belt, direction)
    for kind in kinds:
        if not package.placed:
            verdicts.reject(package, kind, "neither depth nor a calibrated belt plane",
                            no_depth_share=1.0 - package.depth_valid_fraction)
        elif passed > 0:
            verdicts.reject(package, kind, f"{1e3 * passed:.0f} mm beyond the arm's window", beyond_m=passed)
    return package.placed and passed <= 0


def cover_levels(packages: Packages) -> dict[int, int]:
    """0 for what nothing lies on, else one more than the highest of what lies on it; circles are cut as in `pick_order`."""
    level: dict[int, int] = {}
    above = {package.label: package.covered_by for package in packages.items}
    for label in packages.pick_order:
        level[label] = max((level[other] + 1 for other in above[label] if other in level), default=0)
    return level


def edge_crops(segmentation: Segmentation) -> tuple[dict[int, F32], dict[int, tuple[int, int]]]:
    """Per label, the crop of its pixels' distances (px) to the mask's edge or the picture's border, and its (u, v) corner."""
    distance = _edge_distance_px(segmentation.labels)
    height, width = segmentation.labels.shape
    crops, corners = {}, {}
    for instance in segmentation.instances:
        x0, y0, x1, y1 = instance.bbox_xyxy
        x0, y0, x1, y1 = max(0, x0), max(0, y0), min(width, max(x1, x0 + 1)), min(height, max(y1, y0 + 1))
        part = (slice(y0, y1), slice(x0, x1))
        crops[instance.label] = np.where(segmentation.labels[part] == instance.label, distance[part], np.float32(0))
        corners[instance.label] = (x0, y0)
    return crops, corners


def _edge_distance_px(labels: NDArray[np.uint16]) -> F32:
    inner = (labels > 0).astype(np.uint8)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    inner[:-1][down] = 0
    inner[1:][down] = 0
    inner[:, :-1][right] = 0
    inner[:, 1:][right] = 0
    inner[0], inner[-1], inner[:, 0], inner[:, -1] = 0, 0, 0, 0
    return np.asarray(cv2.distanceTransform(inner, cv2.DIST_L2, 3), dtype=np.float32)

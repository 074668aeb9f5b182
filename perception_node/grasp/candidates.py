"""Frame + packages + tracks -> ranked grasps, and a reason for each package without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from perception_node import geometry
from perception_node.config import BeltConfig, GraspConfig, GripperConfig
from perception_node.grasp.bookkeeping import Bookkeeping
from perception_node.grasp.deadline import deadlines_ns, out_of_reach_m, travel_direction
from perception_node.grasp.degraded import suction_on_belt
from perception_node.grasp.edges import edge_map
from perception_node.grasp.jaw import jaw_grasps
from perception_node.grasp.patch import View
from perception_node.grasp.score import PRIORS, RankingModel
from perception_node.grasp.suction import suction_grasps
from perception_node.types import F64, Frame, Grasp, GraspKind, Package, Packages, Rejection, Segmentation, Track

_MOSTLY = 0.5
"""More missing depth than this explains by itself why a package could not be located."""


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
    direction = travel_direction(belt, belt_velocity_m_s)

    def deadlines(labels: Sequence[int], positions: F64) -> list[int | None]:
        velocities = np.array([_velocity(track_of.get(label)) for label in labels]).reshape(-1, 3)
        return deadlines_ns(positions, velocities, frame.stamp_ns, belt, direction)

    plane, instances = packages.belt_plane, {instance.label: instance for instance in segmentation.instances}
    book = Bookkeeping({label: track.track_id for label, track in track_of.items()}, deadlines, instances,
                       *(() if plane is None else (lambda positions: positions @ plane[:3] + plane[3],)))
    reachable = [package for package in packages.items
                 if _can_be_tried(package, kinds, frame.depth_m is not None, track_of, belt, direction, book)]
    if not kinds or not reachable:
        return (), book.rejections()
    depth_m = frame.depth_m if frame.depth_m is not None else np.full(segmentation.labels.shape, np.nan, dtype=np.float32)
    view = View(frame.camera, segmentation.labels, depth_m,
                geometry.ray_image(frame.camera).reshape(-1, 2), frame.rgb)
    up = plane[:3] if plane is not None else np.array([0.0, 0.0, -1.0])
    with_depth = [package for package in reachable if package.from_depth]
    flat = [package for package in reachable if not package.from_depth]
    found: list[Grasp] = []
    if "suction" in kinds:
        edges = edge_map(segmentation)
        found += suction_grasps(view, with_depth, edges, up, gripper.suction, grasp, models["suction"], book)
        for package in flat:
            assert plane is not None
            found += suction_on_belt(view, package, edges, plane, gripper.suction, book)
    if "parallel_jaw" in kinds:
        found += jaw_grasps(view, with_depth, packages.items, plane, gripper.parallel_jaw, grasp, models["parallel_jaw"], book)
        for package in flat:
            book.reject(package, "parallel_jaw", "without depth the package's height is unknown: fingers cannot be placed")
    level = cover_levels(packages)
    found = _in_turn(found, packages, level, grasp.min_score, book)
    ordered = sorted(found, key=lambda g: (level[g.label], -g.score, g.label, g.kind))
    return tuple(ordered), book.rejections()


def _velocity(track: Track | None) -> F64:
    return np.zeros(3) if track is None else track.velocity_m_s


def _can_be_tried(package: Package, kinds: Sequence[GraspKind], has_depth: bool, track_of: Mapping[int, Track], belt: BeltConfig,
                  direction: F64 | None, book: Bookkeeping) -> bool:
    """False, with a reason for each kind, for what has no place in space or has passed the arm.

    A package without readings in a depth picture is refused, too: the belt plane would be a wrong guess wherever packages lie on
    each other, and a sensor that shows nothing is a fault. Only cells that run without depth get grasps on the belt plane.
    """
    missing = 1.0 - package.depth_valid_fraction
    passed = out_of_reach_m(package.T_cam_package[:3, 3], _velocity(track_of.get(package.label)), belt, direction)
    for kind in kinds:
        if not package.placed:
            book.reject(package, kind, "neither depth nor a calibrated belt plane",
                            no_depth_share=missing)
        elif has_depth and not package.from_depth:
            why = (f"no depth in {100 * missing:.0f} % of the mask" if missing > _MOSTLY else
                   f"none of its readings lies on an upper face (no depth in {100 * missing:.0f} % of the mask)")
            book.reject(package, kind, f"{why}: its place is not known", no_depth_share=missing)
        elif passed > 0:
            book.reject(package, kind, f"{1e3 * passed:.0f} mm beyond the arm's window", beyond_m=passed)
    return package.placed and passed <= 0 and (package.from_depth or not has_depth)


def _in_turn(found: Sequence[Grasp], packages: Packages, level: Mapping[int, int], min_score: float,
             book: Bookkeeping) -> list[Grasp]:
    """Without the grasps that are improbable now and stay so, because what lies on their package has no grasp itself.

    Covered packages are judged as if nothing lay on them: they are proposed after what covers them, and say so. That holds only
    where what covers them can be picked.
    """
    grasps_of: dict[int, list[Grasp]] = {}
    for one in found:
        grasps_of.setdefault(one.label, []).append(one)
    for package in sorted((of for of in packages.items if of.label in grasps_of and of.covered_by), key=lambda of: level[of.label]):
        if all(grasps_of.get(label) for label in package.covered_by):
            continue
        mine = grasps_of[package.label]
        kept = grasps_of[package.label] = [one for one in mine if one.score >= min_score]
        for kind in {one.kind for one in mine} - {one.kind for one in kept}:
            best = max(one.score for one in mine if one.kind == kind)
            book.reject(package, kind, f"best place has a success probability of {best:.2f}, wanted {min_score:.2f}"
                        f"{book.covered_words(package)}", score_probability=best, limit_probability=min_score)
    return [one for mine in grasps_of.values() for one in mine]


def cover_levels(packages: Packages) -> dict[int, int]:
    """0 for what nothing lies on, else one more than the highest of what lies on it; circles are cut as in `pick_order`."""
    level: dict[int, int] = {}
    above = {package.label: package.covered_by for package in packages.items}
    for label in packages.pick_order:
        level[label] = max((level[other] + 1 for other in above[label] if other in level), default=0)
    return level

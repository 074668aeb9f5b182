"""Where two parallel fingers close on opposite sides of a package, and whether they get down there freely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_node.config import GraspConfig, JawConfig
from perception_node.grasp.bookkeeping import Bookkeeping
from perception_node.grasp.clearance import Obstacles, look_beside
from perception_node.grasp.patch import View
from perception_node.grasp.score import SMALL_M3, RankingModel, volume_m3
from perception_node.types import F64, Grasp, Package

_OFFSETS = (0.0, -0.25, 0.25)
"""Places along the side, in shares of its length from the middle: a grasp far from the centre of mass turns the package."""
_SLACK_M = (0.0, 0.012)
"""Extra opening tried on each side: soft packages bulge beyond the rectangle of their upper face."""
_MIN_REACH_M = 0.008
"""Fingers that hold less than this beside the upper face slip off. Source: the edge radius of corrugated board and the height
error of a stereo camera at 1.1 m (3 mm at three sigmas) leave half of it as contact."""
_MAX_UNSEEN = 0.6
"""A finger whose place is hidden to more than this share is not sent there."""
_RIGID = {"box": 1.0, "padded_mailer": 0.5, "poly_bag": 0.25}
"""How well a class of package resists being squeezed, 0..1, as a term of the score."""


@dataclass(frozen=True, eq=False)
class JawCandidates:
    """N ways to close the fingers. Frames: origin in the upper face's plane, z into the package, x = closing direction.

    Attributes:
        owner: (N,) position of the package. T_cam_face: (N, 4, 4). opening_m: (N,) between the fingers. extent_m: (N,) of the
            package there. centre: (N,) 1 = in its middle .. 0 = at its end.
    """

    owner: NDArray[np.int64]
    T_cam_face: F64
    opening_m: F64
    extent_m: F64
    centre: F64


def jaw_grasps(view: View, packages: Sequence[Package], everything: Sequence[Package], plane: F64 | None, config: JawConfig,
               grasp: GraspConfig, model: RankingModel, book: Bookkeeping) -> list[Grasp]:
    """Jaw grasps from depth; packages without one get their reason in `book`.

    Args:
        view: the frame. packages: placed with depth. everything: all packages of the frame, as obstacles. plane: (4,) belt.
    """
    candidates = _candidates(packages, config, book)
    if len(candidates.owner) == 0:
        return []
    beside = look_beside(view, candidates.T_cam_face, candidates.opening_m, [packages[i] for i in candidates.owner],
                         [package for package in everything if package.placed and package.from_depth], plane, config)
    reach = np.minimum(config.finger_depth_m, beside.free_m - config.clearance_m)
    values = _terms(packages, candidates, beside, reach, plane, config)
    score = model.probability(values)
    possible = (reach >= _MIN_REACH_M) & (beside.unseen <= _MAX_UNSEEN)
    table = np.column_stack(list(values.values())).tolist()
    grasps = []
    for i, package in enumerate(packages):
        mine = np.flatnonzero(candidates.owner == i)
        if len(mine) == 0:
            continue
        good = mine[possible[mine] & (score[mine] >= grasp.min_score)]
        if len(good) == 0:
            _explain(package, mine, beside, reach, score, possible, grasp, config, book)
            continue
        for k in good[np.argsort(-score[good], kind="stable")][: grasp.max_per_package]:
            terms = dict(zip(values, table[k], strict=True))
            T_cam_grasp = candidates.T_cam_face[k].copy()
            T_cam_grasp[:3, 3] += T_cam_grasp[:3, 2] * reach[k] / 2
            grasps.append(Grasp(kind="parallel_jaw", T_cam_grasp=T_cam_grasp, width_m=float(candidates.opening_m[k]),
                                score=float(score[k]), label=package.label, track_id=book.track_ids.get(package.label, 0),
                                terms=terms, covariance=package.covariance,
                                deadline_ns=book.deadline_ns(package.label, T_cam_grasp[:3, 3])))
    return grasps


def _candidates(packages: Sequence[Package], config: JawConfig, book: Bookkeeping) -> JawCandidates:
    owner: list[int] = []
    origins, turns, openings, extents, centres = [], [], [], [], []
    for i, package in enumerate(packages):
        length, width, height = package.size_m
        if package.truncated:
            book.reject(package, "parallel_jaw", "cut off by the picture's border: the sides out of sight cannot be closed on")
            continue
        narrowest = min(length, width)
        if narrowest + 2 * config.clearance_m > config.opening_max_m:
            book.reject(package, "parallel_jaw", f"narrowest side {1e3 * narrowest:.0f} mm, jaws open "
                            f"{1e3 * config.opening_max_m:.0f} mm with {1e3 * config.clearance_m:.0f} mm clearance on both sides",
                            narrowest_m=narrowest, opening_max_m=config.opening_max_m)
            continue
        if length < config.opening_min_m:
            book.reject(package, "parallel_jaw", f"widest side {1e3 * length:.0f} mm, jaws hold "
                            f"{1e3 * config.opening_min_m:.0f} mm or more", widest_m=length, opening_min_m=config.opening_min_m)
            continue
        count, pose = len(owner), package.T_cam_package
        top = pose[:3, 3] + pose[:3, 2] * height / 2
        x, y, z = pose[:3, 0], pose[:3, 1], pose[:3, 2]
        for other, turn, extent, side in ((x, np.column_stack([y, x, -z]), width, length),
                                          (y, np.column_stack([x, -y, -z]), length, width)):
            for offset in _OFFSETS:
                if abs(offset) * side + config.finger_width_m / 2 > side / 2:
                    continue
                for slack in _SLACK_M:
                    opening = extent + 2 * (config.clearance_m + slack)
                    if opening > config.opening_max_m or extent < config.opening_min_m:
                        continue
                    owner.append(i)
                    origins.append(top + other * (offset * side))
                    turns.append(turn)
                    openings.append(opening)
                    extents.append(extent)
                    centres.append(1.0 - 2 * abs(offset))
        if len(owner) == count:
            book.reject(package, "parallel_jaw", f"sides of {1e3 * length:.0f} x {1e3 * width:.0f} mm: none lets fingers of "
                            f"{1e3 * config.finger_width_m:.0f} mm close within {1e3 * config.opening_max_m:.0f} mm",
                            length_m=length, width_m=width, finger_width_m=config.finger_width_m)
    frames = np.zeros((len(owner), 4, 4))
    if owner:
        frames[:, :3, :3], frames[:, :3, 3], frames[:, 3, 3] = turns, origins, 1.0
    return JawCandidates(np.array(owner, dtype=np.int64), frames, np.array(openings), np.array(extents), np.array(centres))


def _terms(packages: Sequence[Package], candidates: JawCandidates, beside: Obstacles, reach: F64, plane: F64 | None,
           config: JawConfig) -> dict[str, F64]:
    """Terms of each candidate, 0 (bad) .. 1 (good), and raw numbers with their unit in the name."""
    own = [packages[i] for i in candidates.owner]
    up = plane[:3] if plane is not None else np.array([0.0, 0.0, -1.0])
    spare = beside.free_m - reach
    return {
        "clear": np.clip(spare / (3 * max(config.clearance_m, 1e-3)), 0.0, 1.0),
        "seen": np.clip(1.0 - beside.unseen, 0.0, 1.0),
        "reach": np.clip(reach / config.finger_depth_m, 0.0, 1.0),
        "room": np.clip((config.opening_max_m - candidates.opening_m) / (0.25 * config.opening_max_m), 0.0, 1.0),
        "centre": candidates.centre,
        "rigid": np.array([_RIGID.get(package.class_name, 0.5) for package in own]),
        "upright": np.clip(-np.einsum("ni,i->n", candidates.T_cam_face[:, :3, 2], up), 0.0, 1.0),
        "light": np.array([SMALL_M3 / (SMALL_M3 + volume_m3(package)) for package in own]),
        "free": np.array([float(not package.covered_by) for package in own]),
        "mask": np.array([package.score for package in own]),
        "sure": np.array([min(max(4.0 * package.score - 3.0, 0.0), 1.0) for package in own]),
        "reach_m": np.maximum(reach, 0.0),
        "extent_m": candidates.extent_m,
    }


def _explain(package: Package, mine: NDArray[np.int64], beside: Obstacles, reach: F64, score: F64, possible: NDArray[np.bool_],
             grasp: GraspConfig, config: JawConfig, book: Bookkeeping) -> None:
    if possible[mine].any():
        best = float(score[mine][possible[mine]].max())
        book.reject(package, "parallel_jaw", f"best place has a success probability of {best:.2f}, wanted "
                    f"{grasp.min_score:.2f}", score_probability=best, limit_probability=grasp.min_score)
        return
    k = int(mine[int(np.argmax(reach[mine]))])
    free, needed = max(float(beside.free_m[k]), 0.0), _MIN_REACH_M + config.clearance_m
    if reach[k] >= _MIN_REACH_M:
        unseen = float(beside.unseen[mine].min())
        words = f"{100 * unseen:.0f} % of the fingers' place is out of sight, at most {100 * _MAX_UNSEEN:.0f} % allowed"
        book.reject(package, "parallel_jaw", words + book.covered_words(package), unseen_share=unseen)
        return
    blocker = int(beside.blocker[k])
    what = "the belt" if blocker == 0 else "its own bulge" if blocker == package.label else book.name_of(blocker)
    book.reject(package, "parallel_jaw", f"fingers find {1e3 * free:.0f} mm of free depth beside it, they need "
                    f"{1e3 * needed:.0f} mm: {what} is in the way{book.covered_words(package)}",
                    free_m=free, needed_m=needed)

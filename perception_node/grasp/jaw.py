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
from perception_node.grasp.score import SMALL_M3, RankingModel, evidence, unit, volume_m3
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
_MIN_HELD = 0.2
"""The package must be seen on this share of its face between the fingers: the rectangle round a bent or covered one is empty in
places. Source: simulated belts with true masks: of 126 best grasps six of the eight wrong ones have 0, 99 % of the right ones 0.2
and more."""
_RIGID = {"box": 1.0, "padded_mailer": 0.5, "poly_bag": 0.25, "item": 0.5}
"""How well a class of package resists being squeezed, 0..1, as a term of the score. Items do, but they are round and turn away."""


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
    labels = np.array([package.label for package in packages])
    beside = look_beside(view, candidates.T_cam_face, candidates.opening_m, candidates.extent_m, labels[candidates.owner],
                         [package for package in everything if package.placed and package.from_depth], plane, config)
    reach = np.minimum(config.finger_depth_m, beside.free_m - config.clearance_m)
    values = _terms(packages, candidates, beside, reach, plane, config)
    values["ground"], values["whole"], values["shown"] = evidence(packages, book.instances)[:, candidates.owner]
    score, once_free = model.probability_now_and_free(values)
    possible = (reach >= _MIN_REACH_M) & (beside.unseen <= _MAX_UNSEEN) & (beside.held >= _MIN_HELD)
    alive = possible & (once_free >= grasp.min_score)
    T_cam_grasp = candidates.T_cam_face.copy()
    T_cam_grasp[:, :3, 3] += T_cam_grasp[:, :3, 2] * reach[:, None] / 2
    # Candidates come package after package; within one, the good ones by falling score.
    order = np.lexsort((-score, ~alive, candidates.owner))
    starts = np.searchsorted(candidates.owner, np.arange(len(packages) + 1)).tolist()
    good_counts = np.bincount(candidates.owner[alive], minlength=len(packages)).tolist()
    chosen: list[int] = []
    for i, package in enumerate(packages):
        mine = order[starts[i]:starts[i + 1]]
        if len(mine) and good_counts[i] == 0:
            _explain(package, np.sort(mine), beside, reach, once_free, possible, grasp, config, book)
        chosen += mine[: min(good_counts[i], grasp.max_per_package)].tolist()
    if not chosen:
        return []
    poses, owners = T_cam_grasp[chosen], candidates.owner[chosen].tolist()
    mine_labels = [packages[i].label for i in owners]
    rows = list(zip(candidates.opening_m[chosen].tolist(), score[chosen].tolist(), mine_labels,
                    [book.track_ids.get(label, 0) for label in mine_labels], book.deadlines_ns(mine_labels, poses[:, :3, 3]),
                    strict=True))
    return Grasp.many("parallel_jaw", poses, np.array([packages[i].covariance for i in owners]), rows, list(values),
                      np.column_stack(list(values.values()))[chosen].tolist())


def _candidates(packages: Sequence[Package], config: JawConfig, book: Bookkeeping) -> JawCandidates:
    wanted = [i for i, package in enumerate(packages) if _may_fit(package, config, book)]
    pose = np.array([packages[i].T_cam_package for i in wanted]).reshape(-1, 4, 4)
    size = np.array([packages[i].size_m for i in wanted]).reshape(-1, 3)
    top = pose[:, :3, 3] + pose[:, :3, 2] * size[:, 2:] / 2
    x, y, z = (pose[:, :3, k] for k in range(3))
    # All combinations: package, direction in which the fingers close (across its width, then its length), offset, slack.
    turn = np.stack([np.stack([y, x, -z], axis=-1), np.stack([x, -y, -z], axis=-1)], axis=1)
    extent, side = size[:, [1, 0], None], size[:, [0, 1], None]
    offset = np.array(_OFFSETS)
    opening = extent + 2 * (config.clearance_m + np.array(_SLACK_M))
    within = np.abs(offset) * side + config.finger_width_m / 2 <= side / 2
    opens = (opening <= config.opening_max_m) & (extent >= config.opening_min_m)
    possible = within[..., None] & opens[:, :, None]
    for k in np.flatnonzero(~possible.any(axis=(1, 2, 3))):
        package = packages[wanted[k]]
        length, width, _ = package.size_m
        book.reject(package, "parallel_jaw", f"sides of {1e3 * length:.0f} x {1e3 * width:.0f} mm: none lets fingers of "
                    f"{1e3 * config.finger_width_m:.0f} mm close within {1e3 * config.opening_max_m:.0f} mm",
                    length_m=length, width_m=width, finger_width_m=config.finger_width_m)
    mine, way, place, slack = np.nonzero(possible)
    frames = np.zeros((len(mine), 4, 4))
    frames[:, :3, :3], frames[:, 3, 3] = turn[mine, way], 1.0
    frames[:, :3, 3] = top[mine] + frames[:, :3, 1] * (np.where(way == 0, 1.0, -1.0) * offset[place] * side[mine, way, 0])[:, None]
    return JawCandidates(np.array(wanted, dtype=np.int64)[mine], frames, opening[mine, way, slack], extent[mine, way, 0],
                         1.0 - 2 * np.abs(offset[place]))


def _may_fit(package: Package, config: JawConfig, book: Bookkeeping) -> bool:
    """False, with the reason, for what is cut off by the picture, too wide or too narrow for the jaws."""
    narrowest, widest = min(package.size_m[:2]), package.size_m[0]
    if package.truncated:
        book.reject(package, "parallel_jaw", "cut off by the picture's border: the sides out of sight cannot be closed on")
    elif narrowest + 2 * config.clearance_m > config.opening_max_m:
        book.reject(package, "parallel_jaw", f"narrowest side {1e3 * narrowest:.0f} mm, jaws open "
                    f"{1e3 * config.opening_max_m:.0f} mm with {1e3 * config.clearance_m:.0f} mm clearance on both sides",
                    narrowest_m=narrowest, opening_max_m=config.opening_max_m)
    elif widest < config.opening_min_m:
        book.reject(package, "parallel_jaw", f"widest side {1e3 * widest:.0f} mm, jaws hold "
                    f"{1e3 * config.opening_min_m:.0f} mm or more", widest_m=widest, opening_min_m=config.opening_min_m)
    else:
        return True
    return False


def _terms(packages: Sequence[Package], candidates: JawCandidates, beside: Obstacles, reach: F64, plane: F64 | None,
           config: JawConfig) -> dict[str, F64]:
    """Terms of each candidate, 0 (bad) .. 1 (good), and raw numbers with their unit in the name."""
    rigid, volume, free, mask = np.array([(_RIGID.get(p.class_name, 0.5), volume_m3(p), float(not p.covered_by), p.score)
                                          for p in packages]).T[:, candidates.owner]
    up = plane[:3] if plane is not None else np.array([0.0, 0.0, -1.0])
    spare = beside.free_m - reach
    return {
        "clear": unit(spare / (3 * max(config.clearance_m, 1e-3))),
        "seen": unit(1.0 - beside.unseen),
        "reach": unit(reach / config.finger_depth_m),
        "room": unit((config.opening_max_m - candidates.opening_m) / (0.25 * config.opening_max_m)),
        "centre": candidates.centre,
        "rigid": rigid,
        "upright": unit(-np.einsum("ni,i->n", candidates.T_cam_face[:, :3, 2], up)),
        "light": SMALL_M3 / (SMALL_M3 + volume),
        "free": free,
        "mask": mask,
        "sure": unit(4.0 * mask - 3.0),
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
    free = mine[(reach[mine] >= _MIN_REACH_M) & (beside.unseen[mine] <= _MAX_UNSEEN)]
    if len(free):
        held = float(beside.held[free].max())
        book.reject(package, "parallel_jaw", f"seen on {100 * held:.0f} % of the place between the fingers at best, needed "
                    f"{100 * _MIN_HELD:.0f} %{book.covered_words(package)}", held_share=held, limit_share=_MIN_HELD)
        return
    k = int(mine[int(np.argmax(reach[mine]))])
    free_m, needed = max(float(beside.free_m[k]), 0.0), _MIN_REACH_M + config.clearance_m
    if reach[k] >= _MIN_REACH_M:
        unseen = float(beside.unseen[mine].min())
        words = f"{100 * unseen:.0f} % of the fingers' place is out of sight, at most {100 * _MAX_UNSEEN:.0f} % allowed"
        book.reject(package, "parallel_jaw", words + book.covered_words(package), unseen_share=unseen)
        return
    blocker = int(beside.blocker[k])
    what = "the belt" if blocker == 0 else "its own bulge" if blocker == package.label else book.name_of(blocker)
    book.reject(package, "parallel_jaw", f"fingers find {1e3 * free_m:.0f} mm of free depth beside it, they need "
                    f"{1e3 * needed:.0f} mm: {what} is in the way{book.covered_words(package)}",
                    free_m=free_m, needed_m=needed)

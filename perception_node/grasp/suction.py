"""Where a cup, or an array of cups, seals on a package."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from perception_node import geometry
from perception_node.config import GraspConfig, SuctionConfig
from perception_node.grasp.bookkeeping import Bookkeeping
from perception_node.grasp.edges import EdgeMap
from perception_node.grasp.patch import Patches, View, fit_patches, sunflower
from perception_node.grasp.score import RankingModel
from perception_node.types import F64, Grasp, Package

_SAMPLES_PER_CUP = 40
_SAMPLES_ROUGH = 16
_FINALISTS = 8
"""Places of a package judged in full, after a first look at all."""
_SEEDS = 20
"""Places looked at per package. Source: measured on 140 pictures of a pilot cell: twice as many change the share of valid first
choices by less than 0.3 points."""
RIM = 1.15
"""The lip needs the package under this many radii: a mask's edge is uncertain by a pixel or two."""
_MIN_ON_MASK = 0.97
_MIN_READING = 0.5
_MIN_READING_BAG = 0.2
"""Film loses half of its stereo readings; what is left must still span the disc (`lopsided`)."""
_MAX_LOPSIDED = 0.5
_NOISE_M = 0.0012
"""Depth noise under a cup that is not roughness. Source: stereo-like depth at 1.1 m: 68 % of errors below 1 mm, 95 % below 2.4."""
_SEAL_LIMIT = 1.5
"""A surface rougher than this many tolerances is not tried at all; between, the score falls."""
_SPREAD_RAD = 0.35
"""Change of the normal between a small and a full disc at which the surface counts as a fold. Source: 20 degrees on a 30 mm cup
is a gap of 5 mm at the lip, more than bellows of that size take up."""
_SOFT = frozenset({"poly_bag"})


def cup_offsets(config: SuctionConfig) -> F64:
    """(cups, 2) centres of the cups in the gripper's plane: columns along x, rows along y, metres."""
    x = (np.arange(config.columns) - (config.columns - 1) / 2) * config.spacing_m
    y = (np.arange(config.rows) - (config.rows - 1) / 2) * config.spacing_m
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def footprint_m(config: SuctionConfig) -> float:
    """Diameter of the circle round all cups."""
    return 2 * (float(np.linalg.norm(cup_offsets(config), axis=1).max()) + config.cup_radius_m)


def suction_grasps(view: View, packages: Sequence[Package], edges: Mapping[int, EdgeMap], up: F64, config: SuctionConfig,
                   grasp: GraspConfig, model: RankingModel, book: Bookkeeping) -> list[Grasp]:
    """Suction grasps from depth; packages without one get their reason in `book`.

    Args:
        view: the frame. packages: placed with depth. edges: distances inside each mask, by label. up: (3,) normal of the belt.
    """
    focal = (view.camera.fx + view.camera.fy) / 2
    owner, pixels = [], []
    kept: list[Package] = []
    for package in packages:
        pixel_m = float(package.T_cam_package[2, 3]) / focal
        widest = 2 * edges[package.label].widest_px * pixel_m
        if widest < 1.6 * config.cup_radius_m:
            book.reject(package, "suction", f"widest place in sight holds a disc of {1e3 * widest:.0f} mm, the cup needs "
                            f"{2e3 * config.cup_radius_m:.0f} mm{book.covered_words(package)}",
                            widest_m=widest, cup_m=2 * config.cup_radius_m)
            continue
        seeds = np.concatenate([edges[package.label].lattice(config.cup_radius_m / pixel_m, _SEEDS), _face_middle(view, package)])
        owner.append(np.full(len(seeds), len(kept)))
        pixels.append(seeds)
        kept.append(package)
    if not kept:
        return []
    return _rank(view, kept, np.concatenate(owner), np.concatenate(pixels), up, config, grasp, model, book)


def _rank(view: View, packages: list[Package], owner: NDArray[np.int64], pixels: NDArray[np.int64], up: F64,
          config: SuctionConfig, grasp: GraspConfig, model: RankingModel, book: Bookkeeping) -> list[Grasp]:
    cups = cup_offsets(config)
    poses = np.array([package.T_cam_package for package in packages])
    heights = np.array([package.size_m[2] for package in packages])
    hint = poses[owner, :3, 0]
    if len(cups) > 1:  # an array also fits the other way round
        hint = np.concatenate([hint, poses[owner, :3, 1]])
        owner, pixels = np.concatenate([owner, owner]), np.concatenate([pixels, pixels])
    half_m = np.array([math.hypot(package.size_m[0], package.size_m[1]) / 2 for package in packages])[owner]
    normal = poses[owner, :3, 2]
    face = poses[owner, :3, 3] + normal * heights[owner, None] / 2
    rays = np.column_stack([view.rays[pixels[:, 1] * view.labels.shape[1] + pixels[:, 0]], np.ones(len(pixels))]).astype(np.float64)
    along = np.einsum("ni,ni->n", rays, normal)
    scale = np.einsum("ni,ni->n", face, normal) / np.where(along < -0.05, along, -0.05)
    contact = rays * np.clip(scale, 0.5 * face[:, 2], 1.5 * face[:, 2])[:, None]
    label = np.array([package.label for package in packages])[owner]
    soft = np.array([package.class_name in _SOFT for package in packages])
    tolerance = np.where(soft, config.bag_tolerance_m, config.seal_tolerance_m)[owner]
    near = sunflower(_SAMPLES_ROUGH) * max(config.cup_radius_m, grasp.normal_radius_m)
    rough = fit_patches(view, contact, normal, hint, label, near, 1, 2 * tolerance)
    best = _most_promising(owner, rough, np.linalg.norm(rough.contact - face, axis=1) / np.maximum(half_m, 1e-3), len(cups))
    owner, hint, label, tolerance, face = owner[best], hint[best], label[best], tolerance[best], face[best]
    rough = rough.take(best)
    disc = sunflower(_SAMPLES_PER_CUP)
    pattern = (cups[:, None] + disc[None] * (config.cup_radius_m * RIM)).reshape(-1, 2)
    patch = fit_patches(view, rough.contact, rough.normal, hint, label, pattern, len(cups), tolerance)
    values = _measure(packages, owner, patch, rough, face, tolerance, up, config)
    score = model.probability(values)
    return _choose(packages, owner, patch, hint, values, score, soft[owner], config, grasp, book)


def _face_middle(view: View, package: Package) -> NDArray[np.int64]:
    """(0 or 1, 2) pixel of the middle of the package's upper face, where it is in the package's mask."""
    middle = package.T_cam_package[:3, 3] + package.T_cam_package[:3, 2] * (package.size_m[2] / 2)
    flat, inside = view.look(view.project(middle[None]))
    if not inside[0] or view.labels.ravel()[flat[0]] != package.label:
        return np.zeros((0, 2), dtype=np.int64)
    return np.array([[flat[0] % view.labels.shape[1], flat[0] // view.labels.shape[1]]])


def _most_promising(owner: NDArray[np.int64], rough: Patches, off_centre: F64, cups: int) -> NDArray[np.int64]:
    """Positions of the best candidates of each package by a first look: flat, inside the mask, read, near the middle (which
    matters most to an array of cups)."""
    merit = rough.on_mask + 0.5 * rough.reading - 0.5 * rough.lopsided - rough.rms_m / 0.006
    merit = merit - (0.2 if cups == 1 else 1.0) * off_centre
    order = np.lexsort((-merit, owner))
    owners = owner[order]
    rank = np.arange(len(order)) - np.searchsorted(owners, owners)
    return order[rank < (_FINALISTS if cups == 1 else 2 * _FINALISTS)]


def _measure(packages: list[Package], owner: NDArray[np.int64], patch: Patches, rough: Patches, face: F64, tolerance: F64,
             up: F64, config: SuctionConfig) -> dict[str, F64]:
    """Terms of each candidate, 0 (bad) .. 1 (good), and raw numbers with their unit in the name."""
    roughness = np.sqrt(np.maximum(patch.rms_m**2 - _NOISE_M**2, 0.0))
    turn = np.arccos(np.clip(np.einsum("ni,ni->n", patch.normal, rough.normal), -1.0, 1.0))
    tilt = np.arccos(np.clip(patch.normal @ up, -1.0, 1.0))
    half = np.array([np.hypot(package.size_m[0], package.size_m[1]) / 2 for package in packages])[owner]
    off = np.linalg.norm(patch.contact - face, axis=1)
    covered = np.array([float(not package.covered_by) for package in packages])[owner]
    mask = np.array([package.score for package in packages])[owner]
    return {
        "seal": np.clip(1.0 - roughness / tolerance, 0.0, 1.0),
        "edge": np.clip((patch.on_mask - 0.9) / 0.1, 0.0, 1.0),
        "reading": np.clip(patch.cup_reading, 0.0, 1.0) * (1.0 - patch.lopsided),
        "spread": np.clip(1.0 - turn / _SPREAD_RAD, 0.0, 1.0),
        "upright": np.clip(1.0 - tilt / max(config.max_tilt_rad, 1e-3), 0.0, 1.0),
        "centre": np.clip(1.0 - off / np.maximum(half, 1e-3), 0.0, 1.0),
        "free": covered, "mask": mask, "roughness_m": roughness, "tilt_rad": tilt,
    }


def _choose(packages: list[Package], owner: NDArray[np.int64], patch: Patches, hint: F64, values: dict[str, F64], score: F64,
            soft: NDArray[np.bool_], config: SuctionConfig, grasp: GraspConfig, book: Bookkeeping) -> list[Grasp]:
    tolerance = np.where(soft, config.bag_tolerance_m, config.seal_tolerance_m)
    least = np.where(soft, _MIN_READING_BAG, _MIN_READING)
    checks = (
        ("edge", patch.on_mask >= _MIN_ON_MASK, patch.on_mask, np.full(len(owner), _MIN_ON_MASK)),
        ("reading", patch.fitted & (patch.cup_reading >= least) & (patch.lopsided <= _MAX_LOPSIDED), patch.cup_reading, least),
        ("seal", values["roughness_m"] <= _SEAL_LIMIT * tolerance, -values["roughness_m"], tolerance),
        ("tilt", values["tilt_rad"] <= config.max_tilt_rad, -values["tilt_rad"], np.full(len(owner), config.max_tilt_rad)),
        ("score", score >= grasp.min_score, score, np.full(len(owner), grasp.min_score)),
    )
    passed = np.zeros(len(owner), dtype=np.int64)
    alive = np.ones(len(owner), dtype=bool)
    for _, good, _, _ in checks:
        alive = alive & good
        passed += alive
    grasps = []
    footprint = footprint_m(config)
    names = list(values)
    table = np.column_stack([values[name] for name in names]).tolist()
    covariances = _covariances(patch, config.cup_radius_m)
    for i, package in enumerate(packages):
        mine = np.flatnonzero(owner == i)
        good = mine[passed[mine] == len(checks)]
        if len(good) == 0:
            stage = int(passed[mine].max())
            name, _, value, limit = checks[stage]
            nearest = mine[passed[mine] == stage]
            best = nearest[int(np.argmax(value[nearest]))]
            _explain(package, name, abs(float(value[best])), float(limit[best]), book)
            continue
        for k in _spread_out(good[np.argsort(-score[good], kind="stable")], patch.contact, config.cup_radius_m,
                             grasp.max_per_package):
            terms = dict(zip(names, table[k], strict=True))
            grasps.append(Grasp(
                kind="suction", T_cam_grasp=geometry.frame_from_axes(patch.contact[k], -patch.normal[k], hint[k]),
                width_m=footprint, score=float(score[k]), label=package.label,
                track_id=book.track_ids.get(package.label, 0), terms=terms,
                covariance=covariances[k],
                deadline_ns=book.deadline_ns(package.label, patch.contact[k])))
    return grasps


def _explain(package: Package, check: str, got: float, limit: float, book: Bookkeeping) -> None:
    hidden = book.covered_words(package)
    missing = 1.0 - package.depth_valid_fraction
    words = {
        "reading": f"no depth in {100 * missing:.0f} % of the mask; best place under the cup is read to {100 * got:.0f} %, "
                   f"needed {100 * limit:.0f} %",
        "edge": f"the cup overlaps the edge everywhere: at most {100 * got:.0f} % of its lip lies on the package{hidden}",
        "seal": f"too rough for the cup: {1e3 * got:.1f} mm at best, the seal takes {1e3 * limit:.1f} mm",
        "tilt": f"too steep: {np.degrees(got):.0f} degrees at best, at most {np.degrees(limit):.0f} allowed",
        "score": f"best place has a success probability of {got:.2f}, wanted {limit:.2f}{hidden}",
    }
    unit = {"reading": "share", "edge": "share", "seal": "m", "tilt": "rad", "score": "probability"}[check]
    book.reject(package, "suction", words[check], **{f"{check}_{unit}": got, f"limit_{unit}": limit,
                                                         "no_depth_share": missing})


def _spread_out(ordered: NDArray[np.int64], contact: F64, radius_m: float, count: int) -> list[int]:
    """The first `count` candidates that lie at least a cup's radius apart."""
    chosen: list[int] = []
    for k in ordered.tolist():
        if all(math.dist(contact[k], contact[other]) >= radius_m for other in chosen):
            chosen.append(k)
        if len(chosen) == count:
            break
    return chosen


def _covariances(patch: Patches, radius_m: float) -> F64:
    """(N, 6, 6) of the contacts: planes through the readings under the cup; along the surface, the cup is where it is put."""
    variance = (patch.rms_m**2 + _NOISE_M**2)[:, None, None]
    count = np.maximum(patch.reading * _SAMPLES_PER_CUP, 1.0)[:, None, None]
    across = patch.normal[:, :, None] * patch.normal[:, None, :]
    within = np.eye(3) - across
    covariance = np.zeros((len(patch.normal), 6, 6))
    covariance[:, :3, :3] = across * (variance / count + _NOISE_M**2) + within * _NOISE_M**2
    covariance[:, 3:, 3:] = within * (4 * variance / count / radius_m**2) + across * 1e-4
    return covariance

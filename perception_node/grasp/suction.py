"""Where a cup, or an array of cups, seals on a package."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from perception_node.config import GraspConfig, SuctionConfig
from perception_node.grasp import kernels
from perception_node.grasp.bookkeeping import Bookkeeping
from perception_node.grasp.edges import EdgeMap, places
from perception_node.grasp.patch import Patches, View, cross, fit_patches, sunflower, tangent_axes
from perception_node.grasp.score import RAISED_M, SMALL_M3, RankingModel, evidence, unit, volume_m3
from perception_node.types import F64, Grasp, Package

_SAMPLES_PER_CUP = 40
_SAMPLES_ROUGH = 16
_FINALISTS = 7
"""Places of a package judged in full, after a first look at all."""
_SEEDS = 14
"""Places looked at per package. Source: measured on 140 pictures of a rendered cell: twice as many change the share of valid first
choices by less than 0.3 points."""
_SECOND_LOOK = (200, 14)
"""Places looked at, and how many of them in full, where those gave no grasp: the face that holds may be a small part of what is
in sight. The smoothest of so many is smooth by chance, too: here the surface gets no leeway beyond the tolerance."""
RIM = 1.15
"""The lip needs the package under this many radii: a mask's edge is uncertain by a pixel or two."""
_MIN_ON_MASK = 0.97
_MIN_READING = 0.5
_MIN_READING_BAG = 0.2
"""Film loses half of its stereo readings; what is left must still span the disc (`lopsided`)."""
_MAX_LOPSIDED = 0.5
_MIN_FACING = 0.15
"""Sine of the angle, 9 degrees, at which a place must be seen at least: flatter, a disc is a row of pixels, and a millimetre of
depth is a centimetre along the surface."""
_MIN_SPAN = 0.5
"""Through readings that lie nearly in a row goes a plane of any slope. Source: simulated belts with true masks: of 554 best places
the right ones span 0.61 of the disc and more, ten of the seventeen wrong ones less than 0.5."""
_MAX_BEND_RAD = 0.14
"""Where all readings alike lie in another plane than most of them, the disc lies over a fold or an edge, and neither plane is what
the lip meets. Source: the same places: 95 % of the right ones on boxes bend by less than 6 degrees, most of the wrong ones by 8 and
more. Where a package has no other place, such a one is taken."""
_NOISE_M = 0.0012
"""Depth noise under a cup that is not roughness. Source: stereo-like depth at 1.1 m: 68 % of errors below 1 mm, 95 % below 2.4."""
_SEAL_LIMIT = 1.5
"""A surface rougher than this many tolerances is not tried at all; between, the score falls."""
_SPREAD_RAD = 0.35
"""Change of the normal between a small and a full disc at which the surface counts as a fold. Source: 20 degrees on a 30 mm cup
is a gap of 5 mm at the lip, more than bellows of that size take up."""
_SOFT = frozenset({"poly_bag"})
_RIGID = {"box": 1.0, "padded_mailer": 0.5, "item": 0.0}
"""As a term of the score. Goods without a package are rigid, but small and curved: a cup leaks on them as it does on film. They are
not `_SOFT` either, because what a cup cannot follow it does not seal."""
_CONTRAST = 40.0
"""Spread of the brightness under a cup at which it counts as not plain at all. Source: a dark seam across bare board."""
_ROUND_CUP, _RING = 1.7, 12
"""Where, in radii, and at how many places round the cup its neighbourhood is looked at."""
_STANDS_M = 0.012
"""What rises by more above the place is in the tool's way. Source: height of the lips of cups of this size."""
_FAR_M = 0.12


@functools.lru_cache(maxsize=8)
def cup_offsets(config: SuctionConfig) -> F64:
    """(cups, 2) centres of the cups in the gripper's plane: columns along x, rows along y, metres; computed once, read-only."""
    x = (np.arange(config.columns) - (config.columns - 1) / 2) * config.spacing_m
    y = (np.arange(config.rows) - (config.rows - 1) / 2) * config.spacing_m
    offsets = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    offsets.setflags(write=False)
    return offsets


@functools.lru_cache(maxsize=8)
def footprint_m(config: SuctionConfig) -> float:
    """Diameter of the circle round all cups."""
    return 2 * (float(np.linalg.norm(cup_offsets(config), axis=1).max()) + config.cup_radius_m)


def suction_grasps(view: View, packages: Sequence[Package], edges: EdgeMap, up: F64, config: SuctionConfig, grasp: GraspConfig,
                   model: RankingModel, book: Bookkeeping) -> list[Grasp]:
    """Suction grasps from depth; packages without one get their reason in `book`.

    Args:
        view: the frame. packages: placed with depth. edges: distances inside the masks. up: (3,) normal of the belt.
    """
    found = _grasps(view, packages, edges, up, config, grasp, model, book, _SEEDS, _FINALISTS, last=False)
    served = {of.label for of in found}
    again = [package for package in packages if package.label not in served and not book.rejected(package, "suction")]
    return found + _grasps(view, again, edges, up, config, grasp, model, book, *_SECOND_LOOK, last=True)


def _grasps(view: View, packages: Sequence[Package], edges: EdgeMap, up: F64, config: SuctionConfig, grasp: GraspConfig,
            model: RankingModel, book: Bookkeeping, seeds: int, finalists: int, last: bool) -> list[Grasp]:
    """As `suction_grasps`, looking at `seeds` places per package, in full at `finalists`; only the last look gives reasons for
    places that do not hold."""
    if not packages:
        return []
    focal = (view.camera.fx + view.camera.fy) / 2
    pixel_m = np.array([package.T_cam_package[2, 3] for package in packages]) / focal
    middle, has_middle = _face_middles(view, packages)
    owner, pixels = places(edges, packages, config.cup_radius_m / pixel_m, seeds)
    owner, pixels = np.concatenate([np.flatnonzero(has_middle), owner]), np.concatenate([middle[has_middle], pixels])
    found = np.bincount(owner, minlength=len(packages))
    few = [i for i in range(len(packages)) if found[i] < 2]
    for i in few:
        package, box = packages[i], book.instances[packages[i].label].bbox_xyxy
        u, v, half_px = edges.innermost(package.label, box)
        widest = 2 * half_px * float(pixel_m[i])
        if widest < 1.6 * config.cup_radius_m:
            book.reject(package, "suction", f"widest place in sight holds a disc of {1e3 * widest:.0f} mm, the cup needs "
                        f"{2e3 * config.cup_radius_m:.0f} mm{book.covered_words(package)}",
                        widest_m=widest, cup_m=2 * config.cup_radius_m)
            keep = owner != i
            owner, pixels = owner[keep], pixels[keep]
        else:
            owner, pixels = np.append(owner, i), np.append(pixels, [[u, v]], axis=0)
    if len(owner) == 0:
        return []
    return _rank(view, packages, owner, pixels, edges, up, config, grasp, model, book, finalists, last)


def _face_middles(view: View, packages: Sequence[Package]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(P, 2) pixels of the middles of the packages' upper faces, and which of them are in their package's mask."""
    poses = np.array([package.T_cam_package for package in packages])
    heights = np.array([package.size_m[2] for package in packages])
    flat, inside = view.look(view.project(poses[:, :3, 3] + poses[:, :3, 2] * heights[:, None] / 2))
    labels = np.array([package.label for package in packages])
    row, column = np.divmod(flat, view.labels.shape[1])
    return np.column_stack([column, row]), inside & (view.labels.ravel()[flat] == labels)


def _rank(view: View, packages: Sequence[Package], owner: NDArray[np.int64], pixels: NDArray[np.int64], edges: EdgeMap, up: F64,
          config: SuctionConfig, grasp: GraspConfig, model: RankingModel, book: Bookkeeping, finalists: int,
          last: bool) -> list[Grasp]:
    cups = cup_offsets(config)
    poses = np.array([package.T_cam_package for package in packages])
    sizes = np.array([package.size_m for package in packages])
    labels = np.array([package.label for package in packages])
    soft = np.array([package.class_name in _SOFT for package in packages])
    hint = poses[owner, :3, 0]
    if len(cups) > 1:  # an array also fits the other way round
        hint = np.concatenate([hint, poses[owner, :3, 1]])
        owner, pixels = np.concatenate([owner, owner]), np.concatenate([pixels, pixels])
    half_m = np.maximum(np.hypot(sizes[:, 0], sizes[:, 1]) / 2, 1e-3)[owner]
    normal = poses[owner, :3, 2]
    face = poses[owner, :3, 3] + normal * sizes[owner, 2:] / 2
    ray = view.rays[pixels[:, 1] * view.labels.shape[1] + pixels[:, 0]].astype(np.float64)
    along = ray[:, 0] * normal[:, 0] + ray[:, 1] * normal[:, 1] + normal[:, 2]
    scale = np.einsum("ni,ni->n", face, normal) / np.where(along < -0.05, along, -0.05)
    scale = np.clip(scale, 0.5 * face[:, 2], 1.5 * face[:, 2])
    if last:  # its upper face may be another one than what was fitted: level, and as far away as is read
        z = view.depth_m.ravel()[pixels[:, 1] * view.labels.shape[1] + pixels[:, 0]].astype(np.float64)
        scale, normal = np.where(z > 0, z, scale), np.tile(up, (len(ray), 1))
    contact = np.column_stack([ray, np.ones(len(ray))]) * scale[:, None]
    tolerance = np.where(soft, config.bag_tolerance_m, config.seal_tolerance_m)[owner]
    near = sunflower(_SAMPLES_ROUGH) * max(config.cup_radius_m, grasp.normal_radius_m)
    rough = fit_patches(view, contact, normal, hint, labels[owner], near, 1, 2 * tolerance, 2)
    best = _most_promising(owner, rough, np.linalg.norm(rough.contact - face, axis=1) / half_m, up, config, finalists)
    owner, hint, tolerance, face, half_m = owner[best], hint[best], tolerance[best], face[best], half_m[best]
    rough = rough.take(best)
    disc = sunflower(_SAMPLES_PER_CUP)
    pattern = (cups[:, None] + disc[None] * (config.cup_radius_m * RIM)).reshape(-1, 2)
    patch = fit_patches(view, rough.contact, rough.normal, hint, labels[owner], pattern, len(cups), tolerance)
    off = np.linalg.norm(patch.contact - face, axis=1)
    values = _measure(view, packages, owner, patch, rough, off, tolerance, up, config)
    values["centre"] = unit(1.0 - off / half_m)
    pixel_m = patch.contact[:, 2] / ((view.camera.fx + view.camera.fy) / 2)
    inside_m = edges.at(pixels[best]) * pixel_m - np.linalg.norm(patch.contact - rough.contact, axis=1)
    values["margin"] = unit(inside_m / config.cup_radius_m - 1.0)
    values["ground"], values["whole"], values["shown"] = evidence(packages, book.instances)[:, owner]
    values["raised"] = unit(book.heights_m(patch.contact) / RAISED_M)
    return _choose(packages, owner, patch, hint, values, model, soft[owner], config, grasp, book, last)


def _most_promising(owner: NDArray[np.int64], rough: Patches, off_centre: F64, up: F64, config: SuctionConfig,
                    finalists: int) -> NDArray[np.int64]:
    """Positions of the best candidates of each package by a first look: flat, inside the mask, read, level enough, near the middle
    (which matters most to an array of cups)."""
    single = config.rows * config.columns == 1
    merit = rough.on_mask + 0.5 * rough.reading - 0.5 * rough.lopsided - rough.rms_m / 0.006
    merit = merit - (0.2 if single else 1.0) * off_centre - (rough.normal @ up < math.cos(config.max_tilt_rad))
    order = np.lexsort((-merit, owner))
    owners = owner[order]
    rank = np.arange(len(order)) - np.searchsorted(owners, owners)
    return order[rank < (finalists if single else 2 * finalists)]


def _measure(view: View, packages: Sequence[Package], owner: NDArray[np.int64], patch: Patches, rough: Patches, off: F64,
             tolerance: F64, up: F64, config: SuctionConfig) -> dict[str, F64]:
    """Terms of each candidate, 0 (bad) .. 1 (good), and raw numbers with their unit in the name."""
    roughness = np.sqrt(np.maximum(patch.rms_m**2 - _NOISE_M**2, 0.0))
    turn = np.arccos(np.clip(np.einsum("ni,ni->n", patch.normal, rough.normal), -1.0, 1.0))
    tilt = np.arccos(np.clip(patch.normal @ up, -1.0, 1.0))
    free, mask, rigid, volume, width = np.array([
        (float(not p.covered_by), p.score, _RIGID.get(p.class_name, 0.0), volume_m3(p), p.size_m[1]) for p in packages]).T[:, owner]
    return {
        "seal": unit(1.0 - roughness / tolerance),
        "edge": unit((patch.on_mask - 0.9) / 0.1),
        "plain": unit(1.0 - patch.contrast / _CONTRAST),
        "reading": unit(patch.cup_reading) * (1.0 - patch.lopsided),
        "spread": unit(1.0 - turn / _SPREAD_RAD),
        "upright": unit(1.0 - tilt / max(config.max_tilt_rad, 1e-3)),
        "open": _openness(view, patch, footprint_m(config) / 2 - config.cup_radius_m + _ROUND_CUP * config.cup_radius_m),
        "near": unit(1.0 - off / _FAR_M), "light": SMALL_M3 / (SMALL_M3 + volume),
        "ample": unit(width / (4 * config.cup_radius_m)),
        "free": free, "mask": mask, "sure": unit(4.0 * mask - 3.0), "rigid": rigid,
        "roughness_m": roughness, "tilt_rad": tilt,
    }


def _openness(view: View, patch: Patches, radius_m: float) -> F64:
    """(N,) share of places on a ring round each cup where nothing stands above it."""
    return kernels.ring_openness(view.depth_m, view.numbers, patch.table, radius_m, _RING, _STANDS_M)


def _choose(packages: Sequence[Package], owner: NDArray[np.int64], patch: Patches, hint: F64, values: dict[str, F64],
            model: RankingModel, soft: NDArray[np.bool_], config: SuctionConfig, grasp: GraspConfig, book: Bookkeeping,
            last: bool) -> list[Grasp]:
    score, once_free = model.probability_now_and_free(values)
    tolerance = np.where(soft, config.bag_tolerance_m, config.seal_tolerance_m)
    least = np.where(soft, _MIN_READING_BAG, _MIN_READING)
    facing = -np.einsum("ni,ni->n", patch.contact, patch.normal) / np.linalg.norm(patch.contact, axis=1)
    checks = (
        ("edge", patch.on_mask >= _MIN_ON_MASK, patch.on_mask, np.full(len(owner), _MIN_ON_MASK)),
        ("reading", patch.fitted & (patch.cup_reading >= least) & (patch.lopsided <= _MAX_LOPSIDED), patch.cup_reading, least),
        ("facing", facing >= _MIN_FACING, np.maximum(facing, 0.0), np.full(len(owner), _MIN_FACING)),
        ("span", patch.span >= _MIN_SPAN, patch.span, np.full(len(owner), _MIN_SPAN)),
        ("bend", (patch.bend <= _MAX_BEND_RAD) | last, -patch.bend, np.full(len(owner), _MAX_BEND_RAD)),
        ("seal", values["roughness_m"] <= (1.0 if last else _SEAL_LIMIT) * tolerance, -values["roughness_m"], tolerance),
        ("tilt", values["tilt_rad"] <= config.max_tilt_rad, -values["tilt_rad"], np.full(len(owner), config.max_tilt_rad)),
        ("score", once_free >= grasp.min_score, once_free, np.full(len(owner), grasp.min_score)),
    )
    passed = np.zeros(len(owner), dtype=np.int64)
    alive = np.ones(len(owner), dtype=bool)
    for _, good, _, _ in checks:
        alive = alive & good
        passed += alive
    # Candidates come package after package; within one, the good ones by falling score.
    order = np.lexsort((-score, ~alive, owner))
    starts = np.searchsorted(owner, np.arange(len(packages) + 1)).tolist()
    good_counts = np.bincount(owner[alive], minlength=len(packages)).tolist()
    contacts, ranked = patch.contact.tolist(), order.tolist()
    chosen: list[int] = []
    for i, package in enumerate(packages):
        if starts[i] == starts[i + 1]:
            continue
        if last and good_counts[i] == 0:
            mine = order[starts[i]:starts[i + 1]]
            stage = int(passed[mine].max())
            name, _, value, limit = checks[stage]
            nearest = mine[passed[mine] == stage]
            best = nearest[int(np.argmax(value[nearest]))]
            _explain(package, name, abs(float(value[best])), float(limit[best]), book)
        good = ranked[starts[i]:starts[i] + good_counts[i]]
        chosen += _spread_out(good, contacts, config.cup_radius_m, grasp.max_per_package)
    if not chosen:
        return []
    taken = np.array(chosen)
    patch, footprint = patch.take(taken), footprint_m(config)
    table = np.column_stack(list(values.values()))[taken].tolist()
    labels = [packages[i].label for i in owner[taken].tolist()]
    ids = [book.track_ids.get(label, 0) for label in labels]
    rows = list(zip([footprint] * len(taken), score[taken].tolist(), labels, ids, book.deadlines_ns(labels, patch.contact),
                    strict=True))
    return Grasp.many("suction", _poses(patch, hint[taken]), patch.covariances(config.cup_radius_m), rows, list(values), table)


def _poses(patch: Patches, hint: F64) -> F64:
    """(N, 4, 4) T_cam_grasp: z against the normal, x along the hint."""
    poses = np.zeros((len(hint), 4, 4))
    x, _ = tangent_axes(patch.normal, hint)
    poses[:, :3, 0], poses[:, :3, 1], poses[:, :3, 2], poses[:, :3, 3] = x, cross(-patch.normal, x), -patch.normal, patch.contact
    poses[:, 3, 3] = 1.0
    return poses


def _explain(package: Package, check: str, got: float, limit: float, book: Bookkeeping) -> None:
    hidden = book.covered_words(package)
    missing = 1.0 - package.depth_valid_fraction
    words = {
        "reading": f"no depth in {100 * missing:.0f} % of the mask; best place under the cup is read to {100 * got:.0f} %, "
                   f"needed {100 * limit:.0f} %",
        "edge": f"the cup overlaps the edge everywhere: at most {100 * got:.0f} % of its lip lies on the package{hidden}",
        "facing": f"seen from the side: {np.degrees(np.arcsin(min(got, 1.0))):.0f} degrees above its surface at best, needed "
                  f"{np.degrees(np.arcsin(limit)):.0f}",
        "span": f"readings under the cup lie in a row: {100 * got:.0f} % of its width at best, needed {100 * limit:.0f} %",
        "seal": f"too rough for the cup: {1e3 * got:.1f} mm at best, the seal takes {1e3 * limit:.1f} mm",
        "tilt": f"too steep: {np.degrees(got):.0f} degrees at best, at most {np.degrees(limit):.0f} allowed",
        "score": f"best place has a success probability of {got:.2f}, wanted {limit:.2f}{hidden}",
    }
    unit = {"reading": "share", "edge": "share", "facing": "sine", "span": "share", "seal": "m", "tilt": "rad",
            "score": "probability"}[check]
    book.reject(package, "suction", words[check], **{f"{check}_{unit}": got, f"limit_{unit}": limit,
                                                         "no_depth_share": missing})


def _spread_out(ordered: Sequence[int], contact: Sequence[Sequence[float]], radius_m: float, count: int) -> list[int]:
    """The first `count` candidates that lie at least a cup's radius apart."""
    chosen: list[int] = []
    for k in ordered:
        place = contact[k]
        for other in chosen:
            if math.dist(place, contact[other]) < radius_m:
                break
        else:
            chosen.append(k)
            if len(chosen) == count:
                break
    return chosen

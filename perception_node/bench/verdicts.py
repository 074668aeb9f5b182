"""Is a grasp right? Judged against the true geometry: exact depth, true masks, true poses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from perception_node import geometry
from perception_node.config import JawConfig, SuctionConfig
from perception_node.grasp.patch import fit_patches, sunflower
from perception_node.grasp.suction import cup_offsets
from perception_node.learn.scenes import Truth
from perception_node.types import F64, Grasp

ON_PACKAGE = 0.95
RMS_M: Mapping[str, float] = {"poly_bag": 0.008}
RMS_OTHER_M = 0.004
NORMAL_RAD = np.deg2rad(15.0)
CONTACT_M = 0.008
_MIN_SPAN = 0.5
"""A surface that is seen from its edge shows a row of readings under the cup, not a face."""
_DISC = 160
_SKIN_M = 0.003
"""A finger that enters a true box by less than this touches it: the edges of real packages are round."""


@dataclass(frozen=True)
class Verdict:
    """Whether a grasp is valid, and if not, the first thing that is wrong with it ("" = nothing)."""

    valid: bool
    fault: str


def judge_suction(grasp: Grasp, truth: Truth, instance: int, config: SuctionConfig) -> Verdict:
    """Each cup's disc must lie to 95 % on the package, on a surface flat to 4 mm rms (8 mm on bags), its axis within 15 degrees
    of the true normal and its middle within 8 mm of the true surface."""
    limit = RMS_M.get(truth.classes[instance], RMS_OTHER_M)
    view = truth.view()
    disc = sunflower(_DISC) * config.cup_radius_m
    for cup in cup_offsets(config):
        points = geometry.transform_points(grasp.T_cam_grasp, np.column_stack([disc + cup, np.zeros(_DISC)]))
        flat, inside = view.look(view.project(points))
        on = inside & (view.labels.ravel()[flat] == instance)
        if on.mean() < ON_PACKAGE:
            return Verdict(False, "off package")
        z = view.depth_m.ravel()[flat[on]].astype(np.float64)
        surface = np.column_stack([view.rays[flat[on]] * z[:, None], z])[np.isfinite(z)]
        normal, offset, rms = geometry.fit_plane(surface)
        if normal @ surface.mean(axis=0) > 0:  # towards the camera, also where it looks at the surface from far aside
            normal, offset = -normal, -offset
        if rms > limit:
            return Verdict(False, "rough")
        if np.arccos(np.clip(-normal @ grasp.T_cam_grasp[:3, 2], -1.0, 1.0)) > NORMAL_RAD:
            return Verdict(False, "normal")
        centre = geometry.transform_points(grasp.T_cam_grasp, np.array([*cup, 0.0]))
        if abs(float(normal @ centre) + offset) > CONTACT_M:
            return Verdict(False, "contact")
    return Verdict(True, "")


def can_hold(truth: Truth, instance: int, config: SuctionConfig, up: F64) -> bool:
    """True when some place of the package's visible surface holds the gripper's cups by the measure of `judge_suction`, at a
    tilt that the gripper may take."""
    rows, columns = np.nonzero(truth.labels == instance)
    if len(rows) < 30:
        return False
    step = max(1, len(rows) // 400)
    rows, columns = rows[::step], columns[::step]
    z = truth.depth_m[rows, columns].astype(np.float64)
    good = np.isfinite(z)
    view = truth.view()
    rays = view.rays[(rows * truth.labels.shape[1] + columns)[good]].astype(np.float64)
    contact = np.column_stack([rays * z[good, None], z[good]])
    count = len(contact)
    if count == 0:
        return False
    label = np.full(count, instance)
    normal, hint = np.tile(up, (count, 1)), np.tile([1.0, 0.0, 0.0], (count, 1))
    cups = cup_offsets(config)
    disc = sunflower(40) * config.cup_radius_m
    pattern = (cups[:, None] + disc[None]).reshape(-1, 2)
    loose = np.full(count, 0.05)
    rough = fit_patches(view, contact, normal, hint, label, disc, 1, loose)
    patch = fit_patches(view, contact, rough.normal, hint, label, pattern, len(cups), loose)
    placed = fit_patches(view, patch.contact, patch.normal, hint, label, pattern, len(cups), loose)
    limit = RMS_M.get(truth.classes[instance], RMS_OTHER_M)
    upright = np.arccos(np.clip(patch.normal @ up, -1.0, 1.0)) <= config.max_tilt_rad
    on = placed.cup_reading >= ON_PACKAGE if len(cups) > 1 else placed.on_mask >= ON_PACKAGE
    turned = np.arccos(np.clip(np.einsum("ni,ni->n", placed.normal, patch.normal), -1.0, 1.0))
    near = np.linalg.norm(placed.contact - patch.contact, axis=1) <= CONTACT_M
    holds = on & (placed.rms_m <= limit) & (turned <= NORMAL_RAD) & near & (placed.span >= _MIN_SPAN) & upright
    return bool((patch.fitted & placed.fitted & holds).any())


def judge_jaw(grasp: Grasp, truth: Truth, instance: int, config: JawConfig) -> Verdict:
    """The open fingers must reach their place without touching anything, and the package must be between them.

    Checked: the exact visible surface, the belt, and the true boxes of rigid packages where they cannot be seen.
    """
    reach = float(grasp.terms["reach_m"])
    inner, outer = grasp.width_m / 2, grasp.width_m / 2 + config.finger_thickness_m
    half, tip = config.finger_width_m / 2, reach / 2
    z = truth.depth_m
    rays = geometry.ray_image(truth.camera)
    points = np.concatenate([rays * z[..., None], z[..., None]], axis=2).reshape(-1, 3).astype(np.float64)
    near = np.linalg.norm(points - grasp.T_cam_grasp[:3, 3], axis=1) < outer + 0.25
    local = geometry.transform_points(geometry.transform_inverse(grasp.T_cam_grasp), points[near])
    labels = truth.labels.ravel()[near]
    x, y, depth = np.abs(local[:, 0]), np.abs(local[:, 1]), local[:, 2]
    column = (y < half) & (depth < tip - 0.001) & (depth > -0.2)
    if ((x > inner) & (x < outer) & column).any():
        return Verdict(False, "touches what is seen")
    grid = np.stack(np.meshgrid(np.linspace(inner, outer, 4), np.linspace(-half, half, 5), np.linspace(-reach / 2, tip, 4),
                                indexing="ij"), axis=-1).reshape(-1, 3)
    fingers = geometry.transform_points(grasp.T_cam_grasp, np.concatenate([grid, grid * (-1, 1, 1)]))
    if truth.plane is not None and (fingers @ truth.plane[:3] + truth.plane[3]).min() < 0:
        return Verdict(False, "below the belt")
    for other, (T_cam_box, size) in truth.boxes.items():
        if truth.classes[other] == "box":
            within = np.abs(geometry.transform_points(geometry.transform_inverse(T_cam_box), fingers)) < size / 2 - _SKIN_M
            if within.all(axis=1).any():
                return Verdict(False, "touches a hidden side")
    held = (x < inner) & (y < half) & (np.abs(depth) < reach) & (labels == instance)
    if not held.any():
        return Verdict(False, "closes on nothing")
    return Verdict(True, "")

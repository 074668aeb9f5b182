"""Segmentation + depth -> every package as a box in space, what covers it, and the order of picking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from perception_node import geometry
from perception_node.config import BeltConfig
from perception_node.locate.belt import calibrated_plane, fit_belt_plane
from perception_node.locate.boxes import (
    UNKNOWN_HEIGHT_SIGMA,
    FaceBox,
    box_covariance,
    box_pose,
    face_boxes,
)
from perception_node.locate.cover import covers, overlaps, pick_order
from perception_node.locate.faces import FaceFit, Mask, fit_faces, masks_of
from perception_node.types import (
    F32,
    F64,
    Frame,
    Instance,
    Package,
    Packages,
    Segmentation,
)

_MIN_DEPTH_FRACTION = 0.1
"""A mask with fewer valid readings than this share is located on the belt plane instead."""
_NOWHERE_SIGMA_M = 10.0
_LEVEL_COS = 0.9986
"""A face within 3 degrees of the belt's plane lies level."""
_LEVEL_SIGMA_M = 0.003
_LEVEL_SHARE = 0.1
_RESTING_SHARE = 0.3
"""One sigma of a height as a share of what the face is above the belt: something hidden may be below. Source: simulated belts:
docs/results.md, share of places within three sigma."""
_BORDER_PX = 2


def locate_packages(frame: Frame, segmentation: Segmentation, belt: BeltConfig) -> Packages:
    """Locate each package of a segmentation in the camera's optical frame. Deterministic, no memory.

    With depth: a robust upper face, the rectangle round it, the height over what supports it. Without depth: on the
    calibrated belt plane, height unknown (0) with a covariance to match, `from_depth` False. With neither: `placed` False,
    never an invented place.

    Args:
        frame: picture, maybe with depth. segmentation: of the same picture. belt: its plane, or zeros to fit one.

    Raises:
        FrameError: never of itself; sizes are checked where `frame` and `segmentation` are made.
    """
    assert segmentation.labels.shape == frame.rgb.shape[:2]
    plane = calibrated_plane(belt)
    if plane is None:
        plane = fit_belt_plane(frame, segmentation.labels)
    if not segmentation.instances:
        return Packages((), plane, ())
    rays = geometry.ray_image(frame.camera)
    masks = masks_of(segmentation)
    up = plane[:3] if plane is not None else np.array([0.0, 0.0, -1.0])
    classes = [instance.class_name for instance in segmentation.instances]
    found = _Found((), (), {})
    if frame.depth_m is not None:
        found = _find_faces(frame, segmentation, rays, masks, classes, up)
    items = tuple(_locate_one(frame, instance, mask, found, i, rays, plane, belt)
                  for i, (instance, mask) in enumerate(zip(segmentation.instances, masks, strict=True)))
    covered_by = {package.label: package.covered_by for package in items}
    top_m = {p.label: _top_height(p, plane) for p in items}
    order = pick_order([p.label for p in items], covered_by, top_m, {p.label: p.size_m[0] * p.size_m[1] for p in items})
    return Packages(items, plane, order)


@dataclass(frozen=True, eq=False)
class _Found:
    """What depth says of a frame: fit and rectangle of each package's upper face (None = none), and what lies on what."""

    fits: tuple[FaceFit, ...]
    boxes: tuple[FaceBox | None, ...]
    covered_by: Mapping[int, tuple[int, ...]]


def _find_faces(frame: Frame, segmentation: Segmentation, rays: F32, masks: list[Mask], classes: list[str], up: F64) -> _Found:
    faces = fit_faces(frame, rays, masks, classes, up)
    fits = tuple(faces.of(i) for i in range(len(masks)))
    focal = (frame.camera.fx + frame.camera.fy) / 2
    seen = faces.found & (faces.valid_fraction >= _MIN_DEPTH_FRACTION)
    boxes = tuple(box if ok else None for ok, box in zip(seen, face_boxes(
        masks, rays, frame.depth_m, faces.normal, faces.offset, classes, focal, faces.valid_fraction), strict=True))
    known = [i for i, box in enumerate(boxes) if box is not None]
    poses = np.array([box_pose(box, 0.0) for box in boxes if box is not None])
    sides = np.array([(box.length_m, box.width_m) for box in boxes if box is not None])
    covered_by: dict[int, tuple[int, ...]] = {}
    if len(known) > 1:
        area = overlaps(faces.points[known], faces.valid[known],
                        np.array([box.pixel_m**2 for box in boxes if box is not None]) * faces.pixels[known], poses, sides, up)
        covered_by = covers(area, [segmentation.instances[i].label for i in known])
    return _Found(fits, boxes, covered_by)


def _top_height(package: Package, plane: F64 | None) -> float:
    top = package.T_cam_package[:3, 3] + package.T_cam_package[:3, 2] * package.size_m[2] / 2
    return float(plane[:3] @ top + plane[3]) if plane is not None else -float(top[2])


def _locate_one(frame: Frame, instance: Instance, mask: Mask, found: _Found, i: int, rays: F32, plane: F64 | None,
                belt: BeltConfig) -> Package:
    cut = _cut_sides(instance, frame.rgb.shape[1], frame.rgb.shape[0])
    truncated = any(cut)
    outline = _outline(instance, rays)
    covered_by = found.covered_by.get(instance.label, ())
    fraction = found.fits[i].valid_fraction if found.fits else 0.0
    face = found.boxes[i] if found.boxes else None
    if face is not None:
        height = _height_above(face, plane, belt)
        hidden = _hidden_share(face.fill, truncated, bool(covered_by))
        sigma = _height_sigma_m(instance.label, face, height, plane, found, belt)
        pose = box_pose(face, height)
        covariance = box_covariance(face, pose, found.fits[i].rms_m, found.fits[i].readings, sigma, hidden)
        return _package(instance, pose, face, height, covariance, covered_by, fraction, True, outline, cut)
    focal = (frame.camera.fx + frame.camera.fy) / 2
    if plane is not None:
        face, = face_boxes([mask], rays, None, plane[None, :3], plane[3:], [instance.class_name], focal, np.ones(1))
        if face is not None:
            pose = box_pose(face, 0.0)
            hidden = _hidden_share(face.fill, truncated, False)
            covariance = box_covariance(face, pose, 0.0, 3, 0.0, hidden)
            covariance[:3, :3] += _height_covariance(face.centre, plane[:3], belt.max_height_m)
            return _package(instance, pose, face, 0.0, covariance, covered_by, fraction, False, outline, cut)
    return _nowhere(instance, mask, rays, covered_by, fraction, truncated)


def _package(instance: Instance, pose: F64, face: FaceBox, height: float, covariance: F64, covered_by: tuple[int, ...],
             fraction: float, from_depth: bool, outline: tuple[float, float, float, float],
             cut: tuple[bool, bool, bool, bool]) -> Package:
    return Package(label=instance.label, class_name=instance.class_name, score=instance.score, T_cam_package=pose,
                   size_m=(face.length_m, face.width_m, height), covariance=covariance, visible_fraction=face.fill,
                   covered_by=covered_by, depth_valid_fraction=fraction, from_depth=from_depth, truncated=any(cut),
                   outline=outline, cut_sides=cut)


def _nowhere(instance: Instance, mask: Mask, rays: F32, covered_by: tuple[int, ...], fraction: float,
             truncated: bool) -> Package:
    """A package that cannot be placed: one metre along its viewing ray, with a covariance that says that it is not known."""
    ray = rays[mask.part][mask.inside].mean(axis=0) if mask.inside.any() else np.zeros(2)
    pose = geometry.frame_from_axes(np.array([ray[0], ray[1], 1.0]), np.array([0.0, 0.0, -1.0]), np.array([1.0, 0.0, 0.0]))
    covariance = np.diag([_NOWHERE_SIGMA_M**2] * 3 + [np.pi**2] * 3)
    return Package(label=instance.label, class_name=instance.class_name, score=instance.score, T_cam_package=pose,
                   size_m=(0.0, 0.0, 0.0), covariance=covariance, visible_fraction=0.0, covered_by=covered_by,
                   depth_valid_fraction=fraction, from_depth=False, truncated=truncated, placed=False)


def _height_above(face: FaceBox, plane: F64 | None, belt: BeltConfig) -> float:
    if plane is None:
        return 0.0
    return float(np.clip(plane[:3] @ face.centre + plane[3], 0.0, belt.max_height_m))


def _height_sigma_m(label: int, face: FaceBox, height: float, plane: F64 | None, found: _Found, belt: BeltConfig) -> float:
    """How well the height is known: well for what lies level and on nothing else, hardly where it leans or lies on others."""
    if height <= 0 or plane is None:
        return UNKNOWN_HEIGHT_SIGMA * belt.max_height_m
    on_others = any(label in upper for upper in found.covered_by.values())
    level = float(face.axes[:, 2] @ plane[:3]) > _LEVEL_COS
    return _LEVEL_SIGMA_M + (_LEVEL_SHARE if level and not on_others else _RESTING_SHARE) * height


def _hidden_share(fill: float, truncated: bool, covered: bool) -> float:
    """How much of the face may be out of sight, 0..1: unknown beyond a border of the picture or below another package."""
    share = 0.5 if truncated else 0.0
    return max(share, min(0.5, 0.1 + (1.0 - fill) / 2)) if covered else max(share, 0.0 if fill > 0.85 else 0.1)


def _height_covariance(centre: F64, normal: F64, max_height_m: float) -> F64:
    """A package's height is unknown: its upper face lies anywhere along the viewing ray between belt and greatest height."""
    ray = centre / max(float(np.linalg.norm(centre)), 1e-9)
    per_metre = ray / max(abs(float(ray @ normal)), 0.1)
    return np.outer(per_metre, per_metre) * (UNKNOWN_HEIGHT_SIGMA * max_height_m) ** 2


def _cut_sides(instance: Instance, width: int, height: int) -> tuple[bool, bool, bool, bool]:
    """Whether left, top, right and bottom of a mask touch the picture's border."""
    x0, y0, x1, y1 = instance.bbox_xyxy
    return x0 < _BORDER_PX, y0 < _BORDER_PX, x1 > width - _BORDER_PX, y1 > height - _BORDER_PX


def _outline(instance: Instance, rays: F32) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a bounding box as viewing rays."""
    height, width = rays.shape[:2]
    x0, y0, x1, y1 = instance.bbox_xyxy
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width) - 1, min(y1, height) - 1
    u, v = (x0 + x1) // 2, (y0 + y1) // 2
    return float(rays[v, x0, 0]), float(rays[y0, u, 1]), float(rays[v, x1, 0]), float(rays[y1, u, 1])

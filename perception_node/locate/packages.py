"""Segmentation + depth -> every package as a box in space, what covers it, and the order of picking."""

from __future__ import annotations

import numpy as np

from perception_node import geometry
from perception_node.config import BeltConfig
from perception_node.locate.belt import calibrated_plane, fit_belt_plane
from perception_node.locate.boxes import UNKNOWN_HEIGHT_SIGMA, FaceBox, box_covariance, box_pose, face_box
from perception_node.locate.cover import border_steps, covers, pick_order
from perception_node.locate.faces import Faces, Mask, fit_faces, masks_of
from perception_node.types import F32, F64, Frame, Instance, Package, Packages, Segmentation

_MIN_DEPTH_FRACTION = 0.1
"""A mask with fewer valid readings than this share is located on the belt plane instead."""
_NOWHERE_SIGMA_M = 10.0
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
    faces = fit_faces(frame, rays, masks, classes, up) if frame.depth_m is not None else None
    covered_by: dict[int, tuple[int, ...]] = {}
    if frame.depth_m is not None:
        reference = plane if plane is not None else np.array([0.0, 0.0, -1.0, 0.0])
        covered_by = covers(border_steps(segmentation.labels, frame.depth_m, rays, reference))
    items = tuple(_locate_one(frame, instance, mask, faces, i, rays, plane, belt, covered_by.get(instance.label, ()))
                  for i, (instance, mask) in enumerate(zip(segmentation.instances, masks, strict=True)))
    top_m = {p.label: _top_height(p, plane) for p in items}
    order = pick_order([p.label for p in items], covered_by, top_m, {p.label: p.size_m[0] * p.size_m[1] for p in items})
    return Packages(items, plane, order)


def _top_height(package: Package, plane: F64 | None) -> float:
    top = package.T_cam_package[:3, 3] + package.T_cam_package[:3, 2] * package.size_m[2] / 2
    return float(plane[:3] @ top + plane[3]) if plane is not None else -float(top[2])


def _locate_one(frame: Frame, instance: Instance, mask: Mask, faces: Faces | None, i: int, rays: F32, plane: F64 | None,
                belt: BeltConfig, covered_by: tuple[int, ...]) -> Package:
    truncated = _touches_border(instance, frame.rgb.shape[1], frame.rgb.shape[0])
    fraction = float(faces.valid_fraction[i]) if faces is not None else 0.0
    focal = (frame.camera.fx + frame.camera.fy) / 2
    if faces is not None and faces.found[i] and fraction >= _MIN_DEPTH_FRACTION:
        assert frame.depth_m is not None
        face = face_box(mask, rays, frame.depth_m, faces.normal[i], float(faces.offset[i]), instance.class_name, focal,
                        fraction)
        if face is not None:
            height = _height_above(face, plane, belt)
            hidden = _hidden_share(face.fill, truncated, bool(covered_by))
            sigma = 0.003 if height > 0 else UNKNOWN_HEIGHT_SIGMA * belt.max_height_m
            pose = box_pose(face, height)
            return _package(instance, pose, face, height, box_covariance(
                face, pose, float(faces.rms_m[i]), int(faces.readings[i]), sigma, hidden), covered_by, fraction, True, truncated,
                faces.seen_at[i])
    if plane is not None:
        face = face_box(mask, rays, None, plane[:3], float(plane[3]), instance.class_name, focal)
        if face is not None:
            pose = box_pose(face, 0.0)
            hidden = _hidden_share(face.fill, truncated, False)
            covariance = box_covariance(face, pose, 0.0, 3, 0.0, hidden)
            covariance[:3, :3] += _height_covariance(face.centre, plane[:3], belt.max_height_m)
            return _package(instance, pose, face, 0.0, covariance, covered_by, fraction, False, truncated,
                            _seen_on_plane(mask, rays, plane, face))
    return _nowhere(instance, mask, rays, covered_by, fraction, truncated)


def _package(instance: Instance, pose: F64, face: FaceBox, height: float, covariance: F64, covered_by: tuple[int, ...],
             fraction: float, from_depth: bool, truncated: bool, seen_at: F64) -> Package:
    x, y, z = seen_at.tolist()
    return Package(label=instance.label, class_name=instance.class_name, score=instance.score, T_cam_package=pose,
                   size_m=(face.length_m, face.width_m, height), covariance=covariance, visible_fraction=face.fill,
                   covered_by=covered_by, depth_valid_fraction=fraction, from_depth=from_depth, truncated=truncated,
                   seen_at_m=(x, y, z))


def _seen_on_plane(mask: Mask, rays: F32, plane: F64, face: FaceBox) -> F64:
    """Middle of a mask, cast onto the belt."""
    ray = np.array([*rays[mask.part][mask.inside].mean(axis=0), 1.0])
    point = geometry.intersect_plane(ray[None], plane[:3], float(plane[3]))[0]
    return point if np.isfinite(point).all() else face.centre


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


def _hidden_share(fill: float, truncated: bool, covered: bool) -> float:
    """How much of the face may be out of sight, 0..1: unknown beyond a border of the picture or below another package."""
    share = 0.5 if truncated else 0.0
    return max(share, min(0.5, 0.1 + (1.0 - fill) / 2)) if covered else max(share, 0.0 if fill > 0.85 else 0.1)


def _height_covariance(centre: F64, normal: F64, max_height_m: float) -> F64:
    """A package's height is unknown: its upper face lies anywhere along the viewing ray between belt and greatest height."""
    ray = centre / max(float(np.linalg.norm(centre)), 1e-9)
    per_metre = ray / max(abs(float(ray @ normal)), 0.1)
    return np.outer(per_metre, per_metre) * (UNKNOWN_HEIGHT_SIGMA * max_height_m) ** 2


def _touches_border(instance: Instance, width: int, height: int) -> bool:
    x0, y0, x1, y1 = instance.bbox_xyxy
    return x0 < _BORDER_PX or y0 < _BORDER_PX or x1 > width - _BORDER_PX or y1 > height - _BORDER_PX

"""Segmentation + depth -> every package as a box in space, what covers it, and the order of picking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from perception_node import geometry
from perception_node.checked import altered
from perception_node.compiled import compiled, steady
from perception_node.config import BeltConfig
from perception_node.locate.belt import calibrated_plane, fit_belt_plane
from perception_node.locate.boxes import UNKNOWN_HEIGHT_SIGMA, FaceBoxes, box_covariances, box_poses, face_boxes
from perception_node.locate.cover import covers, overlaps, pick_order
from perception_node.locate.faces import Masks, fit_faces
from perception_node.locate.runs import Runs, runs_of
from perception_node.types import F32, F64, Frame, Instance, Package, Packages, Segmentation

_MIN_DEPTH_FRACTION = 0.1
"""A mask with fewer valid readings than this share is located on the belt plane instead."""
_NOWHERE_SIGMA_M = 10.0
_LEVEL_COS = 0.9986
"""A face within 3 degrees of the belt's plane lies level."""
_LEVEL_SIGMA_M = 0.003
_LEVEL_SHARE = 0.1
_RESTING_SHARE = 0.36
"""One sigma of a height as a share of what the face is above the belt: something hidden may be below. Source: simulated belts:
docs/results.md, share of places within three sigma."""
_THICKEST_M = {"padded_mailer": 0.05}
"""What is higher above the belt lies on something, seen or not; so may a box that is higher than wide. Source: judgement; mailers
of the trade are filled to 4 cm."""
_BULGE_SIGMA_M, _BULGE_SHARE = 0.02, 0.45
"""The same of what has no level face: its middle is not half as high as the face that was fitted to it."""
_BULGING = frozenset({"poly_bag", "item"})
_BORDER_PX = 2
_GRID_COLUMNS = 160
"""About so many columns has the grid of labels by which tracks compare masks: the smallest package takes a dozen of its cells."""


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
    runs = runs_of(segmentation.labels)
    plane = calibrated_plane(belt)
    if plane is None:
        plane = fit_belt_plane(frame, runs)
    instances = segmentation.instances
    if not instances:
        return Packages((), plane, ())
    masks = _masks(frame, segmentation, runs)
    up = plane[:3] if plane is not None else np.array([0.0, 0.0, -1.0])
    focal = (frame.camera.fx + frame.camera.fy) / 2
    count = len(instances)
    from_depth, fraction, rms_m, readings = np.zeros(count, np.bool_), np.zeros(count), np.zeros(count), np.zeros(count, np.int64)
    boxes: FaceBoxes | None = None
    covered_by: Mapping[int, tuple[int, ...]] = {}
    over_m2: F64 | None = None
    if frame.depth_m is not None:
        depth_m = steady(frame.depth_m)
        faces = fit_faces(masks, depth_m, up)
        fraction = faces.valid_fraction
        boxes = face_boxes(masks, faces.found & (fraction >= _MIN_DEPTH_FRACTION), depth_m, faces.plane, fraction, focal)
        from_depth = boxes.there
        rms_m, readings = np.where(from_depth, faces.rms_m, 0.0), np.where(from_depth, faces.readings, 0)
        over_m2 = overlaps(faces.points, faces.valid, boxes.there, boxes.pixel_m**2 * faces.pixels, boxes.T, boxes.side_m, up)
        covered_by = covers(over_m2, [instance.label for instance in instances])
    if plane is not None and not from_depth.all():
        on_belt = face_boxes(masks, ~from_depth, None, np.tile(plane, (count, 1)), np.ones(count), focal)
        boxes = on_belt if boxes is None else _joined(boxes, on_belt)
    placed = np.zeros(count, np.bool_)
    T, height, covariance = np.zeros((count, 4, 4)), np.zeros(count), np.zeros((count, 6, 6))
    cut = _cut_sides(masks)
    if boxes is not None:
        placed = boxes.there
        if plane is not None:
            height = np.where(from_depth, np.clip(boxes.T[:, :3, 3] @ plane[:3] + plane[3], 0.0, belt.max_height_m), 0.0)
        covered = np.array([instance.label in covered_by for instance in instances])
        T = box_poses(boxes, height)
        covariance = box_covariances(T, boxes.side_m, boxes.pixel_m, rms_m, readings,
                                     _height_sigmas_m(boxes, from_depth, height, masks.classes, plane, covered_by, belt),
                                     _hidden_shares(boxes.fill, cut.sum(axis=1) > 0, from_depth & covered))
        for i in np.flatnonzero(placed & ~from_depth).tolist():
            assert plane is not None
            covariance[i, :3, :3] += _height_covariance(boxes.T[i, :3, 3], plane[:3], belt.max_height_m)
    items = _items(instances, masks, boxes, T, height, covariance, fraction, from_depth, cut, covered_by)
    step = max(1, frame.camera.width // _GRID_COLUMNS)
    return Packages(items, plane, _order(items, plane), masks.labels[step // 2::step, step // 2::step],
                    masks.rays[step // 2::step, step // 2::step], over_m2)


def covered_anew(packages: Packages, covered_by: Mapping[int, tuple[int, ...]]) -> Packages:
    """The same packages with other words on what lies on what, and the order of picking that follows.

    Args:
        packages: of a frame. covered_by: {label: labels of what lies on top of it}, without circles.
    """
    items = tuple(package if package.covered_by == covered_by.get(package.label, ())
                  else altered(package, covered_by=covered_by.get(package.label, ())) for package in packages.items)
    if all(new is old for new, old in zip(items, packages.items, strict=True)):
        return packages
    return altered(packages, items=items, pick_order=_order(items, packages.belt_plane))


def _masks(frame: Frame, segmentation: Segmentation, runs: Runs) -> Masks:
    width, height = frame.camera.width, frame.camera.height
    box = np.array([instance.bbox_xyxy for instance in segmentation.instances], np.int64)
    np.maximum(box[:, :2], 0, out=box[:, :2])
    np.minimum(box[:, 2:], (width, height), out=box[:, 2:])
    classes = [instance.class_name for instance in segmentation.instances]
    return Masks(steady(segmentation.labels), geometry.ray_image(frame.camera), runs, box, classes,
                 np.array([name == "box" for name in classes], np.bool_))


def _items(instances: Sequence[Instance], masks: Masks, boxes: FaceBoxes | None, T: F64, height_m: F64, covariance: F64,
           fraction: F64, from_depth: NDArray[np.bool_], cut: NDArray[np.bool_],
           covered_by: Mapping[int, tuple[int, ...]]) -> tuple[Package, ...]:
    """The packages of all instances; those without a box are nowhere."""
    there = np.zeros(len(instances), np.bool_) if boxes is None else boxes.there
    with_box: list[Package] = []
    if boxes is not None and there.any():
        of_each = zip(instances, there.tolist(), boxes.side_m.tolist(), height_m.tolist(), boxes.fill.tolist(), fraction.tolist(),
                      from_depth.tolist(), cut.tolist(), _outlines(masks.box, masks.rays).tolist(), strict=True)
        with_box = Package.many([
            {"label": instance.label, "class_name": instance.class_name, "score": instance.score, "size_m": (*side_m, height),
             "visible_fraction": fill, "covered_by": covered_by.get(instance.label, ()), "depth_valid_fraction": read,
             "from_depth": deep, "truncated": any(sides), "placed": True, "outline": tuple(outline), "cut_sides": tuple(sides)}
            for instance, known, side_m, height, fill, read, deep, sides, outline in of_each if known], T[there], covariance[there])
        if len(with_box) == len(instances):
            return tuple(with_box)
    rest = iter(with_box)
    return tuple(next(rest) if known else _nowhere(instance, masks, i, covered_by.get(instance.label, ()), float(fraction[i]),
                                                   bool(cut[i].any()))
                 for i, (instance, known) in enumerate(zip(instances, there.tolist(), strict=True)))


def _joined(first: FaceBoxes, second: FaceBoxes) -> FaceBoxes:
    """Each package's rectangle of the one that has it."""
    mine = first.there
    return FaceBoxes(np.where(mine[:, None, None], first.T, second.T), np.where(mine[:, None], first.side_m, second.side_m),
                     np.where(mine, first.fill, second.fill), np.where(mine, first.pixel_m, second.pixel_m), mine | second.there)


def _order(items: Sequence[Package], plane: F64 | None) -> tuple[int, ...]:
    T = np.array([package.T_cam_package for package in items])
    top = T[:, :3, 3] + T[:, :3, 2] * (np.array([package.size_m[2] for package in items])[:, None] / 2)
    level = (top @ plane[:3] + plane[3] if plane is not None else -top[:, 2]).tolist()
    labels = [package.label for package in items]
    return pick_order(labels, {package.label: package.covered_by for package in items}, dict(zip(labels, level, strict=True)),
                      {package.label: package.size_m[0] * package.size_m[1] for package in items})


def _nowhere(instance: Instance, masks: Masks, i: int, covered_by: tuple[int, ...], fraction: float, truncated: bool) -> Package:
    """A package that cannot be placed: one metre along its viewing ray, with a covariance that says that it is not known."""
    x0, y0, x1, y1 = masks.box[i].tolist()
    inside = masks.labels[y0:y1, x0:x1] == instance.label
    ray = masks.rays[y0:y1, x0:x1][inside].mean(axis=0) if inside.any() else np.zeros(2)
    pose = geometry.frame_from_axes(np.array([ray[0], ray[1], 1.0]), np.array([0.0, 0.0, -1.0]), np.array([1.0, 0.0, 0.0]))
    covariance = np.diag([_NOWHERE_SIGMA_M**2] * 3 + [np.pi**2] * 3)
    return Package(label=instance.label, class_name=instance.class_name, score=instance.score, T_cam_package=pose,
                   size_m=(0.0, 0.0, 0.0), covariance=covariance, visible_fraction=0.0, covered_by=covered_by,
                   depth_valid_fraction=fraction, from_depth=False, truncated=truncated, placed=False)


def _height_sigmas_m(boxes: FaceBoxes, from_depth: NDArray[np.bool_], height: F64, classes: Sequence[str], plane: F64 | None,
                     covered_by: Mapping[int, tuple[int, ...]], belt: BeltConfig) -> F64:
    """How well heights are known: well for what lies level and on nothing else, hardly where it bulges, leans, lies on others or is
    too high to lie on the belt. 0 for what is not located by depth."""
    bulging = np.array([name in _BULGING for name in classes])
    if plane is None:
        known = np.full(len(height), UNKNOWN_HEIGHT_SIGMA * belt.max_height_m)
    else:
        likely_m = np.array([_THICKEST_M.get(name, np.inf) for name in classes])
        well = (boxes.T[:, :3, 2] @ plane[:3] > _LEVEL_COS) & (height <= np.minimum(likely_m, boxes.side_m[:, 1]))
        for upper in covered_by.values():
            well[np.array(upper, np.int64) - 1] = False
        share = np.where(bulging, _BULGE_SHARE, np.where(well, _LEVEL_SHARE, _RESTING_SHARE))
        known = np.where(height > 0, np.where(bulging, _BULGE_SIGMA_M, _LEVEL_SIGMA_M) + share * height,
                         UNKNOWN_HEIGHT_SIGMA * belt.max_height_m)
    return np.where(from_depth, known, 0.0)


def _hidden_shares(fill: F64, truncated: NDArray[np.bool_], covered: NDArray[np.bool_]) -> F64:
    """How much of each face may be out of sight, 0..1: unknown beyond a border of the picture or below another package."""
    within = np.where(covered, np.minimum(0.5, 0.1 + (1.0 - fill) / 2), np.where(fill > 0.85, 0.0, 0.1))
    return np.where(truncated, 0.5, within)


def _height_covariance(centre: F64, normal: F64, max_height_m: float) -> F64:
    """A package's height is unknown: its upper face lies anywhere along the viewing ray between belt and greatest height."""
    ray = centre / max(float(np.linalg.norm(centre)), 1e-9)
    per_metre = ray / max(abs(float(ray @ normal)), 0.1)
    return np.outer(per_metre, per_metre) * (UNKNOWN_HEIGHT_SIGMA * max_height_m) ** 2


def _cut_sides(masks: Masks) -> NDArray[np.bool_]:
    """(P, 4) whether left, top, right and bottom of each mask touch the picture's border."""
    height, width = masks.labels.shape
    inside = np.array((_BORDER_PX, _BORDER_PX, _BORDER_PX - width, _BORDER_PX - height))
    cut: NDArray[np.bool_] = masks.box * np.array((1, 1, -1, -1)) < inside
    return cut


@compiled
def _outlines(box: NDArray[np.int64], rays: F32) -> F32:
    """(P, 4) left, top, right and bottom of bounding boxes as viewing rays; box, rays: as in `Masks`."""
    outlines = np.empty((len(box), 4), np.float32)
    for p in range(len(box)):
        x0, y0, x1, y1 = box[p, 0], box[p, 1], box[p, 2] - 1, box[p, 3] - 1
        u, v = (x0 + x1) // 2, (y0 + y1) // 2
        outlines[p, 0], outlines[p, 1] = rays[v, x0, 0], rays[y0, u, 1]
        outlines[p, 2], outlines[p, 3] = rays[v, x1, 0], rays[y1, u, 1]
    return outlines

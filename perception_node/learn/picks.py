"""A pick, carried out in simulation against the true geometry: does the package come up, alone, without a collision?

Nothing here is known to the grasp's terms: exact surfaces, true poses, weights, centres of mass and the arm's own error. The
models are quasi-static. What they leave out: vibration, the arm's other links, film that tears.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from perception_node import geometry
from perception_node.config import GripperConfig, JawConfig, SuctionConfig
from perception_node.grasp.patch import sunflower
from perception_node.grasp.suction import cup_offsets
from perception_node.learn.scenes import Truth
from perception_node.types import F64, Grasp

_GRAVITY, _ACCELERATION = 9.81, 5.0
"""m/s^2. Source of the second: half of g, a usual limit for carrying parcels by suction."""
_PLACE_M, _TURN_RAD = 0.0015, 0.01
"""One sigma of the arm's error, calibration and following of the belt included, per axis. Source: hand-eye calibrations end at
1 to 2 mm; prediction 0.5 s ahead adds 0.5 mm (measured: docs/results.md, tracking)."""
_DENSITY_KG_M3, _DENSITY_SPREAD = 180.0, 0.6
"""Median and spread (of the logarithm) of a parcel's density. Source: carriers convert volume at 167 to 200 kg/m^3."""
_OFF_CENTRE = 0.1
"""One sigma of the centre of mass from the box's centre, in shares of its sides. Source: judgement, contents shift."""
_STROKE_M = 0.012
"""A cup seals when the surface comes this much later or earlier than expected. Source: stroke of bellows cups of 30 mm."""
_BEND_RAD = 0.35
"""A bellows follows a surface that leans by this against its axis. Source: 20 degrees, 5 mm of 15 mm height at the lip."""
_LEAK = 0.15
"""Share of the lip that gapes at which half of the vacuum is lost. Source: judgement; ejectors lose it with a few mm^2."""
_FRICTION = 0.5
"""Of rubber on board or film, dry. Source: suppliers' tables give 0.5 for smooth, dry surfaces."""
_TOOL_M = (0.01, 0.15)
"""The tool's body reaches from this to that above the lip; what stands in there is hit."""
_BODY_EXTRA_M = 0.004
_LIP = 48
_OTHERS_UNDER_CUP = 0.1
_RESTS_M = 0.02
"""Bottom and top that come this close lie on each other (bags give way)."""
_RESTING_SHARE = 0.1
_HOLD_M = 0.004
"""A finger needs this much of a side below the upper edge. Source: edge radius of corrugated board."""
_GIVES_M = 0.01
"""A finger pushes a soft package's own bulge aside by this."""
_STIFF = {"box": 1.0, "padded_mailer": 0.8, "poly_bag": 0.5, "item": 1.0}
"""Share of the clamping force that a package bears before it folds."""


@dataclass(frozen=True)
class Pick:
    """What became of a pick: `failure` is "" on success, else a kind of perception_node_msgs/ReportOutcome; true weight."""

    success: bool
    failure: str
    weight_kg: float


class Cell:
    """The true world of one picture, on which picks are simulated; nothing a pick does changes it.

    Args:
        truth: of the picture. gripper: what is on the arm.
    """

    def __init__(self, truth: Truth, gripper: GripperConfig) -> None:
        self.truth, self.gripper = truth, gripper
        rays, z = geometry.ray_image(truth.camera), truth.depth_m
        self._points = np.concatenate([rays * z[..., None], z[..., None]], axis=2)
        self._focal = (truth.camera.fx + truth.camera.fy) / 2
        self._up = truth.plane[:3] if truth.plane is not None else np.array([0.0, 0.0, -1.0])
        self._boxes = {identity: _upright(pose, size, self._up) for identity, (pose, size) in truth.boxes.items()}

    def pick(self, grasp: Grasp, wanted: int, rng: np.random.Generator) -> Pick:
        """Carry a grasp out once.

        Args:
            grasp: of this picture, camera frame. wanted: true id of the package that it is meant for, 0 = there is none.
            rng: the arm's error, the weight and where it sits.
        """
        error = rng.normal(size=3) * _PLACE_M
        axis = rng.normal(size=3) * _TURN_RAD
        contents = rng.normal(size=3)
        T = grasp.T_cam_grasp.copy()
        T[:3, 3] += error
        T[:3, :3] = _turned(axis) @ T[:3, :3]
        if wanted not in self.truth.boxes:
            return Pick(False, "not_gripped", 0.0)
        weight = self._weight(wanted, float(contents[0]))
        pose, size = self._boxes[wanted]
        middle = pose[:3, 3] + pose[:3, :2] @ (contents[1:] * _OFF_CENTRE * size[:2])
        if grasp.kind == "suction":
            failure = self._suck(T, wanted, weight, middle, self.gripper.suction)
        else:
            failure = self._clamp(T, grasp, wanted, weight, middle, self.gripper.parallel_jaw)
        if not failure and self._loaded(wanted):
            failure = "several"
        return Pick(not failure, failure, weight)

    def _weight(self, identity: int, normal: float) -> float:
        _, size = self.truth.boxes[identity]
        return max(float(np.prod(size)) * _DENSITY_KG_M3 * math.exp(_DENSITY_SPREAD * normal), 0.02)

    def _near(self, T: F64, reach_m: float) -> tuple[F64, np.ndarray]:
        """Points of the true surface within about `reach_m` of a frame's origin, in that frame, and their true ids."""
        u, v = geometry.project(self.truth.camera, T[None, :3, 3])[0]
        height, width = self.truth.labels.shape
        if not (np.isfinite(u) and np.isfinite(v)):
            return np.zeros((0, 3)), np.zeros(0, dtype=np.uint16)
        half = reach_m * self._focal / max(float(T[2, 3]) - reach_m, 0.1)
        rows = slice(int(np.clip(v - half, 0, height)), int(np.clip(v + half + 1, 0, height)))
        columns = slice(int(np.clip(u - half, 0, width)), int(np.clip(u + half + 1, 0, width)))
        points = self._points[rows, columns].reshape(-1, 3).astype(np.float64)
        known = np.isfinite(points[:, 2])
        local = (points[known] - T[:3, 3]) @ T[:3, :3]
        return local, self.truth.labels[rows, columns].reshape(-1)[known]

    def _under(self, T: F64, across: F64) -> tuple[F64, np.ndarray]:
        """(N, 3) points of the true surface seen at (N, 2) places of a frame's x-y plane, in that frame, and true ids."""
        view = self.truth.view()
        world = T[:3, 3] + across @ T[:3, :2].T
        flat, inside = view.look(view.project(world))
        surface = self._points.reshape(-1, 3)[flat].astype(np.float64)
        local = (surface - T[:3, 3]) @ T[:3, :3]
        known = inside & np.isfinite(local[:, 2])
        local[~known] = (0.0, 0.0, 1.0)
        return local, np.where(known, view.labels.ravel()[flat], 0)

    def _suck(self, T: F64, wanted: int, weight_kg: float, middle: F64, config: SuctionConfig) -> str:
        cups = cup_offsets(config)
        radius = config.cup_radius_m
        local, ids = self._near(T, 0.06 + float(np.abs(cups).max()) + radius)
        body = np.zeros(len(local), dtype=bool)
        for cup in cups:
            body |= np.hypot(local[:, 0] - cup[0], local[:, 1] - cup[1]) < radius + _BODY_EXTRA_M
        if np.count_nonzero(body & (local[:, 2] < -_TOOL_M[0] - 0.004) & (local[:, 2] > -_TOOL_M[1])) > 2:
            return "collision"
        angle = 2 * np.pi * np.arange(_LIP) / _LIP
        ring = 0.92 * radius * np.column_stack([np.cos(angle), np.sin(angle)])
        tolerance = config.bag_tolerance_m if self.truth.classes[wanted] == "poly_bag" else config.seal_tolerance_m
        vacuum, lean = 1.0, 0.0
        for cup in cups:
            lip, under_lip = self._under(T, ring + cup)
            _, under = self._under(T, sunflower(60) * radius + cup)
            if np.bincount(under, minlength=1).argmax() != wanted:
                return "other" if np.bincount(under, minlength=1).argmax() else "not_gripped"
            others = float(((under_lip != wanted) & (under_lip > 0)).mean())
            slope_x, slope_y, level = np.linalg.lstsq(
                np.column_stack([lip[:, :2], np.ones(len(lip))]), lip[:, 2], rcond=None)[0]
            if abs(level) > _STROKE_M:
                return "not_gripped" if level > 0 else "collision"
            lean = math.atan(math.hypot(slope_x, slope_y))
            if lean > _BEND_RAD:
                return "not_gripped"
            gap = np.abs(lip[:, 2] - (slope_x * lip[:, 0] + slope_y * lip[:, 1] + level))
            gaping = float(np.clip(gap / tolerance - 1.0, 0.0, 1.0).mean())
            if others > _OTHERS_UNDER_CUP:
                gaping += others  # a seam between two packages is an open slot
            vacuum = min(vacuum, 1.0 / (1.0 + (gaping / _LEAK) ** 2))
        pull = vacuum * config.payload_kg * (_GRAVITY + _ACCELERATION)
        return self._carried(T, weight_kg, middle, pull, radius + float(np.abs(cups).max()), wanted)

    def _carried(self, T: F64, weight_kg: float, middle: F64, pull_n: float, arm_m: float, wanted: int) -> str:
        """Pulled off, sheared off or tipped off the lip's rim? Source: a rigid body hanging on a ring tips about its rim when the
        moment exceeds what is left of the pull times the radius."""
        load = weight_kg * (_GRAVITY + _ACCELERATION)
        upright = float(np.clip(-T[:3, 2] @ self._up, 0.0, 1.0))
        left = pull_n - load * upright
        if left <= 0:
            return "not_gripped" if pull_n < 0.2 * load else "dropped"
        if load * math.sqrt(1.0 - upright**2) > _FRICTION * pull_n:
            return "dropped"
        off = middle - T[:3, 3]
        lever = float(np.linalg.norm(off - self._up * (off @ self._up)))
        lever *= 0.5 if self.truth.classes[wanted] == "poly_bag" else 1.0  # contents hang below the cup
        return "dropped" if load * lever > left * arm_m else ""

    def _clamp(self, T: F64, grasp: Grasp, wanted: int, weight_kg: float, middle: F64, config: JawConfig) -> str:
        reach, inner = float(grasp.terms["reach_m"]), grasp.width_m / 2
        outer, half, tip = inner + config.finger_thickness_m, config.finger_width_m / 2, reach / 2
        soft = self.truth.classes[wanted] not in ("box", "item")
        local, ids = self._near(T, outer + 0.1)
        x, y, depth = np.abs(local[:, 0]), np.abs(local[:, 1]), local[:, 2]
        give = np.where((ids == wanted) & soft, _GIVES_M, 0.001)
        hit = (x > inner + np.where((ids == wanted) & soft, 0.3 * _GIVES_M, 0.0)) & (x < outer) & (y < half) & (depth > -0.2)
        if np.count_nonzero(hit & (depth < tip - give)) > 1:
            return "collision"
        grid = np.stack(np.meshgrid(np.linspace(inner, outer, 4), np.linspace(-half, half, 5), np.linspace(-tip, tip, 4),
                                    indexing="ij"), axis=-1).reshape(-1, 3)
        fingers = geometry.transform_points(T, np.concatenate([grid, grid * (-1, 1, 1)]))
        if self.truth.plane is not None and (fingers @ self.truth.plane[:3] + self.truth.plane[3]).min() < 0:
            return "collision"
        for other, (T_cam_box, size) in self.truth.boxes.items():
            within = np.abs((fingers - T_cam_box[:3, 3]) @ T_cam_box[:3, :3]) < size / 2 - 0.003
            if self.truth.classes[other] == "box" and within.all(axis=1).any():
                return "collision"
        between = (x < inner) & (y < half) & (depth < tip)
        mine = between & (ids == wanted)
        if not mine.any():
            return "not_gripped"
        if np.count_nonzero(between & (ids != wanted) & (ids > 0) & (depth < tip - _HOLD_M)) > 0.2 * np.count_nonzero(mine):
            return "several"
        for side in (1.0, -1.0):
            edge = mine & (local[:, 0] * side > 0.0)
            if not edge.any() or tip - float(np.percentile(depth[edge], 20)) < _HOLD_M:
                return "not_gripped"
        force = _STIFF[self.truth.classes[wanted]] * config.payload_kg * (_GRAVITY + _ACCELERATION)
        load = weight_kg * (_GRAVITY + _ACCELERATION)
        lever = abs(float((middle - T[:3, 3]) @ T[:3, 1]))
        slips = load > force or load * lever > force * config.finger_width_m / 2
        return "dropped" if slips else ""

    def _loaded(self, wanted: int) -> bool:
        """True when another package rests on the wanted one with more than a tenth of its footprint: it would come along."""
        pose, size = self._boxes[wanted]
        across = np.linspace(-0.45, 0.45, 7)
        grid = np.stack(np.meshgrid(across, across, indexing="ij"), axis=-1).reshape(-1, 2)
        for other, (T_cam_box, extent) in self._boxes.items():
            if other == wanted:
                continue
            bottom = np.column_stack([grid * extent[:2], np.full(len(grid), -extent[2] / 2)])
            local = (bottom @ T_cam_box[:3, :3].T + T_cam_box[:3, 3] - pose[:3, 3]) @ pose[:3, :3]
            over = (np.abs(local[:, :2]) < size[:2] / 2).all(axis=1) & (np.abs(local[:, 2] - size[2] / 2) < _RESTS_M)
            over &= local[:, 2] + extent[2] / 2 > size[2] / 2  # what lies below has its middle below, however thin both are
            if over.mean() > _RESTING_SHARE:
                return True
        return False


def _upright(pose: F64, size: F64, up: F64) -> tuple[F64, F64]:
    """The same box with its axes renamed so that the third one points up most."""
    third = int(np.argmax(np.abs(up @ pose[:3, :3])))
    first, second = (third + 1) % 3, (third + 2) % 3
    turned = pose.copy()
    turned[:3, 0], turned[:3, 1], turned[:3, 2] = pose[:3, first], pose[:3, second], pose[:3, third]
    if turned[:3, 2] @ up < 0:
        turned[:3, 1:3] *= -1.0
    return turned, np.array([size[first], size[second], size[third]])


def _turned(axis: F64) -> F64:
    """(3, 3) rotation by a small rotation vector in radians (Rodrigues)."""
    angle = float(np.linalg.norm(axis))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = axis / angle
    K = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    rotation: F64 = np.eye(3) + math.sin(angle) * K + (1 - math.cos(angle)) * (K @ K)
    return rotation

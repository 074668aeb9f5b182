"""The camera's pose in the cell, from many views of a beacon whose place in the cell is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perception_node.beacon.hypotheses import difference
from perception_node.beacon.tracker import BeaconPose
from perception_node.errors import DatasetError
from perception_node.geometry import quaternions_xyzw, transform_inverse
from perception_node.types import F64

MIN_VIEWS = 10
"""Good views below which a calibration is no verdict. Source: the median of ten is hardly moved by two bad ones (judgement)."""
MAX_SPREAD_M, MAX_SPREAD_RAD = 0.001, 0.0035
"""Root mean square distance of single views from their middle above which something moved or is seen badly: half of the default
`camera.max_shift_m`, 0.2 degrees. Source: judgement."""
MAX_REPROJECTION_PX = 0.5
"""Median reprojection error above which lens calibration or `leds_m` are wrong. Source: judgement; measured 0.02 to 0.2 px."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Result of `calibrate`.

    Attributes:
        T_cell_cam: (4, 4) camera's optical frame in the cell. T_cell_beacon: (4, 4) as given. T_cam_beacon: (4, 4) middle of the
            views.
        views, refused: good views, and those that were ambiguous, degraded, or showed no beacon.
        spread_m, spread_rad: root mean square distance of single views from the middle.
        sigma_m, sigma_rad: what the tracker itself claims for one view (largest axis, median of the views).
        reprojection_px: median. range_m: of the beacon.
        faults: why the calibration must not be used; empty = it may.
    """

    T_cell_cam: F64
    T_cell_beacon: F64
    T_cam_beacon: F64
    views: int
    refused: int
    spread_m: float
    spread_rad: float
    sigma_m: float
    sigma_rad: float
    reprojection_px: float
    range_m: float
    faults: tuple[str, ...]

    def parameters(self) -> dict[str, list[float]]:
        """The parameters of `config/cell.yaml` that it sets, by dotted name."""
        values = {}
        for prefix, T in (("", self.T_cell_cam), ("beacon_", self.T_cell_beacon)):
            values[f"camera.{prefix}position_m"] = [round(float(x), 7) for x in T[:3, 3]]
            values[f"camera.{prefix}orientation_xyzw"] = [round(float(x), 9) for x in quaternions_xyzw(T[None, :3, :3])[0]]
        return values


def calibrate(poses: Sequence[BeaconPose], T_cell_beacon: F64, refused: int = 0) -> Calibration:
    """The middle of all good views: median position, mean rotation (chordal), after views far from both are left out.

    Source: R. Hartley et al., "Rotation averaging", IJCV 103(3), 2013, section 5.3 (the mean's projection onto rotations).

    Args:
        poses: from one camera that stands still before one beacon that stands still. T_cell_beacon: (4, 4) where the beacon is.
        refused: views that gave no good pose, for the record.

    Raises:
        DatasetError: not a single good view.
    """
    good = [pose for pose in poses if pose.good]
    refused += len(poses) - len(good)
    if not good:
        raise DatasetError(f"calibration: expected views of the beacon, got none that is good ({refused} refused)")
    stack = np.array([pose.T_cam_beacon for pose in good])
    middle = middle_pose(stack)
    gaps = np.array([difference(T, middle) for T in stack])
    distance = np.linalg.norm(gaps[:, :3], axis=1)
    near = distance <= 4.0 * float(np.median(distance)) + 1e-6
    middle = middle_pose(stack[near])
    gaps = np.array([difference(T, middle) for T in stack])
    spread = np.sqrt((gaps.reshape(-1, 2, 3) ** 2).sum(axis=2).mean(axis=0))
    sigma = _sigma(good)
    reprojection = float(np.median([pose.reprojection_px for pose in good]))
    faults = []
    if len(good) < MIN_VIEWS:
        faults.append(f"expected at least {MIN_VIEWS} good views, got {len(good)}")
    if spread[0] > MAX_SPREAD_M or spread[1] > MAX_SPREAD_RAD:
        faults.append(f"the views differ by {1e3 * spread[0]:.2f} mm and {np.rad2deg(spread[1]):.2f} deg rms, expected at most "
                      f"{1e3 * MAX_SPREAD_M:g} mm and {np.rad2deg(MAX_SPREAD_RAD):.1f} deg: did camera or beacon move, is it "
                      "too far away?")
    if reprojection > MAX_REPROJECTION_PX:
        faults.append(f"lights are {reprojection:.2f} px from where they should be, expected at most {MAX_REPROJECTION_PX:g} px: "
                      "check leds_m and the camera's calibration")
    return Calibration(
        T_cell_cam=np.asarray(T_cell_beacon @ transform_inverse(middle)), T_cell_beacon=T_cell_beacon, T_cam_beacon=middle,
        views=len(good), refused=refused, spread_m=float(spread[0]), spread_rad=float(spread[1]), sigma_m=sigma[0],
        sigma_rad=sigma[1], reprojection_px=reprojection, range_m=float(np.linalg.norm(middle[:3, 3])), faults=tuple(faults))


def middle_pose(stack: F64) -> F64:
    """(4, 4) middle of (N, 4, 4) poses near each other: median position, chordal mean of the rotations."""
    u, _, vt = np.linalg.svd(stack[:, :3, :3].mean(axis=0))
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = u @ vt, np.median(stack[:, :3, 3], axis=0)
    return T


def _sigma(poses: Sequence[BeaconPose]) -> tuple[float, float]:
    """Median over the poses of the largest standard deviation, m and rad."""
    place, turn = (np.median([np.sqrt(np.linalg.eigvalsh(pose.covariance[part, part])[-1]) for pose in poses])
                   for part in (slice(0, 3), slice(3, 6)))
    return float(place), float(turn)

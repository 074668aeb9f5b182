"""What stands where the fingers want to go: seen surfaces, hidden parts of other packages, the belt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_node.config import JawConfig
from perception_node.grasp import kernels
from perception_node.grasp.patch import View
from perception_node.types import F64, Package


@dataclass(frozen=True, eq=False)
class Obstacles:
    """What the fingers of N candidates meet.

    Attributes:
        free_m: (N,) depth below the face's plane down to the first obstacle beside the package, less than 0 when it is above.
        blocker: (N,) label of that obstacle, 0 = belt or unknown. unseen: (N,) share of the worse finger's place out of sight.
        held: (N,) share of the face between the fingers where the package is seen, within the fingers' depth.
    """

    free_m: F64
    blocker: NDArray[np.int64]
    unseen: F64
    held: F64


def look_beside(view: View, T_cam_face: F64, opening_m: F64, extent_m: F64, own: NDArray[np.int64], everything: Sequence[Package],
                plane: F64 | None, config: JawConfig) -> Obstacles:
    """Find what each candidate's fingers meet.

    The fingers' volume is projected into the picture; readings that lie in the column of a finger are obstacles at their
    depth. What the picture cannot see there is checked against the boxes of the other packages.

    Args:
        view: the frame. T_cam_face: (N, 4, 4). opening_m: (N,). extent_m: (N,) of the package between the fingers.
        own: (N,) label of each candidate's package.
        everything: all packages with a box. plane: (4,) belt.
    """
    boxes = np.array([other.T_cam_package for other in everything]).reshape(-1, 4, 4)
    sizes = np.array([other.size_m for other in everything], dtype=np.float64).reshape(-1, 3)
    labels = np.array([other.label for other in everything], dtype=np.int64)
    jaws = np.array((config.finger_depth_m, config.finger_thickness_m, config.finger_width_m, config.clearance_m), dtype=np.float64)
    met = kernels.fingers_meet(view.labels, view.depth_m, view.rays, view.numbers, T_cam_face, opening_m, own, boxes, sizes, labels,
                               np.zeros(0) if plane is None else np.array(plane), jaws)
    held = kernels.held_between(view.labels, view.depth_m, view.rays, view.numbers, T_cam_face, extent_m, own, jaws)
    return Obstacles(*met, held)

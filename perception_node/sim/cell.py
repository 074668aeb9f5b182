"""One simulated cell: what stays the same from picture to picture, as in a real one. Place, camera, light, sensors and the makes of
packages that come by are the cell's; how the packages lie is each pile's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception_node.sim import packages, scenarios
from perception_node.sim.meshes import rotation_from_wxyz
from perception_node.sim.packages import PackageSpec
from perception_node.sim.physics import settle

_KINDS = ("belt", "rollers", "tote", "chute")
_PARTS = ("makes", "place", "view", "light", "colour", "depth", "casters")
_HALF_M = 0.33  # packages lie within this of the middle, so that a camera in its place sees them


@dataclass(frozen=True)
class SimulatedCell:
    """A cell.

    Attributes:
        number: seed of everything that stays. shares: of boxes, padded mailers and poly bags, 0..1. makes: how many different
            packages it sees.
    """

    number: int
    shares: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    makes: int = 24

    def rng(self, part: str) -> np.random.Generator:
        """The choices of one part of the cell: the same ones at each call."""
        return np.random.default_rng([self.number, 21, _PARTS.index(part)])

    def stock(self) -> list[PackageSpec]:
        """The makes of packages that come by."""
        rng = self.rng("makes")
        classes = rng.choice([packages.BOX, packages.MAILER, packages.BAG], self.makes, p=np.array(self.shares) / sum(self.shares))
        return [packages.random_spec(rng, int(c), 0.75) for c in classes]

    def pile(self, rng: np.random.Generator) -> scenarios.Pile:
        """Packages of the stock, settled: some beside each other, some dropped on top."""
        place = self.rng("place")
        layout = scenarios.random_layout(place)
        while layout.kind not in _KINDS:
            layout = scenarios.random_layout(place)
        stock = self.stock()
        specs = [stock[int(rng.integers(len(stock)))].twin(int(rng.integers(1 << 31))) for _ in range(int(rng.integers(3, 13)))]
        rx, ry = min(layout.half_x_m * 0.85, _HALF_M), min(layout.half_y_m * 0.8, _HALF_M)
        below, bodies = scenarios.scatter(rng, specs[: len(specs) // 2 + 1], rx, ry)
        above = specs[len(specs) // 2 + 1 :]
        top = max((float(b.position_m[2] + np.max(b.size_m) / 2) for b in bodies), default=0.0)
        bodies = bodies + scenarios.drop(rng, above, 0.6 * rx, 0.6 * ry, top + 0.03)
        specs = below + above
        positions, quaternions = settle(bodies, scenarios.walls(layout), float(rng.uniform(0.35, 0.9)))
        rotations = np.array([rotation_from_wxyz(q) for q in quaternions]).reshape(-1, 3, 3)
        keep = np.flatnonzero(np.all(np.isfinite(positions) & (np.abs(positions) < 2.5), axis=1))
        return scenarios.Pile(layout, [specs[n] for n in keep], positions[keep], rotations[keep], "cell")

"""What an annotator has to do, or did, to turn proposals into right masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

GOOD_IOU = 0.9
"""A mask of at least this IoU needs no correction: the outline of a square package is then wrong by at most 2.6 % of its side all
round, 2 to 3 px of 90, about one pixel of the network's grid and the width of a hand-drawn line. Source: (1 - 2x)^2 = 0.9."""

_SAME_IOU = 0.5  # below, proposal and package have nothing to do with each other: one is drawn anew, the other deleted


@dataclass(frozen=True)
class Corrections:
    """Counts of packages and of what they need.

    Attributes:
        pictures, packages: judged. untouched: proposed with the right class and outline. reshaped: right class, wrong outline.
        reclassified: wrong class, right outline. both: wrong class and outline. added: not proposed. removed: proposals of
            nothing.
    """

    pictures: int = 0
    packages: int = 0
    untouched: int = 0
    reshaped: int = 0
    reclassified: int = 0
    both: int = 0
    added: int = 0
    removed: int = 0

    @property
    def total(self) -> int:
        """Packages and proposals that have to be touched."""
        return self.reshaped + self.reclassified + self.both + self.added + self.removed

    def __add__(self, other: Corrections) -> Corrections:
        """Sum of two counts."""
        mine, theirs = asdict(self), asdict(other)
        return Corrections(**{key: mine[key] + theirs[key] for key in mine})

    def to_json(self) -> dict[str, Any]:
        """Return the counts and the two figures made of them, rates 0 where there is nothing to divide by."""
        return {**asdict(self), "untouched_share": self.untouched / max(self.packages, 1),
                "corrections_per_picture": self.total / max(self.pictures, 1)}


def count_corrections(iou: NDArray[np.float64], classes: Sequence[int], proposed: Sequence[int],
                      good_iou: float = GOOD_IOU) -> Corrections:
    """Compare one picture's right masks with the proposals.

    Args:
        iou: (G, P) of G right masks against P proposals. classes: (G,) class ids. proposed: (P,) class ids.
        good_iou: a mask at least as near needs no new outline, 0.5..1.
    """
    rest = np.where(iou >= _SAME_IOU, iou, 0.0)
    kinds = {"untouched": 0, "reshaped": 0, "reclassified": 0, "both": 0}
    while rest.size and rest.max() > 0:
        g, p = divmod(int(rest.argmax()), rest.shape[1])
        right_shape, right_class = bool(rest[g, p] >= good_iou), classes[g] == proposed[p]
        kinds[("untouched" if right_class else "reclassified") if right_shape else ("reshaped" if right_class else "both")] += 1
        rest[g, :] = rest[:, p] = 0.0
    matched = sum(kinds.values())
    return Corrections(1, len(classes), **kinds, added=len(classes) - matched, removed=len(proposed) - matched)

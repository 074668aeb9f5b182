"""Where the LEDs of a beacon are, and what follows from that: is it flat, does it look the same after a turn?"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from perception_node.errors import ConfigError
from perception_node.types import F64

MIN_LEDS, MAX_LEDS = 4, 8
MIN_SPACING_M = 0.002
"""LEDs that are nearer to each other are one light. Source: the smallest LED packages."""
_MIN_SPREAD = 0.05
"""Second longest extent of the layout as a share of the longest: below it the LEDs stand on a line. Source: judgement."""
_FLAT = 0.02
"""The same for the shortest extent: below it the layout is flat as far as a camera can tell. Source: judgement."""
_SAME_M = 0.001


@dataclass(frozen=True, eq=False)
class Layout:
    """The LEDs, checked.

    Attributes:
        leds_m: (N, 3) in the beacon's frame; the lights shine towards +z.
        normal: (3,) of the plane that fits them best, on the side of +z.
        flat: True when they lie in that plane as far as a camera can tell.
        same: (4, 4) transforms S, other than none at all, after which the beacon looks the same: T and T @ S are the same picture.
        bases: triples of LEDs from which a search starts, wide ones first; no LED is in all of them when there are five or more.
    """

    leds_m: F64
    normal: F64
    flat: bool
    same: tuple[F64, ...]
    bases: tuple[tuple[int, int, int], ...]

    @property
    def count(self) -> int:
        """Number of LEDs."""
        return len(self.leds_m)


def make_layout(leds_m: object) -> Layout:
    """Check the LEDs' positions.

    Args:
        leds_m: (4..8, 3) numbers, metres, in the beacon's frame.

    Raises:
        ConfigError: not of that shape, not finite, two LEDs in one place, all on a line.
    """
    try:
        leds = np.array(leds_m, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError(f"beacon: expected {MIN_LEDS} to {MAX_LEDS} LEDs as (x, y, z) in metres, got {leds_m!r:.80}") from None
    if leds.ndim != 2 or leds.shape[1] != 3 or not MIN_LEDS <= len(leds) <= MAX_LEDS:
        raise ConfigError(f"beacon: expected {MIN_LEDS} to {MAX_LEDS} LEDs as (x, y, z) in metres, got shape {leds.shape}")
    if not np.isfinite(leds).all() or np.abs(leds).max() > 100.0:
        raise ConfigError("beacon: expected LED positions of at most 100 m, all finite, got others")
    gaps = np.linalg.norm(leds[:, None] - leds[None], axis=2) + np.eye(len(leds)) * 1e9
    if gaps.min() < MIN_SPACING_M:
        first, second = np.unravel_index(int(gaps.argmin()), gaps.shape)
        raise ConfigError(f"beacon: expected LEDs at least {1e3 * MIN_SPACING_M:g} mm apart, LEDs {first} and {second} are "
                          f"{1e3 * gaps.min():.2f} mm apart")
    _, extent, axes = np.linalg.svd(leds - leds.mean(axis=0))
    if extent[1] < _MIN_SPREAD * extent[0]:
        raise ConfigError("beacon: expected LEDs that do not stand on a line")
    normal = axes[2] if axes[2][2] >= 0 else -axes[2]
    leds.setflags(write=False)
    return Layout(leds, normal, bool(extent[2] < _FLAT * extent[0]), _turns(leds), _bases(leds))


def _turns(leds: F64) -> tuple[F64, ...]:
    """Turns about an axis along z that bring each LED to the place of another one."""
    middle = leds.mean(axis=0)
    around = leds - middle
    radius = np.hypot(around[:, 0], around[:, 1])
    first = int(radius.argmax())
    found = []
    for other in range(len(leds)):
        angle = np.arctan2(around[other, 1], around[other, 0]) - np.arctan2(around[first, 1], around[first, 0])
        if other == first or abs(np.sin(angle / 2)) < 1e-6:
            continue
        S = np.eye(4)
        S[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        turned = around @ S[:3, :3].T
        if np.linalg.norm(turned[:, None] - around[None], axis=2).min(axis=1).max() < _SAME_M:
            S[:3, 3] = middle - S[:3, :3] @ middle
            found.append(S)
    return tuple(found)


def _bases(leds: F64) -> tuple[tuple[int, int, int], ...]:
    def area(triple: tuple[int, int, int]) -> float:
        a, b, c = leds[list(triple)]
        return float(np.linalg.norm(np.cross(b - a, c - a)))

    ranked = sorted(itertools.combinations(range(len(leds)), 3), key=area, reverse=True)
    chosen = [ranked[0]]
    if len(leds) > MIN_LEDS:
        for led in range(len(leds)):
            if all(led in triple for triple in chosen):
                chosen.append(next(triple for triple in ranked if led not in triple))
    return tuple(chosen)

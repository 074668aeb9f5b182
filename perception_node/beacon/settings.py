"""What the tracker may assume about lens, light and motion."""

from __future__ import annotations

import math
from dataclasses import dataclass

from perception_node.errors import ConfigError


@dataclass(frozen=True)
class BeaconSettings:
    """Settings of `BeaconTracker`.

    Attributes:
        centre_sigma_px: standard deviation of what the calibration of the lens is wrong by, px.
        led_sigma_m: standard deviation of where an LED's light comes from, m: placement, and uneven light of the chip.
        flare_lean: standard deviation of how far flare pulls all centres outwards (or inwards) alike, as a share of their
            diameter.
        max_roll_rad: the beacon's x axis is at most so far from the camera's in the picture; pi = any turn. What turns by less
            can be told from its copies, so a plain square is not ambiguous any more below pi/4.
        confirm_pictures: pictures in a row that must show a newly found beacon before its pose is given.
        forget_after_s: a beacon that was not seen for longer is searched anew.

    Raises:
        ConfigError: out of range.
    """

    centre_sigma_px: float = 0.05
    led_sigma_m: float = 0.00005
    flare_lean: float = 0.012
    max_roll_rad: float = math.pi
    confirm_pictures: int = 2
    forget_after_s: float = 0.5

    def __post_init__(self) -> None:
        ranges = {"centre_sigma_px": (0.0, 5.0), "led_sigma_m": (0.0, 0.01), "flare_lean": (0.0, 0.5),
                  "max_roll_rad": (0.01, math.pi), "confirm_pictures": (1, 30), "forget_after_s": (0.0, 60.0)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"beacon: {name}: expected {low:g} to {high:g}, got {value!r}")

"""What the tracker may assume about lens, light and motion."""

from __future__ import annotations

import math
from dataclasses import dataclass

from perception_node.parameters import check_values, option


@dataclass(frozen=True)
class BeaconSettings:
    """Settings of `BeaconTracker`; the words of each field are in its declaration and in `config/beacon.yaml`.

    Raises:
        ConfigError: out of range.
    """

    centre_sigma_px: float = option(0.05, "standard deviation of what the lens calibration is wrong by", unit="px", low=0.0,
                                    high=5.0)
    led_sigma_m: float = option(0.00005, "standard deviation of where an LED's light comes from: placement, uneven chip", unit="m",
                                low=0.0, high=0.01)
    flare_lean: float = option(0.012, "standard deviation of how far lens flare pulls all lights outwards alike, as a share of "
                               "their diameter", low=0.0, high=0.5)
    max_roll_rad: float = option(math.pi, "the beacon's x axis is at most so far from the camera's in the picture; from an eighth "
                                 "of a turn on a plain square is ambiguous", unit="rad", low=0.01, high=math.pi)
    confirm_pictures: int = option(2, "pictures in a row that must show a newly found beacon before its pose is given", low=1,
                                   high=30)
    forget_after_s: float = option(0.5, "a beacon that was not seen for longer is searched anew", unit="s", low=0.0, high=60.0)

    def __post_init__(self) -> None:
        check_values(self)

"""The parameters of the node `beacon` and of `perception calibrate`: the tree behind `config/beacon.yaml`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from perception_node.beacon.layout import Layout, make_layout
from perception_node.beacon.settings import BeaconSettings
from perception_node.errors import ConfigError
from perception_node.parameters import check_values, option, with_files


@dataclass(frozen=True)
class BeaconNodeConfig:
    """The ROS node around the tracker."""

    autostart: bool = option(True, "configure and activate without being asked")
    image_transport: str = option("raw", "which picture topic is read; compressed: `image/compressed`, 8 bits, and JPEG moves the "
                                  "lights' middles", choices=("raw", "compressed"))
    reliability: str = option("best_effort", "reliability of the camera subscriptions", choices=("best_effort", "reliable"))
    publish_ambiguous: bool = option(False, "publish poses that are ambiguous, with a covariance that spans the alternatives; "
                                     "false: only say so in the diagnostics", live=True)
    publish_degraded: bool = option(False, "publish poses from three lights of four, which nothing can be checked against; false: "
                                    "only say so in the diagnostics", live=True)
    max_age_s: float = option(0.3, "a result older than this is dropped, not published", unit="s", low=0.01, high=60.0, live=True)
    detect_frozen: bool = option(True, "pictures that repeat byte for byte under new stamps for longer than max_age_s are dropped; "
                                 "false for a simulated camera without noise", live=True)
    camera_timeout_s: float = option(0.8, "a camera silent for longer is an ERROR", unit="s", low=0.1, high=60.0, live=True)
    diagnostics_period_s: float = option(0.2, "time between diagnostics", unit="s", low=0.05, high=10.0)


@dataclass(frozen=True)
class BeaconConfig:
    """Everything that the node `beacon` reads (`config/beacon.yaml`).

    Raises:
        ConfigError: a value out of range.
    """

    leds_m: tuple[float, ...] = option((), "x, y, z of each LED in the beacon's frame, four to eight LEDs one after the other; the "
                                       "lights shine towards +z. There is no default: a wrong size gives wrong ranges", unit="m")
    tracker: BeaconSettings = field(default_factory=BeaconSettings)
    node: BeaconNodeConfig = field(default_factory=BeaconNodeConfig)

    def __post_init__(self) -> None:
        check_values(self)

    def layout(self) -> Layout:
        """The LEDs, checked.

        Raises:
            ConfigError: not four to eight LEDs of three numbers, two in one place, all on a line.
        """
        if not self.leds_m:
            raise ConfigError("leds_m: expected x, y, z of four to eight LEDs in metres, got none: measure your beacon and set it")
        if len(self.leds_m) % 3:
            raise ConfigError(f"leds_m: expected three numbers for each LED, got {len(self.leds_m)} numbers")
        return make_layout([self.leds_m[k : k + 3] for k in range(0, len(self.leds_m), 3)])


def load_beacon(path: str | Path) -> BeaconConfig:
    """Read `config/beacon.yaml`.

    Raises:
        ConfigError: file missing or not YAML, unknown key, wrong type, out of range; the file is named.
    """
    return with_files(BeaconConfig(), [Path(path)], {})

"""The configuration: one tree of frozen dataclasses. Each field has a default, a unit, a range and words.

The same tree is the YAML files in `config/`, the node's ROS parameters (names joined by dots, `segment.threads`) and the
argument of `Pipeline`. Unknown keys, wrong types and values out of range raise `ConfigError`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perception_node.errors import ConfigError
from perception_node.parameters import check_values, option, value_of, with_files, with_values


@dataclass(frozen=True)
class SegmentConfig:
    """The segmenter."""

    model: str = option("universal", "model name of the package's own weights, or path of an .onnx file with its card")
    runtime: str = option("auto", "what runs the network", choices=("auto", "onnxruntime", "openvino", "torch"))
    device: str = option("auto", "where the network runs", choices=("auto", "cpu", "cuda"))
    threads: int = option(2, "threads of the network on the CPU", low=1, high=64)
    models_dir: str = option("", "folder of the models that ~/load_model may load; empty = that of the package's own")
    trial_slowdown: float = option(1.5, "a model that ~/load_model brings goes back when the 95th percentile of its time is over "
                                   "this many times that of the one before", low=1.0, high=100.0)
    score_threshold: float = option(0.3, "packages below this score are not reported", low=0.0, high=1.0, live=True)
    min_area_px: int = option(150, "smaller masks are not reported", unit="px", low=1, high=1e6, live=True)


@dataclass(frozen=True)
class CameraConfig:
    """Where the camera is in the cell, and a beacon that watches over it: both written by `perception calibrate`."""

    position_m: tuple[float, ...] = option((0.0, 0.0, 0.0), "origin of the camera's optical frame in the cell; only the watch "
                                           "by an LED beacon uses it", unit="m")
    orientation_xyzw: tuple[float, ...] = option((0.0, 0.0, 0.0, 0.0), "quaternion of the camera's optical frame in the cell; all "
                                                 "zero = not calibrated", unit="1")
    beacon_position_m: tuple[float, ...] = option((0.0, 0.0, 0.0), "origin of the LED beacon's frame in the cell", unit="m")
    beacon_orientation_xyzw: tuple[float, ...] = option((0.0, 0.0, 0.0, 0.0), "quaternion of the LED beacon's frame in the cell; "
                                                        "all zero = no beacon watches over the camera", unit="1")
    max_shift_m: float = option(0.002, "a beacon that is seen further from its place than this means a moved camera", unit="m",
                                low=0.0001, high=1.0, live=True)
    max_turn_rad: float = option(0.01, "the same for its attitude", unit="rad", low=0.0005, high=1.0, live=True)


@dataclass(frozen=True)
class BeltConfig:
    """The belt, in the camera's optical frame."""

    plane: tuple[float, ...] = option((0.0, 0.0, 0.0, 0.0), "belt surface (nx, ny, nz, d) in the camera's optical frame, n.X + d "
                                      "= 0, n towards the camera; all zero = not calibrated, fitted from depth", unit="1, m")
    direction: tuple[float, ...] = option((0.0, 0.0, 0.0), "unit vector along which the belt travels, in the camera's optical "
                                          "frame; all zero = learned from motion", unit="1")
    reach_min_m: float = option(-10.0, "start of the arm's window, measured from the camera's centre along the travel direction; "
                                "what still comes towards it gets grasps, too", unit="m", low=-100.0, high=100.0, live=True)
    reach_max_m: float = option(10.0, "end of the arm's window, measured likewise; a grasp's deadline is when it gets there",
                                unit="m", low=-100.0, high=100.0, live=True)
    max_height_m: float = option(0.8, "nothing on the belt is higher", unit="m", low=0.01, high=5.0, live=True)
    min_height_m: float = option(0.003, "what is flatter gets no grasp; 0 = off", unit="m", low=0.0, high=0.1, live=True)
    empty_cell: str = option("", "file of `perception learn-empty`: what was there in the empty cell gets no grasp; empty = none")


FARTHEST_BELT_M = 20.0
"""A belt further away is a distance in millimetres. Source: judgement; no camera measures packages from there."""


@dataclass(frozen=True)
class TrackConfig:
    """Following packages from frame to frame."""

    gate_m: float = option(0.08, "a package is the same when it is found within this distance of its prediction", unit="m",
                           low=0.005, high=1.0, live=True)
    max_missed_s: float = option(1.0, "a track that was not seen for longer is forgotten", unit="s", low=0.0, high=10.0, live=True)
    max_speed_m_s: float = option(3.0, "no belt is faster", unit="m/s", low=0.01, high=20.0, live=True)
    still_s: float = option(1.0, "what never moved with a moving belt for so long gets no grasp; 0 = off", unit="s", low=0.0,
                            high=60.0, live=True)


@dataclass(frozen=True)
class GraspConfig:
    """Proposing and ranking grasps."""

    max_per_package: int = option(3, "grasps of each kind proposed for one package at most", low=1, high=20, live=True)
    min_score: float = option(0.1, "grasps below this success probability are rejected; where what covers a package can be picked "
                              "first, the probability without it counts", low=0.0, high=1.0, live=True)
    normal_radius_m: float = option(0.012, "radius over which surface normals are estimated", unit="m", low=0.002, high=0.1)
    ranking: str = option("own", "what makes probabilities of a grasp's terms: own = the package's file, or the path of a file "
                          "that `perception fit-ranking` wrote")


@dataclass(frozen=True)
class SuctionConfig:
    """The suction gripper: one cup, or an array of equal cups."""

    enabled: bool = option(True, "propose suction grasps")
    cup_radius_m: float = option(0.015, "outer radius of a cup's lip", unit="m", low=0.002, high=0.2)
    rows: int = option(1, "cups across", low=1, high=8)
    columns: int = option(1, "cups along", low=1, high=8)
    spacing_m: float = option(0.04, "distance between neighbouring cups' centres", unit="m", low=0.0, high=0.5)
    seal_tolerance_m: float = option(0.003, "surface deviation under the lip at which a seal becomes unlikely", unit="m",
                                     low=0.0002, high=0.05)
    bag_tolerance_m: float = option(0.006, "the same on poly bags, whose film is drawn into the cup", unit="m",
                                    low=0.0002, high=0.05)
    max_tilt_rad: float = option(0.8, "largest angle between the approach and the belt's normal", unit="rad", low=0.0, high=1.57)
    payload_kg: float = option(5.0, "largest weight that the cups hold", unit="kg", low=0.01, high=500.0)
    T_parent_grasp: tuple[float, ...] = option((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0), "for MoveIt: pose of the grasp frame "
                                               "(middle of the lips, z out of the cups) in the end effector's parent link: x, y, "
                                               "z, then quaternion x, y, z, w", unit="m, 1")


@dataclass(frozen=True)
class JawConfig:
    """The parallel-jaw gripper."""

    enabled: bool = option(True, "propose parallel-jaw grasps")
    opening_min_m: float = option(0.005, "narrowest width that can be held", unit="m", low=0.0, high=1.0)
    opening_max_m: float = option(0.14, "widest opening between the fingers", unit="m", low=0.001, high=2.0)
    finger_width_m: float = option(0.02, "size of a finger across the closing direction", unit="m", low=0.001, high=0.3)
    finger_thickness_m: float = option(0.012, "size of a finger along the closing direction", unit="m", low=0.001, high=0.2)
    finger_depth_m: float = option(0.03, "how far the fingers reach down beside the package", unit="m", low=0.008, high=0.5)
    clearance_m: float = option(0.004, "free space kept between fingers and everything else", unit="m", low=0.0, high=0.1)
    payload_kg: float = option(5.0, "largest weight that the jaws hold", unit="kg", low=0.01, high=500.0)
    T_parent_grasp: tuple[float, ...] = option((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0), "for MoveIt: pose of the grasp frame "
                                               "(middle between the contacts, z out of the hand, x = closing) in the end "
                                               "effector's parent link: x, y, z, then quaternion x, y, z, w", unit="m, 1")
    joint_names: tuple[str, ...] = option((), "joints that open the jaws, for MoveIt; none = postures are left empty")
    joint_ratio: float = option(0.5, "position of each of these joints per metre of opening", unit="1/m or rad/m", low=-1000.0,
                                high=1000.0)


@dataclass(frozen=True)
class GripperConfig:
    """What is mounted on the arm (`config/gripper.yaml`)."""

    approach_m: float = option(0.1, "straight way to a grasp along its approach direction, and back, for MoveIt", unit="m", low=0.0,
                               high=2.0)
    suction: SuctionConfig = field(default_factory=SuctionConfig)
    parallel_jaw: JawConfig = field(default_factory=JawConfig)


NO_GRIPPER = "no gripper is enabled: packages are found and followed, but no grasp is proposed"
"""What is said where `gripper.suction.enabled` and `gripper.parallel_jaw.enabled` are both false."""


@dataclass(frozen=True)
class AdviseConfig:
    """What should be picked next: learning from outcomes (`~/preferred`, `~/ask`)."""

    explore_share: float = option(0.1, "share of picks that try what is uncertain, to learn from it; 0 = none", low=0.0, high=0.5)
    explore_floor: float = option(0.6, "no such pick has a proposed or expected success probability below this", low=0.0, high=1.0)
    memory_picks: int = option(2000, "outcomes after which half of what one taught is forgotten", low=10, high=100000)
    seed: int = option(0, "which picks explore; the same seed and outcomes give the same picks", low=0, high=2**31 - 1)


CAPTURE_RULES = ("failed_pick", "split_or_merge", "class_flip", "unsure", "random")
"""What `capture.rules` may name; what each means: docs/fleet.md."""


@dataclass(frozen=True)
class CaptureConfig:
    """Which frames are kept for training, beside those that `~/capture` asks for (docs/fleet.md)."""

    rules: tuple[str, ...] = option(("failed_pick",), f"which frames are kept unasked: {', '.join(CAPTURE_RULES)}; none = only on "
                                    "~/capture")
    unsure_low: float = option(0.3, "rule unsure: a package with a score from this", low=0.0, high=1.0)
    unsure_high: float = option(0.6, "to this is in sight", low=0.0, high=1.0)
    random_share: float = option(0.0005, "rule random: this share of the frames", low=0.0, high=1.0)
    seed: int = option(0, "which ones; the same seed and stamps give the same frames", low=0, high=2**31 - 1)
    interval_s: float = option(2.0, "frames of rules are kept this far apart at least; failed picks and requests are not held back",
                               unit="s", low=0.1, high=86400.0)
    budget_mb: float = option(2000.0, "disk space of the store: the oldest of the least useful frames go first", unit="MB",
                              low=10.0, high=1e7)
    hold_s: float = option(20.0, "rule failed_pick: frames are held in memory for this long, until a pick's outcome is reported",
                           unit="s", low=0.5, high=300.0)
    hold_mb: float = option(128.0, "memory for them; the less, the further apart they are", unit="MB", low=8.0, high=16000.0)


@dataclass(frozen=True)
class NodeConfig:
    """The ROS node around the pipeline."""

    autostart: bool = option(True, "configure and activate without being asked")
    depth: str = option("auto", "auto: degraded mode while no depth comes; required: wait for depth; off: ignore depth",
                        choices=("auto", "required", "off"))
    image_transport: str = option("raw", "which colour topic is read", choices=("raw", "compressed"))
    depth_transport: str = option("raw", "which depth topic is read", choices=("raw", "compressedDepth"))
    reliability: str = option("best_effort", "reliability of the camera subscriptions", choices=("best_effort", "reliable"))
    pair_tolerance_s: float = option(0.005, "colour and depth belong together when their stamps differ by at most this", unit="s",
                                     low=0.0, high=1.0, live=True)
    depth_wait_s: float = option(0.1, "in depth mode auto, how long a picture waits for its depth", unit="s", low=0.0, high=2.0,
                                 live=True)
    max_age_s: float = option(0.5, "a result older than this is dropped, not published", unit="s", low=0.01, high=60.0, live=True)
    detect_frozen: bool = option(True, "pictures that repeat byte for byte under new stamps for longer than max_age_s are "
                                 "dropped; false for a simulated camera without noise", live=True)
    camera_timeout_s: float = option(0.8, "a camera silent for longer is an ERROR", unit="s", low=0.1, high=60.0, live=True)
    diagnostics_period_s: float = option(0.2, "time between diagnostics", unit="s", low=0.05, high=10.0)
    output_dir: str = option("", "folder for captured frames and the log of pick outcomes, below it one folder for each node; "
                             "empty = perception_node in ROS' own folder ($ROS_HOME, else ~/.ros)")


@dataclass(frozen=True)
class Config:
    """Everything the node reads (`config/cell.yaml`, with the gripper in `config/gripper.yaml`)."""

    cameras: tuple[str, ...] = option((), "names of the cell's cameras: cell.launch.py starts one node for each, in a namespace of "
                                      "that name; none = one node without")
    segment: SegmentConfig = field(default_factory=SegmentConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)
    belt: BeltConfig = field(default_factory=BeltConfig)
    track: TrackConfig = field(default_factory=TrackConfig)
    grasp: GraspConfig = field(default_factory=GraspConfig)
    gripper: GripperConfig = field(default_factory=GripperConfig)
    advise: AdviseConfig = field(default_factory=AdviseConfig)
    capture: CaptureConfig = field(default_factory=CaptureConfig)
    node: NodeConfig = field(default_factory=NodeConfig)

    def __post_init__(self) -> None:
        check_values(self)
        plane = self.belt.plane
        norm = math.sqrt(sum(n * n for n in plane[:3]))
        if any(plane) and abs(norm - 1.0) > 1e-3:
            raise ConfigError(f"belt.plane: expected a unit normal (or all zero), got one of length {norm:.4g}")
        if any(plane) and plane[3] <= 0:
            raise ConfigError(f"belt.plane: expected d > 0 (normal towards the camera), got {plane[3]:.4g}")
        if plane[3] > FARTHEST_BELT_M:
            raise ConfigError(f"belt.plane: expected d in metres, at most {FARTHEST_BELT_M:g}, got {plane[3]:.6g}: millimetres?")
        length = math.sqrt(sum(n * n for n in self.belt.direction))
        if any(self.belt.direction) and abs(length - 1.0) > 1e-3:
            raise ConfigError(f"belt.direction: expected a unit vector (or all zero), got one of length {length:.4g}")
        for name in ("camera.orientation_xyzw", "camera.beacon_orientation_xyzw"):
            quaternion = value_of(self, name)
            length = math.hypot(*quaternion)  # type: ignore[misc, arg-type]
            if length and abs(length - 1.0) > 1e-3:
                raise ConfigError(f"{name}: expected a unit quaternion (or all zero), got one of length {length:.4g}")
        _require_order(self, "belt.reach_min_m", "belt.reach_max_m")
        _require_order(self, "capture.unsure_low", "capture.unsure_high")
        unknown = [name for name in self.capture.rules if name not in CAPTURE_RULES]
        if unknown:
            raise ConfigError(f"capture.rules: expected names out of {', '.join(CAPTURE_RULES)}, got {unknown[0]!r}")
        _require_order(self, "gripper.parallel_jaw.opening_min_m", "gripper.parallel_jaw.opening_max_m")
        jaw, suction = self.gripper.parallel_jaw, self.gripper.suction
        if jaw.opening_min_m + 2 * jaw.clearance_m >= jaw.opening_max_m:
            raise ConfigError(f"gripper.parallel_jaw.opening_max_m: expected more than opening_min_m and a clearance on both sides "
                              f"({jaw.opening_min_m + 2 * jaw.clearance_m:.4g} m), got {jaw.opening_max_m:.4g}: nothing would fit")
        for name, transform in (("suction", suction.T_parent_grasp), ("parallel_jaw", jaw.T_parent_grasp)):
            length = math.sqrt(sum(n * n for n in transform[3:]))
            if abs(length - 1.0) > 1e-3:
                raise ConfigError(f"gripper.{name}.T_parent_grasp: expected a quaternion of length 1, got one of {length:.4g}")
        if suction.rows * suction.columns > 1 and suction.spacing_m < 2 * suction.cup_radius_m:
            raise ConfigError(f"gripper.suction.spacing_m: expected at least two radii ({2 * suction.cup_radius_m:.4g} m) between "
                              f"several cups, got {suction.spacing_m:.4g}")


def from_flat(values: Mapping[str, Any], base: Config | None = None) -> Config:
    """Build a configuration from dotted names; what is not named keeps `base`'s value (default: the defaults).

    Raises:
        ConfigError: unknown name, wrong type, out of range.
    """
    return with_values(base or Config(), values)


def load(path: str | Path, **overrides: Any) -> Config:
    """Read `cell.yaml` and, where one lies beside it, `gripper.yaml`.

    Args:
        path: the cell's file, in the form of a ROS 2 parameter file (`/**: ros__parameters:`).
        overrides: dotted names with `__` in place of the dots, `segment__threads=1`; they win over the files.

    Raises:
        ConfigError: file missing or not YAML, unknown key, wrong type, out of range, a value in both files; the file is named.
    """
    path = Path(path)
    gripper = path.with_name("gripper.yaml")
    beside = gripper != path and (gripper.exists() or gripper.is_symlink())  # a link to nothing is a mistake, too
    return with_files(Config(), [path, gripper] if beside else [path],
                      {name.replace("__", "."): value for name, value in overrides.items()})


def _require_order(config: Config, low: str, high: str) -> None:
    if not value_of(config, low) < value_of(config, high):  # type: ignore[operator]
        raise ConfigError(f"{low}: expected less than {high} ({value_of(config, high)}), got {value_of(config, low)}")

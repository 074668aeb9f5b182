"""What can be said of the machine alone: ROS, middleware, transport, model, GPU, configuration. Needs no ROS."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from perception_node import config as configuration
from perception_node.config import NO_GRIPPER, Config
from perception_node.doctor.findings import Finding, error, note, ok, warn
from perception_node.errors import PerceptionError, unexpected
from perception_node.pipeline import Pipeline
from perception_node.ros.doctor_found import ros_findings
from perception_node.ros.transport import BUILTIN, PROFILES, PROFILES_FILE, transport_fault, transport_words

SHM_BYTES = 64_000_000
"""Room in /dev/shm below which shared memory transports fail. Source: Fast DDS takes a segment for each process, of some
pictures' size."""

GPUS = Path("/proc/driver/nvidia/gpus")
"""One entry for each GPU. Source: the NVIDIA driver's README, "The /proc interface"."""

DOMAIN_HIGH = 101
"""Source: docs.ros.org, "The ROS_DOMAIN_ID": 0 to 101 are safe on all systems."""


def machine_findings(config: Config, environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """All findings of this machine."""
    yield from ros_findings(environment)
    yield from transport(environment)
    yield from shared_memory(Path("/dev/shm"))
    yield from model(config)
    yield from gpu(config)
    yield from belt(config)
    yield from gripper(config)


def transport(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Middleware, transports, discovery, domain."""
    rmw, words = environment.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"), transport_words(environment)
    profiles = next(filter(None, map(environment.get, PROFILES)), "")
    fault, remedy = transport_fault(environment)
    if "fastrtps" not in rmw:
        yield note("transport", f"middleware {rmw}: Fast DDS's variables do not matter; its own limits on large messages do")
    elif fault:
        yield error("transport", fault, f"{remedy}, and for every listener")
    elif profiles and not Path(profiles).is_file():
        yield error("transport", f"{PROFILES[0]} names no file: {profiles}", f"unset it, or {PROFILES[0]}={PROFILES_FILE}")
    elif profiles and Path(profiles).read_bytes() == PROFILES_FILE.read_bytes():
        yield ok("transport", f"shared memory and UDP as in {profiles}")
    elif profiles:
        yield note("transport", f"transports as in {profiles}")
    else:
        yield warn("transport", f"{BUILTIN}={words}: its TCP lets processes hang or crash when others come and go (Fast DDS "
                   "3.2.3), and programs without it see nothing",
                   f"unset it, and for each process of the cell: {PROFILES[0]}={PROFILES_FILE}")
        if "?" in words:
            yield warn("transport", f"options in {BUILTIN} failed on many kernels' socket buffers", f"{BUILTIN}=LARGE_DATA")
    domain = environment.get("ROS_DOMAIN_ID", "")
    if domain and not (domain.isdigit() and int(domain) <= DOMAIN_HIGH):
        yield error("domain", f"ROS_DOMAIN_ID: expected 0 to {DOMAIN_HIGH}, got {domain!r}", "export ROS_DOMAIN_ID=0 (or another "
                    "in the range)")
    else:
        yield ok("domain", f"ROS_DOMAIN_ID {domain or '0 (unset)'}")


def shared_memory(folder: Path) -> Iterator[Finding]:
    """Room for shared memory."""
    if not folder.is_dir():
        yield warn("transport", f"no {folder}: no shared memory, pictures go through the network stack", f"mount a tmpfs on "
                   f"{folder}")
        return
    free = shutil.disk_usage(folder).free
    if free < SHM_BYTES:
        yield error("transport", f"{folder}: expected {SHM_BYTES / 1e6:.0f} MB free, got {free / 1e6:.0f} MB: shared memory "
                    "transports fail",
                    "remove what crashed processes left (`fastdds shm clean`), or enlarge it (containers: --shm-size=1g)")
    else:
        yield ok("transport", f"{folder}: {free / 1e6:.0f} MB free")


def model(config: Config) -> Iterator[Finding]:
    """The model's file, its card and its contract: it is loaded and run once."""
    from perception_node.segment.infer import installed_runtimes

    runtimes = installed_runtimes()
    if not runtimes:
        yield error("model", "no runtime is installed (openvino, onnxruntime, torch)", "pip install -r requirements/runtime.txt")
        return
    try:
        pipeline = Pipeline(config)
        _run_once(pipeline)
    except PerceptionError as broken:
        yield error("model", str(broken), "put the file and its card where `segment.model` points, or export it again "
                    "(`perception export`)")
    except Exception as broken:  # a broken library must be readable, too
        yield error("model", unexpected(broken), "pip install -r requirements/runtime.txt")
    else:
        yield ok("model", f"{pipeline.model_id}: file and card agree, runs with {pipeline.runtime} (installed: "
                 f"{', '.join(runtimes)})")


def gpu(config: Config) -> Iterator[Finding]:
    """A GPU, where one is asked for."""
    names = list(GPUS.glob("*"))
    has_torch = importlib.util.find_spec("torch") is not None
    if names:
        yield ok("gpu", f"{len(names)} NVIDIA GPU(s)" + ("" if has_torch else "; torch is not installed, so the node computes on "
                                                         "the CPU"))
    elif config.segment.device == "cuda":
        yield error("gpu", "segment.device is cuda, but no GPU is to be seen", "set it to auto, or install the driver "
                    "(containers: --gpus all)")
    else:
        yield note("gpu", "no GPU to be seen: the node computes on the CPU")


def belt(config: Config) -> Iterator[Finding]:
    """Calibration of the belt, which nothing but the integrator knows."""
    if not any(config.belt.plane):
        yield warn("belt", "belt.plane is not calibrated: it is fitted to each picture's depth, and without depth there is no "
                   "place in space",
                   "record the empty belt; `perception learn-empty` prints the line for cell.yaml (docs/setup.md)")
    else:
        yield ok("belt", f"belt.plane is calibrated: {config.belt.plane[3]:.3f} m from the camera")


def gripper(config: Config) -> Iterator[Finding]:
    """What grasps are proposed for."""
    suction, jaw = config.gripper.suction, config.gripper.parallel_jaw
    tools = []
    if suction.enabled:
        cups = suction.rows * suction.columns
        tools.append(f"suction ({cups} cup{'s' * (cups > 1)} of {2e3 * suction.cup_radius_m:.0f} mm)")
    if jaw.enabled:
        tools.append(f"parallel jaw ({1e3 * jaw.opening_min_m:.0f} to {1e3 * jaw.opening_max_m:.0f} mm)")
    if tools:
        yield ok("gripper", f"grasps are proposed for {' and '.join(tools)}")
    else:
        yield warn("gripper", NO_GRIPPER, "in gripper.yaml beside cell.yaml set `enabled: true` below what is mounted: "
                   "gripper.suction or gripper.parallel_jaw")


def read_config(path: Path | None) -> tuple[Config, list[Finding]]:
    """The configuration, or the defaults with what is wrong."""
    if path is None:
        return Config(), [note("config", "the defaults (--config FILE for the cell's own)")]
    try:
        return configuration.load(path), [ok("config", str(path))]
    except PerceptionError as wrong:
        return Config(), [error("config", str(wrong), "correct it; README lists the parameters")]


def _run_once(pipeline: Pipeline) -> None:
    import numpy as np

    from perception_node.types import CameraModel, Frame
    camera = CameraModel(fx=600.0, fy=600.0, cx=319.5, cy=239.5, width=640, height=480)
    rgb, depth_m = np.zeros((480, 640, 3), np.uint8), np.ones((480, 640), np.float32)
    pipeline.process(Frame(rgb=rgb, depth_m=depth_m, camera=camera, stamp_ns=1, frame_id="doctor"))

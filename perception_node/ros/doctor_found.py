"""Whether ROS 2, our messages and cv_bridge are found and load: a part of the doctor that also runs without them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from perception_node.doctor.findings import Finding, error, ok, warn
from perception_node.errors import one_line

_BUILD = "`make build` (or `colcon build`), then `. ./env.sh`"


def ros_findings(environment: Mapping[str, str]) -> Iterator[Finding]:
    """ROS 2, the interface package, cv_bridge."""
    spec = importlib.util.find_spec("rclpy")
    if spec is None:
        distribution = environment.get("ROS_DISTRO", "")
        words = "no ROS 2 found"
        if distribution:
            words = f"ROS_DISTRO is {distribution}, but this Python ({sys.executable}) finds no rclpy"
        yield error("ros", words, "source a ROS 2 distribution, or `make build`; then `. ./env.sh`")
        return
    place = Path(spec.origin or "").parent.parent
    kind = f"distribution {environment['ROS_DISTRO']}" if environment.get("ROS_DISTRO") else "wheels"
    try:
        import rclpy  # noqa: F401
        from rclpy.utilities import get_rmw_implementation_identifier
        yield ok("ros", f"ROS 2 from {kind} in {place}, middleware {get_rmw_implementation_identifier()}")
    except Exception as broken:  # a shared library that is missing shows as several types
        yield error("ros", f"rclpy in {place} does not load: {one_line(broken, 300)}", "`. ./env.sh` (it sets LD_LIBRARY_PATH)")
        return
    try:
        import perception_node_msgs.msg
        _ = perception_node_msgs.msg.PickScene()
        yield ok("messages", f"perception_node_msgs in {Path(perception_node_msgs.__file__ or '').parent}")
    except Exception as broken:
        yield error("messages", f"perception_node_msgs cannot be used: {one_line(broken, 300)}", _BUILD)
    if importlib.util.find_spec("cv_bridge") is not None:
        done = subprocess.run([sys.executable, "-c", "import cv_bridge"], capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:  # in a process of its own: a binary that does not fit NumPy may end it
            yield warn("cv_bridge", f"cv_bridge does not load: {(done.stderr.strip().splitlines() or ['it crashed'])[-1]}",
                       "this node does not need it; for others install a NumPy that it was built for (`pip install 'numpy<2'`)")
        else:
            yield ok("cv_bridge", "cv_bridge loads (this node does not need it)")

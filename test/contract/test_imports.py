"""Imports go one way, and the core needs neither ROS nor torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "perception_node"
RANK = {"errors": 0, "arguments": 0, "compiled": 0, "checked": 0.5, "types": 1, "files": 1, "parameters": 1, "spread": 1,
        "geometry": 2, "config": 2, "segment": 3, "locate": 3, "track": 3, "grasp": 3, "beacon": 3, "advise": 3, "sim": 3,
        "pipeline": 4, "bag": 5, "warm": 6, "learn": 6, "fleet": 7, "capture": 7, "bench": 8, "ros": 9, "cli": 9}
EXCEPTIONS = {("ros/docs.py", "cli"): "writes the table of verbs into docs/, never imported by the node"}
INSIDE = {("bench", "ros"): "what measures the running node calls ros/, inside the function that is asked to"}
OUTSIDE = {"config_yaml", "demo", "doctor"}
ROS = {"rclpy", "perception_node_msgs", "sensor_msgs", "geometry_msgs", "std_msgs", "diagnostic_msgs", "visualization_msgs",
       "vision_msgs", "rcl_interfaces", "lifecycle_msgs", "builtin_interfaces", "rosgraph_msgs", "moveit_msgs", "launch",
       "launch_ros", "tf2_ros", "cv_bridge"}
LEARNING = {"torch", "torchvision"}
CORE = ("errors", "types", "geometry", "parameters", "files", "config", "locate", "track", "grasp", "pipeline", "segment.infer")


def modules():
    return sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)


def imported(path):
    """(module, whether at the top level) of each import of a file; relative imports made absolute."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = ("perception_node", *path.relative_to(ROOT).with_suffix("").parts)[: -node.level]
                base = ".".join((*parts, base)).rstrip(".")
            if base == "perception_node":
                yield from ((f"{base}.{alias.name}", id(node) in top) for alias in node.names)
            else:
                yield base, id(node) in top


def group(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    own = group(path)
    if own not in RANK:
        return
    for name, at_top in imported(path):
        parts = name.split(".")
        if parts[0] != "perception_node" or len(parts) < 2 or parts[1] not in RANK or parts[1] == own:
            continue
        allowed = (own == "cli" or (path.relative_to(ROOT).as_posix(), parts[1]) in EXCEPTIONS
                   or ((own, parts[1]) in INSIDE and not at_top))
        assert RANK[parts[1]] < RANK[own] or allowed, f"{own} must not import {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_ros_stays_in_ros_and_torch_in_learning(path):
    own, place = group(path), path.relative_to(ROOT).as_posix()
    for name, at_top in imported(path):
        first = name.split(".")[0]
        if first in ROS:
            assert own == "ros" or (own in OUTSIDE - {"doctor"} | {"cli"} and not at_top), f"{place} imports {name}"
        if first in LEARNING:
            lazy = own in {"segment", "sim", "bench", *OUTSIDE} and not at_top
            assert own == "learn" or place == "segment/model.py" or lazy, f"{place} imports {name}"
        if first == "rosbags":
            assert own in {"bag", "ros"} | OUTSIDE, f"{place} imports {name}"


def test_the_core_imports_where_neither_ros_nor_torch_is():
    blocked = sorted(ROS | LEARNING | {"scipy", "mujoco", "rosbags"})
    program = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({blocked!r}))\n"
        "import importlib\n"
        f"for name in {CORE!r}:\n"
        "    importlib.import_module('perception_node.' + name)\n")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT.parent, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_no_file_is_named_utils():
    assert not [path for path in modules() if "util" in path.stem]

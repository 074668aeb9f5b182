"""Both packages say the same about themselves, name what they need, and install what they promise."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import perception_node

ROOT = Path(__file__).parents[2]
ROS_PACKAGES = {"ament_index_python", "builtin_interfaces", "cv_bridge", "diagnostic_msgs", "geometry_msgs", "launch", "launch_ros",
                "lifecycle_msgs", "perception_node_msgs", "rcl_interfaces", "rclpy", "rosgraph_msgs", "sensor_msgs", "std_msgs",
                "std_srvs", "tf2_ros", "unique_identifier_msgs", "vision_msgs", "visualization_msgs"}
LIBRARIES = {"aiohttp": "python3-aiohttp",
             "cv2": "python3-opencv", "numpy": "python3-numpy", "onnxruntime": "python3-onnxruntime-pip",
             "rosbags": "python3-rosbags-pip", "tqdm": "python3-tqdm", "yaml": "python3-yaml"}


def test_versions_agree():
    versions = {ElementTree.parse(ROOT / path).findtext("version") for path in ("package.xml", "perception_node_msgs/package.xml")}
    assert versions == {perception_node.__version__}


def test_license_is_apache_2():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    for path in ("package.xml", "perception_node_msgs/package.xml"):
        assert ElementTree.parse(ROOT / path).findtext("license") == "Apache-2.0"


def test_package_xml_names_what_is_imported():
    tree = ElementTree.parse(ROOT / "package.xml").getroot()
    named = {element.text for element in tree if element.tag in ("depend", "exec_depend")}
    assert {"rclpy", "cv_bridge", "launch_ros", "vision_msgs", "perception_node_msgs"} <= named
    imported = set()
    for path in [*(ROOT / "perception_node").rglob("*.py"), *(ROOT / "launch").glob("*.py")]:
        imported |= _imports(path)
    missing = {LIBRARIES.get(name, name) for name in imported & (ROS_PACKAGES | LIBRARIES.keys())} - named
    assert not missing


def test_entry_points_exist():
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    points = re.findall(r'"(\w+) = (perception_node[\w.]+):(\w+)"', text)
    assert {"perception", "perception_node", "beacon", "player", "console", "planner_example"} == {name for name, _, _ in points}
    for _, module, function in points:
        tree = ast.parse(ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_requirements_are_pinned():
    for path in (ROOT / "requirements").glob("*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line and not line.startswith(("#", "-r ")):
                assert re.match(r"[\w.-]+==[\w.+]+(; python_version [<>=]+ \"3\.\d+\")?$", line), f"{path.name}: {line}"


@pytest.mark.parametrize("path", sorted((ROOT / "perception_node_msgs").glob("*/*.[ms][sr][gv]")), ids=lambda path: path.name)
def test_each_field_is_commented(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and line != "---" and "=" not in line.split("#")[0]:
            assert "#" in line, f"{path.name}: {line}"


def test_cmake_lists_all_interfaces():
    text = (ROOT / "perception_node_msgs" / "CMakeLists.txt").read_text(encoding="utf-8")
    there = {f"{path.parent.name}/{path.name}" for path in (ROOT / "perception_node_msgs").glob("*/*.[ms][sr][gv]")}
    assert set(re.findall(r'"((?:msg|srv)/\w+\.(?:msg|srv))"', text)) == there


def test_installed_files():
    index = pytest.importorskip("ament_index_python", reason="no ROS 2 here")
    try:
        share = Path(index.get_package_share_directory("perception_node"))
    except (LookupError, OSError):  # not built, or no AMENT_PREFIX_PATH
        pytest.skip("the overlay is not built or not sourced: make build, then . ./env.sh")
    for name in ("cell", "demo", "replay", "beacon"):
        assert (share / "launch" / f"{name}.launch.py").is_file()
    assert {path.name for path in (share / "config").iterdir()} >= {"cell.yaml", "gripper.yaml", "beacon.yaml"}
    assert (share / "package.xml").is_file()
    executables = share.parents[1] / "lib" / "perception_node"
    assert {path.name for path in executables.iterdir()} >= {"perception", "perception_node", "player", "planner_example"}
    for name in ("data/demo/metadata.yaml", "data/demo/demo.mcap"):
        assert (Path(perception_node.__file__).parent / name).is_file()
    assert list((Path(perception_node.__file__).parent / "segment" / "weights").glob("*.onnx"))


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh"])
def test_env_sh_is_silent_and_idempotent(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    script = f'. "{ROOT}/env.sh"; export -p >first; . "{ROOT}/env.sh"; export -p >second; env >environment'
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "ROS_DISTRO")}
    done = subprocess.run([shell, "-euc", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
                          check=True)
    assert done.stdout + done.stderr == ""
    assert (tmp_path / "first").read_text() == (tmp_path / "second").read_text()
    exported = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines() if "=" in line)
    assert Path(exported["FASTDDS_DEFAULT_PROFILES_FILE"]).is_file()
    assert "FASTDDS_BUILTIN_TRANSPORTS" not in exported
    environment |= {"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}
    command = f'. "{ROOT}/env.sh"; echo $FASTDDS_BUILTIN_TRANSPORTS ${{FASTDDS_DEFAULT_PROFILES_FILE:-unset}}'
    said = subprocess.check_output([shell, "-euc", command], cwd=tmp_path, env=environment, text=True, timeout=60)
    assert said == "UDPv4 unset\n"


def test_make_says_what_is_wrong_with_the_interpreter(tmp_path):
    old = tmp_path / "old-python"
    old.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'import sys; code = sys.argv.pop(1); sys.version_info = (3, 9, 2); "
                   "sys.version = \"3.9.2\"; exec(code)' \"$2\"\n")
    old.chmod(0o755)
    assert "make: expected Python 3.10 to 3.13, got 3.9.2" in _make_fails(tmp_path, f"PYTHON={old}")
    assert "make: expected Python 3.10 to 3.13, found no python-of-tomorrow" in _make_fails(tmp_path, "PYTHON=python-of-tomorrow")


def test_make_says_that_a_compiler_is_missing(tmp_path):
    for stamp in (".created", ".runtime"):
        (tmp_path / ".venv" / stamp).parent.mkdir(exist_ok=True)
        (tmp_path / ".venv" / stamp).touch()
    assert "make: expected a C++ compiler, found no no-such-compiler" in _make_fails(tmp_path, "CXX=no-such-compiler")


def _make_fails(folder, *arguments):
    for name in ("Makefile", "env.sh", "package.xml", "setup.py", "setup.cfg", "colcon_defaults.yaml"):
        shutil.copy(ROOT / name, folder)
    for name in ("requirements", "launch", "config", "perception_node_msgs"):
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True, copy_function=shutil.copy2)
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    done = subprocess.run(["make", "build", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("make: ")]
    assert len([line for line in said if not line.startswith("make: ***")]) == 1, done.stderr
    return done.stderr


def _imports(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names

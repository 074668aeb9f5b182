"""Installs the package for ROS 2 (ament_python): `colcon build` calls this."""

from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

NAME = "perception_node"
VERSION = next(line.split('"')[1] for line in Path(NAME, "__init__.py").read_text(encoding="utf-8").splitlines()
               if line.startswith("__version__"))

setup(
    name=NAME,
    version=VERSION,
    description="Robot-cell perception: packages on a conveyor, separated, followed and handed out as ranked grasps.",
    license="Apache-2.0",
    maintainer="perception_node maintainers",
    maintainer_email="maintainers@perception-node.invalid",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed", "data/*", "data/*/*", "segment/weights/*", "grasp/*.json"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml", "LICENSE"]),
        (f"share/{NAME}/launch", sorted(glob("launch/*.launch.py"))),
        (f"share/{NAME}/config", [*sorted(glob("config/*.yaml")), f"{NAME}/data/transport.xml"]),
        (f"share/{NAME}/config/sros2", sorted(glob("config/sros2/*.xml"))),
    ],
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "perception = perception_node.cli:main",
            "perception_node = perception_node.ros.perception:main",
            "beacon = perception_node.ros.beacon:main",
            "player = perception_node.ros.player:main",
            "console = perception_node.ros.console:main",
            "planner_example = perception_node.ros.planner_example:main",
        ],
    },
)

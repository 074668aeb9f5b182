"""Follows an LED beacon with an infrared camera.

    ros2 launch perception_node beacon.launch.py image:=/infra/image_raw camera_info:=/infra/camera_info config:=beacon.yaml

The LEDs' places must be in the configuration: copy config/beacon.yaml and set `leds_m`. `--show-args` lists everything.
"""

import os
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from perception_node.beacon.config import load_beacon
from perception_node.ros.transport import missing_variables

CONFIG = Path(__file__).parent.parent / "config" / "beacon.yaml"
TOPICS = {"image": "infrared (or gray, or colour) image", "camera_info": "calibration of that image"}


def generate_launch_description() -> LaunchDescription:
    arguments = [DeclareLaunchArgument(topic, default_value=topic, description=f"topic of the {words}; a relative name lies in the "
                                       "node's namespace")
                 for topic, words in TOPICS.items()]
    arguments += [
        DeclareLaunchArgument("namespace", default_value="", description="namespace of the node"),
        DeclareLaunchArgument("config", default_value=str(CONFIG), description="configuration file with the LEDs' places"),
        DeclareLaunchArgument("autostart", default_value="", choices=["", "true", "false"],
                              description="configure and activate without being asked; empty: as in the configuration file"),
        DeclareLaunchArgument("use_sim_time", default_value="false", choices=["true", "false"],
                              description="take the time from /clock (simulation, replay)"),
        DeclareLaunchArgument("log_level", default_value="info", choices=["debug", "info", "warn", "error", "fatal"],
                              description="least severe messages that are logged"),
        DeclareLaunchArgument("enclave", default_value="", description="SROS2 enclave of the node; empty: ROS' default "
                              "(docs/security.md)"),
        DeclareLaunchArgument("required", default_value="false", choices=["true", "false"],
                              description="end the whole launch when the node ends"),
    ]
    transport = [SetEnvironmentVariable(name, value) for name, value in missing_variables(os.environ).items()]
    return LaunchDescription([*arguments, *transport, OpaqueFunction(function=nodes)])


def nodes(context: LaunchContext) -> list[Node]:
    """The node; a configuration that cannot be read ends the launch with one clear line."""
    value = {name: LaunchConfiguration(name).perform(context) for name in (
        *TOPICS, "namespace", "config", "autostart", "use_sim_time", "log_level", "required", "enclave")}
    path = Path(value["config"]).expanduser().resolve()
    load_beacon(path).layout()
    overrides: dict[str, str | bool] = {"use_sim_time": value["use_sim_time"] == "true"}
    if value["autostart"]:
        overrides["node.autostart"] = value["autostart"] == "true"
    enclave = ["--enclave", value["enclave"]] if value["enclave"] else []
    return [Node(package="perception_node", executable="beacon", name="beacon", output="screen", namespace=value["namespace"],
                 parameters=[str(path), overrides], remappings=[(old, value[old]) for old in TOPICS if old != value[old]],
                 ros_arguments=["--log-level", value["log_level"], *enclave],
                 on_exit=ended if value["required"] == "true" else None)]


def ended(event: ProcessExited, context: LaunchContext) -> list[Shutdown] | None:
    """Ends the launch with a required node; one that failed makes the launch fail."""
    if context.is_shutdown:
        return None
    if event.returncode != 0:
        raise RuntimeError(f"the beacon node ended with exit status {event.returncode}")
    return [Shutdown(reason="the beacon node ended")]

"""Follows an LED beacon with an infrared camera.

    ros2 launch perception_node beacon.launch.py image:=/infra/image_raw camera_info:=/infra/camera_info config:=beacon.yaml

The LEDs' places must be in the configuration: copy config/beacon.yaml and set `leds_m`. `--show-args` lists everything.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch_ros.actions import Node

from perception_node.beacon.config import load_beacon
from perception_node.ros.launching import node_arguments, overrides, topic_arguments, transport, values, when_required

CONFIG = Path(__file__).parent.parent / "config" / "beacon.yaml"
TOPICS = {"image": "infrared (or gray, or colour) image", "camera_info": "calibration of that image"}


def generate_launch_description() -> LaunchDescription:
    arguments = [
        *topic_arguments(TOPICS), *node_arguments(),
        DeclareLaunchArgument("namespace", default_value="", description="namespace of the node"),
        DeclareLaunchArgument("config", default_value=str(CONFIG), description="configuration file with the LEDs' places"),
        DeclareLaunchArgument("enclave", default_value="", description="SROS2 enclave of the node; empty: ROS' default "
                              "(docs/security.md)"),
    ]
    return LaunchDescription([*arguments, *transport(), OpaqueFunction(function=nodes)])


def nodes(context: LaunchContext) -> list[Node]:
    """The node; a configuration that cannot be read ends the launch with one clear line."""
    value = values(context, *TOPICS, "namespace", "config", "autostart", "use_sim_time", "log_level", "required", "enclave")
    path = Path(value["config"]).expanduser().resolve()
    load_beacon(path).layout()
    enclave = ["--enclave", value["enclave"]] if value["enclave"] else []
    return [Node(package="perception_node", executable="beacon", name="beacon", output="screen", namespace=value["namespace"],
                 parameters=[str(path), overrides(value)], remappings=[(old, value[old]) for old in TOPICS if old != value[old]],
                 ros_arguments=["--log-level", value["log_level"], *enclave],
                 on_exit=when_required(value, "the beacon node"))]

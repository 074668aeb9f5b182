"""The cell: one perception node for each camera in the configuration's `cameras`, or a single one when there are none.

    ros2 launch perception_node cell.launch.py image:=/camera/camera/color/image_raw \
        depth:=/camera/camera/aligned_depth_to_color/image_raw camera_info:=/camera/camera/color/camera_info

`ros2 launch perception_node cell.launch.py --show-args` lists everything that can be set.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch_ros.actions import Node

from perception_node.config import load
from perception_node.ros.cameras import require_own_topics
from perception_node.ros.launching import FROM_CONFIG, node_arguments, overrides, topic_arguments, transport, values, when_required

CONFIG = Path(__file__).parent.parent / "config" / "cell.yaml"
TOPICS = {
    "image": "colour image ('/compressed' is appended where that is read)",
    "depth": "depth image, aligned to the colour image ('/compressedDepth' is appended where that is read)",
    "camera_info": "calibration of the colour image",
    "belt_velocity": "measured velocity of the belt (optional)",
    "beacon_pose": "pose of the LED beacon that watches over the camera (optional, docs/calibration.md)",
}
CONSOLE_PORT = 8765


def generate_launch_description() -> LaunchDescription:
    arguments = [
        *topic_arguments(TOPICS), *node_arguments(),
        DeclareLaunchArgument("namespace", default_value="", description="namespace of the cell; cameras lie below it by name"),
        DeclareLaunchArgument("config", default_value=str(CONFIG), description="configuration file; a gripper.yaml beside it is "
                              "read too, without one the default gripper is assumed"),
        DeclareLaunchArgument("model", default_value="", description=f"model name or path of an .onnx file; {FROM_CONFIG}"),
        DeclareLaunchArgument("device", default_value="", choices=["", "auto", "cpu", "cuda"],
                              description=f"where the network runs; {FROM_CONFIG}"),
        DeclareLaunchArgument("enclave", default_value="", description="SROS2 enclave of the node, with several cameras the "
                              "first part of it, the camera's name follows; empty: ROS' default (docs/security.md)"),
        DeclareLaunchArgument("console", default_value="false", choices=["true", "false"],
                              description="serve the operator's page of each camera on this machine: ports 8765, 8766 ..."),
    ]
    return LaunchDescription([*arguments, *transport(), OpaqueFunction(function=nodes), OpaqueFunction(function=consoles)])


def nodes(context: LaunchContext) -> list[Node]:
    """One node for each camera; a configuration that cannot be read ends the launch with one clear line."""
    value = values(context, *TOPICS, "namespace", "config", "model", "device", "autostart", "use_sim_time", "log_level", "required",
                   "enclave")
    path = Path(value["config"]).expanduser().resolve()
    cameras = load(path).cameras
    require_own_topics(cameras, value)
    files = [str(file) for file in (path, path.with_name("gripper.yaml")) if file.exists()]
    given = overrides(value) | {f"segment.{name}": value[name] for name in ("model", "device") if value[name]}
    remappings = [(topic, value[topic]) for topic in TOPICS]
    remappings += [(f"{topic}/{transport}", f"{value[topic]}/{transport}")
                   for topic, transport in (("image", "compressed"), ("depth", "compressedDepth"))]
    return [Node(package="perception_node", executable="perception_node", name="perception", output="screen",
                 namespace="/".join(part for part in (value["namespace"], camera) if part), parameters=[*files, given],
                 remappings=[(old, new) for old, new in remappings if old != new],
                 ros_arguments=["--log-level", value["log_level"], *enclave(value["enclave"], camera)],
                 on_exit=when_required(value, "the perception node"))
            for camera in cameras or ("",)]


def consoles(context: LaunchContext) -> list[Node]:
    """The operator's page beside each node, a process of its own."""
    value = values(context, *TOPICS, "namespace", "config", "console")
    if value["console"] != "true":
        return []
    remappings = [(topic, value[topic]) for topic in ("image", "camera_info")]
    remappings.append(("image/compressed", f"{value['image']}/compressed"))
    config = load(Path(value["config"]).expanduser().resolve())
    arguments = ["--compressed"] if config.node.image_transport == "compressed" else []
    return [Node(package="perception_node", executable="console", name="console", output="screen",
                 arguments=["--port", str(CONSOLE_PORT + number), *arguments],
                 namespace="/".join(part for part in (value["namespace"], camera) if part),
                 remappings=[(old, new) for old, new in remappings if old != new])
            for number, camera in enumerate(config.cameras or ("",))]


def enclave(name: str, camera: str) -> list[str]:
    """Arguments that put a node into its SROS2 enclave."""
    return ["--enclave", "/".join(part for part in (name.rstrip("/"), camera) if part)] if name else []

"""Plays a recording into a perception node, in its own time, and ends with it.

    ros2 launch perception_node replay.launch.py bag:=/path/to/recording

All arguments of cell.launch.py hold here too. For a repeatable, frame-exact run use `perception replay BAG` instead.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch_ros.actions import Node

from perception_node.ros.launching import values

CELL = Path(__file__).with_name("cell.launch.py")
PLAYED = ("image", "depth", "camera_info", "belt_velocity")
LAST_FRAME_S = 2.0
"""How long the node may work on the last frame after the player has ended."""


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([
        DeclareLaunchArgument("bag", default_value="", description="folder of a rosbag2 recording, or its .mcap or .db3 file; "
                              "empty: the recording that comes with this package"),
        DeclareLaunchArgument("rate", default_value="1.0", description="speed; 1 = as recorded, 0.5 = half as fast"),
        DeclareLaunchArgument("loop", default_value="false", choices=["true", "false"], description="start again at the end"),
        DeclareLaunchArgument("use_sim_time", default_value="true", choices=["true", "false"],
                              description="true: stamps as recorded, and the player publishes /clock; false: stamps are rewritten "
                              "to the time of playing"),
        DeclareLaunchArgument("required", default_value="true", choices=["true", "false"],
                              description="end the whole launch when a node ends"),
        IncludeLaunchDescription(str(CELL)),
        OpaqueFunction(function=player),
    ])


def player(context: LaunchContext) -> list[Node | RegisterEventHandler]:
    """The player, in the cell's namespace, and what happens when it ends."""
    value = values(context, "bag", "rate", "loop", "use_sim_time", "namespace", *PLAYED)
    sim_time = value["use_sim_time"] == "true"
    arguments = [value["bag"]] if value["bag"] else []
    arguments += ["--rate", value["rate"], *(["--loop"] if value["loop"] == "true" else []), *(["--clock"] if sim_time else [])]
    topics = [(topic, value[topic]) for topic in PLAYED if topic != value[topic]]
    node = Node(package="perception_node", executable="player", name="player", namespace=value["namespace"], output="screen",
                arguments=arguments, remappings=topics)
    return [RegisterEventHandler(OnProcessExit(target_action=node, on_exit=ended)), node]


def ended(event: ProcessExited, context: LaunchContext) -> list[TimerAction] | None:
    """Ends the launch a moment after the player; a player that failed makes the launch fail."""
    if context.is_shutdown:
        return None
    if event.returncode != 0:
        raise RuntimeError(f"the player ended with exit status {event.returncode}")
    return [TimerAction(period=LAST_FRAME_S, actions=[Shutdown(reason="the recording has ended")])]

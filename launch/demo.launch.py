"""The demonstration: the bundled recording on real topics, the node, and the planner example that prints its picks.

    ros2 launch perception_node demo.launch.py

All arguments of replay.launch.py and cell.launch.py hold here too. `perception demo` does the same and ends with a table and
pictures.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

REPLAY = Path(__file__).with_name("replay.launch.py")


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([
        DeclareLaunchArgument("use_sim_time", default_value="false", choices=["true", "false"],
                              description="true: stamps as recorded, and the player publishes /clock; false: stamps are rewritten "
                              "to the time of playing"),
        DeclareLaunchArgument("namespace", default_value="demo", description="namespace of everything in the demonstration"),
        IncludeLaunchDescription(str(REPLAY)),
        Node(package="perception_node", executable="planner_example", name="planner_example", output="screen",
             namespace=LaunchConfiguration("namespace"), parameters=[{"use_sim_time": LaunchConfiguration("use_sim_time")}]),
    ])

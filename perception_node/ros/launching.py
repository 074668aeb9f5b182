"""What the launch files have in common: arguments and their values, the transport, and the end of a required node."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from launch import LaunchContext
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable, Shutdown
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration

from perception_node.ros.transport import missing_variables

FROM_CONFIG = "empty: as in the configuration file"


def topic_arguments(topics: Mapping[str, str]) -> list[DeclareLaunchArgument]:
    """An argument for each topic; `topics` holds names and what they are, in words."""
    return [DeclareLaunchArgument(topic, default_value=topic, description=f"topic of the {words}; a relative name lies in the "
                                  "node's namespace")
            for topic, words in topics.items()]


def node_arguments() -> list[DeclareLaunchArgument]:
    """Arguments that mean the same for every node."""
    return [
        DeclareLaunchArgument("autostart", default_value="", choices=["", "true", "false"],
                              description=f"configure and activate without being asked; {FROM_CONFIG}"),
        DeclareLaunchArgument("use_sim_time", default_value="false", choices=["true", "false"],
                              description="take the time from /clock (simulation, replay)"),
        DeclareLaunchArgument("log_level", default_value="info", choices=["debug", "info", "warn", "error", "fatal"],
                              description="least severe messages that are logged"),
        DeclareLaunchArgument("required", default_value="false", choices=["true", "false"],
                              description="end the whole launch when a node ends"),
    ]


def transport() -> list[SetEnvironmentVariable]:
    """The transport's variables that the user has not set, for all that is launched."""
    return [SetEnvironmentVariable(name, value) for name, value in missing_variables(os.environ).items()]


def values(context: LaunchContext, *names: str) -> dict[str, str]:
    """The values of arguments."""
    return {name: LaunchConfiguration(name).perform(context) for name in names}


def overrides(value: Mapping[str, str]) -> dict[str, str | bool]:
    """Parameters from `use_sim_time` and, where it is given, `autostart`."""
    found: dict[str, str | bool] = {"use_sim_time": value["use_sim_time"] == "true"}
    if value["autostart"]:
        found["node.autostart"] = value["autostart"] == "true"
    return found


def when_required(value: Mapping[str, str], what: str) -> Callable[[ProcessExited, LaunchContext], list[Shutdown] | None] | None:
    """What to do when a node ends: with `required` the launch ends, and fails when the node did; else nothing."""
    def ended(event: ProcessExited, context: LaunchContext) -> list[Shutdown] | None:
        if context.is_shutdown:
            return None
        if event.returncode != 0:
            raise RuntimeError(f"{what} ended with exit status {event.returncode}")
        return [Shutdown(reason=f"{what} ended")]

    return ended if value["required"] == "true" else None

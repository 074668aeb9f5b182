"""The configuration tree as ROS parameters: each with words, unit, range, and read-only unless live."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from perception_node.config_yaml import describe
from perception_node.errors import ConfigError
from perception_node.parameters import Parameter, T, check_value, parameters, value_of, with_values

_ROS_OWN = ("use_sim_time", "start_type_description_service", "qos_overrides.", "diagnostic_updater.")


def declare(node: Node, base: T) -> T:
    """Declare all parameters of a configuration tree and return it as the node was started; what was not given is as in `base`.

    Raises:
        ConfigError: unknown name, wrong type, out of range.
    """
    known = {parameter.name: parameter for parameter in parameters(type(base))}
    # What was given at the start, unknown names among it: rclpy has no public way to ask. An empty list comes without a type.
    given = {name: override.value for name, override in node._parameter_overrides.items() if not name.startswith(_ROS_OWN)}
    given = {name: value for name, value in given.items() if value is not None or name not in known}
    config = with_values(base, {name: plain(value) for name, value in given.items()})
    for name, parameter in known.items():
        value = value_of(config, name)
        initial = list(value) if isinstance(value, tuple) else value
        node.declare_parameter(name, initial, descriptor(parameter), ignore_override=True)
    return config


def origin(arguments: Sequence[str]) -> dict[str, Path | None]:
    """File of each value that ROS arguments give, by dotted name, None = from no file: rcl hands values on without it."""
    found: dict[str, Path | None] = {}
    for flag, given in pairwise(arguments):
        if flag == "--params-file":
            try:
                document = yaml.safe_load(Path(given).read_text(encoding="utf-8"))
            except (OSError, ValueError, yaml.YAMLError):  # rcl has its own words for it
                continue
            found.update(dict.fromkeys(_names(document, False), Path(given)))
        elif flag in ("-p", "--param"):
            found[given.partition(":=")[0]] = None
    return found


def _names(tree: Any, below: bool, prefix: str = "") -> Iterator[str]:
    """Dotted names of the values below any `ros__parameters`; `below`: it has been passed."""
    for key, value in tree.items() if isinstance(tree, dict) else ():
        if not below:
            yield from _names(value, key == "ros__parameters")
        elif isinstance(value, dict):
            yield from _names(value, True, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def validate_with(node: Node, current: Callable[[], T], apply: Callable[[T], None]) -> None:
    """Refuse every set that the configuration refuses, with its words; hand accepted ones to `apply`."""

    def validate(changes: list[RosParameter[Any]]) -> SetParametersResult:
        try:
            _changed(current(), changes)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def accept(changes: list[RosParameter[Any]]) -> None:
        apply(_changed(current(), changes))

    node.add_on_set_parameters_callback(validate)
    node.add_post_set_parameters_callback(accept)


def descriptor(parameter: Parameter) -> ParameterDescriptor:
    """Words with unit and range or choices, the range again for tools, and whether it may change."""
    result = ParameterDescriptor(description=describe(parameter), read_only=not parameter.live)
    if parameter.choices:
        result.additional_constraints = f"one of: {', '.join(parameter.choices)}"
    if isinstance(parameter.default, tuple):
        result.dynamic_typing = True  # an empty list has no type in ROS
    elif parameter.low is not None and parameter.high is not None:
        if parameter.type is int:
            result.integer_range = [IntegerRange(from_value=int(parameter.low), to_value=int(parameter.high), step=0)]
        elif parameter.type is float:
            result.floating_point_range = [FloatingPointRange(from_value=parameter.low, to_value=parameter.high, step=0.0)]
    return result


def plain(value: Any) -> Any:
    """A parameter's value without ROS' array types."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else list(value)


def _changed(config: T, changes: list[RosParameter[Any]]) -> T:
    known = {parameter.name: parameter for parameter in parameters(type(config))}
    ours = {change.name: change for change in changes if not change.name.startswith(_ROS_OWN)}
    for name, change in ours.items():
        if name in known and change.type_ == RosParameter.Type.NOT_SET:
            raise ConfigError(f"{name}: expected a value, got none (parameters cannot be removed)")
        if name in known:
            check_value(known[name], plain(change.value))
    return with_values(config, {name: plain(change.value) for name, change in ours.items()})

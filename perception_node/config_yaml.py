"""The configuration's files, written from the dataclasses: `config/cell.yaml`, `config/gripper.yaml` and `config/beacon.yaml`.

`python -m perception_node.config_yaml FOLDER` rewrites them with the defaults; a contract test holds them to the classes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from perception_node.beacon.config import BeaconConfig
from perception_node.config import Config
from perception_node.errors import ConfigError
from perception_node.parameters import Parameter, Value, parameters, value_of

FILES: dict[str, str] = {"cell": "cell.yaml", "gripper": "gripper.yaml"}
"""File of each group; `gripper` holds what is mounted on the arm, `cell` everything else."""

_HEAD = {
    "cell": "# Everything that the node reads, but for the gripper (gripper.yaml). Form: a ROS 2 parameter file.",
    "beacon": "# What the node `beacon` reads. Form: a ROS 2 parameter file.",
    "gripper": "# What is mounted on the arm. Read together with cell.yaml. Form: a ROS 2 parameter file.",
}
_LEGEND = "# Comments: words [unit, lowest..highest or the choices; live = may be changed while the node runs]."


def to_yaml(group: str, config: Config | None = None) -> str:
    """Text of one configuration file.

    Args:
        group: "cell" or "gripper". config: the values to write, default: the defaults.

    Raises:
        ConfigError: another group.
    """
    if group not in FILES:
        raise ConfigError(f"configuration file: expected one of {', '.join(FILES)}, got {group!r}")
    chosen = (p for p in parameters(Config) if p.name.startswith("gripper.") == (group == "gripper"))
    return _text(group, config or Config(), chosen)


def beacon_yaml(config: BeaconConfig | None = None) -> str:
    """Text of `config/beacon.yaml`, default: with the defaults."""
    return _text("beacon", config or BeaconConfig(), parameters(BeaconConfig))


def _text(group: str, config: Any, chosen: Iterable[Parameter]) -> str:
    lines = [_HEAD[group], _LEGEND, "/**:", "  ros__parameters:"]
    open_groups: list[str] = []
    for parameter in chosen:
        *groups, name = parameter.name.split(".")
        shared = 0
        while shared < min(len(groups), len(open_groups)) and groups[shared] == open_groups[shared]:
            shared += 1
        lines += [f"{_indent(depth)}{groups[depth]}:" for depth in range(shared, len(groups))]
        open_groups = groups
        indent = _indent(len(groups))
        lines.append(f"{indent}# {describe(parameter)}")
        lines.append(f"{indent}{name}: {_value(value_of(config, parameter.name))}")
    return "\n".join(lines) + "\n"


def describe(parameter: Parameter) -> str:
    """Words of a parameter with its unit and range: "words [m, 0.01..5; live]"."""
    facts = [parameter.unit] if parameter.unit else []
    if parameter.low is not None and parameter.high is not None:
        facts.append(f"{parameter.low:g}..{parameter.high:g}")
    if parameter.choices:
        facts.append(" | ".join(parameter.choices))
    text = ", ".join(facts) + ("; live" if parameter.live and facts else "live" if parameter.live else "")
    return f"{parameter.words} [{text}]" if text else parameter.words


def _indent(depth: int) -> str:
    return "  " * (depth + 2)


def _value(value: Value) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text  # YAML 1.1 takes 5e-05 for a text


def main() -> None:
    """Write the files with the defaults into the folder named on the command line."""
    folder = Path(sys.argv[1]) if len(sys.argv) == 2 else None
    if folder is None or not folder.is_dir():
        sys.exit("config_yaml: expected one existing folder")
    for group, name in FILES.items():
        (folder / name).write_text(to_yaml(group), encoding="utf-8")
    (folder / "beacon.yaml").write_text(beacon_yaml(), encoding="utf-8")


if __name__ == "__main__":
    main()

"""The configuration's two files, written from the dataclasses: `config/cell.yaml` and `config/gripper.yaml`.

`python -m perception_node.config_yaml FOLDER` rewrites both with the defaults; a contract test holds them to the classes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from perception_node.config import Config, Parameter, Value, parameters, value_of
from perception_node.errors import ConfigError

FILES: dict[str, str] = {"cell": "cell.yaml", "gripper": "gripper.yaml"}
"""File of each group; `gripper` holds what is mounted on the arm, `cell` everything else."""

_HEAD = {
    "cell": "# Everything that the node reads, but for the gripper (gripper.yaml). Form: a ROS 2 parameter file.",
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
    config = config or Config()
    lines = [_HEAD[group], _LEGEND, "/**:", "  ros__parameters:"]
    open_groups: list[str] = []
    for parameter in parameters():
        *groups, name = parameter.name.split(".")
        if (groups[:1] == ["gripper"]) != (group == "gripper"):
            continue
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
    return repr(value)


def main() -> None:
    """Write both files with the defaults into the folder named on the command line."""
    folder = Path(sys.argv[1]) if len(sys.argv) == 2 else None
    if folder is None or not folder.is_dir():
        sys.exit("config_yaml: expected one existing folder")
    for group, name in FILES.items():
        (folder / name).write_text(to_yaml(group), encoding="utf-8")


if __name__ == "__main__":
    main()

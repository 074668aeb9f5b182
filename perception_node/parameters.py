"""Parameters: fields of frozen dataclasses, each with a default, a unit, a range and words. Their trees are read, checked, changed.

What the trees hold is said in `config.py` and `beacon/config.py`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from perception_node.errors import ConfigError, one_line

Value = bool | int | float | str | tuple[float, ...] | tuple[str, ...]
T = TypeVar("T")


def option(default: Any, words: str, *, unit: str = "", low: float | None = None, high: float | None = None,
           choices: tuple[str, ...] = (), live: bool = False) -> Any:
    """A field of a configuration class: its default, its words, unit, range or choices, and whether it may change while running."""
    return field(default=default, metadata={
        "words": words, "unit": unit, "low": low, "high": high, "choices": choices, "live": live})


@dataclass(frozen=True)
class Parameter:
    """One leaf of the tree: its dotted name, type, default, unit, range, choices, words and whether it may change while running."""

    name: str
    type: Any
    default: Value
    unit: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    words: str
    live: bool


def parameters(tree: type, prefix: str = "") -> Iterator[Parameter]:
    """All leaves of a configuration class, in order of definition."""
    hints = get_type_hints(tree)
    for entry in dataclasses.fields(tree):
        kind = hints[entry.name]
        if dataclasses.is_dataclass(kind):
            assert isinstance(kind, type)
            yield from parameters(kind, f"{prefix}{entry.name}.")
        else:
            yield Parameter(name=prefix + entry.name, type=kind, default=entry.default, **entry.metadata)  # type: ignore[arg-type]


def value_of(config: Any, name: str) -> Value:
    """The value of a dotted parameter name."""
    for part in name.split("."):
        config = getattr(config, part)
    value: Value = config
    return value


def check_value(parameter: Parameter, value: Any) -> Value:
    """Return `value` in the parameter's type, or raise ConfigError saying what was expected and what came."""
    name = parameter.name
    if parameter.type in (tuple[float, ...], tuple[str, ...]):
        inner = str if parameter.type == tuple[str, ...] else (int, float)
        size = len(parameter.default) or None if isinstance(parameter.default, tuple) and inner is not str else None
        if not isinstance(value, (list, tuple)) or any(not isinstance(v, inner) or isinstance(v, bool) for v in value):
            raise ConfigError(f"{name}: expected a list of {'texts' if inner is str else 'numbers'}, got {value!r}")
        if size is not None and len(value) != size:
            raise ConfigError(f"{name}: expected {size} numbers, got {len(value)}: {list(value)!r}")
        if inner is not str and not all(math.isfinite(v) for v in value):
            raise ConfigError(f"{name}: expected finite numbers, got {list(value)!r}")
        return tuple(value) if inner is str else tuple(float(v) for v in value)
    if parameter.type is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not parameter.type:
        raise ConfigError(f"{name}: expected {parameter.type.__name__}, got {type(value).__name__} {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name}: expected a finite number, got {value}")
    if parameter.choices and value not in parameter.choices:
        raise ConfigError(f"{name}: expected one of {', '.join(parameter.choices)}, got {value!r}")
    too_low = parameter.low is not None and value < parameter.low
    if too_low or (parameter.high is not None and value > parameter.high):
        wanted = f"{parameter.low:g} to {parameter.high:g} {parameter.unit}".rstrip()
        raise ConfigError(f"{name}: expected {wanted}, got {value:g}")
    result: Value = value
    return result


def check_values(tree: Any) -> None:
    """Raise ConfigError when a value of a configuration is of the wrong type or out of range."""
    for parameter in parameters(type(tree)):
        check_value(parameter, value_of(tree, parameter.name))


def with_values(base: T, values: Mapping[str, Any]) -> T:
    """A configuration tree of any class with some of its values, by dotted names, replaced.

    Raises:
        ConfigError: unknown name, wrong type, out of range.
    """
    known = {parameter.name: parameter for parameter in parameters(type(base))}
    for name in values:
        if name not in known:
            close = [k for k in known if k.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]] or get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ConfigError(f"unknown parameter {name!r}{hint}")
    return _replace(base, {name: check_value(known[name], value) for name, value in values.items()})


def read_flat(path: Path, tree_class: type) -> dict[str, Any]:
    """Dotted names and values of a ROS 2 parameter file, unchecked but for its groups.

    Raises:
        ConfigError: file missing, not YAML, or not of that form.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable file: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no text, or a date that is none
        raise ConfigError(f"{path}: expected YAML: {one_line(error)}") from None
    try:
        tree = document["/**"]["ros__parameters"]
    except (KeyError, TypeError):
        keys = ", ".join(repr(key) for key in document) if isinstance(document, dict) else "none"
        raise ConfigError(f"{path}: expected '/**:' with 'ros__parameters:' below it, got {keys}: '/**' is read for every node "
                          "name and namespace, other keys are not") from None
    try:
        return dict(_flatten(tree if tree is not None else {}, "", tree_class))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def with_files(base: T, files: Sequence[Path], overrides: Mapping[str, Any]) -> T:
    """A configuration tree with the values of parameter files and of overrides by dotted names, which win over files.

    Raises:
        ConfigError: file missing or not YAML, unknown name, wrong type, out of range, a value in two files; the file is named.
    """
    values: dict[str, Any] = {}
    origin: dict[str, Path | None] = {}
    for file in files:
        found = read_flat(file, type(base))
        both = next((name for name in found if name in values), None)
        if both is not None:
            raise ConfigError(f"{origin[both]}: {both} is in {file}, too, with {found[both]!r}: write it in one of them")
        values.update(found)
        origin.update(dict.fromkeys(found, file))
    try:
        return with_values(base, {**values, **overrides})
    except ConfigError as error:
        raise blamed(error, {**origin, **dict.fromkeys(overrides)}) from None


def blamed(error: ConfigError, origin: Mapping[str, Path | None]) -> ConfigError:
    """The same error with the file that it is about before its words.

    Args:
        origin: where each value that was given came from, by dotted name; None = from no file.
    """
    words = str(error)
    places = {name: found.start() for name in origin if (found := re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", words))}
    if places:
        file = origin[min(places, key=places.__getitem__)]
    else:  # two values do not fit, and the words begin with the other one, a default
        group = words.partition(":")[0].rpartition(".")[0]
        file = next((file for name, file in origin.items() if group and name.startswith(f"{group}.")), None)
    return error if file is None else ConfigError(f"{file}: {words}")


def _flatten(tree: Any, prefix: str, tree_class: type) -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, dict):
        raise ConfigError(f"{prefix.rstrip('.') or 'ros__parameters'}: expected a mapping, got {tree!r}")
    groups = {p.name.rsplit(".", depth)[0] + "." for p in parameters(tree_class) for depth in range(1, p.name.count(".") + 1)}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if f"{name}." in groups:
            yield from _flatten(value, f"{name}.", tree_class)
        else:
            yield name, value


def _replace(node: T, values: Mapping[str, Any]) -> T:
    own = {name: value for name, value in values.items() if "." not in name}
    for group in {name.split(".", 1)[0] for name in values if "." in name}:
        below = {name.split(".", 1)[1]: value for name, value in values.items() if name.startswith(f"{group}.")}
        own[group] = _replace(getattr(node, group), below)
    return dataclasses.replace(node, **own)  # type: ignore[type-var]

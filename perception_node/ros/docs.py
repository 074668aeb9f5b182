"""The tables of README and docs, made from the code: `python -m perception_node.ros.docs --write` renews them.

A table stands between `<!-- generated:NAME -->` and `<!-- /generated -->`. Needs no ROS.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from perception_node.beacon.config import BeaconConfig
from perception_node.cli import BENCHES, VERBS
from perception_node.config import Config
from perception_node.parameters import Parameter, parameters
from perception_node.ros.interface import BEACON_ENDPOINTS, ENDPOINTS, Endpoint

DOCUMENTS = ("README.md", "docs/interfaces.md", "docs/calibration.md")
_BLOCK = re.compile(r"<!-- generated:([\w/.-]+) -->\n.*?<!-- /generated -->", re.DOTALL)
_ROOT = Path(__file__).resolve().parent.parent.parent


def topics(endpoints: Sequence[Endpoint] = ENDPOINTS) -> str:
    """Table of topics and services."""
    rows = [(e.direction, f"`{e.name}`", e.type.replace("/msg/", "/").replace("/srv/", "/"), e.qos, e.words) for e in endpoints]
    return _table(("", "name", "type", "quality of service", ""), rows)


def parameter_table(tree: type = Config) -> str:
    """Table of parameters with defaults, units and ranges."""
    rows = [(f"`{p.name}`", f"`{_value(p)}`", p.unit, _range(p), "live" if p.live else "", p.words) for p in parameters(tree)]
    return _table(("parameter", "default", "unit", "range", "", ""), rows)


def verbs() -> str:
    """Table of the command line's verbs."""
    rows = [(f"`perception {name}`", verb.words) for name, verb in VERBS.items()]
    rows += [(f"`perception bench {name}`", verb.words) for name, verb in BENCHES.items()]
    return _table(("command", ""), rows)


def message(name: str, root: Path = _ROOT) -> str:
    """An interface file as it stands, `msg/PickScene.msg`."""
    return f"```\n{(root / 'perception_node_msgs' / name).read_text(encoding='utf-8').strip()}\n```"


TABLES: Mapping[str, Callable[[], str]] = {"topics": topics, "parameters": parameter_table,
                                             "beacon-topics": lambda: topics(BEACON_ENDPOINTS),
                                             "beacon-parameters": lambda: parameter_table(BeaconConfig), "verbs": verbs}


def renew(text: str, root: Path = _ROOT) -> str:
    """The document with all its tables made anew.

    Raises:
        KeyError: a table of an unknown name.
    """
    def block(match: re.Match[str]) -> str:
        name = match.group(1)
        body = message(name, root) if "/" in name else TABLES[name]()
        return f"<!-- generated:{name} -->\n{body}\n<!-- /generated -->"

    return _BLOCK.sub(block, text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the documents, or renew them; exit status 1 when one is out of date."""
    parser = argparse.ArgumentParser(prog="python -m perception_node.ros.docs", description=__doc__)
    parser.add_argument("--root", type=Path, default=_ROOT, help="folder of the repository (default: this one)")
    parser.add_argument("--write", action="store_true", help="renew the documents in place of checking them")
    options = parser.parse_args(arguments)
    old = []
    for name in DOCUMENTS:
        file = options.root / name
        text = file.read_text(encoding="utf-8")
        new = renew(text, options.root)
        if new != text and options.write:
            file.write_text(new, encoding="utf-8")
        elif new != text:
            old.append(name)
    for name in old:
        print(f"{name}: its tables are not what the code says; python -m perception_node.ros.docs --write renews them",
              file=sys.stderr)
    return 1 if old else 0


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _value(parameter: Parameter) -> str:
    value = parameter.default
    if isinstance(value, tuple):
        return f"[{', '.join(f'{v:g}' if isinstance(v, float) else str(v) for v in value)}]"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _range(parameter: Parameter) -> str:
    if parameter.choices:
        return ", ".join(parameter.choices)
    return f"{parameter.low:g} to {parameter.high:g}" if parameter.low is not None and parameter.high is not None else ""


if __name__ == "__main__":
    sys.exit(main())

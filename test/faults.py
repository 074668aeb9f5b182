"""The fault table of docs/reliability.md, made from what the tests saw:

    FAULTS=out/faults.json python -m pytest test/ros
    python test/faults.py out/faults.json docs/reliability.md

Only a run in which every marked test passed gives a table.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

ROS_TESTS = Path(__file__).with_name("ros")
BEGIN, END = "<!-- generated:faults -->", "<!-- /generated -->"
_NUMBERS = re.compile(r"(?<![\w.])\d+\.\d+(?= (?:s|ms)\b)")
"""Measured times: other in each run, so the table says `T` for them."""


def marked() -> list[str]:
    """Names of all faults that tests are marked with, read from their source: this needs no ROS."""
    names = []
    for path in sorted(ROS_TESTS.glob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fault" and node.args:
                argument = node.args[0]
                if isinstance(argument, ast.Constant):
                    names.append(str(argument.value))
                else:  # one test for each key of the table that it goes over
                    names += [str(key.value) for table in ast.walk(tree) if isinstance(table, ast.Assign)
                              and getattr(table.targets[0], "id", "") == "UNUSABLE" for key in table.value.keys]
    return names


def rows(text: str) -> list[str]:
    """First column of the table in a document."""
    table = text.split(BEGIN)[1].split(END)[0]
    return [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")][2:]


def table(outcomes: list[dict[str, str]]) -> str:
    """The table in Markdown."""
    lines = ["| fault | published | diagnostics say | counted |", "| --- | --- | --- | --- |"]
    for row in outcomes:
        said = f"`{row['status']}` {row['level']}" if row["status"] and row["said"] else ""
        words = _NUMBERS.sub("T", row["said"] or row["log"]).replace("|", "\\|")
        said = f"{said}: {words}" if said else f"log: {words}" if words else ""
        lines.append(f"| {row['fault']} | {row['published']} | {said} | {row['counted']} |")
    return "\n".join(lines)


def main() -> int:
    """Renew the table; 1 = a fault's test did not pass."""
    source, document = Path(sys.argv[1]), Path(sys.argv[2])
    outcomes = json.loads(source.read_text(encoding="utf-8"))
    bad = [f"{row['fault']}: {row['outcome']}" for row in outcomes if row["outcome"] != "passed" or "published" not in row]
    bad += [f"{name}: not run" for name in marked() if name not in {row["fault"] for row in outcomes}]
    if bad:
        print("no table: " + "; ".join(bad), file=sys.stderr)
        return 1
    text = document.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    outcomes = [{**row, "log": re.sub(r"/\S*/pytest-\S*/|/tmp/\S*/", "", row["log"])} for row in outcomes]
    document.write_text(f"{head}{BEGIN}\n{table(outcomes)}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

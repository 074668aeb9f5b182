"""`perception doctor`: the machine, then the running cell; one line a finding, with its remedy. Exit status 1 when one is an
error."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from perception_node.arguments import file_to_write
from perception_node.doctor.findings import CHECKS, Finding, as_json, error, note
from perception_node.doctor.machine import machine_findings, read_config
from perception_node.errors import PerceptionError, one_line
from perception_node.files import put_json

_TOPICS = {"image": "colour", "depth": "depth", "camera_info": "info"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--config", type=Path, metavar="YAML", help="the cell's configuration (default: the node's defaults)")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to listen to the cell in s (default: 3)")
    parser.add_argument("--machine-only", action="store_true", help="do not look for a running cell")
    for name, words in (("image", "colour picture"), ("depth", "depth"), ("camera_info", "calibration")):
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="TOPIC",
                            help=f"topic of the {words} (default: what the running node listens to, else found by type)")
    parser.add_argument("--checks", action="store_true", help="list what is checked, and end")
    parser.add_argument("--json", type=file_to_write, metavar="OUT", help="write the findings to this file")


def run(args: argparse.Namespace) -> int:
    """Look and print; 0 = no errors, 1 = errors.

    Raises:
        PerceptionError: an argument cannot be used.
    """
    if args.checks:
        print("\n".join(f"{name:<11}  {words}" for name, words in CHECKS.items()))
        return 0
    if not 0.5 <= args.seconds <= 600.0:
        raise PerceptionError(f"--seconds: expected 0.5 to 600, got {args.seconds:g}")
    config, found = read_config(args.config)

    def say(finding: Finding) -> None:
        print(finding.line(), flush=True)
    for finding in found:
        say(finding)
    for finding in machine_findings(config):
        found.append(finding)
        say(finding)
    if not args.machine_only:
        topics = {kind: getattr(args, name) for name, kind in _TOPICS.items() if getattr(args, name)}
        for finding in _cell(topics, args.seconds, config.node.depth, config.node.pair_tolerance_s, found):
            found.append(finding)
            say(finding)
    errors = sum(finding.level == "error" for finding in found)
    warnings = sum(finding.level == "warn" for finding in found)
    print(f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}")
    if args.json is not None:
        put_json(args.json, as_json(found))
    return 1 if errors else 0


def _cell(topics: dict[str, str], seconds: float, depth: str, pair_tolerance_s: float, so_far: list[Finding]) -> list[Finding]:
    usable = importlib.util.find_spec("rclpy") is not None
    if not usable or any(f.level == "error" and f.check in ("ros", "messages", "domain") for f in so_far):
        return [note("node", "the cell was not looked at: first see to the errors above")]
    from perception_node.ros.doctor_cell import cell_findings

    try:
        return cell_findings(topics, seconds, depth, pair_tolerance_s)
    except Exception as broken:  # a middleware that does not start, in types of its own
        return [error("ros", f"the ROS graph cannot be joined: {one_line(broken, 300)}", "see the lines above; "
                      "another RMW?")]

"""The node's SROS2 policy, made from its interface: `python -m perception_node.ros.policy --out policy.xml`. Needs no ROS.

What the node may publish, subscribe, answer: its topics and services, and what every lifecycle node of ROS 2 has. Nothing else is
allowed. Names that are remapped in the cell, and the cell's namespace, must be given here too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from perception_node.errors import PerceptionError
from perception_node.files import put
from perception_node.ros.interface import BEACON_ENDPOINTS, ENDPOINTS, Endpoint

NODES: Mapping[str, tuple[Endpoint, ...]] = {"perception": ENDPOINTS, "beacon": BEACON_ENDPOINTS}

_LIFECYCLE = ("~/change_state", "~/get_available_states", "~/get_available_transitions", "~/get_state", "~/get_transition_graph")
_PARAMETERS = ("~/describe_parameters", "~/get_parameter_types", "~/get_parameters", "~/get_type_description", "~/list_parameters",
               "~/set_parameters", "~/set_parameters_atomically")
_PUBLISHED = ("/parameter_events", "/rosout", "~/transition_event")
_SUBSCRIBED = ("/clock", "/parameter_events")
"""Of every lifecycle node. Source: design.ros2.org (managed nodes, parameters); rclpy's node.py and lifecycle."""


def rules(node: str, remaps: Mapping[str, str]) -> dict[tuple[str, str], list[str]]:
    """(kind, permission) -> names, as `("topics", "publish")`; names relative, absolute or beginning with `~/`.

    Raises:
        PerceptionError: another node, or a remapped name that it does not have.
    """
    if node not in NODES:
        raise PerceptionError(f"node: expected one of {', '.join(NODES)}, got {node!r}")
    endpoints = NODES[node]
    known = {endpoint.name for endpoint in endpoints}
    if unknown := sorted(set(remaps) - known):
        raise PerceptionError(f"remap: expected one of {', '.join(sorted(known))}, got {', '.join(unknown)}")

    def name(endpoint: Endpoint) -> str:
        base, _, transport = endpoint.name.partition("/")
        if transport and base and base in remaps and endpoint.name not in remaps:  # a transport hangs on the remapped base topic
            return f"{remaps[base]}/{transport}"
        return remaps.get(endpoint.name, endpoint.name)

    made = {direction: [name(endpoint) for endpoint in endpoints if endpoint.direction == direction]
            for direction in ("in", "out", "service")}
    return {("services", "reply"): sorted({*made["service"], *_LIFECYCLE, *_PARAMETERS}),
            ("topics", "publish"): sorted({*made["out"], *_PUBLISHED}),
            ("topics", "subscribe"): sorted({*made["in"], *_SUBSCRIBED})}


def policy(namespace: str = "/", node: str = "perception", enclave: str = "", remaps: Mapping[str, str] | None = None) -> str:
    """The policy file's text.

    Args:
        namespace: of the node. node: its name. enclave: path, "" = the node's fully qualified name. remaps: as on the node.

    Raises:
        PerceptionError: as `rules`, or a namespace or enclave that does not begin with a slash.
    """
    enclave = enclave or f"{namespace.rstrip('/')}/{node}"
    for what, value in (("namespace", namespace), ("enclave", enclave)):
        if not value.startswith("/"):
            raise PerceptionError(f"{what}: expected a name that begins with '/', got {value!r}")
    lines = ['<?xml version="1.0" encoding="UTF-8"?>',
             "<!-- Made by: python -m perception_node.ros.policy (docs/security.md) -->",
             '<policy version="0.2.0">', "  <enclaves>", f"    <enclave path={quoteattr(enclave)}>", "      <profiles>",
             f"        <profile ns={quoteattr(namespace)} node={quoteattr(node)}>"]
    for (kind, permission), names in rules(node, remaps or {}).items():
        lines.append(f'          <{kind} {permission}="ALLOW">')
        lines += [f"            <{kind[:-1]}>{escape(name)}</{kind[:-1]}>" for name in names]
        lines.append(f"          </{kind}>")
    lines += ["        </profile>", "      </profiles>", "    </enclave>", "  </enclaves>", "</policy>"]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a policy file; exit status 2 with one line for bad input."""
    parser = argparse.ArgumentParser(prog="python -m perception_node.ros.policy", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="XML", help="file to write")
    parser.add_argument("--namespace", default="/", help="of the node (default: /)")
    parser.add_argument("--node", default="perception", choices=sorted(NODES), help="which node (default: perception)")
    parser.add_argument("--enclave", default="", metavar="PATH", help="default: the node's fully qualified name")
    parser.add_argument("--remap", action="append", default=[], metavar="NAME:=TOPIC", help="as given to the node; repeatable")
    options = parser.parse_args(arguments)
    try:
        pairs = [entry.partition(":=") for entry in options.remap]
        if any(not found for _, found, _ in pairs):
            raise PerceptionError(f"--remap: expected NAME:=TOPIC, got {', '.join(options.remap)}")
        text = policy(options.namespace, options.node, options.enclave, {old: new for old, _, new in pairs})
        put(options.out, text)
    except PerceptionError as error:
        print(f"perception: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

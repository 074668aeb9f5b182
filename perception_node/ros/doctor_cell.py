"""Looks into a running cell: joins the ROS graph for some seconds, subscribes as the node does, and notes what it sees."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from perception_node.bag.decode import stamp_ns
from perception_node.bag.topics import choose_topics
from perception_node.doctor.findings import Finding, error, note, ok, warn
from perception_node.doctor.streams import Stream, stream_findings
from perception_node.errors import DatasetError

DISCOVERY_S = 3.5
"""How long nodes may take to be found at most. Source: docs/interfaces.md, "Transport": three seconds over LARGE_DATA."""

SCENE = "perception_node_msgs/msg/PickScene"
_TYPES = {"colour": "sensor_msgs/msg/Image", "depth": "sensor_msgs/msg/Image", "info": "sensor_msgs/msg/CameraInfo"}
_COMPRESSED = "sensor_msgs/msg/CompressedImage"


@dataclass
class Node:
    """A perception node: full name, newest statuses (level, message, values) by name, topics by "colour", "depth", "info"."""

    name: str
    statuses: dict[str, tuple[int, str, dict[str, str]]] = field(default_factory=dict)
    topics: dict[str, str] = field(default_factory=dict)


def cell_findings(topics: Mapping[str, str], seconds: float, depth: str, pair_tolerance_s: float) -> list[Finding]:
    """All findings of the cells in this ROS domain.

    Args:
        topics: "colour", "depth", "info" that the user named; those of the nodes that run come by themselves. seconds: how long to
            listen. depth: `node.depth`. pair_tolerance_s: `node.pair_tolerance_s`.
    """
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        graph = rclpy.create_node("perception_doctor", start_parameter_services=False)
        executor = SingleThreadedExecutor()
        executor.add_node(graph)

        def spin(until: float, done: Callable[[], bool] = lambda: False) -> None:
            while time.monotonic() < until and not done():
                executor.spin_once(timeout_sec=0.05)
        nodes = _find_nodes(graph, spin)
        found: list[Finding] = []
        cameras = [node.topics for node in nodes if node.topics] or ([dict(topics)] if topics else [_guess(graph)])
        if topics and nodes:
            cameras = [{**camera, **topics} for camera in cameras]
        watched = [_watch(graph, camera) for camera in cameras]
        spin(time.monotonic() + seconds)
        spin(time.monotonic() + DISCOVERY_S, lambda: all(_known(graph, streams, nodes) for streams in watched))
        for streams in watched:
            _connect(graph, streams, nodes)
        found += _node_findings(nodes)
        simulated = graph.count_publishers("/clock") > 0
        for streams in watched:
            if not any(stream.publishers for stream in streams.values()) and not nodes and not topics:
                found.append(note("publishers", "no camera and no perception node runs in this domain: only the machine was "
                                  "looked at"))
                continue
            found += stream_findings(streams, depth == "required", simulated, pair_tolerance_s)
        if any(stream.arrivals for streams in watched for stream in streams.values()):
            found += _transforms(graph)
        others = [name for name, _ in graph.get_node_names_and_namespaces() if name != "perception_doctor"]
        found.append(note("domain", f"{len(others)} other nodes in it: {', '.join(sorted(others)[:8])}" if others else "no other "
                          "node in it"))
        executor.shutdown()
        graph.destroy_node()
        return found
    finally:
        rclpy.try_shutdown()


def _find_nodes(graph: Any, spin: Callable[..., None]) -> list[Node]:
    """Perception nodes, known by what they publish, with the topics that their diagnostics name."""
    from diagnostic_msgs.msg import DiagnosticArray

    nodes: dict[str, Node] = {}

    def keep(message: Any) -> None:
        for status in message.status:
            name, _, what = status.name.partition(": ")
            node = nodes.get(f"/{name}")
            if node is not None:
                values = {pair.key: pair.value for pair in status.values}
                node.statuses[what] = (status.level[0], status.message, values)
                node.topics.update({key.removesuffix("_topic"): value for key, value in values.items() if key.endswith("_topic")})

    graph.create_subscription(DiagnosticArray, "/diagnostics", keep, 10)

    def complete() -> bool:
        for topic, types in graph.get_topic_names_and_types():
            if SCENE in types and graph.count_publishers(topic):
                name = topic.rsplit("/", 1)[0]
                nodes.setdefault(name, Node(name))
        return bool(nodes) and all(node.statuses for node in nodes.values())
    spin(time.monotonic() + DISCOVERY_S, complete)
    return list(nodes.values())


def _guess(graph: Any) -> dict[str, str]:
    """Topics of a camera without a node, told apart as those of a recording."""
    there = [(topic, kind) for topic, types in graph.get_topic_names_and_types() for kind in types
             if graph.count_publishers(topic)]
    return guessed_topics(there) or {"colour": "/image", "info": "/camera_info"}


def guessed_topics(there: list[tuple[str, str]]) -> dict[str, str]:
    """Which of the topics (name, type) is "colour", "depth", "info"; of several cameras the first by name; {} = no colour."""
    listed: list[Any] = [SimpleNamespace(topic=topic, msgtype=kind, msgcount=1) for topic, kind in sorted(there)]
    for alone in (listed, *([entry] for entry in listed)):
        try:
            colour = choose_topics(alone, "the cell", colour=None, depth=None, camera_info=None).colour
        except DatasetError:
            continue
        chosen = choose_topics(listed, "the cell", colour=colour, depth=None, camera_info=None)
        found = {"colour": chosen.colour, "depth": chosen.depth, "info": chosen.camera_info}
        return {name: topic for name, topic in found.items() if topic}
    return {}


def _watch(graph: Any, topics: Mapping[str, str]) -> dict[str, Stream]:
    """Subscribe to a camera's topics; the streams fill while the executor spins."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image

    kinds = {"sensor_msgs/msg/Image": Image, _COMPRESSED: CompressedImage, "sensor_msgs/msg/CameraInfo": CameraInfo}
    streams = {}
    for name in ("colour", "depth", "info"):
        topic = topics.get(name)
        if topic is None:
            continue
        compressed = topic.endswith(("/compressed", "/compressedDepth"))
        stream = streams[name] = Stream(name, topic, _COMPRESSED if compressed else _TYPES[name])
        graph.create_subscription(kinds[stream.expected], topic, _keeper(stream),
                                  QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT))
    return streams


def _known(graph: Any, streams: Mapping[str, Stream], nodes: list[Node]) -> bool:
    """Each node is known to listen to one of the topics at least, and whoever is at their ends has a name: names come last."""
    ends = [end for stream in streams.values() for end in (*graph.get_publishers_info_by_topic(stream.topic),
                                                           *graph.get_subscriptions_info_by_topic(stream.topic))]
    names = {f"{end.node_namespace.rstrip('/')}/{end.node_name}" for end in ends}
    wanted = {node.name for node in nodes if set(node.topics.values()) & {stream.topic for stream in streams.values()}}
    return wanted <= names and not any("UNKNOWN" in name for name in names)


def _connect(graph: Any, streams: Mapping[str, Stream], nodes: list[Node]) -> None:
    """Note who publishes and whether the nodes can hear it: after the listening, when all of the cell has been found."""
    from rclpy.qos import QoSCompatibility, qos_check_compatible

    known, full = dict(graph.get_topic_names_and_types()), {node.name for node in nodes}
    for stream in streams.values():
        publishers = graph.get_publishers_info_by_topic(stream.topic)
        stream.types = known.get(stream.topic, ()) if publishers else ()
        stream.publishers = [f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in publishers]
        for reader in graph.get_subscriptions_info_by_topic(stream.topic):
            if f"{reader.node_namespace.rstrip('/')}/{reader.node_name}" in full:
                for info in publishers:
                    fit, why = qos_check_compatible(info.qos_profile, reader.qos_profile)
                    if fit == QoSCompatibility.ERROR:
                        stream.misfits = [*stream.misfits, f"{info.node_name} and {reader.node_name} do not fit "
                                          f"({' '.join(why.split())})"]


def _keeper(stream: Stream) -> Callable[[Any, Any], None]:
    def keep(message: Any, about: Any) -> None:
        stream.arrivals.append((time.time_ns(), stamp_ns(message.header)))
        number = about.get("publication_sequence_number")
        if isinstance(number, int) and number < 2**63:
            stream.numbers.append(number)
        stream.last = message
    return keep


def _node_findings(nodes: list[Node]) -> list[Finding]:
    if not nodes:
        return [note("node", "no perception node in this domain (`perception node`, or cell.launch.py, starts one)")]
    found = []
    for node in nodes:
        if not node.statuses:
            found.append(error("diagnostics", f"{node.name} publishes no diagnostics", "is it of this version? does the transport "
                               "let it through?"))
            continue
        level, words, values = node.statuses.get("node", (3, "unknown", {}))
        if level == 3 or values.get("failure"):
            found.append(error("node", f"{node.name}: {words}", f"`ros2 lifecycle set {node.name} configure`, then `activate`; "
                               "its log says more"))
        else:
            found.append(ok("node", f"{node.name} is active"))
        if "belt_velocity" in (numbers := node.statuses.get("pipeline", (0, "", {}))[2]):
            found.append(note("belt_velocity", f"{node.name}: {numbers['belt_velocity']}"))
        for name, (severity, said, _) in node.statuses.items():
            if name == "node":
                continue
            if severity == 0:
                found.append(ok("diagnostics", f"{node.name}: {name}: {said}"))
            else:
                make = warn if severity == 1 else error
                found.append(make("diagnostics", f"{node.name}: {name}: {said}", "docs/reliability.md says what each fault means"))
    return found


def _transforms(graph: Any) -> list[Finding]:
    if graph.count_publishers("/tf_static") or graph.count_publishers("/tf"):
        return [ok("tf", "somebody publishes transforms")]
    return [warn("tf", "nobody publishes transforms: poses stay in the camera's frame",
                 "publish the camera's mounting (`ros2 run tf2_ros static_transform_publisher ...`) for the arm's planner")]

"""Judges what was seen on the topics of a cell. Plain functions of plain facts, free of ROS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perception_node.doctor.findings import Finding, error, note, ok, warn
from perception_node.errors import PerceptionError
from perception_node.ros.transport import PROFILES, PROFILES_FILE

LOW_HZ = 5.0
"""A camera below it is worth a word. Source: judgement; a package on a belt of 1 m/s moves its own length between two pictures."""

OLD_S = 0.3
"""Pictures that arrive older than this leave no time for computing. Source: node.max_age_s of 0.5 s less a slow machine's 0.2 s."""

OTHER_CLOCK_S = 60.0
"""A difference from here on is another clock, not a delay. Source: as the node's own hint (ros/worker.py)."""

LOST_SHARE = 0.05
"""Share of pictures lost on the way that is worth a word. Source: judgement; with a fitting transport none are."""

HOLES_SHARE = 0.5
"""Share of depth without readings that is worth a word. Source: judgement; stereo cameras lack 5 to 20 % on packages."""


@dataclass
class Stream:
    """What was seen of one topic.

    Attributes:
        name: "colour", "depth" or "info". topic: its name. expected: ROS type. types: those that were found on the topic.
        publishers: names of the nodes that publish it. misfits: why a publisher's quality of service does not fit the node's.
        arrivals: (received, stamp) of each message in ns. numbers: the publisher's own, where the middleware tells. last: the
        newest message, anything with its fields.
    """

    name: str
    topic: str
    expected: str
    types: Sequence[str] = ()
    publishers: Sequence[str] = ()
    misfits: Sequence[str] = ()
    arrivals: list[tuple[int, int]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    last: Any = None

    @property
    def hz(self) -> float:
        """Messages per second."""
        times = [received for received, _ in self.arrivals]
        return 1e9 * (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0


def stream_findings(streams: Mapping[str, Stream], depth_wanted: bool, simulated: bool, pair_tolerance_s: float) -> list[Finding]:
    """All findings of a camera's topics: "colour", "info" and perhaps "depth"; `simulated` = somebody publishes /clock."""
    found: list[Finding] = []
    for stream in streams.values():
        optional = stream.name == "depth" and not depth_wanted
        found += _connection(stream, optional)
    alive = {name: stream for name, stream in streams.items() if stream.last is not None}
    for stream in alive.values():
        found += _stamps(stream, simulated)
    found += _contents(alive)
    found += _together(alive, pair_tolerance_s)
    return found


def _connection(stream: Stream, optional: bool) -> Iterator[Finding]:
    wrong = [kind for kind in stream.types if kind != stream.expected]
    if wrong:
        yield error("type", f"{stream.topic}: expected {stream.expected}, got {', '.join(wrong)}", "remap the node to the right "
                    "topic")
        return
    if not stream.publishers:
        words = f"nobody publishes {stream.topic} ({stream.name})"
        if optional:
            yield warn("publishers", f"{words}: degraded mode", "publish depth aligned to colour, or set node.depth to off")
        else:
            yield error("publishers", words, "start the camera's driver, or remap the node: `ros2 topic list -t` shows what there "
                        "is")
        return
    if len(stream.publishers) > 1:
        yield warn("publishers", f"{stream.topic}: expected one publisher, got {', '.join(stream.publishers)}", "stop all but one")
    for words in stream.misfits:
        yield error("qos", f"{stream.topic}: {words}: nothing will arrive", "set node.reliability to best_effort (it fits every "
                    "camera)")
    if not stream.arrivals:
        if not stream.misfits:
            yield error("rate", f"{stream.topic} has a publisher, but nothing arrives",
                        f"does the driver run? then the transport, the same on both sides: {PROFILES[0]}={PROFILES_FILE}")
        return
    gaps = sum(max(0, b - a - 1) for a, b in zip(stream.numbers, stream.numbers[1:], strict=False))
    share = gaps / max(1, gaps + len(stream.arrivals))
    if share > LOST_SHARE:
        yield warn("transport", f"{stream.topic}: {share:.0%} of the messages are lost on the way",
                   f"{PROFILES[0]}={PROFILES_FILE} for the driver, too; fewer or smaller pictures")
    if stream.hz < LOW_HZ:
        yield warn("rate", f"{stream.topic}: {stream.hz:.1f} Hz", f"expected {LOW_HZ:g} Hz or more: raise the camera's rate")
    else:
        yield ok("rate", f"{stream.topic}: {stream.hz:.1f} Hz from {stream.publishers[0]}")


def _stamps(stream: Stream, simulated: bool) -> Iterator[Finding]:
    stamps = [stamp for _, stamp in stream.arrivals]
    if stamps[-1] <= 0:
        yield error("stamps", f"{stream.topic}: expected the time of exposure as stamp, got 0", "correct the driver: such "
                    "pictures are dropped")
        return
    if any(b < a for a, b in zip(stamps, stamps[1:], strict=False)):
        yield warn("stamps", f"{stream.topic}: stamps go backwards", "one publisher only? a looped recording is started over each "
                   "time")
    age_s = float(np.median([1e-9 * (received - stamp) for received, stamp in stream.arrivals]))
    if simulated:
        yield note("clock", f"{stream.topic}: somebody publishes /clock, so ages are not judged; the node needs use_sim_time: true")
    elif abs(age_s) >= OTHER_CLOCK_S:
        yield error("clock", f"{stream.topic}: stamps differ from this machine's clock by {age_s:+.0f} s",
                    "a recording: play it with --clock and set use_sim_time; a camera: set its clock (PTP, NTP)")
    elif age_s > OLD_S:
        yield warn("clock", f"{stream.topic}: arrives {age_s:.2f} s after its stamp", "shorten the driver's queue; synchronise "
                   "the clocks")
    elif age_s < -0.02:
        yield warn("clock", f"{stream.topic}: is stamped {-age_s:.2f} s ahead of this machine's clock", "synchronise the clocks "
                   "(PTP, NTP)")
    else:
        yield ok("clock", f"{stream.topic}: arrives {1e3 * age_s:.0f} ms after its stamp")


def _contents(alive: Mapping[str, Stream]) -> Iterator[Finding]:
    from perception_node.bag.camera import camera_model, colour_pixels, depth_metres, odd_calibration
    from perception_node.bag.watch import Exposure

    if "colour" in alive:
        try:
            rgb = colour_pixels(alive["colour"].last)
        except PerceptionError as wrong:
            yield error("encoding", f"{alive['colour'].topic}: {wrong}", "choose another encoding in the driver (rgb8, bgr8, "
                        "mono8)")
        else:
            seen, topic = Exposure.of(rgb), alive["colour"].topic
            if seen.fault():
                yield error("picture", f"{topic}: {seen.fault()}", "look at the picture, the light and the exposure")
            else:
                yield ok("picture", f"{topic}: {rgb.shape[1]}x{rgb.shape[0]}, mean brightness {seen.mean:.2f}")
    if "depth" in alive:
        try:
            depth = depth_metres(alive["depth"].last)
        except PerceptionError as wrong:
            yield error("encoding", f"{alive['depth'].topic}: {wrong}", "publish 16UC1 (millimetres) or 32FC1 (metres), REP-118")
        else:
            yield from _depth(alive["depth"], depth)
    if "info" in alive:
        try:
            camera = camera_model(alive["info"].last)
            odd = odd_calibration(camera)
            if odd:
                yield warn("calibration", f"{alive['info'].topic}: {odd}", "have the driver publish the calibration of the "
                           "pictures as they are")
            else:
                yield ok("calibration", f"{alive['info'].topic}: fx {camera.fx:.1f}, fy {camera.fy:.1f} px")
        except PerceptionError as wrong:
            yield error("calibration", f"{alive['info'].topic}: {wrong}", "calibrate the camera and have the driver publish it")


def _depth(stream: Stream, depth: Any) -> Iterator[Finding]:
    from perception_node.bag.depth_check import metres, unit_fault

    seen = depth[np.isfinite(depth)]
    holes = 1.0 - seen.size / depth.size
    if not seen.size:
        yield error("depth_holes", f"{stream.topic}: no reading anywhere", "sensor covered, too near, or its projector off?")
        return
    median = float(np.median(seen))
    if unit_fault(seen):
        yield error("depth_unit", f"{stream.topic}: its median is {metres(median)} m with encoding "
                    f"{getattr(stream.last, 'encoding', 'compressed')}",
                    "16UC1 must hold millimetres and 32FC1 metres (REP-118): correct the driver's unit")
    else:
        yield ok("depth_unit", f"{stream.topic}: median {median:.2f} m")
    if holes > HOLES_SHARE:
        yield warn("depth_holes", f"{stream.topic}: {holes:.0%} without readings", "camera nearer, projector on, less glare; else "
                   "few grasps")


def _together(alive: Mapping[str, Stream], pair_tolerance_s: float) -> Iterator[Finding]:
    sizes = {stream.topic: (int(stream.last.width), int(stream.last.height)) for stream in alive.values()
             if hasattr(stream.last, "width")}
    if len(set(sizes.values())) > 1:
        yield error("sizes", "sizes differ: " + ", ".join(f"{topic} {w}x{h}" for topic, (w, h) in sizes.items()),
                    "publish depth aligned to colour (the driver's align option) and the calibration of the colour picture")
    frames = {stream.topic: str(stream.last.header.frame_id) for stream in alive.values()}
    if "" in frames.values():
        empty = [topic for topic, frame in frames.items() if not frame]
        yield error("frames", f"no frame_id on {', '.join(empty)}", "set the driver's frame: poses would be in no frame at all")
    elif len(set(frames.values())) > 1:
        yield error("frames", "frames differ: " + ", ".join(f"{topic} {frame}" for topic, frame in frames.items()),
                    "publish depth aligned to colour, with colour's frame, and remap camera_info to colour's")
    elif frames and "optical" not in next(iter(frames.values())):
        yield warn("frames", f"frame_id {next(iter(frames.values()))!r} is not called an optical frame",
                   "poses are x right, y down, z forward (REP-103): make sure that the frame is, too")
    if {"colour", "depth"} <= alive.keys():
        depths = np.array([stamp for _, stamp in alive["depth"].arrivals])
        colours = alive["colour"].arrivals[1:-1] or alive["colour"].arrivals  # the first and last may miss their other half
        gaps = [1e-9 * float(np.abs(depths - stamp).min()) for _, stamp in colours]
        if np.median(gaps) > pair_tolerance_s:
            yield error("stamps", f"colour and depth are {1e3 * float(np.median(gaps)):.1f} ms apart, expected at most "
                        f"{1e3 * pair_tolerance_s:.1f} ms", "synchronise both in the driver, or widen node.pair_tolerance_s")
        else:
            yield ok("stamps", "colour and depth have the same stamps")

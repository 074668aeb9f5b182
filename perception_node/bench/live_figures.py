"""What a live measurement says: rates, latencies, jitter and drops, and where it falls short. Free of ROS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_AGE_MS = 500.0
"""No result may be older. Source: config.py, node.max_age_s."""

GROWTH_MB = 10.0
"""Memory that a node may gain between the first quarter of a run and its end. Source: judgement, ten pictures of 1280x720."""

DRIFT = 1.5
"""A second half's p95 above this times the first half's means a growing queue. Source: judgement, above a busy machine's noise."""


@dataclass(frozen=True)
class Scenario:
    """One measurement, and what it must reach; None = reported only. `overhead_ms`: all time outside of the pipeline."""

    name: str
    width: int
    height: int
    hz: float
    cameras: int = 1
    p50_ms: float | None = None
    p95_ms: float | None = None
    dropped: float | None = None
    overhead_ms: float | None = None


@dataclass(frozen=True)
class Arrival:
    """One scene as the listener got it: nanoseconds of stamp and receipt, seconds from stamp to publishing, milliseconds of the
    pipeline's stages and their "total", packages, and whether depth took part."""

    stamp_ns: int
    received_ns: int
    latency_s: float
    stages_ms: Mapping[str, float]
    packages: int
    depth_used: bool


@dataclass(frozen=True)
class Run:
    """What was recorded of one camera: stamps sent (ns), scenes, counts by what became of the frames ("results" and reasons),
    (memory MB, processor seconds) of the node over time, seconds that it lasted."""

    sent: Sequence[int]
    arrivals: Sequence[Arrival]
    counts: Mapping[str, int]
    memory_mb: Sequence[float]
    cpu_s: float
    wall_s: float
    late_s: float


def figures(run: Run) -> dict[str, Any]:
    """All figures of one camera, milliseconds and percent. The upper case keys are those of ros2_benchmark's reports.

    JITTER is the deviation of the time between two results from its mean. LATENCY runs from the picture's stamp to the receipt.
    `unaccounted` = sent less results less all counted drops: must be 0.
    """
    wanted = set(run.sent)
    scenes = [a for a in run.arrivals if a.stamp_ns in wanted]
    receipt = np.array([1e-6 * (a.received_ns - a.stamp_ns) for a in scenes])
    publish = np.array([1e3 * a.latency_s for a in scenes])
    outside = receipt - np.array([a.stages_ms["total"] for a in scenes])
    gaps = np.diff(sorted(1e-6 * a.received_ns for a in scenes))
    jitter = np.abs(gaps - gaps.mean()) if len(gaps) else np.zeros(0)
    dropped = {name: count for name, count in run.counts.items() if name != "results" and count}
    half = len(publish) // 2
    basic = {
        "NUM_FRAMES_SENT": len(run.sent), "NUM_MISSED_FRAMES": len(run.sent) - len(scenes),
        "MEAN_PLAYBACK_FRAME_RATE": _rate([1e-9 * stamp for stamp in run.sent[:-1]]),  # the last one is sent apart
        "MEAN_FRAME_RATE": _rate(sorted(1e-9 * a.received_ns for a in scenes)[:-1]),
        "SENT_DURATION": 1e-6 * (run.sent[-1] - run.sent[0]), "RECEIVED_DURATION": float(gaps.sum()),
        "FIRST_SENT_RECEIVED_LATENCY": _at(receipt, 0), "LAST_SENT_RECEIVED_LATENCY": _at(receipt, -1),
        "MEAN_LATENCY": _stat(np.mean, receipt), "MIN_LATENCY": _stat(np.min, receipt), "MAX_LATENCY": _stat(np.max, receipt),
        "MEAN_JITTER": _stat(np.mean, jitter), "MIN_JITTER": _stat(np.min, jitter), "MAX_JITTER": _stat(np.max, jitter),
        "STD_DEV_JITTER": _stat(np.std, jitter)}
    return {
        **{f"BasicPerformanceMetrics.{name}": value for name, value in basic.items()},
        "stamp_to_publish_ms": _percentiles(publish), "stamp_to_receipt_ms": _percentiles(receipt),
        "pipeline_ms": _percentiles(np.array([a.stages_ms["total"] for a in scenes])),
        "outside_of_pipeline_ms": _percentiles(outside),
        "stages_ms": {stage: _percentiles(np.array([a.stages_ms[stage] for a in scenes]))
                      for stage in (scenes[0].stages_ms if scenes else ()) if stage != "total"},
        "first_half_p95_ms": _percentile(publish[:half], 95), "second_half_p95_ms": _percentile(publish[half:], 95),
        "processed": run.counts.get("results", 0), "dropped": dropped,
        "unaccounted": len(run.sent) - run.counts.get("results", 0) - sum(dropped.values()),
        "not_received": run.counts.get("results", 0) - len(scenes),
        "packages_per_frame": _stat(np.mean, np.array([a.packages for a in scenes])),
        "depth_used_share": _stat(np.mean, np.array([a.depth_used for a in scenes])),
        "node_cores": run.cpu_s / max(run.wall_s, 1e-9),
        "node_memory_mb": run.memory_mb[-1] if run.memory_mb else 0.0,
        "node_memory_growth_mb": run.memory_mb[-1] - run.memory_mb[len(run.memory_mb) // 4] if run.memory_mb else 0.0,
        "camera_late_ms": 1e3 * run.late_s,
    }


def shortfalls(scenario: Scenario, found: Mapping[str, Any]) -> list[str]:
    """Why a camera's figures are less than promised, one sentence each."""
    publish, sent = found["stamp_to_publish_ms"], found["BasicPerformanceMetrics.NUM_FRAMES_SENT"]
    words = []
    if not found["processed"]:
        return [f"expected results of {sent} frames, got none"]
    if found["unaccounted"]:
        words.append(f"expected every frame processed or dropped with a reason, {found['unaccounted']} of {sent} are neither")
    for name, limit in (("p50", scenario.p50_ms), ("p95", scenario.p95_ms), ("p99", MAX_AGE_MS)):
        if limit is not None and publish[name] > limit:
            words.append(f"expected stamp to publish within {limit:g} ms at {name}, got {publish[name]:.1f} ms")
    share = 1.0 - found["processed"] / sent
    if scenario.dropped is not None and share >= scenario.dropped:
        words.append(f"expected less than {scenario.dropped:.0%} dropped, got {share:.1%}")
    outside = found["outside_of_pipeline_ms"]["p50"]
    if scenario.overhead_ms is not None and outside > scenario.overhead_ms:
        words.append(f"expected at most {scenario.overhead_ms:g} ms outside of the pipeline at p50, got {outside:.1f} ms")
    first, second = found["first_half_p95_ms"], found["second_half_p95_ms"]
    if second > DRIFT * first + 10.0:
        words.append(f"expected bounded latency, p95 went from {first:.0f} ms in the first half to {second:.0f} ms in the second")
    if found["node_memory_growth_mb"] > GROWTH_MB:
        words.append(f"expected at most {GROWTH_MB:g} MB gained, got {found['node_memory_growth_mb']:.1f} MB")
    return words


def lines(found: Mapping[str, Any]) -> list[str]:
    """The figures for people."""
    basic = {name.rpartition(".")[2]: value for name, value in found.items() if name.startswith("BasicPerformanceMetrics.")}
    drops = ", ".join(f"{count} {reason}" for reason, count in sorted(found["dropped"].items(), key=lambda item: -item[1]))
    return [
        f"frames             {basic['NUM_FRAMES_SENT']} sent, {found['processed']} processed; dropped: {drops or 'none'}; "
        f"unaccounted: {found['unaccounted']}",
        f"rate               {basic['MEAN_PLAYBACK_FRAME_RATE']:.1f} Hz sent, {basic['MEAN_FRAME_RATE']:.1f} Hz results, jitter "
        f"{basic['MEAN_JITTER']:.1f} ms mean, {basic['MAX_JITTER']:.1f} ms max",
        f"stamp to publish   {_words(found['stamp_to_publish_ms'])}",
        f"stamp to receipt   {_words(found['stamp_to_receipt_ms'])}, mean {basic['MEAN_LATENCY']:.1f} ms",
        f"of that pipeline   {_words(found['pipeline_ms'])}",
        "  its stages, p50  " + ", ".join(f"{stage} {spent['p50']:.1f}" for stage, spent in found["stages_ms"].items()),
        f"and outside of it  {_words(found['outside_of_pipeline_ms'])}: transport both ways, conversion, publishing",
        f"scene              {found['packages_per_frame']:.1f} packages a frame, depth in {found['depth_used_share']:.0%}",
        f"node               {found['node_cores']:.2f} cores, {found['node_memory_mb']:.0f} MB, "
        f"{found['node_memory_growth_mb']:+.1f} MB since the first quarter; camera at most {found['camera_late_ms']:.1f} ms late",
    ]


def _words(percentiles: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in percentiles.items()) + " ms"


def _percentiles(values: np.ndarray[Any, Any]) -> dict[str, float]:
    return {f"p{p}": _percentile(values, p) for p in (50, 95, 99)}


def _percentile(values: np.ndarray[Any, Any], p: int) -> float:
    return float(np.percentile(values, p)) if len(values) else float("nan")


def _rate(times_s: Sequence[float]) -> float:
    return (len(times_s) - 1) / (times_s[-1] - times_s[0]) if len(times_s) > 1 and times_s[-1] > times_s[0] else 0.0


def _stat(of: Any, values: np.ndarray[Any, Any]) -> float:
    return float(of(values)) if len(values) else float("nan")


def _at(values: np.ndarray[Any, Any], index: int) -> float:
    return float(values[index]) if len(values) else float("nan")

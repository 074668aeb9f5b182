"""The demo's figures, its table, and when they fall short of what a working cell delivers."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perception_node.bag.agreement import agreement
from perception_node.bag.truth import Truth
from perception_node.types import GRASP_KINDS

if TYPE_CHECKING:
    from perception_node.ros.collector import Received

LEAST_PROCESSED = 0.5
LEAST_FOUND_50 = 0.5
LEAST_PICKABLE_SCENES = 0.5
MOST_P95_S = 0.5
"""Below (above) these something is broken, on a slow machine too: half of the frames, half of the packages, a grasp in half of
the scenes, results within half a second. Source: judgement; what to expect is in docs/results.md."""

_DROP_WORDS = {"superseded": "replaced by a newer one while the node was busy", "too_old": "too old", "unpaired": "without depth",
               "lost_before": "lost on the way to the node", "lost_after": "lost on the way from the node"}
_PERCENTILES = (50, 95, 99)


def figures(received: Sequence[Received], sent: Sequence[tuple[int, int]], truth: Truth | None, *, first_scene_s: float,
            planner_lines: Sequence[str], diagnostics: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Everything that the table shows, as JSON values with units in the names.

    Args:
        received: scenes in order of arrival. sent: (stamp sent, stamp recorded) in ns. truth: of the recording, or None.
        first_scene_s: from the start to the first scene. planner_lines: what the planner printed.
        diagnostics: the node's last ones.
    """
    scenes = [r.scene for r in received]
    grasps = [grasp for scene in scenes for grasp in scene.grasps]
    count = max(len(scenes), 1)
    result: dict[str, Any] = {
        "frames": {"sent": len(sent), "processed": len(scenes), "dropped": len(sent) - len(scenes),
                   "reasons": _drops(diagnostics, len(sent), len(scenes))},
        "packages": {"per_frame": sum(len(s.tracks) for s in scenes) / count,
                     "tracks": len({t.track_id for s in scenes for t in s.tracks if t.track_id})},
        "grasps": {"per_frame": len(grasps) / count, "rejections_per_frame": sum(len(s.rejections) for s in scenes) / count,
                   "scenes_with_grasps": sum(bool(s.grasps) for s in scenes) / count,
                   **{kind: sum(grasp.kind == kind for grasp in grasps) / count for kind in GRASP_KINDS}},
        "stamp_to_publish_ms": _percentiles([r.publish_latency_s for r in received]),
        "stamp_to_receipt_ms": _percentiles([r.receipt_latency_s for r in received]),
        "stages_ms": {name: float(np.median([s.timing_ms[name] for s in scenes if name in s.timing_ms]))
                      for name in (scenes[-1].timing_ms if scenes else ())},
        "first_scene_s": first_scene_s,
        "degraded": dict(Counter(scene.degraded for scene in scenes if scene.degraded)),
        "model_id": scenes[-1].model_id if scenes else "",
        "planner": {"picks": len(planner_lines), "last": planner_lines[-1] if planner_lines else ""},
        "diagnostics": {name: dict(values) for name, values in diagnostics.items()},
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }
    known = [s.belt_velocity_m_s for s in scenes[len(scenes) // 2:] if s.belt_velocity_m_s is not None]
    result["belt_velocity_m_s"] = {"estimated": np.median(known, axis=0).round(4).tolist() if known else None, "true": None}
    if truth is not None:
        result["belt_velocity_m_s"]["true"] = (truth.belt_velocity_m_s * _rate(sent)).round(4).tolist()
        by_recorded = {frame.stamp_ns: frame for frame in truth.frames}
        recorded = dict(sent)
        pairs = [(by_recorded[recorded[s.stamp_ns]], s.segmentation.labels) for s in scenes
                 if recorded.get(s.stamp_ns) in by_recorded]
        result["masks"] = asdict(agreement(pairs))
    return result


def table(figures: Mapping[str, Any], files: Sequence[Path]) -> str:
    """The figures for people."""
    f, p, g = figures["frames"], figures["packages"], figures["grasps"]
    rows = [("frames", f"{f['sent']} sent, {f['processed']} processed, {f['dropped']} dropped" + _reasons(f["reasons"])),
            ("packages", f"{p['per_frame']:.1f} per frame; {p['tracks']} followed over the frames"),
            ("grasps", f"{g['per_frame']:.1f} per frame: {g['suction']:.1f} suction, {g['parallel_jaw']:.1f} parallel jaw; "
                       f"{g['rejections_per_frame']:.1f} rejections per frame, each with its reason"),
            ("planner", f"took {figures['planner']['picks']} packages; the last: {figures['planner']['last'] or 'none'}"),
            ("stamp to publish", _milliseconds(figures["stamp_to_publish_ms"]) + "  as the node measures"),
            ("stamp to receipt", _milliseconds(figures["stamp_to_receipt_ms"]) + "  as the receiver measures"),
            ("computation", ", ".join(f"{name} {value:.0f}" for name, value in figures["stages_ms"].items()) + " ms (medians)")]
    masks = figures.get("masks")
    if masks is not None:
        found = f"found {masks['found_50']:.1%} of packages at IoU 0.5, {masks['found_75']:.1%} at 0.75"
        rows.append(("masks against truth", f"{found}; mean IoU of the found {masks['mean_iou']:.3f}"))
        rows.append(("", f"{masks['merges']} merged, {masks['splits']} split, of {masks['packages']} packages in all frames"))
    belt = figures["belt_velocity_m_s"]
    said = "unknown" if belt["estimated"] is None else f"{np.linalg.norm(belt['estimated']):.3f} m/s"
    rows.append(("belt", said + (f", in truth {np.linalg.norm(belt['true']):.3f} m/s" if belt["true"] is not None else "")))
    rows += [("degraded", f"{count} frames: {words}") for words, count in figures["degraded"].items()]
    rows.append(("first result", f"{figures['first_scene_s']:.1f} s after the start"))
    rows.append(("model", figures["model_id"] or "unknown"))
    rows += [("files" if number == 0 else "", str(file)) for number, file in enumerate(files)]
    width = max(len(name) for name, _ in rows)
    return "\n".join(["", *(f"{name:<{width}}  {words}" for name, words in rows)])


def shortfalls(figures: Mapping[str, Any]) -> list[str]:
    """Why the result is less than a working cell's, one sentence each."""
    f, masks, p95 = figures["frames"], figures.get("masks"), figures["stamp_to_publish_ms"].get("p95")
    words = []
    if f["processed"] < LEAST_PROCESSED * f["sent"] or not f["sent"]:
        words.append(f"expected at least {LEAST_PROCESSED:.0%} of {f['sent']} frames processed, got {f['processed']}")
    if figures["grasps"]["scenes_with_grasps"] < LEAST_PICKABLE_SCENES:
        words.append(f"expected grasps in at least {LEAST_PICKABLE_SCENES:.0%} of the scenes, got them in "
                     f"{figures['grasps']['scenes_with_grasps']:.0%}")
    if masks is not None and masks["found_50"] < LEAST_FOUND_50:
        words.append(f"expected at least {LEAST_FOUND_50:.0%} of the packages found at IoU 0.5, got {masks['found_50']:.0%}")
    if p95 is not None and p95 > MOST_P95_S * 1e3:
        words.append(f"expected stamp to publish below {MOST_P95_S * 1e3:.0f} ms at p95, got {p95:.0f} ms")
    return words


def write_scenes(path: Path, received: Sequence[Received]) -> list[Path]:
    """One line of JSON per scene: what came when."""
    with path.open("w", encoding="utf-8") as file:
        for r in received:
            scene = r.scene
            best = scene.grasps[0] if scene.grasps else None
            file.write(json.dumps({
                "stamp_ns": scene.stamp_ns, "latency_ms": round(1e3 * r.publish_latency_s, 2),
                "packages": [{"label": t.label, "track_id": t.track_id, "class": t.class_name,
                              "position_m": t.T_cam_package[:3, 3].round(4).tolist(), "size_m": [round(v, 4) for v in t.size_m]}
                             for t in scene.tracks],
                "pick_order": list(scene.pick_order), "grasps": len(scene.grasps),
                "best": None if best is None else {"kind": best.kind, "label": best.label, "score": round(best.score, 3),
                                                   "position_m": best.T_cam_grasp[:3, 3].round(4).tolist()},
                "rejections": [{"label": x.label, "kind": x.kind, "reason": x.reason} for x in scene.rejections],
                "degraded": scene.degraded}) + "\n")
    return [path]


def _rate(sent: Sequence[tuple[int, int]]) -> float:
    """How many times faster than recorded it was played: the belt moves so much faster, too."""
    played_ns = sent[-1][0] - sent[0][0] if sent else 0
    return (sent[-1][1] - sent[0][1]) / played_ns if played_ns > 0 else 1.0


def _drops(diagnostics: Mapping[str, Mapping[str, str]], sent: int, received: int) -> dict[str, int]:
    """Frames that were dropped, by reason: as the node's diagnostics say, and those lost before and after it."""
    values = {key: int(text) for status in diagnostics.values() for key, text in status.items() if text.isdigit()}
    counts = {key.removeprefix("dropped_"): count for key, count in values.items() if key.startswith("dropped_")}
    counts["lost_before"] = sent - values.get("colour_received", sent)
    counts["lost_after"] = values.get("results", received) - received
    return {reason: count for reason, count in counts.items() if count > 0}


def _reasons(counts: Mapping[str, int]) -> str:
    words = ", ".join(f"{count} {_DROP_WORDS.get(reason, reason)}" for reason, count in counts.items())
    return f": {words}" if words else ""


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    return {f"p{p}": float(np.percentile(seconds, p)) * 1e3 for p in _PERCENTILES} if seconds else {}


def _milliseconds(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.0f} ms" for name, value in values.items()) or "unknown"

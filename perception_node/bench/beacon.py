"""`perception bench beacon`: docking runs towards simulated LED beacons; errors against the truth, by range, and times."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from perception_node.arguments import file_to_write, one_or_more, zero_or_more
from perception_node.beacon.blobs import Gray
from perception_node.beacon.hypotheses import difference
from perception_node.beacon.limits import FIXED, Limits
from perception_node.beacon.tracker import BeaconPose, BeaconTracker
from perception_node.files import put_json
from perception_node.sim import beacon_run as runs
from perception_node.types import F64

WRONG_RAD, WRONG_SHARE = np.deg2rad(8.0), 0.05
"""A pose is wrong (flipped, mixed up, another light) when its attitude is off by more, or its position by more of the range."""
THREE_SIGMA = 20.06
"""Squared Mahalanobis distance within which 99.73 % of six-dimensional errors lie: three standard deviations."""
MAIN, FIXED_LIMITS = "raised square", "the same with fixed limits"
BINS_M = (0.15, 0.3, 0.5, 0.8, 1.2, 2.0, 3.01)
TARGETS: dict[str, tuple[float, int]] = {
    "pose_share": (0.99, 1), "wrong": (0.0, -1), "position_share_p50": (0.003, -1), "position_near_mm_p50": (0.5, -1),
    "attitude_1m_deg_p50": (0.5, -1), "attitude_near_deg_p50": (0.2, -1), "within_3_sigma": (0.99, 1), "ms_p50": (2.0, -1)}
"""Figure -> target, and whether more (1) or less (-1) is better."""
WORDS = {"pose_share": "frames with a good pose", "wrong": "wrong poses reported as good",
         "position_share_p50": "position error / range, median", "position_near_mm_p50": "position error below 0.5 m, median",
         "attitude_1m_deg_p50": "attitude error at 1 m, median", "attitude_near_deg_p50": "attitude error below 0.5 m, median",
         "within_3_sigma": "within three standard deviations", "ms_p50": "time per frame while tracking, p50"}


@dataclass
class Tally:
    """What happened over several runs, one entry per frame; errors are NaN where there was no pose."""

    range_m: list[float] = field(default_factory=list)
    position_m: list[float] = field(default_factory=list)
    attitude_rad: list[float] = field(default_factory=list)
    mahalanobis2: list[float] = field(default_factory=list)
    kind: list[str] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)

    def add(self, pose: BeaconPose | None, truth: F64, ms: float) -> None:
        """Judge one frame. `kind`: good, ambiguous, degraded or none."""
        self.range_m.append(float(np.linalg.norm(truth[:3, 3])))
        self.ms.append(ms)
        error = np.full(6, np.nan) if pose is None else difference(pose.T_cam_beacon, truth)
        self.position_m.append(float(np.linalg.norm(error[:3])))
        self.attitude_rad.append(float(np.linalg.norm(error[3:])))
        self.mahalanobis2.append(float("nan") if pose is None else float(error @ np.linalg.solve(pose.covariance, error)))
        self.kind.append("none" if pose is None else "ambiguous" if pose.alternatives else "degraded" if pose.degraded else "good")


@dataclass(frozen=True)
class Scenario:
    """Runs of one kind: layout, conditions, how many."""

    name: str
    leds_m: F64
    conditions: runs.Conditions
    share: float


def scenarios() -> list[Scenario]:
    """What is measured besides the main runs."""
    hide_five, hide_four = runs.Conditions(hide=(1, 3.0, 5.0)), runs.Conditions(hide=(1, 3.0, 4.0))
    return [
        Scenario("flat, one light moved", runs.FLAT, runs.Conditions(), share=0.5),
        Scenario("flat square", runs.SQUARE, runs.Conditions(), share=0.25),
        Scenario("five lights, one hidden for 2 s", runs.FIVE, hide_five, share=0.5),
        Scenario("four lights, one hidden for 1 s", runs.RAISED, hide_four, share=0.5),
        Scenario("open frame, lamps shine through it", runs.RAISED, runs.Conditions(plate=False), share=0.5),
        Scenario("16 bit pictures of 12 bits", runs.RAISED, runs.Conditions(bits=12), share=0.25),
        Scenario("eight lights, 5 m to 0.1 m", runs.EIGHT, runs.Conditions(start_m=5.0, end_m=0.1), share=0.5),
    ]


def follow(frames: Iterator[runs.BeaconFrame], leds_m: F64, tallies: Sequence[tuple[Tally, Limits | None]],
           each: Callable[[runs.BeaconFrame, BeaconTracker], None] | None = None) -> None:
    """One run through a fresh tracker for each tally, with its fixed limits or (None) the schedule; `each` sees the first one."""
    trackers = [BeaconTracker(runs.CAMERA, leds_m, limits=limits) for _, limits in tallies]
    for frame in frames:
        for (tally, _), tracker in zip(tallies, trackers, strict=True):
            was_tracking = tracker.state == "tracking"
            began = time.process_time()
            pose = tracker.update(frame.gray, frame.stamp_ns)
            spent = 1e3 * (time.process_time() - began)
            tally.add(pose, frame.T_cam_beacon, spent if was_tracking and pose is not None else float("nan"))
        if each is not None:
            each(frame, trackers[0])


def figures(tally: Tally) -> dict[str, Any]:
    """The tally as shares, medians and percentiles. Errors are those of poses reported as good."""
    kind = np.array(tally.kind)
    good = kind == "good"
    distance, position = np.array(tally.range_m), np.array(tally.position_m)
    attitude, far2 = np.array(tally.attitude_rad), np.array(tally.mahalanobis2)
    wrong = good & ((attitude > WRONG_RAD) | (position > WRONG_SHARE * distance))

    def middle(values: Any, where: Any, share: float = 50.0) -> float | None:
        return float(np.percentile(values[where], share)) if where.any() else None

    near, at_one = good & (distance < 0.5), good & (distance > 0.8) & (distance < 1.2)
    timed = np.array(tally.ms)[np.isfinite(tally.ms)]
    some = kind != "none"
    return {
        "frames": len(kind), "pose_share": float(good.mean()), "wrong": int(wrong.sum()),
        **{f"{name}_share": float((kind == name).mean()) for name in ("ambiguous", "degraded", "none")},
        "position_share_p50": middle(position / distance, good), "position_share_p99": middle(position / distance, good, 99.0),
        "position_near_mm_p50": middle(1e3 * position, near), "attitude_1m_deg_p50": middle(np.rad2deg(attitude), at_one),
        "attitude_near_deg_p50": middle(np.rad2deg(attitude), near),
        "within_3_sigma": float((far2[some] <= THREE_SIGMA).mean()) if some.any() else None,
        "mahalanobis2_mean": float(far2[some].mean()) if some.any() else None,
        "ms_p50": float(np.median(timed)) if len(timed) else None,
        "ms_p95": float(np.percentile(timed, 95)) if len(timed) else None,
        "by_range": [{
            "from_m": low, "to_m": high, "frames": int(inside.sum()), "good": float((good & inside).sum() / max(inside.sum(), 1)),
            **{f"position_mm_p{share}": middle(1e3 * position, good & inside, share) for share in (50, 95)},
            **{f"attitude_deg_p{share}": middle(np.rad2deg(attitude), good & inside, share) for share in (50, 95)}}
            for low, high in zip(BINS_M[:-1], BINS_M[1:], strict=True) for inside in [(distance >= low) & (distance < high)]],
    }


class Detectors:
    """Times and centre errors of our spots and of OpenCV's SimpleBlobDetector, on some of the pictures."""

    def __init__(self) -> None:
        parameters = cv2.SimpleBlobDetector.Params()
        parameters.filterByColor, parameters.blobColor = True, 255
        parameters.filterByArea, parameters.minArea, parameters.maxArea = True, 3.0, 12_000.0
        parameters.filterByCircularity, parameters.minCircularity = True, 0.3
        parameters.filterByInertia, parameters.filterByConvexity = False, False
        parameters.minThreshold, parameters.maxThreshold, parameters.thresholdStep = 40, 250, 30
        parameters.minDistBetweenBlobs, parameters.minRepeatability = 5, 1
        self._blobs = cv2.SimpleBlobDetector.create(parameters)
        self.rows: list[dict[str, float]] = []
        self._count = 0

    def __call__(self, frame: runs.BeaconFrame, tracker: BeaconTracker) -> None:
        """Compare on every fifteenth picture that was tracked."""
        self._count += 1
        if self._count % 15 or tracker.state != "tracking":
            return
        true = frame.lights_px
        whole_ms, centres = self._timed(frame.gray, 0, 0)
        windows_ms = sum(self._timed(frame.gray[y0:y1, x0:x1], x0, y0)[0] for x0, y0, x1, y1 in tracker.windows)
        self.rows.append({"range_m": frame.range_m, "whole_ms": whole_ms, "windows_ms": windows_ms,
                          "simple_px": _off(centres, true), "ours_px": _off(tracker.centres_px, true)})

    def _timed(self, gray: Gray, left: int, upper: int) -> tuple[float, F64]:
        eight = gray if gray.dtype == np.uint8 else cv2.convertScaleAbs(gray, alpha=255.0 / 4095.0)
        began = time.process_time()
        found = self._blobs.detect(np.ascontiguousarray(eight))
        return 1e3 * (time.process_time() - began), np.array([(p.pt[0] + left, p.pt[1] + upper) for p in found]).reshape(-1, 2)

    def figures(self) -> dict[str, Any]:
        """Medians: far (no flare) and near (flare)."""
        table: dict[str, Any] = {"pictures": len(self.rows)}
        for name in ("whole_ms", "windows_ms"):
            table[name] = float(np.median([row[name] for row in self.rows])) if self.rows else None
        for place, low, high in (("far", 0.6, 99.0), ("near", 0.0, 0.6)):
            rows = [row for row in self.rows if low <= row["range_m"] < high]
            for name in ("simple_px", "ours_px"):
                table[f"{name}_{place}"] = float(np.median([r[name] for r in rows])) if rows else None
        return table


def _off(centres: F64, true: F64) -> float:
    """Root mean square distance of the true lights from the nearest centres, those within 8 px."""
    if not len(centres):
        return float("nan")
    gaps = np.linalg.norm(true[:, None] - centres[None], axis=2).min(axis=1)
    return float(np.sqrt((gaps[gaps < 8.0] ** 2).mean())) if (gaps < 8.0).any() else float("nan")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `perception bench beacon`."""
    parser.add_argument("--runs", type=one_or_more, default=20,
                        help="docking runs of the main scenario, each with its own seed; the other "
                        "scenarios make a quarter to a half of it (default 20)")
    parser.add_argument("--first-seed", type=zero_or_more, default=1000, help="seed of the first run")
    parser.add_argument("--main-only", action="store_true", help="leave out the other scenarios")
    parser.add_argument("--plot", type=file_to_write, help="draw errors over range into this PNG file (needs matplotlib)")
    parser.add_argument("--json", type=file_to_write, help="write all figures to this file")


def run(args: argparse.Namespace) -> int:
    """Measure and print tables in Markdown.

    Returns:
        0, or 1 when a target of `TARGETS` is missed.
    """
    from tqdm import tqdm

    cv2.setNumThreads(1)
    others = [] if args.main_only else scenarios()
    numbers = [max(1, round(s.share * args.runs)) for s in others]
    bar = tqdm(total=args.runs + sum(numbers), unit="run", disable=None)
    tallies, detectors = {MAIN: Tally(), FIXED_LIMITS: Tally()}, Detectors()
    for seed in range(args.first_seed, args.first_seed + args.runs):
        follow(runs.docking_run(seed, runs.RAISED), runs.RAISED, [(tallies[MAIN], None), (tallies[FIXED_LIMITS], FIXED)], detectors)
        bar.update()
    for scenario, count in zip(others, numbers, strict=True):
        tally = tallies[scenario.name] = Tally()
        for seed in range(args.first_seed, args.first_seed + count):
            follow(runs.docking_run(seed, scenario.leds_m, scenario.conditions), scenario.leds_m, [(tally, None)])
            bar.update()
    bar.close()
    results = {name: figures(tally) for name, tally in tallies.items()}
    result = {"machine": platform.processor() or platform.machine(), "runs": args.runs, "scenarios": results,
              "detectors": detectors.figures()}
    _print(results, result["detectors"])
    if args.plot:
        from perception_node.bench.beacon_plot import draw
        draw(args.plot, tallies[MAIN], tallies[FIXED_LIMITS])
    if args.json:
        put_json(args.json, result)
    main = results[MAIN]
    return 0 if all(main[name] is not None and way * main[name] >= way * wanted for name, (wanted, way) in TARGETS.items()) else 1


def _print(results: dict[str, Any], detectors: dict[str, Any]) -> None:
    main, fixed = results[MAIN], results[FIXED_LIMITS]
    print(f"| raised square, {main['frames']} frames | target | scheduled limits | fixed limits |\n| --- | --- | --- | --- |")
    for name, (wanted, _) in TARGETS.items():
        print(f"| {WORDS[name]} | {_text(name, wanted)} | {_text(name, main[name])} | {_text(name, fixed[name])} |")
    print(f"\nsquared Mahalanobis distance, mean: {main['mahalanobis2_mean']:.2f} (6 = exactly as uncertain as claimed); "
          f"p95 of the time {main['ms_p95'] or float('nan'):.2f} ms\n")
    print("| range | position, p50 / p95 | attitude, p50 / p95 | good poses | fixed limits: good poses |")
    print("| --- | --- | --- | --- | --- |")
    for k, row in enumerate(main["by_range"]):
        if row["frames"] and row["position_mm_p50"] is not None:
            other = f"{100 * fixed['by_range'][k]['good']:.1f} %"
            print(f"| {row['from_m']:g} to {row['to_m']:.2g} m | {row['position_mm_p50']:.2f} / {row['position_mm_p95']:.2f} mm | "
                  f"{row['attitude_deg_p50']:.2f} / {row['attitude_deg_p95']:.2f} deg | {100 * row['good']:.1f} % | {other} |")
    print("\n| scenario | frames | good | ambiguous | degraded | none | wrong | position / range, p50 | within 3 sigma |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, row in results.items():
        shares = " | ".join(f"{100 * row[key]:.1f} %" for key in ("pose_share", "ambiguous_share", "degraded_share", "none_share"))
        rest = " | ".join(_text(key, row[key]) for key in ("position_share_p50", "within_3_sigma"))
        print(f"| {name} | {row['frames']} | {shares} | {row['wrong']} | {rest} |")
    print("\n| detector | time | centres, rms, beyond 0.6 m | below 0.6 m (flare) |\n| --- | --- | --- | --- |")
    print(f"| SimpleBlobDetector, 8 thresholds | {_ms(detectors['whole_ms'])} whole picture, {_ms(detectors['windows_ms'])} in our "
          f"windows | {_px(detectors['simple_px_far'])} | {_px(detectors['simple_px_near'])} |")
    print(f"| windows, one threshold, weighted middle | within the {_ms(main['ms_p50'])} of the whole step | "
          f"{_px(detectors['ours_px_far'])} | {_px(detectors['ours_px_near'])} |")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} ms"


def _px(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} px"


def _text(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name in ("pose_share", "within_3_sigma"):
        return f"{100 * value:.1f} %"
    if name == "position_share_p50":
        return f"{100 * value:.3f} %"
    unit = "mm" if "_mm_" in name else "deg" if "_deg_" in name else "ms" if name.startswith("ms") else ""
    return f"{value:.0f}" if not unit else f"{value:.2f} {unit}"

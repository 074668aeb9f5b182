"""What lies on what along simulated belts: how often it changes from one frame to the next, and how right it is in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from tqdm import tqdm

from perception_node.bench.belts import Moment, TrueFrame, true_segmentation
from perception_node.bench.cover import Tally, figures, judge, true_relations
from perception_node.bench.track import owners_of
from perception_node.config import Config, from_flat
from perception_node.errors import PerceptionError
from perception_node.files import put_json
from perception_node.learn.scenes import TrueMasks
from perception_node.locate import locate_packages
from perception_node.pipeline import Pipeline
from perception_node.types import Package

WAYS = {"alone": "each frame alone", "over_time": "over all frames"}
TARGETS = {"changes_per_100": 2.0}
"""Of what the pipeline says (over all frames)."""


@dataclass
class Changes:
    """Counts over belts. pairs: neighbours (their outlines' rectangles meet) that were in sight in the frame before, too.
    came, gone, turned: relations between two tracks that were both in sight in the frame before."""

    pairs: int = 0
    came: int = 0
    gone: int = 0
    turned: int = 0
    before: dict[frozenset[int], int] = field(default_factory=dict)
    tracks: frozenset[int] = frozenset()

    def start(self) -> None:
        """Another belt begins."""
        self.before, self.tracks = {}, frozenset()

    def add(self, relations: set[tuple[int, int]], neighbours: set[frozenset[int]], tracks: frozenset[int]) -> None:
        """Count one frame in.

        Args:
            relations: (upper, lower) track ids. neighbours: pairs of track ids. tracks: all track ids in sight.
        """
        both = tracks & self.tracks
        now = {frozenset(pair): pair[0] for pair in relations}
        self.pairs += sum(pair <= both for pair in neighbours)
        for pair in now.keys() | self.before.keys():
            was, upper = self.before.get(pair), now.get(pair)
            if pair <= both and was != upper:
                self.came += was is None
                self.gone += upper is None
                self.turned += was is not None and upper is not None
        self.before, self.tracks = now, tracks


@dataclass
class Result:
    """Both ways to say it, on the same tracks: by each frame alone and as the pipeline says it."""

    changes: dict[str, Changes] = field(default_factory=lambda: {way: Changes() for way in WAYS})
    right: dict[str, Tally] = field(default_factory=lambda: {way: Tally() for way in WAYS})


def follow(recorded: Sequence[TrueFrame], masks: str, result: Result) -> None:
    """Run one belt through the pipeline and add what it says.

    Args:
        recorded: frames in a row. masks: "truth" or "model".
    """
    settings: dict[str, Any] = {"belt.plane": tuple(float(n) for n in recorded[0].belt_plane)}
    stand_in = TrueMasks()
    if masks == "truth":
        settings["segment.score_threshold"] = 0.0
    pipeline = Pipeline(from_flat(settings, Config()), stand_in if masks == "truth" else None)
    for changes in result.changes.values():
        changes.start()
    for number, true in enumerate(recorded):
        stand_in.next, ids = true_segmentation(true, Moment(number, 0.0))
        scene = pipeline.process(true.frame)
        owners = dict(enumerate(ids, start=1)) if masks == "truth" else owners_of(scene, true)
        boxes = {int(package.package_id): (package.T_cam_package, package.size_m) for package in true.packages}
        relations = true_relations({i: boxes[i] for i in set(owners.values())}, true.belt_plane)
        located = locate_packages(true.frame, scene.segmentation, pipeline.config.belt)
        track_of = {track.label: track.track_id for track in scene.tracks}
        neighbours = _neighbours(located.items, track_of)
        for way, packages, order in (("alone", located.items, located.pick_order),
                                     ("over_time", [track.package for track in scene.tracks], scene.pick_order)):
            pairs = {(upper, package.label) for package in packages for upper in package.covered_by}
            result.changes[way].add({(track_of[u], track_of[low]) for u, low in pairs}, neighbours,
                                    frozenset(track_of.values()) - {0})
            judge(relations, {(owners[u], owners[low]) for u, low in pairs if u in owners and low in owners},
                  [owners[label] for label in order if label in owners], result.right[way])


def _neighbours(packages: Sequence[Package], track_of: Mapping[int, int]) -> set[frozenset[int]]:
    found = set()
    for a, b in combinations([package for package in packages if package.outline is not None], 2):
        assert a.outline is not None
        assert b.outline is not None
        left, top, right, bottom = a.outline
        if left <= b.outline[2] and b.outline[0] <= right and top <= b.outline[3] and b.outline[1] <= bottom:
            found.add(frozenset((track_of[a.label], track_of[b.label])))
    return found


def belt_figures(result: Result) -> dict[str, dict[str, float | int | None]]:
    """By way of saying it: changes per 100 pairs of neighbours and frame, their kinds, and precision and recall."""
    table = {}
    for way, changes in result.changes.items():
        count = changes.came + changes.gone + changes.turned
        table[way] = figures(result.right[way]) | {
            "pairs": changes.pairs, "came": changes.came, "gone": changes.gone, "turned": changes.turned,
            "changes_per_100": 100 * count / changes.pairs if changes.pairs else None}
    return table


def run_belts(seeds: Sequence[int], frames: int, fps: float, speed_m_s: float, masks: str, json_path: Path | None) -> int:
    """Judge simulated belts and print a table.

    Returns:
        0, or 1 when `TARGETS` is missed.

    Raises:
        PerceptionError: fewer than two frames.
    """
    from perception_node.sim.conveyor import conveyor_sequence

    if frames < 2:
        raise PerceptionError(f"--frames: expected 2 or more for belts, got {frames}")
    result = Result()
    for seed in tqdm(seeds, desc="belts", disable=None):
        follow(list(conveyor_sequence(seed, frames, fps, speed_m_s)), masks, result)
    table = belt_figures(result)

    def percent(value: float | int | None) -> str:
        return "-" if value is None else f"{100 * value:.1f}"

    print(f"masks: {masks}; {len(seeds)} belts of {frames} frames; what lies on what between two tracks, from one frame to the")
    print(f"next, of {table['alone']['pairs']} times that two neighbours were in sight in both; target: "
          f"{TARGETS['changes_per_100']:.0f} changes per 100 over all frames")
    print(f"{'':18s}{'changes':>9s}{'':>8s}{'':>8s}{'':>8s}{'relations %':>20s}{'covered packages %':>20s}{'order':>9s}")
    print(f"{'':18s}{'per 100':>9s}{'come':>8s}{'gone':>8s}{'turned':>8s}{'precision':>12s}{'recall':>8s}{'precision':>12s}"
          f"{'recall':>8s}{'turned %':>9s}")
    for way, row in table.items():
        changes = "-" if row["changes_per_100"] is None else f"{row['changes_per_100']:.2f}"
        print(f"{WAYS[way]:18s}{changes:>9s}{row['came']:8d}{row['gone']:8d}{row['turned']:8d}{percent(row['precision']):>12s}"
              f"{percent(row['recall']):>8s}{percent(row['covered_precision']):>12s}{percent(row['covered_recall']):>8s}"
              f"{percent(row['order_turned']):>9s}")
    if json_path:
        put_json(json_path, table | {"masks": masks, "seeds": list(seeds)})
    count = table["over_time"]["changes_per_100"]
    return int(count is None or count > TARGETS["changes_per_100"])

"""`perception promote CANDIDATE REGISTRY`: a new model for all cells, only if no cell loses by it."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from perception_node.arguments import folder_to_write, one_or_more, zero_or_more, zero_to_one
from perception_node.errors import DatasetError, ModelError, PerceptionError
from perception_node.files import put_json
from perception_node.fleet.bootstrap import RESAMPLES
from perception_node.fleet.judging import Contender, JudgedCell, judge_cell, judge_replay
from perception_node.fleet.mix import SHARES, mixed
from perception_node.fleet.registry import Registry, champion_of, held, read_registry, verify, write_registry
from perception_node.fleet.verdict import Decision, decide, draw_losses, table
from perception_node.learn.dataset import Entry
from perception_node.segment.weights import ModelCard, check_weights, default_weights, file_sha256, read_card
from perception_node.spread import Spread, add_spread_arguments, gather

_ALONE = Spread()


def lineage(card: ModelCard, weights: Path) -> set[str]:
    """Content hashes of the data that a model and its ancestors were trained on, as far as their cards know them.

    Raises:
        ModelError: the card does not say where the model comes from.
    """
    found: set[str] = set()
    training: Any = card.training
    while True:
        if not isinstance(training, Mapping) or not training.get("data") or not {"seed", "steps"} <= set(training):
            raise ModelError(f"model card of {weights}: expected a lineage (training: data, seed, steps, parent), got "
                             f"{sorted(map(str, training)) if isinstance(training, Mapping) else training!r}")
        hashes, parent = training.get("data_sha256") or [], training.get("parent")
        if not isinstance(hashes, list) or not isinstance(parent or {}, Mapping):
            raise ModelError(f"model card of {weights}: expected a list data_sha256 and a mapping parent in its lineage, got "
                             f"{type(hashes).__name__} and {type(parent).__name__}")
        found.update(map(str, hashes))
        if not parent:
            return found
        training = parent.get("training") or {}


def check_classes(card: ModelCard, candidate: Path, champion: Path, new_classes: bool = False) -> None:
    """Make sure that a candidate tells the champion's classes apart: all of them, and no others unless that is wanted.

    Raises:
        ModelError: it does not.
    """
    theirs = read_card(champion).classes
    missing = [name for name in theirs if name not in card.classes]
    more = [name for name in card.classes if name not in theirs]
    if missing or (more and not new_classes):
        words = [f"without {', '.join(missing)}"] if missing else []
        words += [f"also {', '.join(more)}" + ("" if missing else " (wanted? --new-classes)")] if more else []
        raise ModelError(f"candidate {candidate}: expected the champion's classes {', '.join(theirs)}, got {'; '.join(words)}")


def promote(candidate: Path, path: Path, out: Path | None = None, strict: bool = False, runtime: str = "auto", threads: int = 2,
            resamples: int = RESAMPLES, seed: int = 0, dry: bool = False, progress: bool = True, how: Spread = _ALONE,
            new_classes: bool = False, shares: Sequence[float] = ()) -> Decision:
    """Judge a candidate against the champion on everything that is registered; make it the champion if nothing speaks against it.

    With `shares`, mixtures of both are judged, too: the champion will be the one with the greatest mean gain of those that nothing
    speaks against. A choice of the best of four is a little luckier than one alone: intervals are those of the chosen one.

    Args:
        candidate: .onnx file with its card. path: the registry. out: folder for pictures of what got worse, and for mixtures.
        strict: see `decide`.
        runtime, threads: of both models. resamples, seed: of the bootstrap. dry: change nothing. progress: show bars.
        how: where cells and replays are judged; the decision is the same. new_classes: the candidate may know more classes.
        shares: of the candidate in the mixtures, each between 0 and 1.

    Raises:
        PerceptionError: the candidate, its card, the registry or anything that it names is missing, broken or changed, the
            candidate's classes are not the champion's, or another process is changing the registry. The champion stays.
    """
    if shares and out is None:
        raise DatasetError("--mix: expected a folder for the mixtures (--out), got none")
    if not all(0.01 <= share <= 0.99 for share in shares):
        raise DatasetError(f"--mix: expected shares of the candidate from 0.01 to 0.99, got {list(shares)}")
    with held(path):
        registry = read_registry(path)
        card, digest = check_weights(candidate)
        trained_on = lineage(card, candidate)
        champion = champion_of(registry)
        if digest == file_sha256(champion):
            raise ModelError(f"candidate {candidate}: expected another model than the champion {champion}, got the same")
        check_classes(card, candidate, champion, new_classes)
        for cell, one in registry.sets("judge"):
            if one.sha256 in trained_on:
                raise ModelError(f"candidate {candidate}: was trained on {one.path}, which judges {cell.name}")
        if not any(True for _ in registry.sets("judge")):
            raise DatasetError(f"{path}: expected a judging set at least, found none in {len(registry.cells)} cells")
        reports = verify(registry, progress, how)
        models = {1.0: candidate}
        if shares:
            assert out is not None
            shown = {one.path: reports[one.path].entries for cell in registry.cells for one in cell.sets}
            labelled = [entry for _, one in registry.sets("train") for entry in shown[one.path]]
            both = trained_on | lineage(read_card(champion), champion)
            models |= {share: mixed(candidate, card, champion, share, out, both, shown, labelled)
                       for share in sorted({round(share, 2) for share in shares}, reverse=True)}
        old = Contender(champion, file_sha256(champion), runtime, threads)
        entries = {one.path: reports[one.path].entries for _, one in registry.sets("judge")}
        tried = [_attempt(registry, entries, old, Contender(model, file_sha256(model), runtime, threads), share, strict, resamples,
                          seed, progress, how) for share, model in models.items()]
        decision, new, judged = max(tried, key=lambda one: (one[0].promoted, one[0].mean.gain if one[0].promoted else one[0].share))
        decision = replace(decision, others=tuple(one for one, _, _ in tried if one is not decision))
        if out is not None:
            put_json(out / "decision.json", decision.to_json())
            for verdict, found in zip(decision.cells, judged, strict=True):
                if found.worst and (verdict.loses or not verdict.certain):
                    draw_losses(found, old, new, out / f"{found.cell}.png")
        if decision.promoted and not dry:
            _crown(registry, new.path, new.sha256, decision)
        return decision


def _attempt(registry: Registry, entries: Mapping[Path, Sequence[Entry]], old: Contender, new: Contender, share: float,
             strict: bool, resamples: int, seed: int, progress: bool,
             how: Spread) -> tuple[Decision, Contender, Sequence[JudgedCell]]:
    """Judge one model against the champion on all cells and replays. entries: of the judging sets, by path."""
    cells = [(cell, {one.path: entries[one.path] for one in cell.sets if one.split == "judge"}, old, new, resamples, seed + k)
             for k, cell in enumerate(registry.cells)]
    judged = gather(judge_cell, cells, how, "judge", "cell", progress)
    _same_software(judged)
    replays = [(cell.name, one) for cell in registry.cells for one in cell.replays]
    jobs = [(one, new.path, new.runtime, new.threads) for _, one in replays]
    said = gather(judge_replay, jobs, how, "replay", "recording", progress)
    wrong = [(name, words) for (name, _), words in zip(replays, said, strict=True) if words]
    decision = decide([(one, tuple(words for name, words in wrong if name == one.cell)) for one in judged], strict)
    return replace(decision, model=new.path, share=share), new, judged


def _same_software(judged: Sequence[JudgedCell]) -> None:
    """Make sure that all cells were judged alike.

    Raises:
        ModelError: machines of a cluster ran other versions or runtimes.
    """
    ran = Counter(one.ran_on for one in judged if one.ran_on)
    if len(ran) > 1:
        found = "; ".join(f"{words} for {count} cells" for words, count in ran.most_common())
        raise ModelError(f"expected one version and one pair of runtimes on all machines (--runtime names it), got {found}")


def _crown(registry: Registry, candidate: Path, digest: str, decision: Decision) -> None:
    """Write the candidate into the registry as champion; the golden replays of the old one are judged with it from now on."""
    data = dict(registry.data)
    model = os.path.relpath(candidate.resolve(), registry.path.parent.resolve())
    old = dict(data.get("champion") or {"model": "shipped", "sha256": file_sha256(default_weights())})
    data["champion"] = {"model": model, "sha256": digest}
    entry: dict[str, Any] = {
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"), **data["champion"], "instead_of": old["sha256"],
        "mean_ap": [round(decision.mean.before, 4), round(decision.mean.after, 4)],
        "cells": {v.cell: [round(v.change.before, 4), round(v.change.after, 4)] for v in decision.cells if v.change is not None}}
    data["promotions"] = [*(data.get("promotions") or []), entry]
    write_registry(registry.path, data)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `perception promote`."""
    parser.add_argument("candidate", type=Path, metavar="CANDIDATE", help=".onnx file with its card beside it")
    parser.add_argument("registry", type=Path, metavar="REGISTRY", help="YAML file of `perception fleet`")
    parser.add_argument("--strict", action="store_true", help="chance must be ruled out: each cell's whole interval (95 %%) within "
                        "its tolerance, that of the mean above zero")
    parser.add_argument("--mix", nargs="*", type=zero_to_one, metavar="SHARE",
                        help="judge mixtures of candidate and champion, too, and take the best one that no cell loses by: shares "
                        f"of the candidate (--mix alone: {' '.join(map(str, SHARES))}); they are written into --out")
    parser.add_argument("--dry-run", action="store_true", help="judge only; the registry stays as it is")
    parser.add_argument("--new-classes", action="store_true", help="the candidate may know classes that the champion does not")
    parser.add_argument("--out", type=folder_to_write, metavar="DIR",
                        help="folder for decision.json, pictures of what got worse, and mixtures")
    parser.add_argument("--runtime", default="auto", choices=("auto", "openvino", "onnxruntime", "torch"),
                        help="what runs both models")
    parser.add_argument("--threads", type=zero_or_more, default=2, help="CPU threads (0: the runtime's choice)")
    parser.add_argument("--resamples", type=one_or_more, default=RESAMPLES, help="drawings of the bootstrap (default: %(default)s)")
    parser.add_argument("--seed", type=zero_or_more, default=0, help="of the bootstrap (default: %(default)s)")
    add_spread_arguments(parser, "cells and replays")


def run(args: argparse.Namespace) -> int:
    """Judge and decide; exit status 0 promoted, 1 refused, 2 for bad input (the champion stays)."""
    try:
        decision = promote(args.candidate, args.registry, args.out, args.strict, args.runtime, args.threads, args.resamples,
                           args.seed, args.dry_run, how=Spread(args.processes, args.over, args.threads),
                           new_classes=args.new_classes, shares=() if args.mix is None else args.mix or SHARES)
    except (PerceptionError, OSError) as error:
        print(f"promote: {error}", file=sys.stderr)
        return 2
    print(table(decision))
    if args.out is not None:
        print(f"written: {args.out / 'decision.json'} and pictures of cells that lose, or may")
    if decision.promoted:
        print(f"{decision.model} {'could be' if args.dry_run else 'is'} the champion of {args.registry}")
    return 0 if decision.promoted else 1

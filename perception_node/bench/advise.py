"""`perception bench advise`: how well operators are understood, how fast, and whether the ranking that learns fails less."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from perception_node.advise.advisor import Advisor
from perception_node.advise.grammar import compose, understand
from perception_node.advise.request import CHOICES
from perception_node.advise.tagging import read, tagged
from perception_node.arguments import file_to_write, one_or_more, zero_or_more
from perception_node.bench import picks
from perception_node.bench.learned import ActionModel
from perception_node.bench.utterances import Described, Utterance, load_scenes, load_utterances
from perception_node.errors import PerceptionError
from perception_node.files import put_json

TARGETS = {"action": 0.97, "arguments": 0.93, "wrong_choices": 0, "answer_ms_p99": 10.0, "recovery_picks": 300}
FILES = ("utterances", "rehearsal", "fresh", "final", "strangers", "practice", "unseen", "independent")
POLICIES: dict[str, tuple[picks.Policy, float]] = {
    "knows the truth": ("truth", 0.0), "scores as proposed": ("prior", 0.0), "learns, greedy": ("learns", 0.0),
    "learns and explores": ("learns", 0.1)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--utterances", type=Path, metavar="FOLDER", help="collected utterances and their scenes "
                        "(test/data/utterances of the repository); default: only the picking is measured")
    parser.add_argument("--picks", type=zero_or_more, default=5000, help="simulated picks of each run (default: 5000; 0 = none)")
    parser.add_argument("--seeds", type=one_or_more, default=3, help="runs of each policy (default: 3)")
    parser.add_argument("--plot", type=file_to_write, metavar="PNG", help="draw the failure rates into this file")
    parser.add_argument("--json", type=file_to_write, metavar="OUT", help="write the figures to this file, too")


def run(options: argparse.Namespace) -> int:
    """Measure; return 0, or 1 when a target is missed."""
    if options.picks < 0 or options.picks % 2 or options.seeds < 1:
        raise PerceptionError(f"expected an even number of --picks and at least one seed, got {options.picks} and {options.seeds}")
    figures: dict[str, Any] = {"machine": platform.processor() or platform.machine()}
    short = []
    if options.utterances is not None:
        figures["language"] = language(options.utterances)
        short += _print_language(figures["language"])
    if options.picks:
        runs = {name: [picks.simulate(options.picks, seed, policy, share) for seed in tqdm(range(options.seeds), desc=name)]
                for name, (policy, share) in POLICIES.items()}
        figures["picking"] = picking(runs, options.picks)
        short += _print_picking(figures["picking"])
        if options.plot is not None:
            picks.plot(runs, options.picks, options.plot)
    if options.json is not None:
        put_json(options.json, figures)
    for words in short:
        print(f"falls short: {words}")
    return 1 if short else 0


def language(folder: Path) -> dict[str, Any]:
    """Accuracy of each set of utterances by grammar and by learned action, choices on the described scenes, times."""
    scenes, model = load_scenes(folder), ActionModel()
    sets = {name: load_utterances(folder, name) for name in FILES if (folder / f"{name}.txt").exists()}
    figures: dict[str, Any] = {"sets": {}}
    times: list[float] = []
    for name, utterances in sets.items():
        got = [understand(utterance.text) for utterance in utterances]
        learned = [_learned(model, utterance.text) for utterance in utterances]
        counts = choices(utterances, scenes, times)
        figures["sets"][name] = {
            "count": len(utterances), **_shares(utterances, got, ""), **_shares(utterances, learned, "learned_"), **counts}
    figures["answer_ms_p50"], figures["answer_ms_p99"] = (float(value) for value in np.percentile(times, [50, 99]))
    return figures


def choices(utterances: Sequence[Utterance], scenes: dict[str, Described], times: list[float] | None = None) -> dict[str, Any]:
    """Say each utterance to a fresh advisor in front of its scene: choices done wrongly, and rightly without asking back.

    Args:
        times: milliseconds of processor time of each answer are appended.
    """
    wrong, right, wanted = [], 0, 0
    for utterance in utterances:
        described = scenes[utterance.scene]
        advisor = Advisor()
        for number, weight_kg in described.weights_kg.items():
            advisor.weigh(number, weight_kg)
        advisor.ask("how many are there?", described.scene, "bench", described.rgb)
        if described.focus:
            advisor.point([described.focus], described.scene, "bench")
        began = time.process_time()
        advice = advisor.ask(utterance.text, described.scene, "bench", described.rgb)
        if times is not None:
            times.append(1e3 * (time.process_time() - began))
        target = utterance.target if utterance.action in CHOICES else frozenset[int]()
        done = frozenset(advice.affected) if advice.done in CHOICES else frozenset[int]()
        wanted += bool(target)
        if done and (done != target or advice.done != utterance.action):
            wrong.append(utterance.text)
        right += bool(done) and done == target
    return {"wrong_choices": len(wrong), "wrong": wrong, "choices_at_once": right, "choices": wanted}


def picking(runs: dict[str, list[picks.Run]], count: int) -> dict[str, Any]:
    """Failures, recovery and unpicked packages of each policy and seed."""
    truth = [float(run.failed[count // 2:].mean()) for run in runs["knows the truth"]]
    return {name: {"failures": [int(run.failed.sum()) for run in several],
                   "failures_after_change": [int(run.failed[count // 2:].sum()) for run in several],
                   "recovery_picks": [run.recovery_picks(count // 2, best) for run, best in zip(several, truth, strict=True)],
                   "unpicked": [run.passed for run in several], "explored": [int(run.explored.sum()) for run in several],
                   "lowest_explored_score": [round(run.lowest_explored, 3) for run in several]}
            for name, several in runs.items()}


def _learned(model: ActionModel, text: str) -> Any:
    words, unknown, unsure = read(text)
    reading = tagged(words)
    reading.unknown[:0], reading.unsure[:0] = unknown, unsure
    return compose(reading, model.action(text))  # type: ignore[arg-type]


def _shares(utterances: Sequence[Utterance], got: Sequence[Any], prefix: str) -> dict[str, float]:
    action = [request.action == said.action for request, said in zip(got, utterances, strict=True)]
    both = [ok and request.slots() == said.slots for ok, request, said in zip(action, got, utterances, strict=True)]
    return {f"{prefix}action": float(np.mean(action)), f"{prefix}arguments": float(np.mean(both))}


def _print_language(figures: dict[str, Any]) -> list[str]:
    print(f"{'set':12} {'said':>5} {'action':>8} {'all right':>10} {'learned':>9} {'all right':>10} {'wrong choices':>14} "
          f"{'at once':>9}")
    for name, row in figures["sets"].items():
        print(f"{name:12} {row['count']:5} {row['action']:8.1%} {row['arguments']:10.1%} {row['learned_action']:9.1%} "
              f"{row['learned_arguments']:10.1%} {row['wrong_choices']:14} {row['choices_at_once']:5}/{row['choices']}")
    print(f"answer: p50 {figures['answer_ms_p50']:.1f} ms, p99 {figures['answer_ms_p99']:.1f} ms of processor time")
    short = []
    for name, row in figures["sets"].items():
        short += [f"{name}: {key} {row[key]:.3f}, wanted {TARGETS[key]}"
                  for key in ("action", "arguments") if row[key] < TARGETS[key]]
        short += [f"{name}: wrong choices were made: {'; '.join(row['wrong'])}"] if row["wrong"] else []
    if figures["answer_ms_p99"] > TARGETS["answer_ms_p99"]:
        short.append(f"answer p99 {figures['answer_ms_p99']:.1f} ms, wanted {TARGETS['answer_ms_p99']} ms")
    return short


def _print_picking(figures: dict[str, Any]) -> list[str]:
    print(f"\n{'policy':22} {'failures':>20} {'after the change':>20} {'recovery, picks':>20} {'passed unpicked':>20}")
    for name, row in figures.items():
        print(f"{name:22} " + " ".join(f"{' '.join(map(str, row[key])):>20}" for key in (
            "failures", "failures_after_change", "recovery_picks", "unpicked")))
    mine, greedy, prior = (figures[name] for name in ("learns and explores", "learns, greedy", "scores as proposed"))
    short = [f"{words}: {sum(mine['failures'])} failures against {sum(other['failures'])}"
             for words, other in (("not fewer than greedy", greedy), ("not fewer than the fixed scores", prior))
             if sum(mine["failures"]) >= sum(other["failures"])]
    if max(mine["recovery_picks"]) > TARGETS["recovery_picks"]:
        short.append(f"recovery within {max(mine['recovery_picks'])} picks, wanted {TARGETS['recovery_picks']}")
    return short

"""Tables, plot and verdict of `perception adaptation`."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from perception_node.errors import DatasetError
from perception_node.files import aside, put

Result = dict[str, Any]

MARKS = ("<!-- adaptation -->", "<!-- /adaptation -->")
_MODES = {"depth": "with depth", "colour": "colour alone"}
_WORDS = {"universal": "universal, adapted", "scratch": "from scratch", "simulated": "from scratch, simulated"}
_MAX_FORGOTTEN = 0.01
_MAX_SECONDS = 15 * 60
_COLUMNS: dict[str, tuple[Callable[[Result], float], int]] = {
    "AP": (lambda f: f["pickable_mask"]["AP"], 3), "AP50": (lambda f: f["pickable_mask"]["AP50"], 3),
    "AP75": (lambda f: f["pickable_mask"]["AP75"], 3), "AP, right class": (lambda f: f["pickable_mask_by_class"]["AP"], 3),
    "touching found": (lambda f: f["touching_recall_75"], 3), "merges per 100": (lambda f: f["merges_per_100"], 1),
    "class accuracy": (lambda f: f["class_accuracy"], 3),
    "no correction needed": (lambda f: f["corrections"]["untouched_share"], 3),
    "corrections per picture": (lambda f: f["corrections"]["corrections_per_picture"], 2)}


def grouped(results: Sequence[Result]) -> list[tuple[str, int, list[Result]]]:
    """(start, images, its seeds), in the order of the table."""
    keys = sorted({(list(_WORDS).index(r["start"]), r["images"]) for r in results})
    starts = list(_WORDS)
    return [(starts[s], k, [r for r in results if r["start"] == starts[s] and r["images"] == k]) for s, k in keys]


def _spread(values: Sequence[float], digits: int) -> str:
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def tables(results: Sequence[Result]) -> str:
    """Markdown tables: the cell with depth, with colour alone, then cost and what was forgotten. Mean ± deviation over seeds."""
    lines: list[str] = []
    for mode, words in _MODES.items():
        rows = [(s, k, [r["cell"][mode] for r in rs]) for s, k, rs in grouped(results) if all(mode in r["cell"] for r in rs)]
        if rows:
            lines += [_row([f"pickable packages, {words}", "pictures", *_COLUMNS]), _row(["---"] * (2 + len(_COLUMNS)))]
            lines += [_row([_WORDS[s], str(k), *(_spread([value(f) for f in fs], digits) for value, digits in _COLUMNS.values())])
                      for s, k, fs in rows]
            lines.append("")
    before = memory_ap(results, 0)
    lines += [_row(["cost", "pictures", "runs", "steps", "minutes, wall", "minutes, processor", "universal set: AP (change)"]),
              _row(["---"] * 7)]
    for start, images, rs in grouped(results):
        after = memory_ap(rs, images) if start == "universal" else None
        memory = "" if after is None or before is None else f"{after:.3f} ({100 * (after - before):+.1f})"
        trained = [r["training"] for r in rs if r["training"]]
        unbroken = [t for t in trained if t["seconds"] <= t["wall_s"]]
        lines.append(_row([_WORDS[start], str(images), str(len(rs)), str(trained[0]["steps"]) if trained else "",
                           _spread([wall_s(t) / 60 for t in trained], 1) if trained else "",
                           _spread([t["cpu_s"] / 60 for t in unbroken], 1) if unbroken else "", memory]))
    return "\n".join(lines) + "\n"


def wall_s(training: Result) -> float:
    """Seconds that a training took; of a run that was broken off, those of its steps."""
    return float(max(training["wall_s"], training["seconds"]))


def memory_ap(results: Sequence[Result], images: int) -> float | None:
    """Mean AP on the universal validation set over modes and seeds, or None where it was not measured."""
    values = [r["memory"][mode]["pickable_mask"]["AP"] for r in results if r["start"] == "universal" and r["images"] == images
              and r["memory"] for mode in _MODES if mode in r["memory"]]
    return statistics.fmean(values) if values else None


def _ap(results: Sequence[Result], start: str, images: int, mode: str) -> float | None:
    values = [r["cell"][mode]["pickable_mask"]["AP"] for r in results if r["start"] == start and r["images"] == images
              and mode in r["cell"]]
    return statistics.fmean(values) if values else None


def falls_short(results: Sequence[Result]) -> list[str]:
    """Targets that are missed: 20 pictures beat 100 from scratch, forget one AP at most, take a quarter of an hour at most."""
    missed = []
    for mode, words in _MODES.items():
        mine, theirs = _ap(results, "universal", 20, mode), _ap(results, "scratch", 100, mode)
        if mine is not None and theirs is not None and mine <= theirs:
            missed.append(f"{words}: 20 pictures give AP {mine:.3f}, from scratch 100 give {theirs:.3f}")
    before = memory_ap(results, 0)
    for images in sorted({r["images"] for r in results if r["start"] == "universal"} - {0}):
        after = memory_ap(results, images)
        if before is not None and after is not None and before - after > _MAX_FORGOTTEN:
            missed.append(f"with {images} pictures AP on the universal set falls by {100 * (before - after):.1f} (at most 1)")
    slowest = max((wall_s(r["training"]) for r in results if r["start"] == "universal" and r["images"] == 20), default=0.0)
    if slowest > _MAX_SECONDS:
        missed.append(f"20 pictures took {slowest / 60:.1f} minutes (at most {_MAX_SECONDS // 60})")
    return missed


def draw_plot(results: Sequence[Result], path: Path) -> None:
    """Draw AP over the number of pictures, with depth and with colour alone, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3.2), sharey=True, constrained_layout=True)
    for side, (mode, words) in zip(axes, _MODES.items(), strict=True):
        for start, colour in (("universal", "tab:green"), ("scratch", "tab:red")):
            points = [(k, [r["cell"][mode]["pickable_mask"]["AP"] for r in rs if mode in r["cell"]])
                      for s, k, rs in grouped(results) if s == start]
            points = [(k, values) for k, values in points if values]
            if points:
                side.plot([k for k, _ in points], [statistics.fmean(v) for _, v in points], "o-", color=colour, label=_WORDS[start])
                side.plot([k for k, v in points for _ in v], [x for _, v in points for x in v], ".", color=colour, alpha=0.4)
        for start, images, rs in grouped(results):
            values = [r["cell"][mode]["pickable_mask"]["AP"] for r in rs if mode in r["cell"]]
            if start == "simulated" and values:
                side.axhline(statistics.fmean(values), color="tab:blue", linestyle="--", label=f"{_WORDS[start]} ({images})")
        side.set(title=words, xlabel="the cell's own pictures", ylim=(0, 1), xscale="symlog", xlim=(-0.4, 130),
                 xticks=(0, 5, 20, 80, 100),
                 xticklabels=("0", "5", "20", "80", ""))
        side.minorticks_off()
        side.grid(alpha=0.3)
    axes[0].set_ylabel("AP, pickable packages")
    axes[1].legend(fontsize=8, loc="lower right")
    with aside(path) as part:
        figure.savefig(part, dpi=90, format="png")
    pyplot.close(figure)


def write_section(path: Path, text: str) -> None:
    """Put the tables between the marks of a document, with machine and date.

    Raises:
        DatasetError: the document or its marks are missing.
    """
    try:
        document = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"{path}: expected a document, cannot be read ({error.strerror})") from None
    head, mark, rest = document.partition(MARKS[0])
    _, end, tail = rest.partition(MARKS[1])
    if not mark or not end:
        raise DatasetError(f"{path}: expected the marks {MARKS[0]} and {MARKS[1]}, found none")
    where = f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} processors ({platform.machine()})"
    put(path, f"{head}{mark}\n{where}\n\n{text}\n{MARKS[1]}{tail}".encode())

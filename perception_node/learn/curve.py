"""The picture of a training run: losses and validation figures over steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perception_node.files import aside


def draw_curve(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw losses (left) and validation figures (right) as a PNG, written aside and renamed.

    Args:
        history: one mapping per validation with "step", "loss_*" and figures of merit 0..1. path: the PNG file.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
    steps = [row["step"] for row in history]
    keys = sorted({key for row in history for key, value in row.items() if isinstance(value, int | float)})
    for key in keys:
        values = [row.get(key, float("nan")) for row in history]
        if key.startswith("loss_"):
            left.plot(steps, values, label=key.removeprefix("loss_"))
        elif key.startswith(("depth_", "colour_")):
            right.plot(steps, values, label=key.replace("_", " "), linestyle="-" if key.startswith("depth_") else "--")
    left.set(xlabel="step", ylabel="loss", yscale="log")
    right.set(xlabel="step", ylabel="validation (pickable packages)", ylim=(0, 1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    with aside(path) as part:
        figure.savefig(part, dpi=100, format="png")
    pyplot.close(figure)

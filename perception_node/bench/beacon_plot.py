"""The picture of `perception bench beacon`: errors and share of poses over range."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perception_node.files import aside

if TYPE_CHECKING:
    from perception_node.bench.beacon import Tally

_EDGES_M = np.geomspace(0.15, 3.01, 13)


def draw(path: Path, schedule: Tally, fixed: Tally) -> None:
    """Three panels over range: position error, attitude error, share of frames with a good pose; with the targets."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (position, attitude, share) = pyplot.subplots(1, 3, figsize=(11, 3.4), dpi=80, layout="constrained")
    middles = np.sqrt(_EDGES_M[1:] * _EDGES_M[:-1])
    for tally, name, colour in ((schedule, "scheduled limits", "tab:blue"), (fixed, "fixed limits", "tab:red")):
        distance, good = np.array(tally.range_m), np.array(tally.kind) == "good"
        place = np.digitize(distance, _EDGES_M) - 1
        for panel, values in ((position, 1e3 * np.array(tally.position_m)), (attitude, np.rad2deg(tally.attitude_rad))):
            for percent, style in ((50, "-"), (95, ":")):
                line = [np.percentile(values[good & (place == k)], percent) if (good & (place == k)).sum() > 5 else np.nan
                        for k in range(len(middles))]
                panel.plot(middles, line, style, color=colour, label=f"{name}, p{percent}")
        share.plot(middles, [100 * good[place == k].mean() if (place == k).any() else np.nan for k in range(len(middles))], "o-",
                   color=colour, label=name, markersize=3)
    position.plot([0.15, 0.167, 0.5, 0.5, 3.0], [0.45, 0.5, 0.5, 1.5, 9.0], "--", color="gray", label="target, median")
    attitude.plot([0.15, 0.5, 0.5, 1.2], [0.2, 0.2, 0.5, 0.5], "--", color="gray", label="target, median")
    share.axhline(99, linestyle="--", color="gray", label="target")
    titles = "position error, mm", "attitude error, deg", "frames with a good pose, %"
    for panel, title in zip((position, attitude, share), titles, strict=True):
        panel.set(xscale="log", xlabel="range, m", title=title)
        panel.set_xticks([0.2, 0.5, 1, 2, 3], ["0.2", "0.5", "1", "2", "3"])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    position.set_yscale("log")
    attitude.set_ylim(0.0, 0.6)
    share.set_ylim(-3, 103)
    with aside(path) as part:
        figure.savefig(part, format="png")
    pyplot.close(figure)

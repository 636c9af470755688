"""Speedup over the baseline as a heat map: one row per problem, one column per backend."""

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from convsweep import formatting
from convsweep.analysis.run import Run
from convsweep.report.plots.axes import as_cells, evenly_by_work, label_rows
from convsweep.report.plots.speedup_colors import SpeedupColors, ink
from convsweep.report.plots.style import GREY, Picture, new_panel, sentence

MOST_ROWS = 40
_ROOMY = 7  # columns of a page whose names fit side by side
_WORDS = {"skipped": "\N{EN DASH}", "out_of_memory": "memory", "mismatch": "wrong"}


def draw(run: Run) -> Picture | None:
    """Draw the grid's speedups in one setting; None if only the baseline has times."""
    run = run._replace(cases=run.cases[run.cases["workload"].isna()])
    compared = run.cases[(run.cases["backend"] != run.baseline) & run.cases["speedup"].notna()]
    if compared.empty:
        return None
    macs = run.cases.groupby("label", sort=False)["macs"].first()
    problems = list(macs.index)
    shown = [problems[place] for place in evenly_by_work([*macs], MOST_ROWS)]
    tilted = len(run.backends) > _ROOMY
    figure, ax = new_panel((2.4 if tilted else 1.7) + 0.24 * max(len(shown), 4))
    colors = SpeedupColors.of(compared["speedup"])
    _draw_cells(ax, run, shown, colors, tilted=tilted)
    label = f"{run.baseline}'s time / the backend's time"
    colors.add_bar([ax], label, fraction=min(0.2, 0.1 / (0.24 * len(shown))))
    return Picture(
        name="speedup",
        figure=figure,
        title=f"Speedup over {formatting.shorten(run.baseline)}",
        alt="Heat map, one row per problem and one column per backend.",
        caption=sentence("? is undecided, a dash is skipped", drawn=(len(shown), len(problems))),
    )


def _draw_cells(
    ax: Axes, run: Run, problems: Sequence[str], scale: SpeedupColors, *, tilted: bool
) -> None:
    backends = run.backends
    colors = np.ones((len(problems), len(backends), 4))  # white if there is no number
    for case in run.cases[run.cases["label"].isin(problems)].to_dict("records"):
        y, x = problems.index(case["label"]), backends.index(case["backend"])
        color = GREY
        if case["backend"] != run.baseline and not math.isnan(case["speedup"]):
            colors[y, x] = scale.color(case["speedup"])
            color = ink(colors[y, x])
        ax.text(x, y, _cell(case, run.baseline), ha="center", va="center", color=color,
                fontsize=8 if tilted else 9)  # fmt: skip
    ax.imshow(colors, aspect="auto")
    heads = [f"{name}\n(time)" if name == run.baseline else name for name in backends]
    ax.set_xticks(range(len(backends)), heads)
    label_rows(ax, [formatting.shorten(label) for label in problems])
    ax.set_yticks(np.arange(1, len(problems)) - 0.5, minor=True)
    as_cells(ax)
    ax.grid(visible=True, axis="y", which="minor", color="white", linewidth=1)
    ax.set_axisbelow(False)
    ax.tick_params(axis="x", labeltop=True, labelbottom=False)
    if tilted:
        for head in ax.get_xticklabels():
            head.set(rotation=35, ha="left", va="bottom", rotation_mode="anchor", fontsize=8)


def _cell(case: dict[Hashable, Any], baseline: str) -> str:
    """Return `4.8`, `1.01?` if undecided, the baseline's time, or a word if there is no time."""
    if case["status"] != "ok":
        return _WORDS.get(case["status"], str(case["status"]))
    if case["backend"] == baseline:
        return formatting.seconds(case["time_s"])
    if math.isnan(case["speedup"]):
        return "no base"
    doubt = "?" if case["verdict"] == "undecided" else ""
    return formatting.format_ratio(case["speedup"]) + doubt

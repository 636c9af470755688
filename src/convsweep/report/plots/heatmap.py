"""Speedup over the baseline as a heat map: a row a problem, a column a backend, white is 1."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from convsweep import formatting
from convsweep.analysis.run import Run, undecided
from convsweep.report.plots.style import GREY, Picture, new_figure

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_ROWS = 40  # in one block; two of up to six backends and short labels fit on a page
SHORT_LABEL = 18
_ROOMY = 7  # backends whose names stand side by side
WEAKEST, STRONGEST = 1.0, 4.0  # log2 of where colours end: from 2 to 16 times faster or slower

# Brown is slower, blue-green faster: told apart with any colour vision.
_COLORS = colormaps["BrBG"]
LUMINANCE = (0.299, 0.587, 0.114)
_WORDS = {"skipped": "\N{EN DASH}", "out_of_memory": "memory", "mismatch": "wrong"}


def draw(run: Run) -> Picture | None:
    """All speedups of one setting; None where no case but the baseline's own has one."""
    compared = run.cases[(run.cases["backend"] != run.baseline) & run.cases["speedup"].notna()]
    if compared.empty:
        return None
    problems = list(dict.fromkeys(run.cases["label"]))
    narrow = len(run.backends) <= 6 and max(map(len, problems)) <= SHORT_LABEL
    blocks = 2 if len(problems) > MOST_ROWS and narrow else 1
    shown = _choose(run.cases, problems, MOST_ROWS * blocks)
    rows = math.ceil(len(shown) / blocks)
    title = finding(run)
    figure = new_figure((1.7 if len(run.backends) <= _ROOMY else 2.4) + 0.24 * max(rows, 4))
    axes = figure.subplots(1, blocks, squeeze=False)[0]
    strongest = min(STRONGEST, max(WEAKEST, float(np.log2(compared["speedup"]).abs().max())))
    colors = ScalarMappable(Normalize(-strongest, strongest), _COLORS)
    for i, ax in enumerate(axes):
        _block(ax, run, shown[i * rows : (i + 1) * rows], strongest)
    _colorbar(figure, colors, list(axes), run.baseline, rows, clipped=strongest == STRONGEST)
    left_out = len(problems) - len(shown)
    return Picture("speedup", figure, title, _alt(run), _caption(run, left_out))


def _choose(cases: DataFrame, problems: list[str], most: int) -> list[str]:
    """The problems themselves, or so many of them evenly over their work."""
    if len(problems) <= most:
        return problems
    macs = cases.groupby("label")["macs"].first()
    by_work = sorted(problems, key=lambda label: macs[label])
    kept = {by_work[round(i * (len(by_work) - 1) / (most - 1))] for i in range(most)}
    return [label for label in problems if label in kept]


def _block(ax: Axes, run: Run, problems: Sequence[str], strongest: float) -> None:
    """One table of coloured cells: the number on its colour, a word where there is none."""
    backends = run.backends
    colors = np.ones((len(problems), len(backends), 4))  # white where there is no number
    for case in run.cases[run.cases["label"].isin(problems)].to_dict("records"):
        y, x = problems.index(case["label"]), backends.index(case["backend"])
        ink = GREY
        if case["backend"] != run.baseline and not math.isnan(case["speedup"]):
            colors[y, x] = _COLORS(0.5 + math.log2(case["speedup"]) / (2 * strongest))
            ink = "white" if np.dot(colors[y, x, :3], LUMINANCE) < 0.5 else "black"
        ax.text(x, y, _cell(case, run.baseline), ha="center", va="center", color=ink,
                fontsize=9 if len(backends) <= _ROOMY else 7.5)  # fmt: skip
    ax.imshow(colors, aspect="auto")
    ax.set_xticks(range(len(backends)), [_head(name, run.baseline) for name in backends])
    ax.set_yticks(range(len(problems)), list(map(formatting.shorten, problems)))
    ax.set(xlim=(-0.5, len(backends) - 0.5), ylim=(len(problems) - 0.5, -0.5))
    ax.set_yticks(np.arange(1, len(problems)) - 0.5, minor=True)
    ax.grid(visible=False)
    ax.grid(visible=True, axis="y", which="minor", color="white", linewidth=1)
    ax.set_axisbelow(False)
    ax.tick_params(length=0, which="both")
    ax.tick_params(axis="x", labeltop=True, labelbottom=False)
    if len(backends) > _ROOMY:  # once they stand on top
        for head in ax.get_xticklabels():
            head.set(rotation=35, ha="left", va="bottom", rotation_mode="anchor", fontsize=8)
    ax.spines[:].set_visible(False)


def _head(backend: str, baseline: str) -> str:
    return f"{backend}\n(time)" if backend == baseline else backend


def _cell(case: dict[Hashable, Any], baseline: str) -> str:
    """`4.8`, `1.01?` where undecided; the baseline's time; what happened where there is no time."""
    if case["status"] != "ok":
        return _WORDS.get(case["status"], str(case["status"]))
    if case["backend"] == baseline:
        return formatting.seconds(case["median_s"])
    if math.isnan(case["speedup"]):
        return "no base"
    return formatting.format_ratio(case["speedup"]) + (
        "?" if case["verdict"] == "undecided" else ""
    )


def _colorbar(
    figure: Figure,
    colors: ScalarMappable,
    axes: list[Axes],
    baseline: str,
    rows: int,
    *,
    clipped: bool,
) -> None:
    bar = figure.colorbar(
        colors, ax=axes, location="bottom", extend="both" if clipped else "neither",
        fraction=min(0.2, 0.1 / (0.24 * rows)), aspect=70, pad=0.02,
        ticks=MaxNLocator(6, integer=clipped),
    )  # fmt: skip
    bar.ax.xaxis.set_major_formatter(
        FuncFormatter(lambda power, _: formatting.format_ratio(2.0**power))
    )
    bar.set_label(f"speedup over {baseline} (times; above 1 is faster)")
    bar.ax.grid(visible=False)


def finding(run: Run) -> str:
    """Who beats the baseline, how often and by how much."""
    compared = run.cases[(run.cases["backend"] != run.baseline) & run.cases["speedup"].notna()]
    beats = compared[compared["verdict"] == "faster"]
    if beats.empty:
        if undecided(compared).all():
            return f"No speedup over {run.baseline} is decided"
        doubt = int(undecided(compared).sum())
        said = f"No backend is faster than {run.baseline}"
        return f"{said} where it is decided; {doubt} of {len(compared)} are not" if doubt else said
    wins_of = []
    for backend, wins in sorted(beats.groupby("backend"), key=lambda group: -len(group[1])):
        of = int((compared["backend"] == backend).sum())
        by = formatting.times(wins["speedup"].min(), wins["speedup"].max())
        wins_of.append(f"{backend} in {len(wins)} of {of} ({by})")
    return f"Faster than {run.baseline}: {', '.join(wins_of[:3])}"


def _alt(run: Run) -> str:
    said = []
    for backend in run.backends[1:]:
        speedups = run.cases.loc[run.cases["backend"] == backend, "speedup"].dropna()
        if len(speedups):
            said.append(f"{backend} {formatting.times(speedups.min(), speedups.max())}")
    return f"Heat map of the speedup over {run.baseline} for each problem: {'; '.join(said)}."


def _caption(run: Run, left_out: int) -> str:
    said = [
        f"Speedup over {run.baseline} on {run.settings[0]}: its time over the backend's time; "
        f"above 1, blue-green, is faster. The first column is {run.baseline}'s own time."
    ]
    if undecided(run.cases).any():
        said.append("A question mark: the interval does not settle faster, slower or same.")
    statuses = set(run.cases["status"])
    if "skipped" in statuses:
        said.append("A dash: the backend can't compute this problem.")
    if statuses & {"timeout", "out_of_memory", "mismatch", "crash", "error"}:
        said.append("A word in place of a number says why there is no time.")
    if left_out:
        said.append(
            f"{formatting.count(left_out, 'problem')} more are in the table only: "
            "these are picked evenly over their MACs."
        )
    return " ".join(said)

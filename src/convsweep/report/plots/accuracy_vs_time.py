"""Accuracy against the measured time of a call: which small network nothing else beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from convsweep import formatting
from convsweep.analysis.accuracy import (
    GAINS,
    LOSES,
    SAME,
    UNCERTAIN,
    Comparison,
    Quality,
    Study,
    pareto_front,
)
from convsweep.analysis.estimates import Interval
from convsweep.report.plots.style import (
    COLORS,
    GREY,
    Look,
    Picture,
    legend,
    new_figure,
    short_seconds,
)
from convsweep.report.sections.accuracy_text import NAMES
from convsweep.results.accuracy_schema import EQUAL_COST, SEPARABLE, STANDARD

LOOKS = {
    STANDARD: Look(COLORS[0], "o", "none"),
    SEPARABLE: Look(COLORS[2], "s", "none"),
    EQUAL_COST: Look(COLORS[1], "^", "none"),
}
MOST_DATASETS = 4


class _Call(NamedTuple):
    """One way to call the networks: a row of panels."""

    name: str
    batched: bool

    def seconds(self, quality: Quality) -> Interval:
        return quality.batch if self.batched else quality.single


def draw(study: Study) -> Picture | None:
    """A column a data set, a row with one sample and one with a batch; None without networks."""
    datasets = study.datasets[:MOST_DATASETS]
    if not datasets:
        return None
    batch_size = study.qualities[0].batch_size
    calls = (_Call("one sample", False), _Call(f"{batch_size} samples", True))
    figure = new_figure(6.4)
    grid = figure.subplots(len(calls), len(datasets), squeeze=False, sharey="col")
    for call, row in zip(calls, grid, strict=True):
        for dataset, ax in zip(datasets, row, strict=True):
            _panel(ax, [q for q in study.qualities if q.dataset == dataset], call)
    for dataset, ax in zip(datasets, grid[0], strict=True):
        ax.set_title(dataset, loc="left")
    for row in grid:
        row[0].set_ylabel("accuracy, %")
    line = Line2D([], [], color=GREY, linestyle="--", linewidth=1.5, label="Pareto front")
    shown = {NAMES[v]: look for v, look in LOOKS.items() if _has(study, v)}
    legend(figure, shown, joined=False, lines=[line])
    return Picture(
        name="accuracy_vs_time",
        figure=figure,
        title=finding(study, batch_size),
        alt=_alt(study, calls),
        caption="Up and to the left is better. Bars are 95 % intervals over seeds; the front joins "
        "the networks whose means no other one beats in both. Networks share their splits, so "
        "that a difference is surer than two bars tell: the table pairs them.",
    )


def _has(study: Study, variant: str) -> bool:
    return any(quality.variant == variant for quality in study.qualities)


def _panel(ax: Axes, qualities: Sequence[Quality], call: _Call) -> None:
    points = [(call.seconds(q).value, 100 * q.accuracy.value) for q in qualities]
    for quality, (x, y) in zip(qualities, points, strict=True):
        look = LOOKS[quality.variant]
        low, high = (100 * end for end in quality.accuracy[1:])
        ax.errorbar(
            x, y, xerr=_spread(*call.seconds(quality)), yerr=_spread(y, low, high),
            color=look.color, marker=look.marker, linestyle="none", markersize=7, capsize=2.5,
            elinewidth=1.2, alpha=0.9,
        )  # fmt: skip
    ax.margins(x=0.12)
    ax.set_xlim(left=0)
    best = [points[place] for place in pareto_front(points)]
    right = (ax.get_xlim()[1], best[-1][1])
    ax.step(*zip(*best, right, strict=True), where="post", color=GREY, linestyle="--",
            linewidth=1.5, zorder=1, scalex=False)  # fmt: skip
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: short_seconds(value) if value > 0 else "0")
    )
    ax.set_xlabel(f"time of a call, {call.name}")


def _spread(
    value: float, low: float, high: float
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]] | None:
    """How far the ends lie, as matplotlib takes them; None where there is no interval."""
    return None if np.isnan([low, high]).any() else np.array([[value - low], [high - value]])


def finding(study: Study, batch_size: int) -> str:
    """What the separable network loses, and where it is faster."""
    own = [c for c in study.comparisons if c.variant == SEPARABLE]
    if not own:
        return f"Accuracy against time: {formatting.count(len(study.qualities), 'network')}"
    single = sum(c.single_verdict == "faster" for c in own)
    batch = sum(c.batch_verdict == "faster" for c in own)
    return (
        f"Separable against standard, {formatting.count(len(own), 'data set')}: {_accuracies(own)}; "
        f"faster on {single} with one sample, on {batch} with {batch_size}"
    )


def _accuracies(comparisons: Sequence[Comparison]) -> str:
    """`less accurate on 2, too uncertain to tell on 1`."""
    words = {LOSES: "less accurate", GAINS: "more accurate", SAME: "as accurate"}
    findings = [comparison.finding for comparison in comparisons]
    told = [f"{word} on {findings.count(f)}" for f, word in words.items() if f in findings]
    open_ = findings.count(UNCERTAIN)
    if open_ and not told:
        return "accuracy too uncertain to tell"
    return ", ".join([*told, *([f"too uncertain to tell on {open_}"] if open_ else [])])


def _alt(study: Study, calls: Sequence[_Call]) -> str:
    def of(quality: Quality) -> str:
        times = formatting.join(
            [f"{formatting.seconds(call.seconds(quality).value)} ({call.name})" for call in calls]
        )
        name = NAMES[quality.variant]
        return f"{quality.dataset}, {name}: {100 * quality.accuracy.value:.1f} %, {times}"

    return (
        "Scatter charts of accuracy against the time of a call, a column a data set: "
        + "; ".join(map(of, study.qualities))
        + "."
    )

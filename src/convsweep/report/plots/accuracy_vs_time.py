"""Accuracy against the measured time per call, with the Pareto front of the networks."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from convsweep.analysis.accuracy import LOWER, VARIANT_NAMES, Quality, Study, pareto_front
from convsweep.analysis.estimates import Interval
from convsweep.report.plots.axes import error_bars, linear_seconds
from convsweep.report.plots.style import COLORS, GREY, Look, Picture, legend, new_figure
from convsweep.results.accuracy import EQUAL_COST, SEPARABLE, STANDARD

LOOKS = {
    STANDARD: Look(COLORS[0], "o"),
    SEPARABLE: Look(COLORS[2], "s"),
    EQUAL_COST: Look(COLORS[1], "^"),
}
MOST_DATASETS = 4


def draw(study: Study) -> Picture | None:
    """Draw one column per data set, one row per batch size; None without networks."""
    datasets = study.datasets[:MOST_DATASETS]
    if not datasets:
        return None
    figure = new_figure(6.4)
    grid = figure.subplots(2, len(datasets), squeeze=False, sharey="col")
    rows = ("one sample", f"{study.qualities[0].batch_size} samples")
    for dataset, column in zip(datasets, grid.T, strict=True):
        column[0].set_title(dataset, loc="left")
        qualities = [quality for quality in study.qualities if quality.dataset == dataset]
        for name, ax in zip(rows, column, strict=True):
            times = [q.single if name == rows[0] else q.batch for q in qualities]
            _draw_panel(ax, qualities, times)
            ax.set_xlabel(f"time per call, {name}")
    for row in grid:
        row[0].set_ylabel("accuracy, %")
    line = Line2D([], [], color=GREY, linestyle="--", linewidth=1.5, label="Pareto front")
    used = {quality.variant for quality in study.qualities}
    shown = {VARIANT_NAMES[variant]: look for variant, look in LOOKS.items() if variant in used}
    legend(figure, shown, joined=False, lines=[line])
    own = [each.finding for each in study.comparisons if each.variant == SEPARABLE]
    return Picture(
        name="accuracy_vs_time",
        figure=figure,
        title="Accuracy by time per call",
        alt="Scatter charts, one column per data set.",
        caption="Separable layers lose accuracy significantly on "
        f"{own.count(LOWER)} of {len(own)} data sets.",
    )


def _draw_panel(ax: Axes, qualities: Sequence[Quality], times: Sequence[Interval]) -> None:
    points = [(t.value, 100 * q.accuracy.value) for t, q in zip(times, qualities, strict=True)]
    for quality, time, (x, y) in zip(qualities, times, points, strict=True):
        low, high = (100 * end for end in quality.accuracy[1:])
        error_bars(ax, [x], [y], LOOKS[quality.variant],
                   x_ends=([time.low], [time.high]), y_ends=([low], [high]))  # fmt: skip
    ax.margins(x=0.12)
    ax.set_xlim(left=0)
    best = [points[place] for place in pareto_front(points)]
    right = (ax.get_xlim()[1], best[-1][1])
    ax.step(*zip(*best, right, strict=True), where="post", color=GREY, linestyle="--",
            linewidth=1.5, zorder=1, scalex=False)  # fmt: skip
    ax.xaxis.set_major_locator(MaxNLocator(4))
    linear_seconds(ax)

"""What fewer multiplications promise and what they bring: predicted against measured speedup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from convsweep import labels
from convsweep.findings import Run, promised_speedup, undecided
from convsweep.plots.style import GREY, MARKERS, Look, Picture, error_bars, legend, new_figure

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_GROUPS = 6
MOST_NAMED_POINTS = 8


def draw(run: Run, backend: str) -> Picture | None:
    """One backend's speedups in one setting; None where it has none with fewer MACs."""
    cases = run.cases.assign(promised=promised_speedup(run))
    cases = cases[(cases["backend"] == backend) & cases["speedup"].notna() & (cases["promised"] > 1)]
    if cases.empty:
        return None
    title = finding(run, cases)
    figure = new_figure(5.4, title)
    ax = figure.subplots()
    groups = _groups(cases)
    for name, look in groups.items():
        part = cases[cases["group"] == name] if name else cases
        error_bars(ax, part["promised"], part["speedup"], part["speedup_ci_low"],
                   part["speedup_ci_high"], look)  # fmt: skip
    _frame(ax, cases, backend, run.baseline)
    if len(groups) > 1:
        legend(figure, groups, joined=False)
    return Picture(
        name=f"promise_of_{labels.slug(backend)}",
        figure=figure,
        title=title,
        alt=_alt(run, cases),
        caption=_caption(run, cases),
    )

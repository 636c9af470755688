"""Mean change of each backend over several runs, one panel per setting."""

from convsweep.analysis.compare import RunTrend
from convsweep.formatting import shorten
from convsweep.report.plots.axes import error_bars, evenly, panel_figure
from convsweep.report.plots.style import GREY, Picture, legend, looks

_MOST_PANELS, _MOST_NAMES = 6, 8
_ENDS = ["change", "change_ci_low", "change_ci_high"]


def draw(trend: RunTrend) -> Picture | None:
    """Draw the changes from the first run; None if no case was compared."""
    found = [one.means.set_index(["setting", "backend"]) for one in trend.to_first]
    keys = list(dict.fromkeys(key for means in found for key in means.index))
    settings = list(dict.fromkeys(setting for setting, _ in keys))[:_MOST_PANELS]
    backends = looks(list(dict.fromkeys(backend for _, backend in keys)))
    if not keys:
        return None
    figure, grid = panel_figure(settings, "run", "speed, first run = 1", each=3, more=1.2)
    ticks = evenly(len(trend.names), _MOST_NAMES)
    for ax, setting in zip(grid, settings, strict=True):
        for i, (backend, look) in enumerate(backends.items()):
            rows = [means.reindex([(setting, backend)])[_ENDS].iloc[0] for means in found]
            y, low, high = (list(ends) for ends in zip((1.0, 1.0, 1.0), *rows, strict=True))
            x = [place + 0.3 * ((i + 0.5) / len(backends) - 0.5) for place in range(len(y))]
            ax.plot(x, y, color=look.color, linewidth=1)
            error_bars(ax, x, y, look, y_ends=(low, high))
        ax.axhline(1, color=GREY, linewidth=1)
        names = [shorten(trend.names[place], 16) for place in ticks]
        ax.set_xticks(ticks, names, rotation=30, ha="right")
    legend(figure, backends)
    return Picture(
        name="trend",
        figure=figure,
        title="Speed relative to the first run",
        alt="Line chart of each backend's mean change from the first run, one panel per setting.",
        caption="Above 1 is faster than the first run; bars are 95 % intervals.",
    )

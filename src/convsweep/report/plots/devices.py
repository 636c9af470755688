"""Time of each problem on several devices, one panel per backend."""

from pandas import DataFrame

from convsweep import formatting
from convsweep.analysis.run import Run
from convsweep.report.plots.axes import error_bars, evenly, label_rows, log_seconds, panel_figure
from convsweep.report.plots.style import Picture, legend, looks, most_wins, sentence

MOST_PROBLEMS = 16
_SHARED = ["dtype", "memory_format", "direction", "block", "driver", "environment_id"]


def draw(run: Run) -> list[Picture]:
    """Draw one figure per dtype and memory format that several devices share."""
    groups = run.cases.groupby(_SHARED, sort=False)
    return [*filter(None, (_picture(cases) for _, cases in groups))]


def _picture(cases: DataFrame) -> Picture | None:
    cases = cases[cases["status"] == "ok"]
    cases = cases[cases.groupby(["label", "backend"])["device"].transform("nunique") > 1]
    if cases.empty:
        return None
    backends, problems = sorted(set(cases["backend"])), list(dict.fromkeys(cases["label"]))
    shown = [problems[place] for place in evenly(len(problems), MOST_PROBLEMS)]
    devices = looks(list(dict.fromkeys(cases["setting"])))
    figure, grid = panel_figure(backends, "time per call", each=0.8 + 0.25 * len(shown), more=1.3)
    for ax, backend in zip(grid, backends, strict=True):
        for i, (device, look) in enumerate(devices.items()):
            part = cases[(cases["backend"] == backend) & (cases["setting"] == device)]
            part = part[part["label"].isin(shown)]
            offset = (i - (len(devices) - 1) / 2) * 0.25
            places = [shown.index(label) + offset for label in part["label"]]
            error_bars(ax, part["time_s"], places, look,
                       x_ends=(part["ci_low_s"], part["ci_high_s"]))  # fmt: skip
    log_seconds(grid[0], "x")
    label_rows(grid[0], [formatting.shorten(label) for label in shown])
    legend(figure, devices, joined=False)
    return Picture(
        name="devices",
        figure=figure,
        title="Time per call by device",
        alt="Dot charts, one row per problem and one panel per backend.",
        caption=sentence(_fastest(cases), drawn=(len(shown), len(problems))),
    )


def _fastest(cases: DataFrame) -> str:
    """Count the cases in which the interval of one device is below all others."""
    winners, groups = [], cases.groupby(["label", "backend"], sort=False)
    for _, times in groups:
        first, second = times.sort_values("time_s").to_dict("records")[:2]
        if first["ci_high_s"] < second["ci_low_s"]:
            winners.append(str(first["setting"]))
    return most_wins(winners, groups.ngroups, "cases")

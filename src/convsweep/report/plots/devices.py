"""Devices side by side: the time of each problem on each, a panel a backend."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from convsweep import formatting
from convsweep.analysis.run import Run
from convsweep.report.plots.style import (
    Look,
    Picture,
    error_bars,
    lay_panels,
    legend,
    log_seconds,
    looks,
    new_figure,
)

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_PROBLEMS = 16
_ALIKE = ["dtype", "memory_format", "driver", "environment_id"]


def draw(run: Run) -> list[Picture]:
    """A picture for each dtype and memory format that several devices share."""
    groups = [cases for _, cases in run.cases.groupby(_ALIKE, sort=False)]
    pictures = [_picture(cases) for cases in groups if cases["device"].nunique() > 1]
    drawn = [picture for picture in pictures if picture is not None]
    return [
        replace(picture, name=f"{picture.name}_{number}") if number > 1 else picture
        for number, picture in enumerate(drawn, 1)
    ]


def _picture(cases: DataFrame) -> Picture | None:
    cases = _on_several(cases[cases["status"] == "ok"])
    if cases.empty:
        return None
    backends = sorted(set(cases["backend"]))
    every = list(dict.fromkeys(cases["label"]))
    shown = every[:: math.ceil(len(every) / MOST_PROBLEMS)]
    devices = looks(list(dict.fromkeys(cases["setting"])))
    title = finding(cases)
    lines = 2 if len(backends) == 4 else math.ceil(len(backends) / 3)
    figure = new_figure(1.3 + lines * (0.8 + 0.25 * len(shown)))
    grid = lay_panels(figure, len(backends), "time of one call")
    for ax, backend in zip(grid, backends, strict=True):
        ax.set_title(backend, loc="left")
        for i, (device, look) in enumerate(devices.items()):
            part = cases[(cases["backend"] == backend) & (cases["setting"] == device)]
            part = part[part["label"].isin(shown)]
            apart = (i - (len(devices) - 1) / 2) * 0.25
            places = [shown.index(label) + apart for label in part["label"]]
            error_bars(ax, part["median_s"], places, part["ci_low_s"], part["ci_high_s"], look,
                       along="x")  # fmt: skip
    log_seconds(grid[0], "x")
    grid[0].set_yticks(range(len(shown)), list(map(formatting.shorten, shown)))
    grid[0].set_ylim(len(shown) - 0.5, -0.5)
    legend(figure, devices, joined=False)
    return Picture(
        name="devices",
        figure=figure,
        title=title,
        alt=_alt(cases, devices),
        caption=_caption(cases, len(every) - len(shown)),
    )


def _on_several(cases: DataFrame) -> DataFrame:
    """The cases that at least two devices timed."""
    devices = cases.groupby(["label", "backend"])["device"].transform("nunique")
    return cases[devices > 1]


def finding(cases: DataFrame) -> str:
    """Which device is faster, how often, by how much; by intervals that stay apart."""
    times = cases.set_index(["label", "backend", "setting"])[["median_s", "ci_low_s", "ci_high_s"]]
    ratios: dict[tuple[str, str], list[float]] = {}
    for _, both in times.groupby(["label", "backend"], sort=False):
        by_time = both.droplevel(["label", "backend"]).sort_values("median_s")
        first, last = by_time.iloc[0], by_time.iloc[-1]
        if first["ci_high_s"] < last["ci_low_s"]:
            pair = (str(by_time.index[0]), str(by_time.index[-1]))
            ratios.setdefault(pair, []).append(float(last["median_s"] / first["median_s"]))
    whole = times.groupby(["label", "backend"]).ngroups
    if not ratios:
        devices = formatting.join(sorted(set(cases["setting"])))
        return f"{devices} side by side: no difference is decided"
    (fast, slow), factors = max(ratios.items(), key=lambda item: len(item[1]))
    by = formatting.times(min(factors), max(factors))
    return (
        f"{fast} is {by} as fast as {slow} in {len(factors)} of {formatting.count(whole, 'case')}"
    )


def _alt(cases: DataFrame, devices: dict[str, Look]) -> str:
    ranges = []
    for device in devices:
        times = cases.loc[cases["setting"] == device, "median_s"]
        ranges.append(
            f"{device} {formatting.seconds(times.min())} to {formatting.seconds(times.max())}"
        )
    return f"Dot chart of the time of each problem and backend by device: {'; '.join(ranges)}."


def _caption(cases: DataFrame, left_out: int) -> str:
    said = ["Time of one call, logarithmic; only cases that at least two devices timed."]
    named = cases.dropna(subset=["device_name"]).drop_duplicates("device")
    said += [f"{row['device']} is {row['device_name']}." for _, row in named.iterrows()]
    if cases["ci_low_s"].notna().any():
        said.append("Bars are 95 % intervals over passes.")
    if left_out:
        said.append(f"{formatting.count(left_out, 'problem')} more are in the table only.")
    return " ".join(said)

"""Panels of a sweep: one per value of the other axes that vary, at most six."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from pandas import DataFrame

from convsweep.formatting import compact
from convsweep.report.plots.axes import evenly

MOST_PANELS = 6
PANEL_AXES = {
    "kernel_size": "kernel {}",
    "input_size": "input {}",
    "in_channels": "{} channels",
    "outputs": "{} output channels",
    "batch_size": "batch {}",
    "stride": "stride {}",
    "dilation": "dilation {}",
    "padding": "padding {}",
    "grouping": "{}",
    "bias": "bias {}",
    "weight_kind": "{} weight",
}
"""Column of each axis, and its value in the title of a panel."""


class Panel(NamedTuple):
    """Cases of one panel."""

    name: str
    points: DataFrame


def joined_by_lines(points: DataFrame, axes: list[str], column: str) -> DataFrame:
    """Return the points that share a line with another one.

    Lines have a fixed number of output channels, or as many as input channels, whichever
    joins more points.
    """
    same = points["out_channels"] == points["in_channels"]
    follows = points.assign(outputs=points["outputs"].mask(same, "as many"))
    joined = [
        each[each.groupby(axes)[column].transform("nunique") >= 2] for each in (follows, points)
    ]
    return max(joined, key=len)


def choose_panels(points: DataFrame, axes: list[str]) -> list[Panel]:
    """Return at most six panels, evenly spread over the axes that vary."""
    varying = {name: list(dict.fromkeys(points[name])) for name in axes}
    varying = {name: values for name, values in varying.items() if len(values) > 1}
    for name in ("padding", "weight_kind"):
        others = [other for other in varying if other != name]
        if others and _number(points, others) == _number(points, [*varying]):
            varying.pop(name, None)  # it follows the kernel: no axis of its own
    while _number(points, [*varying]) > MOST_PANELS:
        longest = max(varying, key=lambda name: len(varying[name]))
        every = varying[longest]
        varying[longest] = [every[place] for place in evenly(len(every), len(every) - 1)]
        points = points[points[longest].isin(varying[longest])]
    order = sorted(varying, key=lambda name: len(varying[name]))  # the longest is a row of panels
    panels = []
    for values in itertools.product(*(varying[name] for name in order)):
        chosen = points
        for name, value in zip(order, values, strict=True):
            chosen = chosen[chosen[name] == value]
        titles = [_title(name, value) for name, value in zip(order, values, strict=True)]
        panels.append(Panel(", ".join(titles), chosen))
    return [panel for panel in panels if len(panel.points)]


def _title(name: str, value: object) -> str:
    return PANEL_AXES[name].format(value if name == "input_size" else compact(str(value)))


def _number(points: DataFrame, axes: list[str]) -> int:
    return points.groupby(axes).ngroups if axes else 1

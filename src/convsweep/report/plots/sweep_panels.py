"""Which panels a sweep has: those of the other axes that vary, and no more than a page holds."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_PANELS = 6


class Panel(NamedTuple):
    """The points of one panel; `group` is the part of its name that a row of panels shares."""

    group: str
    name: str
    points: DataFrame


# The other axes of a grid, which set the panels: (column, how a panel's title says its value).
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


def joined_by_lines(points: DataFrame, axes: list[str], column: str) -> DataFrame:
    """The points that share a line with another: at fixed outputs, or as many out as in.

    Whichever of the two joins more of them.
    """
    same = points["out_channels"] == points["in_channels"]
    follows = points.assign(outputs=points["outputs"].mask(same, "as many"))
    joined = [
        each[each.groupby(axes)[column].transform("nunique") >= 2] for each in (follows, points)
    ]
    return max(joined, key=len)


def choose_panels(points: DataFrame, axes: list[str]) -> tuple[list[Panel], list[str]]:
    """At most six panels, evenly over the axes that vary, and which values are left out."""
    varying = {name: list(dict.fromkeys(points[name])) for name in axes}
    varying = {name: values for name, values in varying.items() if len(values) > 1}
    others = [name for name in varying if name != "padding"]
    if others and _number(points, others) == _number(points, [*varying]):
        varying.pop("padding", None)  # it follows the kernel: no axis of its own
    shown, left_out = points, []
    while _number(shown, [*varying]) > MOST_PANELS:
        longest = max(varying, key=lambda name: len(varying[name]))
        kept = _evenly(varying[longest], len(varying[longest]) - 1)
        (gone,) = [value for value in varying[longest] if value not in kept]
        left_out.append(PANEL_AXES[longest].format(gone))
        varying[longest] = kept
        shown = shown[shown[longest] != gone]
    order = sorted(varying, key=lambda name: len(varying[name]))  # the longest is a row of panels
    panels = []
    for values in itertools.product(*(varying[name] for name in order)):
        chosen = points
        for name, value in zip(order, values, strict=True):
            chosen = chosen[chosen[name] == value]
        if len(chosen):
            said = [PANEL_AXES[n].format(v) for n, v in zip(order, values, strict=True)]
            panels.append(Panel("".join(said[:1]), ", ".join(said), chosen))
    return panels, left_out


def _number(points: DataFrame, axes: list[str]) -> int:
    """How many panels these axes make."""
    return points.groupby(axes).ngroups if axes else 1


def _evenly(values: list[object], number: int) -> list[object]:
    """So many of the values, the first and the last among them."""
    if number < 2:
        return values[:number]
    return [values[round(i * (len(values) - 1) / (number - 1))] for i in range(number)]

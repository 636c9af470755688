"""What a backend costs beside its time: preparing, the first call, memory at its peak."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from convsweep import formatting
from convsweep.analysis.estimates import Numbers
from convsweep.analysis.families.candidates import Candidates
from convsweep.report.plots.family_style import FAMILY_COLORS, FAMILY_WORDS, family_looks
from convsweep.report.plots.style import Look, Picture, new_figure


class Cost(NamedTuple):
    """One column of numbers and how to speak of it."""

    column: str
    title: str
    write: Callable[[float], str]


COSTS = (
    Cost("prepare_max_s", "preparing, longest", formatting.seconds),
    Cost("first_call_max_s", "first call, longest", formatting.seconds),
    Cost("peak_memory_bytes", "peak memory of a call", formatting.size_in_bytes),
)


def draw(field: Candidates) -> Picture | None:
    """A row a backend, a panel a cost; None where none is known."""
    known = [
        cost for cost in COSTS if any(len(found) for found in _by_backend(field, cost).values())
    ]
    if not known:
        return None
    shown = family_looks(field)
    figure = new_figure(1.1 + 0.27 * max(len(shown), 3))
    axes = figure.subplots(1, len(known), sharey=True, squeeze=False)[0]
    for ax, cost in zip(axes, known, strict=True):
        _draw(ax, _by_backend(field, cost), shown, cost)
    axes[0].set_yticks(range(len(shown)), [*shown])
    axes[0].set_ylim(len(shown) - 0.5, -0.5)
    return Picture(
        name="costs",
        figure=figure,
        title=finding(field),
        alt=_alt(field, known),
        caption=_caption(field),
    )


def _by_backend(field: Candidates, cost: Cost) -> dict[str, Numbers]:
    """What is known of each backend's cases, above zero."""
    values = field.cases[cost.column].astype("float64").to_numpy(na_value=np.nan)
    names = field.cases["backend"].to_numpy()
    return {
        str(name): values[(names == name) & (values > 0)]
        for name in dict.fromkeys(field.cases["backend"])
    }


def _draw(ax: Axes, found: dict[str, Numbers], shown: dict[str, Look], cost: Cost) -> None:
    """The middle of the cases as a mark, all of them as a line."""
    for row, (name, look) in enumerate(shown.items()):
        if len(values := found[name]):
            ax.plot([values.min(), values.max()], [row, row], color=look.color, linewidth=1.5)
            ax.plot(np.median(values), row, color=look.color, marker="o", markersize=7)
    ax.set_xscale("log")
    base = 16 if cost.column.endswith("bytes") else 10
    ax.xaxis.set_major_locator(LogLocator(base, numticks=5))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(cost.write(value))))
    ax.set_title(cost.title, loc="left")


def _short(told: str) -> str:
    """`10.0 ms` as `10 ms`."""
    number, _, unit = told.partition(" ")
    return f"{float(number.replace(',', '')):g} {unit}"


def finding(field: Candidates) -> str:
    """Who takes longest until its first result, compiling or not, and how long half of them do."""
    told = field.cases[["backend", COSTS[0].column, COSTS[1].column]].astype({"backend": str})
    parts = told.set_index("backend").astype("float64").dropna(how="all").fillna(0.0)
    waits = parts.sum(axis=1)
    if not (waits > 0).any():
        return "Preparing and memory, by backend"
    prepare_s, first_call_s = parts.to_numpy()[waits.to_numpy().argmax()]
    middle = formatting.seconds(float(waits.groupby(level=0).max().median()))
    return (
        f"Until its first result {waits.idxmax()} takes the longest, "
        f"{formatting.seconds(prepare_s)} to prepare and {formatting.seconds(first_call_s)} for the call; "
        f"half of the backends take {middle} at most"
    )


def _alt(field: Candidates, known: list[Cost]) -> str:
    said = []
    for cost in known:
        told = [
            f"{name} {cost.write(float(np.median(values)))}"
            for name, values in _by_backend(field, cost).items()
            if len(values)
        ]
        said.append(f"{cost.title}: {', '.join(told)}")
    return f"Dots by backend, the middle of their cases, on logarithmic axes. {'; '.join(said)}."


def _caption(field: Candidates) -> str:
    looks = {look.color for look in family_looks(field).values()}
    families = [FAMILY_WORDS[f] for f, color in FAMILY_COLORS.items() if color in looks]
    return (
        "The mark is the middle of a backend's cases, the line goes from the least to the most; "
        "cases differ in size, and not all backends compute all. Preparing and the first call are "
        "the longest of the passes: what compiles, does it in either. Colours, in the order of the "
        f"rows: {formatting.join(families)}."
    )

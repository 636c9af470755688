"""Networks: MACs against time, expected against measured speedup, layers against the network."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator

from convsweep import formatting
from convsweep.analysis.estimates import Interval
from convsweep.analysis.network_breakdown import UNATTRIBUTED, NetworkBreakdown
from convsweep.analysis.network_totals import REPLACED, STANDARD, NetworkSum
from convsweep.report.plots.axes import drawn_ends, error_bars, label_rows, log_seconds, short
from convsweep.report.plots.style import (
    COLORS,
    GREY,
    Look,
    Picture,
    legend,
    marker_handle,
    new_panel,
)

_NAME_HEIGHT = 0.045  # of the axes
_MOST_NAMED = 16  # more names would overlap
_LOOKS = {STANDARD: Look(COLORS[1], "o"), REPLACED: Look(COLORS[2], "D")}
_MEASURED, _EXPECTED = Look(COLORS[1], "o"), Look(COLORS[2], "|")

OTHERS = ("batch norm", "activation", "pooling", "linear", "loss", "optimizer", "other")
"""Kinds of calls that are no convolutions."""
_CONVOLUTIONS, _SINGLE = "convolutions in the network", "convolutions, each timed separately"
# Hatches distinguish the parts in grey prints.
_FILLS: Mapping[str, tuple[str, str]] = {
    _SINGLE: ("#9cc9e3", ""),
    _CONVOLUTIONS: (COLORS[1], ""),
    "batch norm": (COLORS[2], "///"),
    "activation": (COLORS[6], "..."),
    "pooling": (COLORS[3], "\\\\\\"),
    "linear": (COLORS[4], "xxx"),
    "loss": (COLORS[7], ""),
    "optimizer": (COLORS[5], "++"),
    "other": ("#b5b5b5", ""),
    UNATTRIBUTED: ("#e6e6e6", "---"),
}


def draw_work(sums: Sequence[NetworkSum]) -> Picture | None:
    """Draw MACs against time, one point per network and choice; None below two networks."""
    networks = [one for one in sums if one.choices]
    if len(networks) < 2:
        return None
    figure, ax = new_panel(5.6)
    for one in networks:
        choices = {STANDARD: one.standard, REPLACED: one.replaced}
        ends = [(name, c.macs, c.sum.time) for name, c in choices.items() if c]
        for name, macs, time in ends:
            error_bars(ax, [macs], [time.value], _LOOKS[name],
                       y_ends=([time.low], [time.high]))  # fmt: skip
        ax.plot([macs for _, macs, _ in ends], [time.value for *_, time in ends], color=GREY,
                linewidth=0.8, alpha=0.6, zorder=1)  # fmt: skip
    rate = _rate_line(ax, networks)
    ax.set(xscale="log", xlabel="multiply-accumulates of all convolutions")
    ax.xaxis.set_major_formatter(lambda macs, _: short(formatting.operations(macs)))
    ax.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5), numticks=12))
    ax.xaxis.minorticks_off()
    log_seconds(ax, "y")
    ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5), numticks=12))
    ax.set_ylabel("time of all convolutions, added up")
    _name_points(figure, ax, networks)
    replaced = any(one.replaced for one in networks)
    [baseline] = set(networks[0].standard.backends.values())
    shown = {baseline: _LOOKS[STANDARD]} | ({REPLACED: _LOOKS[REPLACED]} if replaced else {})
    legend(figure, shown, lines=[rate])
    return Picture(
        name="macs_vs_time",
        figure=figure,
        title="Time of the convolutions of networks by MACs",
        alt="Scatter chart, one point per network.",
        caption="On the dotted line, time is proportional to MACs.",
    )


def _rate_line(ax: Axes, networks: Sequence[NetworkSum]) -> Line2D:
    """Draw the line on which every network has the rate of the largest one."""
    largest = max((one.standard for one in networks), key=lambda choice: choice.macs)
    macs = [choice.macs for one in networks for choice in (one.standard, one.replaced) if choice]
    ends = np.array([min(macs) / 1.3, max(macs) * 1.3])
    rate = largest.macs / largest.sum.time.value
    label = f"{formatting.digits(2 * rate / 1e9)} GFLOP/s"
    [line] = ax.plot(ends, ends / rate, color=GREY, linestyle=":", linewidth=1.2, label=label)
    return line


def _name_points(figure: Figure, ax: Axes, networks: Sequence[NetworkSum]) -> None:
    """Write the names in a column on the right, connected to their points by thin lines."""
    named = sorted(networks, key=lambda one: one.standard.sum.time.value)[-_MOST_NAMED:]
    points = [(one.standard.macs, one.standard.sum.time.value) for one in named]
    figure.draw_without_rendering()  # fixes the places on the axes
    to_axes = ax.transData + ax.transAxes.inverted()
    heights = spread([float(to_axes.transform(point)[1]) for point in points], _NAME_HEIGHT)
    for one, point, height in zip(named, points, heights, strict=True):
        line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "alpha": 0.4}
        name = formatting.shorten(one.network)
        ax.annotate(name, point, xytext=(1.03, height), textcoords="axes fraction",
                    va="center", fontsize=8.5, arrowprops=line)  # fmt: skip


def spread(heights: Sequence[float], least: float) -> list[float]:
    """Return ascending heights moved at least `least` apart, with the same mean."""
    apart: list[float] = []
    for height in heights:
        apart.append(max(height, apart[-1] + least) if apart else height)
    shift = sum(apart) / len(apart) - sum(heights) / len(heights) if apart else 0.0
    return [height - shift for height in apart]


class Gain(NamedTuple):
    """Measured and expected speedup of one change of a network."""

    name: str
    measured: Interval
    mac_ratio: float  # MACs before / MACs after


def draw_gains(gains: Sequence[Gain]) -> Picture | None:
    """Draw the expected and the measured speedup of each change; None without one."""
    if not gains:
        return None
    figure, ax = new_panel(1.9 + 0.42 * len(gains))
    for place, gain in enumerate(gains):
        value, low, high = gain.measured
        ax.plot([value, gain.mac_ratio], [place, place], color="#c9c9c9", linewidth=3, zorder=1)
        ax.plot(gain.mac_ratio, place, color=_EXPECTED.color, marker="|", markersize=16, mew=2.5)
        error_bars(ax, [value], [place], _MEASURED, x_ends=([low], [high]))
        text = f"{formatting.speedup(value)} of {formatting.speedup(gain.mac_ratio)}"
        ax.annotate(text, (value, place), xytext=(0, 8), ha="center",
                    textcoords="offset points", fontsize=9)  # fmt: skip
    ax.axvline(1, color=GREY, linewidth=1)
    furthest = max(max(gain.measured.value, gain.mac_ratio) for gain in gains)
    bars = np.array([gain.measured[1:] for gain in gains]).T
    highest = np.nanmax([furthest, *drawn_ends(*bars)[1]])
    ax.set_xlim(0, min(1.05 * highest, 1.4 * furthest))
    label_rows(ax, [gain.name for gain in gains])
    ax.set_ylim(top=-0.6)
    ax.set_xlabel("speedup: time of standard convolutions / time of separable ones")
    expected = marker_handle(_EXPECTED, "expected from MACs", markersize=12, mew=2.5)
    legend(figure, {"measured": _MEASURED}, lines=[expected])
    return Picture(
        name="network_speedup",
        figure=figure,
        title="Speedup of separable networks' convolutions, measured and expected",
        alt="Dot chart, one row per network.",
        caption="Times are sums over all convolutions of a network.",
    )


def draw_breakdown(breakdowns: Sequence[NetworkBreakdown]) -> Picture | None:
    """Draw the convolutions timed separately, and the network in parts; None without one."""
    if not breakdowns:
        return None
    figure, ax = new_panel(2.1 + 0.8 * len(breakdowns))
    used: set[str] = set()
    widest = 100.0  # percent
    for place, one in enumerate(breakdowns):
        single = {_SINGLE: 100 * one.isolated.time.value / one.end_to_end.time.value}
        for y, parts, time in (
            (place - 0.19, single, one.isolated.time),
            (place + 0.19, _shares(one), one.end_to_end.time),
        ):
            end = _stack(ax, y, parts)
            ax.annotate(formatting.seconds(time.value), (end, y), xytext=(5, 0), fontsize=9,
                        va="center", textcoords="offset points")  # fmt: skip
            widest = max(widest, end)
            used |= parts.keys()
    label_rows(ax, [one.network for one in breakdowns])
    ax.set_xlim(0, 1.18 * widest)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    ax.set_xlabel("share of the network's time")
    legend(figure, {}, lines=[
        Patch(facecolor=color, hatch=hatch, edgecolor="white", label=kind)
        for kind, (color, hatch) in _FILLS.items() if kind in used
    ])  # fmt: skip
    return Picture(
        name="layers_vs_network",
        figure=figure,
        title="Time of whole networks by kind of call",
        alt="Stacked bars, two per network.",
        caption="Upper bar: convolutions timed alone; lower bar: the network, end to end.",
    )


def _shares(one: NetworkBreakdown) -> dict[str, float]:
    """Return the parts of a network above zero, in percent of its time."""
    parts = {_CONVOLUTIONS: one.in_network.time.value}
    parts |= {kind: one.others[kind].time.value for kind in OTHERS if kind in one.others}
    parts[UNATTRIBUTED] = one.unattributed_s
    total = one.end_to_end.time.value
    return {kind: 100 * seconds / total for kind, seconds in parts.items() if seconds > 0}


def _stack(ax: Axes, place: float, parts: Mapping[str, float]) -> float:
    """Draw one stacked bar and return its end."""
    end = 0.0
    for kind, share in parts.items():
        color, hatch = _FILLS[kind]
        ax.barh(place, share, 0.36, end, color=color, hatch=hatch, edgecolor="white", lw=0.4)
        end += share
    return end

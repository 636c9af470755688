"""Networks: work against time, promise against gain, layers against the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from convsweep import formatting
from convsweep.analysis.estimates import Interval
from convsweep.analysis.network_breakdown import UNATTRIBUTED, NetworkBreakdown
from convsweep.analysis.network_totals import REPLACED, STANDARD, Choice, NetworkSum
from convsweep.report.plots.style import (
    COLORS,
    GREY,
    Look,
    Picture,
    error_bars,
    log_seconds,
    new_figure,
)

_NAME_HEIGHT = 0.045  # of the axes
_MOST_NAMED = 16  # more names would lie on each other
_LOOKS = {STANDARD: Look(COLORS[1], "o", "none"), REPLACED: Look(COLORS[2], "D", "none")}

_OTHERS = ("batch norm", "activation", "pooling", "linear", "other")
_CONVOLUTIONS, _ALONE = "convolutions in the network", "convolutions, each alone"
# Convolutions stand out, everything else has a colour of its own and hatches for grey prints.
_FILLS: Mapping[str, tuple[str, str]] = {
    _ALONE: ("#9cc9e3", ""),
    _CONVOLUTIONS: (COLORS[1], ""),
    "batch norm": (COLORS[2], "///"),
    "activation": (COLORS[6], "..."),
    "pooling": (COLORS[3], "\\\\\\"),
    "linear": (COLORS[4], "xxx"),
    "other": ("#b5b5b5", ""),
    UNATTRIBUTED: ("#e6e6e6", "---"),
}


def draw_work(sums: Sequence[NetworkSum], title: str) -> Picture | None:
    """MACs against time, a point a network and choice; None with fewer than two networks."""
    whole = [one for one in sums if one.choices]
    if len(whole) < 2:
        return None
    figure = new_figure(5.6)
    ax = figure.subplots()
    for one in whole:
        _point(ax, one.standard, _LOOKS[STANDARD])
        if one.replaced:
            _point(ax, one.replaced, _LOOKS[REPLACED])
            ends = (one.standard, one.replaced)
            ax.plot([c.macs for c in ends], [c.sum.time.value for c in ends], color=GREY,
                    linewidth=0.8, alpha=0.6, zorder=1)  # fmt: skip
    rate = _rate_line(ax, whole)
    ax.set(xscale="log", xlabel="multiply-accumulates of one image, all convolutions")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda macs, _: _macs(macs)))
    ax.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5), numticks=12))
    ax.xaxis.set_minor_locator(NullLocator())
    log_seconds(ax, "y")
    ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5), numticks=12))
    ax.set_ylabel("time of all convolutions, added up")
    _name_points(figure, ax, whole)
    shown = [STANDARD, *([REPLACED] if any(one.replaced for one in whole) else [])]
    handles = [_marker(_LOOKS[name], name) for name in shown] + [rate]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    said = [
        f"{one.workload} {_macs(one.standard.macs)} in "
        f"{formatting.seconds(one.standard.sum.time.value)}"
        for one in whole
    ]
    return Picture(
        name="macs_vs_time",
        figure=figure,
        title=title,
        alt=f"Scatter plot of multiply-accumulates against time: {'; '.join(said)}.",
        caption="Each network's convolutions, every one timed alone and counted as often as it "
        "occurs. On the dotted line time is proportional to the work, at the rate of the "
        "network with the most of it; above it a network is slower than its MACs say.",
    )


def _point(ax: Axes, choice: Choice, look: Look) -> None:
    time = choice.sum.time
    error_bars(ax, [choice.macs], [time.value], [time.low], [time.high], look)


def _rate_line(ax: Axes, whole: Sequence[NetworkSum]) -> Line2D:
    """Where every network has the rate of the largest one."""
    largest = max((one.standard for one in whole), key=lambda choice: choice.macs)
    macs = [choice.macs for one in whole for choice in (one.standard, one.replaced) if choice]
    ends = np.array([min(macs) / 1.3, max(macs) * 1.3])
    rate = largest.macs / largest.sum.time.value
    label = f"{formatting.digits(2 * rate / 1e9)} GFLOP/s"
    [line] = ax.plot(ends, ends / rate, color=GREY, linestyle=":", linewidth=1.2, label=label)
    return line


def _name_points(figure: Figure, ax: Axes, whole: Sequence[NetworkSum]) -> None:
    """Names in a column on the right, in the order of the points that thin lines lead them to."""
    named = sorted(whole, key=lambda one: one.standard.sum.time.value)[-_MOST_NAMED:]
    points = [(one.standard.macs, one.standard.sum.time.value) for one in named]
    figure.draw_without_rendering()  # so that places on the axes are known
    to_axes = ax.transData + ax.transAxes.inverted()
    heights = spread([float(to_axes.transform(point)[1]) for point in points], _NAME_HEIGHT)
    for one, point, height in zip(named, points, heights, strict=True):
        ax.annotate(
            one.workload,
            point,
            xytext=(1.03, height),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "alpha": 0.4},
        )


def spread(heights: Sequence[float], least: float) -> list[float]:
    """Ascending heights moved as far apart as `least`, as little as a push up and down allows."""
    apart: list[float] = []
    for height in heights:
        apart.append(max(height, apart[-1] + least) if apart else height)
    shift = sum(apart) / len(apart) - sum(heights) / len(heights) if apart else 0.0
    return [height - shift for height in apart]


class Gain(NamedTuple):
    """One exchange of a network: how much faster it made it, and what MACs promised."""

    name: str
    measured: Interval
    mac_ratio: float


def draw_gains(gains: Sequence[Gain], title: str) -> Picture | None:
    """Promise and gain of each exchange; None where there is none."""
    if not gains:
        return None
    figure = new_figure(1.9 + 0.42 * len(gains))
    ax = figure.subplots()
    measured, promised = Look(COLORS[1], "o", "none"), Look(COLORS[2], "|", "none")
    for place, gain in enumerate(gains):
        ends = [gain.measured.value, gain.mac_ratio]
        ax.plot(ends, [place, place], color="#c9c9c9", linewidth=3, zorder=1)
        ax.plot(gain.mac_ratio, place, color=promised.color, marker="|", markersize=16, mew=2.5)
        error_bars(ax, [gain.measured.value], [place], [gain.measured.low],
                   [gain.measured.high], measured, along="x")  # fmt: skip
        short = f"{formatting.format_ratio(gain.measured.value)} of {formatting.format_ratio(gain.mac_ratio)}"
        ax.annotate(short, (gain.measured.value, place), xytext=(0, 8), ha="center",
                    textcoords="offset points", fontsize=9)  # fmt: skip
    ax.axvline(1, color=GREY, linewidth=1)
    furthest = max(max(gain.measured.value, gain.mac_ratio) for gain in gains)
    highest = np.nanmax([furthest, *(gain.measured.high for gain in gains)])
    ax.set_xlim(0, min(1.05 * highest, 1.4 * furthest))
    ax.set_yticks(range(len(gains)), [gain.name for gain in gains])
    ax.set_ylim(len(gains) - 0.5, -0.6)
    ax.set_xlabel("times faster than with standard convolutions (1: no gain)")
    handles = [_marker(measured, "measured"), _marker(promised, "promised by MACs", size=12)]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    said = [
        f"{' '.join(gain.name.split())} {formatting.interval(*gain.measured)} of "
        f"{formatting.digits(gain.mac_ratio)}"
        for gain in gains
    ]
    return Picture(
        name="network_speedup",
        figure=figure,
        title=title,
        alt=f"Measured speedup beside the one that MACs promise: {'; '.join(said)}.",
        caption="Sums over all convolutions of a network, each timed alone; bars are 95 % "
        "intervals. Separable layers compute another function, which has to be trained.",
    )


def draw_breakdown(breakdowns: Sequence[NetworkBreakdown], title: str) -> Picture | None:
    """Two bars a network: its convolutions alone, and the whole in parts; None without one."""
    if not breakdowns:
        return None
    figure = new_figure(2.1 + 0.8 * len(breakdowns))
    ax = figure.subplots()
    used: dict[str, None] = {}
    widest = 100.0  # percent
    for place, one in enumerate(breakdowns):
        alone = {_ALONE: 100 * one.isolated.time.value / one.end_to_end.time.value}
        for offset, parts, sum_ in (
            (-0.19, alone, one.isolated),
            (0.19, _shares(one), one.end_to_end),
        ):
            _stack(ax, place + offset, parts)
            end = sum(parts.values())
            _say(ax, place + offset, end, sum_.time)
            widest = max(widest, end)
            used |= dict.fromkeys(parts)
    ax.set_yticks(range(len(breakdowns)), [one.network for one in breakdowns])
    ax.set(ylim=(len(breakdowns) - 0.5, -0.5), xlim=(0, 1.18 * widest))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    ax.set_xlabel("of the whole network's time")
    shown = [kind for kind in _FILLS if kind in used]
    figure.legend(handles=[_patch(kind) for kind in shown], loc="outside lower center", ncols=4)
    said = [
        f"{one.network} {formatting.seconds(one.end_to_end.time.value)} whole, its convolutions alone "
        f"{formatting.seconds(one.isolated.time.value)}"
        for one in breakdowns
    ]
    return Picture(
        name="layers_vs_network",
        figure=figure,
        title=title,
        alt=f"Stacked bars of networks: {'; '.join(said)}.",
        caption="Upper bar: every convolution timed alone, added up. Lower bar: the whole "
        "network, run end to end, divided among its calls. What is in no call is Python, and on a "
        "disturbed machine what interrupted the forward pass. Intervals are in the table.",
    )


def _shares(one: NetworkBreakdown) -> dict[str, float]:
    """The whole's parts, those above zero, in percent of it."""
    parts = {_CONVOLUTIONS: one.in_network.time.value}
    parts |= {kind: one.others[kind].time.value for kind in _OTHERS if kind in one.others}
    parts[UNATTRIBUTED] = one.unattributed_s
    whole = one.end_to_end.time.value
    return {kind: 100 * seconds / whole for kind, seconds in parts.items() if seconds > 0}


def _stack(ax: Axes, place: float, parts: Mapping[str, float]) -> None:
    left = 0.0
    for kind, share in parts.items():
        color, hatch = _FILLS[kind]
        ax.barh(place, share, 0.36, left, color=color, hatch=hatch, edgecolor="white", lw=0.4)
        left += share


def _say(ax: Axes, place: float, end: float, time: Interval) -> None:
    """The time in digits, behind its bar."""
    ax.annotate(formatting.seconds(time.value), (end, place), xytext=(5, 0), fontsize=9, va="center",
                textcoords="offset points")  # fmt: skip


def _marker(look: Look, label: str, size: float = 6) -> Line2D:
    return Line2D([], [], color=look.color, marker=look.marker, linestyle="none", label=label,
                  markersize=size, mew=2.5 if look.marker == "|" else None)  # fmt: skip


def _patch(kind: str) -> Patch:
    color, hatch = _FILLS[kind]
    return Patch(facecolor=color, hatch=hatch, edgecolor="white", label=kind)


def _macs(macs: float) -> str:
    """`567716352` as `568 M`."""
    return f"{macs / 1e9:.3g} G" if macs >= 1e9 else f"{macs / 1e6:.3g} M"

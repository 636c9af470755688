"""The report's part on whole networks: what a sum of layers tells of them, and what it does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from convsweep import formatting
from convsweep.analysis.estimates import Interval
from convsweep.analysis.network_breakdown import (
    UNATTRIBUTED,
    NetworkBreakdown,
    apart,
    network_breakdowns,
)
from convsweep.analysis.network_totals import STANDARD_SUFFIX, Sum
from convsweep.analysis.run import Run
from convsweep.report.plots.networks import draw_breakdown
from convsweep.report.plots.style import Picture
from convsweep.report.section import Section
from convsweep.report.sections.network_totals import pace
from convsweep.report.tables import Table, by_setting

if TYPE_CHECKING:
    from pandas import DataFrame

TITLE = "Whole networks against the sums of their layers"
_MOST_LAYERS = 3
_NOTABLE = 0.01  # of the whole: a smaller part is not named
_KINDS = ("batch norm", "activation", "pooling", "linear", "other")


def section(run: Run, networks: DataFrame) -> Section | None:
    """What in-network timings say, in all settings; None where no network was run whole."""
    several = len(run.settings) > 1
    told: list[str] = []
    pictures: list[Picture] = []
    found: dict[str, list[NetworkBreakdown]] = {}
    for setting in run.settings:
        ran, absent = network_breakdowns(run, networks, setting)
        found[setting] = ran
        where = f"On {setting}: " if several else ""
        told += [
            where + sentence
            for sentence in (*sentences(ran), *(f"{a.network} {a.why}." for a in absent))
        ]
        if picture := draw_breakdown(ran, picture_title(ran) if ran else ""):
            pictures.append(picture.of(setting) if several else picture)
    if not told:
        return None
    ran = [one for several_of in found.values() for one in several_of]
    tables = [("Whole networks and their parts", parts_table(found))] if ran else []
    tables += [
        (f"Layers of {one.network}{f' on {setting}' if several else ''}, alone and inside it",
         layers_table(one))
        for setting, of_setting in found.items() for one in of_setting
    ]  # fmt: skip
    return Section(TITLE, told, tables, pictures, list(_notes(ran)))


def sentences(found: Sequence[NetworkBreakdown]) -> list[str]:
    """What there is to say of the networks of one setting."""
    told = [sentence for one in found for sentence in _of_network(one)]
    by_name = {one.network: one for one in found}
    for name, one in by_name.items():
        if twin := by_name.get(name + STANDARD_SUFFIX):
            told.append(
                f"End to end, {name} is {pace(apart(twin, one))} than {twin.network} "
                f"({_time(one.end_to_end)} against {_time(twin.end_to_end)})."
            )
    return told


def _of_network(one: NetworkBreakdown) -> Iterator[str]:
    yield (
        f"{one.network} takes {_time(one.end_to_end)} end to end; its convolutions, each timed alone "
        f"and added up, {_time(one.isolated)}: {_percent(one.isolated_share)} of it."
    )
    yield _of_convolutions(one)
    if one.cold is not None:
        yield _of_cold_caches(one, one.cold)
    parts = {kind: part.time.value for kind, part in one.others.items()}
    parts[UNATTRIBUTED] = one.unattributed_s
    named = {k: s for k, s in parts.items() if s > _NOTABLE * one.end_to_end.time.value}
    if named:
        said = [f"{formatting.seconds(s)} {_place(kind)}" for kind, s in named.items()]
        share = 100 * sum(named.values()) / one.end_to_end.time.value
        yield (
            f"Besides convolutions, {one.network} spends {formatting.join(said)}: {share:.0f} % of its "
            "time in all."
        )


def _place(kind: str) -> str:
    return {UNATTRIBUTED: kind, "other": "in other calls"}.get(kind, f"in {kind}")


def _of_convolutions(one: NetworkBreakdown) -> str:
    """Whether convolutions take longer in the network than alone, and which of them."""
    inside = f"Inside {one.network} the same convolutions take {_time(one.in_network)}"
    longer = f"{_times(one.slowdown)} as long"
    watch = f"timing a call may add up to {formatting.seconds(one.call_overhead_s)} to it"
    if one.sign < 0:
        return f"{inside}, less than alone ({longer}){_where(one, -1)}."
    if one.sign > 0:
        return f"{inside}, {longer} as alone{_where(one, 1)}; {watch}, which is less than that."
    within = f"; {watch}" if one.slowdown.low > 1 else ""
    return f"{inside}, not to be told from alone ({longer}{within})."


def _of_cold_caches(one: NetworkBreakdown, cold: Sum) -> str:
    """Where the network lies between layers with hot caches and with cold ones."""
    times = (one.isolated.time.value, one.in_network.time.value, cold.time.value)
    said = (
        f"With caches emptied before each call, the convolutions of {one.network} take "
        f"{_time(cold)} alone"
    )
    if one.sign > 0 and times[0] < times[1] < times[2]:
        return (
            f"{said}: the network lies between hot and cold, as if part of what a "
            "call needs were no longer in the caches."
        )
    return f"{said}."


def _where(one: NetworkBreakdown, sign: int) -> str:
    """The layers whose own interval says so, those first that make up the most of it."""
    sure = [layer for layer in one.layers if layer.sign == sign]
    sure.sort(key=lambda layer: -sign * layer.extra_s)
    words = [
        f"{layer.layer} ({'+' if sign > 0 else '-'}{formatting.seconds(abs(layer.extra_s))})"
        for layer in sure[:_MOST_LAYERS]
    ]
    return f", for sure in {formatting.join(words)}" if words else ""


def _notes(found: Sequence[NetworkBreakdown]) -> Iterator[str]:
    if not found:
        return
    overheads = sorted(one.instrumentation_overhead for one in found)
    ends = dict.fromkeys(f"{100 * end:.1f}" for end in (overheads[0], overheads[-1]))
    yield (
        "Before each pass over the layers every network is built anew in a process of its own, "
        "under the same conditions, and timed whole and in parts in turns. Timing the parts makes "
        f"the forward pass longer, here by {' to '.join(ends)} %; the whole is timed without that."
    )
    costs = sorted(one.call_overhead_s for one in found)
    most = dict.fromkeys(formatting.seconds(end) for end in (costs[0], costs[-1]))
    yield (
        f"That is {' to '.join(most)} for each call that is timed, most of it spent between calls. "
        "What reading a call that does nothing takes is taken off every part; of the rest nobody "
        "can say how much is in a part's time, so a convolution is said to take longer inside a "
        "network only where the difference is larger than all of it."
    )
    yield (
        "Times are means over the usual half of the forward passes, neither the fastest quarter "
        f"nor the slowest, so that parts add up; what is {UNATTRIBUTED} is mostly Python."
    )
    yield "Networks that convsweep builds have seeded weights; they are not trained."


def picture_title(found: Sequence[NetworkBreakdown]) -> str:
    """The least and the largest part of the whole that the layers alone tell."""
    order = sorted(found, key=lambda one: one.isolated_share.value)
    low, high = order[0], order[-1]
    if len(order) == 1:
        return f"Layers timed alone add up to {_percent(low.isolated_share)} of {low.network}, run whole"
    return (
        f"Layers alone add up to {100 * low.isolated_share.value:.0f} % ({low.network}) to "
        f"{100 * high.isolated_share.value:.0f} % ({high.network}) of the whole network"
    )


def parts_table(found: dict[str, list[NetworkBreakdown]]) -> Table:
    """One row a setting and network."""
    numbers = (
        "whole [95 %]", "layers alone [95 %]", "of the whole [95 %]", "inside [95 %]",
        "inside / alone [95 %]", *_KINDS, UNATTRIBUTED, "passes",
    )  # fmt: skip
    rows = [
        (
            setting,
            one.network,
            _time(one.end_to_end),
            _time(one.isolated),
            _percent(one.isolated_share),
            _time(one.in_network),
            formatting.interval(*one.slowdown),
            *(_seconds_of(one, kind) for kind in _KINDS),
            formatting.seconds(one.unattributed_s),
            str(one.passes),
        )
        for setting, of_setting in found.items()
        for one in of_setting
    ]
    return by_setting(("setting", "network", *numbers), rows, set(numbers))


def _seconds_of(one: NetworkBreakdown, kind: str) -> str:
    return formatting.seconds(one.others[kind].time.value) if kind in one.others else "none"


def layers_table(one: NetworkBreakdown) -> Table:
    """One row a distinct convolution, the one that changes most first."""
    numbers = ("times", "alone [95 %]", "inside [95 %]", "of it timing, at most",
               "inside / alone [95 %]")  # fmt: skip
    rows = [
        (
            layer.layer,
            str(layer.count),
            _time(layer.isolated),
            _time(layer.in_network),
            formatting.seconds(layer.overhead_s),
            formatting.interval(*layer.slowdown),
        )
        for layer in sorted(one.layers, key=lambda layer: -abs(layer.extra_s))
    ]
    return Table(("layer", *numbers), rows, frozenset(numbers))


def _time(found: Sum) -> str:
    return formatting.time(*found.time)


def _times(ratio: Interval) -> str:
    return f"{formatting.interval(*ratio)} times"


def _percent(share: Interval) -> str:
    return formatting.percent(*share)

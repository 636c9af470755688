"""Networks: time of each one, measured and expected speedups, and the layers that save most."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from convsweep import formatting
from convsweep.analysis.estimates import Interval
from convsweep.analysis.network_breakdown import Breakdowns, NetworkBreakdown
from convsweep.analysis.network_totals import (
    FASTEST,
    NetworkSum,
    largest_savings,
    network_sums,
    ratio,
    standard_pairs,
)
from convsweep.analysis.run import Run
from convsweep.report.pages import Section
from convsweep.report.plots.networks import Gain, draw_gains, draw_work
from convsweep.report.plots.style import Picture
from convsweep.report.table import Table

TITLE = "Networks: sums of their layers"
_LAYERS_PER_NETWORK = 5
_NOTE = (
    "A separable layer computes another function, so its network is retrained. "
    "The fastest backends are chosen and timed by the same passes."
)


class NetworkFindings(NamedTuple):
    """Networks of a run by setting: sums of their layers, and by name those timed end to end."""

    run: Run
    sums: Mapping[str, Sequence[NetworkSum]]
    whole: Mapping[str, Mapping[str, NetworkBreakdown]]


def read_networks(run: Run, whole: Mapping[str, Breakdowns]) -> NetworkFindings:
    """Return the networks of a run; `whole` are those that were timed end to end, by setting."""
    return NetworkFindings(
        run,
        {setting: network_sums(run.within(setting)) for setting in run.settings},
        {setting: {one.network: one for one in own} for setting, (own, _) in whole.items()},
    )


def sentences(found: NetworkFindings) -> list[str]:
    """Return the speedups of the networks in the first setting."""
    first = next(iter(found.sums), "")
    lines = _sentences(found.sums[first], found.whole[first], found.run) if first else []
    return [f"On {first}: {line}" for line in lines] if len(found.sums) > 1 else lines


def networks_table(found: NetworkFindings) -> Table:
    """Return one row per setting and network."""
    heads = (
        "setting", "network", "MACs", "end to end", f"layers, {found.run.baseline}",
        "separable layers (95 %)", "MAC ratio", "fastest per layer, same function (95 %)",
    )  # fmt: skip
    rows = [
        (setting, one.network, *_overview_cells(one, found.whole[setting].get(one.network)))
        for setting, own in found.sums.items()
        for one in own
    ]
    return Table.by_setting(heads, rows, heads[2:])


def pairs_table(found: NetworkFindings) -> Table:
    """Return one row per setting and network that has a version with standard layers."""
    heads = ("setting", "network", "speedup end to end (95 %)", "in its layers (95 %)", "MAC ratio")
    rows = [
        (
            setting,
            one.network,
            formatting.speedup(*end_to_end) if end_to_end else formatting.NO_VALUE,
            formatting.speedup(*ratio(standard.standard.sum, one.standard.sum)),
            formatting.speedup(_mac_ratio(one, standard)),
        )
        for setting, sums in found.sums.items()
        for one, standard in standard_pairs(sums)
        for end_to_end in [_end_to_end(one, standard, found.whole[setting])]
    ]
    return Table.by_setting(heads, rows, heads[2:])


def _end_to_end(
    one: NetworkSum, standard: NetworkSum, whole: Mapping[str, NetworkBreakdown]
) -> Interval | None:
    """Return the speedup over the standard version; None unless both were timed."""
    ends = [whole[each.network].end_to_end for each in (standard, one) if each.network in whole]
    return ratio(*ends) if len(ends) == 2 else None


def _overview_cells(one: NetworkSum, whole: NetworkBreakdown | None) -> tuple[str, ...]:
    replaced, fastest = one.replaced, one.choices.get(FASTEST)
    return (
        formatting.operations(one.standard.macs) if one.choices else formatting.NO_VALUE,
        formatting.time(*whole.end_to_end.time) if whole else "",
        formatting.time(*one.standard.sum.time) if one.choices else formatting.NO_VALUE,
        formatting.speedup(*replaced.speedup) if replaced else "",
        formatting.speedup(replaced.mac_ratio) if replaced else "",
        formatting.speedup(*fastest.speedup) if fastest else "",
    )


def _sentences(
    sums: Sequence[NetworkSum], whole: Mapping[str, NetworkBreakdown], run: Run
) -> list[str]:
    """Return the speedups of networks over their standard versions, then of other choices."""
    lines = []
    for one, standard in standard_pairs(sums):
        speedup, how = ratio(standard.standard.sum, one.standard.sum), "in its layers"
        if end_to_end := _end_to_end(one, standard, whole):
            how = f"end to end ({formatting.speedup(speedup.value)} in its layers)"
            speedup = end_to_end
        lines.append(
            f"{one.network} is {formatting.speedup(*speedup)} as fast as {standard.workload} "
            f"{how}, with {formatting.speedup(_mac_ratio(one, standard))} fewer MACs."
        )
    choices = {
        "separable layers": {one.network: one.replaced for one in sums},
        "the fastest backend per layer": {one.network: one.choices.get(FASTEST) for one in sums},
    }
    for name, by_network in choices.items():
        speedups = {network: one.speedup for network, one in by_network.items() if one}
        faster = {key: one for key, one in speedups.items() if one.low > 1 + run.margin}
        if len(faster) == 1:
            [(network, speedup)] = faster.items()
            lines.append(
                f"The layers of {network} are {formatting.speedup(*speedup)} as fast with {name}."
            )
        elif faster:
            values = [speedup.value for speedup in faster.values()]
            lines.append(
                f"The layers of {len(faster)} of {len(sums)} networks are faster with {name}, by "
                f"{formatting.times(min(values), max(values))}."
            )
    if missing := sum(not one.choices for one in sums):
        networks = formatting.count(missing, "network")
        lines.append(f"No total for {networks}: a layer has no time on {run.baseline}.")
    return lines


def _mac_ratio(one: NetworkSum, standard: NetworkSum) -> float:
    return standard.standard.macs / one.standard.macs


def section(found: NetworkFindings) -> Section | None:
    """Return the totals of all networks in all settings; None if the run has no network."""
    run, sums, _ = found
    if not any(sums.values()):
        return None
    first = next(iter(sums))
    layers = layers_table(run.within(first))
    return Section.of_settings(
        TITLE,
        next(iter(sentences(found)), ""),
        [
            ("Networks", networks_table(found)),
            ("Networks against their versions with standard layers", pairs_table(found)),
            (f"Layers on which another backend saves most, {first}", layers),
        ],
        {name: _pictures(own) if name == first else () for name, own in sums.items()},
        _NOTE,
    )


def _pictures(sums: Sequence[NetworkSum]) -> Sequence[Picture | None]:
    """Return the figures of one setting."""
    pairs = [*standard_pairs(sums)]
    gains = [
        Gain(f"{one.network}\nagainst {standard.workload}",
             ratio(standard.standard.sum, one.standard.sum), _mac_ratio(one, standard))
        for one, standard in pairs
    ]  # fmt: skip
    gains += [
        Gain(f"{one.network},\nseparable", one.replaced.speedup, one.replaced.mac_ratio)
        for one in sums
        if one.replaced and one not in [standard for _, standard in pairs]
    ]
    return draw_gains(gains), draw_work(sums)


def layers_table(run: Run) -> Table:
    """Return the layers of each network on which another backend saves most time."""
    heads = ("network", "layer", "calls", run.baseline, "backend", "speedup (95 %)", "saves")
    rows = [
        (
            str(row["network"]),
            str(row["label"]).removeprefix(f"{row['workload']} "),
            str(int(row["layer_count"])),
            formatting.seconds(row["baseline_s"]),
            str(row["backend"]),
            formatting.speedup(row["speedup"], row["speedup_ci_low"], row["speedup_ci_high"]),
            formatting.seconds(row["saving_s"]),
        )
        for row in largest_savings(run, _LAYERS_PER_NETWORK).to_dict("records")
    ]
    return Table(heads, rows, frozenset({"calls", run.baseline, "speedup (95 %)", "saves"}))

"""The report's part on networks as sums of their layers: what MACs promise, and what is gained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from convsweep import formatting
from convsweep.analysis.estimates import Interval
from convsweep.analysis.network_totals import (
    FASTEST,
    FASTEST_OF_ALL,
    REPLACED,
    STANDARD,
    Choice,
    NetworkSum,
    network_sums,
    ratio,
    standard_pairs,
)
from convsweep.analysis.run import Run
from convsweep.report.plots import networks as draw
from convsweep.report.plots.networks import Gain
from convsweep.report.plots.style import Picture
from convsweep.report.section import Section
from convsweep.report.sections import published_counts
from convsweep.report.tables import Table, by_setting

TITLE = "Networks, their layers added up"
_NOTES = (
    "Every layer is timed alone and counted as often as the network has it; parameters are those "
    "of the convolutions.",
    "The fastest backend of a layer is chosen by the passes that also time it, which flatters it "
    "a little.",
)
_RETRAIN = "A separable layer computes another function: the network has to be trained anew."


def section(run: Run) -> Section | None:
    """Totals of every workload, in all settings; None where the run has no workload."""
    by_name = {setting: network_sums(run.within(setting)) for setting in run.settings}
    if not any(by_name.values()):
        return None
    several = len(run.settings) > 1
    told: list[str] = []
    pictures: list[Picture] = []
    for setting, sums in by_name.items():
        where = f"On {setting}: " if several else ""
        told += [where + sentence for sentence in sentences(sums, run.baseline, run.margin)]
        drawn = pictures_of(sums)
        pictures += [picture.of(setting) if several else picture for picture in drawn]
    table = totals_table(by_name)
    replaced = any(REPLACED in one.choices for sums in by_name.values() for one in sums)
    notes = (*_NOTES, _RETRAIN) if replaced else _NOTES
    tables = [("Totals of every network", table)] if table.rows else []
    if counted := published_counts.counts(run):
        told.append(published_counts.sentence(counted))
        tables.append((published_counts.CAPTION, published_counts.table(counted)))
    return Section(TITLE, told, tables, pictures, notes)


def pace(speedup: Interval) -> str:
    """`5.31 [5.20, 5.42] times faster`, `1.20 [1.10, 1.31] times slower`, or that nobody knows."""
    if speedup.high < 1:
        slower = Interval(1 / speedup.value, 1 / speedup.high, 1 / speedup.low)
        return f"{formatting.interval(*slower)} times slower"
    if speedup.low > 1:
        return f"{formatting.interval(*speedup)} times faster"
    if np.isnan(speedup.low):
        return f"{formatting.digits(speedup.value)} times as fast, from too few passes to be sure"
    return (
        f"neither faster nor slower as far as can be told ({formatting.interval(*speedup)} times)"
    )


def sentences(sums: Sequence[NetworkSum], baseline: str, margin: float) -> list[str]:
    """What there is to say of the networks of one setting, the exchange of all layers first."""
    whole = [one for one in sums if one.choices]
    told = [_of_pair(one, twin) for one, twin in standard_pairs(sums)]
    told += [
        _of_replacement(one, one.replaced, baseline) for one in whole if one.replaced is not None
    ]
    told += _of_fastest(whole, baseline, margin)
    if len(whole) > 1:
        told.append(_of_work(whole))
    if lacking := [one.workload for one in sums if not one.choices]:
        told.append(
            f"{formatting.join(lacking)}: no total, since not every layer has a time on {baseline}."
        )
    return told


def _of_pair(one: NetworkSum, twin: NetworkSum) -> str:
    own, other = one.standard, twin.standard
    return (
        f"{one.workload} with separable layers is {pace(ratio(other.sum, own.sum))} than with "
        f"standard ones ({_time(own)} against {_time(other)}); MACs promise "
        f"{formatting.digits(other.macs / own.macs)} times ({_millions(own.macs)} against "
        f"{_millions(other.macs)}). Its convolutions have {_millions(own.parameters)} parameters "
        f"against {_millions(other.parameters)}."
    )


def _of_replacement(one: NetworkSum, choice: Choice, baseline: str) -> str:
    swapped = sum(backend != baseline for backend in choice.backends.values())
    return (
        f"{one.workload} with separable layers in {swapped} of {one.layers} layers is "
        f"{pace(choice.speedup)}, where MACs promise {formatting.digits(choice.mac_ratio)} times "
        f"({_time(choice)} against {_time(one.standard)})."
    )


def _of_fastest(whole: Sequence[NetworkSum], baseline: str, margin: float) -> list[str]:
    """The networks that gain from another backend in some layers, and those that do not."""
    told, vain = [], []
    for one in whole:
        if not (choice := one.choices.get(FASTEST)):
            continue
        if not choice.speedup.low > 1 + margin:
            vain.append(one.workload)
            continue
        names = Counter(name for name in choice.backends.values() if name != baseline)
        where = [f"{name} in {count}" for name, count in names.most_common()]
        told.append(
            f"{one.workload} with the fastest backend per layer ({formatting.join(where)} of "
            f"{one.layers} layers, else {baseline}) computes the same and is "
            f"{pace(choice.speedup)}."
        )
    if vain:
        told.append(
            f"For {formatting.join(vain)} choosing the fastest backend per layer gains no more than "
            f"{100 * margin:g} % over {baseline} everywhere, as far as can be told."
        )
    return told


def _of_work(whole: Sequence[NetworkSum]) -> str:
    """The network with the most work against the one with the least."""
    most, least = _ends(whole)
    return (
        f"From {most.workload} to {least.workload} MACs fall "
        f"{formatting.digits(most.standard.macs / least.standard.macs)} times, and time "
        f"{formatting.interval(*ratio(most.standard.sum, least.standard.sum))} times."
    )


def _ends(whole: Sequence[NetworkSum]) -> tuple[NetworkSum, NetworkSum]:
    macs: Callable[[NetworkSum], int] = lambda one: one.standard.macs  # noqa: E731
    return max(whole, key=macs), min(whole, key=macs)


def _time(choice: Choice) -> str:
    return formatting.time(*choice.sum.time)


def _millions(number: int) -> str:
    return f"{formatting.digits(number / 1e6)} M"


def pictures_of(sums: Sequence[NetworkSum]) -> list[Picture]:
    """The figures of one setting."""
    whole = [one for one in sums if one.choices]
    gains = [
        Gain(f"{one.workload}\nfor its standard twin", ratio(twin.standard.sum, one.standard.sum),
             twin.standard.macs / one.standard.macs)
        for one, twin in standard_pairs(sums)
    ]  # fmt: skip
    gains += [
        Gain(f"{one.workload}\nseparable", choice.speedup, choice.mac_ratio)
        for one in whole
        if (choice := one.replaced)
    ]
    drawn = [draw.draw_gains(gains, _gains_title(gains)) if gains else None]
    drawn.append(draw.draw_work(sums, _of_work(whole).removesuffix(".")) if whole else None)
    return [picture for picture in drawn if picture is not None]


def _gains_title(gains: Sequence[Gain]) -> str:
    """The promises from the least to the most, and how far the measured intervals reach."""
    ends = [end for gain in gains for end in gain.measured if not np.isnan(end)]
    promised = [gain.mac_ratio for gain in gains]
    measured = formatting.times(min(ends), max(ends))
    unsure = ", intervals counted" if len(ends) > len(gains) else ""
    return (
        f"Separable networks are {measured} as fast{unsure}, where MACs promise "
        f"{formatting.times(min(promised), max(promised))}"
    )


def totals_table(by_name: dict[str, list[NetworkSum]]) -> Table:
    """One row a setting, network and choice."""
    rows: list[tuple[str, ...]] = []
    for setting, sums in by_name.items():
        for one in sums:
            for name in (STANDARD, REPLACED, FASTEST, FASTEST_OF_ALL):
                if choice := one.choices.get(name):
                    rows.append((setting, one.workload, name, *_cells(choice)))
    numbers = ("time [95 %]", "times faster [95 %]", "promised by MACs", "MACs", "parameters")
    return by_setting(("setting", "network", "choice", *numbers), rows, set(numbers))


def _cells(choice: Choice) -> tuple[str, ...]:
    is_standard = choice.name == STANDARD
    return (
        _time(choice),
        "1 (baseline)" if is_standard else formatting.interval(*choice.speedup),
        "1" if is_standard else formatting.digits(choice.mac_ratio),
        _millions(choice.macs),
        _millions(choice.parameters),
    )

"""Section on networks as sums of their layers: expected from MACs, and measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from convsweep import formatting
from convsweep.analysis.network_totals import (
    REPLACED,
    STANDARD,
    NetworkChoice,
    NetworkSum,
    network_sums,
    ratio,
    standard_pairs,
)
from convsweep.analysis.run import Run
from convsweep.report.pages import Section
from convsweep.report.plots.networks import Gain, draw_gains, draw_work
from convsweep.report.plots.style import Picture
from convsweep.report.summary_text import first_sentence
from convsweep.report.table import Table

TITLE = "Networks: sums of their layers"
_NOTES = (
    "Each layer is timed alone and counted as often as it occurs. Parameters are those of the "
    "convolutions. The fastest backend per layer is chosen and timed by the same passes, which "
    "slightly overestimates its speedup.",
)
_RETRAINING = "A separable layer computes another function: the network has to be retrained."


def section(run: Run) -> Section | None:
    """Return the totals of all networks in all settings; None if the run has no network."""
    by_name = {setting: network_sums(run.within(setting)) for setting in run.settings}
    if not any(by_name.values()):
        return None
    replaced = any(REPLACED in one.choices for sums in by_name.values() for one in sums)
    return Section.of_settings(
        TITLE,
        first_sentence(
            {setting: _sentences(sums, run.baseline) for setting, sums in by_name.items()}
        ),
        [("Totals of every network", totals_table(by_name))],
        {setting: _pictures(sums) for setting, sums in by_name.items()},
        _RETRAINING if replaced else _NOTES[0],
    )


def _gains(sums: Sequence[NetworkSum]) -> list[Gain]:
    """Return measured and expected speedups: against the standard network, and replaced."""
    gains = [
        Gain(f"{one.workload} against {standard.workload}",
             ratio(standard.standard.sum, one.standard.sum),
             standard.standard.macs / one.standard.macs)
        for one, standard in standard_pairs(sums)
    ]  # fmt: skip
    return gains + [
        Gain(f"{one.workload}, separable", one.replaced.speedup, one.replaced.mac_ratio)
        for one in sums
        if one.choices and one.replaced
    ]


def _sentences(sums: Sequence[NetworkSum], baseline: str) -> list[str]:
    lines = [
        f"{gain.name}: {formatting.speedup(*gain.measured)} as fast; expected from the MAC "
        f"count: {formatting.digits(gain.mac_ratio)}."
        for gain in _gains(sums)
    ]
    if missing := [one.workload for one in sums if not one.choices]:
        lines.append(f"No total, because a layer has no time on {baseline}: {', '.join(missing)}.")
    return lines


def _pictures(sums: Sequence[NetworkSum]) -> Sequence[Picture | None]:
    """Return the figures of one setting."""
    gains = [gain._replace(name=gain.name.replace(" ", "\n", 1)) for gain in _gains(sums)]
    return (
        draw_gains(gains),
        draw_work(sums),
    )


def totals_table(by_name: Mapping[str, Sequence[NetworkSum]]) -> Table:
    """Return one row per setting, network and choice."""
    rows = [
        (setting, one.workload, choice.name, *_cells(choice))
        for setting, sums in by_name.items()
        for one in sums
        for choice in one.choices.values()
    ]
    numbers = ("time (95 %)", "times faster (95 %)", "expected from MACs", "MACs", "parameters")
    heads = ("setting", "network", "choice", *numbers, "layers per backend")
    return Table.by_setting(heads, rows, numbers)


def _cells(choice: NetworkChoice) -> tuple[str, ...]:
    is_standard = choice.name == STANDARD
    layers = Counter(choice.backends.values()).most_common()
    return (
        formatting.time(*choice.sum.time),
        "1 (baseline)" if is_standard else formatting.speedup(*choice.speedup),
        "1" if is_standard else formatting.digits(choice.mac_ratio),
        formatting.operations(choice.macs),
        formatting.operations(choice.parameters),
        ", ".join(f"{name} {count}" for name, count in layers),
    )

"""Section on standard layers and their separable replacements."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convsweep import formatting
from convsweep.analysis.estimates import Interval
from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import (
    Comparisons,
    Replacement,
    SeparableComparison,
    thresholds,
)
from convsweep.problems.separable import DEPTHWISE, POINTWISE, SEPARABLE
from convsweep.report.pages import Section
from convsweep.report.plots import MOST_SETTINGS, crossover, predicted_speedup, separable_parts
from convsweep.report.plots.style import Picture
from convsweep.report.summary_text import first_sentence
from convsweep.report.table import Table

_NOTES = (
    "The MAC ratio is 1 / (1 / C_out + 1 / k²), k² being the kernel's taps (Howard et al. 2017, "
    "MobileNets). It is the speedup expected from the MAC count.",
    "FLOPs per byte are two per multiply-accumulate over the least bytes that must be moved: each "
    "input, weight and output element once. The attainable rate is the lower of the matrix "
    "product's rate and the copy's rate times FLOPs per byte.",
    "The depthwise and the pointwise part are timed alone, each as a problem of its own. The rest "
    "is the replacement's time less both, paired by pass. Each part finds its input in the "
    "caches, so the rest may be below zero.",
)


def section(run: Run, comparisons: Comparisons) -> Section | None:
    """Return the section; None if no replacement was timed."""
    replacements = [
        (setting, r) for setting, found in comparisons.items() for r in found.replacements
    ]
    if not replacements:
        return None
    tables = [
        ("Channels from which on it is faster", _threshold_table(comparisons)),
        ("Speedup and MAC ratio per problem", _speedup_table(replacements)),
    ]
    if any(r.standard.bound or r.is_timed for _, r in replacements):
        tables.append(("Roofline and parts per problem", _roofline_table(replacements)))
    return Section.of_settings(
        "Depthwise-separable against standard",
        first_sentence({name: explanation_sentences(found) for name, found in comparisons.items()}),
        tables,
        {
            name: _pictures(run.within(name), found.headline)
            for name, found in [*comparisons.items()][:MOST_SETTINGS]
        },
        _NOTES[0],
    )


def _pictures(run: Run, comparison: SeparableComparison) -> Sequence[Picture | None]:
    return (
        predicted_speedup.draw(run, SEPARABLE),
        crossover.draw(run, comparison),
        separable_parts.draw(run, comparison),
    )


def _threshold_table(comparisons: Comparisons) -> Table:
    """Return one row per setting and input size with several numbers of channels."""
    numbers = ("measured channels", "always faster from", "problems", "faster")
    rows: list[tuple[str, ...]] = [
        (setting, each.size, ", ".join(map(str, each.measured)), str(each.channels or "none"),
         str(each.problems), str(each.faster))
        for setting, found in comparisons.items()
        for each in thresholds(found.headline.replacements)
    ]  # fmt: skip
    return Table.by_setting(("setting", "input size", *numbers), rows, numbers[1:])


def _speedup_table(replacements: list[tuple[str, Replacement]]) -> Table:
    """Return one row per problem: MACs, their ratio, the measured speedup."""
    numbers = ("MACs, standard", "MACs, separable", "1/C_out + 1/k²", "MAC ratio",
               "measured speedup (95 %)", "share of the MAC ratio (95 %)")  # fmt: skip
    rows: list[tuple[str, ...]] = [
        (setting, r.label, formatting.operations(r.problem.macs),
         formatting.operations(r.separable_macs), formatting.digits(1 / r.mac_ratio),
         formatting.digits(r.mac_ratio), formatting.speedup(*r.speedup),
         formatting.percent(*r.realized), r.verdict)
        for setting, r in replacements
    ]  # fmt: skip
    return Table.by_setting(("setting", "problem", *numbers, "verdict"), rows, numbers)


def _roofline_table(replacements: list[tuple[str, Replacement]]) -> Table:
    """Return one row per problem: intensities, rooflines, shares of the time."""
    intensities, efficiencies = (
        [template.format(name) for name in replacements[0][1].parts]
        for template in ("FLOPs per byte, {}", "{}, of the attainable rate (95 %)")
    )
    shares = [f"{name}, of the time (95 %)" for name in (DEPTHWISE, POINTWISE, "rest")]
    heads = ("setting", "problem", *intensities, "bound by", "roofline allows", *efficiencies,
             *shares)  # fmt: skip
    rows: list[tuple[str, ...]] = [
        (setting, r.label, *(formatting.digits(part.intensity) for part in r.parts.values()),
         " / ".join(part.bound or "not known" for part in r.parts.values()),
         formatting.digits(r.roofline_speedup),
         *(formatting.percent(*part.efficiency) for part in r.parts.values()),
         *(_share_of_time(name, r.shares[name]) for name in (DEPTHWISE, POINTWISE, "rest")))
        for setting, r in replacements
    ]  # fmt: skip
    return Table.by_setting(heads, rows, {*intensities, "roofline allows", *efficiencies, *shares})


def _share_of_time(part: str, share: Interval) -> str:
    """Return a share in percent; the rest is a difference of shares."""
    return formatting.percent(*share, start=part == "rest")


def explanation_sentences(comparison: SeparableComparison) -> list[str]:
    """Return the roofline and the shares of the time, or what was measured of them."""
    if (found := comparison.headline.explanation) is None:
        return []
    efficiency = [f"{name} {formatting.percent(*x)}" for name, x in found.efficiency.items()]
    shares = {name: _share_of_time(name, share) for name, share in found.time_shares.items()}
    time = (
        f"Share of {SEPARABLE}'s time: depthwise part {shares[DEPTHWISE]} with "
        f"{formatting.percent(found.depthwise_macs)} of the MACs, "
        f"pointwise part {shares[POINTWISE]}, rest {shares['rest']}."
    )
    if math.isnan(found.roofline_speedup):
        return [time]
    roofline = (
        f"The roofline allows a speedup of {formatting.digits(found.roofline_speedup)}; share of "
        f"the attainable rate: {formatting.join(efficiency)} "
        f"(geometric means, {formatting.count(found.problems, 'problem')})."
    )
    if found.above_roofline:
        roofline += f" The measured roofline is no upper bound for the {found.above_roofline} part."
    return [roofline, time]

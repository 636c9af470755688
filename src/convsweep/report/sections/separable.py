"""The depthwise study as a part of the report: its sentences, tables and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from convsweep import formatting
from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import Replacement, SeparablePart, compare_separable
from convsweep.problems.separable import DEPTHWISE, POINTWISE, SEPARABLE
from convsweep.report.plots import MOST_SETTINGS, crossover, predicted_speedup, separable_parts
from convsweep.report.plots.style import Picture
from convsweep.report.section import Section
from convsweep.report.sections.separable_explanation import reasons
from convsweep.report.tables import Table, by_setting

_NOTES = (
    "What MACs promise is 1 / (1 / C_out + 1 / k²), k² being the kernel's taps (Howard et al. "
    "2017, MobileNets); the share that is kept is the measured speedup over it.",
    "Flops a byte are those of two operations for each multiply-accumulate over the least bytes "
    "that must be moved: each input, weight and output element once. What is attainable is the "
    "lower of the matrix product's rate and the copy's rate times flops a byte.",
    "The halves are timed alone, each as a problem of its own; the rest is the replacement's time "
    "less both, paired by pass. Each finds its input in the caches, so that the rest may be below "
    "zero.",
)


def section(run: Run) -> Section | None:
    """Standard layers against their separable replacements; None where none was timed."""
    parts = {setting: run.within(setting) for setting in run.settings}
    found = {setting: compare_separable(part).replacements for setting, part in parts.items()}
    if not any(found.values()):
        return None
    several = len(parts) > 1
    tables = [("Promised and measured, problem by problem", _promise_table(found))]
    if any(r.standard.bound or _is_timed(r) for rows in found.values() for r in rows):
        tables.append(("Ceilings and halves, problem by problem", _ceilings_table(found)))
    return Section(
        title="Depthwise-separable against standard",
        sentences=[
            f"On {setting}: {sentence}" if several else sentence
            for setting, part in parts.items()
            for sentence in reasons(part)
        ],
        tables=tables,
        pictures=_pictures(parts),
        notes=_NOTES,
    )


def _pictures(parts: dict[str, Run]) -> list[Picture]:
    """Promise, crossover and halves of each setting, where they have something to show."""
    shown = []
    for setting, part in [*parts.items()][:MOST_SETTINGS]:
        drawn = [
            predicted_speedup.draw(part, SEPARABLE),
            crossover.draw(part),
            separable_parts.draw(part),
        ]
        pictures = [picture for picture in drawn if picture is not None]
        shown += [picture.of(setting) for picture in pictures] if len(parts) > 1 else pictures
    return shown


def _promise_table(found: Mapping[str, Sequence[Replacement]]) -> Table:
    """One row a problem: MACs, what they promise, what came."""
    numbers = ("MACs, standard", "MACs, separable", "1/C_out + 1/k²", "MACs promise",
               "measured speedup [95 %]", "promise kept [95 %]")  # fmt: skip
    rows: list[tuple[str, ...]] = [
        (
            setting,
            r.label,
            formatting.operations(r.problem.macs),
            formatting.operations(r.separable_macs),
            formatting.digits(1 / r.mac_ratio),
            formatting.digits(r.mac_ratio),
            formatting.interval(*r.speedup),
            formatting.percent(*r.realized),
            r.verdict,
        )
        for setting, replacements in found.items()
        for r in replacements
    ]
    return by_setting(("setting", "problem", *numbers, "verdict"), rows, set(numbers))


def _ceilings_table(found: Mapping[str, Sequence[Replacement]]) -> Table:
    """One row a problem: intensity, ceiling and what is reached of it, then shares of the time."""
    three = ("standard", DEPTHWISE, POINTWISE)
    numbers = (
        *(f"flops a byte, {name}" for name in three),
        "ceilings allow",
        *(f"{name} reaches [95 %]" for name in three),
        *(f"{name} of the time [95 %]" for name in (DEPTHWISE, POINTWISE, "rest")),
    )
    rows: list[tuple[str, ...]] = [
        (setting, r.label, *_cells(r)) for setting, replacements in found.items()
        for r in replacements
    ]  # fmt: skip
    heads = ("setting", "problem", *numbers[:3], "bound by", *numbers[3:])
    return by_setting(heads, rows, set(numbers))


def _cells(found: Replacement) -> tuple[str, ...]:
    three = (found.standard, found.depthwise, found.pointwise)
    return (
        *(formatting.digits(part.intensity) for part in three),
        " / ".join(map(_bound, three)),
        formatting.digits(found.roofline_speedup),
        *(formatting.percent(*part.efficiency) for part in three),
        *(formatting.percent(*found.shares[name]) for name in (DEPTHWISE, POINTWISE, "rest")),
    )


def _is_timed(found: Replacement) -> bool:
    """Whether both halves have a time."""
    return not math.isnan(found.shares["rest"].value)


def _bound(part: SeparablePart) -> str:
    return part.bound or "not known"

"""Section on settings: dtypes, memory formats, threads, caches, batch sizes against each other."""

from __future__ import annotations

from convsweep import formatting
from convsweep.analysis.run import Run
from convsweep.analysis.settings import (
    SettingSpeedup,
    batch_rates,
    best_settings,
    setting_speedups,
)
from convsweep.analysis.verdicts import DIRECTIONS
from convsweep.report.pages import Section
from convsweep.report.setting_sentences import setting_sentences
from convsweep.report.table import Table


def section(run: Run) -> Section | None:
    """Return the section; None if no setting varies."""
    found = setting_speedups(run)
    best, rates = _best_table(run), _rates_table(run)
    if not (found or best.rows or rates.rows):
        return None
    return Section.of_settings(
        "Settings compared",
        next(iter(setting_sentences(run)), ""),
        [
            ("Mean speedup per setting", _speedups_table(found)),
            ("Fastest setting per problem", best),
            ("Images per second by batch size", rates),
        ],
        {},
    )


def _speedups_table(found: list[SettingSpeedup]) -> Table:
    heads = ("setting", "against", "others", "backend", "problems", "speedup", *DIRECTIONS,
             "undecided")  # fmt: skip
    rows = [
        (
            one.value,
            one.first,
            one.others,
            one.backend,
            str(one.problems),
            formatting.speedup(*one.speedup),
            *(str(one.verdicts[verdict] or "") for verdict in heads[6:]),
        )
        for one in found
    ]
    return Table(heads, rows, frozenset(heads[4:])).filled


def _best_table(run: Run) -> Table:
    heads = ("problem", "fastest setting", "backend", "time", "speedup over the first setting",
             "relative error", "significant")  # fmt: skip
    rows = [
        (
            one.label,
            one.setting,
            one.backend,
            formatting.time(*one.time),
            formatting.speedup(*one.speedup),
            formatting.error(one.relative_err),
            "yes" if one.significant else "",
        )
        for one in best_settings(run)
    ]
    return Table(heads, rows, frozenset(heads[3:6])).filled


def _rates_table(run: Run) -> Table:
    found = batch_rates(run)
    sizes = sorted({size for one in found for size in one.images_per_s})
    heads = ("setting", "problem", "backend", *(f"batch {size}" for size in sizes), "most")
    rows = [
        (
            one.setting,
            one.label,
            one.backend,
            *(
                formatting.interval(*one.images_per_s[size]) if size in one.images_per_s else ""
                for size in sizes
            ),
            f"batch {one.best}",
        )
        for one in found
    ]
    return Table.by_setting(heads, rows, heads[3:])

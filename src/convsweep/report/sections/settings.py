"""Section on settings: dtypes, memory formats, threads, caches, batch sizes against each other."""

from collections.abc import Sequence
from typing import Any

from convsweep import formatting
from convsweep.analysis.best_backend import best_backends
from convsweep.analysis.labels import name_setting, without_batch_size
from convsweep.analysis.run import Run
from convsweep.analysis.settings import SETTING_SPEEDUP, WORK_AXES, SettingSpeedup, varied
from convsweep.analysis.summary import TIME, interval_of
from convsweep.analysis.verdicts import DIRECTIONS
from convsweep.report.pages import Section
from convsweep.report.summary_text import setting_sentences
from convsweep.report.table import Table
from convsweep.results.schema import BATCH_SIZE, SIBLING_COLUMNS

_ONE_PROBLEM = ("environment_id", "driver", "cache", "label", *WORK_AXES)
"""Columns that are equal for settings to choose from."""


def section(run: Run, speedups: Sequence[SettingSpeedup]) -> Section | None:
    """Return the section; None if no setting varies."""
    if not (sentences := setting_sentences(speedups)):
        return None
    tables = [
        ("Mean speedup per setting", _speedups_table(speedups)),
        ("Fastest setting per problem", _best_table(run)),
        ("Images per second by batch size", _rates_table(run)),
    ]
    return Section.of_settings("Settings compared", sentences[0], tables, {})


def _speedups_table(speedups: Sequence[SettingSpeedup]) -> Table:
    heads = ("setting", "against", "others", "backend", "speedup", *DIRECTIONS, "undecided")
    rows = [
        (one.value, one.first, one.others, one.backend, formatting.speedup(*one.speedup),
         *(str(one.verdicts[verdict] or "") for verdict in heads[5:]))
        for one in speedups
    ]  # fmt: skip
    return Table(heads, rows, frozenset(heads[4:])).filled


def _best_table(run: Run) -> Table:
    heads = ("problem", "fastest setting", "backend", "time", "speedup over its first setting",
             "relative error", "significant")  # fmt: skip
    axes = [axis for axis in varied(run.cases) if axis != BATCH_SIZE]
    best = best_backends(run, by=_ONE_PROBLEM)
    rows = [
        (str(row["label"]), _setting(row, axes), str(row["backend"]),
         formatting.time(*interval_of(row, TIME)),
         formatting.speedup(*interval_of(row, SETTING_SPEEDUP)),
         formatting.error(row["relative_err"]), "yes" if row["significant"] else "")
        for row in best.fillna({"significant": False}).to_dict("records")
        if {*axes} - {"cache", *WORK_AXES}
    ]  # fmt: skip
    return Table(heads, rows, frozenset(heads[3:6])).filled


def _rates_table(run: Run) -> Table:
    axes = varied(run.cases)
    sizes = axes.pop(BATCH_SIZE, [])
    cases = run.cases[(run.cases["status"] == "ok") & bool(sizes)]
    heads = ("setting", "problem", "backend", *(f"batch {size}" for size in sizes), "most")
    rows = []
    for _, own in cases.groupby([*SIBLING_COLUMNS, *axes, "backend"], dropna=False, sort=False):
        first, times = own.iloc[0], own.set_index(BATCH_SIZE)[[*TIME]].T.to_dict("list")
        name = without_batch_size(first["label"], first[BATCH_SIZE])
        rates = {n: formatting.interval(n / s, n / high, n / low)
                 for n, (s, low, high) in times.items()}  # fmt: skip
        most = max(times, key=lambda size: size / times[size][0])
        rows.append((_setting(first, [*axes]), name, str(first["backend"]),
                     *(rates.get(size, "") for size in sizes), f"batch {most}"))  # fmt: skip
    return Table.by_setting(heads, rows, heads[3:])


def _setting(row: Any, axes: Sequence[str]) -> str:
    return ", ".join(name_setting(axis, row[axis]) for axis in axes)

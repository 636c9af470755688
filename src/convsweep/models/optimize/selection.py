"""Selection of the backend of each layer, from a table measured on this machine."""

import math
import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from pandas import DataFrame

from convsweep import formatting
from convsweep.analysis.best_backend import read_best_backends
from convsweep.analysis.estimates import Interval
from convsweep.backends.base import FAMILIES, Backend
from convsweep.backends.registry import list_backends, missing_package
from convsweep.models.optimize.dispatch import this_machine
from convsweep.models.optimize.layer_inventory import ConvCall
from convsweep.problems.case import CONV, FORWARD
from convsweep.results.best_csv import MACHINE, read_best
from convsweep.results.schema import BASELINE
from convsweep.sweep.choices import choose_each
from convsweep.units import seconds

_FUSING = "separable_numba"
BestRow = dict[Any, Any]  # Of best.csv


class LayerBackend(NamedTuple):
    """Fastest backend of a layer."""

    backend: str
    memory_format: str
    time_s: float
    speedup: Interval  # Over torch's own convolution, of the layer alone
    reason: str = ""  # Why it is torch's own

    @property
    def needs_factors(self) -> bool:
        """Whether it computes a depthwise and a 1x1 convolution."""
        return list_backends()[self.backend].needs_factors

    @property
    def is_proven(self) -> bool:
        """Whether it may be chosen without timing it inside the model."""
        return self.backend == BASELINE or self.speedup.low > 1


def unusable_reason(backend: Backend, asked: Collection[str]) -> str | None:
    """Return why a backend cannot run in the user's process, or None.

    `asked` contains names of backends and families; empty: all but those with their own threads.
    """
    if backend.needs_factors:
        return "needs a weight that factors, which a model's weight does not"
    if backend.computes_in:
        return f"computes in {backend.computes_in}"
    if backend.quantized:
        return "computes another function, in int8"
    if backend.own_threads and backend.name not in asked:
        return "brings threads of its own beside torch's, and was not named"
    if backend.name != BASELINE and asked and not {backend.name, backend.family, "all"} & {*asked}:
        return "was not requested"
    return missing_package(backend)


def fusing(asked: Collection[str]) -> list[str]:
    """Return the usable backend that fuses a depthwise and a 1x1 convolution, if there is one."""
    own = list_backends().get(_FUSING)
    is_usable = own is not None and not unusable_reason(replace(own, needs_factors=False), asked)
    return [_FUSING] * is_usable


def usable(asked: Collection[str] = (), *, compiling: bool = True) -> dict[str, Backend]:
    """Return the backends that a model may run on, torch's own convolution included.

    Args:
        asked: names of backends and families; empty: all.
        compiling: include backends that compile each problem, which are slow to measure; a
            requested backend is always included.

    Raises:
        ValueError: a name in `asked` is neither a backend nor a family.
    """
    known = list_backends()
    choose_each("backend", [*asked], [*known, *FAMILIES, "all"])
    return {
        name: one
        for name, one in known.items()
        if unusable_reason(one, asked) is None
        and (compiling or asked or not one.compiles_per_problem)
    }


class BackendTable(NamedTuple):
    """Measured backends of every problem and setting."""

    best: Sequence[BestRow]  # The fastest usable backend
    best_of_all: Sequence[BestRow]  # The fastest backend, usable or not
    cases: Sequence[BestRow]  # All cases of usable backends, whatever their status
    absent: str  # Reason for a layer without a case
    asked: Collection[str]
    max_error: float | None = None


def read_table(
    path: Path, max_error: float | None, asked: Collection[str], across_machines: bool
) -> BackendTable:
    """Return the table of a run folder or of a best.csv.

    Raises:
        ValueError: there is no table, it is from another machine or version, or its speedups are
            not over torch's own convolution.
    """
    names = usable(asked)
    found = (
        read_best_backends(path, max_error, names) if path.is_dir() else _of_file(path, max_error)
    )
    rows, every, measured = (
        one[one["direction"].eq(FORWARD) & one["block"].eq(CONV)] for one in found
    )
    if measured.empty:
        raise ValueError(f"{str(path)!r} has no convolution in the direction forward")
    rows = rows[rows["backend"].isin(names)]
    measured = measured[measured["backend"].isin(names)]
    if not across_machines:
        _require_same_machine(rows, path)
    if others := set(rows["baseline"]) - {BASELINE}:
        text = f"has speedups over {others.pop()}; they must be over {BASELINE}"
        raise ValueError(f"{str(path)!r} {text}")
    # Hot caches and convsweep's own driver come first.
    rows = rows.sort_values(["cache", "driver"], ascending=[False, True], kind="stable")
    best, of_all, cases = (part.to_dict("records") for part in (rows, every, measured))
    absent = "not measured on" if path.is_dir() else "no row in the table for"
    return BackendTable(best, of_all, cases, absent, asked, max_error)


def _of_file(path: Path, max_error: float | None) -> tuple[DataFrame, DataFrame, DataFrame]:
    """Return the rows of a best.csv within the limit, twice, and all its rows."""
    every = read_best(path).assign(status="ok")
    if every.empty:
        raise ValueError(f"{str(path)!r} has no row")
    within = every if max_error is None else every[every["relative_err"] <= max_error]
    if within.empty:
        least = every["relative_err"].min()
        raise ValueError(
            f"{str(path)!r} has no backend within a relative error of {max_error:g}: the least "
            f"is {f'{least:.2g}' if least >= 0 else 'not recorded'}"
        )
    return within, within, every


def _require_same_machine(rows: DataFrame, path: Path) -> None:
    """Raise `ValueError` if a table is from another machine or version."""
    here = dict(zip(MACHINE, this_machine(), strict=True))
    found = [(name, value, here[name]) for name in here for value in rows[name].unique()]
    versions = rows[["backend", "backend_version"]].drop_duplicates().itertuples(index=False)
    found += [(name, value, list_backends()[name].version) for name, value in versions]
    for name, value, now in found:
        was = "" if pd.isna(value) else str(value)
        if was != now:
            raise ValueError(
                f"{str(path)!r} is from another machine or version: {name} is "
                f"{was or 'not recorded'} there and {now} here; across_machines uses it anyway"
            )


def select(table: BackendTable, layer: ConvCall, threads: int) -> LayerBackend | str:
    """Return the backend for a layer, or why it stays on torch."""
    best, best_of_all = (_rows_of(x, layer, threads) for x in (table.best, table.best_of_all))
    unusable = _unusable_best(table, best_of_all[0]) if best_of_all else ""
    if not best:
        return unusable or _missing_row_reason(table, layer, threads)
    row = best[0]
    but = f"; {unusable}" if unusable else ""
    if row["backend"] == BASELINE:
        return f"{BASELINE} is the fastest{' usable one' if but else ''}{but}"
    speedup = Interval(row["speedup"], row["speedup_ci_low"], row["speedup_ci_high"])
    if math.isnan(speedup.low) or speedup.low <= 1:
        return f"no backend is significantly faster than {BASELINE}{but}"
    return LayerBackend(row["backend"], row["memory_format"], float(row["time_s"]), speedup)


def fastest_fusing(table: BackendTable, layer: ConvCall, threads: int) -> BestRow | None:
    """Return the row of the fastest backend that computes batch norm and ReLU itself, or None.

    Alone it may be slower than another one.
    """
    rows = [
        row
        for row in _rows_of(table.cases, layer, threads)
        if row["status"] == "ok" and list_backends()[row["backend"]].prepare_block
    ]
    return min(rows, key=lambda row: float(row["time_s"]), default=None)


def _missing_row_reason(table: BackendTable, layer: ConvCall, threads: int) -> str:
    """Return why a layer has no best backend: it was not measured, or every backend failed."""
    memory_formats = " or ".join(layer.memory_formats) or "a view"
    parts = (layer.key[2], layer.dtype, memory_formats, formatting.count(threads, "thread"))
    setting, failures = ", ".join(parts), set()
    for row in _rows_of(table.cases, layer, threads):
        failure = row["status"]
        if failure == "ok":
            error = row["relative_err"]
            failure = f"is off by {error:.2g}, above {table.max_error:g}"
            failure = "has an unknown error" if pd.isna(error) else failure
        if failure != "skipped":
            failures.add(f"{row['backend']} {failure}")
    if not failures:
        return f"{table.absent} {setting}"
    return f"has no correct backend on {setting}: {formatting.join(sorted(failures))}"


def _rows_of(rows: Sequence[BestRow], layer: ConvCall, threads: int) -> list[BestRow]:
    """Return the rows of one layer in its setting."""
    setting = (layer.problem.label, layer.key[2], layer.dtype, threads)

    def matches(row: BestRow) -> bool:
        device = row["device"].partition(":")[0]
        found = (row["problem"], device, row["dtype"], row["threads"])
        return found == setting and row["memory_format"] in layer.memory_formats

    return [*filter(matches, rows)]


def _unusable_best(table: BackendTable, fastest: BestRow) -> str:
    """Return why the fastest backend of all cannot be used; empty if it can."""
    name = str(fastest["backend"])
    backend = list_backends().get(name)
    reason = unusable_reason(backend, table.asked) if backend else "is not available here"
    return f"{name} is the fastest, but {reason}" if reason else ""


def budget_of(source: str | os.PathLike[str]) -> str | None:
    """Return the time in `source` to measure for, or None for a path; raise `ValueError` else."""
    if isinstance(source, os.PathLike):
        return None
    if not isinstance(source, str):
        raise ValueError(f"source={source!r} is neither a time such as '60s' nor a path")
    try:
        seconds(source)
    except ValueError as error:
        if os.path.lexists(source):
            return None
        raise ValueError(f"{error}, and there is no such run or best.csv") from None
    return source

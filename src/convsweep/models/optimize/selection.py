"""Which backend each layer is to run on, by a table that was measured here."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from convsweep import formatting
from convsweep.analysis.best_backend import read_best_backends
from convsweep.analysis.estimates import Interval
from convsweep.backends.base import FAMILIES, Backend
from convsweep.backends.registry import list_backends, missing_package
from convsweep.models.optimize.layer_inventory import ConvCall
from convsweep.models.optimize.machine import here
from convsweep.results.best_csv import MACHINE, read_best
from convsweep.results.store import BASELINE
from convsweep.units import seconds

if TYPE_CHECKING:
    from pandas import DataFrame


class Pick(NamedTuple):
    """What the table says of a layer."""

    backend: str
    memory_format: str
    median_s: float
    speedup: Interval
    """Over torch's own convolution, of the layer alone."""


def unusable_reason(backend: Backend, asked: Collection[str]) -> str | None:
    """Why a backend can't run within the user's process, in words, or None.

    Args:
        backend: any.
        asked: names of backends and families; empty: all but those that bring threads of their
            own, which are taken by name alone.
    """
    if backend.needs_factors:
        return "needs a weight that factors, and a model's own does not"
    if backend.own_threads and backend.name not in asked:
        return "brings threads of its own beside torch's, and was not asked for by name"
    if backend.name != BASELINE and asked and not {backend.name, backend.family, "all"} & {*asked}:
        return "was not asked for"
    return missing_package(backend)


def usable(asked: Collection[str] = (), *, compiling: bool = True) -> dict[str, Backend]:
    """The backends that a model may run on, torch's own convolution among them.

    Args:
        asked: names of backends and families; empty: all that can.
        compiling: whether also those that compile each problem, which are slow to measure; those
            that are asked for are always among them.

    Raises:
        ValueError: a word in `asked` is neither a backend nor a family.
    """
    known = list_backends()
    for word in asked:
        if word not in {*known, *FAMILIES, "all"}:
            names = ", ".join([*known, *FAMILIES, "all"])
            raise ValueError(f"unknown backend {word!r}; there is {names}")
    return {
        name: one
        for name, one in known.items()
        if unusable_reason(one, asked) is None
        and (compiling or asked or not one.compiles_per_problem)
    }


Row = dict[Any, Any]
"""Of best.csv."""


class Table(NamedTuple):
    """What was measured."""

    rows: Sequence[Row]
    """The fastest of each problem and setting among the backends that may be used."""
    every: Sequence[Row]
    """The fastest of all backends."""
    measured: Sequence[Row]
    """The cases of the backends that may be used, whatever became of them."""
    absent: str
    """What is said of a layer that is not among them."""
    asked: Collection[str]
    max_error: float | None


def read_table(
    path: Path, max_error: float | None, asked: Collection[str], across_machines: bool
) -> Table:
    """The table of a run's folder or of a best.csv, whose backends are to be used here.

    Raises:
        ValueError: in one line, where there is none, it is of another machine or version, or its
            speedups are not over torch's own convolution.
    """
    names = usable(asked)
    if path.is_dir():
        rows, every, measured = read_best_backends(path, max_error, names)
    else:
        rows, every, measured = _of_file(path, max_error)
        rows = rows[rows["backend"].isin(names)]
    measured = measured[measured["backend"].isin(names)]
    if not across_machines:
        _require_same_machine(rows, path)
    others = set(rows["baseline"]) - {BASELINE}
    if others:
        raise ValueError(f"{str(path)!r} tells speedups over {others.pop()}, not over {BASELINE}")
    # Of caches and drivers the usual ones come first.
    rows = rows.sort_values(["cache", "driver"], ascending=[False, True], kind="stable")
    best_rows, every_row, cases = (part.to_dict("records") for part in (rows, every, measured))
    absent = "was not measured on" if path.is_dir() else "has no row in the table for"
    return Table(best_rows, every_row, cases, absent, asked, max_error)


def _of_file(path: Path, max_error: float | None) -> tuple[DataFrame, DataFrame, DataFrame]:
    """The rows of a best.csv within the limit, twice, and all of them.

    Raises:
        ValueError: in one line, where it is no such file, or none is.
    """
    every = read_best(path).assign(status="ok")
    if every.empty:
        raise ValueError(f"{str(path)!r} has no row")
    within = every if max_error is None else every[every["relative_err"] <= max_error]
    if within.empty:
        least = every["relative_err"].min()
        told = f"{least:.2g}" if least >= 0 else "not told"
        raise ValueError(
            f"{str(path)!r} has no backend within a relative error of {max_error:g}: the least "
            f"is {told}"
        )
    return within, within, every


def _require_same_machine(rows: DataFrame, path: Path) -> None:
    """Raise `ValueError` where a table is not of this machine and of these versions."""
    for name, now in zip(MACHINE, here(), strict=True):
        was = {str(value) for value in rows[name]} - {now}
        if was:
            told = "not told" if pd.isna(rows[name]).any() else was.pop()
            raise ValueError(
                f"{str(path)!r} is of another machine or version: {name} is {told} there and "
                f"{now} here; across_machines takes it all the same"
            )
    known = list_backends()
    for name, was in dict(zip(rows["backend"], rows["backend_version"], strict=True)).items():
        now = known[name].version
        if str(was) != now and not (pd.isna(was) and not now):
            raise ValueError(
                f"{str(path)!r} is of another version: {name} is {was} there and {now} here; "
                "across_machines takes it all the same"
            )


def pick(table: Table, layer: ConvCall, threads: int) -> Pick | str:
    """What the table says of a layer; why it stays torch's where it does."""
    rows, every = (_of(part, layer, threads) for part in (table.rows, table.every))
    faster = _unusable(table, every[0]) if every else ""
    if not rows:
        if faster:
            return faster
        return _missing_row_reason(table, layer, threads)
    row = rows[0]
    but = f"; {faster}" if faster else ""
    if row["backend"] == BASELINE:
        return f"{BASELINE} is the fastest{' that may be used' if but else ''}{but}"
    speedup = Interval(row["speedup"], row["speedup_ci_low"], row["speedup_ci_high"])
    if math.isnan(speedup.low) or speedup.low <= 1:
        return f"{row['backend']} is not surely faster than {BASELINE}{but}"
    return Pick(row["backend"], row["memory_format"], float(row["median_s"]), speedup)


def _missing_row_reason(table: Table, layer: ConvCall, threads: int) -> str:
    """Whether a layer was measured at all, and if so, what became of each backend."""
    how = (
        f"{layer.key[2]}, {layer.dtype}, {' or '.join(layer.memory_formats) or 'a view'}, "
        f"{formatting.count(threads, 'thread')}"
    )
    found = {
        f"{row['backend']} {_what_became(row, table.max_error)}"
        for row in _of(table.measured, layer, threads)
    }
    if not found:
        return f"{table.absent} {how}"
    return f"has no backend that is right on {how}: {formatting.join(sorted(found))}"


def _what_became(row: Row, max_error: float | None) -> str:
    """Why a case that was measured has no row: its status, or how far it is off."""
    if row["status"] != "ok":
        return str(row["status"])
    off = row["relative_err"]
    return "is of an unknown error" if pd.isna(off) else f"is off by {off:.2g}, above {max_error:g}"


def _of(rows: Sequence[Row], layer: ConvCall, threads: int) -> list[Row]:
    """The rows of one layer, called so."""
    how = (layer.problem.label, layer.key[2], layer.dtype, threads)
    return [
        row
        for row in rows
        if (row["problem"], row["device"].partition(":")[0], row["dtype"], row["threads"]) == how
        and row["memory_format"] in layer.memory_formats
    ]


def _unusable(table: Table, fastest: Row) -> str:
    """Why the fastest of all can't be used; empty where it can."""
    name = str(fastest["backend"])
    if name not in list_backends():
        return f"{name} is the fastest, but not there"
    why = unusable_reason(list_backends()[name], table.asked)
    return f"{name} is the fastest, but {why}" if why else ""


def budget_of(source: str | os.PathLike[str]) -> str | None:
    """The time that a source tells to measure for; None where it names a run or a file.

    Raises:
        ValueError: in one line, where it is neither.
    """
    if not isinstance(source, str | os.PathLike):
        raise ValueError(f"source={source!r} is neither a time such as '60s' nor a path")
    if not isinstance(source, str):
        return None
    try:
        seconds(source)
    except ValueError as error:
        if os.path.lexists(source):
            return None
        raise ValueError(f"{error}, nor is there such a run or best.csv") from None
    return source

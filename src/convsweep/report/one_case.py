"""All values of one case, and the command that measures it again."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from pandas import DataFrame

from convsweep import formatting
from convsweep.analysis.labels import label_cases
from convsweep.analysis.settings import SETTING_SPEEDUP
from convsweep.analysis.summary import SPEEDUP, SUMMARY_COLUMNS, TIME, interval_of
from convsweep.problems.workloads import workloads
from convsweep.report.table import Table
from convsweep.results.schema import CASE, CASE_KEYS, ROOFLINE, pass_times

_NAMES = ("label", "problem", "backend", "workload", "layer", "role", "device", "dtype",
          "memory_format", "threads", "cache", "direction", "block")  # fmt: skip
_OPTIONS = ("backend", "device", "dtype", "memory_format", "threads", "cache", "direction",
            "block", "weight_kind")  # fmt: skip
"""Columns that are options of `convsweep run`."""
_INTERVALS: dict[tuple[str, str, str], Callable[..., str]] = {
    TIME: formatting.time, SPEEDUP: formatting.speedup, SETTING_SPEEDUP: formatting.speedup
}  # fmt: skip
_FORMATS: dict[str, Callable[[float], str]] = {
    "_s": formatting.seconds, "_bytes": formatting.size_in_bytes, "macs": formatting.operations,
    "_fraction": formatting.percent, "_err": formatting.error, "_per_s": formatting.operations,
}  # fmt: skip
"""Format of a number by the end of its column's name; the last one that fits."""
_ABOVE_ROOF = (
    ", above the measured roof: the rate of a matrix product or copy, not a hardware limit"
)


def find_cases(summary: DataFrame, words: Sequence[str]) -> DataFrame:
    """Return the cases that contain every word, and of them those with most as whole values.

    Requested cases come before parts of separable layers and rooflines. A number alone is a row of
    summary.csv, from 1. Raises `ValueError` if no case is found.
    """
    cases = label_cases(summary.assign(row=range(1, len(summary) + 1)))
    if len(words) == 1 and words[0].isdecimal():
        found = cases[cases["row"] == int(words[0])]
    else:
        values = cases[[*_NAMES]].astype("string").fillna("").to_numpy().tolist()
        asked = " ".join(words).replace(", ", " ").split()
        fits = [all(word in " ".join(own) for word in asked) for own in values]
        whole = [len({*own, *own[0].split()}.intersection(asked)) for own in values]
        most = max((n for n, fit in zip(whole, fits, strict=True) if fit), default=0)
        found = cases[[fit and n == most for n, fit in zip(whole, fits, strict=True)]]
        requested = found[found["role"] == CASE]
        found = found if requested.empty else requested
    if found.empty:
        raise ValueError(f"no case fits {' '.join(words)!r}; summary.csv has {len(cases)} rows")
    return found


def case_table(row: Mapping[Any, Any], measurements: DataFrame) -> Table:
    """Return one line per value of a case of the summary that is not empty."""
    known = {name: row[name] for name in SUMMARY_COLUMNS if not pd.isna(row[name])}
    texts = {"row": str(row["row"])} | {
        name: formatting.digits(value) if isinstance(value, float) else str(value)
        for name, value in known.items()
    }
    for name, value in known.items():
        for end, form in _FORMATS.items():
            if name.endswith(end):
                texts[name] = form(float(value))
    if known.get("roofline_fraction", 0.0) > 1:
        texts["roofline_fraction"] += _ABOVE_ROOF
    for columns, show in _INTERVALS.items():
        if columns[0] in known:
            texts[columns[0]] = show(*interval_of(row, columns))
            texts = {name: text for name, text in texts.items() if name not in columns[1:]}
    own = measurements.merge(pd.DataFrame([row])[CASE_KEYS].astype(measurements[CASE_KEYS].dtypes))
    times = pass_times(own).dropna().astype(float)
    texts["each_pass_s"] = ", ".join(map(formatting.seconds, times))
    if row["status"] == "ok" and (left_out := len(times) - row["passes"]):
        texts["passes"] += f" of {len(times)}, {left_out} disturbed"
    return Table(("column", "value"), [item for item in texts.items() if item[1]])


def command(row: Mapping[Any, Any], environment: Mapping[str, Any]) -> str:
    """Return the command that measures a case of the summary again, with its settings.

    A part of a separable layer becomes a case; a backend of an A/A test loses its suffix.
    """
    if row["role"] == ROOFLINE:
        return "The machine's roofline is measured again by every run of its device and dtype."
    words, batch_size = ["--problem", row["problem"]], row["batch_size"]
    for layer in workloads().get("" if pd.isna(row["workload"]) else row["workload"], ()):
        problem = replace(layer.problem, batch_size=batch_size)
        if (layer.name, problem.label) == (row["layer"], row["problem"]):
            words = ["--workload", row["workload"], "--layer", row["layer"]]
            words += ["--batch-size", str(batch_size)]
    values = {name: str(row[name]) for name in _OPTIONS}
    values["backend"] = values["backend"].partition("+")[0]
    words += [word for name in values for word in (f"--{name.replace('_', '-')}", values[name])]
    words += ["--allocator", environment.get("request", {}).get("allocator") or "retain"]
    return f"Measure it again: {shlex.join(['convsweep', 'run', *words])}"

"""Short names and scaled numbers for readers: what varies in this run, three digits, a unit."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

import pandas as pd

from convsweep.problems.problem import parse_size
from convsweep.results.machines import machine_names

if TYPE_CHECKING:
    from pandas import DataFrame, Series

NOT_MEASURED = "not measured"

# What two cases must share, besides the problem, before one figure or mean may hold both.
SETTING_COLUMNS = (
    "device", "dtype", "memory_format", "threads", "cache", "driver", "environment_id",
)  # fmt: skip
# What makes a problem of its own: a layer's count weighs it, and its weight is one of two kinds.
SHAPE_COLUMNS = ("problem", "weight_kind", "workload", "layer", "count")

# fmt: off
_NUMBERS = (
    "median_s", "ci_low_s", "ci_high_s", "flops_per_s", "roofline_fraction",
    "attainable_flops_per_s", "min_bytes", "backend_bytes", "speedup",
    "speedup_ci_low", "speedup_ci_high", "macs", "backend_macs", "max_abs_err", "error_ratio",
    "peak_memory_bytes", "page_faults_per_call", "context_switches",
)
# fmt: on


def label_cases(frame: DataFrame, among: DataFrame | None = None) -> DataFrame:
    """The rows with a short `label` of problem and `setting`, in an order that reads well.

    Numbers become floats in which a missing one is NaN; a missing verdict or reason is empty.
    Two problems never share a label. A setting is told by what differs `among` all these rows, by
    default the same.
    """
    frame = frame.copy()
    if frame.empty:
        return frame.assign(label="", setting="")
    for name in _NUMBERS:
        if name in frame:
            frame[name] = frame[name].astype("Float64").to_numpy(dtype=float, na_value=math.nan)
    for name in ("verdict", "reason"):
        if name in frame:
            frame[name] = frame[name].fillna("").astype(str)
    frame["label"] = _problem_labels(frame)
    frame["setting"] = _setting_labels(frame, frame if among is None else among)
    order = sorted(range(len(frame)), key=list(map(_place, frame.to_dict("records"))).__getitem__)
    return frame.iloc[order].reset_index(drop=True)


def _place(row: dict[Hashable, Any]) -> tuple[object, ...]:
    """Where a row stands: a grid's by kernel, channels and size; a network's as data flow."""
    pixels = math.prod(parse_size(row["input_size"]))
    kernel = math.prod(parse_size(row["kernel_size"]))
    channels = (row["in_channels"], row["out_channels"])
    if pd.isna(row["workload"]):
        return ("", kernel, *channels, pixels)
    layer = [
        int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", _text(row["layer"]))
    ]
    return (row["workload"], -pixels, *channels, kernel, layer)


def compact(size: str) -> str:
    """`3x3` as `3`, `3x5` as it is."""
    sides = set(size.split("x"))
    return sides.pop() if len(sides) == 1 else size


def _unless_one(letter: str, size: str) -> str:
    return "" if compact(size) == "1" else letter + compact(size)


def _channels(row: dict[str, object]) -> str:
    if row["in_channels"] == row["out_channels"]:
        return f"C{row['in_channels']}"
    return f"C{row['in_channels']}→{row['out_channels']}"


def _groups(row: dict[str, object]) -> str:
    if row["groups"] == 1:
        return ""
    return "dw" if row["groups"] == row["in_channels"] else f"g{row['groups']}"


_Words = dict[str, Callable[[dict[str, object]], str]]

_TOKENS: _Words = {
    "batch_size": lambda row: f"N{row['batch_size']}",
    "channels": _channels,
    "input_size": lambda row: str(row["input_size"]),
    "kernel_size": lambda row: f"k{compact(str(row['kernel_size']))}",
    "stride": lambda row: _unless_one("s", str(row["stride"])),
    "dilation": lambda row: _unless_one("d", str(row["dilation"])),
    "groups": _groups,
    "bias": lambda row: "bias" if row["bias"] else "",
}
# Said only where two problems would share a label without it: padding mostly follows the kernel.
_LAST_TOKENS: _Words = {
    "padding": lambda row: f"p{compact(str(row['padding']))}",
    "weight_kind": lambda row: f"{row['weight_kind']} weight",
    "count": lambda row: f"{row['count']} times",
}


def _problem_labels(frame: DataFrame) -> Series:
    """`C64 56x56 k3` for each row: only the parts in which this run's problems differ."""
    problems = frame.drop_duplicates(list(SHAPE_COLUMNS))
    rows = [{str(name): value for name, value in r.items()} for r in problems.to_dict("records")]
    tokens = {name: [write(row) for row in rows] for name, write in _TOKENS.items()}
    last = {name: [write(row) for row in rows] for name, write in _LAST_TOKENS.items()}
    names = {name: [_text(row[name]) for row in rows] for name in ("layer", "workload")}
    parts = [names["layer"], *(words for words in tokens.values() if len(set(words)) > 1)]
    if len(set(names["workload"])) > 1:
        parts.insert(0, names["workload"])
    if not any(map(any, parts)):
        parts = [tokens[name] for name in ("channels", "input_size", "kernel_size")]
    for words in last.values():
        if len({*zip(*parts, strict=True)}) < len(rows) and len(set(words)) > 1:
            parts.append(words)
    labels = [" ".join(filter(None, words)) or "plain" for words in zip(*parts, strict=True)]
    keys = zip(*(problems[name].map(_text) for name in SHAPE_COLUMNS), strict=True)
    label_of = dict(zip(keys, labels, strict=True))
    every = zip(*(frame[name].map(_text) for name in SHAPE_COLUMNS), strict=True)
    return pd.Series([label_of[key] for key in every], index=frame.index, dtype="str")


def _setting_labels(frame: DataFrame, among: DataFrame) -> Series:
    """`cpu, float32, 2 threads`: the device, and what else varies."""
    words = {name: frame[name].map(_text) for name in SETTING_COLUMNS}
    words["threads"] = words["threads"].map(lambda n: f"{n} thread" if n == "1" else f"{n} threads")
    words["cache"] = words["cache"].map(lambda kind: f"{kind} cache")
    words["environment_id"] = machine_names(frame, among)
    varied = {name for name in SETTING_COLUMNS if among[name].map(_text).nunique() > 1}
    if (among["cache"] == "cold").any():  # what is not the usual is named even if all have it
        varied.add("cache")
    said = [word for name, word in words.items() if name in varied | {"device"}]
    return pd.Series(map(", ".join, zip(*said, strict=True)), index=frame.index, dtype="str")


def _text(value: object) -> str:
    return "" if pd.isna(value) else str(value)  # type: ignore[call-overload]


def elide(label: str, most: int = 36) -> str:
    """A long label with as little of its beginning cut off as words and dots allow.

    `…block7.dw C512 14x14 k3 dw`.
    """
    if len(label) <= most:
        return label
    ends = (found.end() for found in re.finditer(r"[ .]", label))
    cut = next((end for end in ends if len(label) - end < most), None)
    return "…" + (label[1 - most :] if cut is None else label[cut:])


def slug(text: str) -> str:
    """A part of a file name: `cuda:0, float16` as `cuda_0_float16`."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def digits(value: float) -> str:
    """Three significant digits, `not measured` where there is no number."""
    if math.isnan(value):
        return NOT_MEASURED
    if value == 0 or math.isinf(value):
        return f"{value:g}"
    rounded = float(f"{value:.2e}")
    exponent = math.floor(math.log10(abs(rounded)))
    return f"{rounded:.2e}" if exponent < -4 else f"{rounded:,.{max(0, 2 - exponent)}f}"


def _scaled(value: float, units: tuple[tuple[float, str], ...]) -> str:
    if math.isnan(value):
        return NOT_MEASURED
    scale, unit = next((u for u in units if abs(float(f"{value:.2e}")) >= u[0]), units[-1])
    return f"{digits(value / scale)} {unit}"


_SECONDS = ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def seconds(value: float) -> str:
    """`0.000123` as `123 µs`."""
    return _scaled(value, _SECONDS)


def size_in_bytes(value: float) -> str:
    """`3145728` as `3.00 MiB`."""
    return _scaled(value, ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B")))


def operations(value: float) -> str:
    """`115605504` as `116 M`."""
    return _scaled(value, ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))).rstrip()


def brief(speedup: float) -> str:
    """Two digits, as few as a cell holds: `48`, `4.8`, `0.48`, `0.0048`."""
    for least, digits in ((9.95, 0), (0.995, 1), (0.0995, 2)):
        if speedup >= least:
            return f"{speedup:.{digits}f}"
    return f"{float(f'{speedup:.1g}'):f}".rstrip("0") if speedup >= 1e-5 else f"{speedup:.0e}"


def times(low: float, high: float) -> str:
    """`1.9 to 4.6 times`."""
    ends = dict.fromkeys((brief(low), brief(high)))
    return f"{' to '.join(ends)} times"


def with_interval(value: str, low: str, high: str) -> str:
    """`1.92 [1.85, 1.99]`; the value alone where it has no interval."""
    return value if NOT_MEASURED in (value, low, high) else f"{value} [{low}, {high}]"


def interval(value: float, low: float, high: float) -> str:
    """Three numbers as `1.92 [1.85, 1.99]`."""
    return with_interval(digits(value), digits(low), digits(high))


def time(value_s: float, low_s: float, high_s: float) -> str:
    """Seconds as `14.7 [12.3, 17.5] µs`, in the unit of the first."""
    unit = seconds(value_s).rpartition(" ")[2]
    scale = next((scale for scale, name in _SECONDS if name == unit), math.nan)
    ends = (digits(end / scale) for end in (value_s, low_s, high_s))
    return f"{with_interval(*ends)} {unit}" if not math.isnan(scale) else NOT_MEASURED


def percent(share: float, low: float = math.nan, high: float = math.nan) -> str:
    """A share as `22.0 [20.1, 24.9] %`; the value alone where it has no interval."""
    value, *ends = (digits(100 * end) for end in (share, low, high))
    return f"{with_interval(value, *ends)} %" if value != NOT_MEASURED else value


def count(number: int, noun: str) -> str:
    """`1 problem`, `2 problems`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def join(words: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))

"""Short labels of cases and settings: the parts that vary within a run."""

import math
import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import pandas as pd
from pandas import DataFrame, Series

from convsweep.formatting import compact
from convsweep.problems.case import BLOCKS, CONV, DIRECTIONS, FORWARD
from convsweep.problems.problem import parse_size
from convsweep.results.machines import machine_names
from convsweep.results.schema import COUNT_COLUMNS

# Columns that two cases must share, besides the problem, to be in one figure or mean.
SETTING_COLUMNS = (
    "device", "dtype", "memory_format", "threads", "cache", "direction", "block", "driver",
    "environment_id",
)  # fmt: skip
_USUAL = {"cache": "hot", "direction": FORWARD, "block": CONV}
"""Values that are not named where all cases have them."""
_WORK = ("direction", "block")
_OTHERS = [name for name in SETTING_COLUMNS if name not in _WORK]
_PLACES = {name: place for place, name in enumerate((*DIRECTIONS, *BLOCKS))}
_SORT_COLUMNS = ["input_size", "kernel_size", "in_channels", "out_channels", "workload", "layer"]
# Columns that identify a problem; the same layer with another count is another problem.
SHAPE_COLUMNS = ("problem", "weight_kind", "workload", "layer", "layer_count")

BATCH = " (batch "  # Text between the name of a network and its batch size

# fmt: off
_NUMBERS = (
    "time_s", "ci_low_s", "ci_high_s", "flops_per_s", "roofline_fraction",
    "attainable_flops_per_s", "min_bytes", "backend_bytes", "speedup",
    "speedup_ci_low", "speedup_ci_high", "macs", "backend_macs", "max_abs_err", "error_ratio",
    "peak_memory_bytes", "page_faults_per_call", "context_switches", "relative_err",
    "reorders", "kernel_s", "reorder_s", *COUNT_COLUMNS, "sqnr_db",
)
# fmt: on


def label_cases(frame: DataFrame, among: DataFrame | None = None) -> DataFrame:
    """Return the rows with a `label` of the problem, a `setting` and a `network`.

    They are sorted by problem, then by setting. Numbers become floats, NaN if missing; a missing
    verdict or reason becomes empty. Problems have distinct labels. A setting is named by the
    columns that differ `among` all these rows, by default `frame`.
    """
    frame = frame.copy()
    if frame.empty:
        return frame.assign(label="", setting="", network="")
    for name in _NUMBERS:
        if name in frame:
            frame[name] = frame[name].astype("Float64").to_numpy(dtype=float, na_value=math.nan)
    for name in ("verdict", "reason"):
        if name in frame:
            frame[name] = frame[name].fillna("").astype(str)
    among = frame if among is None else among
    frame["label"] = _problem_labels(frame)
    frame["setting"] = _setting_labels(frame, among)
    frame["network"] = name_networks(frame["workload"], frame["batch_size"], among)
    keys = list(map(_sort_key, frame[_SORT_COLUMNS].to_dict("records")))
    *others, label = (
        frame.groupby(columns, dropna=False, sort=False).ngroup()
        for columns in (_OTHERS, ["label"])
    )
    places = zip(keys, label, *others, *(frame[name].map(_PLACES) for name in _WORK), strict=True)
    order = [place for _, place in sorted(zip(places, range(len(frame)), strict=True))]
    return frame.iloc[order].reset_index(drop=True)


def name_networks(names: Series, batch_sizes: Series, among: DataFrame) -> Series:
    """Return the names, with the batch size if each layer `among` the cases has several."""
    sizes = among.groupby(["workload", "layer"])["batch_size"].nunique()
    several = [name for name, least in sizes.groupby("workload").min().items() if least > 1]
    return names.where(~names.isin(several), names + BATCH + batch_sizes.astype(str) + ")")


def _sort_key(row: dict[Hashable, Any]) -> tuple[object, ...]:
    """Return the sort key: kernel, channels and size; in a network the order of its layers.

    That is the order of sizes, blocks and numbers in names. Where these are equal, an expansion
    comes before the depthwise layer, and that before the pointwise one.
    """
    pixels = math.prod(parse_size(row["input_size"]))
    kernel = math.prod(parse_size(row["kernel_size"]))
    channels = (row["in_channels"], row["out_channels"])
    if pd.isna(row["workload"]):
        return ("", kernel, *channels, pixels)
    block, _, name = _text(row["layer"]).rpartition(".")
    parts = [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", block)]
    numbers = [*map(int, re.findall(r"\d+", name))]
    return (row["workload"], -pixels, parts, numbers, channels[0], -kernel, channels[1], name)


def unless_one(letter: str, size: str) -> str:
    """Return `s2` for the letter `s` and a stride of `2x2`; empty for `1x1`."""
    return "" if compact(size) == "1" else letter + compact(size)


def padding_of(row: Mapping[Any, Any]) -> str:
    """Return `1`, or `0+1` for none before and one behind the image."""
    return "+".join(compact(text) for name in _PADDING if (text := _text(row[name])))


def _groups(row: dict[str, object]) -> str:
    if row["groups"] == 1:
        return ""
    return "dw" if row["groups"] == row["in_channels"] else f"g{row['groups']}"


_CHANNELS, _PADDING = ("in_channels", "out_channels"), ("padding", "padding_end")
_Tokens = dict[str, Callable[[dict[str, object]], str]]

_TOKENS: _Tokens = {
    "batch_size": lambda row: f"N{row['batch_size']}",
    "channels": lambda row: f"C{'→'.join(dict.fromkeys(str(row[name]) for name in _CHANNELS))}",
    "input_size": lambda row: str(row["input_size"]),
    "kernel_size": lambda row: f"k{compact(str(row['kernel_size']))}",
    "stride": lambda row: unless_one("s", str(row["stride"])),
    "dilation": lambda row: unless_one("d", str(row["dilation"])),
    "groups": _groups,
    "bias": lambda row: "bias" if row["bias"] else "",
}
# Only used if two problems would share a label without it; padding mostly follows the kernel.
_LAST_TOKENS: _Tokens = {
    "padding": lambda row: f"p{padding_of(row)}",
    "output_padding": lambda row: f"op{compact(_text(row['output_padding']))}",
    "weight_kind": lambda row: f"{row['weight_kind']} weight",
    "layer_count": lambda row: f"{row['layer_count']} times",
}


def _problem_labels(frame: DataFrame) -> Series:
    """Return labels such as `C64 56x56 k3`, of the parts in which the problems differ."""
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
    parts.append(["transposed" * bool(_text(row["output_padding"])) for row in rows])
    for words in last.values():
        if len({*zip(*parts, strict=True)}) < len(rows) and len(set(words)) > 1:
            parts.append(words)
    labels = [" ".join(filter(None, words)) or "plain" for words in zip(*parts, strict=True)]
    keys = zip(*(_texts(problems[name]) for name in SHAPE_COLUMNS), strict=True)
    label_of = dict(zip(keys, labels, strict=True))
    row_keys = zip(*(_texts(frame[name]) for name in SHAPE_COLUMNS), strict=True)
    return pd.Series([label_of[key] for key in row_keys], index=frame.index, dtype="str")


def _setting_labels(frame: DataFrame, among: DataFrame) -> Series:
    """Return labels such as `cpu, float32, 2 threads`: the device, and the columns that vary."""
    words = {name: _texts(frame[name]) for name in SETTING_COLUMNS}
    for name in ("threads", "cache"):
        words[name] = words[name].map(lambda value, name=name: name_setting(name, value))
    words["environment_id"] = machine_names(frame, among)
    varied = {name for name in SETTING_COLUMNS if _texts(among[name]).nunique() > 1}
    varied |= {name for name, usual in _USUAL.items() if among[name].ne(usual).any()}
    parts = [word for name, word in words.items() if name in varied | {"device"}]
    return pd.Series(map(", ".join, zip(*parts, strict=True)), index=frame.index, dtype="str")


def name_setting(axis: str, value: object) -> str:
    """Return the value of a setting with its unit, such as `2 threads`."""
    if axis == "threads":
        return f"{value} thread" if str(value) == "1" else f"{value} threads"
    return {"cache": f"{value} cache", "batch_size": f"batch {value}"}.get(axis, str(value))


def without_batch_size(label: str, batch_size: int) -> str:
    """Return the label of a problem as siblings of other batch sizes have it."""
    return " ".join(word for word in label.split() if word != f"N{batch_size}") or "all"


def _texts(column: Series) -> Series:
    """Return the values as text, each distinct one converted once; missing ones are empty."""
    codes, values = column.factorize(use_na_sentinel=False)
    return pd.Series([_text(value) for value in values], dtype=object).take(codes)


def _text(value: object) -> str:
    return "" if pd.isna(value) else str(value)  # type: ignore[call-overload]

"""Columns of the page to explore: axes, measures, and the cases that a line joins."""

import math
import re
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import pandas as pd
from pandas import DataFrame

from convsweep import formatting
from convsweep.analysis.settings import SETTING_SPEEDUP
from convsweep.analysis.summary import SPEEDUP, TIME
from convsweep.formatting import printable

TITLES = {
    "backend": "Backend", "workload": "Network", "in_channels": "Input channels",
    "out_channels": "Output channels", "input_size": "Image size", "kernel_size": "Kernel size",
    "stride": "Stride", "dilation": "Dilation", "groups": "Groups", "batch_size": "Batch size",
    "macs": "Multiply-accumulates", "dtype": "Data type", "memory_format": "Memory format",
    "threads": "Threads", "cache": "Cache", "direction": "Direction", "block": "Block",
    "device": "Device", "environment_id": "Machine",
    "driver": "Driver", "setting": "Setting", "label": "Problem",
    "implementation": "Implementation",
}  # fmt: skip
"""Columns of the cases that are axes, as far as they vary."""
DERIVED = ("macs", "setting", "label", "implementation")  # from other columns; no filter
_ALSO_TELL_APART = ("layer", "padding", "padding_end", "output_padding", "bias", "weight_kind",
                    "layer_count")  # fmt: skip
ENDS = ("value", "low", "high")


class Axis(NamedTuple):
    """Distinct names in one column of the cases, in order, and an index into them per case."""

    codes: Any
    names: list[str]
    numbers: list[float]  # for which the names stand; empty if some is neither number nor size


class Measure(NamedTuple):
    """One measure of the cases: `ENDS` of its interval, and a text per case."""

    title: str
    ends: DataFrame
    texts: list[str]


def read_axis(cases: DataFrame, name: str, backends: Sequence[str]) -> Axis:
    """Return numbers and sizes by value, backends in their order, other names as they come."""
    column = cases[name].astype("int64") if name == "macs" else cases[name]
    texts = column.astype("string").fillna("")
    distinct = [*backends] if name == "backend" else [*dict.fromkeys(texts)]
    numbers = []
    if all(re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", text) for text in distinct):
        sides = {text: [*map(int, text.split("x"))] for text in distinct}
        distinct.sort(key=lambda text: (math.prod(sides[text]), sides[text]))
        numbers = [math.prod(sides[text]) ** (1 / len(sides[text])) for text in distinct]
    codes = pd.Categorical(texts, distinct).codes
    return Axis(codes.astype("uint16"), [*map(printable, distinct)], numbers)


def lines_along(cases: DataFrame, name: str) -> Any:
    """Return a number per case, shared by those of a backend that differ along this axis alone."""
    others = {*TITLES, *_ALSO_TELL_APART} - {name, *DERIVED}
    along = cases.groupby(name, dropna=False)
    free = {one for one in others if along[one].nunique(dropna=False).max() > 1}
    keys = sorted({"backend", "workload"} | free)
    return cases.groupby(keys, dropna=False).ngroup().to_numpy("int32")


def read_measures(cases: DataFrame, baseline: str) -> dict[str, Measure]:
    """Return the measures of which some case has a value."""

    def of(title: str, write: Callable[..., str], *ends: Any, factor: float = 1) -> Measure:
        frame = DataFrame(dict(zip_longest(ENDS, ends, fillvalue=math.nan)), dtype="float64")
        texts = [write(*row[: len(ends)]) for row in frame.itertuples(index=False, name=None)]
        too_wide = frame["high"] > formatting.WIDEST * frame["low"]
        frame.loc[too_wide, ["low", "high"]] = math.nan
        return Measure(title, factor * frame, texts)

    time_s, speedups, setting_speedups = (
        [cases[name] for name in names] for names in (TIME, SPEEDUP, SETTING_SPEEDUP)
    )
    rates = [1 / time_s[place] for place in (0, 2, 1)]
    found = {
        "speedup": of(f"Speedup over {printable(baseline)}", formatting.speedup, *speedups),
        "setting": of("Speedup over first setting", formatting.speedup, *setting_speedups),
        "time": of("Time per call (µs)", formatting.time, *time_s, factor=1e6),
        "images": of("Images per second", formatting.interval,
                     *(cases["batch_size"] * rate for rate in rates)),
        "gflops": of("GFLOP/s", formatting.interval, *(2e-9 * cases["macs"] * r for r in rates)),
        "roofline": of("Share of roofline (%)", formatting.percent, cases["roofline_fraction"],
                       factor=100),
        "error": of("Relative error", formatting.error, cases["relative_err"]),
        "memory": of("Peak memory (MiB)", formatting.size_in_bytes, cases["peak_memory_bytes"],
                     factor=2**-20),
    }  # fmt: skip
    compared = {"speedup": "backend", "images": "batch_size", "setting": "setting"}
    for name, column in compared.items():
        if cases[column].nunique() < 2:
            del found[name]
    return {name: one for name, one in found.items() if (one.ends["value"] > 0).any()}

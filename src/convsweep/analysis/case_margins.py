"""Margins of single cases, such as `backend=im2col,problem=C64*:10%`."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np
from pandas import DataFrame, Series

from convsweep.analysis.estimates import Array
from convsweep.units import fraction, named

_KEYS = ("backend", "problem", "workload", "layer", "weight_kind", "device", "dtype",
         "memory_format", "threads", "cache", "direction", "block")  # fmt: skip
_MOST_NAMES = 5


class CaseMargin(NamedTuple):
    """Margin of the cases whose columns match these names or patterns."""

    text: str  # As it was typed
    names: dict[str, str]
    margin: float


def read_case_margin(text: str) -> CaseMargin:
    """Return the margin of some cases; raises ValueError."""
    conditions, _, margin = text.rpartition(":")
    names = dict(part.partition("=")[::2] for part in re.split(r",(?=\w+=)", conditions))
    if not (names.keys() <= {*_KEYS} and all(names.values())):
        raise ValueError(f"--fail-on {text!r} is not KEY=NAME:SHARE, such as backend=im2col:10%; "
                         f"keys: {', '.join(_KEYS)}")  # fmt: skip
    return CaseMargin(text, names, named(f"--fail-on {text!r}:", fraction, margin) or 0)


def margins(cases: DataFrame, usual: float, own: Sequence[CaseMargin]) -> Array:
    """Return the margin of each case; the last that matches counts.

    Raises:
        ValueError: one of them matches no case.
    """
    found = np.full(len(cases), usual)
    for rule in own:
        hits = np.ones(len(cases), dtype=bool)
        for key, name in rule.names.items():
            columns = ["label", "problem"] if key == "problem" else [key]
            values = cases.loc[hits, columns[0]].astype(str).unique()
            hits &= np.any([_matches(cases[column], name) for column in columns], axis=0)
            if not hits.any():
                names = [*values[:_MOST_NAMES], *["..."] * (len(values) > _MOST_NAMES)]
                raise ValueError(f"--fail-on {rule.text!r} matches no case of the runs; "
                                 f"{key}: {', '.join(names)}")  # fmt: skip
        found[hits] = rule.margin
    return found


def _matches(column: "Series[str]", name: str) -> list[bool]:
    return [name == value or fnmatchcase(value, name) for value in column.astype(str)]

"""Section on the implementations that a library chose, by kind of layer."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from convsweep import formatting
from convsweep.analysis.implementations import Implementations, read_implementations
from convsweep.analysis.run import Run
from convsweep.problems.problem import parse_size
from convsweep.report.pages import Section
from convsweep.report.plots import MOST_SETTINGS, implementation_map
from convsweep.report.table import Table

TITLE = "Implementations"
_MOST_NAMES, _MOST_ROWS = 3, 40


def section(run: Run) -> Section | None:
    """Return the section; None if no backend has two implementations."""
    found = read_implementations(run)
    if found is None:
        return None
    frequent = [f"{formatting.shorten(name)} in {n}" for name, n in found.counts.items()]
    return Section.of_settings(
        TITLE,
        f"{found.backend} has {len(found.counts)} implementations in {len(found.cases)} cases: "
        f"{formatting.join(frequent[:_MOST_NAMES])}.",
        [("", implementations_table(found))],
        {name: [implementation_map.draw(found, name)] for name in run.settings[:MOST_SETTINGS]},
        "Another version, machine or number of threads may choose other implementations.",
    )


def implementations_table(found: Implementations) -> Table:
    """Return one row per setting, kind of layer and implementation."""
    heads = ("setting", "layers", "implementation", "library and method", "channels", "input size",
             "values of the input", "problems", "reorders per call")  # fmt: skip
    pixels = found.cases["input_size"].map(_pixels)
    values = found.cases["batch_size"] * found.cases["in_channels"] * pixels
    groups = found.cases.assign(values=values).sort_values(["kind", "values"])
    rows = [
        (
            *map(str, keys),
            _ends(own["in_channels"]),
            _ends(own["input_size"], _pixels),
            _ends(own["values"]),
            str(len(own)),
            _ends(own["reorders"].dropna().astype(int)),
        )
        for keys, own in groups.groupby(["setting", "kind", "name", "method"], sort=False)
    ]
    settings = [*dict.fromkeys(found.cases["setting"])]
    rows.sort(key=lambda row: settings.index(row[0]))
    return Table.by_setting(heads, rows[:_MOST_ROWS], heads[4:])


def _pixels(size: str) -> int:
    return math.prod(parse_size(size))


def _ends(values: Iterable[Any], key: Callable[[Any], int] | None = None) -> str:
    """Return `4 to 128`, or `4`, of the least and the largest; empty without values."""
    ordered = sorted(values, key=key)
    texts = (one if isinstance(one, str) else f"{one:,}" for one in ordered[:1] + ordered[-1:])
    return " to ".join(dict.fromkeys(texts))

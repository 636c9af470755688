"""Table, figure and CSV of `convsweep explain`."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from convsweep import formatting
from convsweep.analysis.estimates import Interval
from convsweep.problems.problem import ConvProblem, format_size
from convsweep.report.plots.call_parts import draw
from convsweep.report.plots.style import Picture, drawing_style, png
from convsweep.report.table import Table
from convsweep.results.call_parts import (
    CALL_PARTS,
    FIXED,
    KERNEL,
    MOVES,
    PAGE_FAULTS,
    PARTS,
    UNATTRIBUTED,
    WEIGHTS,
    WHOLE,
    CallPartRow,
)
from convsweep.results.files import complete_or_absent, spreadsheet_csv

_COLUMNS = ("device", "dtype", "memory_format", "threads")
_WHOLE_NUMBERS = ("reorders", "passes")  # which may be empty
_HEADS = ("backend and part", "time per call", "share", "what runs")


def tables(rows: Sequence[CallPartRow]) -> dict[str, Table]:
    """Return a table per setting; a case without parts has one line with its status and reason."""
    lines: dict[str, list[tuple[str, ...]]] = {}
    whole_s, parts = 0.0, set[str]()
    for row in rows:
        own = lines.setdefault(_setting(row, _COLUMNS), [])
        if row.part is None:
            own.append((row.backend, row.status, "", row.reason or ""))
            continue
        value, low, high = _interval(row)
        is_whole = row.part == WHOLE
        whole_s, parts = (value, set()) if is_whole else (whole_s, {*parts, row.part})
        time = formatting.time(value, low, high, of_s=whole_s)
        name = row.backend if is_whole else f"  {row.part}"
        own.append((name, time, formatting.percent(value / whole_s), _source(row, parts)))
    return {name: Table(_HEADS, own, frozenset(_HEADS[1:3])) for name, own in lines.items()}


def _setting(row: CallPartRow, columns: Sequence[str]) -> str:
    values = {name: str(getattr(row, name)) for name in columns}
    if "threads" in values:
        values["threads"] = formatting.count(row.threads, "thread")
    return ", ".join(values.values())


def _interval(row: CallPartRow) -> Interval:
    known = (row.seconds, row.ci_low_s, row.ci_high_s)
    return Interval(*(float("nan") if value is None else value for value in known))


def _source(row: CallPartRow, parts: set[str]) -> str:
    """Return what ran in the whole call, where other parts come from, and what the rest contains.

    `parts` are those of the call so far.
    """
    if row.part == WHOLE:
        return row.implementation or ""
    if row.part == PAGE_FAULTS and row.page_faults_per_call is not None:
        return f"{formatting.digits(row.page_faults_per_call)} per call"
    if row.part == UNATTRIBUTED:
        has_kernel = not parts <= {*PARTS} - {KERNEL}  # or steps
        has_moves = not parts <= {*PARTS} - {MOVES, WEIGHTS} or not row.reorders
        unknown = [KERNEL] * (not has_kernel) + [MOVES] * (not has_moves)
        unknown += [f"{FIXED} (no small problem runs the same)"] * (FIXED not in parts)
        return f"contains {formatting.join(unknown)}" if unknown else ""
    if row.part != FIXED or row.fixed_cost_problem is None:
        return ""
    small = ConvProblem.parse(row.fixed_cost_problem)
    channels = f"{small.in_channels} input and {small.out_channels} output channels"
    return f"of a small call: {channels}, {format_size(small.input_size)}"


def picture(rows: Sequence[CallPartRow]) -> Picture | None:
    """Return the figure; None if no case has parts."""
    differing = [name for name in _COLUMNS if len({getattr(row, name) for row in rows}) > 1]
    calls: dict[str, dict[str, Interval]] = {}
    for row in rows:
        if row.part is not None:
            name = ", ".join(filter(None, (row.backend, _setting(row, differing))))
            calls.setdefault(name, {})[row.part] = _interval(row)
    return draw(rows[0].problem, calls) if calls else None


def write(out: Path, rows: Sequence[CallPartRow]) -> None:
    """Write call_parts.csv and call_parts.png."""
    with complete_or_absent(out) as folder, drawing_style():
        table = pd.DataFrame(map(asdict, rows)).astype(dict.fromkeys(_WHOLE_NUMBERS, "Int64"))
        text = spreadsheet_csv(table)
        (folder / CALL_PARTS).write_text(text, encoding="utf-8", newline="")
        if drawn := picture(rows):
            (folder / "call_parts.png").write_bytes(png(drawn.figure))

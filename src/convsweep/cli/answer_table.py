"""Table of a run's results on the terminal: at most 100 columns and 40 lines."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame, Series
from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from convsweep.analysis.labels import BATCH
from convsweep.analysis.run import Run, Total, network_totals, ranked_backends
from convsweep.cli.output import MAX_WIDTH
from convsweep.formatting import count, printable, seconds, shorten, speedup

MAX_LINES = 40
_LEAST_ROWS = 3  # of a setting, with its heading
_FEW_PROBLEMS = 3  # with more backends than problems, one row per backend
_MAX_NAME, _GAP = 36, 2
_GOLDEN = 0.618034  # multiples are spread evenly, and in step with no axis of a grid
_LEGEND = {"?": "? undecided", "-": "- does not apply"}


class _Part(NamedTuple):
    """Rows of one setting in their order, and their cells."""

    rows: dict[str, str]  # name and shown text of a problem, network or backend
    cells: dict[tuple[str, str], Text]  # by row and column


def answer(run: Run, width: int = MAX_WIDTH) -> Group:
    """Return time and speedup per setting, problem and backend, and a line on what is left out.

    Shown are the baseline and the backends that are fastest most often; problems spread
    over the grid, or the layers of networks that take longest. Settings without an answer are left
    out.
    """
    most = MAX_LINES - 3  # title, head, last line
    several = len(run.settings) > 1
    tried = {*run.cases.loc[run.cases["status"] != "skipped", "setting"]}
    answered = [name for name in run.settings if name in tried] or run.settings
    settings = answered[: most // _LEAST_ROWS]
    most = most // len(settings) - several
    parts = {name: _part(run.within(name), most) for name in settings}
    backends = {name: shorten(name, _MAX_NAME) for name in _backends(run)}
    problems = {name: text for part in parts.values() for name, text in part.rows.items()}
    by_backend = len(problems) <= min(_FEW_PROBLEMS, len(backends) - 1)
    columns = problems if by_backend else backends
    omitted: set[str] = set()
    if by_backend:
        for name, part in parts.items():
            own = _backends(run.within(name))
            omitted.update(own[most:])
            cells = {key[::-1]: text for key, text in part.cells.items()}
            parts[name] = _Part({one: backends[one] for one in own[:most]}, cells)
    names = [text for part in parts.values() for text in part.rows.values()]
    first = max(map(cell_len, ["problem", *names]))
    shown_cells = [cell for part in parts.values() for cell in part.cells.items()
                   if cell[0][0] in part.rows]  # fmt: skip
    widths = _widths(columns, shown_cells, width - first)
    shown: list[Table | Text] = []
    for setting, part in parts.items():
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=not shown)
        table.add_column("backend" if by_backend else "problem", width=first, no_wrap=True)
        for name, wide in widths.items():
            table.add_column(columns[name], width=wide, justify="right", no_wrap=True)
        for name, text in part.rows.items():
            table.add_row(text, *(part.cells.get((name, column), Text("")) for column in widths))
        shown += [_line(setting, "bold"), table] if several else [table]
    title = "Time per call" + f", and speedup over {run.baseline}" * (run.baseline in backends)
    left_out = {
        "backend": len(omitted if by_backend else backends.keys() - widths),
        "problem": len({*run.cases["label"]} - {*(widths if by_backend else problems)}),
        "network": max(0, run.cases["network"].nunique() - most),
        "setting": len(answered) - len(settings),
    }
    marks = {text.plain[-1:] for key, text in shown_cells if key[1] in widths}
    more = [count(number, noun) for noun, number in left_out.items() if number]
    last = [f"Not shown: {', '.join(more)} (in summary.csv)"] if more else []
    last += [text for mark, text in _LEGEND.items() if mark in marks]
    return Group(
        _line(title if several else f"{title}, on {run.settings[0]}", "bold"),
        *shown,
        *([_line("   ".join(last), "dim")] if last else []),
    )


def _line(text: str, style: str) -> Text:
    return Text(printable(text), style, no_wrap=True, overflow="ellipsis")


def _backends(run: Run) -> list[str]:
    """Return the baseline, backends with a time, fastest first, and those that failed."""
    tried = {*run.cases.loc[run.cases["status"] != "skipped", "backend"]}
    return [name for name in dict.fromkeys([*ranked_backends(run), *run.backends]) if name in tried]


def _widths(
    columns: Mapping[str, str], cells: list[tuple[tuple[str, str], Text]], room: int
) -> dict[str, int]:
    """Return the widths of the first columns that fit; there is at least one."""
    widths: dict[str, int] = {}
    for name, text in columns.items():
        wide = max(map(cell_len, [text, *(cell.plain for key, cell in cells if key[1] == name)]))
        room -= wide + _GAP
        if widths and room < 0:
            break
        widths[name] = wide
    return widths


def _part(run: Run, most: int) -> _Part:
    """Return at most `most` rows of one setting: each network's total, then its layers."""
    part = _Part({}, {})
    networks = [str(name) for name in run.cases["network"].dropna().unique()[:most]]
    cases = run.cases[run.cases["label"].isin(_kept(run.cases, most - len(networks)))]
    for network in networks:
        totals = network_totals(run, network)
        layers = max((total.layers for total in totals.values()), default=0)
        label = f"{network} {'as far as measured' if run.missing_cases else 'in all'}"
        part.rows[label] = shorten(printable(label), _MAX_NAME)
        part.cells.update({(label, name): _total(one, layers) for name, one in totals.items()})
        _add(part, cases[cases["network"] == network], f"{network.partition(BATCH)[0]} ")
    _add(part, cases[cases["workload"].isna()], "")
    return part


def _add(part: _Part, cases: DataFrame, prefix: str) -> None:
    indent = "  " if prefix else ""
    for _, case in cases.iterrows():
        text = printable(case["label"].removeprefix(prefix))
        part.rows[case["label"]] = indent + shorten(text, _MAX_NAME - len(indent))
        part.cells[case["label"], case["backend"]] = _cell(case)


def _kept(cases: DataFrame, most: int) -> set[str]:
    """Return the layers of networks that take longest, or problems spread over the grid."""
    if cases["workload"].notna().any():
        times = cases["time_s"] * cases["layer_count"].astype("float64").fillna(1)
        return {*times.groupby(cases["label"]).min().nlargest(most).index}
    labels = cases["label"].unique()
    return {*labels[np.argsort(_GOLDEN * np.arange(len(labels)) % 1)[:most]]}


def _total(total: Total, layers: int) -> Text:
    """Return a network's time, and the number of layers in it if some are missing."""
    partial = "" if total.layers == layers else f" ({total.layers} of {layers})"
    return Text(seconds(total.time.value) + partial, "bold")


def _cell(case: Series) -> Text:
    if case["status"] == "skipped":
        return Text("-", style="dim")
    if case["status"] != "ok":
        return Text(str(case["status"]), "dim" if case["status"] == "timeout" else "bold red")
    text = Text(seconds(case["time_s"]))
    if pd.notna(case["speedup"]) and case["verdict"] != "baseline":
        mark = "?" if case["verdict"] == "undecided" else " "
        style = {"faster": "green", "slower": "magenta"}.get(str(case["verdict"]), "")
        text.append(f"  {speedup(case['speedup']):>5}{mark}", style=style)
    return text

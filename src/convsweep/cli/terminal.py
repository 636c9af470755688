"""What the terminal shows: progress while a sweep runs, and its answer as a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

from convsweep import formatting
from convsweep.analysis.run import Run, Total, network_totals
from convsweep.analysis.top_backends import top_backends
from convsweep.measure.outcome import Outcome
from convsweep.problems.case import Case
from convsweep.sweep.request import Request
from convsweep.sweep.runner import Progress
from convsweep.sweep.stopping import OpenComparisons

if TYPE_CHECKING:
    from pandas import Series

_PLAIN_EVERY_S = 10.0
_MOST_ROWS = 60
_MOST_COLUMNS, _FEW_COLUMNS = 8, 6  # all backends are shown, or so few


def duration(seconds: float) -> str:
    """`75` as `1 min 15 s`; whole seconds, rounded up."""
    whole = max(1, math.ceil(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def plan(request: Request, forecast_s: float, compiling_s: float = 0.0) -> str:
    """What a sweep will do, in a line; multiply-accumulates with every layer's count."""
    first = f", up to {duration(compiling_s)} more to compile, once" if compiling_s else ""
    shard = "" if request.shard is None else f"shard {request.shard}: "
    return shard + _what_and_how_long(request, forecast_s) + first


def _what_and_how_long(request: Request, forecast_s: float) -> str:
    layers = {case.layer for case in request.cases}
    macs = sum(layer.count * layer.problem.macs for layer in layers)
    what = (
        f"{formatting.count(len(request.cases), 'case')} on "
        f"{formatting.count(len({case.problem for case in request.cases}), 'problem')} "
        f"({_macs(macs)}){_beside(request)}, "
    )
    if not request.adaptive:
        passes = f"{request.passes} {'pass' if request.passes == 1 else 'passes'}"
        return f"{what}{passes}: about {duration(forecast_s)}"
    if request.budget_s is None:
        return f"{what}until precise: about {duration(forecast_s)} a pass"
    return f"{what}within {duration(request.budget_s)}, a pass takes about {duration(forecast_s)}"


def _beside(request: Request) -> str:
    """`, 16 halves of separable layers, the machine's ceilings`: what else is measured."""
    halves = len(request.halves)
    parts = [f"{halves} halves of separable layers"] if halves else []
    parts += ["the machine's ceilings"] if request.ceilings else []
    return "".join(f", {part}" for part in parts)


def unsettled(left: OpenComparisons) -> str:
    """What a run with a budget leaves undecided, and how much longer that would need."""
    if not left.cases:
        return "Every comparison is settled."
    told = f"{formatting.count(left.cases, 'comparison')} not settled yet"
    if left.early:
        told += f"; {left.early} with too few passes to tell how much longer they need"
    if left.more_s:
        told += f"; about {duration(left.more_s)} more would settle most of them: --resume"
    if left.on_the_margin:
        told += f"; {left.on_the_margin} so close to the margin that no time would"
    return told + "."


def _macs(macs: int) -> str:
    """Three digits: `0.568 GMACs`, `28.8 kMACs`."""
    scales = ((1e8, 1e9, "GMACs"), (1e5, 1e6, "MMACs"), (0, 1e3, "kMACs"))
    scale, unit = next((scale, unit) for least, scale, unit in scales if macs >= least)
    return f"{formatting.digits(macs / scale)} {unit}"


@contextmanager
def progress(console: Console) -> Iterator[Callable[[Progress], None]]:
    """A function to tell of progress: a bar on a terminal, a line now and then elsewhere."""
    if not console.is_terminal:
        yield _plain_lines(console)
        return
    columns = (
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.description}", table_column=None),
    )
    with ProgressBar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None, left="")

        def observe(now: Progress) -> None:
            left = "" if now.remaining_s is None else f"{duration(now.remaining_s)} left"
            bar.update(
                task, completed=now.done, total=now.total, description=_doing(now), left=left
            )

        yield observe


def _plain_lines(console: Console) -> Callable[[Progress], None]:
    last_s = monotonic()

    def observe(now: Progress) -> None:
        nonlocal last_s
        if now.first_call or monotonic() - last_s >= _PLAIN_EVERY_S or now.done == now.total:
            last_s = monotonic()
            line = f"{_standing(now)}: {_doing(now)}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    return observe


def _standing(now: Progress) -> str:
    """`12/60 measured, about 9 s left`."""
    if now.done == now.total:
        return f"{now.done}/{now.total} measured, done"
    done = f"{now.done} measured" if now.total is None else f"{now.done}/{now.total} measured"
    left = "" if now.remaining_s is None else f", about {duration(now.remaining_s)} left"
    return done + left


def _doing(now: Progress) -> str:
    """The case last worked on, or the one whose first call takes long."""
    case, backend = now.case, now.first_call
    told = f"{case.backend} on {case.problem.label}, {case.device}"
    if backend is None:
        return told
    if not backend.compile_s:
        return f"first call of {told}"
    return f"compiling {told}" + ("" if backend.compiles_per_problem else ", kept for later runs")


def answer(run: Run) -> list[Table]:
    """Time and speedup of every backend on every problem, a table for each setting."""
    return [_table(setting, run.within(setting)) for setting in run.settings]


def _table(setting: str, run: Run) -> Table:
    backends = run.backends
    if len(backends) > _MOST_COLUMNS:
        backends = top_backends(run, _FEW_COLUMNS).backends[:_FEW_COLUMNS]
    table = Table(
        title=f"Time, and speedup over {run.baseline}, on {setting}",
        caption=f"? undecided   - does not apply{_more_backends(run, len(backends))}",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("problem", no_wrap=True)
    for backend in backends:
        table.add_column(backend, justify="right", no_wrap=True)
    problems = list(run.cases.groupby("label", sort=False))
    for label, rows in problems[:_MOST_ROWS]:
        by_backend = {row["backend"]: row for _, row in rows.iterrows()}
        table.add_row(str(label), *(_cell(by_backend.get(backend)) for backend in backends))
    if len(problems) > _MOST_ROWS:
        table.add_row(f"and {len(problems) - _MOST_ROWS} more in summary.csv")
    for workload in run.cases["workload"].dropna().unique():
        totals = network_totals(run, str(workload))
        layers = max(total.layers for total in totals.values()) if totals else 0
        cells = (_total(totals.get(backend), layers) for backend in backends)
        table.add_section()
        what = "as far as measured" if run.unreached else "in all"
        table.add_row(f"{workload} {what}", *cells)
    return table


def _more_backends(run: Run, shown: int) -> str:
    """How many backends with a time are not shown."""
    timed = run.cases.loc[run.cases["status"] == "ok", "backend"].nunique()
    if timed <= shown:
        return ""
    more = formatting.count(timed - shown, "backend")
    return f"\nThese are the fastest most often; {more} more in summary.csv"


def _total(total: Total | None, layers: int) -> str:
    """A network's time, and of how many of its distinct layers where it is not of all."""
    if total is None:
        return "-"
    time = formatting.seconds(total.time.value)
    return time if total.layers == layers else f"{time}, {total.layers} of {layers} layers"


def _cell(row: Series | None) -> Text:
    if row is None or row["status"] == "skipped":
        return Text("-", style="dim")
    if row["status"] != "ok":
        return Text(str(row["status"]), style="dim" if row["status"] == "timeout" else "bold red")
    text = Text(formatting.seconds(row["median_s"]))
    if pd.notna(row["speedup"]) and row["verdict"] != "baseline":
        mark = "?" if row["verdict"] == "undecided" else " "
        style = {"faster": "green", "slower": "magenta"}.get(str(row["verdict"]), "")
        text.append(f"  {formatting.format_ratio(row['speedup']):>4}x{mark}", style=style)
    return text


def outcomes(found: Sequence[tuple[Case, Outcome]]) -> Table:
    """How many cases of each backend passed the gate, and how the others fared."""
    counts = Counter((case.backend, outcome.status) for case, outcome in found)
    statuses = list(dict.fromkeys(["ok", *(outcome.status for _, outcome in found)]))
    worst: dict[str, float] = {}
    for case, outcome in found:
        if outcome.error_ratio is not None:
            worst[case.backend] = max(worst.get(case.backend, 0.0), outcome.error_ratio)
    table = Table(
        title="The gate: cases by backend and status",
        caption="largest error in units of eps * max(conv(|x|, |w|))",
        title_justify="left",
        caption_justify="left",
    )
    for column in ("backend", *statuses, "largest error"):
        table.add_column(column, justify="left" if column == "backend" else "right")
    for backend in dict.fromkeys(case.backend for case, _ in found):
        numbers = (str(counts[backend, status]) for status in statuses)
        table.add_row(backend, *numbers, f"{worst[backend]:.2f}" if backend in worst else "-")
    return table


def listing(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A plain table of text."""
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table

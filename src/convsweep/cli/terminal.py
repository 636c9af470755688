"""Terminal text of a sweep: plan, progress, and tables of results."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf, nan
from time import monotonic

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as ProgressBar

from convsweep import formatting
from convsweep.cli.console import DataConsole
from convsweep.cli.plan import duration
from convsweep.measure.outcome import Outcome
from convsweep.problems.case import Case
from convsweep.report.table import Table
from convsweep.sweep.session import SweepResult
from convsweep.sweep.stopping import OpenComparisons
from convsweep.sweep.work_queue import Progress

_LINE_EVERY_S = 10.0
_MAX_REASONS = 10
_MAX_NAMES = 5


def open_comparisons_line(left: OpenComparisons, end_reason: str) -> str:
    """Return one line: undecided comparisons, and the time they would still need."""
    if not left.cases:
        ended = "; narrower intervals: --precision" if end_reason == "converged" else ""
        return f"All comparisons are decided{ended}."
    parts = [f"{formatting.count(left.cases, 'comparison')} undecided"]
    if left.early:
        parts.append(f"{left.early} with too few passes to estimate the time they need")
    if left.more_s and end_reason != "converged":
        how = "--resume with more --passes" if end_reason == "all_passes" else "--resume"
        parts.append(f"about {duration(left.more_s)} more would decide most of them ({how})")
    if left.on_the_margin:
        parts.append(f"{left.on_the_margin} too close to the margin to be decided by more time")
    return "; ".join(parts) + "."


def end_lines(ending: SweepResult) -> list[str]:
    """Return what a run with a budget or a precision leaves open: cases, then comparisons."""
    lines = [open_comparisons_line(left, ending.end_reason) for left in ending.open_comparisons]
    if ending.end_reason != "budget" or not ending.unmeasured:
        return lines
    cases = ending.unmeasured
    named = (f"{case.backend} on {case.layer.name or case.problem.label}" for case in cases)
    names = [*dict.fromkeys(named)]  # a case may differ in its settings alone
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    left_out = f"The budget left out {', '.join(names[:_MAX_NAMES])}{more} (--resume)."
    return [left_out, *lines]


@contextmanager
def progress(console: DataConsole | None = None) -> Iterator[Callable[[Progress], None]]:
    """Return a function that shows progress: a bar on a terminal, else a line every 10 s."""
    console = console or DataConsole(stderr=True)
    if console.is_terminal:
        columns = (
            *(BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.fields[left]}")),
            TextColumn("{task.description}", markup=False),
        )
        with ProgressBar(*columns, console=console, transient=True) as bar:
            task = bar.add_task("starting", total=None, left="")

            def update(now: Progress) -> None:
                left = "" if now.remaining_s is None else f"{duration(now.remaining_s)} left"
                bar.update(task, completed=now.done, total=now.total, left=left)
                bar.update(task, description=formatting.printable(_current(now)))

            yield update
        return
    last_s = monotonic()

    def print_line(now: Progress) -> None:
        nonlocal last_s
        if now.first_call or monotonic() - last_s >= _LINE_EVERY_S or now.done == now.total:
            last_s = monotonic()
            console.print(f"{_counts(now)}: {_current(now)}", soft_wrap=True)

    yield print_line


def _counts(now: Progress) -> str:
    """Return `12/60 measured, about 9 s left`."""
    if now.done == now.total:
        return f"{now.done}/{now.total} measured, done"
    done = f"{now.done} measured" if now.total is None else f"{now.done}/{now.total} measured"
    left = "" if now.remaining_s is None else f", about {duration(now.remaining_s)} left"
    return done + left


def _current(now: Progress) -> str:
    """Return the latest case, or the case whose first call or compilation is slow."""
    backend = now.first_call
    case = f"{now.case.backend} on {now.case.problem.label}, {now.case.device}"
    if backend is None:
        return case
    if not backend.compile_s:
        return f"first call of {case}"
    return f"compiling {case}" + ("" if backend.compiles_per_problem else ", cached for later runs")


def gate_table(found: Sequence[tuple[Case, Outcome]]) -> Table:
    """Return the number of cases per backend and status, and the largest error."""
    counts = Counter((case.backend, outcome.status) for case, outcome in found)
    statuses = list(dict.fromkeys(["ok", *(outcome.status for _, outcome in found)]))
    worst: dict[str, float] = {}
    least: dict[str, float] = {}
    for case, outcome in found:
        if outcome.error_ratio is not None:
            worst[case.backend] = max(worst.get(case.backend, 0.0), outcome.error_ratio)
        elif outcome.sqnr_db is not None:
            least[case.backend] = min(least.get(case.backend, inf), outcome.sqnr_db)
    rows = [
        (name, *(str(counts[name, status]) for status in statuses),
         *(formatting.digits(one.get(name, nan)) for one in (worst, least)))
        for name in dict.fromkeys(case.backend for case, _ in found)
    ]  # fmt: skip
    heads = ("backend", *statuses, "largest error ratio", "least SQNR of int8, dB")
    return Table(heads, rows, frozenset(heads[1:])).filled


def overhead_table(overhead: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Return one line per phase of a run, from `overhead` in environment.json."""
    heads = ("phase", "seconds", "share", "page faults", "messages", "ms per message")
    rows = []
    for phase, one in overhead.items():
        names = ("seconds", "page_faults", "messages", "ms_per_message")
        numbers = ["" if (one[k] is None) else formatting.digits(one[k] or 0) for k in names]
        numbers.insert(1, formatting.percent(one["share"] or 0))
        rows.append((phase.replace("_", "-"), *numbers))
    return Table(heads, rows, frozenset(heads[1:]))


def skip_lines(found: Iterable[tuple[str, str, str | None]]) -> list[str]:
    """Return one line per reason: `skipped: triton_depthwise: runs on cuda, not on cpu`.

    Reasons that exclude a backend from all its cases come first, then by number of cases. `found`
    are backend, status and reason of each case.
    """
    cases = [*found]
    partly = {backend for backend, status, _ in cases if status != "skipped"}
    counts = Counter((str(why), name) for name, status, why in cases if status == "skipped")
    backends: dict[str, list[str]] = {}
    for reason, name in sorted(counts, key=lambda key: (key[1] in partly, -counts[key], key)):
        backends.setdefault(reason, []).append(name)
    lines = [f"skipped: {', '.join(names)}: {reason}" for reason, names in backends.items()]
    more = len(lines) - _MAX_REASONS
    rest = [f"skipped for {formatting.count(more, 'more reason')}"] if more > 0 else []
    return [*lines[:_MAX_REASONS], *rest]

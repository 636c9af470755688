"""Steps that all measuring commands share: output folder, plan, sweep, results."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convsweep.cli import output

if TYPE_CHECKING:
    from convsweep.sweep.executor import Executor
    from convsweep.sweep.request import Request
    from convsweep.sweep.session import SweepResult

_MAX_SENTENCES = 6


def run_folder(out: Path | None, resume: bool, name: str) -> Path:
    """Return the folder of a new or resumed run; raises ValueError if it cannot be used."""
    from convsweep.results import store

    if resume and out is None:
        raise ValueError("--resume needs --out, the folder of the run to continue")
    out = out or store.RESULTS / store.new_run_id(name)
    (store.require_run if resume else store.require_new)(out)
    return out


def announce(out: Path, request: Request, *, resume: bool) -> int | None:
    """Print the plan; or that a resumed run has nothing left, and return its exit code.

    Raises:
        ValueError: the run cannot be resumed, or a new one has too short a budget.
    """
    from convsweep.cli.plan import plan
    from convsweep.results import store
    from convsweep.sweep.effort import require_time
    from convsweep.sweep.environment import this_machine
    from convsweep.sweep.resume import is_finished, require_resumable

    earlier: dict[str, Any] = {}
    if resume:
        earlier = require_resumable(out, [this_machine(request)], output.command_line())
    else:
        require_time(request)
    if not is_finished(out, earlier, request):
        output.say(plan(request))
        return None
    with (out / store.SUMMARY).open(encoding="utf-8", newline="") as file:
        failed = any(row["status"] in output.FAILED for row in csv.DictReader(file))
    output.say(f"Nothing is left to measure: the run in {str(out)!r} is complete.")
    return int(failed)


def sweep_with_progress(executor: Executor, out: Path, resume: bool, **more: Any) -> SweepResult:
    """Measure and show progress; `more` are arguments of `run_sweep`."""
    from convsweep.cli import terminal
    from convsweep.sweep.session import run_sweep

    name, command = out.resolve().name, output.command_line()
    with output.resumable(out), output.one_line_errors(out), terminal.progress() as observe:
        return run_sweep(executor, out, name, command, observe, resume=resume, **more)


def print_results(ending: SweepResult) -> int:
    """Print a run's results; return exit code 1 if a case failed or none was measured, else 0.

    The table comes last but for a few sentences and the paths, so that it stays on the screen.
    """
    from convsweep.analysis.run import read_run
    from convsweep.analysis.separable.pairing import compare_settings
    from convsweep.analysis.settings import setting_speedups
    from convsweep.cli.answer_table import answer
    from convsweep.cli.terminal import end_lines, skip_lines
    from convsweep.report.next_commands import note_wide_intervals
    from convsweep.report.summary_text import summary_sentences

    folder, summary = ending.folder, ending.summary
    requested, ends = folder.request, end_lines(ending)
    run = read_run(folder.measurements, summary, requested.cases, requested.other_shards_cases)
    none_tried = set(run.cases["status"]) <= {"skipped"}
    if run.cases.empty or (ending.unmeasured and none_tried):
        output.say(
            f"No case was measured before the run ended; --resume continues. Results: {folder}"
        )
        return 1
    columns = [summary[name] for name in ("status", "backend", "problem", "reason")]
    cases = list(zip(*columns, strict=True))
    whole = run.cases.groupby(["backend", "setting"])["status"].transform(
        lambda s: {*s} == {"skipped"}
    )
    output.say(*skip_lines(run.cases.loc[whole, ["backend", "status", "reason"]].to_numpy()))
    console = output.console()
    console.print(answer(run, console.width))
    sentences = summary_sentences(run, compare_settings(run), setting_speedups(run))
    ends = [*note_wide_intervals(folder, sentences), *ends][:_MAX_SENTENCES]
    output.print_sentences([*sentences[: _MAX_SENTENCES - len(ends)], *ends])
    failed = output.print_failures(cases)
    output.print_paths(folder.path, has_report=bool((run.cases["status"] == "ok").any()))
    return int(failed > 0)

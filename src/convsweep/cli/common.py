"""What commands that sweep share: a folder, the sweep itself, the answer in the terminal."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convsweep.cli.errors import written
from convsweep.system.signals import EXIT_CODE, ignore_interrupts

if TYPE_CHECKING:
    from convsweep.sweep.network_runs import Network
    from convsweep.sweep.request import Request
    from convsweep.sweep.session import Ending

FAILED = ("mismatch", "crash", "error")


def folder(out: Path | None, resume: bool, name: str) -> Path:
    """Where a run is to be written, or gone on with; raises `ValueError` where it can't be."""
    from convsweep.results.store import require_new, require_run
    from convsweep.sweep import session

    if resume and out is None:
        raise ValueError("--resume needs --out, the folder of the run to go on with")
    out = out or session.RESULTS / session.new_run_id(name)
    (require_run if resume else require_new)(out)
    return out


def plan(request: Request, nodes: int = 1) -> str:
    """What a sweep over so many nodes will do, and about how long it takes, in a line.

    Raises:
        ValueError: not even one pass fits into the budget.
    """
    from convsweep.cli import terminal
    from convsweep.sweep.effort import measuring, pass_s
    from convsweep.sweep.forecast import compiling_s, forecast_s

    settings, cases, backends = measuring(request), request.every_case, request.every_backend
    if request.adaptive:
        seconds = pass_s(request, settings.effort)
    else:
        seconds = forecast_s(cases, backends, settings, request.passes)
    return terminal.plan(request, seconds / nodes, compiling_s(cases, backends))


def sweep_with_progress(
    request: Request, out: Path, resume: bool, networks: Sequence[Network] | None = None
) -> Ending:
    """Measure, and show how far it is; `networks` are run whole beside it, if they are given."""
    from rich.console import Console

    from convsweep.cli import terminal
    from convsweep.sweep import session

    command = shlex.join(["convsweep", *sys.argv[1:]])
    with written(out), terminal.progress(Console(stderr=True)) as observe:
        return session.run_sweep(
            request, out, out.resolve().name, command, observe, resume=resume, networks=networks
        )


def interrupted() -> int:
    """Say how an interrupted run goes on; the exit code."""
    ignore_interrupts()
    print("convsweep: interrupted; the same command with --resume goes on", file=sys.stderr)
    return EXIT_CODE


def tell(out: Path) -> int:
    """Print a run's answer; the exit code says whether any case failed."""
    from rich.console import Console

    from convsweep.analysis.run import read_run
    from convsweep.analysis.verdicts import read_request_info, summarize
    from convsweep.cli import skip_reasons, terminal
    from convsweep.report.summary_text import answer
    from convsweep.results.store import load, read_environment

    measurements = load(out)
    asked = read_request_info(read_environment(out))
    summary = summarize(measurements, asked.baseline, asked.margin)
    run = read_run(measurements, summary, asked.cases, asked.elsewhere)
    console = Console(width=None if sys.stdout.isatty() else 140)
    for table in terminal.answer(run):
        console.print(table)
    for sentence in answer(run):
        console.print(sentence, markup=False, highlight=False)
    every = zip(summary["backend"], summary["status"], summary["reason"], strict=True)
    for line in skip_reasons.reasons(every, entirely=True):
        print(line)
    failed = summary[summary["status"].isin(FAILED)]
    for _, case in failed.iterrows():
        print(f"{case['status']}: {case['backend']} on {case['problem']}: {case['reason']}")
    print(f"Results: {out}\nReport:  convsweep report {shlex.quote(str(out))}")
    return int(len(failed) > 0)

"""The commands that measure, or hold to the truth: run, check, noise."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from convsweep.cli import ray as cluster
from convsweep.cli.common import FAILED, folder, interrupted, plan, sweep_with_progress, tell
from convsweep.cli.errors import requested
from convsweep.cli.options import path, sweep_options
from convsweep.cli.ray import cluster_options
from convsweep.system.signals import exit_on_interrupt


@click.command()
@sweep_options
@click.option("--passes", metavar="N", type=int, help="Fresh processes that visit every case.")
@click.option(
    "--budget",
    metavar="TIME",
    help="Spend about this long, such as 90s, where the answer is still open.",
)
@click.option(
    "--precision",
    metavar="SHARE",
    help="Go on until intervals are as narrow, such as 2%.",
)
@click.option("--margin", metavar="SHARE", help="What differs by less is the same: 2%.")
@click.option("--baseline", metavar="NAME", help="What speedups divide by: torch_conv.")
@click.option(
    "--ceilings/--no-ceilings",
    default=True,
    help="Whether to measure first what the machine does at best, some seconds: on.",
)
@click.option(
    "--shard",
    metavar="K/N",
    help="Measure part K of N alone, such as 2/3; convsweep merge puts them together.",
)
@click.option("--out", metavar="DIR", type=path, help="A new folder: results/NAME-TIME.")
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in --out.")
@click.option("--dry-run", is_flag=True, help="Say how many cases and how long; measure none.")
@cluster_options
def run(
    out: Path | None,
    resume: bool,
    dry_run: bool,
    ray: str | None,
    nodes: str | None,
    **words: Any,
) -> int:
    """Measure a sweep.

    Give --grid, --workload, --problems or --axis; without any it is --grid quick. Options with a
    NAME or KIND may be repeated. Writes measurements.csv, samples.csv.gz, summary.csv and
    environment.json. Ctrl-C ends it after the problem that is measured, a second one at once;
    the same command with --resume goes on.
    """
    from convsweep.system import forkserver

    if cluster.is_asked_for(ray, nodes):
        return cluster.run(str(ray), nodes, words, out=out, resume=resume, dry_run=dry_run)
    if not dry_run:
        forkserver.start()
    with exit_on_interrupt():
        from convsweep.cli import terminal
        from convsweep.sweep.request import Options, read_request

    with exit_on_interrupt(), requested():
        request = read_request(Options(**words))
        out = folder(out, resume, request.run_name)
        planned = plan(request)
    print(planned, flush=True)
    if dry_run:
        return 0
    ending = sweep_with_progress(request, out, resume)
    failed = tell(out)
    if ending.open_comparisons:
        print(terminal.unsettled(ending.open_comparisons))
    return interrupted() if ending.interrupted else failed


@click.command()
@sweep_options
def check(**words: Any) -> int:
    """Hold every case to the truth, without timing any.

    Takes the same cases as run. Exit code 1 where a backend is wrong.
    """
    from convsweep.system import forkserver

    forkserver.start()
    with exit_on_interrupt():
        from rich.console import Console

        from convsweep.cli import skip_reasons, terminal
        from convsweep.sweep import session
        from convsweep.sweep.request import Options, read_request

    with exit_on_interrupt(), requested():
        request = read_request(Options(**words))
    with terminal.progress(Console(stderr=True)) as observe:
        found = session.check(request, observe)
    Console(width=None if sys.stdout.isatty() else 120).print(terminal.outcomes(found))
    for line in skip_reasons.reasons((case.backend, one.status, one.reason) for case, one in found):
        print(line)
    failed = [(case, outcome) for case, outcome in found if outcome.status in FAILED]
    for case, outcome in failed:
        print(f"{outcome.status}: {case.backend} on {case.problem.label}: {outcome.reason}")
    mismatches = sum(outcome.status == "mismatch" for _, outcome in found)
    print(f"{len(found)} cases, {mismatches} mismatches")
    return int(len(failed) > 0)


@click.command()
@sweep_options
@click.option("--passes", metavar="N", type=int, help="Fresh processes that visit every case.")
@click.option("--out", metavar="DIR", type=path, help="A new folder: results/noise-TIME.")
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in --out.")
@cluster_options
def noise(out: Path | None, resume: bool, ray: str | None, nodes: str | None, **words: Any) -> int:
    """Tell how far this machine's timings can be believed.

    Times backends (torch_conv by default) against themselves, as if they were two, and against
    themselves with 5 % more work, over --grid noise or other cases. What is found between equals
    is false; what is missed of the 5 % is out of reach. Reports of this machine quote the answer.
    """
    from convsweep.system import forkserver

    if not any(words[name] for name in ("grid", "workloads", "problems", "axes")):
        words["grid"] = "noise"
    words["backends"] = words["backends"] or ("torch_conv",)
    if cluster.is_asked_for(ray, nodes):
        return cluster.noise(str(ray), nodes, words, out=out, resume=resume)
    forkserver.start()
    with exit_on_interrupt():
        from convsweep.analysis.aa_noise import measure_noise
        from convsweep.report.noise import sentences
        from convsweep.results.store import load
        from convsweep.sweep.request import Options, aa_request, read_request
        from convsweep.system.environment import environment_warnings

    with exit_on_interrupt(), requested():
        request = aa_request(read_request(Options(**words)))
        out = folder(out, resume, request.name)
        planned = plan(request)
    print(planned, flush=True)
    if sweep_with_progress(request, out, resume).interrupted:
        return interrupted()
    with requested():
        found = measure_noise(load(out))
    for sentence in sentences(found, environment_warnings()):
        print(sentence)
    print(f"Results: {out}")
    return 0

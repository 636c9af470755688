"""The command line; the only file that prints."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from convsweep import __version__
from convsweep.interrupts import EXIT_CODE, ending_at_once
from convsweep.options import path, sweep_options

if TYPE_CHECKING:
    from convsweep.request import Request
    from convsweep.session import Ending

_FAILED = ("mismatch", "crash", "error")
_WRONG_REQUEST, _INTERRUPTED = 2, EXIT_CODE
_FEWEST_FOR_NOISE = 2  # passes


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; a wrong request is one line on stderr and exit code 2."""
    if sys.stdout is None:  # closed by whoever started this
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
    try:
        sys.exit(cli(args, standalone_mode=False))
    except (click.Abort, KeyboardInterrupt):
        print("convsweep: interrupted", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except click.ClickException as error:
        print(f"convsweep: {' '.join(error.format_message().split())}", file=sys.stderr)
        sys.exit(_WRONG_REQUEST)


@contextmanager
def _requested() -> Iterator[None]:
    """Whatever is wrong with a request, or with a file that it names, ends the command."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def _written(out: Path) -> Iterator[None]:
    """A run that is refused, or can't be written on, ends the command; what is written is whole."""
    try:
        yield
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"can't go on writing {str(out)!r}: {error.strerror}") from None


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="convsweep")
def cli() -> None:
    """Which convolution strategy is faster here, by how much, and how sure is that?"""


@cli.command()
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
@click.option("--out", metavar="DIR", type=path, help="A new folder: results/NAME-TIME.")
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in --out.")
@click.option("--dry-run", is_flag=True, help="Say how many cases and how long; measure none.")
def run(out: Path | None, resume: bool, dry_run: bool, **words: Any) -> int:
    """Measure a sweep.

    Give --grid, --workload, --problems or --axis; without any it is --grid quick. Options with a
    NAME or KIND may be repeated. Writes measurements.csv, samples.csv.gz, summary.csv and
    environment.json. Ctrl-C ends it after the problem that is measured, a second one at once;
    the same command with --resume goes on.
    """
    from convsweep import starting

    if not dry_run:
        starting.begin()
    with ending_at_once():
        from convsweep import terminal
        from convsweep.pacing import measuring, pass_s
        from convsweep.request import Options, read_request
        from convsweep.runner import forecast_s

    with ending_at_once(), _requested():
        request = read_request(Options(**words))
        out = _folder(out, resume, request.name)
        settings = measuring(request)
        if request.adaptive:
            forecast = pass_s(request, settings.effort)
        else:
            forecast = forecast_s(request.cases, request.backends, settings, request.passes)
    print(terminal.plan(request, forecast), flush=True)
    if dry_run:
        return 0
    ending = _carry_out(request, out, resume)
    failed = _tell(out)
    if ending.unsettled:
        print(terminal.unsettled(ending.unsettled))
    return _interrupted() if ending.interrupted else failed


def _folder(out: Path | None, resume: bool, name: str) -> Path:
    """Where a run is to be written, or gone on with; raises `ValueError` where it can't be."""
    from convsweep import session
    from convsweep.store import refuse_unless_new, refuse_unless_run

    if resume and out is None:
        raise ValueError("--resume needs --out, the folder of the run to go on with")
    out = out or session.RESULTS / session.new_run_id(name)
    (refuse_unless_run if resume else refuse_unless_new)(out)
    return out


def _carry_out(request: Request, out: Path, resume: bool) -> Ending:
    """Measure, and show how far it is."""
    from rich.console import Console

    from convsweep import session, terminal

    command = shlex.join(["convsweep", *sys.argv[1:]])
    with _written(out), terminal.progress(Console(stderr=True)) as observe:
        return session.carry_out(request, out, out.resolve().name, command, observe, resume=resume)


def _interrupted() -> int:
    print("convsweep: interrupted; the same command with --resume goes on", file=sys.stderr)
    return _INTERRUPTED


def _tell(out: Path) -> int:
    """Print a run's answer; the exit code says whether any case failed."""
    from rich.console import Console

    from convsweep import terminal
    from convsweep.answer import answer
    from convsweep.findings import read_run
    from convsweep.statistics import asked_in, summarize
    from convsweep.store import load, read_environment

    measurements = load(out)
    asked = asked_in(read_environment(out))
    summary = summarize(measurements, asked.baseline, asked.margin)
    run = read_run(measurements, summary, asked.cases)
    console = Console(width=None if sys.stdout.isatty() else 140)
    for table in terminal.answer(run):
        console.print(table)
    for sentence in answer(run):
        console.print(sentence, markup=False, highlight=False)
    failed = summary[summary["status"].isin(_FAILED)]
    for _, case in failed.iterrows():
        print(f"{case['status']}: {case['backend']} on {case['problem']}: {case['reason']}")
    print(f"Results: {out}\nReport:  convsweep report {shlex.quote(str(out))}")
    return int(len(failed) > 0)


@cli.command()
@sweep_options
def check(**words: Any) -> int:
    """Hold every case to the truth, without timing any.

    Takes the same cases as run. Exit code 1 where a backend is wrong.
    """
    from convsweep import starting

    starting.begin()
    with ending_at_once():
        from rich.console import Console

        from convsweep import session, terminal
        from convsweep.request import Options, read_request

    with ending_at_once(), _requested():
        request = read_request(Options(**words))
    with terminal.progress(Console(stderr=True)) as observe:
        found = session.check(request, observe)
    Console(width=None if sys.stdout.isatty() else 120).print(terminal.outcomes(found))
    failed = [(case, outcome) for case, outcome in found if outcome.status in _FAILED]
    for case, outcome in failed:
        print(f"{outcome.status}: {case.backend} on {case.problem.label}: {outcome.reason}")
    mismatches = sum(outcome.status == "mismatch" for _, outcome in found)
    print(f"{len(found)} cases, {mismatches} mismatches")
    return int(len(failed) > 0)


@cli.command()
@sweep_options
@click.option("--passes", metavar="N", type=int, help="Fresh processes that visit every case.")
@click.option("--out", metavar="DIR", type=path, help="A new folder: results/noise-TIME.")
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in --out.")
def noise(out: Path | None, resume: bool, **words: Any) -> int:
    """Tell how far this machine's timings can be believed.

    Times backends (torch_conv by default) against themselves, as if they were two, and against
    themselves with 5 % more work, over --grid noise or other cases. What is found between equals
    is false; what is missed of the 5 % is out of reach. Reports of this machine quote the answer.
    """
    from convsweep import starting

    starting.begin()
    with ending_at_once():
        from convsweep import terminal
        from convsweep.environment import shaky
        from convsweep.noise import measure_noise, sentences
        from convsweep.pacing import measuring
        from convsweep.request import Options, against_itself, read_request
        from convsweep.runner import forecast_s
        from convsweep.store import load

    with ending_at_once(), _requested():
        if not any(words[name] for name in ("grid", "workloads", "problems", "axes")):
            words["grid"] = "noise"
        words["backends"] = words["backends"] or ("torch_conv",)
        request = against_itself(read_request(Options(**words)))
        if request.passes < _FEWEST_FOR_NOISE:
            raise ValueError(
                f"--passes {request.passes}: noise is what differs between passes, 2 at least"
            )
        out = _folder(out, resume, request.name)
        settings = measuring(request)
        forecast = forecast_s(request.cases, request.backends, settings, request.passes)
    print(terminal.plan(request, forecast), flush=True)
    if _carry_out(request, out, resume).interrupted:
        return _interrupted()
    with _requested():
        found = measure_noise(load(out))
    for sentence in sentences(found, shaky()):
        print(sentence)
    print(f"Results: {out}")
    return 0


@cli.command()
@click.argument("run_dir", metavar="RUN_DIR", type=path)
@click.option("--out", metavar="DIR", type=path, help="By default reports/ and the run's name.")
def report(run_dir: Path, out: Path | None) -> int:
    """Draw a run and write its report, from its CSV alone."""
    from convsweep.report import write_report

    with _requested():
        page = write_report(run_dir, out or Path("reports") / run_dir.resolve().name)
    print(f"Report: {page}")
    return 0


@cli.command()
@click.argument("old", metavar="OLD", type=path)
@click.argument("new", metavar="NEW", type=path)
@click.option("--margin", metavar="SHARE", help="What counts as the same; by default as in NEW.")
@click.option("--absolute", is_flag=True, help="Compare plain times, the machine's drift included.")
@click.option("--across-machines", is_flag=True, help="Compare runs of other machines or settings.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "csv"]),
    default="table",
    help="markdown is a page for a pull request.",
)
def compare(
    old: Path, new: Path, margin: str | None, absolute: bool, across_machines: bool, form: str
) -> int:
    """Say what is slower in the run NEW than in the run OLD, and how surely.

    Compares times relative to the baseline's, because the machine's drift cancels out of those.
    Exit code 1 where a case is slower, or was ok and failed.
    """
    from convsweep import changes
    from convsweep.compare import compare as hold_against
    from convsweep.quantities import fraction, named

    with _requested():
        share = None if margin is None else named("--margin", fraction, margin)
        found = hold_against(
            old, new, margin=share, absolute=absolute, across_machines=across_machines
        )
    if form == "csv":
        print(found.cases.to_csv(index=False, lineterminator="\n"), end="")
    elif form == "markdown":
        print(changes.page(found))
    else:
        _show(changes.sentences(found), changes.tables(found))
    return int(found.cases["regression"].any())


def _show(sentences: Sequence[str], tables: Sequence[Any]) -> None:
    """Print what a terminal shows of a comparison."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 140)
    for table in tables:
        console.print(table, "")
    for sentence in sentences:
        console.print(sentence, markup=False, highlight=False)


@cli.command()
@click.argument("run_dir", metavar="RUN", type=path)
@click.option("--format", "form", metavar="FORMAT", required=True, help="pytest-benchmark or csv.")
@click.option("--out", metavar="FILE", type=path, help="A new file; by default it is printed.")
def export(run_dir: Path, form: str, out: Path | None) -> int:
    """Write a run as pytest-benchmark's JSON, or as one table for a dashboard."""
    from convsweep.export import export as as_text
    from convsweep.export import write_new

    with _requested():
        text = as_text(run_dir, form)
        if out is not None:
            write_new(out, text)
    print(text, end="") if out is None else print(f"Export: {out}")
    return 0


@cli.command("list")
@click.argument("what", metavar="backends | grids | workloads | devices")
def list_(what: str) -> int:
    """Show which backends, grids, workloads or devices there are."""
    from rich.console import Console

    from convsweep import catalogue, terminal

    with _requested():
        columns, rows = catalogue.entries(what)
    Console(width=None if sys.stdout.isatty() else 120).print(terminal.listing(columns, rows))
    return 0


@cli.command()
def env() -> int:
    """Show what this machine is, and what makes its timings shaky."""
    from convsweep.device import device_names, find_device
    from convsweep.environment import describe

    found = describe({name: find_device(name).description for name in device_names()})
    for part in ("machine", "versions", "devices"):
        print(part)
        for name, value in found[part].items():
            print(f"  {name}: {'not known' if value is None else value}")
    print("what makes timings shaky here")
    for warning in found["warnings"] or ["nothing that can be seen"]:
        print(f"  {warning}")
    return 0

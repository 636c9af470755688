"""The commands that run a sweep: run, check, noise."""

from pathlib import Path
from time import monotonic
from typing import Any

import click

from convsweep.cli import options, output
from convsweep.cli import ray as cluster
from convsweep.cli.sweep_command import announce, print_results, run_folder, sweep_with_progress
from convsweep.system import forkserver
from convsweep.system.signals import exit_on_interrupt


@click.command()
@options.sweep_options
@options.passes
@options.budget
@options.trace
@options.value("--precision", "SHARE", "Stop a case when its 95 % interval is within +/- SHARE.")
@options.value("--margin", "SHARE", "Differences below this are reported as same (default 2%).")
@options.value("--baseline", "NAME", "Speedups are its time / the other backend's (torch_conv).")
@click.option(
    "--ceilings/--no-ceilings",
    default=None,
    help="Measure the machine's roofline (by default unless --budget is below 20s). Without it "
    "the parts of a grid's separable layers are still measured.",
)
@options.value("--shard", "K/N", "Measure only part K of N, such as 2/3; see convsweep merge.")
@options.out("New folder (default results/NAME-TIME).")
@options.resume
@click.option("--dry-run", is_flag=True, help="Print the number of cases and the expected time.")
@click.option("--profile-overhead", is_flag=True, help="Print seconds and page faults per phase.")
@options.ray_options
def run(
    out: Path | None, resume: bool, dry_run: bool, ray: str | None, nodes: str | None, **chosen: Any
) -> int:
    """Measure a sweep.

    Choose problems with --grid, --workload, --problem, --problems or --axis; the default is
    --grid quick.
    Options with a NAME or KIND may be repeated. Writes measurements.csv, samples.csv.gz,
    summary.csv and environment.json. Ctrl-C stops after the current problem, a second Ctrl-C
    stops at once. Repeat the command with --resume to continue.
    """
    chosen["started_s"], is_profiled = monotonic(), chosen.pop("profile_overhead")
    if cluster.is_requested(ray, nodes):
        if is_profiled:
            raise click.ClickException(
                f"--profile-overhead counts on this machine, not --ray {ray!r}"
            )
        return cluster.run(str(ray), nodes, chosen, out, resume, dry_run)
    if not (dry_run or resume):
        forkserver.start()
    with exit_on_interrupt(), output.one_line_errors():
        from convsweep.sweep.request import Options, read_request

        request = read_request(Options(**chosen))
        out = run_folder(out, resume, request.run_name)
        code = announce(out, request, resume=resume)
    if dry_run or code is not None:
        return code or 0
    with exit_on_interrupt():
        from convsweep.cli.terminal import overhead_table
        from convsweep.sweep.executor import LocalExecutor
        from convsweep.sweep.overhead import OverheadProfile
        from convsweep.sweep.worker_pool import WorkerProcess
    profile = OverheadProfile() if is_profiled else None
    executor = LocalExecutor(request, profile.launch if profile else WorkerProcess)
    ending = sweep_with_progress(executor, out, resume, profile=profile)
    with output.resumable(out):
        failed = print_results(ending)
        if profile:
            output.print_table(overhead_table(ending.folder.environment["overhead"]))
    return output.interrupted(out) if ending.interrupted else failed


@click.command()
@options.sweep_options
def check(**chosen: Any) -> int:
    """Check every case against the float64 reference, without timing.

    Takes the same cases as run. Exit code 1 if a backend is wrong.
    """
    forkserver.start()
    with exit_on_interrupt(), output.one_line_errors():
        from convsweep.cli import terminal
        from convsweep.sweep import session
        from convsweep.sweep.request import Options, read_request

        request = read_request(Options(**chosen))
    with terminal.progress() as observe:
        found = session.check(request, observe)
    output.print_table(terminal.gate_table(found))
    skips = ((case.backend, one.status, one.reason) for case, one in found)
    output.say(*terminal.skip_lines(skips))
    failed = output.print_failures(
        (one.status, case.backend, case.problem.label, one.reason) for case, one in found
    )
    mismatches = sum(outcome.status == "mismatch" for _, outcome in found)
    output.say(f"{len(found)} cases, {mismatches} mismatches")
    return int(failed > 0)


@click.command()
@options.sweep_options
@options.passes
@options.budget
@options.trace
@options.out("New folder (default results/noise-TIME).")
@options.resume
@options.ray_options
def noise(out: Path | None, resume: bool, ray: str | None, nodes: str | None, **chosen: Any) -> int:
    """Measure the noise of this machine with an A/A test.

    Compares backends (torch_conv by default) with themselves, and with themselves plus 5 % more
    work, on --grid noise or other cases. A difference between equals is a false alarm; a 5 %
    difference that is not found is too small for this machine. `report --with` adds the result to
    the report of another run. Three noise runs of two backends or more also show the drift between
    runs, which widens the intervals of that report.
    """
    chosen["started_s"] = monotonic()
    if not any(chosen[name] for name in ("grid", "workloads", "problems", "axes", "labels")):
        chosen["grid"] = "noise"
    chosen["backends"] = chosen["backends"] or ("torch_conv",)
    if cluster.is_requested(ray, nodes):
        return cluster.noise(str(ray), nodes, chosen, out, resume)
    if not resume:
        forkserver.start()
    with exit_on_interrupt(), output.one_line_errors():
        from convsweep.sweep.request import Options, aa_request, read_request

        request = aa_request(read_request(Options(**chosen)))
        out = run_folder(out, resume, request.name)
        if (code := announce(out, request, resume=resume)) is not None:
            return code
    with exit_on_interrupt():
        from convsweep.analysis.aa_noise import measure_noise
        from convsweep.report.noise import sentences
        from convsweep.sweep.executor import LocalExecutor
        from convsweep.system.environment import environment_warnings
    ending = sweep_with_progress(LocalExecutor(request), out, resume)
    if ending.interrupted:
        return output.interrupted(out)
    with output.resumable(out), output.one_line_errors():
        found = measure_noise(ending.folder.measurements)
        output.print_sentences(sentences(found, environment_warnings()))
    output.say(f"Results: {out}")
    return 0

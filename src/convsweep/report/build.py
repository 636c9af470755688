"""A run's report, from its files alone: report.md, a self-contained report.html, figures."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from convsweep.analysis.aa_noise import measure_noise
from convsweep.analysis.cases import filter_by_error, split
from convsweep.analysis.labels import label_cases
from convsweep.analysis.run import Run, read_run
from convsweep.analysis.separable.pairing import compare_settings
from convsweep.analysis.summary import summarize
from convsweep.report import plots, tables
from convsweep.report.contents import sections, titled
from convsweep.report.noise import sentences as sentences_of_noise
from convsweep.report.pages import require_report_folder, write_pages
from convsweep.report.plots.style import drawing_style
from convsweep.report.sections import accuracy
from convsweep.report.sections.accuracy import is_accuracy_run
from convsweep.report.sections.separable_text import Comparisons
from convsweep.report.summary_text import answer as sentences
from convsweep.results.machines import lacks, warnings
from convsweep.results.run_folder import RunFolder
from convsweep.results.schema import NOISE

_ENOUGH_COMPARISONS = 20  # of a backend with itself; fewer say little of a machine


def write_report(
    run_dir: Path, out: Path, baseline: str | None = None, max_error: float | None = None
) -> Path:
    """Write the report of the run in `run_dir` to `out`, over an older one; give its HTML page.

    Args:
        run_dir: the run's folder; its measurements are enough.
        out: the report's folder.
        baseline: the backend that speedups divide by; by default the run's own.
        max_error: the largest relative error; cases beyond it are left out.

    Raises:
        ValueError: in one line, where `run_dir` is no run, tells no errors to leave cases out by,
            or `out` can't be written; then nothing is written.
    """
    if is_accuracy_run(run_dir):
        if max_error is not None:
            raise ValueError(f"{str(run_dir)!r} trained networks: --max-error is of convolutions")
        return _write_study(run_dir, out)
    folder = RunFolder(run_dir)
    measurements, environment = folder.measurements, folder.environment
    if measurements.empty:
        raise ValueError(f"{str(run_dir)!r} has no measurements to report")
    exact = None if max_error is None else filter_by_error(measurements, max_error)
    measurements = exact.measurements if exact else measurements
    require_report_folder(out)
    requested = folder.request
    summary = summarize(measurements, baseline or requested.baseline, requested.margin)
    run = read_run(measurements, summary, requested.cases, requested.other_shards_cases)
    comparisons = compare_settings(run)
    told = sections(run, comparisons, folder)
    pictures = plots.figures(run)
    context = _context(
        run, comparisons, label_cases(split(measurements).requested), environment
    ) | {
        "title": f"Which convolution is faster: {folder.name}",
        "sections": told,
        "pictures": pictures,
        "noise": _noise(folder),
    }
    context["answer"] += [exact.note] if exact else []
    context["answer"] += _ending(environment, len(measurements)) + lacks(environment)
    drawn = [*pictures, *(picture for section in told for picture in section.pictures)]
    return write_pages(out, "report", context, drawn)


def _write_study(run_dir: Path, out: Path) -> Path:
    """The page of a run that trained networks."""
    require_report_folder(out)
    with drawing_style():
        found = accuracy.page(run_dir)
        told = titled(found.sections)
    context = {
        "title": f"{found.title}: {run_dir.resolve().name}",
        "command": found.environment.get("command"),
        "sections": told,
        "environment": tables.environment_table(found.environment),
    }
    return write_pages(out, "study", context, [p for section in told for p in section.pictures])


def _noise(folder: RunFolder) -> list[str]:
    """What the latest A/A run beside this one, on the same machine, says of its timings."""
    for run in folder.siblings():
        if not _is_noise(run.environment):
            continue
        with suppress(ValueError):  # one that was interrupted or edited says nothing
            noise = measure_noise(run.measurements)
            if noise.comparisons >= _ENOUGH_COMPARISONS:
                return sentences_of_noise(noise, [])
    return []


def _ending(environment: dict[str, Any], rows: int) -> list[str]:
    """A sentence where a run did not come to its end, or is not all there; old runs do not tell."""
    written = environment.get("rows")
    if isinstance(written, int) and rows < written:
        return [f"Of the {written} rows of this run {written - rows} are missing from its file."]
    if "request" not in environment or environment.get("end_reason") in (
        "all_passes",
        "converged",
        "budget",
    ):
        return []
    how = "interrupted" if environment.get("end_reason") == "interrupted" else "cut off, or goes on"
    return [f"This run was {how}: what is here is what there was by then."]


def _is_noise(environment: dict[str, Any]) -> bool:
    request = environment.get("request")
    return isinstance(request, dict) and request.get("name") == NOISE


def _context(
    run: Run, comparisons: Comparisons, measurements: Any, environment: dict[str, Any]
) -> dict[str, Any]:
    """What both pages tell, in their order."""
    return {
        "answer": sentences(run, comparisons),
        "backend_table": tables.backend_table(run),
        "command": environment.get("command"),
        "what_was_run": tables.what_was_run(run, measurements),
        "environment": tables.environment_table(environment),
        "warnings": warnings(environment),
        "summary": tables.summary_table(run),
        "correctness": tables.correctness_table(run, measurements),
        "disturbances": tables.disturbance_table(run, measurements),
        "unsteady": tables.unsteady_table(run),
        "absent": tables.absent_table(run),
    }

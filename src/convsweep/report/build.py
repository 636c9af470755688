"""Report of a run, from its files alone: sections in the order of the page."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pandas import DataFrame

from convsweep.analysis.aa_noise import measure_noise
from convsweep.analysis.cases import filter_by_error, split
from convsweep.analysis.labels import label_cases
from convsweep.analysis.run import Run, read_run
from convsweep.analysis.separable.comparison import Comparisons
from convsweep.analysis.separable.pairing import compare_settings
from convsweep.analysis.summary import summarize
from convsweep.report import plots, tables
from convsweep.report.noise import sentences as noise_sentences
from convsweep.report.pages import Overview, Page, Section, require_report_folder, write_pages
from convsweep.report.plots.style import drawing_style
from convsweep.report.sections import (
    accuracy,
    advice,
    claims,
    families,
    network_breakdown,
    network_totals,
    roofline,
    separable,
)
from convsweep.report.summary_text import summary_sentences
from convsweep.results.machines import lacks, warnings
from convsweep.results.schema import NOISE
from convsweep.results.store import RunFolder

_MIN_COMPARISONS = 20  # of a backend with itself; fewer do not characterize a machine
MOST_SENTENCES = 8
"""Sentences on the first screen."""


def write_report(
    run_dir: Path, out: Path, baseline: str | None = None, max_error: float | None = None
) -> Path:
    """Write the report of the run in `run_dir`; return the path of its HTML page.

    Args:
        run_dir: folder of the run; its measurements are enough.
        out: folder of the report; an older report is replaced.
        baseline: backend that speedups are relative to; by default that of the run.
        max_error: largest relative error; cases beyond it are left out.

    Raises:
        ValueError: `run_dir` is not a run, it has no errors to filter by, or `out` is not
            writable. Nothing is written.
    """
    folder = RunFolder(run_dir)
    if accuracy.is_accuracy_run(folder):
        if max_error is not None:
            raise ValueError(f"{folder} is an accuracy study: --max-error needs convolutions")
        return _write_study(folder, out)
    measurements, environment = folder.measurements, folder.environment
    if measurements.empty:
        raise ValueError(f"{folder} has no measurements to report")
    left_out = ""
    if max_error is not None:
        measurements, left_out = filter_by_error(measurements, max_error)
    require_report_folder(out)
    request = folder.request
    summary = summarize(measurements, baseline or request.baseline, request.margin)
    run = read_run(measurements, summary, request.cases, request.other_shards_cases)
    comparisons, shown = compare_settings(run), run.without_fully_connected
    with drawing_style():
        features = _feature_sections(run, shown, comparisons, folder)
    sentences = [
        *summary_sentences(run, comparisons),
        *([left_out] if left_out else []),
        *([f"Incomplete run: {folder.unfinished}."] if folder.unfinished else []),
        *lacks(environment),
    ]
    rows = label_cases(split(measurements).requested)
    sections = [
        *features,
        Section("What was run", tables=[("", tables.what_was_run(run, rows, environment))]),
        _machine_section(folder),
        *_evidence_sections(run, rows),
    ]
    overview = Overview(sentences[:MOST_SENTENCES], tables.backend_table(shown))
    page = Page(f"Convolution benchmark {folder.name}", overview, sections)
    return write_pages(out, _with_first_pictures(page))


def _with_first_pictures(page: Page) -> Page:
    """Move at most two pictures from the sections to the first screen."""
    first = plots.leading(page.pictures)
    sections = [
        section._replace(pictures=[one for one in section.pictures if one not in first])
        for section in page.sections
    ]
    return page._replace(overview=page.overview._replace(pictures=first), sections=sections)


def _write_study(folder: RunFolder, out: Path) -> Path:
    """Write the report of an accuracy study."""
    require_report_folder(out)
    with drawing_style():
        section = accuracy.section(folder)
        if section is None:
            raise ValueError(f"{folder} has no networks to report")
    environment = _environment_section(folder.environment)
    title = f"{accuracy.TITLE}: {folder.name}"
    return write_pages(out, Page(title, sections=[section, environment]))


def _feature_sections(
    run: Run, shown: Run, comparisons: Comparisons, folder: RunFolder
) -> list[Section]:
    """Return the sections between the summary and the evidence that the data allow.

    Means and figures are of the cases in `shown`.
    """
    advised = advice.section(folder)
    sections = [
        advised,
        separable.section(shown, comparisons),
        families.section(run),
        None if advised else network_totals.section(run),  # advice has the totals already
        network_breakdown.section(run, folder.networks),
        roofline.section(shown, comparisons),
        claims.section(shown),
    ]
    return [section for section in sections if section is not None]


def _machine_section(folder: RunFolder) -> Section:
    """Return warnings, A/A noise of the machine, and environment.json as a table."""
    section = _environment_section(folder.environment)
    return section._replace(sentence=" ".join([*warnings(folder.environment), *_noise(folder)]))


def _environment_section(environment: Mapping[str, Any]) -> Section:
    return Section("Machine", tables=[("", tables.environment_table(environment))])


def _evidence_sections(run: Run, rows: DataFrame) -> list[Section]:
    """Return figures and full tables; `rows` are the labelled measurements."""
    pictures = plots.figures(run)
    found = {
        "All cases": tables.summary_table(run),
        "Correctness": tables.correctness_table(run, rows),
        "Memory and disturbances": tables.disturbance_table(run, rows),
        "Unsteady cases": tables.unsteady_table(run),
        "Cases without a time": tables.absent_table(run),
    }
    sections = [
        Section(title, tables=[("", table)]) for title, table in found.items() if table.rows
    ]
    return [*([Section("Figures", pictures=pictures)] if pictures else []), *sections]


def _noise(folder: RunFolder) -> list[str]:
    """Return the findings of the latest A/A run in the same folder and environment."""
    for sibling in folder.siblings():
        request = sibling.environment.get("request")
        if not (isinstance(request, dict) and request.get("name") == NOISE):
            continue
        with suppress(ValueError):  # the run is interrupted or damaged
            noise = measure_noise(sibling.measurements)
            if noise.comparisons >= _MIN_COMPARISONS:
                return noise_sentences(noise, [])
    return []

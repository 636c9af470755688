"""Report of a run, from its files alone: sections in the order of the page."""

from collections.abc import Sequence
from pathlib import Path

from pandas import DataFrame

from convsweep import formatting
from convsweep.analysis.aa_noise import measure_noise
from convsweep.analysis.cases import are_variants, filter_by_error, split
from convsweep.analysis.drift import Drift, measure_drift
from convsweep.analysis.labels import label_cases
from convsweep.analysis.model_advice import read_advice
from convsweep.analysis.network_breakdown import breakdowns_by_setting
from convsweep.analysis.run import Run, read_run, status_counts
from convsweep.analysis.separable.directions import by_direction
from convsweep.analysis.separable.gap import find_gaps, gap_table
from convsweep.analysis.separable.pairing import compare_settings
from convsweep.analysis.settings import setting_speedups
from convsweep.analysis.summary import summarize
from convsweep.report import explore, noise, plots, tables
from convsweep.report.model_text import coverage
from convsweep.report.next_commands import not_covered, note_wide_intervals
from convsweep.report.pages import Overview, Page, Section, require_report_folder, write_pages
from convsweep.report.plots.style import drawing_style
from convsweep.report.sections import (
    accuracy,
    advice,
    claims,
    directions,
    families,
    implementations,
    network_breakdown,
    network_totals,
    quantized,
    roofline,
    separable,
    settings,
)
from convsweep.report.summary_text import summary_sentences
from convsweep.results.files import spreadsheet_csv
from convsweep.results.machines import lacks
from convsweep.results.store import RunFolder

_LONGEST_TABLE = 16  # rows on the first screen
_LEADING = (advice.TITLE, network_totals.TITLE, directions.TITLE)
"""Sections whose first table is on the first screen; the first one that has one."""
_CORRECTNESS = (
    "The error ratio is the largest error against a float64 reference, in roundings of the dtype "
    "that the backend computes in."
)
_UNSTEADY = "At least half of the passes of these cases have a flag; their times are kept."


def write_report(
    run_dir: Path,
    out: Path,
    max_error: float | None = None,
    others: Sequence[Path] = (),
) -> Path:
    """Write the report of the run in `run_dir`; return the path of its HTML page.

    Args:
        run_dir: folder of the run; its measurements are enough.
        out: folder of the report; an older report is replaced.
        max_error: largest relative error; cases beyond it are left out.
        others: folders of noise runs and accuracy studies, which get a section each, and of
            repetitions. Three runs of the same cases show the drift between runs.

    Raises:
        ValueError: `run_dir` or another one is not such a run, no case has a time, there are no
            errors to filter by, or `out` is not writable. Nothing is written.
    """
    folder = RunFolder(run_dir)
    if accuracy.is_accuracy_run(folder):
        if max_error is not None:
            raise ValueError(f"{folder} is an accuracy study: --max-error needs convolutions")
        return _write_study(folder, _read_others(folder, others)[0], out)
    measurements, left_out = folder.measurements, ""
    if measurements.empty:
        raise ValueError(f"{folder} has no measurements to report")
    if max_error is not None:
        measurements, left_out = filter_by_error(measurements, max_error)
    request = folder.request
    further, drift = _read_others(folder, others)
    summary = summarize(measurements, request.baseline, request.margin, drift)
    run = read_run(measurements, summary, request.cases, request.other_shards_cases)
    run = run._replace(drift=drift)
    _require_a_time(run, folder)
    require_report_folder(out)
    comparisons, shown = compare_settings(run), run.for_means
    speedups, in_directions = setting_speedups(run), by_direction(run, comparisons)
    gaps = {name: find_gaps(found.headline) for name, found in comparisons.items()}
    advised = read_advice(folder)
    whole = breakdowns_by_setting(run, folder.networks)
    of_networks = None if advised else network_totals.read_networks(run, whole)
    with drawing_style():
        of_models = (
            advice.section(advised) if advised else None,
            network_totals.section(of_networks) if of_networks else None,
            network_breakdown.section(whole),
        )
        of_strategies = (
            directions.section(run, in_directions),
            separable.section(shown, comparisons, gaps, in_directions=bool(in_directions)),
            settings.section(run, speedups),
            families.section(run),
            quantized.section(run),
            roofline.section(shown, comparisons),
            implementations.section(run),
            claims.section(shown),
        )
        pictures = plots.figures(shown)
    networks, strategies = [*filter(None, of_models)], [*filter(None, of_strategies)]
    sections = [*networks, *strategies, *further]
    if pictures:
        sections.append(Section("Figures", "Further figures of this run.", pictures=pictures))
    rows = label_cases(split(measurements).requested)
    sections += _evidence_sections(run, rows, folder)
    wrong = [
        *([f"Incomplete run: {folder.unfinished}."] if folder.unfinished else []),
        *([left_out] if left_out else []),
        *(coverage(advised) if advised else []),
        *lacks(folder.environment),
    ]
    found = network_totals.sentences(of_networks) if of_networks else []
    found = [*dict.fromkeys([*found, *(one.sentence for one in networks if one.sentence)])]
    titles = [families.TITLE, *([] if networks else [claims.TITLE])]
    titles += [separable.TITLE] if any(gaps.values()) else []
    titles += [implementations.TITLE] if len(run.backends) == 1 else []
    also = [one.sentence for one in strategies if one.title in titles]
    sentences = summary_sentences(run, comparisons, speedups, found, wrong, also)
    top = Overview(sentences, tables.backend_table(shown), (), *not_covered(folder))
    note = " ".join(note_wide_intervals(folder, top, sections))
    if formatting.TOO_FEW in str(top):
        top = top._replace(note=note)
    else:
        sections[-1] = sections[-1]._replace(note=f"{sections[-1].note} {note}".strip())
    title = f"Convolution benchmark: {folder.name}"
    beside = {"explore.html": explore.explore_page(run, title)}
    if any(gaps.values()):
        beside["separable_gap.csv"] = spreadsheet_csv(gap_table(gaps))
    page = Page(title, top, sections, beside)
    return write_pages(out, _with_leading_evidence(page))


def _require_a_time(run: Run, folder: RunFolder) -> None:
    if not (run.cases["status"] == "ok").any():
        raise ValueError(f"{folder} has no case with a time: {status_counts(run.cases)}")


def _with_leading_evidence(page: Page) -> Page:
    """Move the first table of networks and two pictures from the sections to the first screen."""
    first = plots.leading([*page.pictures])
    table = page.overview.table
    sections = []
    for section in page.sections:
        own = section.tables
        leads = section.title in _LEADING and len(own) > 0 and table is page.overview.table
        if leads and len(own[0][1].rows) <= _LONGEST_TABLE:
            table, own = own[0][1], own[1:]
        pictures = [picture for picture in section.pictures if picture not in first]
        if own or pictures or section.title != "Figures":
            sections.append(section._replace(tables=own, pictures=pictures))
    return page._replace(
        overview=page.overview._replace(table=table, pictures=first), sections=sections
    )


def _write_study(folder: RunFolder, further: Sequence[Section], out: Path) -> Path:
    """Write the report of an accuracy study."""
    require_report_folder(out)
    with drawing_style():
        section = accuracy.section(folder)
    if section is None:
        raise ValueError(f"{folder} has no networks to report")
    page = Page(
        f"{accuracy.TITLE}: {folder.name}",
        Overview(
            [*filter(None, (section.sentence, section.note))],
            section.tables[-1][1] if section.tables else Overview().table,
        ),
        [
            section._replace(tables=section.tables[:-1], note=""),
            *further,
            Section("Machine", tables=[("", tables.environment_table(folder.environment))]),
        ],
    )
    return write_pages(out, _with_leading_evidence(page))


def _read_others(folder: RunFolder, paths: Sequence[Path]) -> tuple[list[Section], Drift | None]:
    """Return the sections on the runs that the user names, and the drift between all runs.

    Raises:
        ValueError: a run has neither a section nor a part in the drift, or is given twice.
    """
    others, seen = [*map(RunFolder, paths)], {folder.path.resolve()}
    for other in others:
        if other.path.resolve() in seen:
            raise ValueError(f"--with {other} is the run of the report, or given twice")
        seen.add(other.path.resolve())
    sections = [_further_section(other) for other in others]
    timed = [run for run in (folder, *others) if paths and not accuracy.is_accuracy_run(run)]
    rows = {str(run.path.resolve()): run.measurements for run in timed}
    drift = measure_drift(rows, folder.request.baseline) if rows else None
    for other, section in zip(others, sections, strict=True):
        if section is None and not (drift and str(other.path.resolve()) in drift.runs):
            kinds = "a noise run, an accuracy study, or at least two other runs of the same cases"
            raise ValueError(f"--with {other} adds nothing to the report: name {kinds}")
    return [section for section in sections if section], drift


def _further_section(folder: RunFolder) -> Section | None:
    """Return the section on a noise run or an accuracy study; None for another run.

    Raises:
        ValueError: it is not complete.
    """
    if accuracy.is_accuracy_run(folder):
        with drawing_style():
            section = accuracy.section(folder)
        if section is not None:
            return section._replace(title=f"{section.title}: {folder.name}")
    try:
        if len(folder.measurements) and not are_variants(folder.measurements).any():
            return None
        found = noise.sentences(measure_noise(folder.measurements), [])
    except ValueError as error:
        raise ValueError(f"--with {folder}: {error}") from None
    return Section(f"Timing noise: {folder.name}", found[0], note=" ".join(found[1:]))


def _evidence_sections(run: Run, rows: DataFrame, folder: RunFolder) -> list[Section]:
    """Return the tables of all cases; `rows` are the labelled measurements."""
    problems, most = len(run.cases.groupby(["setting", "label"])), tables.MOST_PROBLEMS
    some = f" of the {most} slowest of {problems} problems" if problems > most else ""
    cases = (
        f"Time per call and speedup over {run.baseline}{some}; summary.csv has intervals, verdicts "
        f"and all {formatting.count(len(run.cases), 'case')}."
    )
    absent = formatting.count(int((run.cases["status"] != "ok").sum()), "case")
    found = [
        ("Times and speedups", cases, tables.case_matrix(run)),
        ("Correctness and memory", _CORRECTNESS, tables.correctness_table(run, rows)),
        ("Unsteady cases", _UNSTEADY, tables.unsteady_table(run)),
        ("Cases without a time", f"{absent} of {len(run.cases)} have no time.",
         tables.absent_table(run)),
        ("Run and machine", _validity(run),
         tables.run_table(run, rows["pass_index"].nunique(), folder.environment)),
    ]  # fmt: skip
    return [Section(title, text, [("", table)]) for title, text, table in found if table.rows]


def _validity(run: Run) -> str:
    """Return a sentence on what the intervals contain."""
    if run.drift is None:
        return (
            "Intervals hold within this run: report --with adds the drift between runs, "
            "which takes two repetitions."
        )
    deviation, low, high = map(formatting.percent, run.drift.deviation)
    compared = run.cases[run.cases["speedup"].notna() & (run.cases["backend"] != run.baseline)]
    errors, most = run.drift.errors(compared).standard_error, ""
    if not (run.drift.deviation.value or errors.any()):
        return (
            f"Speedups over {run.baseline} do not drift measurably between {len(run.drift.runs)} "
            f"runs: by at most {high} (95 % confidence). Intervals do not contain that."
        )
    if len({*errors}) > 1:
        case = compared.iloc[int(errors.argmax())]
        size = formatting.percent(errors.max())
        most = f", that of {case['backend']} on {case['label']} most ({size})"
    return (
        f"Speedups over {run.baseline} drift by {deviation} between {len(run.drift.runs)} runs "
        f"(95 % confidence: {low} to {high}){most}. Intervals and verdicts contain that; those of "
        "summary.csv do not."
    )

"""An accuracy study as a part of a report, or as a page of its own."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from convsweep.analysis.accuracy import Study, read_study
from convsweep.report.plots import accuracy_vs_time
from convsweep.report.section import Section
from convsweep.report.sections import accuracy_text
from convsweep.results.accuracy import ACCURACY_TABLE
from convsweep.results.run_folder import RunFolder

TITLE = "What separable layers cost in accuracy"


class Page(NamedTuple):
    """All that a page of its own tells."""

    title: str
    sections: list[Section]
    environment: dict[str, Any]


def is_accuracy_run(run_dir: Path) -> bool:
    """Whether the folder holds rows of trained networks."""
    return (run_dir / ACCURACY_TABLE.file_name).is_file()


def section(run_dir: Path) -> Section | None:
    """What the study in `run_dir` says; None where it has no row.

    Raises:
        ValueError: in one line, where the folder holds no such run or a damaged one.
    """
    rows = ACCURACY_TABLE.load(run_dir)
    if rows.empty:
        return None
    study, environment = read_study(rows), RunFolder(run_dir).environment
    told = _told(study, _shortness(environment, len(rows)))
    name = run_dir.resolve().name
    origin = f"From the study {name}{_origin(environment)}: {accuracy_text.training(study)}."
    return told._replace(notes=[origin, *told.notes])


def _shortness(environment: Mapping[str, Any], rows: int) -> list[str]:
    """A sentence where a study has less than was asked of it."""
    asked = _rows_asked(environment.get("request"))
    counted = f"{rows} of the {asked} networks that were asked for" if rows < asked else ""
    if environment.get("end_reason", "done") != "done":
        there = f" ({counted})" if counted else ""
        return [
            f"This study did not come to its end: what is here is what there was by then{there}."
        ]
    return [f"This study is short: it has {counted}."] if counted else []


def _rows_asked(request: object) -> int:
    """The networks that a study was to train; 0 where environment.json does not tell."""
    asked = request if isinstance(request, Mapping) else {}
    datasets, variants, seeds = (asked.get(name) for name in ("datasets", "variants", "seeds"))
    if not (isinstance(datasets, Mapping) and isinstance(variants, list) and type(seeds) is int):
        return 0
    return len(datasets) * len(variants) * seeds


def _origin(environment: Mapping[str, Any]) -> str:
    """` of 2026-11-23, commit 26519ed6fe0a`, as far as environment.json tells."""
    began, commit = environment.get("started_at"), environment.get("commit")
    return (f" of {str(began)[:10]}" if began else "") + (f", commit {commit}" if commit else "")


def _told(study: Study, ending: list[str]) -> Section:
    tables = [
        ("Each network", accuracy_text.quality_table(study)),
        ("Against the standard network", accuracy_text.comparison_table(study)),
    ]
    picture = accuracy_vs_time.draw(study)
    return Section(
        TITLE,
        [*accuracy_text.sentences(study), *ending],
        [(caption, table) for caption, table in tables if table.rows],
        [] if picture is None else [picture],
        accuracy_text.notes(study),
    )


def page(run_dir: Path) -> Page:
    """The study in `run_dir` as a page.

    Raises:
        ValueError: as `section`, and where the run has no row.
    """
    found = section(run_dir)
    if found is None:
        raise ValueError(f"{str(run_dir)!r} has no networks to report")
    return Page(TITLE, [found], RunFolder(run_dir).environment)


def latest_sibling(run_dir: Path) -> Path | None:
    """The newest study beside a run, made in the same environment; None where there is none.

    One that is damaged, of few seeds or of training that was cut says nothing of other runs.
    """
    for run in RunFolder(run_dir).siblings():
        if is_accuracy_run(run.path):
            with suppress(ValueError):
                if read_study(ACCURACY_TABLE.load(run.path)).is_thorough:
                    return run.path
    return None

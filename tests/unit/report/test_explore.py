"""Page to explore a run, as a file; tests/browser opens it."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from convsweep.analysis.run import Run, read_run
from convsweep.analysis.summary import summarize
from convsweep.report import explore
from convsweep.report.build import write_report
from convsweep.report.explore_columns import lines_along
from convsweep.results import store
from convsweep.results.schema import Row
from tests.support import synthetic_runs as made


def run_of(path: Path, rows: list[Row]) -> Run:
    measurements = store.load(made.write(path, rows))
    return read_run(measurements, summarize(measurements))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    rows = made.rows(made.grid(), passes=2)
    return run_of(tmp_path / "run", rows + [replace(row, threads=2) for row in rows])


def test_ten_thousand_cases_are_below_six_megabytes(run: Run) -> None:
    copies = 10_000 // (run.cases["status"] == "ok").sum() + 1
    cases = pd.concat(
        run.cases.assign(label=run.cases["label"] + f" layer {i}", layer=f"layer {i}", workload="a")
        for i in range(copies)
    )
    text = explore.explore_page(run._replace(cases=cases), "many")
    assert len(text.encode()) < 6e6
    assert not re.search(r"<(script|link|img)[^>]* (src|href)=.?https?:", text)


def test_a_line_joins_cases_that_differ_along_its_axis_alone(run: Run) -> None:
    cases = run.cases[run.cases["status"] == "ok"]
    joined = cases.assign(line=lines_along(cases, "in_channels")).groupby("line")
    for name in ("backend", "input_size", "kernel_size", "threads"):
        assert (joined[name].nunique() == 1).all()
    assert (joined["in_channels"].nunique() == joined.size()).all()
    assert joined.size().max() == 4


@pytest.mark.parametrize("backend", ["torch_conv", "im2col"])
def test_a_run_of_one_case_has_a_page_and_no_speedup(tmp_path: Path, backend: str) -> None:
    rows = made.rows([made.square(16, 14, 3)], backends=[backend], passes=1)
    text = explore.explore_page(run_of(tmp_path / "run", rows), "one")
    assert '"time_value"' in text
    assert '"speedup_value"' not in text


def test_a_report_has_the_page_beside_it(tmp_path: Path) -> None:
    run_dir = made.write(tmp_path / "run", made.rows(made.grid(), passes=2), made.ENVIRONMENT)
    page = write_report(run_dir, tmp_path / "out")
    assert 'href="explore.html"' in page.read_text(encoding="utf-8")
    assert (tmp_path / "out" / "explore.html").is_file()

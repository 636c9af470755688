"""Intervals wider than a factor of two: neither printed nor drawn, in whatever output."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsweep import formatting
from convsweep.analysis.best_backend import read_best_backends
from convsweep.analysis.compare import compare_runs
from convsweep.report.best_backend import best_table
from convsweep.report.build import write_report
from convsweep.report.plots.axes import drawn_ends
from convsweep.report.tables import markdown
from convsweep.report.trend import page
from tests.support import synthetic_runs as made

pytestmark = pytest.mark.usefixtures("unexplored")

ENDS = re.compile(r"\((-?[\d.,]+(?:e-\d+)?)(?:-| to )(-?[\d.,]+(?:e-\d+)?)\)")
ROUNDED = 1.3  # ends rounded to a quarter of the width


def widest(text: str) -> float:
    """The largest ratio of the ends of all intervals in a text."""
    ends = [[float(end.replace(",", "")) for end in found] for found in ENDS.findall(text)]
    return max((high / low if low > 0 else math.inf for low, high in ends), default=1.0)


@given(*[st.floats(1e-12, 1e12)] * 3)
def test_no_text_of_an_interval_is_wide(low, value, high):
    low, value, high = sorted((low, value, high))
    for write in (formatting.speedup, formatting.time, formatting.percent):
        text = write(value, low, high)
        assert widest(text) <= 2 * ROUNDED or "0.00" in text
        assert (formatting.TOO_FEW in text) == (high > 2 * low)
    assert math.isnan(drawn_ends([low], [high])[0][0]) == (high > 2 * low)


@pytest.mark.parametrize("passes", [2, 12])
def test_no_page_has_a_wide_interval(tmp_path: Path, passes: int):
    problems = made.grid((4, 16), (7, 14), (3,))
    environment = made.ENVIRONMENT | {"request": {"passes": passes}}
    runs = [
        made.write(
            tmp_path / name,
            made.with_ceilings(made.rows(problems, passes=passes, noise=noise, seed=seed)),
            environment,
        )
        for name, noise, seed in (("old", 0.5, 1), ("new", 0.3, 2))
    ]
    report = write_report(runs[0], tmp_path / "report").with_name("report.md").read_text()
    texts = (
        report,
        page(compare_runs(runs), allow_missing=True),
        markdown(best_table(read_best_backends(runs[0]).table)),
    )
    assert all(widest(text) <= 2 * ROUNDED for text in texts)
    if passes < 5:
        assert formatting.TOO_FEW in report
        [command] = {*re.findall(r"convsweep run .*--resume", report)}
        assert "--passes 10" in command
        assert str(runs[0]) in command.replace("\\", "")
        assert "--grid quick" in command


def test_nothing_is_said_of_intervals_that_are_narrow(tmp_path: Path):
    run_dir = made.write(tmp_path / "run", made.rows(made.grid((16,), (14,))), made.ENVIRONMENT)
    page = write_report(run_dir, tmp_path / "report").with_name("report.md")
    assert formatting.TOO_FEW not in page.read_text()

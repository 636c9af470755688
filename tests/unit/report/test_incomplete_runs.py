"""Runs with rows of any kind missing, or changed: every command reads or refuses them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.harness.mutations import ending, mutations
from convsweep.cli.sweep_command import print_results
from convsweep.results.schema import Row
from convsweep.results.store import RunFolder
from convsweep.sweep.run_writer import write_summary
from convsweep.sweep.session import SweepResult
from tests.support import synthetic_runs as made

PROBLEMS = made.grid((4, 16), (7,), (1, 3))
ROWS = made.with_ceilings(made.with_halves(PROBLEMS, passes=2))
LEFT: dict[str, Callable[[Row], bool]] = {
    "no case": lambda row: row.role != "case",
    "no probe": lambda row: row.role != "roofline",
    "no part": lambda row: row.role != "separable_part",
    "only a probe": lambda row: row.role == "roofline" and row.pass_index == 0,
    "no baseline": lambda row: row.role != "case" or row.backend != "torch_conv",
    "nothing ok": lambda row: row.role != "case" or row.status != "ok",
    "one pass": lambda row: row.pass_index == 0,
    "nothing": lambda row: False,
}
COMMANDS = (
    "report {run} --out {new}", "best {run}", "compare {whole} {run}", "compare {run} {whole}",
    "export {run} --format csv", "export {run} --format pytest-benchmark",
)  # fmt: skip


@pytest.mark.parametrize("left", LEFT)
def test_every_reader_copes_with_missing_rows(
    tmp_path: Path, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convsweep.report.build.plots.figures", lambda run: [])
    whole = made.write(tmp_path / "whole", ROWS, made.ENVIRONMENT)
    rows = [row for row in ROWS if LEFT[left](row)]
    run = made.write(tmp_path / "run", rows, made.ENVIRONMENT)
    for line in COMMANDS:
        words = line.format(run=run, whole=whole, new=tmp_path / "new").split()
        assert ending(words) in (0, 1, 2, 3), words
        shutil.rmtree(tmp_path / "new", ignore_errors=True)
    folder = RunFolder(run)
    measured = any(row.role == "case" for row in rows)
    ending_of_run = SweepResult("all_passes", False, folder, write_summary(folder))
    assert print_results(ending_of_run) == int(not measured)


def test_no_known_change_of_a_run_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convsweep.report.build.plots.figures", lambda run: [])
    found = list(mutations(10, 7, tmp_path))
    assert [one for one in found if one.tracebacks or (one.known and one.accepted)] == []

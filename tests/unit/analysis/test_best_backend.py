"""The table of the fastest correct backend: whom it names, how surely, and its file."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from convsweep import cli
from convsweep.analysis.best_backend import best_backends, fastest, read_best_backends
from convsweep.analysis.run import read_run
from convsweep.analysis.summary import summarize
from convsweep.results.best_csv import BEST, BEST_COLUMNS, read_best, write_best
from convsweep.results.schema import Row
from convsweep.results.store import MEASUREMENTS, load
from tests.support import synthetic_runs as made

PROBLEMS = made.grid((4, 64), (14,), (1, 3))
ERRORS = {"loop": 2e-7, "im2col": 3e-7, "pointwise": 4e-6, "torch_conv": 5e-7, "separable": 2e-4}
Write = Callable[[Sequence[Row]], Path]


def measured(**how: object) -> list[Row]:
    """The rows of a run whose backends each have their own error."""
    rows = made.rows(PROBLEMS, **how)  # type: ignore[arg-type]
    return [
        replace(row, relative_err=ERRORS[row.backend]) if row.status == "ok" else row
        for row in rows
    ]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return lambda rows: made.write(tmp_path / "run", rows, made.ENVIRONMENT)


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main([*map(str, words)])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_the_fastest_is_the_least_of_the_times_that_are_ok(write: Write) -> None:
    run_dir = write(measured(noise=0.0))
    table = read_best_backends(run_dir).table
    assert len(table) == len(PROBLEMS)
    for problem in PROBLEMS:
        (row,) = table[table["problem"] == problem.label].to_dict("records")
        seconds = {
            name: made.modelled_s(problem, name, "cpu")
            for name in made.BACKENDS
            if made.outcome(problem, name, 1)[0] == "ok"
        }
        first, second = sorted(seconds, key=lambda name: seconds[name])[:2]
        assert (row["backend"], row["second"]) == (first, second)
        assert row["time_s"] == pytest.approx(seconds[first])
        assert row["speedup_over_second"] == pytest.approx(seconds[second] / seconds[first])
        assert row["speedup"] == pytest.approx(seconds["torch_conv"] / seconds[first])
        assert row["relative_err"] == ERRORS[first]


def test_noisy_leads_are_not_significant(write: Write) -> None:
    rows = load(write(measured(noise=0.3)))
    run = read_run(rows, summarize(rows))
    assert not fastest(run)["significant"].all()
    assert set(fastest(run)["label"]) <= set(best_backends(run)["label"])


def test_an_interval_holds_the_lead_and_one_pass_has_none(write: Write) -> None:
    table = read_best_backends(write(measured(noise=0.05))).table
    assert (table["speedup_over_second_ci_low"] < table["speedup_over_second"]).all()
    assert (table["speedup_over_second"] < table["speedup_over_second_ci_high"]).all()
    run = read_run(*(lambda rows: (rows, summarize(rows)))(frame(measured(passes=1))))
    alone = best_backends(run)
    assert alone["speedup_over_second_ci_low"].isna().all()
    assert not alone["significant"].any()


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame([vars(row) for row in rows]).astype({"relative_err": "float64"})


def test_a_backend_without_rival_leads_nobody(write: Write) -> None:
    table = read_best_backends(write(measured(backends=["torch_conv"]))).table
    assert set(table["backend"]) == {"torch_conv"}
    assert table[["second", "speedup_over_second", "significant"]].isna().all(axis=None)


@pytest.mark.parametrize("status", ["mismatch", "crash", "error", "timeout"])
def test_what_is_not_ok_in_every_pass_is_not_the_fastest(write: Write, status: str) -> None:
    rows = [
        replace(row, status=status, median_s=None)
        if row.backend == "torch_conv" and row.pass_index == 2
        else row
        for row in measured()
    ]
    assert "torch_conv" not in set(read_best_backends(write(rows)).table["backend"])


@pytest.mark.parametrize("limit", [1e-3, 1e-5, 1e-6, 2e-7])
def test_a_limit_leaves_only_what_is_as_exact(write: Write, limit: float) -> None:
    run_dir = write(measured())
    found = read_best_backends(run_dir, limit)
    within = {name for name, error in ERRORS.items() if error <= limit}
    assert set(found.table["backend"]) <= within
    assert (found.table["relative_err"] <= limit).all()
    assert len(found.table) + len(found.left_out) == len(PROBLEMS)
    every = read_best_backends(run_dir).table
    same = every["backend"].isin(within)
    assert (found.table["time_s"].sum() >= every.loc[same, "time_s"].sum()) or not same.all()


def test_among_some_backends_the_fastest_is_one_of_them(write: Write) -> None:
    table = read_best_backends(write(measured()), among={"loop", "im2col"}).table
    assert set(table["backend"]) <= {"loop", "im2col"}


def test_the_file_is_read_as_it_was_written(write: Write) -> None:
    run_dir = write(measured())
    table = read_best_backends(run_dir, 1e-3).table
    again = read_best(write_best(run_dir, table))
    assert list(again.columns) == list(BEST_COLUMNS)
    numbers = [name for name in BEST_COLUMNS if pd.api.types.is_float_dtype(table[name])]
    np.testing.assert_array_equal(again[numbers], table[numbers])
    for name in ("problem", "backend", "device", "dtype", "memory_format", "cpu", "torch"):
        assert list(again[name]) == list(table[name])
    assert set(again["cpu"]) == {"AMD EPYC 7B13"}


def test_the_command_writes_over_its_own_table_alone(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write(measured())
    assert said(capsys, "best", run_dir)[0] == 0
    first = (run_dir / BEST).read_text()
    code, out, _ = said(capsys, "best", run_dir, "--max-error", "1e-6", "--format", "csv")
    assert (code, out) == (0, (run_dir / BEST).read_text())
    assert out != first
    (run_dir / BEST).write_text("my,own,notes\n")
    code, out, err = said(capsys, "best", run_dir)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert (run_dir / BEST).read_text() == "my,own,notes\n"


def test_the_table_is_told_in_a_terminal_and_as_markdown(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write(measured())
    code, out, _ = said(capsys, "best", run_dir, "--max-error", "1e-6")
    assert code == 0
    assert "fastest" in out
    assert out.rstrip().endswith(str(run_dir / BEST))
    markdown = said(capsys, "best", run_dir, "--format", "markdown")[1]
    assert markdown.startswith("| problem | fastest |")


WRONG = {
    "no number": ("--max-error", "small"),
    "zero": ("--max-error", "0"),
    "below zero": ("--max-error", "-1e-5"),
    "endless": ("--max-error", "inf"),
    "nothing so exact": ("--max-error", "1e-12"),
}


@pytest.mark.parametrize("words", WRONG.values(), ids=WRONG)
def test_a_wrong_limit_is_one_line_and_writes_nothing(
    write: Write, capsys: pytest.CaptureFixture[str], words: Sequence[str]
) -> None:
    run_dir = write(measured())
    before = {path.name for path in run_dir.iterdir()}
    code, out, err = said(capsys, "best", run_dir, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words[-1] in err
    assert {path.name for path in run_dir.iterdir()} == before


def test_no_run_and_nothing_ok_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = [replace(row, status="mismatch", median_s=None) for row in measured()]
    for folder in (tmp_path / "none", made.write(tmp_path / "bad", bad, made.ENVIRONMENT)):
        code, out, err = said(capsys, "best", folder)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert str(folder) in err
        assert not (folder / BEST).exists()
    assert (tmp_path / "bad" / MEASUREMENTS).exists()


def test_a_limit_needs_relative_errors(write: Write) -> None:
    run_dir = write([replace(row, relative_err=None) for row in measured()])
    with pytest.raises(ValueError, match="--max-error"):
        read_best_backends(run_dir, 1e-5)
    assert len(read_best_backends(run_dir).table) == len(PROBLEMS)


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("speedup_ci_low", "x"),
        ("speedup", "fast"),
        ("time_s", ""),
        ("relative_err", "nan"),
        ("relative_err", "-1e-7"),
        ("threads", "one"),
        ("threads", "1.5"),
        ("device", ""),
        ("backend", ""),
        ("significant", "maybe"),
    ],
)
def test_a_cell_that_no_run_has_written_is_named(write: Write, column: str, cell: str) -> None:
    path = write_best(run_dir := write(measured()), read_best_backends(run_dir).table)
    texts = pd.read_csv(path, dtype="string", keep_default_na=False)
    texts.loc[1, column] = cell
    texts.to_csv(path, index=False)
    with pytest.raises(ValueError, match="is not a table of best backends: line 3") as raised:
        read_best(path)
    for told in (str(path), repr(column), repr(cell)):
        assert told in str(raised.value)
    assert str(raised.value).isprintable()

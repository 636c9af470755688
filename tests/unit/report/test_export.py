"""Export for other tools: JSON of pytest-benchmark, and a table with one row per case."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pytest_benchmark.stats import Stats

from convsweep import cli
from convsweep.analysis.summary import summarize
from convsweep.report.export import export
from convsweep.results.store import load
from tests.support import synthetic_runs as made

PROBLEMS = made.grid((4, 16), (14,), (1, 3))


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return made.write(Path("run"), made.rows(PROBLEMS), made.ENVIRONMENT)


def test_pytest_benchmark_compares_what_it_reads(run_dir: Path, tmp_path: Path) -> None:
    for name, rows in {"one": made.rows(PROBLEMS), "two": made.rows(PROBLEMS, seed=1)}.items():
        run_dir = made.write(tmp_path / name, rows, made.ENVIRONMENT)
        (tmp_path / f"{name}.json").write_text(export(run_dir, "pytest-benchmark"))
    tool = [sys.executable, "-m", "pytest_benchmark", "--storage", tmp_path / "store"]

    def compared(*words: str) -> str:
        done = subprocess.run(
            [*tool, "compare", *words, "one.json", "two.json"],
            capture_output=True, text=True, cwd=tmp_path, check=True,
        )  # fmt: skip
        assert "Failed" not in done.stderr
        return done.stdout

    plain = compared()
    for problem in PROBLEMS:
        assert plain.count(f"torch_conv[{problem.label}]") == 2
        assert plain.count(f"pointwise[{problem.label}]") == 2 * problem.is_pointwise
    assert plain.count("-- benchmark 'n1_") == len(PROBLEMS)
    by_backend = compared("--group-by", "param:backend", "--columns", "median,rounds,iterations")
    assert "benchmark 'backend=im2col': 8 tests" in by_backend
    between = compared("--between", "median")
    assert "2 sources" in between
    assert "N/A" not in between


@pytest.mark.parametrize("passes", [1, 2, 5, 8])
def test_statistics_equal_those_of_pytest_benchmark(tmp_path: Path, passes: int) -> None:
    rows = made.rows(PROBLEMS[:1], backends=["torch_conv"], passes=passes, noise=0.2)
    run_dir = made.write(tmp_path / "run", rows, made.ENVIRONMENT)
    (found,) = json.loads(export(run_dir, "pytest-benchmark"))["benchmarks"]
    theirs = Stats()
    for row in rows:
        theirs.update(row.median_s)
    expected = theirs.as_dict()
    quartiles = {"q1", "q3", "iqr", "iqr_outliers", "outliers", "ld15iqr", "hd15iqr"}
    assert {"data", "iterations", *expected} == set(found["stats"])
    for name in set(expected) - quartiles:  # quartiles of few rounds have many definitions
        assert found["stats"][name] == pytest.approx(expected[name]), name
    assert found["stats"]["data"] == pytest.approx([row.median_s for row in rows])
    assert found["stats"]["iterations"] == 10


def test_missing_values_are_null_in_the_json(run_dir: Path) -> None:
    content = json.loads(export(run_dir, "pytest-benchmark"), parse_constant=pytest.fail)
    assert set(content) == {"machine_info", "commit_info", "benchmarks", "datetime", "version"}
    summary = summarize(load(run_dir))
    assert len(content["benchmarks"]) == (summary["status"] == "ok").sum()
    names = [benchmark["fullname"] for benchmark in content["benchmarks"]]
    assert len(set(names)) == len(names)
    baseline = next(b for b in content["benchmarks"] if b["params"]["backend"] == "torch_conv")
    assert baseline["extra_info"]["speedup_ci_low"] is None
    assert baseline["params"]["workload"] is None
    assert content["machine_info"]["cpu"]["brand_raw"] == "AMD EPYC 7B13"


def test_a_run_without_an_environment_or_with_a_strange_one_is_exported(tmp_path: Path) -> None:
    bare = made.write(tmp_path / "bare", made.rows(PROBLEMS, passes=1))
    strange = {"machine": {"cpu": 3}, "versions": {}, "settings": {"all": []}, "commit": None}
    odd = made.write(tmp_path / "odd", made.rows(PROBLEMS, passes=1), strange)
    for run_dir in (bare, odd):
        content = json.loads(export(run_dir, "pytest-benchmark"))
        assert content["commit_info"]["id"] == "unversioned"
        assert {benchmark["stats"]["rounds"] for benchmark in content["benchmarks"]} == {1}


def test_the_table_has_the_numbers_of_the_summary(run_dir: Path) -> None:
    table = pd.read_csv(io.StringIO(export(run_dir, "csv")))
    summary = summarize(load(run_dir))
    assert len(table) == len(summary)
    assert list(table.columns) == ["run_id", "started_at", "commit", *summary.columns]
    np.testing.assert_allclose(table["speedup_ci_low"], summary["speedup_ci_low"])
    assert set(table["started_at"]) == {made.ENVIRONMENT["started_at"]}


def test_speedups_are_over_the_baseline_of_the_run(tmp_path: Path) -> None:
    content = made.ENVIRONMENT | {"baseline": "im2col"}
    run_dir = made.write(tmp_path / "run", made.rows(PROBLEMS), content)
    assert set(pd.read_csv(io.StringIO(export(run_dir, "csv")))["baseline"]) == {"im2col"}


def type_(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    return (int(ended.value.code or 0), *capsys.readouterr())


def test_it_is_printed_or_written(run_dir: Path, capsys) -> None:
    code, out, _ = type_(capsys, "export", "run", "--format", "csv")
    assert (code, out) == (0, export(run_dir, "csv"))
    code, out, _ = type_(capsys, "export", "run", "--format", "csv", "--out", "table.csv")
    assert (code, out) == (0, "Export: table.csv\n")
    assert Path("table.csv").read_text() == export(run_dir, "csv")
    assert sorted(path.name for path in Path().iterdir()) == ["run", "table.csv"]


BAD = {
    "run --format tex": ["'tex'", "pytest-benchmark, csv"],
    "run": ["--format"],
    "nowhere --format csv": ["'nowhere'", "measurements.csv"],
    "timeless --format csv": ["'timeless'", "no time"],
    "timeless --format pytest-benchmark": ["'timeless'", "no time"],
    "run --format csv --out kept": ["'kept'", "exists already"],
    "run --format csv --out run": ["'run'", "exists already"],
    "run --format csv --out kept/below": ["'kept/below'"],
    "run --format csv --out away/below": ["'away/below'"],
}


@pytest.mark.parametrize("words", BAD)
def test_a_wrong_request_is_one_line_and_writes_nothing(run_dir: Path, capsys, words: str) -> None:
    rows = [replace(row, status="error", median_s=None) for row in made.rows(PROBLEMS, passes=1)]
    made.write(Path("timeless"), rows)
    Path("kept").write_text("kept")
    before = sorted(Path().rglob("*"))
    code, out, err = type_(capsys, "export", *words.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    for word in BAD[words]:
        assert word in err
    assert sorted(Path().rglob("*")) == before
    assert Path("kept").read_text() == "kept"


def test_a_failed_write_leaves_no_file(run_dir: Path, capsys, monkeypatch) -> None:
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    code, _, err = type_(capsys, "export", "run", "--format", "csv", "--out", "table.csv")
    assert code == 2
    assert "'table.csv'" in err
    assert "No space left on device" in err
    assert [path.name for path in Path().iterdir()] == ["run"]

"""Files and commands that others read: directions apart, older tables as forward."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from convsweep.analysis.best_backend import read_best_backends
from convsweep.analysis.compare import compare_runs
from convsweep.models.optimize.selection import read_table
from convsweep.problems.case import DIRECTIONS
from convsweep.report.export import export
from convsweep.report.next_commands import not_covered
from convsweep.results.best_csv import read_best, write_best
from convsweep.results.store import RunFolder
from tests.support import synthetic_directions as directed
from tests.support import synthetic_runs as made

PROBLEMS = made.grid((8, 32), (14,), (3,))


def write(run_dir: Path, *directions: str) -> Path:
    speedups = {name: directed.SPEEDUPS[name] for name in directions or DIRECTIONS}
    return made.write(run_dir, directed.rows(PROBLEMS, speedups), made.ENVIRONMENT)


def test_each_exported_benchmark_has_its_own_name_and_forward_the_older_one(tmp_path: Path) -> None:
    names = {}
    for run in (write(tmp_path / "all"), write(tmp_path / "forward", "forward")):
        found = json.loads(export(run, "pytest-benchmark"))["benchmarks"]
        names[run.name] = {one["fullname"] for one in found}
        assert len(names[run.name]) == len(found)
    assert names["forward"] < names["all"]
    assert not any("forward" in name for name in names["all"])


def test_an_older_table_of_best_backends_is_of_forward(tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    path = write_best(run, read_best_backends(run).table)
    assert set(read_best(path)["direction"]) == {*DIRECTIONS}
    older = pd.read_csv(path)
    older[older["direction"] == "forward"].drop(columns=["direction", "block"]).to_csv(
        path, index=False
    )
    found = read_best(path)
    assert len(found) == len(PROBLEMS)
    assert set(found["direction"]) | set(found["block"]) == {"forward", "conv"}


def test_a_model_is_optimized_by_the_forward_pass_alone(tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "all"), None, (), across_machines=True)
    assert {row["direction"] for row in table.cases} == {"forward"}
    with pytest.raises(ValueError, match="no convolution in the direction forward"):
        read_table(write(tmp_path / "training", "training"), None, (), across_machines=True)


def test_runs_are_compared_direction_by_direction(tmp_path: Path) -> None:
    slower = [
        replace(row, median_s=2 * row.median_s, p95_s=None)
        if (row.direction, row.backend) == ("training", "separable")
        else row
        for row in directed.rows(PROBLEMS)
    ]
    new = made.write(tmp_path / "new", slower, made.ENVIRONMENT)
    cases = compare_runs([write(tmp_path / "old"), new]).to_first[0].cases
    found = cases[cases["verdict"] == "slower"]
    assert len(found) == len(PROBLEMS)
    assert set(found["direction"]) == {"training"}


def test_training_that_was_not_measured_has_a_command(tmp_path: Path) -> None:
    request = {"directions": ["forward"], "dtypes": ["float32", "float64"], "threads": [1]}
    command = "convsweep run --axis size=7 --dtype float32 --dtype float64"
    own = made.ENVIRONMENT | {"request": request, "command": command}
    run = made.write(tmp_path / "run", directed.rows(PROBLEMS, {"forward": 2.0}), own)
    names, words = not_covered(RunFolder(run))
    assert "training" in names
    assert words.startswith(f"{command} ")  # which keeps both dtypes
    assert words.endswith("--direction forward --direction training")

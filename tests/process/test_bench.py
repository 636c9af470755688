"""`pytest --benchmark-only`: gated cases, groups by problem, one row per result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import convsweep

ROOT = Path(__file__).parents[2]


OPTIONS = ["-c", f"{ROOT}/pyproject.toml", f"{ROOT}/bench", "-p", "no:cacheprovider"]
REFUSED = """
import contextlib, io, json, sys, pytest
for option in ("--grid", "--backend", "--device", "--dtype"):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = pytest.main([*sys.argv[1:], option, "nope"])
    print(json.dumps([option, code, said.getvalue().strip().splitlines()[-1]]))
"""


def bench(folder: Path, *words: str, program: str = "") -> subprocess.CompletedProcess[str]:
    """Run the bench suites with options, or a program that does."""
    command = [sys.executable, *(["-c", program] if program else ["-m", "pytest"]), *OPTIONS]
    return subprocess.run(
        [*command, "--benchmark-only", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={name: text for name, text in os.environ.items() if "XDIST" not in name},
    )


def test_every_result_is_a_row_and_a_group_by_problem(tmp_path: Path) -> None:
    output = tmp_path / "output.json"
    done = bench(tmp_path, "--grid", "smoke", f"--benchmark-json={output}")
    assert done.returncode == 0, done.stdout
    [run] = (tmp_path / "results").iterdir()
    rows = convsweep.load(run)
    assert set(rows["driver"]) == {"pytest-benchmark"}
    assert set(rows["status"]) - {"timeout"} == {"ok", "skipped"}  # a loaded machine is slow
    assert len(rows) == 4 * sum(
        backend.family == "basic" and not backend.only_by_name
        for backend in convsweep.list_backends().values()
    )
    assert (run / "summary.csv").is_file()
    timed = json.loads(output.read_text())["benchmarks"]
    assert len(timed) == (rows["status"] == "ok").sum()
    by_problem = {one["extra_info"]["label"]: one["group"] for one in timed}
    assert len(by_problem) == 4
    for one in timed:
        assert one["group"] == by_problem[one["extra_info"]["label"]]
        assert one["extra_info"]["flops_per_s"] > 0


def test_options_choose_backends_and_dtypes(tmp_path: Path) -> None:
    words = ["--backend", "torch_conv", "--backend", "im2col", "--dtype", "float64"]
    assert bench(tmp_path, "--grid", "smoke", *words).returncode == 0
    [run] = (tmp_path / "results").iterdir()
    rows = convsweep.load(run)
    assert set(rows["backend"]) == {"torch_conv", "im2col"}
    assert set(rows["dtype"]) == {"float64"}


def test_an_invalid_option_is_one_line_and_writes_nothing(tmp_path: Path) -> None:
    done = bench(tmp_path, program=REFUSED)  # one process for all: PyTorch takes seconds to import
    found = {
        option: (code, line) for option, code, line in map(json.loads, done.stdout.splitlines())
    }
    assert [*found] == ["--grid", "--backend", "--device", "--dtype"]
    for code, line in found.values():
        assert code == pytest.ExitCode.USAGE_ERROR
        assert "'nope'" in line
    assert not (tmp_path / "results").exists()

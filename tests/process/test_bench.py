"""`pytest --benchmark-only`: gated cases, groups by problem, one row per result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import convsweep

ROOT = Path(__file__).parents[2]


def bench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", ROOT / "bench"]
    return subprocess.run(
        [*command, "-p", "no:cacheprovider", "--benchmark-only", *words],
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


@pytest.mark.parametrize(
    "words", [("--grid", "nope"), ("--backend", "nope"), ("--device", "nope"), ("--dtype", "nope")]
)
def test_an_invalid_option_is_one_line_and_writes_nothing(
    words: tuple[str, str], tmp_path: Path
) -> None:
    done = bench(tmp_path, *words)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "'nope'" in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "results").exists()

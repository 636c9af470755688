"""Shards that were really measured, each by its own command, merged into one run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from convsweep.results import store
from convsweep.results.schema import PROBLEM_COLUMNS
from tests.support.samples import load_samples

WORDS = ["--axis", "in_channels=1,2,4", "--axis", "size=3", "--backend", "torch_conv",
         "--backend", "im2col", "--passes", "2", "--no-ceilings"]  # fmt: skip


def type_(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "convsweep", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def visits(run_dir: Path) -> list[tuple[object, ...]]:
    columns = [*PROBLEM_COLUMNS, "backend", "pass_index"]
    return sorted(map(tuple, store.load(run_dir)[columns].astype(str).to_numpy()))


def test_shards_of_a_sweep_are_measured_and_merged_as_one_run(tmp_path: Path) -> None:
    for shard in ("1/2", "2/2"):
        output = type_(tmp_path, "run", *WORDS, "--shard", shard, "--out", shard[0])
        assert output.startswith(f"shard {shard}: ")
        assert "not reached" not in output
    type_(tmp_path, "run", *WORDS, "--out", "whole")
    assert "Merged 2 runs of 1 environment: 6 cases" in type_(
        tmp_path, "merge", "1", "2", "--out", "merged"
    )
    merged, whole = tmp_path / "merged", tmp_path / "whole"
    assert visits(merged) == visits(whole)
    asked = [
        json.loads((run / store.ENVIRONMENT).read_text())["request"] for run in (merged, whole)
    ]
    assert asked[0].items() <= asked[1].items()
    kept = load_samples(merged).groupby("row")["seconds"].median()
    medians = store.load(merged)["median_s"].dropna().to_list()
    assert kept.to_list() == pytest.approx(medians, rel=1e-9)
    assert "not reached" not in type_(tmp_path, "report", "merged")

"""Runs of several machines merged: kept apart and named in all that is read from them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from convsweep.analysis.best_backend import read_best_backends
from convsweep.analysis.run import read_run
from convsweep.analysis.summary import summarize
from convsweep.report.build import write_report
from convsweep.report.export import export
from convsweep.results import store
from convsweep.results.machines import warnings
from convsweep.results.schema import Row
from convsweep.results.store import read_request_info
from tests.support import synthetic_runs as made
from tests.support.synthetic_shards import (
    COUNT,
    PROBLEMS,
    SETTINGS,
    SWEPT,
    elsewhere,
    other_machine,
    put_together,
    write,
)

pytestmark = pytest.mark.usefixtures("unexplored")


def test_machines_are_kept_apart(tmp_path: Path) -> None:
    plain = write(tmp_path / "a", made.with_ceilings(SWEPT), warnings=["old"])
    other = other_machine(tmp_path, warnings=["hot"], commit="0a1b2c3d4e5f",
                          settings=SETTINGS | {"niceness": 0, "cores": [3]})  # fmt: skip
    out = put_together(plain, other)
    told = store.read_environment(out)
    assert not {"environment_id", "machine", "versions", "devices", "commit"} & set(told)
    assert {name: one["commit"] for name, one in told["environments"].items()} == {
        "e0": "26519ed6fe0a",
        "e1": "0a1b2c3d4e5f",
    }
    assert told["environments"]["e1"]["settings"] == {
        "allocator": "retain", "cores": [3], "niceness": 0,
    }  # fmt: skip
    assert told["settings"] == {"seed": 0, "block_s": 0.01}
    assert read_request_info(told).cases == 2 * COUNT
    assert warnings(told) == [
        "AMD EPYC 7B13, environment e0: old",
        "Intel Xeon @ 2.20GHz, environment e1: hot",
    ]
    merged, keys = summarize(store.load(out)), ["problem", "backend"]
    for environment_id, alone in (("e0", plain), ("e1", other)):
        own = merged[merged["environment_id"] == environment_id].set_index(keys)
        expected = summarize(store.load(alone)).set_index(keys)
        for column in ("time_s", "speedup", "speedup_ci_low", "roofline_fraction"):
            pd.testing.assert_series_equal(own[column], expected[column])


@pytest.mark.usefixtures("undrawn")
def test_a_report_of_two_machines_has_a_figure_of_each_and_none_of_both(tmp_path: Path) -> None:
    out = put_together(write(tmp_path / "a", made.with_ceilings(SWEPT)), other_machine(tmp_path))
    page = write_report(out, tmp_path / "report")
    text = page.with_suffix(".md").read_text()
    figures = sorted(path.stem for path in (tmp_path / "report" / "figures").iterdir())
    amd, intel = (
        [name.removesuffix(end) for name in figures if name.endswith(end)]
        for end in ("_cpu_amd_epyc_7b13", "_cpu_intel_xeon_2_20ghz")
    )
    assert amd == intel != []
    assert len(amd) + len(intel) == len(figures) - figures.count("claims")  # of the first one
    assert "On cpu, Intel Xeon @ 2.20GHz: " in text
    assert "not reached" not in text


def run_of(rows: Sequence[Row], folder: Path) -> list[str]:
    frame = store.load(made.write(folder, rows))
    return read_run(frame, summarize(frame)).settings


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("AMD EPYC", "Intel(R) Xeon(R) CPU"), ["AMD EPYC", "Intel Xeon"]),
        (("AMD EPYC", "AMD EPYC"), ["AMD EPYC (environment e0)", "AMD EPYC (environment e1)"]),
        ((None, "AMD EPYC"), ["environment e0", "AMD EPYC"]),
    ],
)
def test_a_setting_names_its_machine_and_its_environment_where_names_coincide(
    names: tuple[str | None, str], told: list[str], tmp_path: Path
) -> None:
    rows = [replace(row, device_name=names[0]) for row in SWEPT]
    found = run_of([*rows, *elsewhere(SWEPT, names[1])], tmp_path)
    assert found == [f"cpu, {name}" for name in told]
    assert run_of(rows, tmp_path / "alone") == ["cpu"]


def test_what_tells_of_one_machine_refuses_two_and_csv_tells_of_each(tmp_path: Path) -> None:
    out = put_together(write(tmp_path / "a", SWEPT), other_machine(tmp_path, commit="0a1b2c3d4e5f"))
    with pytest.raises(ValueError, match="has 2 environments"):
        export(out, "pytest-benchmark")
    (tmp_path / "out.csv").write_text(export(out, "csv"))
    table = pd.read_csv(tmp_path / "out.csv")
    assert set(table["run_id"]) == {"merged"}
    assert set(zip(table["environment_id"], table["commit"], strict=True)) == {
        ("e0", "26519ed6fe0a"),
        ("e1", "0a1b2c3d4e5f"),
    }


def test_a_best_table_of_two_machines_names_each(tmp_path: Path) -> None:
    out = put_together(write(tmp_path / "a", SWEPT), other_machine(tmp_path))
    table = read_best_backends(out).table
    assert set(zip(table["environment_id"], table["cpu"], strict=True)) == {
        ("e0", "AMD EPYC 7B13"),
        ("e1", "Intel(R) Xeon(R) CPU @ 2.20GHz"),
    }
    assert len(table) == 2 * len(PROBLEMS)
    assert set(table["run_id"]) == {"merged"}

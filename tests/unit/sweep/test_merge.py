"""Runs merged: what belongs together becomes one run, nothing half written."""

import errno
import gzip
import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convsweep import cli
from convsweep.analysis.summary import summarize
from convsweep.report.build import write_report
from convsweep.results import samples, store
from convsweep.results.append_file import AppendOnlyFile
from convsweep.results.machines import lacks
from convsweep.results.networks import NETWORKS_TABLE, NetworkRow
from convsweep.results.schema import PROBLEM_COLUMNS
from tests.support import synthetic_runs as made
from tests.support.row_factory import load_rows
from tests.support.samples import load_samples
from tests.support.synthetic_shards import (
    COUNT,
    PROBLEMS,
    SWEPT,
    dealt,
    put_together,
    shard,
    write,
)

pytestmark = pytest.mark.usefixtures("unexplored")


def visits(run_dir: Path) -> list[tuple[object, ...]]:
    rows = store.load(run_dir)
    rows = rows[rows["role"].ne("roofline")]
    columns = [*PROBLEM_COLUMNS, "backend", "pass_index"]
    return sorted(map(tuple, rows[columns].astype(str).to_numpy()))


def test_shards_merged_are_the_whole_run(tmp_path: Path) -> None:
    out = put_together(*(shard(tmp_path, k) for k in (1, 2, 3)))
    whole = write(tmp_path / "whole", made.with_ceilings(SWEPT))
    assert visits(out) == visits(whole)
    rows = load_rows(out)
    assert [row.run_id for row in rows if row.role != "roofline"] == [
        f"s{k}" for k in (1, 2, 3) for row in dealt(k, 3) if row.role != "roofline"
    ]
    ceilings = [row for row in rows if row.role == "roofline"]
    assert {row.run_id for row in ceilings} == {"s1"}
    assert len(ceilings) == len(made.with_ceilings([]))
    keys = ["problem", "backend"]
    told = pd.read_csv(out / store.SUMMARY).sort_values(keys, ignore_index=True)
    plain = summarize(store.load(whole)).sort_values(keys, ignore_index=True)
    pd.testing.assert_series_equal(
        told["speedup"], plain["speedup"].astype(float), check_dtype=False
    )


def test_samples_stay_with_their_rows(tmp_path: Path) -> None:
    out = put_together(*(shard(tmp_path, k) for k in (3, 1, 2)))
    times = store.load(out)["median_s"]
    kept = load_samples(out)
    assert sorted(set(kept["row"])) == list(times[times.notna()].index)
    assert (kept["seconds"].to_numpy() == times[kept["row"]].to_numpy()).all()
    assert list(kept["block"]) == [0, 1] * times.notna().sum()
    assert gzip.decompress((out / samples.SAMPLES).read_bytes()).startswith(samples.HEADER)


@given(
    of=st.integers(2, 4),
    blocks=st.lists(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=3), max_size=3),
    places=st.permutations([0, 1, 2, None]),
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_samples_of_any_rows_can_be_taken_under_other_numbers(
    tmp_path_factory: pytest.TempPathFactory,
    of: int,
    blocks: list[list[float]],
    places: list[int | None],
) -> None:
    first, second = (tmp_path_factory.mktemp(name) for name in ("first", "second"))
    for folder, numbers in ((first, range(of)), (second, [])):
        kept = samples.SampleWriter(folder)
        for number in numbers:
            kept.append(number, [[second + number for second in block] for block in blocks])
        if folder == second:
            kept.copy(first, {old: new for old, new in enumerate(places) if new is not None})
        kept.close()
    found, taken = load_samples(first), load_samples(second)
    new = found["row"].map(dict(enumerate(places)))
    expected = found.assign(row=new)[new.notna()].reset_index(drop=True)
    assert taken.astype(float).equals(expected.astype(float))


def test_a_merged_run_of_one_machine_tells_what_a_plain_run_does(tmp_path: Path) -> None:
    parts = [shard(tmp_path, k, warnings=["shaky", f"load {k}"]) for k in (1, 2, 3)]
    told = store.read_environment(put_together(*parts))
    plain = store.read_environment(parts[0])
    for name in ("environment_id", "machine", "versions", "devices", "commit", "settings"):
        assert told[name] == plain[name]
    assert told["warnings"] == ["shaky", "load 1", "load 2", "load 3"]
    assert (told["run_id"], told["end_reason"]) == ("merged", "all_passes")
    assert told["rows"] == len(store.load(tmp_path / "merged"))
    assert told["request"]["shard"] is None
    assert told["request"]["case_count"] == COUNT
    assert [(one["run_id"], one["shard"]) for one in told["merged"]] == [
        ("s1", "1/3"), ("s2", "2/3"), ("s3", "3/3"),
    ]  # fmt: skip
    assert lacks(told) == []


@pytest.mark.usefixtures("no_figures")
def test_shards_that_are_missing_are_told(tmp_path: Path) -> None:
    out = put_together(shard(tmp_path, 1), shard(tmp_path, 3))
    told = store.read_environment(out)
    assert lacks(told) == ["Shard 2/3 is missing."]
    page = write_report(out, tmp_path / "report").with_suffix(".md").read_text()
    missing = len(PROBLEMS[1::3]) * len(made.BACKENDS)
    assert f"Missing: {missing} of {COUNT} cases" in page
    assert "- Shard 2/3 is missing." in page


@pytest.mark.usefixtures("no_figures")
def test_a_shard_counts_the_cases_of_the_other_shards(tmp_path: Path) -> None:
    run_dir = write(tmp_path / "s1", [r for r in SWEPT if r.in_channels == 4], shard="1/2")
    page = write_report(run_dir, tmp_path / "report").with_suffix(".md").read_text()
    assert f"Missing: {COUNT // 2} of {COUNT} cases, all in other shards" in page


def test_rows_of_networks_are_merged_and_there_is_no_file_without(tmp_path: Path) -> None:
    first, second = shard(tmp_path, 1, 2), shard(tmp_path, 2, 2)
    assert not (put_together(first, second) / "networks.csv").exists()
    row = NetworkRow(
        run_id="s2", pass_index=0, started_at="now", environment_id="e0", network="vgg16",
        device="cpu", dtype="float32", memory_format="contiguous", threads=1, kind="whole",
        total_s=0.25, status="ok",
    )  # fmt: skip
    networks = NETWORKS_TABLE.open(second)
    networks.append(row)
    networks.close()
    out = put_together(first, second, out=tmp_path / "again")
    assert NETWORKS_TABLE.load_completed(out).rows["total_s"].to_list() == [0.25]


@pytest.mark.parametrize("taken", ["file", "folder"])
def test_what_is_there_is_never_written_over(tmp_path: Path, taken: str) -> None:
    parts = [shard(tmp_path, 1), shard(tmp_path, 2)]
    out = tmp_path / "out"
    if taken == "file":
        out.touch()
    else:
        out.mkdir()
        (out / "mine").touch()
    with pytest.raises(ValueError, match="is not an empty or new folder"):
        put_together(*parts, out=out)
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []


def test_an_empty_folder_and_one_below_new_ones_are_written(tmp_path: Path) -> None:
    parts = [shard(tmp_path, 1), shard(tmp_path, 2)]
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "new" / "one"):
        put_together(*parts, out=out)
        assert {path.name for path in out.iterdir()} == {
            "environment.json", "measurements.csv", "samples.csv.gz", "summary.csv",
        }  # fmt: skip


@pytest.mark.parametrize("fails_at", [0, 1, 3, 9])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_whatever_ends_a_merge_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, fails_at: int
) -> None:
    parts = [shard(tmp_path, 1), shard(tmp_path, 2)]
    before = sorted(tmp_path.rglob("*"))
    calls, append = iter(range(10**6)), AppendOnlyFile.append

    def failing(self: AppendOnlyFile, record: bytes, *, sync: bool) -> None:
        if next(calls) >= fails_at:
            raise error
        append(self, record, sync=sync)

    monkeypatch.setattr(AppendOnlyFile, "append", failing)
    expected = ValueError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        put_together(*parts)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_merged_file_has_checksums_that_hold(tmp_path: Path) -> None:
    out = put_together(shard(tmp_path, 1), shard(tmp_path, 2))
    by_run = [row for row in load_rows(out) if row.run_id == "s2"]
    assert by_run == [row for row in load_rows(tmp_path / "s2") if row.role != "roofline"]


def test_the_command_says_what_it_merged_and_refuses_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shard(Path(), 1), shard(Path(), 2)

    def typed(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["convsweep", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    code, out, err = typed("merge", "s1", "s2", "--out", "both")
    assert (code, err) == (0, "")
    assert out.splitlines()[:2] == [
        "Merged 2 runs of 1 environment: "
        f"{store.load('both')['role'].eq('case').sum() // 3} cases, "
        f"{len(store.load('both'))} rows",
        "Shard 3/3 is missing.",
    ]
    assert json.loads(Path("both/environment.json").read_text())["command"] == (
        "convsweep merge s1 s2 --out both"
    )
    for words in (
        ["merge", "s1", "--out", "x"],
        ["merge", "--out", "x"],
        ["merge", "s1", "s2"],
        ["merge", "s1", "s2", "--out", "both"],
        ["merge", "s1", "both", "--out", "x"],
        ["run", "--grid", "smoke", "--out", "both", "--resume"],
    ):
        code, out, err = typed(*words)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("convsweep: ")
    assert "was merged from other runs: resume those" in err
    assert sorted(path.name for path in Path().iterdir()) == ["both", "s1", "s2"]

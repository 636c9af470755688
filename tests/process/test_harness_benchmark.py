"""The benchmark of the harness itself: what it computes from its rows, and no-op cases."""

import csv
import json
import math
from pathlib import Path

import pandas as pd
import pytest

from bench.harness import agreement, noop_sweep, overhead, page, tools
from bench.harness.pairs import PAIRS

FIRST, SECOND = PAIRS[0].label, PAIRS[3].label

# Speedups by tool and pair, one a round; convsweep's come with intervals.
SPEEDUPS = {
    "convsweep": {FIRST: [4.0, 4.0, 5.0], SECOND: [2.0, 2.0, 2.0]},
    "pytest-benchmark": {FIRST: [8.0, 4.0, 8.0], SECOND: [2.0, 4.0, 4.0]},
}
INTERVALS = {FIRST: [(3.5, 4.5), (4.1, 4.2), (4.0, 6.0)], SECOND: [(1.9, 2.1)] * 3}
RUN_S = {"convsweep": [10.0, 12.0, 11.0], "pytest-benchmark": [13.0, 13.0, 14.0]}


def tool_rows() -> list[dict[str, object]]:
    """The rows of three rounds."""
    made = []
    for tool, by_pair in SPEEDUPS.items():
        for pair, speedups in by_pair.items():
            for index, speedup in enumerate(speedups):
                low, high = INTERVALS[pair][index] if tool == "convsweep" else ("", "")
                head = (
                    index,
                    tool,
                    "1.0",
                    "abc",
                    "2026-01-01",
                    "mobilenet",
                    10,
                    RUN_S[tool][index],
                )
                shares = (0.5 + 0.1 * index, 0.8) if tool == "convsweep" else ("", "")
                row = (*head, *shares, pair, 1e-3 * speedup, 1e-3, speedup, low, high)
                made.append(dict(zip(tools.COLUMNS, row, strict=True)))
    return made


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The folder of a made-up comparison."""
    folder = tmp_path / "results"
    folder.mkdir()
    with (folder / tools.FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, tools.COLUMNS)
        writer.writeheader()
        writer.writerows(tool_rows())
    environment = {"machine": {"cpu": "A machine"}, "commit": "abc", "tools": {}}
    (folder / tools.ENVIRONMENT).write_text(json.dumps(environment))
    return folder


@pytest.fixture
def rows(results: Path) -> pd.DataFrame:
    return agreement.load(results / tools.FILE)


def test_a_change_is_the_difference_of_two_logarithms(rows: pd.DataFrame) -> None:
    found = agreement.changes(rows)
    assert len(found) == 2 * 2 * 3
    ours = found[(found["tool"] == "convsweep") & (found["pair"] == FIRST)]["change"]
    assert sorted(ours) == pytest.approx([0.0, math.log(1.25), math.log(1.25)])


def test_a_tools_row_counts_by_hand(rows: pd.DataFrame) -> None:
    table = agreement.by_tool(rows).set_index("tool")
    assert list(table.index) == ["convsweep", "pytest-benchmark"]
    ours, rival = table.loc["convsweep"], table.loc["pytest-benchmark"]
    # Ours changes by 0, 0, 0, 0, ln 1.25, ln 1.25; the other by 0, 0, ln 2 four times.
    assert ours["median_change"] == pytest.approx(0.0)
    assert ours["p95_change"] == pytest.approx(math.log(1.25))
    assert rival["median_change"] == rival["p95_change"] == pytest.approx(math.log(2))
    assert (ours["run_s"], rival["run_s"], ours["runs"]) == (11.0, 13.0, 3)
    assert ours["mean_speedup"] == pytest.approx(math.sqrt(4 * 2))
    assert rival["mean_speedup"] == pytest.approx(math.sqrt(8 * 4))
    assert ours["timing_share"] == pytest.approx(0.6)
    assert math.isnan(rival["timing_share"])
    assert math.isnan(rival["coverage"])


def test_each_number_of_seconds_and_set_of_pairs_is_its_own_row(rows: pd.DataFrame) -> None:
    longer = rows[rows["round"] < 2].assign(seconds=60, run_s=61)
    both = pd.concat([rows, longer, rows.assign(pairs="convbench")], ignore_index=True)
    table = agreement.by_tool(both)
    keys = table[["pairs", "tool", "seconds"]].to_records(index=False).tolist()
    assert keys == [
        ("mobilenet", "convsweep", 10),
        ("mobilenet", "convsweep", 60),
        ("mobilenet", "pytest-benchmark", 10),
        ("mobilenet", "pytest-benchmark", 60),
        ("convbench", "convsweep", 10),
        ("convbench", "pytest-benchmark", 10),
    ]
    assert table["answers"].to_list() == [6, 4, 6, 4, 6, 6]
    assert set(agreement.most_measured(both)["seconds"]) == {10}


def test_one_run_has_no_change(rows: pd.DataFrame) -> None:
    table = agreement.by_tool(rows[rows["round"] == 0])
    assert table[["median_change", "p95_change"]].isna().all(axis=None)


def test_the_tools_disagree_most_where_the_ratio_is_largest(rows: pd.DataFrame) -> None:
    answers = agreement.answers(rows)
    assert answers.loc[FIRST].to_dict() == {"convsweep": 4.0, "pytest-benchmark": 8.0}
    widest = agreement.widest_disagreement(rows)
    assert widest == (FIRST, "convsweep", 4.0, "pytest-benchmark", 8.0)


def test_intervals_are_held_against_the_median_of_the_other_runs(rows: pd.DataFrame) -> None:
    # The others of FIRST have the medians 4.5, 4.5 and 4.
    covered = agreement.covering(rows).dropna()
    assert covered.to_list() == [1, 0, 1, 1, 1, 1]


def test_the_page_tells_and_draws_what_there_is(results: Path, tmp_path: Path) -> None:
    text = page.write_page(results, tmp_path / "report").read_text()
    for number in ("22 %", "69 %", "8.0x", "83 %", "60 %"):
        assert number in text
    assert "overhead.png" not in text
    drawn = {path.name for path in (tmp_path / "report" / "figures").iterdir()}
    assert drawn == {"answers.png", "error_against_cost.png"}


def test_a_page_of_a_single_round_has_no_changes(results: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(results / tools.FILE)
    rows[rows["round"] == 0].to_csv(results / tools.FILE, index=False)
    assert "| - |" in page.write_page(results, tmp_path / "report").read_text()


def noop_row(cases: int) -> dict[str, float]:
    """A row of a run in which every case but the first takes 4 ms, 1 of them timing."""
    seconds = {"start_s": 2.0, "sweep_s": 0.004 * cases, "summary_s": 1.0, "timing_s": 0.001}
    seconds["wall_s"] = sum(seconds.values()) - seconds["timing_s"]
    footprints = {
        f"{who}_{what}_{when}": value
        for who in ("parent", "child")
        for what, values in {"rss_bytes": (2e8, 2.1e8, 2.2e8), "descriptors": (9, 9, 11)}.items()
        for when, value in zip(("first", "last", "most"), values, strict=True)
    }
    return {"cases": cases, **seconds, "parent_peak_bytes": 2.3e8, **footprints}


def test_the_page_tells_of_overhead_and_of_the_minute(results: Path, tmp_path: Path) -> None:
    pd.DataFrame(map(noop_row, (11, 101))).to_csv(results / overhead.FILE, index=False)
    (results / page.MINUTE).mkdir()
    spent = {"timing_s": 40.0, "warm_up_s": 11.0, "gate_s": 3.0, "start_s": 10.0, "wall_s": 70.0}
    (results / page.MINUTE / "environment.json").write_text(json.dumps({"time_spent": spent}))
    costs = overhead.load(results / overhead.FILE)
    assert costs is not None
    assert costs["further_case_s"].to_list() == pytest.approx([0.0043, 0.00403])
    assert costs["whole_case_s"].to_list() == pytest.approx([3.043 / 11, 3.403 / 101])
    assert costs["child_gains_bytes"].to_list() == [2e7, 2e7]
    assert costs["summary_gains_bytes"].to_list() == [3e7, 3e7]
    text = page.write_page(results, tmp_path / "report").read_text()
    assert "85 %" in text
    assert "| other | 6.00 s | 8.6 % |" in text
    assert "| 9, 11 |" in text
    assert (tmp_path / "report" / "figures" / "overhead.png").is_file()


def test_without_rows_there_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tools\.csv"):
        page.write_page(tmp_path, tmp_path / "report")


def test_noop_cases_are_real_rows_of_a_real_process(tmp_path: Path) -> None:
    found = noop_sweep.measure(10, tmp_path / "run")
    assert found["cases"] == 10
    parts = ("start_s", "sweep_s", "summary_s")
    assert found["wall_s"] == pytest.approx(sum(found[part] or 0 for part in parts))
    assert all(found[f"{who}_rss_bytes_first"] for who in ("parent", "child"))


@pytest.mark.parametrize("cases", noop_sweep.CHANNELS)
def test_as_many_noop_cases_as_asked_for(cases: int) -> None:
    assert len(set(noop_sweep.noop_request(cases).cases)) == cases

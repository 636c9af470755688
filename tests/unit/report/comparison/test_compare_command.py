"""The command `compare`: exit codes, tables, trends of several runs, refusals."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from convsweep.analysis.compare import RunTrend, compare_runs
from convsweep.report import comparison
from convsweep.report.plots.style import drawing_style
from convsweep.report.plots.trend import draw
from convsweep.results.schema import Row
from tests.support import synthetic_runs as made
from tests.support.compared_runs import (
    BACKENDS,
    PROBLEMS,
    SETTINGS,
    Write,
    broken,
    compare,
    measured,
    slowed,
)
from tests.support.figure_texts import layout_faults


@pytest.fixture
def steps(write: Write) -> list[Path]:
    """Four runs: im2col gets 1.5 % slower in each, which is within the margin of each step."""
    return [
        write(f"v{i}", measured(10 + i, noise=1e-3, seconds=slowed(1.015**i, "im2col")))
        for i in range(4)
    ]


def test_small_steps_add_up(steps: list[Path], command) -> None:
    found = compare_runs(steps)
    counts = [
        [int((one.cases["verdict"] == "slower").sum()) for one in steps]
        for steps in (found.to_first, found.to_previous)
    ]
    assert counts == [[0, 4, 4], [0, 0, 0]]
    for pair, one in zip(
        [(0, 3), (2, 3)], (found.to_first[-1], found.to_previous[-1]), strict=True
    ):
        alone = compare(*(steps[place] for place in pair)).cases
        pd.testing.assert_frame_equal(one.cases, alone)
    runs = " ".join(map(str, steps))
    assert [command(f"compare {names}").code for names in (runs, "v0 v3", "v2 v3")] == [1, 1, 0]


def test_a_run_in_between_changes_no_verdict(steps: list[Path], write: Write, command) -> None:
    """A middle run that lacks cases, has others, and was killed."""
    others = made.rows(made.grid((8,), (9,), (3,)), backends=BACKENDS)
    rows = [*measured(5)[:30], *others]
    middle = write("middle", rows, request={"case_count": 99}, end_reason=None)
    found = compare_runs([steps[0], middle, steps[3]]).to_first[-1]
    alone = compare(steps[0], steps[3])
    columns = ["backend", "problem", "change", "verdict"]
    pd.testing.assert_frame_equal(found.cases[columns].reset_index(drop=True), alone.cases[columns])
    assert command("compare v0 middle v3").code == 1
    assert command("compare v0 v1 middle").code == 3


def test_a_trend_is_written_with_its_figure(steps: list[Path], command) -> None:
    runs = " ".join(map(str, steps))
    assert command(f"compare {runs} --out trend").code == 1
    assert {path.name for path in Path("trend").iterdir()} == {"comparison.md", "trend.png"}
    table = pd.read_csv(io.StringIO(command(f"compare {runs} --format csv").out))
    assert table["run"].value_counts().to_dict() == dict.fromkeys(("v1", "v2", "v3"), 12)
    assert command("compare v0 v1 --out two").code == 0
    assert {path.name for path in Path("two").iterdir()} == {"comparison.md"}


@pytest.mark.parametrize("settings", [1, 6])
def test_every_text_of_a_trend_has_its_place(write: Write, settings: int) -> None:
    names = (*BACKENDS, *(f"a_backend_of_a_plug_in_with_a_long_name_{i}" for i in range(9)))
    rows = [
        replace(row, threads=threads)
        for row in made.rows(PROBLEMS[:1], backends=names, passes=2)
        for threads in range(1, settings + 1)
    ]
    few, run = write("few", rows[: 3 * settings]), write("a_run_with_quite_a_long_name", rows)
    for one, runs in ((few, 3), (run, 4 * settings)):
        names, to_first, _ = compare_runs([one] * 2)
        trend = RunTrend(runs * names[:1], (runs - 1) * to_first, [])
        with drawing_style():
            assert layout_faults(draw(trend).figure) == []


@pytest.mark.parametrize("runs", ["big other", "big other other"])
def test_a_terminal_has_100_columns_and_40_rows_of_tables(write: Write, command, runs: str) -> None:
    problems = made.grid((16, 32, 64, 128), (7, 14, 28, 56, 112), (3, 5))
    for seed, name in enumerate(("big", "other")):
        rows = made.rows(problems, backends=BACKENDS, seed=seed)
        write(name, [replace(row, layer="a" * 60, workload="w" * 30) for row in rows])
    lines = command(f"compare {runs}").out.splitlines()
    assert max(map(len, lines)) <= 100
    tables = lines[: len(lines) - lines[::-1].index("")]
    assert 30 <= len(tables) <= 42


MARGINS = {
    "": 0,
    "--fail-on backend=separable:90%": 0,
    "--fail-on backend=im2col:90%": 4,
    "--fail-on backend=im2*:90% --fail-on backend=im2col:1%": 0,  # the last one counts
    "--fail-on problem=C16*:90%": 2,
    "--fail-on 'problem=C16 14x14:90%'": 1,
    "--fail-on dtype=float32:90%": 4,
    "--fail-on problem=C16*,backend=separable:90%": 0,
    "--fail-on problem=*28x28,backend=im2col:0.9": 2,
}


@pytest.mark.parametrize("words", MARGINS)
def test_a_margin_holds_for_the_cases_it_names(write: Write, command, words: str) -> None:
    write("old", measured(1))
    write("slow", measured(3, seconds=slowed(1.3, "im2col")))
    done = command(f"compare old slow --format csv {words}")
    table = pd.read_csv(io.StringIO(done.out))
    assert (table["verdict"] == "slower").sum() == 4 - MARGINS[words]
    assert done.code == int(MARGINS[words] < 4)


def test_the_exit_code_says_whether_anything_is_worse(write: Write, command) -> None:
    write("old", measured(1))
    write("alike", measured(2))
    write("slow", measured(3, seconds=slowed(1.3, "im2col")))
    write("broken", broken("crash"))
    codes = {name: command(f"compare old {name}").code for name in ("alike", "slow", "broken")}
    assert codes == {"alike": 0, "slow": 1, "broken": 1}
    assert command("compare slow old").code == 0
    assert command("compare old slow --margin 50%").code == 0


REQUEST = {"case_count": len(PROBLEMS) * len(BACKENDS)}


def test_no_regression_is_stated_only_of_whole_comparisons(write: Write, command) -> None:
    """Of each new run: exit code, the same with --allow-missing, and whether it is complete."""
    ended = {"request": REQUEST, "end_reason": "all_passes"}
    few = [row for row in measured(2) if row.backend != "im2col"]
    slow_and_few = [
        row for row in measured(3, seconds=slowed(2, "separable")) if row.backend != "im2col"
    ]
    write("old", measured(1, noise=1e-5), **ended)
    write("same", measured(2, noise=1e-5), **ended)
    write("one-pass", measured(2, passes=1), **ended)
    write("few", few, **ended)
    write("few-were-requested", few, request={"case_count": len(few) // 8}, end_reason="budget")
    write("skipped", broken("skipped"), **ended)
    write("killed", measured(2), request=REQUEST, end_reason=None)
    write("interrupted", measured(2), request=REQUEST, end_reason="interrupted")
    write("slow-and-few", slow_and_few, request=REQUEST, end_reason="interrupted")
    write("apart", made.rows(made.grid((8,), (9,), (3,))))
    write("rowless", [], request=REQUEST, end_reason="interrupted")
    expected = {
        "same": (0, 0),
        "one-pass": (3, 3),
        "few": (3, 0),
        "few-were-requested": (3, 0),
        "skipped": (3, 0),
        "killed": (3, 0),
        "interrupted": (3, 0),
        "slow-and-few": (1, 1),
        "apart": (3, 3),
        "rowless": (3, 3),
    }
    codes, lines = {}, {}
    for name in expected:
        plain, lenient = (command(f"compare old {name} {o}") for o in ("", "--allow-missing"))
        codes[name], lines[name] = (plain.code, lenient.code), plain.out.splitlines()[-1]
    assert codes == expected
    assert {name for name, line in lines.items() if "No regression:" in line} == {"same"}
    assert command("compare few old").code == 3  # the old run is short of a requested case


def test_the_terminal_shows_the_worst_first_and_the_headline_last(write: Write, command) -> None:
    write("old", measured(1))
    write("slow", measured(3, seconds=slowed(1.3, "im2col", 64)))
    lines = command("compare old slow").out.splitlines()
    assert "slower" in lines[1]
    assert lines[1].startswith("C64")
    assert lines[-1].startswith("Regression")
    assert "2 slower" in lines[-1]


def test_a_pull_request_gets_a_headline_and_tables(write: Write, command) -> None:
    write("old", measured(1))
    write("slow", measured(3, seconds=slowed(1.3, "im2col")))
    page = command("compare old slow --format markdown").out
    assert page.startswith("**Regression")
    assert page.count("\n| C") == 8
    assert re.search(r"\), \d+ slower \|", page)


def test_a_long_table_counts_omitted_rows(write: Write) -> None:
    found = compare(write("old", measured(1)), write("new", measured(2)))
    assert len(comparison.cases_table(found, most=3).rows) == 3


def implemented(rows: list[Row], name: Callable[[Row], str | None]) -> list[Row]:
    """Rows as a run writes them: the implementation is in the first pass alone."""
    return [row if row.pass_index else replace(row, implementation=name(row)) for row in rows]


def test_a_changed_implementation_is_named_with_its_cases(write: Write, command) -> None:
    names = {"torch_conv": "aten::mkldnn_convolution + jit:wide", "im2col": "aten::bmm"}
    before = implemented(measured(1), lambda row: names.get(row.backend))
    write("old", before)
    narrow = names | {"torch_conv": "aten::mkldnn_convolution + jit:narrow"}
    write("new", implemented(measured(2), lambda row: narrow.get(row.backend, "own")))
    done = command("compare old new")
    said = " ".join(done.out.split()).split("Implementation changed from ")[1:]
    assert len(said) == 1
    assert said[0].startswith(f"{names['torch_conv']} to {narrow['torch_conv']}: {len(PROBLEMS)} ")
    table = pd.read_csv(io.StringIO(command("compare old new --format csv").out))
    changed = table[table["implementation_old"] != table["implementation_new"]]
    assert set(changed["backend"]) == {"torch_conv", "separable"}
    found = compare(Path("old"), Path("new"))
    assert set(found.reimplemented["backend"]) == {"torch_conv"}
    assert found.exit_code(allow_missing=False) == 0


def test_runs_without_implementations_have_none_that_changed(write: Write, command) -> None:
    write("old", measured(1))
    write("new", implemented(measured(2), lambda row: "own"))
    assert compare(Path("old"), Path("new")).reimplemented.empty
    assert "mplementation" not in command("compare old new").out


def test_many_changes_of_implementation_are_counted(write: Write, command) -> None:
    def name(age: str) -> Callable[[Row], str]:
        return lambda row: f"{row.backend} {row.problem} {age}"

    for age, seed in (("old", 1), ("new", 2)):
        write(age, implemented(measured(seed), name(age)))
    out = " ".join(command("compare old new").out.split())
    assert out.count("Implementation changed") < len(BACKENDS) * len(PROBLEMS)
    assert "Other changes of implementation: " in out


def test_the_csv_has_every_case_of_either_run(write: Write, command) -> None:
    write("old", measured(1)[3:])
    write("new", broken("crash"))
    table = pd.read_csv(io.StringIO(command("compare old new --format csv").out))
    assert len(table) == len(PROBLEMS) * len(BACKENDS)
    assert table["regression"].sum() == 1
    assert {"problem", "backend", "old_s", "new_s", "change", "verdict"} <= set(table.columns)


BAD = {
    "compare old nowhere": ["'nowhere'", "measurements.csv"],
    "compare old": ["NEW"],
    "compare old new --margin much": ["'much'", "2%"],
    "compare old new --margin 0": ["'0'", "2%"],
    "compare old new --margin -2%": ["-2%"],
    "compare old new --margin 200%": ["'200%'", "100 %"],
    "compare old new --format tex": ["'tex'", "markdown"],
    "compare old other": ["settings.tf32", "--across-machines"],
    "compare old torn": ["torn", "environment"],
    "compare old new other": ["'other'", "settings.tf32"],
    "compare old new --out new/environment.json": ["'new/environment.json'", "is a file"],
    "compare old new --fail-on im2col:10%": ["'im2col:10%'", "KEY=NAME"],
    "compare old new --fail-on speed=1:10%": ["'speed=1:10%'", "backend, problem"],
    "compare old new --fail-on backend=:10%": ["'backend=:10%'", "KEY=NAME"],
    "compare old new --fail-on backend=im2col": ["'backend=im2col'", "KEY=NAME"],
    "compare old new --fail-on backend=im2col:0": ["'backend=im2col:0'", "2%"],
    "compare old new --fail-on backend=im2cool:10%": ["'backend=im2cool:10%'", "im2col"],
    "compare old new --out new --fail-on problem=C9*:10%": ["'problem=C9*:10%'", "C16 14x14"],
    "compare old new --fail-on backend=im2col,cache=cold:10%": ["cache", "hot"],
}


@pytest.mark.parametrize("words", BAD)
def test_a_wrong_request_is_one_line(write: Write, command, words: str) -> None:
    write("old", measured(1))
    write("new", measured(2))
    write("other", measured(2), settings=SETTINGS | {"tf32": True})
    (write("torn", measured(2)) / "environment.json").write_text(json.dumps([1]))
    before = sorted(Path().rglob("*"))
    code, out, err = command(words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("convsweep: ")
    for word in BAD[words]:
        assert word in err
    assert sorted(Path().rglob("*")) == before

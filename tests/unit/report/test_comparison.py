"""Comparison of two runs: verdicts, checks, tables for a terminal and a pull request."""

import io
import json
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from convsweep import cli
from convsweep.analysis.compare import RunComparison, compare_runs
from convsweep.report import comparison
from convsweep.report.plots.style import drawing_style
from convsweep.report.plots.trend import draw
from convsweep.results.schema import Row
from tests.support import synthetic_runs as made
from tests.support.figure_texts import layout_faults

PROBLEMS = made.grid((16, 64), (14, 28), (3,))
BACKENDS = ("torch_conv", "im2col", "separable")
Write = Callable[..., Path]


def measured(seed: int, **how: object) -> list[Row]:
    given = {"backends": BACKENDS, "passes": 8, "noise": 0.004, "seed": seed} | how
    return made.rows(PROBLEMS, **given)


def slowed(factor: float, backend: str = "", channels: int = 0) -> Callable[..., float]:
    """The usual seconds, times a factor for one backend at one width, or for all."""

    def seconds(problem, name, device):
        hit = (backend in ("", name)) and (channels in (0, problem.in_channels))
        return made.modelled_s(problem, name, device) * (factor if hit else 1)

    return seconds


def compare(old: Path, new: Path, **options: object) -> RunComparison:
    return compare_runs([old, new], **options).to_first[-1]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)

    def write(name: str, rows: Iterable[Row], **keys: object) -> Path:
        environment = None if keys == {"bare": True} else made.ENVIRONMENT | keys
        return made.write(Path(name), rows, environment)

    return write


def verdicts(found: RunComparison, backend: str) -> list[str]:
    return list(found.cases.loc[found.cases["backend"] == backend, "verdict"])


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
    for runs in ([few] * 3, [run] * (4 * settings)):
        with drawing_style():
            assert layout_faults(draw(compare_runs(runs)).figure) == []


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


def test_what_would_be_found_is_found(write: Write) -> None:
    """One case that is slower by the detectable change, in ten runs."""
    old = write("old", measured(1))
    least = compare(old, write("same", measured(2))).cases["detectable"].median()
    found = [
        compare(old, write(f"n{seed}", measured(seed, seconds=slowed(1 + 2 * least, "im2col", 16))))
        for seed in range(10, 20)
    ]
    slower = [(verdicts(one, "im2col")[:2]).count("slower") for one in found]
    assert sum(slower) >= 16


def test_a_new_case_that_fails_is_no_regression(write: Write, command) -> None:
    others = made.rows(made.grid((8,), (9,), (3,)), backends=BACKENDS)
    crashed = [replace(row, status="crash", median_s=None, reason="because") for row in others]
    write("old", measured(1))
    write("new", [*measured(2), *crashed])
    assert command("compare old new").code == 0


def test_the_same_twice_is_no_regression(write: Write) -> None:
    found = compare(write("old", measured(1)), write("new", measured(2)))
    assert found.baseline == "torch_conv"
    assert verdicts(found, "torch_conv") == ["baseline"] * 4
    assert {*verdicts(found, "im2col"), *verdicts(found, "separable")} <= {"same", "undecided"}
    assert not found.cases["regression"].any()
    assert comparison.headline(found).startswith("No regression: 0 slower")


def test_what_is_slower_is_named_though_the_whole_machine_drifted(write: Write) -> None:
    """Half as fast altogether, and im2col at 16 channels another 10 % slower."""

    def seconds(problem, name, device):
        return 2 * slowed(1.1, "im2col", 16)(problem, name, device)

    found = compare(write("old", measured(1)), write("new", measured(2, seconds=seconds)))
    slower = found.cases[found.cases["verdict"] == "slower"]
    assert set(zip(slower["backend"], slower["in_channels"], strict=True)) == {("im2col", 16)}
    assert list(slower["regression"]) == [True, True]
    assert slower["change"].to_numpy() == pytest.approx(1 / 1.1, rel=0.02)
    assert ((slower["change_ci_low"] < 1 / 1.1) & (slower["change_ci_high"] > 1 / 1.1)).all()
    means = found.means.set_index("backend")
    assert means.loc["im2col", "change"] == pytest.approx(1.1**-0.5, rel=0.01)
    assert means.loc["torch_conv", "change"] == pytest.approx(0.5, rel=0.01)  # its plain time
    assert "2 slower" in comparison.headline(found)


def test_plain_times_show_the_drift_too(write: Write) -> None:
    runs = write("old", measured(1)), write("new", measured(2, seconds=slowed(1.2)))
    found = compare(*runs, absolute=True)
    assert found.baseline is None
    assert set(found.cases["verdict"]) == {"slower"}


def test_a_change_of_plain_times_is_that_of_runs_that_share_no_pass(write: Write) -> None:
    old, new = measured(1, passes=5), measured(2, passes=8)
    found = compare(write("old", old), write("new", new), absolute=True)
    case = found.cases.iloc[0]
    logs = [
        np.log([r.median_s for r in rows if (r.problem, r.backend) == tuple(case[_KEY])])
        for rows in (old, new)
    ]
    middles = [stats.trim_mean(each, 0.2) for each in logs]
    expected = stats.ttest_ind(*logs, equal_var=False, trim=0.2)  # Yuen 1974
    middle = middles[0] - middles[1]
    half = stats.t.ppf(0.975, expected.df) * middle / expected.statistic
    assert case["change"] == pytest.approx(np.exp(middle))
    assert case["change_ci_low"] == pytest.approx(np.exp(middle - abs(half)))
    assert case["change_ci_high"] == pytest.approx(np.exp(middle + abs(half)))


_KEY = ["problem", "backend"]


def test_an_unpaired_pass_more_or_less_does_no_harm(write: Write) -> None:
    old = [r for r in measured(1) if r.backend != "im2col" or r.pass_index < 3]
    found = compare(write("old", old), write("new", measured(2)))
    assert set(verdicts(found, "im2col")) <= {"same", "undecided"}
    assert found.means["change_ci_low"].notna().all()


def test_one_pass_decides_nothing(write: Write) -> None:
    runs = write("old", measured(1, passes=1)), write("new", measured(2, seconds=slowed(9)))
    found = compare(*runs, absolute=True)
    assert set(found.cases["verdict"]) == {"undecided"}
    assert found.cases["change_ci_low"].isna().all()
    assert found.means["change_ci_low"].isna().all()


def broken(status: str) -> list[Row]:
    return [
        replace(row, status=status, reason="because [bold]|", median_s=None)
        if (row.backend, row.in_channels, row.input_size) == ("separable", 64, "28x28")
        else row
        for row in measured(2)
    ]


@pytest.mark.parametrize("status", ["mismatch", "crash", "error", "timeout", "out_of_memory"])
def test_what_was_ok_and_fails_now_is_a_regression(write: Write, status: str) -> None:
    found = compare(write("old", measured(1)), write("new", broken(status)))
    assert found.cases["regression"].sum() == 1
    assert "1 failed" in comparison.headline(found)
    named = f"{status}, ok before: separable on C64 28x28: because [bold]|"
    assert named in comparison.notes(found)


def test_cases_that_are_skipped_or_ok_now_are_counted(write: Write) -> None:
    old, new = write("old", measured(1)), write("new", broken("skipped"))
    there, back = compare(old, new), compare(new, old)
    assert not there.cases["regression"].any()
    for found in (there, back):
        assert any("1 case, such as separable on C64 28x28" in n for n in comparison.notes(found))


def test_cases_of_one_run_only_are_counted(write: Write) -> None:
    old = [row for row in measured(1) if row.input_size != "14x14"]
    new = [row for row in measured(2) if row.in_channels != 64]
    found = compare(write("old", old), write("new", new))
    assert found.cases["status_new"].isna().sum() == 3
    assert found.cases["status_old"].isna().sum() == 3
    notes = " ".join(comparison.notes(found))
    assert "3 cases, such as im2col on C64 28x28" in notes
    assert "3 cases, such as im2col on C16 14x14" in notes


def test_a_case_whose_baseline_failed_has_no_verdict(write: Write) -> None:
    new = [
        replace(row, status="timeout", median_s=None)
        if (row.backend, row.in_channels) == ("torch_conv", 64)
        else row
        for row in measured(2)
    ]
    found = compare(write("old", measured(1)), write("new", new))
    assert verdicts(found, "im2col").count("") == 2
    assert "4 cases" in comparison.notes(found)[-1]
    assert found.cases["regression"].sum() == 2


def test_a_run_of_one_backend_is_compared_by_plain_times(write: Write) -> None:
    alone = {"backends": ("torch_conv",)}
    found = compare(write("old", measured(1, **alone)), write("new", measured(2, **alone)))
    assert found.baseline is None
    assert set(found.cases["verdict"]) <= {"same", "undecided"}


def test_cases_match_whatever_their_version_or_device_name(write: Write) -> None:
    new = [replace(row, backend_version="2", device_name="other") for row in measured(2)]
    found = compare(write("old", measured(1)), write("new", new))
    assert found.cases["new_s"].notna().all()


def test_hot_and_cold_caches_are_not_compared(write: Write) -> None:
    cold = [replace(row, cache="cold") for row in measured(2)]
    old = write("old", measured(1))
    assert not compare(old, write("cold", cold)).judged.any()
    both = compare(old, write("both", [*measured(2), *cold]))
    assert both.cases["status_old"].isna().sum() == len(PROBLEMS) * len(BACKENDS)


SETTINGS = made.ENVIRONMENT["settings"]
OTHERS = {
    "settings.tf32: False against True": {"settings": SETTINGS | {"tf32": True}},
    "settings.threads: 1 against 2": {"settings": SETTINGS | {"threads": 2}},
    "settings.block_s: not recorded against 0.1": {"settings": SETTINGS | {"block_s": 0.1}},
    "machine.cpu: 'AMD EPYC 7B13' against 'Z80'": {
        "machine": made.ENVIRONMENT["machine"] | {"cpu": "Z80"}
    },
    "versions.torch: '2.13.0+cpu' against '3'": {
        "versions": made.ENVIRONMENT["versions"] | {"torch": "3"}
    },
    "environment.json: only the old run has one": {"bare": True},
}


@pytest.mark.parametrize("difference", OTHERS)
def test_runs_of_other_machines_or_settings_need_an_option(write: Write, difference: str) -> None:
    old, new = write("old", measured(1)), write("new", measured(2), **OTHERS[difference])
    with pytest.raises(ValueError, match="--across-machines") as refusal:
        compare(old, new)
    assert difference in str(refusal.value)
    assert "\n" not in str(refusal.value)
    found = compare(old, new, across_machines=True)
    assert found.differences == [difference]
    assert difference in comparison.notes(found)[-1]


def test_rows_of_another_environment_are_an_error(write: Write) -> None:
    new = [replace(row, environment_id="e1") for row in measured(2)]
    runs = write("old", measured(1), bare=True), write("new", new, bare=True)
    with pytest.raises(ValueError, match="environment_id: 'e0' against 'e1'"):
        compare(*runs)
    assert compare(*runs, across_machines=True).cases["new_s"].notna().all()
    mixed = write("mixed", [*measured(1), *new], bare=True)
    with pytest.raises(ValueError, match="'mixed' has rows of 2 environments"):
        compare(runs[0], mixed, across_machines=True)


@pytest.mark.parametrize("name", ["pytest-benchmark", "matplotlib", "pandas"])
def test_versions_of_what_does_not_measure_make_no_difference(write: Write, name: str) -> None:
    versions = made.ENVIRONMENT["versions"] | {name: "0"}
    rows = [replace(row, environment_id="e1") for row in measured(2)]
    new = write("new", rows, versions=versions, environment_id="e1")
    assert compare(write("old", measured(1)), new).differences == []


@pytest.mark.parametrize("name", ["seed", "case_timeout_s", "passes"])
def test_how_long_a_run_took_makes_it_no_other(write: Write, name: str) -> None:
    new = write("new", measured(2), settings=SETTINGS | {name: 123})
    assert compare(write("old", measured(1)), new).differences == []


class Output(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def type_(words: str) -> Output:
        monkeypatch.setattr(sys, "argv", ["convsweep", *shlex.split(words)])
        with pytest.raises(SystemExit) as ended:
            cli.main(shlex.split(words))
        return Output(int(ended.value.code or 0), *capsys.readouterr())

    return type_


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

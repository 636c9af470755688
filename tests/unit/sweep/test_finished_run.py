"""When resuming a run has nothing left to do."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from convsweep.cli.sweep_command import announce
from convsweep.measure.outcome import Outcome, RunInfo, make_row
from convsweep.results import store
from convsweep.results.schema import MEASUREMENTS_TABLE
from convsweep.sweep.environment import this_machine
from convsweep.sweep.request import Options, Request, read_request
from convsweep.sweep.resume import (
    completed_results,
    is_finished,
    metadata_of,
    require_resumable,
)

ROWS, COMMAND = 3, "convsweep run"


@pytest.fixture(scope="module")
def request_() -> Request:
    return read_request(Options(grid="smoke", passes=4, ceilings=False))


def written(folder: Path, own: Request, there: int = ROWS, **more: object) -> Path:
    """A run's folder with `there` rows; the content of a row is not looked at."""
    here = this_machine(own)
    settings = {here.id: {"case_timeout_s": own.case_timeout_s}}
    of_run = metadata_of([here], settings, COMMAND) | {"run_id": "run", "rows": ROWS}
    environment = of_run | {"end_reason": "all_passes"} | more
    (folder / store.ENVIRONMENT).write_text(json.dumps(environment))
    (folder / store.MEASUREMENTS).write_text("line\n" * (there + 1))
    (folder / store.SUMMARY).touch()
    return folder


def finished(run_dir: Path, own: Request) -> bool:
    """Whether resuming the run measures nothing; raises `ValueError` if it is another run."""
    return is_finished(run_dir, require_resumable(run_dir, [this_machine(own)], COMMAND), own)


def test_a_complete_run_is_finished_for_no_more_passes(tmp_path: Path, request_: Request) -> None:
    run_dir = written(tmp_path, request_)
    assert finished(run_dir, request_)
    assert finished(run_dir, replace(request_, passes=2))
    assert not finished(run_dir, replace(request_, passes=5))


@pytest.mark.parametrize(
    "more",
    [{"end_reason": "budget"}, {"end_reason": "converged"}, {"end_reason": None}, {"rows": 0}],
    ids=repr,
)
def test_any_other_run_is_not(more: dict[str, object], tmp_path: Path, request_: Request) -> None:
    assert not finished(written(tmp_path, request_, **more), request_)


@pytest.mark.parametrize(
    ("more", "named"),
    [({"environment_id": "another"}, "environment_id"), ({"margin": 0.5}, "--margin"),
     ({"settings": {"case_timeout_s": 7.0}}, "--case-timeout"), ({"request": {}}, "--backend")],
    ids=repr,
)  # fmt: skip
def test_a_run_of_other_options_is_refused(
    more: dict[str, object], named: str, tmp_path: Path, request_: Request
) -> None:
    with pytest.raises(ValueError, match=named):
        finished(written(tmp_path, request_, **more), request_)


@pytest.mark.parametrize(
    ("options", "named"),
    [("--budget 20s", "--budget was 20s and is not given now"),
     ("--budget=20s --case-timeout 7s", "--case-timeout was 7 and is")],
)  # fmt: skip
def test_settings_that_a_budget_chose_are_named_as_the_budget(
    options: str, named: str, tmp_path: Path, request_: Request
) -> None:
    more = {"command": f"{COMMAND} {options}", "settings": {"case_timeout_s": 7.0}}
    with pytest.raises(ValueError, match=f"resume: {named}"):
        finished(written(tmp_path, request_, **more), request_)


def test_a_budget_keeps_the_time_limit_of_its_run(tmp_path: Path, request_: Request) -> None:
    own = replace(request_, budget_s=60.0)
    other = {"settings": {"case_timeout_s": 7.0}, "end_reason": "converged"}
    assert finished(written(tmp_path, own, **other), own)


def test_a_run_that_was_killed_before_its_summary_is_not(tmp_path: Path, request_: Request) -> None:
    (written(tmp_path, request_) / store.SUMMARY).unlink()
    assert not finished(tmp_path, request_)


@pytest.mark.parametrize("rows", [ROWS - 1, ROWS + 1])
def test_a_run_with_another_number_of_rows_is_not(
    rows: int, tmp_path: Path, request_: Request
) -> None:
    assert not finished(written(tmp_path, request_, rows), request_)


@pytest.mark.parametrize(("time_s", "expected_s"), [(2e-4, 2e-4), (None, 1e-4)])
def test_a_row_without_a_time_has_its_median(
    time_s: float | None, expected_s: float, tmp_path: Path, request_: Request
) -> None:
    case, run = request_.cases[0], RunInfo("run", "e0", dict(request_.device_descriptions))
    outcome = Outcome("ok", median_s=1e-4, time_s=time_s)
    with closing(MEASUREMENTS_TABLE.open(tmp_path)) as file:
        file.append(make_row(run, case, request_.backends[case.backend], 0, outcome))
    rows = MEASUREMENTS_TABLE.load_completed(tmp_path).rows
    assert completed_results(rows, request_.cases)[0, case].time_s == expected_s


@pytest.mark.parametrize("spent_s", [0.0, 50.0])
def test_only_a_new_run_needs_time_for_its_start(
    tmp_path: Path, request_: Request, spent_s: float
) -> None:
    own = replace(request_, budget_s=0.5 + spent_s, started_s=monotonic() - spent_s)
    with pytest.raises(ValueError, match=f"{own.budget_s:g} s .* or more"):
        announce(tmp_path, own, resume=False)
    written(tmp_path, own, end_reason="budget")
    assert announce(tmp_path, own, resume=True) is None

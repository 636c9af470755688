"""When resuming a run has nothing left to do."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from convsweep.results import store
from convsweep.sweep.request import Options, Request, read_request
from convsweep.sweep.resume import is_finished
from convsweep.system.environment import describe

ROWS = 3


@pytest.fixture(scope="module")
def request_() -> Request:
    return read_request(Options(grid="smoke", passes=4, ceilings=False))


def written(folder: Path, own: Request, there: int = ROWS, **more: object) -> Path:
    """A run's folder with `there` rows; the content of a row is not looked at."""
    environment = {
        **describe(dict(own.device_descriptions)),
        "baseline": own.baseline,
        "margin": own.margin,
        "request": own.to_metadata(),
        "settings": {"case_timeout_s": own.case_timeout_s},
        "end_reason": "all_passes",
        "rows": ROWS,
        **more,
    }
    (folder / store.ENVIRONMENT).write_text(json.dumps(environment))
    (folder / store.MEASUREMENTS).write_text("line\n" * (there + 1))
    (folder / store.SUMMARY).touch()
    return folder


def test_a_complete_run_is_finished_for_no_more_passes(tmp_path: Path, request_: Request) -> None:
    run_dir = written(tmp_path, request_)
    assert is_finished(run_dir, request_)
    assert is_finished(run_dir, replace(request_, passes=2))
    assert not is_finished(run_dir, replace(request_, passes=5))
    assert not is_finished(run_dir, replace(request_, case_timeout_s=7.0))
    assert not is_finished(run_dir, replace(request_, cases=request_.cases[1:]))


@pytest.mark.parametrize(
    "more",
    [{"end_reason": "budget"}, {"end_reason": None}, {"environment_id": "another"},
     {"margin": 0.5}, {"request": {}}, {"rows": 0}],
    ids=repr,
)  # fmt: skip
def test_any_other_run_is_not(more: dict[str, object], tmp_path: Path, request_: Request) -> None:
    assert not is_finished(written(tmp_path, request_, **more), request_)


def test_a_run_that_was_killed_before_its_summary_is_not(tmp_path: Path, request_: Request) -> None:
    (written(tmp_path, request_) / store.SUMMARY).unlink()
    assert not is_finished(tmp_path, request_)


@pytest.mark.parametrize("rows", [ROWS - 1, ROWS + 1])
def test_a_run_with_another_number_of_rows_is_not(
    rows: int, tmp_path: Path, request_: Request
) -> None:
    assert not is_finished(written(tmp_path, request_, rows), request_)

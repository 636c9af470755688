"""Requests of studies: what is refused, and what a resumed study must have in common."""

from typing import Any

import pytest

from convsweep.accuracy.session import (
    read_request,
    require_same,
)

BEGUN = {
    "run_id": "a-study",
    "environment_id": "e0",
    "request": {
        "datasets": {"digits": "00"}, "seeds": 5, "threads": 1, "epochs": {"digits": 12},
    },
    "settings": {"batch_size": 64},
}  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"datasets": {"mnist": "11"}}, "--dataset was digits, and is mnist now"),
        ({"datasets": {"digits": 0, "mnist": 1}}, "--dataset was digits, and is digits, mnist now"),
        ({"seeds": 6}, "--seeds was 5, and is 6 now"),
        ({"threads": 2}, "--threads was 1, and is 2 now"),
        ({"epochs": {"digits": 1}}, "--epochs for digits was 12, and is 1 now"),
        ({"datasets": {"digits": "77"}}, "the data of digits have changed since the start"),
    ],
)  # fmt: skip
def test_a_refused_resume_speaks_as_the_user_types(
    request_: dict[str, object], reason: str
) -> None:
    now = {**BEGUN, "request": {**BEGUN["request"], **request_}}  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=f"^can't resume: {reason}$"):
        require_same(BEGUN, now)
    require_same(BEGUN, BEGUN)


def test_another_machine_or_a_partial_request_refuses_a_resume_in_a_line() -> None:
    with pytest.raises(ValueError, match="the machine or the version of a package"):
        require_same(BEGUN, {**BEGUN, "environment_id": "e1"})
    for damaged in ({}, {"datasets": {}, "epochs": {}}):
        with pytest.raises(ValueError, match=r"^can't resume: [^\n]+$"):
            require_same({**BEGUN, "request": damaged}, BEGUN)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"datasets": ["cats"]},
            "'cats' is unknown; choose from digits, mnist, indian_pines",
        ),
        ({"seeds": 0}, "--seeds 0 is not a whole number from 1 to 1000"),
        ({"threads": 0}, "--threads 0 is not"),
        ({"epochs": -1}, "--epochs -1 is not"),
    ],
)
def test_a_wrong_request_is_one_line(options: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        read_request(**options)
    assert expected in str(refused.value)

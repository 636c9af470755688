"""What a case's failure is called, and that a reason is one line however it was raised."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convsweep.formatting import one_line
from convsweep.measure.outcome import failure


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            "out_of_memory",
        ),
        (RuntimeError("expected 4 channels"), "error"),
        (ZeroDivisionError("division by zero"), "error"),
    ],
)
def test_a_failure_has_its_status_and_names_its_kind(error: Exception, status: str) -> None:
    outcome = failure(error)
    assert outcome.status == status
    assert str(outcome.reason).startswith(type(error).__name__)


def test_what_torch_raises_without_memory_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**58, dtype=torch.uint8)
    assert failure(raised.value).status == "out_of_memory"


@given(st.text(max_size=2000))
def test_a_reason_is_one_short_printable_line(text: str) -> None:
    line = one_line(text)
    assert line == "" or line.isprintable()
    assert len(line) <= 300

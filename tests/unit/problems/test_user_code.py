"""What the user's code prints, reads and raises."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from convsweep.problems.user_code import UserCodeError, user_code


def talk() -> None:
    print("from Python")  # noqa: T201
    os.write(1, b"from a descriptor\n")
    subprocess.run(["echo", "from a child"], check=True)


@pytest.mark.parametrize("shown", [True, False])
def test_nothing_that_code_prints_is_on_stdout(
    capfd: pytest.CaptureFixture[str], shown: bool
) -> None:
    with user_code(shown):
        talk()
        print("aside", file=sys.stderr)  # noqa: T201
    print("after")  # noqa: T201
    out, err = capfd.readouterr()
    assert out == "after\n"
    assert (sorted(err.splitlines()) if shown else err) == (
        ["aside", "from Python", "from a child", "from a descriptor"] if shown else ""
    )


def raising(error: BaseException) -> Callable[[], object]:
    def fail() -> None:
        raise error

    return fail


class Outside(BaseException):
    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError


def read_descriptor() -> None:
    if not os.read(0, 1):
        raise EOFError


ERRORS = (SystemExit(0), Outside(), KeyboardInterrupt(), GeneratorExit(), StopIteration(),
          ValueError("two\nlines"))  # fmt: skip


@pytest.mark.parametrize("fail", [*map(raising, ERRORS), input, breakpoint, read_descriptor])
def test_whatever_code_raises_is_one_line(fail: Callable[[], object]) -> None:
    with pytest.raises(UserCodeError, match=r"\A\w+[^\n]*\Z"), user_code():
        fail()


def test_ctrl_c_stays_an_interrupt() -> None:
    handler = signal.default_int_handler
    inherited = signal.signal(signal.SIGINT, handler)  # processes in the background ignore it
    try:
        with pytest.raises(KeyboardInterrupt), user_code(), user_code():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, inherited)

"""Captured output: nothing reaches the user, and the descriptors are those of before."""

import os
import subprocess
import sys

import psutil
import pytest

from convsweep.system.streams import captured_output


@pytest.fixture
def descriptors(capfd: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    return capfd


def files_of(*descriptors: int) -> list[tuple[int, int]]:
    return [(os.fstat(one).st_dev, os.fstat(one).st_ino) for one in descriptors]


def test_lines_of_both_descriptors_are_captured_in_their_order(
    descriptors: pytest.CaptureFixture[str],
) -> None:
    before = files_of(1, 2)
    with captured_output() as lines:
        os.write(1, b"one\n")
        os.write(2, b"two\n\xff\n")
    assert lines == ["one", "two", "\ufffd"]
    assert files_of(1, 2) == before
    assert descriptors.readouterr() == ("", "")


def test_an_error_restores_the_descriptors(descriptors: pytest.CaptureFixture[str]) -> None:
    before, opened = files_of(1, 2), psutil.Process().num_fds()
    with pytest.raises(ZeroDivisionError), captured_output():
        os.write(1, bytes([1 // 0]))
    assert files_of(1, 2) == before
    os.write(1, b"after")
    assert descriptors.readouterr().out == "after"
    assert psutil.Process().num_fds() == opened


CLOSED = """
import os, sys
from convsweep.system.streams import captured_output
{before}
with captured_output() as lines:
    os.write(1, b"one\\n"); os.write(2, b"two\\n")
assert lines == ["one", "two"], lines
{after}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors of POSIX")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("os.close(1)", "assert not os.path.exists('/proc/self/fd/1')"),
        ("os.close(1); os.close(2)", ""),
        ("sys.stdout = sys.stderr = None", ""),
        ("os.dup2(os.open('/dev/full', os.O_WRONLY), 1)", ""),
    ],
)
def test_standard_output_may_be_closed_missing_or_full(before: str, after: str) -> None:
    code = CLOSED.format(before=before, after=after)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, b""), ended.stderr

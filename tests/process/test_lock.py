"""One writer a run, however the last one ended."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from convsweep.results.lock import LOCK, locked
from convsweep.results.store import require_new

HOLDER = """
import sys
from pathlib import Path
from convsweep.results.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of `tmp_path / "run"`."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def refused_lock(run_dir: Path) -> str:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused, locked(run_dir):
        pass
    assert repr(str(run_dir)) in str(refused.value)
    return str(refused.value)


def test_a_second_run_on_one_folder_is_refused(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    message = refused_lock(tmp_path / "run")
    assert message.endswith(f"is being written by another run (process {holder.pid})")
    assert refused_lock(tmp_path / "run") == message
    with locked(tmp_path / "another"):
        pass


@pytest.mark.parametrize("end", ["killed", "finished"])
def test_a_lock_ends_with_its_holder(
    tmp_path: Path, holder: subprocess.Popen[str], end: str
) -> None:
    holder.kill() if end == "killed" else holder.stdin.close()
    holder.wait()
    assert (tmp_path / "run" / LOCK).exists() == (end == "killed")
    require_new(tmp_path / "run")
    with locked(tmp_path / "run"):
        assert "being written" in refused_lock(tmp_path / "run")
    if end == "killed":
        assert list((tmp_path / "run").iterdir()) == []
    else:  # a folder that was made for nothing is gone again
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", ["", "words", "1" * 30, "\0"])
def test_a_lock_that_does_not_say_whose_it_is_holds_too(
    tmp_path: Path, holder: subprocess.Popen[str], content: str
) -> None:
    (tmp_path / "run" / LOCK).write_text(content)
    assert refused_lock(tmp_path / "run").endswith("by another run")


def test_no_lock_is_taken_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for run_dir in (tmp_path / "file", tmp_path / "file" / "below"):
        assert "can't be written" in refused_lock(run_dir)


def test_an_exception_gives_the_lock_back(tmp_path: Path) -> None:
    with suppress(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path):
        pass

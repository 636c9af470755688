"""Standard output and error that are closed, full, or of an encoding with few characters."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import synthetic_runs as made

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="other devices and signals")
FULL = Path("/dev/full")
ASCII = {"PYTHONIOENCODING": "ascii:strict"}
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0"}


def convsweep(
    words: Sequence[str | Path], out: int, err: int = subprocess.PIPE, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "convsweep", *map(str, words)]
    return subprocess.run(command, stdout=out, stderr=err, env={**os.environ, **variables})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = made.rows(made.grid((4, 16), (7,), (1, 3)), noise=1e-3)
    return made.write(tmp_path_factory.mktemp("output") / "run", rows, made.ENVIRONMENT)


@pytest.mark.skipif(not FULL.exists(), reason="this system has no full device")
@pytest.mark.parametrize("words", ["--help", "list grids", "export RUN --format csv"])
def test_a_full_device_is_one_line_and_a_code_of_its_own(words: str, run: Path) -> None:
    with FULL.open("wb") as full:
        done = convsweep(words.replace("RUN", str(run)).split(), full.fileno())
        assert done.returncode == 74
        assert done.stderr.count(b"\n") == 1
        assert done.stderr.startswith(b"convsweep: ")
        silent = convsweep(["fly"], full.fileno(), full.fileno())
        assert silent.returncode == 2


@pytest.mark.parametrize("words", ["--help", "list grids", "compare RUN RUN"])
def test_a_reader_that_went_away_ends_a_command_silently(words: str, run: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = convsweep(words.replace("RUN", str(run)).split(), writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("variables", [ASCII, C_LOCALE])
def test_text_is_written_in_the_characters_that_the_encoding_has(
    variables: dict[str, str], run: Path
) -> None:
    done = convsweep(["best", run], subprocess.PIPE, **variables)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b" us" in done.stdout
    assert done.stdout.isascii()


def test_closed_streams_do_not_give_their_numbers_to_files_here_or_in_a_child(
    tmp_path: Path,
) -> None:
    script = (
        "import os, subprocess, sys; from convsweep.system.streams import guard_streams\n"
        f"guard_streams(); file = open({str(tmp_path / 'file')!r}, 'w'); print('x' * 9**5)\n"
        "child = subprocess.run([sys.executable, '-c', 'import os; os.write(1, b\"x\")'])\n"
        "os.write(1, b'x'); os.write(2, b'x'); os._exit(child.returncode or file.fileno())"
    )
    closed = 'exec "$0" -c "$1" <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", closed, sys.executable, script])
    assert done.returncode > 2
    assert not (tmp_path / "file").read_bytes()


def test_what_a_model_prints_in_a_worker_does_not_fail_there() -> None:
    script = (
        "import sys; from convsweep.system.streams import guard_streams; guard_streams()\n"
        "for file in (sys.stdout, sys.stderr): print('\\xe9' * 9**5, file=file, flush=True)"
    )
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, stdout=writer, stderr=writer, env={**os.environ, **ASCII})
    os.close(writer)
    assert done.returncode == 0

"""Runs that are interrupted, told to end, or met by a second run on their folder."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from convsweep import cli
from convsweep.results import store
from convsweep.system.forkserver import isolated_start
from tests.support.run_processes import AXES, none_left, started


def start(out: Path, backend: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    """A run that goes on for long, in a process group of its own."""
    words = ["--backend", "torch_conv", "--backend", backend, "--case-timeout", "100s"]
    more = ["--baseline", "torch_conv", "--passes", "1000", "--out", str(out)]
    return started("run", "--no-ceilings", *AXES, *words, *more, environment=environment)


def wait_for_rows(out: Path, number: int) -> None:
    while not (out / store.MEASUREMENTS).exists() or len(store.load(out)) < number:
        time.sleep(0.1)


def test_one_interrupt_ends_a_run_after_the_row_and_it_can_be_resumed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    running = start(out, "outside_good", environment)
    wait_for_rows(out, 8)
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "--resume" in errors.strip().splitlines()[-1]
    assert none_left(running.pid)
    rows = store.load(out)
    assert (rows["status"] == "ok").all()
    assert (out / store.SUMMARY).exists()

    command = json.loads((out / store.ENVIRONMENT).read_text())["command"].split()[1:]
    again = started(*command, "--resume", environment=environment)
    wait_for_rows(out, len(rows) + 4)
    os.killpg(again.pid, signal.SIGINT)
    again.communicate(timeout=60)
    both = store.load(out)
    assert not both.duplicated(["problem", "backend", "pass_index"]).any()
    assert both.iloc[: len(rows)].equals(rows)


def test_a_second_interrupt_ends_a_run_at_once(environment: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    running = start(out, "outside_hangs", environment)
    while not (out / store.MEASUREMENTS).exists():
        time.sleep(0.05)
    time.sleep(2)
    os.killpg(running.pid, signal.SIGINT)
    time.sleep(0.5)
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 130
    [last] = errors.strip().splitlines()[-1:]
    assert last.startswith("convsweep: interrupted; ")
    assert f"--out {out} --resume" in last
    assert "Traceback" not in errors
    store.load(out)
    assert none_left(running.pid)


@pytest.mark.parametrize("after_s", [0.5, 1.5])
def test_an_interrupt_while_starting_ends_it_at_once(
    environment: dict[str, str], tmp_path: Path, after_s: float
) -> None:
    running = start(tmp_path / "run", "outside_good", environment)
    time.sleep(after_s)
    os.killpg(running.pid, signal.SIGINT)
    output, errors = running.communicate(timeout=60)
    assert (running.returncode, output) == (130, "")
    assert errors.lstrip("\n") == "convsweep: interrupted\n"  # click breaks the line of ^C
    assert not (tmp_path / "run").exists()
    assert none_left(running.pid)


def test_a_run_that_is_told_to_end_leaves_whole_files_and_no_process(
    environment: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    running = start(out, "outside_good", environment)
    wait_for_rows(out, 4)
    running.terminate()
    _, errors = running.communicate(timeout=60)
    assert running.returncode == -signal.SIGTERM
    assert all(" measured, " in line for line in errors.splitlines())
    assert none_left(running.pid)
    assert len(store.load(out)) >= 4


def test_a_second_run_on_a_folder_is_refused_in_a_line(
    environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    running = start(out, "outside_good", environment)
    wait_for_rows(out, 2)
    for words, reason in (
        ([], "is not an empty or new folder: it may hold another run"),
        (["--resume"], f"is being written by another run (process {running.pid})"),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(["run", "--no-ceilings", *AXES, "--out", str(out), *words])
        assert ended.value.code == 2
        assert capsys.readouterr().err == f"convsweep: {str(out)!r} {reason}\n"
    wait_for_rows(out, len(store.load(out)) + 2)  # it goes on
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate(timeout=60)
    assert none_left(running.pid)


def test_an_interrupt_while_a_process_starts_is_not_lost() -> None:
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        with isolated_start():
            signal.raise_signal(signal.SIGINT)
            started = True
        raise AssertionError("it was lost")
    assert started

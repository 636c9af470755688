"""Real measuring processes with backends that crash, hang, raise, lie or chatter."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import outside
import pytest

from convsweep import store

COMMAND = [sys.executable, "-m", "convsweep"]
AXES = ["--axis", "in_channels=2,3", "--axis", "size=5"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = outside.install(tmp_path_factory.mktemp("site"))
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def sweep(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    out = tmp_path_factory.mktemp("runs") / "faults"
    backends = ["torch_conv", *(f"outside_{name}" for name in EXPECTED)]
    words = [word for name in backends for word in ("--backend", name)]
    options = ["--passes", "2", "--case-timeout", "3s", "--out", str(out)]
    done = subprocess.run(
        [*COMMAND, "run", *AXES, *words, *options],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    return out, done


EXPECTED = {
    "good": ("ok", None),
    "chatty": ("ok", None),
    "wrong": ("mismatch", "over its bound"),
    "raises": ("error", "RuntimeError: no, | <b>not</b> today"),
    "exits": ("crash", "exit code 3"),
    "segfaults": ("crash", "SIGSEGV"),
    "hangs": ("timeout", "cut off at the limit of 3 s"),
    "broken": ("skipped", "a_library_that_is_not_installed"),
    "string": ("skipped", "not a convsweep.Backend"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_fault_has_its_status_and_reason_in_every_pass(
    name: str, sweep: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    rows = store.load(sweep[0])
    own = rows[rows["backend"] == f"outside_{name}"]
    status, words = EXPECTED[name]
    assert list(own["status"]) == [status] * 4
    assert sorted(own["pass_index"]) == [0, 0, 1, 1]
    if words is None:
        assert own["reason"].isna().all()
        assert (own["median_s"] > 0).all()
    else:
        assert own["reason"].str.contains(words, regex=False).all()
        assert own["median_s"].isna().all()


def test_no_fault_costs_another_case_its_row(
    sweep: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    rows = store.load(sweep[0])
    assert not rows.duplicated(["problem", "backend", "pass_index"]).any()
    assert len(rows) == 2 * 2 * (len(EXPECTED) + 1)
    assert set(rows.loc[rows["backend"] == "torch_conv", "status"]) == {"ok"}


def test_a_run_with_faults_exits_with_1_and_names_them(
    sweep: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    done = sweep[1]
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "crash: outside_segfaults on n1_ci2" in done.stdout


def test_check_finds_the_liar_alone(environment: dict[str, str]) -> None:
    words = ["--backend", "torch_conv", "--backend", "outside_good", "--backend", "outside_wrong"]
    done = subprocess.run(
        [*COMMAND, "check", *AXES, *words], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1
    assert "6 cases, 2 mismatches" in done.stdout
    assert done.stdout.count("mismatch: outside_wrong on") == 2


def start(out: Path, backend: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    """A run that goes on for long, in a process group of its own."""
    words = ["--backend", "torch_conv", "--backend", backend, "--case-timeout", "100s"]
    more = ["--baseline", "torch_conv", "--passes", "1000", "--out", str(out)]
    return subprocess.Popen(
        [*COMMAND, "run", *AXES, *words, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


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
    assert errors.strip().splitlines()[-1].endswith("the same command with --resume goes on")
    assert none_left(running.pid)
    rows = store.load(out)
    assert (rows["status"] == "ok").all()
    assert (out / store.SUMMARY).exists()

    command = json.loads((out / store.ENVIRONMENT).read_text())["command"].split()[1:]
    again = subprocess.Popen(
        [*COMMAND, *command, "--resume"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    wait_for_rows(out, len(rows) + 4)
    os.killpg(again.pid, signal.SIGINT)
    again.communicate(timeout=60)
    both = store.load(out)
    assert not both.duplicated(["problem", "backend", "pass_index"]).any()
    assert both.iloc[: len(rows)].equals(rows)

    fewer = [word if word != "1000" else "999" for word in command]
    refused = subprocess.run(
        [*COMMAND, *fewer, "--resume"], capture_output=True, text=True, env=environment
    )
    assert refused.returncode == 2
    assert "request.passes was 1000 and is 999 now" in refused.stderr
    assert store.load(out).equals(both)


def test_a_second_interrupt_ends_a_run_at_once(
    environment: dict[str, str], tmp_path: Path
) -> None:
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
    assert errors.strip().splitlines()[-1] == "convsweep: interrupted"
    assert "Traceback" not in errors
    store.load(out)
    assert none_left(running.pid)


def none_left(group: int, patience_s: float = 10.0) -> bool:
    """Whether the process group has ended, Python's own resource tracker a moment later."""
    given_up = time.monotonic() + patience_s
    while time.monotonic() < given_up:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False

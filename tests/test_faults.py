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
from convsweep.child import Child, Failed
from convsweep.contest import Finished, Working
from convsweep.record import Outcome

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


def test_an_interrupt_keeps_the_rows_and_leaves_no_process(
    environment: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = ["--backend", "torch_conv", "--backend", "outside_hangs", "--case-timeout", "100s"]
    running = subprocess.Popen(
        [*COMMAND, "run", *AXES, *words, "--baseline", "torch_conv", "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    while not (out / store.ENVIRONMENT).exists():
        time.sleep(0.05)
    time.sleep(4)
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 130
    assert errors.strip().splitlines()[-1] == "convsweep: interrupted"
    assert "Traceback" not in errors
    store.load(out)
    assert json.loads((out / store.ENVIRONMENT).read_text())["run_id"]
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


class Silent:
    """A connection that gives a few messages and then nothing more, or its end."""

    def __init__(self, messages: list[object], end: type[Exception] | None) -> None:
        self.messages, self.end = messages, end

    def send(self, cases: object) -> None:
        """Take the cases."""

    def poll(self, seconds: float) -> bool:
        return bool(self.messages) or self.end is not None

    def recv(self) -> object:
        if self.messages:
            return self.messages.pop(0)
        assert self.end is not None
        raise self.end


OK = Outcome("ok")


@pytest.mark.parametrize("end", [None, EOFError])
@pytest.mark.parametrize(
    ("messages", "blamed"),
    [
        ([], ["a", "b", "c"]),
        ([Working(1)], ["b"]),
        ([Working(0), Finished(0, OK)], ["b"]),
        ([Working(1), Finished(1, OK), Working(0)], ["a"]),
        ([Working(0), Finished(0, OK), Working(1), Finished(1, OK)], ["c"]),
    ],
)
def test_who_is_blamed_for_a_silence_or_an_end(
    messages: list[object], blamed: list[str], end: type[Exception] | None
) -> None:
    child = Child.__new__(Child)
    child._connection, child._limit_s = Silent(list(messages), end), 1.0
    child._crash = lambda: Outcome("crash", "ended")
    with pytest.raises(Failed) as failed:
        list(child.measure(["a", "b", "c"]))
    assert list(failed.value.cases) == blamed

"""Real measuring processes with backends that crash, hang, raise, lie or chatter."""

import resource
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from convsweep.results import store
from tests.support import faulty_backends as outside
from tests.support.run_processes import AXES, COMMAND, none_left, started

ONE_PROBLEM = ["--axis", "in_channels=2", "--axis", "size=5"]
MEMORY_LIMIT_BYTES = 2**30


class Swept(NamedTuple):
    """A run that has ended."""

    out: Path
    code: int
    output: str
    errors: str
    nobody_left: bool


@pytest.fixture(scope="module")
def sweep(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Swept:
    out = tmp_path_factory.mktemp("runs") / "faults"
    backends = ["torch_conv", *(f"outside_{name}" for name in EXPECTED)]
    words = [word for name in backends for word in ("--backend", name)]
    options = ["--passes", "2", "--case-timeout", "3s", "--out", str(out)]
    running = started(
        *("run", "--no-ceilings", *ONE_PROBLEM, *words, *options),
        environment=environment,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT_BYTES,) * 2),
    )
    output, errors = running.communicate(timeout=300)
    return Swept(out, running.returncode, output, errors, none_left(running.pid))


REASONS = {
    "segfaults": "killed by SIGSEGV",
    "aborts": "killed by SIGABRT",
    "exits": "exit code 3",
    "raises": "RuntimeError: no, | <b>not</b> today",
    "loops": "cut off at the limit of 3 s",
    "holds_the_gil": "cut off at the limit of 3 s",
    "grows": "MemoryError",
    "stops": "cut off at the limit of 3 s",
    "poisons": "device-side assert triggered",
}
EXPECTED = {
    **{kind: (status, REASONS[kind]) for kind, status in outside.FAULTS.items()},
    "good": ("ok", None),
    "tells": ("ok", None),
    "tells_wrongly": ("ok", None),
    "chatty": ("ok", None),
    "wrong": ("mismatch", "over its bound"),
    "kills_itself": ("crash", "killed by SIGSEGV"),
    "broken": ("skipped", "a_library_that_is_not_installed"),
    "string": ("skipped", "not a convsweep.Backend"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_fault_has_its_status_and_reason_in_every_pass(name: str, sweep: Swept) -> None:
    rows = store.load(sweep.out)
    own = rows[rows["backend"] == f"outside_{name}"]
    status, words = EXPECTED[name]
    assert list(own["status"]) == [status] * 2
    assert sorted(own["pass_index"]) == [0, 1]
    if words is None:
        assert own["reason"].isna().all()
        assert (own["median_s"] > 0).all()
    else:
        assert own["reason"].str.contains(words, regex=False).all()
        assert own["median_s"].isna().all()


def test_a_backend_tells_what_it_runs_or_is_traced_or_has_a_reason(sweep: Swept) -> None:
    rows = store.load(sweep.out)
    first = rows[rows["pass_index"] == 0].set_index("backend")
    assert first.loc["outside_tells", "implementation"] == "own kernel"
    assert first.loc["outside_tells", "reorders"] == 2
    assert first.loc["outside_good", "implementation"] == first.loc["torch_conv", "implementation"]
    assert pd.isna(first.loc["outside_tells_wrongly", "implementation"])
    assert "no, / <b>not</b> today" in first.loc["outside_tells_wrongly", "sample_flags"]


def test_no_fault_costs_another_case_its_row(sweep: Swept) -> None:
    rows = store.load(sweep.out)
    assert not rows.duplicated(["problem", "backend", "pass_index"]).any()
    assert len(rows) == 2 * (len(EXPECTED) + 1)
    assert set(rows.loc[rows["backend"] == "torch_conv", "status"]) == {"ok"}


def test_no_fault_leaves_a_process(sweep: Swept) -> None:
    assert sweep.nobody_left


def test_a_run_with_faults_exits_with_1_and_names_them(sweep: Swept) -> None:
    assert sweep.code == 1
    assert "Traceback" not in sweep.errors
    assert "crash: outside_segfaults on n1_ci2" in sweep.output


LIMITED = """
import sys
from dataclasses import replace
from convsweep.sweep import session
from convsweep.sweep.worker_pool import WorkerProcess
from convsweep.sweep.request import Options, read_request

if __name__ == "__main__":
    options = Options(axes=["in_channels=2", "size=5"], backends=sys.argv[2:])
    limited = lambda settings: WorkerProcess(replace(settings, memory_limit_bytes=int(sys.argv[1])))
    for case, outcome in session.check(read_request(options), lambda now: None, limited):
        print(case.backend, outcome.status)
"""


def test_memory_is_limited_however_it_is_taken(environment: dict[str, str]) -> None:
    names = ["outside_grows", "outside_grows_in_tensors", "outside_grows_natively"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(MEMORY_LIMIT_BYTES), *names, "torch_conv"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.stderr == ""
    found = dict(line.split() for line in done.stdout.splitlines())
    assert found == {**dict.fromkeys(names, "out_of_memory"), "torch_conv": "ok"}


def test_check_finds_the_liar_alone(environment: dict[str, str]) -> None:
    words = ["--backend", "torch_conv", "--backend", "outside_good", "--backend", "outside_wrong"]
    done = subprocess.run(
        [*COMMAND, "check", *AXES, *words], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1
    assert "6 cases, 2 mismatches" in done.stdout
    assert done.stdout.count("mismatch: outside_wrong on") == 2

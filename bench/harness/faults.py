"""Fault trials: nine kinds of faulty backend, run through the command line.

    python -m bench.harness.faults --times 10 --out results/harness

Every trial is one problem of a run with one faulty and one good backend. The faulty backends are
those of `tests/support/faulty_backends.py`.
"""

from __future__ import annotations

import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import click
import psutil

from bench.harness.timing_tools import ROOT
from convsweep.results import store
from tests.support import faulty_backends

FILE = "faults.csv"
GOOD = "torch_conv"

_LIMIT_S = {"timeout": 2}  # per case; enough for the good backend on a busy machine
_DEFAULT_LIMIT_S = 10
_POLL_INTERVAL_S = 0.02
_EXIT_TIMEOUT_S = 5.0  # for the run's remaining processes


@dataclass(frozen=True)
class Trial:
    """One fault and its consequences."""

    kind: str
    problem: str
    status: str
    expected: str
    right: bool
    """Whether the status is the expected one and the good backend's is `ok`."""
    next_case_s: float
    """From the fault or time limit to the row of the next case."""
    children_left: int
    """Processes left: the faulty one at that row, and those that outlive the run."""
    rows_lost: int
    rows_doubled: int


class FaultEvent(NamedTuple):
    """Time and process of a fault, logged by the backend."""

    seconds: float
    process: int


class ObservedRow(NamedTuple):
    """One row of the file, with the time it appeared."""

    seconds: float
    backend: str
    problem: str
    status: str
    faulty_left: bool
    """Whether the faulty process still existed."""


def try_kind(kind: str, times: int) -> list[Trial]:
    """Return `times` trials of one kind, from one run."""
    with tempfile.TemporaryDirectory(prefix="harness-") as name:
        folder = Path(name)
        log, out = folder / "log", folder / "run"
        running = _start(kind, times, folder, log, out)
        observed = list(_watch(running, out, log))
        left = _remaining_processes(running.pid)
        events = _fault_events(log)
    trials = [_trial(kind, problem, observed, events, left) for problem in events]
    if len(trials) != times:
        raise RuntimeError(f"{kind}: {len(trials)} faults in {times} trials")
    return trials


def _start(kind: str, times: int, folder: Path, log: Path, out: Path) -> subprocess.Popen[bytes]:
    site = folder / "site"
    site.mkdir()
    path = os.pathsep.join([str(faulty_backends.install(site)), os.environ.get("PYTHONPATH", "")])
    backends = ["--backend", GOOD, "--backend", f"outside_{kind}", "--baseline", GOOD]
    axes = ["--axis", f"in_channels=1:{times}:+1", "--axis", "size=5"]
    limit_s = _LIMIT_S.get(faulty_backends.FAULTS[kind], _DEFAULT_LIMIT_S)
    options = ["--passes", "1", "--case-timeout", f"{limit_s}s", "--out", str(out)]
    limit = (faulty_backends.MEMORY_LIMIT_BYTES,) * 2
    return subprocess.Popen(
        [sys.executable, "-m", "convsweep", "run", *axes, *backends, *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, faulty_backends.LOG: str(log)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, limit),
    )


def _watch(running: subprocess.Popen[bytes], out: Path, log: Path) -> Iterator[ObservedRow]:
    """Yield every row soon after it is written."""
    count, ended = 0, False
    while not ended:
        ended = running.poll() is not None
        rows = _rows(out)
        now = time.monotonic()
        events = _fault_events(log)
        for row in rows[count:]:
            event = events.get(row["problem"])
            left = event is not None and psutil.pid_exists(event.process)
            yield ObservedRow(now, row["backend"], row["problem"], row["status"], left)
        count = len(rows)
        time.sleep(_POLL_INTERVAL_S)


def _rows(out: Path) -> list[dict[str, str]]:
    path = out / store.MEASUREMENTS
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines(keepends=True)))


def _fault_events(log: Path) -> dict[str, FaultEvent]:
    """Return the last fault per problem."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    records = [line.split() for line in lines if line.startswith("act ")]
    return {
        record[2]: FaultEvent(float(record[4]), int(record[3]))
        for record in records
        if len(record) == 5
    }


def _remaining_processes(session: int) -> int:
    """Return the number of a finished run's processes that do not end in time."""
    deadline = time.monotonic() + _EXIT_TIMEOUT_S
    while (left := len(session_processes(session))) and time.monotonic() < deadline:
        time.sleep(_POLL_INTERVAL_S)
    return left


def session_processes(session: int) -> list[int]:
    """Return the running processes of a session."""
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            if os.getsid(process.pid) == session and process.info["status"] != "zombie":
                found.append(process.pid)
        except OSError:
            continue
    return found


def _trial(
    kind: str, problem: str, observed: list[ObservedRow], events: dict[str, FaultEvent], left: int
) -> Trial:
    faulty = [row for row in observed if (row.backend, row.problem) == (f"outside_{kind}", problem)]
    good = [row for row in observed if (row.backend, row.problem) == (GOOD, problem)]
    status = faulty[0].status if faulty else "none"
    expected = faulty_backends.FAULTS[kind]
    if expected == "timeout":
        fault_s = events[problem].seconds + _LIMIT_S[expected]
    elif expected == "out_of_memory":  # known with its row
        fault_s = faulty[0].seconds if faulty else 0.0
    else:
        fault_s = events[problem].seconds
    return Trial(
        kind=kind,
        problem=problem,
        status=status,
        expected=expected,
        right=status == expected and [row.status for row in good] == ["ok"],
        next_case_s=round(good[0].seconds - fault_s, 3) if good else float("inf"),
        children_left=int(bool(good) and good[0].faulty_left) + left,
        rows_lost=2 - bool(faulty) - bool(good),
        rows_doubled=max(0, len(faulty) - 1) + max(0, len(good) - 1),
    )


def try_all(times: int, out: Path, echo: Callable[[str], None] = lambda line: None) -> list[Trial]:
    """Run `times` trials of every kind; rewrite the file."""
    out.mkdir(parents=True, exist_ok=True)
    trials = []
    with (out / FILE).open("w", newline="", encoding="utf-8") as file:
        names = [field.name for field in fields(Trial)]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for kind in faulty_backends.FAULTS:
            found = try_kind(kind, times)
            writer.writerows(map(asdict, found))
            file.flush()
            echo(f"{kind}: {totals_line(found)}")
            trials += found
    return trials


def totals_line(trials: list[Trial]) -> str:
    """Return the totals in one line."""
    return (
        f"right status {sum(trial.right for trial in trials)} of {len(trials)}, "
        f"next case within {max(trial.next_case_s for trial in trials):.2f} s, "
        f"children left {sum(trial.children_left for trial in trials)}, "
        f"rows lost {sum(trial.rows_lost for trial in trials)}, "
        f"rows doubled {sum(trial.rows_doubled for trial in trials)}"
    )


@click.command()
@click.option("--times", metavar="N", type=click.IntRange(2), default=10)
@click.option("--out", metavar="DIR", type=Path, default=Path("results/harness"))
def main(times: int, out: Path) -> None:
    """Run sweeps with nine kinds of faulty backend and check the results."""
    click.echo(totals_line(try_all(times, out, echo=click.echo)))


if __name__ == "__main__":
    main()

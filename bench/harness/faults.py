"""Nine kinds of fault, each many times, through the command line: what a sweep makes of them.

    python -m bench.harness.faults --times 10 --out results/harness

Every trial is one problem of a run in which a faulty backend and a good one take part. The faulty
ones are those of the tests, in `tests/support/faulty_backends.py`.
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
from tests.support import faulty_backends as outside

FILE = "faults.csv"
GOOD = "torch_conv"

_LIMIT_S = {"timeout": 2}  # of a case; enough for the good backend on a busy machine
_USUAL_LIMIT_S = 10
_LOOK_EVERY_S = 0.02
_PATIENCE_S = 5.0  # for what the run has left to end


@dataclass(frozen=True)
class Trial:
    """One fault, and what came after it."""

    kind: str
    problem: str
    status: str
    expected: str
    right: bool
    """The status is the expected one, and the good backend's is `ok`."""
    next_case_s: float
    """From the crash, the error or the time limit to the next case's row on the disk."""
    children_left: int
    """The faulty process, if it is still there at that row, and the run's, if any outlives it."""
    rows_lost: int
    rows_doubled: int


class FaultEvent(NamedTuple):
    """When a backend was about to do something wrong, and in which process."""

    seconds: float
    process: int


class ObservedRow(NamedTuple):
    """A row as somebody watching the file sees it."""

    seconds: float
    backend: str
    problem: str
    status: str
    faulty_left: bool
    """Whether the process of the problem's fault is still there."""


def try_kind(kind: str, times: int) -> list[Trial]:
    """As many trials of one kind, in one run."""
    with tempfile.TemporaryDirectory(prefix="harness-") as name:
        folder = Path(name)
        log, out = folder / "log", folder / "run"
        running = _start(kind, times, folder, log, out)
        seen = list(_watch(running, out, log))
        left = _left(running.pid)
        acts = _acts(log)
    trials = [_trial(kind, problem, seen, acts, left) for problem in acts]
    if len(trials) != times:
        raise RuntimeError(f"{kind}: {len(trials)} faults in {times} trials")
    return trials


def _start(kind: str, times: int, folder: Path, log: Path, out: Path) -> subprocess.Popen[bytes]:
    site = folder / "site"
    site.mkdir()
    path = os.pathsep.join([str(outside.install(site)), os.environ.get("PYTHONPATH", "")])
    backends = ["--backend", GOOD, "--backend", f"outside_{kind}", "--baseline", GOOD]
    axes = ["--axis", f"in_channels=1:{times}:+1", "--axis", "size=5"]
    limit_s = _LIMIT_S.get(outside.FAULTS[kind], _USUAL_LIMIT_S)
    options = ["--passes", "1", "--case-timeout", f"{limit_s}s", "--out", str(out)]
    limit = (outside.MEMORY_LIMIT_BYTES,) * 2
    return subprocess.Popen(
        [sys.executable, "-m", "convsweep", "run", *axes, *backends, *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, outside.LOG: str(log)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, limit),
    )


def _watch(running: subprocess.Popen[bytes], out: Path, log: Path) -> Iterator[ObservedRow]:
    """Every row, soon after it is on the disk."""
    count, ended = 0, False
    while not ended:
        ended = running.poll() is not None
        rows = _rows(out)
        now = time.monotonic()
        acts = _acts(log)
        for row in rows[count:]:
            act = acts.get(row["problem"])
            left = act is not None and psutil.pid_exists(act.process)
            yield ObservedRow(now, row["backend"], row["problem"], row["status"], left)
        count = len(rows)
        time.sleep(_LOOK_EVERY_S)


def _rows(out: Path) -> list[dict[str, str]]:
    path = out / store.MEASUREMENTS
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines(keepends=True)))


def _acts(log: Path) -> dict[str, FaultEvent]:
    """By problem; the last one, where a backend acted more often."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    words = [line.split() for line in lines if line.startswith("act ")]
    return {word[2]: FaultEvent(float(word[4]), int(word[3])) for word in words if len(word) == 5}


def _left(session: int) -> int:
    """How many processes of a run that has ended are still there a little later."""
    given_up = time.monotonic() + _PATIENCE_S
    while (left := len(members(session))) and time.monotonic() < given_up:
        time.sleep(_LOOK_EVERY_S)
    return left


def members(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            if os.getsid(process.pid) == session and process.info["status"] != "zombie":
                found.append(process.pid)
        except OSError:
            continue
    return found


def _trial(
    kind: str, problem: str, seen: list[ObservedRow], acts: dict[str, FaultEvent], left: int
) -> Trial:
    faulty = [row for row in seen if (row.backend, row.problem) == (f"outside_{kind}", problem)]
    good = [row for row in seen if (row.backend, row.problem) == (GOOD, problem)]
    status = faulty[0].status if faulty else "none"
    expected = outside.FAULTS[kind]
    if expected == "timeout":
        fault_s = acts[problem].seconds + _LIMIT_S[expected]
    elif expected == "out_of_memory":  # known when it is told
        fault_s = faulty[0].seconds if faulty else 0.0
    else:
        fault_s = acts[problem].seconds
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
    """Every kind so many times; the file is written anew."""
    out.mkdir(parents=True, exist_ok=True)
    trials = []
    with (out / FILE).open("w", newline="", encoding="utf-8") as file:
        names = [field.name for field in fields(Trial)]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for kind in outside.FAULTS:
            found = try_kind(kind, times)
            writer.writerows(map(asdict, found))
            file.flush()
            echo(f"{kind}: {told(found)}")
            trials += found
    return trials


def told(trials: list[Trial]) -> str:
    """The totals in a line."""
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
    """Let backends fail in nine ways, and see what becomes of the next case."""
    click.echo(told(try_all(times, out, echo=click.echo)))


if __name__ == "__main__":
    main()

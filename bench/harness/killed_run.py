"""One run that is killed and resumed until it finishes, and what each kill has lost."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.harness.faults import session_processes
from tests.support import faulty_backends

PROBLEMS, PASSES, BACKENDS = 12, 5, ("outside_good", "outside_good_too")
ROWS = PROBLEMS * PASSES * len(BACKENDS)
_POLL_INTERVAL_S = 0.005
_TIMEOUT_S = 300.0
Start = Callable[[list[str], Path], int]
"""Starts the command line with these arguments in its own session; returns the process id."""


@dataclass(frozen=True)
class Kill:
    """One kill, and the state after the next start."""

    way: str
    """How the killed run was started: `forked` or `command`."""
    run: int
    start: int
    """Index within the run; starts above 0 resume."""
    moment_s: float
    """Time after the start."""
    rows_before: int
    """Rows on the disk at the kill."""
    rows_after: int
    """Rows at the end of the next start."""
    lost: int
    """Rows of before that are missing after."""
    doubled: int
    redone: int
    """Cases of one problem that had begun without a row."""
    samples_wrong: int
    """Rows whose samples do not exist exactly once."""


@dataclass(frozen=True)
class _PendingKill:
    """Kill whose consequences are not known yet."""

    way: str
    start: int
    moment_s: float
    rows: list[bytes]
    redone: int


class Run:
    """One sweep, started and killed until it finishes."""

    def __init__(self, folder: Path, number: int) -> None:
        self.out, self.log = folder / f"run-{number}", folder / f"run-{number}.log"
        self.number, self._starts = number, 0
        self._cut: _PendingKill | None = None

    def start_and_kill(self, way: str, start: Start, moment_s: float | None) -> Iterator[Kill]:
        """Start the run and kill it after `moment_s`; yield the result of the previous kill.

        Raises:
            RuntimeError: the run failed or its rows are wrong.
        """
        rows, begun = len(self.rows()), self._count_prepared()
        pid = start(self._arguments(), self.log)
        code = _wait_for_exit(pid, moment_s)
        known = self.rows()
        if code is None:
            _kill_all(pid)
        elif code:
            raise RuntimeError(f"run {self.number}: exit code {code}\n{self._log_end()}")
        now = self.rows()
        if now[: len(known)] != known:
            raise RuntimeError(f"run {self.number}: rows were lost by the kill itself")
        if self._cut:
            yield self._compare(self._cut, now, ended=code == 0)
        redone = self._count_prepared() - begun - (len(now) - rows)
        cut = _PendingKill(way, self._starts, moment_s or 0.0, now, redone)
        self._cut = None if code == 0 else cut
        self._starts += 1
        if code == 0 and len(now) != ROWS:
            raise RuntimeError(f"run {self.number}: {len(now)} rows at the end, {ROWS} expected")

    @property
    def ended(self) -> bool:
        """Whether the run has finished."""
        return self._starts > 0 and self._cut is None

    def _arguments(self) -> list[str]:
        axes = ["--axis", f"in_channels=1:{PROBLEMS}:+1", "--axis", "size=3"]
        backends = [word for name in BACKENDS for word in ("--backend", name)]
        options = ["--baseline", BACKENDS[0], "--passes", str(PASSES), "--out", str(self.out)]
        resume = ["--resume"] if (self.out / "environment.json").exists() else []
        return ["run", "--no-ceilings", *axes, *backends, *options, *resume]

    def rows(self) -> list[bytes]:
        """Return the complete lines below the header."""
        path = self.out / "measurements.csv"
        content = path.read_bytes() if path.exists() else b""
        return content[: content.rfind(b"\n") + 1].splitlines()[1:]

    def _count_prepared(self) -> int:
        """Return the number of prepared backends."""
        path = Path(os.environ[faulty_backends.LOG])
        return path.read_bytes().count(b"prepare ") if path.exists() else 0

    def _log_end(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:]

    def _compare(self, cut: _PendingKill, now: list[bytes], ended: bool) -> Kill:
        from convsweep.results.schema import MEASUREMENTS_TABLE

        table = MEASUREMENTS_TABLE.load_completed(self.out).rows
        measurements = Counter(
            zip(table["problem"], table["backend"], table["pass_index"], strict=True)
        )
        return Kill(
            way=cut.way,
            run=self.number,
            start=cut.start,
            moment_s=round(cut.moment_s, 3),
            rows_before=len(cut.rows),
            rows_after=len(now),
            lost=(Counter(cut.rows) - Counter(now)).total(),
            doubled=len(table) - len(measurements),
            redone=cut.redone,
            samples_wrong=self._samples_wrong(table["samples"].tolist(), ended),
        )

    def _samples_wrong(self, expected: Sequence[int], ended: bool) -> int:
        """Count wrong samples; a killed run may have samples of one more row."""
        from tests.support.samples import load_samples

        there = Counter(load_samples(self.out)["row"].tolist())
        wrong = sum(there[row] != samples for row, samples in enumerate(expected))
        beyond = [row for row in there if row >= len(expected)]
        return wrong + len(beyond) - (not ended and beyond == [len(expected)])


def _wait_for_exit(pid: int, limit_s: float | None) -> int | None:
    """Return the exit code of a process, or None after the limit."""
    deadline = time.monotonic() + (_TIMEOUT_S if limit_s is None else limit_s)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return None
        time.sleep(min(_POLL_INTERVAL_S, left_s))


def _kill_all(session: int) -> None:
    """Kill every process of the session at once and wait until none is left."""
    try:
        os.killpg(session, signal.SIGKILL)
    except ProcessLookupError:  # it has no session of its own yet
        os.kill(session, signal.SIGKILL)
    os.waitpid(session, 0)
    deadline = time.monotonic() + _TIMEOUT_S
    while session_processes(session):
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes of session {session} survive kill -9")
        time.sleep(_POLL_INTERVAL_S)

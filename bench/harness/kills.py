"""`kill -9` of a whole run at random moments, and what there is after `--resume`.

    python -m bench.harness.kills --times 200 --out results/harness

Main process, fork server and measuring processes die at once. To be quick, most runs are the
command line called in a process forked off this one, which has imported everything; the last ones
are started as a user starts them. Either way the fork server is a new one and imports anew.
"""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import click
import psutil

from bench.harness.timing_tools import ROOT
from bench.harness.faults import members
from tests.support import faulty_backends as outside

FILE = "kills.csv"
SEED = 20261123
PROBLEMS, PASSES, BACKENDS = 12, 5, ("outside_good", "outside_good_too")
ROWS = PROBLEMS * PASSES * len(BACKENDS)

_SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_LOOK_EVERY_S = 0.005
_GIVE_UP_S = 300.0

Start = Callable[[list[str], Path], int]
"""Starts the command line with these words in a session of its own; gives its process."""


@dataclass(frozen=True)
class Kill:
    """One kill, and what the next start made of it."""

    way: str
    """How the killed run was started: `forked` or `command`."""
    run: int
    start: int
    """Of this run; those above 0 resume."""
    moment_s: float
    """After the start."""
    rows_before: int
    """On the disk when it was killed."""
    rows_after: int
    """When the next start ended, by a kill or by itself."""
    lost: int
    """Rows that were there before and aren't after."""
    doubled: int
    redone: int
    """Cases that had begun, and had no row yet: of one problem, whose backends take turns."""
    samples_wrong: int
    """Rows whose samples are not there exactly once."""


@dataclass(frozen=True)
class _PendingKill:
    """A kill whose consequences are not known yet."""

    way: str
    start: int
    moment_s: float
    rows: list[bytes]
    redone: int


class Run:
    """One sweep, started and killed until it comes to its end."""

    def __init__(self, folder: Path, number: int) -> None:
        self.out, self.log = folder / f"run-{number}", folder / f"run-{number}.log"
        self.number, self._starts = number, 0
        self._cut: _PendingKill | None = None

    def start_and_kill(self, way: str, start: Start, moment_s: float | None) -> Iterator[Kill]:
        """Start it, and kill it at that moment unless it has ended; what is known of the last kill.

        Raises:
            RuntimeError: it ended by itself, but not as it should.
        """
        rows, begun = len(self.rows()), self._begun()
        pid = start(self._arguments(), self.log)
        code = _ended(pid, moment_s)
        known = self.rows()
        if code is None:
            _kill_all(pid)
        elif code:
            raise RuntimeError(f"run {self.number}: exit code {code}\n{self._last_words()}")
        now = self.rows()
        if now[: len(known)] != known:
            raise RuntimeError(f"run {self.number}: the kill itself took a row")
        if self._cut:
            yield self._consequences(self._cut, now, ended=code == 0)
        redone = self._begun() - begun - (len(now) - rows)
        cut = _PendingKill(way, self._starts, moment_s or 0.0, now, redone)
        self._cut = None if code == 0 else cut
        self._starts += 1
        if code == 0 and len(now) != ROWS:
            raise RuntimeError(f"run {self.number}: {len(now)} rows of {ROWS} in the end")

    @property
    def ended(self) -> bool:
        """Whether it has come to its end."""
        return self._starts > 0 and self._cut is None

    def _arguments(self) -> list[str]:
        axes = ["--axis", f"in_channels=1:{PROBLEMS}:+1", "--axis", "size=3"]
        backends = [word for name in BACKENDS for word in ("--backend", name)]
        options = ["--baseline", BACKENDS[0], "--passes", str(PASSES), "--out", str(self.out)]
        resume = ["--resume"] if (self.out / "environment.json").exists() else []
        return ["run", "--no-ceilings", *axes, *backends, *options, *resume]

    def rows(self) -> list[bytes]:
        """The whole lines below the header."""
        path = self.out / "measurements.csv"
        content = path.read_bytes() if path.exists() else b""
        return content[: content.rfind(b"\n") + 1].splitlines()[1:]

    def _begun(self) -> int:
        """How often any backend was prepared."""
        path = Path(os.environ[outside.LOG])
        return path.read_bytes().count(b"prepare ") if path.exists() else 0

    def _last_words(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:]

    def _consequences(self, cut: _PendingKill, now: list[bytes], ended: bool) -> Kill:
        from convsweep.results.schema import MEASUREMENTS_TABLE

        table = MEASUREMENTS_TABLE.load_completed(self.out).rows
        visits = Counter(zip(table["problem"], table["backend"], table["pass_index"], strict=True))
        return Kill(
            way=cut.way,
            run=self.number,
            start=cut.start,
            moment_s=round(cut.moment_s, 3),
            rows_before=len(cut.rows),
            rows_after=len(now),
            lost=(Counter(cut.rows) - Counter(now)).total(),
            doubled=len(table) - len(visits),
            redone=cut.redone,
            samples_wrong=self._samples_wrong(table["samples"].tolist(), ended),
        )

    def _samples_wrong(self, expected: Sequence[int], ended: bool) -> int:
        """Of a run that was killed, the samples of one more row may be there before the row."""
        from convsweep.results.samples import load_samples

        there = Counter(load_samples(self.out)["row"].tolist())
        wrong = sum(there[row] != samples for row, samples in enumerate(expected))
        beyond = [row for row in there if row >= len(expected)]
        return wrong + len(beyond) - (not ended and beyond == [len(expected)])


def _ended(pid: int, limit_s: float | None) -> int | None:
    """The exit code of a process that ends within the limit, else None."""
    given_up = time.monotonic() + (_GIVE_UP_S if limit_s is None else limit_s)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        left_s = given_up - time.monotonic()
        if left_s <= 0:
            return None
        time.sleep(min(_LOOK_EVERY_S, left_s))


def _kill_all(session: int) -> None:
    """`kill -9` of every process of the session at once; returns when none is left."""
    try:
        os.killpg(session, signal.SIGKILL)
    except ProcessLookupError:  # it has not yet got as far as a session of its own
        os.kill(session, signal.SIGKILL)
    os.waitpid(session, 0)
    given_up = time.monotonic() + _GIVE_UP_S
    while members(session):
        if time.monotonic() > given_up:
            raise RuntimeError(f"processes of session {session} outlive kill -9")
        time.sleep(_LOOK_EVERY_S)


def start_command(words: list[str], log: Path) -> int:
    """As a user starts it."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "convsweep", *words],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        ).pid


def start_forked(words: list[str], log: Path) -> int:
    """In a process forked off this one, which `prepare_to_fork` has let import everything."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        os.setsid()
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        from convsweep.cli import main as command_line

        sys.argv = ["convsweep", *words]
        command_line(words)
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def prepare_to_fork() -> None:
    """Import what a run needs.

    Raises:
        RuntimeError: this process has threads, which would be lost in a fork.
    """
    threads = psutil.Process().num_threads()
    if threads != 1:
        raise RuntimeError(f"a process with {threads} threads can't fork")


def _install_backends(folder: Path) -> None:
    """Have this process and all that it starts know the backends, and keep off further threads."""
    site = folder / "site"
    site.mkdir()
    sys.path.insert(0, str(outside.install(site)))
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    os.environ |= {**_SINGLE_THREADED, "PYTHONPATH": path, outside.LOG: str(folder / "log")}


def kills(times: int, by_command: int, seed: int, folder: Path) -> Iterator[Kill]:
    """At least so many kills of runs, each run going on until it comes to its end."""
    _install_backends(folder)
    prepare_to_fork()
    moment, killed, number = random.Random(seed), 0, 0
    for way, start, share in (
        ("forked", start_forked, times - by_command),
        ("command", start_command, by_command),
    ):
        if share <= 0:
            continue
        uninterrupted_s = _uninterrupted_s(Run(folder, number), way, start)
        goal = killed + share
        while killed < goal:
            number += 1
            run = Run(folder, number)
            while not run.ended:
                for kill in run.start_and_kill(way, start, moment.uniform(0.0, uninterrupted_s)):
                    killed += 1
                    yield kill
        number += 1


def _uninterrupted_s(run: Run, way: str, start: Start) -> float:
    """How long a run takes that nobody kills."""
    started = time.monotonic()
    list(run.start_and_kill(way, start, None))
    return time.monotonic() - started


def told(found: Sequence[Kill]) -> str:
    """The totals in a line."""
    return (
        f"{len(found)} kills of {len({kill.run for kill in found})} runs: "
        f"lost {sum(kill.lost for kill in found)}, doubled {sum(kill.doubled for kill in found)}, "
        f"redone at most {max(kill.redone for kill in found)} at a kill "
        f"({sum(kill.redone for kill in found)} in all), "
        f"samples wrong {sum(kill.samples_wrong for kill in found)}"
    )


@click.command()
@click.option("--times", metavar="N", type=click.IntRange(1), default=200)
@click.option(
    "--by-command",
    metavar="N",
    type=click.IntRange(0),
    default=10,
    help="So many of these are of runs started as a user starts them.",
)
@click.option("--seed", metavar="N", type=int, default=SEED)
@click.option("--out", metavar="DIR", type=Path, default=Path("results/harness"))
def main(times: int, by_command: int, seed: int, out: Path) -> None:
    """Kill runs, and hold what is there after resuming to what was there before."""
    out.mkdir(parents=True, exist_ok=True)
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="harness-") as name,
        (out / FILE).open("w", newline="", encoding="utf-8") as file,
    ):
        names = [field.name for field in fields(Kill)]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for kill in kills(times, by_command, seed, Path(name)):
            writer.writerow(asdict(kill))
            file.flush()
            found.append(kill)
    click.echo(told(found))


if __name__ == "__main__":
    main()

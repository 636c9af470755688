"""Crash trials: `kill -9` of a run at random times, then `--resume`.

    python -m bench.harness.kills --times 200 --out results/harness

The main process is killed; the kernel ends its fork server and workers. For speed, most runs are
forks of this process, which has imported everything; the last ones run the command. Both start a
new fork server.
"""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import click
import psutil

from bench.harness.killed_run import Kill, Run, Start
from bench.harness.timing_tools import ROOT
from tests.support import faulty_backends

FILE = "kills.csv"
SEED = 20261123
_SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def start_command(arguments: list[str], log: Path) -> int:
    """Start the command as a user does."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "convsweep", *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        ).pid


def start_forked(arguments: list[str], log: Path) -> int:
    """Start the command line in a fork of this process."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        os.setsid()
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        from convsweep.cli import main as command_line

        sys.argv = ["convsweep", *arguments]
        command_line(arguments)
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def check_single_threaded() -> None:
    """Check that this process can fork.

    Raises:
        RuntimeError: this process has other threads.
    """
    threads = psutil.Process().num_threads()
    if threads != 1:
        raise RuntimeError(f"cannot fork a process with {threads} threads; set OMP_NUM_THREADS=1")


def _install_backends(folder: Path) -> None:
    """Install the backends for this process and its children, single-threaded."""
    site = folder / "site"
    site.mkdir()
    sys.path.insert(0, str(faulty_backends.install(site)))
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    os.environ |= {**_SINGLE_THREADED, "PYTHONPATH": path, faulty_backends.LOG: str(folder / "log")}


def kills(times: int, by_command: int, seed: int, folder: Path) -> Iterator[Kill]:
    """Yield at least `times` kills; every run continues until it finishes."""
    _install_backends(folder)
    check_single_threaded()
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
    """Return the duration of a run without a kill."""
    started = time.monotonic()
    list(run.start_and_kill(way, start, None))
    return time.monotonic() - started


def totals_line(found: Sequence[Kill]) -> str:
    """Return the totals in one line."""
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
    help="Number of these kills that run the command instead of a fork.",
)
@click.option("--seed", metavar="N", type=int, default=SEED)
@click.option("--out", metavar="DIR", type=Path, default=Path("results/harness"))
def main(times: int, by_command: int, seed: int, out: Path) -> None:
    """Kill and resume runs; compare the rows before and after."""
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
    click.echo(totals_line(found))


if __name__ == "__main__":
    main()

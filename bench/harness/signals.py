"""Signal trials: every measuring command gets SIGTERM, SIGINT and SIGHUP at random times.

    python -m bench.harness.signals --out results/harness

Signals go to the command's process alone; every second SIGINT goes to its whole group, as Ctrl-C in
a terminal. Afterwards nothing may be left but the run's folder, which the next start continues.
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
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import click
import psutil

from bench.harness.timing_tools import ROOT

FILE = "signals.csv"
SEED = 20261129
TIMES = {"SIGTERM": 20, "SIGINT": 20, "SIGHUP": 10}
_MARK = "CONVSWEEP_SIGNAL_TRIAL"
_GRACE_S, _LIMIT_S = 2.0, 600.0
_CACHES = ("torchinductor_",)
"""Folders that libraries keep for later processes."""
_MODEL = """import torch

def small():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3))
"""
_LAYER = ["--axis", "in_channels=8", "--axis", "size=14"]
_NETWORK = ["model.py:small", "--input", "1x3x32x32", "--budget", "15s"]
COMMANDS = {
    "run": ["convsweep", "run", "--grid", "smoke", "--passes", "2", "--out", "out"],
    "check": ["convsweep", "check", "--grid", "smoke"],
    "advise": ["convsweep", "advise", *_NETWORK, "--out", "out"],
    "optimize": ["convsweep", "optimize", *_NETWORK, "--out", "out"],
    "noise": ["convsweep", "noise", *_LAYER, "--passes", "2", "--out", "out"],
    "accuracy": ["convsweep", "accuracy", "--dataset", "digits", "--seeds", "2", "--epochs", "1",
                 "--out", "out"],
    "pytest": ["pytest", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider",
               str(ROOT / "bench"), "--benchmark-only", "--grid", "smoke"],
}  # fmt: skip
_RESUMABLE = ("run", "advise", "noise", "accuracy")


@dataclass(frozen=True)
class Trial:
    """One signal, and what is left after it."""

    command: str
    signal: str
    to: str
    """`process` or `group`."""
    moment_s: float
    """Time after the start."""
    exit_code: int
    end_s: float
    """Time from the signal to the end of the process."""
    processes_left: int
    """Processes of the command two seconds after its end."""
    temporary_left: int
    shared_memory_left: int
    resumed: str
    """Exit code of the next start; empty for commands without --resume."""


def _start(command: str, folder: Path, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", *COMMANDS[command], *more],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder / "tmp"), _MARK: str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "stderr").open("ab"),
        start_new_session=True,
    )


def _marked(folder: Path) -> int:
    """Return the number of living processes of the trial in a folder."""
    found = 0
    for process in psutil.process_iter():
        try:
            found += process.environ().get(_MARK) == str(folder)
        except psutil.Error:
            continue
    return found


def _resumed(command: str, folder: Path) -> str:
    """Continue the run, or start it if the signal came before its folder."""
    if command not in _RESUMABLE:
        return ""
    begun = (folder / "out" / "environment.json").exists()
    again = _start(command, folder, *(["--resume"] if begun else []))
    return str(again.wait(_LIMIT_S))


def trial(command: str, name: str, to: str, moment_s: float) -> Trial:
    """Send one signal to a command."""
    with tempfile.TemporaryDirectory(prefix="signals-") as text:
        folder = Path(text)
        (folder / "tmp").mkdir()
        (folder / "model.py").write_text(_MODEL, encoding="utf-8")
        shared = set(Path("/dev/shm").iterdir())
        process = _start(command, folder)
        time.sleep(moment_s)
        send = os.killpg if to == "group" else os.kill
        send(process.pid, signal.Signals[name])
        sent_s = time.monotonic()
        code = process.wait(_LIMIT_S)
        end_s = time.monotonic() - sent_s
        time.sleep(_GRACE_S)
        left = [x.name for x in (folder / "tmp").iterdir() if not x.name.startswith(_CACHES)]
        shared_left = set(Path("/dev/shm").iterdir()) - shared
        if left or shared_left:
            click.echo(f"{command}, {name}: {left} {sorted(map(str, shared_left))}", err=True)
        return Trial(
            command=command,
            signal=name,
            to=to,
            moment_s=round(moment_s, 3),
            exit_code=code,
            end_s=round(end_s, 3),
            processes_left=_marked(folder),
            temporary_left=len(left),
            shared_memory_left=len(shared_left),
            resumed=_resumed(command, folder),
        )


def trials(share: float, seed: int, commands: tuple[str, ...]) -> Iterator[Trial]:
    """Yield the trials of each command, at moments drawn from its whole duration."""
    for number in TIMES:  # a shell starts background processes with ignored signals
        signal.signal(signal.Signals[number], signal.SIG_DFL)
    moment = random.Random(seed)
    for command in commands:
        with tempfile.TemporaryDirectory(prefix="signals-") as name:
            (Path(name) / "tmp").mkdir()
            Path(name, "model.py").write_text(_MODEL, encoding="utf-8")
            started_s = time.monotonic()
            _start(command, Path(name)).wait(_LIMIT_S)
            duration_s = time.monotonic() - started_s
        for number, times in TIMES.items():
            for index in range(max(1, round(times * share))):
                to = "group" if number == "SIGINT" and index % 2 else "process"
                yield trial(command, number, to, moment.uniform(0.0, duration_s))


@click.command()
@click.option("--share", metavar="SHARE", type=float, default=1.0, help="Part of all 350 trials.")
@click.option("--command", "commands", multiple=True, type=click.Choice([*COMMANDS]))
@click.option("--seed", metavar="N", type=int, default=SEED)
@click.option("--out", metavar="DIR", type=Path, default=Path("results/harness"))
def main(share: float, commands: tuple[str, ...], seed: int, out: Path) -> None:
    """End commands by signals, and count what they leave."""
    out.mkdir(parents=True, exist_ok=True)
    found = []
    with (out / FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [x.name for x in fields(Trial)], lineterminator="\n")
        writer.writeheader()
        for one in trials(share, seed, commands or tuple(COMMANDS)):
            writer.writerow(asdict(one))
            file.flush()
            found.append(one)
    left = {name: sum(getattr(x, name) for x in found)
            for name in ("processes_left", "temporary_left", "shared_memory_left")}  # fmt: skip
    refused = sum(x.resumed not in ("", "0", "1") for x in found)  # 1: a case failed
    click.echo(f"{len(found)} signals: {left}, not resumed: {refused}")


if __name__ == "__main__":
    main()

"""A run of made-up rows that is killed at a chosen moment; what it acknowledged stays known.

As a program: `killed_runs.py points FOLDER [BEGUN]` kills a run in each of its calls that change
files: before the call, halfway through a write, and after a wait for the disk. And
`killed_runs.py moments FOLDER SEED` kills runs at random moments, each going on with what the last
one left.
"""

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from convsweep.results.lock import locked
from convsweep.results.samples import SampleWriter
from convsweep.results.schema import MEASUREMENTS_TABLE, Row
from convsweep.results.store import ENVIRONMENT, require_new, require_run, write_environment
from tests.support.row_factory import ROW, resumed

MODES = {
    "write": ("before", "half"),
    "fsync": ("before", "after"),
    "ftruncate": ("before",),
    "replace": ("before",),
}
"""Moments of a call that differ in what is on the disk; behind a write begins the next call."""
SAME = 3  # exit code of a process whose moment leaves what another one does
ROWS = 4


def row(number: int) -> Row:
    """The row of this number, some of them over several lines."""
    return replace(ROW, pass_index=number, reason="a quoted\n,line" if number % 3 == 1 else None)


def blocks(number: int) -> list[list[float]]:
    """The samples of this row."""
    return [[number + 0.1, number + 0.2], [1e-9 / (number + 3)]]


def go_on(run_dir: Path, rows: int, acknowledge: Callable[[int], Any]) -> None:
    """Write the rows that are missing up to `rows`, as a new run or as one that is resumed."""
    with locked(run_dir):
        resume = (run_dir / ENVIRONMENT).exists()
        (require_run if resume else require_new)(run_dir)
        if not resume:
            write_environment(run_dir, {"cpu": "made up"})
        measurements = resumed(run_dir) if resume else MEASUREMENTS_TABLE.open(run_dir)
        samples = SampleWriter(run_dir, measurements.rows if resume else None)
        for number in range(measurements.rows, rows):
            samples.append(number, blocks(number))
            measurements.append(row(number))
            acknowledge(number)
        samples.close()
        measurements.close()


def acknowledged(run_dir: Path) -> list[int]:
    """The rows whose `append` had returned."""
    path = run_dir.with_suffix(".acknowledged")
    return [int(number) for number in path.read_text().split()] if path.exists() else []


def in_a_process(work: Callable[[Callable[[int], Any]], None], run_dir: Path) -> int:
    """Do the work in a process of its own, which says there what it acknowledges."""
    child = os.fork()
    if child:
        return child
    write = os.write  # before anybody watches it
    file = run_dir.with_suffix(".acknowledged").open("ab", buffering=0)
    try:
        work(lambda number: write(file.fileno(), b"%d\n" % number))
        os._exit(0)
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        os._exit(1)


def die_in(point: int, mode: str) -> None:
    """Let this process be killed in the call of this number, counted over all of `MODES`."""
    calls = iter(range(1_000_000))

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watch(*arguments: Any, **options: Any) -> Any:
            hit = next(calls) == point
            if hit and mode not in MODES[name]:
                os._exit(SAME)
            if hit and mode == "half":
                call(arguments[0], arguments[1][: len(arguments[1]) // 2])
            if hit and mode != "after":
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*arguments, **options)
            if hit:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return watch

    for name in MODES:
        setattr(os, name, watched(name, getattr(os, name)))


def points(folder: Path, begun: Path | None) -> Iterator[str]:
    """A killed run in a folder of its own for each point and mode, until a run comes to its end."""
    for point in range(1_000):
        for mode in ("before", "half", "after"):
            run_dir = folder / f"{point}-{mode}"
            if begun:
                shutil.copytree(begun, run_dir)
                shutil.copy(begun.with_suffix(".acknowledged"), f"{run_dir}.acknowledged")

            def work(
                acknowledge: Callable[[int], Any],
                run_dir: Path = run_dir,
                death: tuple[int, str] = (point, mode),
            ) -> None:
                die_in(*death)
                go_on(run_dir, ROWS, acknowledge)

            _, status = os.waitpid(in_a_process(work, run_dir), 0)
            code = os.waitstatus_to_exitcode(status)
            if code == 0:
                return
            assert code in (SAME, -signal.SIGKILL)
            if code != SAME:
                yield run_dir.name


def moments(folder: Path, seed: int) -> Iterator[str]:
    """Twenty runs, each killed ten times at random moments."""
    moment = random.Random(seed)
    for run in range(20):
        run_dir = folder / f"run-{run}"
        for _ in range(10):
            child = in_a_process(
                lambda acknowledge, d=run_dir: go_on(d, 10_000, acknowledge), run_dir
            )
            time.sleep(moment.uniform(0.0, 0.06))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        yield run_dir.name


if __name__ == "__main__":
    import pandas  # noqa: F401  # so that the children, which resume, needn't

    kind, where, *more = sys.argv[1:]
    if kind == "points":
        made = points(Path(where), Path(more[0]) if more else None)
    else:
        made = moments(Path(where), int(more[0]))
    sys.stdout.write("\n".join(made))

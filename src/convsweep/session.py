"""A request carried out: sweep, results on disk, summary."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from convsweep import store
from convsweep.environment import describe, steady_allocator
from convsweep.grid import Case
from convsweep.record import Outcome, Run, make_row, utc_now
from convsweep.request import Request
from convsweep.runner import Launch, Progress, launch_child, sweep
from convsweep.sampling import Effort
from convsweep.statistics import SUMMARY_COLUMNS, summarize
from convsweep.worker import Settings

if TYPE_CHECKING:
    pass

RESULTS = Path("results")


def fixed_settings() -> dict[str, object]:
    """What every measuring process sets, as environment.json tells it."""
    return {
        "allocator": steady_allocator(),  # asked of this process, whose libc is the children's
        "tf32": False,
        "cudnn_benchmark": False,
        "deterministic": False,
        "flush_denormal": False,
    }


Observe = Callable[[Progress], None]


def new_run_id(name: str) -> str:
    """`quick-20261122-231502`: what was run and when, fit for a folder's name."""
    word = re.sub(r"[^A-Za-z0-9_+-]+", "_", name)[:60]
    return f"{word}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


class Recording:
    """A new run's folder: its environment, a row for each outcome, the summary at the end."""

    def __init__(
        self,
        request: Request,
        out: Path,
        *,
        run_id: str,
        command: str,
        settings: Mapping[str, object],
        driver: str = "convsweep",
    ) -> None:
        devices = dict(request.device_descriptions)
        environment = describe(devices)
        self._request, self._out = request, out
        self._run = Run(run_id, environment["environment_id"], devices, driver)
        self._measurements = store.Measurements(out)
        told = {
            "run_id": run_id,
            "command": command,
            "started_at": utc_now(),
            "baseline": request.baseline,
        }
        threads = sorted({case.threads for case in request.cases})
        store.write_environment(
            out, told | environment | {"settings": {"threads": threads, **settings}}
        )

    def add(self, pass_index: int, case: Case, outcome: Outcome) -> None:
        """Put one outcome on the disk."""
        backend = self._request.backends[case.backend]
        self._measurements.append(make_row(self._run, case, backend, pass_index, outcome))

    def close(self) -> None:
        """Derive the summary of the rows that there are."""
        self._measurements.close()
        write_summary(self._out, self._request.baseline)


def carry_out(
    request: Request,
    out: Path,
    run_id: str,
    command: str,
    observe: Observe,
    launch: Launch = launch_child,
) -> None:
    """Measure everything, each row on the disk as soon as it is known, and write the summary.

    An interrupt leaves a whole run of the rows that there are, and goes on to the caller.
    """
    settings = measuring(request)
    told = {
        "passes": request.passes,
        "case_timeout_s": settings.case_timeout_s,
        "seed": settings.seed,
        **fixed_settings(),
        **asdict(settings.effort or Effort()),
    }
    recording = Recording(request, out, run_id=run_id, command=command, settings=told)
    with closing(recording):
        sweep(
            request.cases,
            request.backends,
            settings,
            passes=request.passes,
            record=recording.add,
            observe=observe,
            launch=launch,
        )


def measuring(request: Request) -> Settings:
    """How `request` is measured."""
    return Settings(case_timeout_s=request.case_timeout_s)


def write_summary(run_dir: Path, baseline: str) -> None:
    """Derive `summary.csv` from `measurements.csv` alone."""
    summary = summarize(store.load(run_dir), baseline)
    store.write_summary(run_dir, summary[list(SUMMARY_COLUMNS)])


def check(
    request: Request, observe: Observe, launch: Launch = launch_child
) -> list[tuple[Case, Outcome]]:
    """What the gate says of every case, without timing any."""
    found: list[tuple[Case, Outcome]] = []
    sweep(
        request.cases,
        request.backends,
        Settings(case_timeout_s=request.case_timeout_s, effort=None),
        passes=1,
        record=lambda _, case, outcome: found.append((case, outcome)),
        observe=observe,
        launch=launch,
    )
    return found

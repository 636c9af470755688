"""A request carried out: sweep, results on disk, summary."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from convsweep.measure.outcome import Outcome, RunInfo, make_row, utc_now
from convsweep.measure.worker import Settings
from convsweep.problems.case import Case
from convsweep.results import store
from convsweep.results.lock import locked
from convsweep.sweep.effort import measuring
from convsweep.sweep.network_runs import ENOUGH_PASSES, Network, NetworkRunner, Origin, networks_of
from convsweep.sweep.request import Request
from convsweep.sweep.resume import completed_results, earlier_settings, require_same
from convsweep.sweep.run_writer import RunWriter, added, resumed_metadata, settings_metadata
from convsweep.sweep.runner import PassResults, Progress, Spent, StopHooks, sweep
from convsweep.sweep.stopping import OpenComparisons, SweepMonitor, open_comparisons
from convsweep.sweep.worker_pool import WorkerFactory, conditions, start_worker
from convsweep.system.environment import describe
from convsweep.system.signals import Interrupts

RESULTS = Path("results")

Observe = Callable[[Progress], None]


def new_run_id(name: str) -> str:
    """`quick-20261122-231502`: what was run and when, fit for a folder's name."""
    word = re.sub(r"[^A-Za-z0-9_+-]+", "_", name)[:60]
    return f"{word}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


@dataclass(frozen=True)
class Ending:
    """How a run has ended."""

    interrupted: bool
    open_comparisons: OpenComparisons | None
    """Of a run with a budget or a precision: what it leaves open."""


def run_sweep(
    request: Request,
    out: Path,
    run_id: str,
    command: str,
    observe: Observe,
    *,
    resume: bool = False,
    networks: Sequence[Network] | None = None,
    launch: WorkerFactory = start_worker,
) -> Ending:
    """Measure everything, each row on the disk as soon as it is known, and write the summary.

    The first interrupt finishes what is being measured; whatever ends it, `resume` goes on. Beside
    it `networks` are run whole; by default those whose layers are swept, as far as they are known.

    Raises:
        ValueError: another run is writing to `out`, or what is there can't be gone on with.
    """
    with locked(out), Interrupts() as interrupts:
        settings = measuring(request)
        visits: PassResults = {}
        if resume:
            earlier = store.read_environment(out)
            if request.budget_s is not None:  # which may be another one now
                settings = earlier_settings(earlier, settings)
        else:
            store.require_new(out)
        told = _told(request, settings, run_id, command, conditions(settings, launch))
        if resume:
            require_same(earlier, told)
            visits = completed_results(store.load_completed(out), request.every_case)
            told = resumed_metadata(earlier, command)
        every = (request.whole or request).cases
        whole = networks_of(every, {*request.cases}) if networks is None else networks
        origin = Origin(str(told["run_id"]), str(told["environment_id"]))
        with (
            closing(RunWriter(out, told, resume)) as recording,
            closing(
                NetworkRunner(
                    out,
                    whole,
                    every,
                    settings,
                    origin,
                    least_passes=ENOUGH_PASSES if request.budget_s is None else 1,
                    resume=resume,
                    launch=launch,
                )
            ) as beside,
        ):
            stopping = SweepMonitor(request, interrupts, visits)
            run = RunInfo(origin.run_id, origin.environment_id, dict(request.device_descriptions))
            record = partial(record_outcome, recording, stopping, request, run)
            spent = _measure(request, settings, record, observe, stopping, visits, beside, launch)
            total = added(told.get("time_spent"), spent.told())
            recording.tell(
                {"time_spent": total, "end_reason": stopping.ended, "rows": recording.rows}
            )
        return Ending(interrupts.received, left_open(stopping, request, total["wall_s"]))


def left_open(stopping: SweepMonitor, request: Request, wall_s: float) -> OpenComparisons | None:
    """What a run with a budget or a precision leaves open after so many seconds; else None."""
    if not request.adaptive:
        return None
    return open_comparisons(stopping.tally, wall_s / max(1, stopping.tally.visits), request.margin)


def record_outcome(
    recording: RunWriter,
    stopping: SweepMonitor,
    request: Request,
    run: RunInfo,
    pass_index: int,
    case: Case,
    outcome: Outcome,
    node: str | None = None,
) -> None:
    """Record one outcome, of a cluster's `node`, and count it in the run's tally."""
    backend = request.every_backend[case.backend]
    recording.add(make_row(run, case, backend, pass_index, outcome, node), outcome.blocks)
    stopping.tally.add(pass_index, case, outcome)


def _measure(
    request: Request,
    settings: Settings,
    record: Callable[[int, Case, Outcome], None],
    observe: Observe,
    stopping: SweepMonitor,
    visits: PassResults,
    networks: NetworkRunner,
    launch: WorkerFactory,
) -> Spent:
    def watch(progress: Progress) -> None:
        if request.adaptive:
            left_s = None if request.budget_s is None else max(0.0, stopping.budget.left_s)
            progress = replace(progress, total=None, remaining_s=left_s)
        observe(progress)

    def active_cases(pass_index: int) -> Collection[Case] | None:
        cases = stopping.active_cases(pass_index)
        if cases is None or cases:
            networks.before_pass(pass_index, stopping.now)
        return cases

    spent = sweep(
        request.every_case,
        request.every_backend,
        settings,
        passes=request.passes,
        record=record,
        observe=watch,
        stops=StopHooks(stopping.now, active_cases),
        known=visits,
        launch=launch,
    )
    spent.phases_s["networks_s"] = networks.spent_s
    return spent


def _told(
    request: Request,
    settings: Settings,
    run_id: str,
    command: str,
    found: Mapping[str, object],
) -> dict[str, object]:
    """What environment.json says from the start."""
    return {
        "run_id": run_id,
        "command": command,
        "started_at": utc_now(),
        "baseline": request.baseline,
        "margin": request.margin,
        **describe(dict(request.device_descriptions)),
        "request": request.told(),
        "settings": settings_metadata(settings, found),
    }


def check(
    request: Request, observe: Observe, launch: WorkerFactory = start_worker
) -> list[tuple[Case, Outcome]]:
    """What the gate says of every case, without timing any."""
    found: list[tuple[Case, Outcome]] = []
    sweep(
        request.cases,
        request.backends,
        replace(measuring(request), effort=None),
        passes=1,
        record=lambda _, case, outcome: found.append((case, outcome)),
        observe=observe,
        launch=launch,
    )
    return found

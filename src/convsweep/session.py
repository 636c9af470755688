"""A request carried out: sweep, results on disk, summary."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from convsweep import store
from convsweep.conductor import Launch, conditions, launch_child
from convsweep.environment import describe
from convsweep.grid import Case
from convsweep.interrupts import Interrupts
from convsweep.lock import locked
from convsweep.record import Outcome, Run, make_row, utc_now
from convsweep.request import Request
from convsweep.resuming import known_visits, refuse_unless_same
from convsweep.runner import Progress, Spent, Stops, Visits, forecast_s, sweep
from convsweep.samples import Samples
from convsweep.sampling import Effort
from convsweep.statistics import SUMMARY_COLUMNS, asked_in, summarize
from convsweep.stopping import Answered, Budget, Tally, Unsettled, unsettled
from convsweep.worker import Settings

RESULTS = Path("results")
_MEMORY_SHARE = 0.9  # of what is free: beyond, the whole machine would suffer
_ENOUGH_PASSES, _FEWEST_PASSES = 20, 5  # that should fit into a budget
_ROUGHLY = 2  # how far a forecast may be off

Observe = Callable[[Progress], None]


def new_run_id(name: str) -> str:
    """`quick-20261122-231502`: what was run and when, fit for a folder's name."""
    word = re.sub(r"[^A-Za-z0-9_+-]+", "_", name)[:60]
    return f"{word}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


class Recording:
    """A run's folder: its environment, rows and samples as they come, the summary at the end."""

    def __init__(
        self,
        request: Request,
        out: Path,
        *,
        told: Mapping[str, object],
        resume: bool = False,
        driver: str = "convsweep",
    ) -> None:
        devices = dict(request.device_descriptions)
        self._request, self._out = request, out
        run_id, environment_id = str(told["run_id"]), str(told["environment_id"])
        self._run = Run(run_id, environment_id, devices, driver)
        self._told = dict(told)
        if not resume:
            out.mkdir(parents=True, exist_ok=True)
            store.write_environment(out, self._told)
        self._measurements = store.Measurements(out, resume)
        self._samples = Samples(out, resume, self._measurements.rows)

    def add(self, pass_index: int, case: Case, outcome: Outcome) -> None:
        """Put one outcome on the disk, its samples first."""
        backend = self._request.backends[case.backend]
        self._samples.append(self._measurements.rows, outcome.blocks)
        self._measurements.append(make_row(self._run, case, backend, pass_index, outcome))

    def tell(self, more: Mapping[str, object]) -> None:
        """Add to environment.json what is known at the end only."""
        self._told |= more
        store.write_environment(self._out, self._told)

    def close(self) -> None:
        """Derive the summary of the rows that there are."""
        self._samples.close()
        self._measurements.close()
        write_summary(self._out)


@dataclass(frozen=True)
class Ending:
    """How a run has ended."""

    interrupted: bool
    unsettled: Unsettled | None
    """Of a run with a budget or a precision: what it leaves open."""


def carry_out(
    request: Request,
    out: Path,
    run_id: str,
    command: str,
    observe: Observe,
    *,
    resume: bool = False,
    launch: Launch = launch_child,
) -> Ending:
    """Measure everything, each row on the disk as soon as it is known, and write the summary.

    The first interrupt finishes what is being measured; whatever ends it, `resume` goes on.

    Raises:
        ValueError: another run is writing to `out`, or what is there can't be gone on with.
    """
    with locked(out):
        if not resume:
            store.refuse_unless_new(out)
        settings = measuring(request)
        told = _told(request, settings, run_id, command, conditions(settings, launch))
        visits: Visits = {}
        if resume:
            earlier = store.read_environment(out)
            refuse_unless_same(earlier, told)
            told = earlier
            visits = known_visits(store.recorded(out), request.cases)
        with closing(Recording(request, out, told=told, resume=resume)) as recording:
            return _measure(request, settings, recording, observe, visits, launch)


def _measure(
    request: Request,
    settings: Settings,
    recording: Recording,
    observe: Observe,
    visits: Visits,
    launch: Launch,
) -> Ending:
    tally, budget = Tally(request.baseline), Budget(request.budget_s)
    answered = Answered(tally, request.precision, request.margin)
    for (pass_index, case), outcome in visits.items():
        tally.add(pass_index, case, outcome)

    def record(pass_index: int, case: Case, outcome: Outcome) -> None:
        recording.add(pass_index, case, outcome)
        tally.add(pass_index, case, outcome)

    def watch(progress: Progress) -> None:
        if request.adaptive:
            left_s = None if request.budget_s is None else max(0.0, budget.left_s)
            progress = replace(progress, total=None, remaining_s=left_s)
        observe(progress)

    with Interrupts() as interrupts:
        spent: Spent = sweep(
            request.cases,
            request.backends,
            settings,
            passes=request.passes,
            record=record,
            observe=watch,
            stops=Stops(
                lambda: interrupts.asked or budget.left_s <= 0,
                answered.still_open if request.adaptive else lambda pass_index: None,
            ),
            known=visits,
            launch=launch,
        )
    time_spent = spent.told()
    recording.tell({"time_spent": time_spent})
    left = unsettled(tally, time_spent["wall_s"], request.margin) if request.adaptive else None
    return Ending(interrupts.asked, left)


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
        "settings": {
            "seed": settings.seed,
            "case_timeout_s": settings.case_timeout_s,
            **{name: value for name, value in found.items() if name != "memory_limit_bytes"},
            **precision_settings(),
            **asdict(settings.effort or Effort()),
        },
    }


def precision_settings() -> dict[str, object]:
    """What every measuring process asks of torch."""
    return {
        "tf32": False,
        "cudnn_benchmark": False,
        "deterministic": False,
        "flush_denormal": False,
    }


def measuring(request: Request) -> Settings:
    """How `request` is measured."""
    on_host = all(case.device in ("cpu", "vulkan") for case in request.cases)
    free = psutil.virtual_memory().available
    return Settings(
        threads=min(case.threads for case in request.cases),
        case_timeout_s=request.case_timeout_s,
        effort=_effort(request),
        allocator=request.allocator,
        memory_limit_bytes=int(_MEMORY_SHARE * free) if on_host else None,
    )


def pass_s(request: Request, effort: Effort | None) -> float:
    """About how long one more pass over all cases takes, in seconds."""
    settings = Settings(case_timeout_s=request.case_timeout_s, effort=effort)
    one, two = (forecast_s(request.cases, request.backends, settings, n) for n in (1, 2))
    return two - one


def _effort(request: Request) -> Effort:
    """How much of each case to time in a pass: with a budget so much that enough passes fit.

    Raises:
        ValueError: not even one thin pass fits into the budget.
    """
    if request.budget_s is None:
        return Effort()
    for effort in (Effort(blocks=8), Effort(blocks=4), Effort(blocks=3)):
        if _ENOUGH_PASSES * pass_s(request, effort) <= request.budget_s:
            return effort
    usual, thin = Effort(), Effort(warm_up_s=0.002, block_s=0.005, blocks=1)
    if _FEWEST_PASSES * pass_s(request, usual) <= request.budget_s:
        return usual
    if (least_s := pass_s(request, thin)) > _ROUGHLY * request.budget_s:
        raise ValueError(
            f"--budget of {request.budget_s:g} s is less than one pass takes, about {least_s:.3g} s"
        )
    return thin


def write_summary(run_dir: Path) -> None:
    """Derive `summary.csv` from `measurements.csv` alone, but for what was asked."""
    summary = summarize(store.load(run_dir), *asked_in(store.read_environment(run_dir)))
    store.write_summary(run_dir, summary[list(SUMMARY_COLUMNS)])


def check(
    request: Request, observe: Observe, launch: Launch = launch_child
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

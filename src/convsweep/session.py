"""A request carried out: sweep, results on disk, summary."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from convsweep import store
from convsweep.company import Launch, conditions, launch_child
from convsweep.environment import describe
from convsweep.grid import Case
from convsweep.interrupts import Interrupts
from convsweep.lock import locked
from convsweep.networks.visits import ENOUGH_PASSES, Network, Origin, networks_of
from convsweep.networks.visits import Visits as NetworkVisits
from convsweep.pacing import measuring
from convsweep.record import Outcome, Run, make_row, utc_now
from convsweep.request import Request
from convsweep.resuming import earlier_settings, known_visits, refuse_unless_same
from convsweep.runner import Progress, Spent, Stops, Visits, sweep
from convsweep.samples import Samples
from convsweep.sampling import Effort
from convsweep.statistics import SUMMARY_COLUMNS, asked_in, summarize
from convsweep.stopping import Stopping, Unsettled, unsettled
from convsweep.worker import Settings

RESULTS = Path("results")

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
        backend = self._request.every_backend[case.backend]
        self._samples.append(self._measurements.rows, outcome.blocks)
        self._measurements.append(make_row(self._run, case, backend, pass_index, outcome))

    @property
    def rows(self) -> int:
        """How many are on the disk."""
        return self._measurements.rows

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
    networks: Sequence[Network] | None = None,
    launch: Launch = launch_child,
) -> Ending:
    """Measure everything, each row on the disk as soon as it is known, and write the summary.

    The first interrupt finishes what is being measured; whatever ends it, `resume` goes on. Beside
    it `networks` are run whole; by default those whose layers are swept, as far as they are known.

    Raises:
        ValueError: another run is writing to `out`, or what is there can't be gone on with.
    """
    with locked(out), Interrupts() as interrupts:
        settings = measuring(request)
        visits: Visits = {}
        if resume:
            earlier = store.read_environment(out)
            if request.budget_s is not None:  # which may be another one now
                settings = earlier_settings(earlier, settings)
        else:
            store.refuse_unless_new(out)
        told = _told(request, settings, run_id, command, conditions(settings, launch))
        if resume:
            refuse_unless_same(earlier, told)
            visits = known_visits(store.recorded(out), request.every_case)
            told = earlier | {"ended": None, "resumed": [*_list(earlier.get("resumed")), command]}
        every = (request.whole or request).cases
        whole = networks_of(every, {*request.cases}) if networks is None else networks
        origin = Origin(str(told["run_id"]), str(told["environment_id"]))
        with (
            closing(Recording(request, out, told=told, resume=resume)) as recording,
            closing(
                NetworkVisits(
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
            stopping = Stopping(request, interrupts, visits)
            spent = _measure(
                request, settings, recording, observe, stopping, visits, beside, launch
            )
            total = _added(told.get("time_spent"), spent.told())
            recording.tell({"time_spent": total, "ended": stopping.ended, "rows": recording.rows})
        visit_s = total["wall_s"] / max(1, stopping.tally.visits)
        left = unsettled(stopping.tally, visit_s, request.margin) if request.adaptive else None
        return Ending(interrupts.asked, left)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _added(earlier: object, now: Mapping[str, float]) -> dict[str, float]:
    """The seconds of this session and of those that it has resumed."""
    before = earlier if isinstance(earlier, Mapping) else {}
    return {name: float(before.get(name, 0.0)) + seconds for name, seconds in now.items()}


def _measure(
    request: Request,
    settings: Settings,
    recording: Recording,
    observe: Observe,
    stopping: Stopping,
    visits: Visits,
    networks: NetworkVisits,
    launch: Launch,
) -> Spent:
    def record(pass_index: int, case: Case, outcome: Outcome) -> None:
        recording.add(pass_index, case, outcome)
        stopping.tally.add(pass_index, case, outcome)

    def watch(progress: Progress) -> None:
        if request.adaptive:
            left_s = None if request.budget_s is None else max(0.0, stopping.budget.left_s)
            progress = replace(progress, total=None, remaining_s=left_s)
        observe(progress)

    def still_open(pass_index: int) -> Collection[Case] | None:
        cases = stopping.still_open(pass_index)
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
        stops=Stops(stopping.now, still_open),
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


def write_summary(run_dir: Path) -> None:
    """Derive `summary.csv` from `measurements.csv` alone, but for what was asked."""
    asked = asked_in(store.read_environment(run_dir))
    summary = summarize(store.load(run_dir), asked.baseline, asked.margin)
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

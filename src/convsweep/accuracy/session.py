"""An accuracy study carried out: trial after trial, each on the disk as soon as it is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from convsweep.accuracy.datasets import SOURCES, Dataset, Source, digest
from convsweep.accuracy.resume import require_same
from convsweep.accuracy.training import BATCH_SIZE, LEARNING_RATE
from convsweep.accuracy.trial import Trial, TrialOutcome, all_alike
from convsweep.accuracy.trial_process import run_trial_in_process
from convsweep.formatting import one_line
from convsweep.measure.outcome import utc_now
from convsweep.results import store
from convsweep.results.accuracy_schema import VARIANTS, AccuracyRow
from convsweep.results.accuracy_store import Records, Unit
from convsweep.results.lock import locked
from convsweep.system.devices import cpu_name
from convsweep.system.environment import describe, usable_cores
from convsweep.system.signals import Interrupts

NAME = "accuracy"
SEEDS = 5
_MOST_SEEDS, _MOST_EPOCHS = 1000, 1000


@dataclass(frozen=True)
class StudyRequest:
    """What is to be trained."""

    sources: tuple[Source, ...]
    seeds: int
    threads: int
    epochs: int | None
    """None: each data set's own number."""

    def epochs_of(self, source: Source) -> int:
        """How often a network sees each of the data set's training samples."""
        return self.epochs or source.epochs

    @property
    def units(self) -> list[Unit]:
        """All data sets for one seed, then for the next: an early end leaves some of all."""
        return [Unit(s.name, seed) for seed in range(self.seeds) for s in self.sources]


class StudyOptions(NamedTuple):
    """What a user asks for; what is None or empty has a default."""

    datasets: Sequence[str] = ()
    seeds: int | None = None
    threads: int | None = None
    epochs: int | None = None


def read_request(options: StudyOptions) -> StudyRequest:
    """The request that these options make; without a name, every data set.

    Raises:
        ValueError: in one line that names the bad value and what is allowed.
    """
    names = tuple(dict.fromkeys(options.datasets)) or tuple(SOURCES)
    for name in names:
        if name not in SOURCES:
            raise ValueError(f"--dataset {name!r} is not known; there is {', '.join(SOURCES)}")
    seeds = _within("seeds", options.seeds, SEEDS, _MOST_SEEDS)
    threads = _within("threads", options.threads, 1, usable_cores())
    epochs = options.epochs
    if epochs is not None:
        _within("epochs", epochs, 1, _MOST_EPOCHS)
    return StudyRequest(tuple(SOURCES[name] for name in names), seeds, threads, epochs)


def _within(option: str, value: int | None, default: int, most: int) -> int:
    if value is None:
        return default
    if not 1 <= value <= most:
        raise ValueError(f"--{option} {value} is not a whole number from 1 to {most}")
    return value


class StudyProgress(NamedTuple):
    """A trial is over."""

    done: int
    total: int
    rows: Sequence[AccuracyRow]


Observe = Callable[[StudyProgress], None]
CarryOut = Callable[[Trial, Callable[[], bool]], list[TrialOutcome] | None]


class StudyEnding(NamedTuple):
    """How a study has ended."""

    interrupted: bool
    failed: int
    """Networks that crashed or raised, in this session."""


def run_study(
    request: StudyRequest,
    out: Path,
    command: str,
    observe: Observe,
    *,
    resume: bool = False,
    trial: CarryOut = run_trial_in_process,
) -> StudyEnding:
    """Train everything that has no rows yet; whatever ends it, `resume` goes on.

    Raises:
        ValueError: another run is writing to `out`, or what is there can't be gone on with.
    """
    with locked(out), Interrupts() as interrupts:
        if not resume:
            store.require_new(out)
        loaded = {source.name: _loaded(source) for source in request.sources}
        told = _told(request, loaded, out.resolve().name, command)
        if resume:
            told = _resumed(store.read_environment(out), told, command)
        else:
            store.write_environment(out, told)
        with closing(Records(out, resume)) as records:
            failed = 0
            for done, unit in enumerate(request.units, 1):
                if unit in records.done:
                    continue
                outcomes = _outcomes(request, unit, loaded[unit.dataset], trial, interrupts)
                if outcomes is None or interrupts.received:
                    break
                rows = [_row(told, request, unit, outcome) for outcome in outcomes]
                records.append(rows)
                failed += sum(row.status not in ("ok", "skipped") for row in rows)
                observe(StudyProgress(done, len(request.units), rows))
        ended = "interrupted" if interrupts.received else "done"
        store.write_environment(out, {**told, "end_reason": ended})
        return StudyEnding(interrupts.received, failed)


def _outcomes(
    request: StudyRequest,
    unit: Unit,
    data: Dataset | str,
    trial: CarryOut,
    interrupts: Interrupts,
) -> list[TrialOutcome] | None:
    if isinstance(data, str):
        return all_alike("skipped", data)
    source = SOURCES[unit.dataset]
    asked = Trial(data, unit.seed, source.width, request.epochs_of(source), request.threads)
    return trial(asked, lambda: interrupts.received)


def _loaded(source: Source) -> Dataset | str:
    """The data set, or why it is not there."""
    if source.missing:
        return source.missing
    try:
        return source.load()
    except Exception as error:  # whatever another package raises, the other data sets go on
        return one_line(f"{source.package} does not give it: {type(error).__name__}: {error}")


def _told(
    request: StudyRequest, loaded: Mapping[str, Dataset | str], run_id: str, command: str
) -> dict[str, Any]:
    """What environment.json says from the start."""
    return {
        "run_id": run_id,
        "command": command,
        "started_at": utc_now(),
        "end_reason": None,
        **describe({"cpu": cpu_name()}),
        "request": {
            "name": NAME,
            "datasets": {
                name: data if isinstance(data, str) else digest(data.arrays)
                for name, data in loaded.items()
            },
            "variants": list(VARIANTS),
            "seeds": request.seeds,
            "epochs": {source.name: request.epochs_of(source) for source in request.sources},
            "threads": request.threads,
        },
        "settings": {
            "widths": {source.name: source.width for source in request.sources},
            "batch_size": BATCH_SIZE,
            "learning_rate": LEARNING_RATE,
            "deterministic": True,
        },
    }


def _resumed(earlier: dict[str, Any], told: dict[str, Any], command: str) -> dict[str, Any]:
    """What environment.json says of a run that is gone on with; `ValueError` where it can't be."""
    require_same(earlier, told)
    before = earlier.get("resumed_by")
    return {
        **earlier,
        "end_reason": None,
        "resumed_by": [*(before if isinstance(before, list) else []), command],
    }


def _row(
    told: Mapping[str, Any], request: StudyRequest, unit: Unit, outcome: TrialOutcome
) -> AccuracyRow:
    return AccuracyRow(
        run_id=told["run_id"],
        environment_id=told["environment_id"],
        dataset=unit.dataset,
        seed=unit.seed,
        device="cpu",
        dtype="float32",
        threads=request.threads,
        **vars(outcome),
    )

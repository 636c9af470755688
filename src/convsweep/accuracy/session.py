"""Accuracy study: one trial after another, each written to disk when it ends."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from convsweep.accuracy.datasets import SOURCES, Dataset, Source, digest
from convsweep.accuracy.training import BATCH_SIZE, LEARNING_RATE
from convsweep.accuracy.trial import Trial, failed_rows, run_trial_in_process
from convsweep.formatting import error_line
from convsweep.measure.outcome import utc_now
from convsweep.results import store
from convsweep.results.accuracy import ACCURACY_TABLE, VARIANTS, AccuracyRow, Unit, completed_units
from convsweep.results.lock import locked
from convsweep.sweep import resume as sweep_resume
from convsweep.sweep.run_writer import resumed_metadata
from convsweep.system.environment import describe, usable_cores
from convsweep.system.processor import cpu_name
from convsweep.system.signals import Interrupts

NAME = "accuracy"
SEEDS = 5
_MAX_SEEDS, _MAX_EPOCHS = 1000, 1000


@dataclass(frozen=True)
class StudyRequest:
    """Validated request of a study."""

    sources: tuple[Source, ...]
    seeds: int
    threads: int
    epochs: int | None  # None: the default of each data set

    def epochs_of(self, source: Source) -> int:
        """Return the number of epochs for a data set."""
        return self.epochs or source.epochs

    @property
    def units(self) -> list[Unit]:
        """All data sets per seed, so that an early end leaves some trials of every data set."""
        return [Unit(s.name, seed) for seed in range(self.seeds) for s in self.sources]


def read_request(
    datasets: Sequence[str] = (),
    seeds: int | None = None,
    threads: int | None = None,
    epochs: int | None = None,
) -> StudyRequest:
    """Return the request of these options; raise `ValueError` if one is wrong.

    None or empty stands for the default: all data sets, and the epochs of each.
    """
    names = tuple(dict.fromkeys(datasets)) or tuple(SOURCES)
    for name in names:
        if name not in SOURCES:
            raise ValueError(f"--dataset {name!r} is unknown; choose from {', '.join(SOURCES)}")
    seeds = _within("seeds", seeds, SEEDS, _MAX_SEEDS)
    threads = _within("threads", threads, 1, usable_cores())
    if epochs is not None:
        _within("epochs", epochs, 1, _MAX_EPOCHS)
    return StudyRequest(tuple(SOURCES[name] for name in names), seeds, threads, epochs)


def _within(option: str, value: int | None, default: int, most: int) -> int:
    if value is None:
        return default
    if not 1 <= value <= most:
        raise ValueError(f"--{option} {value} is not a whole number from 1 to {most}")
    return value


class StudyProgress(NamedTuple):
    """Finished trial."""

    done: int
    total: int
    rows: Sequence[AccuracyRow]


Observe = Callable[[StudyProgress], None]
RunTrial = Callable[[Trial, Callable[[], bool]], list[AccuracyRow] | None]


class StudyEnding(NamedTuple):
    """Outcome of a study."""

    interrupted: bool
    failed: int  # Number of networks that crashed or raised in this session


def run_study(
    request: StudyRequest,
    out: Path,
    command: str,
    observe: Observe,
    *,
    resume: bool = False,
    run_trial: RunTrial = run_trial_in_process,
) -> StudyEnding:
    """Train everything that has no rows yet; `resume` continues a study that has ended early.

    Raises:
        ValueError: another process is writing to `out`, or the study in it cannot be resumed.
    """
    with locked(out), Interrupts() as interrupts:
        if not resume:
            store.require_new(out)
        loaded = {source.name: _load(source) for source in request.sources}
        metadata = _metadata(request, loaded, out.resolve().name, command)
        if resume:
            earlier = store.read_environment(out)
            require_same(earlier, metadata)
            metadata = resumed_metadata(earlier, command)
        else:
            store.write_environment(out, metadata)
        completed = ACCURACY_TABLE.load_completed(out) if resume else None
        known = completed_units(completed.rows) if completed else frozenset()
        with closing(ACCURACY_TABLE.open(out, completed)) as table:
            failed = 0
            for done, unit in enumerate(request.units, 1):
                if unit in known:
                    continue
                row, data = _row(metadata, request, unit), loaded[unit.dataset]
                rows: list[AccuracyRow] | None
                if isinstance(data, str):
                    rows = failed_rows(row, "skipped", data)
                else:
                    source = SOURCES[unit.dataset]
                    trial = Trial(data, row, source.width, request.epochs_of(source))
                    rows = run_trial(trial, lambda: interrupts.received)
                if rows is None or interrupts.received:
                    break
                table.append(*rows)
                failed += sum(row.status not in ("ok", "skipped") for row in rows)
                observe(StudyProgress(done, len(request.units), rows))
        reason = "interrupted" if interrupts.received else "done"
        store.write_environment(out, {**metadata, "end_reason": reason})
        return StudyEnding(interrupts.received, failed)


def _load(source: Source) -> Dataset | str:
    """Return the data set, or why it is missing."""
    if source.missing:
        return source.missing
    try:
        return source.load()
    except Exception as error:  # from another package; the other data sets continue
        return f"{source.package} cannot load it: {error_line(error)}"


def _metadata(
    request: StudyRequest, loaded: Mapping[str, Dataset | str], run_id: str, command: str
) -> dict[str, Any]:
    """Return environment.json of the start."""
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


def _row(metadata: Mapping[str, Any], request: StudyRequest, unit: Unit) -> AccuracyRow:
    """Return the row of a trial before it has run."""
    return AccuracyRow(
        run_id=metadata["run_id"],
        started_at=metadata["started_at"],
        environment_id=metadata["environment_id"],
        dataset=unit.dataset,
        variant=VARIANTS[0],
        seed=unit.seed,
        device="cpu",
        dtype="float32",
        threads=request.threads,
        status="skipped",
    )


def require_same(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `ValueError` naming the option that differs; both are contents of environment.json."""
    options = _options(earlier)
    for option, value in _options(now).items():
        if option in options and options[option] != value:
            raise ValueError(f"can't resume: {option} was {options[option]}, and is {value} now")
    old, new = (one.get("request", {}).get("datasets", {}) for one in (earlier, now))
    for name, data in new.items():
        if name in old and old[name] != data:
            raise ValueError(f"can't resume: the data of {name} have changed since the start")
    if earlier.get("environment_id", now["environment_id"]) != now["environment_id"]:
        raise ValueError("can't resume: the machine or the version of a package has changed")
    sweep_resume.require_same(earlier, now)


def _options(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the options of a study, as they are typed."""
    request = metadata.get("request", {})
    datasets, epochs = request.get("datasets", {}), request.get("epochs", {})
    return {
        **({"--dataset": ", ".join(datasets)} if datasets else {}),
        **{f"--{name}": str(request[name]) for name in ("seeds", "threads") if name in request},
        **{f"--epochs for {name}": str(number) for name, number in epochs.items()},
    }

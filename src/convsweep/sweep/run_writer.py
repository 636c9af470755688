"""A run's folder while it is written, and what its environment.json says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from convsweep.analysis.summary import SUMMARY_COLUMNS, summarize
from convsweep.measure.sampling import MeasurementConfig
from convsweep.measure.worker import Settings
from convsweep.results import store
from convsweep.results.request_info import read_request_info
from convsweep.results.samples import Samples
from convsweep.results.schema import Row


class RunWriter:
    """A run's folder: its environment, rows and samples as they come, the summary at the end."""

    def __init__(self, out: Path, told: Mapping[str, object], resume: bool = False) -> None:
        self._out, self._told = out, dict(told)
        if not resume:
            out.mkdir(parents=True, exist_ok=True)
            store.write_environment(out, self._told)
        self._measurements = store.Measurements(out, resume)
        self._samples = Samples(out, resume, self._measurements.rows)

    def add(self, row: Row, blocks: Sequence[Sequence[float]]) -> None:
        """Put one row on the disk, its samples first."""
        self._samples.append(self._measurements.rows, blocks)
        self._measurements.append(row)

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


def write_summary(run_dir: Path) -> None:
    """Derive `summary.csv` from `measurements.csv` alone, but for what was asked."""
    requested = read_request_info(store.read_environment(run_dir))
    summary = summarize(store.load(run_dir), requested.baseline, requested.margin)
    store.write_summary(run_dir, summary[list(SUMMARY_COLUMNS)])


def settings_metadata(settings: Settings, found: Mapping[str, object]) -> dict[str, object]:
    """What environment.json says of how cases are measured, and under which conditions."""
    return {
        "seed": settings.seed,
        "case_timeout_s": settings.case_timeout_s,
        **{name: value for name, value in found.items() if name != "memory_limit_bytes"},
        **precision_settings(),
        **asdict(settings.effort or MeasurementConfig()),
    }


def precision_settings() -> dict[str, object]:
    """What every measuring process asks of torch."""
    return {
        "tf32": False,
        "cudnn_benchmark": False,
        "deterministic": False,
        "flush_denormal": False,
    }


def resumed_metadata(earlier: Mapping[str, object], command: str) -> dict[str, object]:
    """What environment.json says once a run is resumed by `command`."""
    before = earlier.get("resumed_by")
    return {
        **earlier,
        "end_reason": None,
        "resumed_by": [*(before if isinstance(before, list) else []), command],
    }


def added(earlier: object, now: Mapping[str, float]) -> dict[str, float]:
    """The seconds of this session and of those that it has resumed."""
    total = {name: float(s) for name, s in earlier.items()} if isinstance(earlier, Mapping) else {}
    for name, seconds in now.items():
        total[name] = total.get(name, 0.0) + seconds
    return total

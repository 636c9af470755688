"""Writer of a run's folder, and the metadata in its environment.json."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

from pandas import DataFrame

from convsweep.analysis.summary import SUMMARY_COLUMNS, summarize
from convsweep.measure.sampling import MeasurementConfig
from convsweep.measure.settings import Settings
from convsweep.results import store
from convsweep.results.csv_table import Completed
from convsweep.results.samples import SampleWriter
from convsweep.results.schema import MEASUREMENTS_TABLE, Row
from convsweep.results.store import RunFolder

_SYNC_S = 1.0


class RunWriter:
    """Writer of a run's folder: environment, rows and samples as they come, summary at the end."""

    folder: RunFolder  # the finished folder; set by `close`
    summary: DataFrame  # one row per case, as `summarize` returns it; set by `close`

    def __init__(
        self, out: Path, metadata: Mapping[str, object], completed: Completed | None = None
    ) -> None:
        """Create the run's files, or append to them behind the `completed` rows."""
        self._out, self._metadata = out, dict(metadata)
        if completed is None:
            out.mkdir(parents=True, exist_ok=True)
        else:  # if this session is killed, its rows are beyond these
            self._metadata["rows"] = len(completed.rows)
        store.write_environment(out, self._metadata)
        self._measurements = MEASUREMENTS_TABLE.open(out, completed)
        self._samples = SampleWriter(out, None if completed is None else self.rows)
        self._synced, self._synced_s = self.rows, monotonic()

    def add(self, row: Row, blocks: Sequence[Sequence[float]]) -> None:
        """Write one row, its samples first; the disk has it after `sync`."""
        self._samples.append(self.rows, blocks)
        self._measurements.append(row, sync=False)

    def sync(self) -> None:
        """Wait until the disk has all rows; at most once per second, since it takes 10 ms."""
        if self._synced < self.rows and monotonic() >= self._synced_s + _SYNC_S:
            self._measurements.append()
            self._synced, self._synced_s = self.rows, monotonic()

    @property
    def rows(self) -> int:
        """Number of rows in the file."""
        return self._measurements.rows

    def update_metadata(self, more: Mapping[str, object]) -> None:
        """Add keys to environment.json."""
        self._metadata |= more
        store.write_environment(self._out, self._metadata)

    def close(self) -> None:
        """Close the files and write summary.csv."""
        self._samples.close()
        self._measurements.close()
        self.folder = RunFolder(self._out)
        self.summary = write_summary(self.folder)


def write_summary(folder: RunFolder) -> DataFrame:
    """Derive summary.csv from the measurements; return all columns of `summarize`."""
    summary = summarize(folder.measurements, folder.request.baseline, folder.request.margin)
    store.write_table(folder.path / store.SUMMARY, summary[list(SUMMARY_COLUMNS)])
    return summary


def settings_metadata(settings: Settings, found: Mapping[str, object]) -> dict[str, object]:
    """Return how cases are measured, with the conditions `found` on the machine."""
    return {
        "seed": settings.seed,
        "case_timeout_s": settings.case_timeout_s,
        **{name: value for name, value in found.items() if name != "memory_limit_bytes"},
        **precision_settings(),
        **asdict(settings.effort or MeasurementConfig()),
    }


def precision_settings() -> dict[str, object]:
    """Return the torch settings of every measuring process."""
    return dict.fromkeys(("tf32", "cudnn_benchmark", "deterministic", "flush_denormal"), False)


def resumed_metadata(earlier: Mapping[str, Any], command: str) -> dict[str, Any]:
    """Return the metadata of a run that is resumed by `command`."""
    commands = [*earlier.get("resumed_by", []), command]
    return {**earlier, "end_reason": None, "resumed_by": commands}

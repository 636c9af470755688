"""Folder of a run: checks before writing, environment.json, and files that are read once."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from convsweep.results.files import UNFINISHED, open_checked, replace_file, spreadsheet_csv
from convsweep.results.lock import LOCK
from convsweep.results.machines import machines, section
from convsweep.results.networks import NETWORKS_TABLE
from convsweep.results.schema import BASELINE, MARGIN, MEASUREMENTS_TABLE

if TYPE_CHECKING:
    from pandas import DataFrame

RESULTS = Path("results")
MEASUREMENTS, SUMMARY, ENVIRONMENT = "measurements.csv", "summary.csv", "environment.json"
LAYERS = "layers.csv"  # File of `convsweep advise`: one row per distinct layer
LARGEST_ENVIRONMENT = 1_048_576  # Bytes


def new_run_id(name: str) -> str:
    """Return a name for a run folder, such as `quick-20261122-231502`."""
    word = re.sub(r"[^A-Za-z0-9_+-]+", "_", name)[:60]
    return f"{word}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def require_new(run_dir: Path) -> None:
    """Raise `ValueError` if `run_dir` is not new or empty, or can't be written."""
    if os.path.lexists(run_dir) and (not run_dir.is_dir() or _is_used(run_dir)):
        raise ValueError(f"{str(run_dir)!r} is not an empty or new folder: it may hold another run")
    require_writable(run_dir)


def _is_used(run_dir: Path) -> bool:
    """Return whether the folder has more files than a run leaves that ended before it began."""
    return any(path.name not in (LOCK, ENVIRONMENT + UNFINISHED) for path in run_dir.iterdir())


def require_run(run_dir: Path) -> None:
    """Raise `ValueError` if `run_dir` is not a run that can be resumed."""
    if not run_dir.is_dir():
        raise ValueError(f"{str(run_dir)!r} is not a run: it is not a folder")
    environment = read_environment(run_dir)
    if not environment:  # a run writes it before its first row
        raise ValueError(f"{str(run_dir)!r} is not a run to be resumed: it has no {ENVIRONMENT}")
    if "merged" in environment:
        raise ValueError(f"{str(run_dir)!r} was merged from other runs: resume those, merge again")
    require_writable(run_dir)


def require_writable(folder: Path) -> None:
    """Raise `ValueError` if files can't be written to `folder`, which may not exist yet."""
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    if not parent.is_dir():
        raise ValueError(f"{str(folder)!r} can't be a folder: {str(parent)!r} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"{str(folder)!r} can't be written: no permission in {str(parent)!r}")


def load(run_dir: str | os.PathLike[str]) -> DataFrame:
    """Return every row of the run in the folder `run_dir`, one column per field of `Row`.

    Raises:
        ValueError: in one line, if the folder has no run, or its file was changed or damaged, is of
            another schema version, or is larger than any run's.
    """
    return MEASUREMENTS_TABLE.load(run_dir)


def read_environment(run_dir: Path) -> dict[str, Any]:
    """Read environment.json; return an empty dictionary if there is none."""
    path = run_dir / ENVIRONMENT
    if not os.path.lexists(path):
        return {}
    with open_checked(path, "an environment file", LARGEST_ENVIRONMENT) as file:
        environment = json.loads(file.read().decode())
        if not isinstance(environment, dict):
            raise ValueError("it has no object")
        return environment


def write_environment(run_dir: Path, environment: Mapping[str, Any]) -> None:
    """Write environment.json in one step."""
    replace_file(run_dir / ENVIRONMENT, json.dumps(environment, indent=2) + "\n")


def write_table(path: Path, table: DataFrame) -> None:
    """Write a table as CSV in one step."""
    replace_file(path, spreadsheet_csv(table))


class RequestInfo(NamedTuple):
    """Baseline, margin and number of cases that a run was requested with."""

    baseline: str = BASELINE
    margin: float = MARGIN
    cases: int = 0  # Number of requested cases on all machines; 0 if unknown
    other_shards_cases: int = 0  # Number of cases of the other shards


def read_request_info(environment: Mapping[str, Any]) -> RequestInfo:
    """Read the request of a run from its environment.json, which may be edited."""
    baseline, margin = environment.get("baseline"), environment.get("margin")
    counts = section(environment, "request")
    cases, all_cases = counts.get("case_count"), counts.get("full_case_count")
    others = all_cases - cases if isinstance(all_cases, int) and isinstance(cases, int) else 0
    return RequestInfo(
        baseline if isinstance(baseline, str) and baseline else BASELINE,
        margin if isinstance(margin, float) and 0 < margin <= 1 else MARGIN,
        sum(_case_counts(environment, cases)) if isinstance(cases, int) else 0,
        max(0, others),
    )


def _case_counts(environment: Mapping[str, Any], cases: int) -> Iterator[int]:
    """Yield the number of cases of each machine; `cases` if a machine records no own number."""
    for machine in machines(environment).values():
        count = section(machine, "request").get("case_count")
        yield count if isinstance(count, int) else cases


@dataclass(frozen=True)
class RunFolder:
    """Folder of one run. Each file is read on first use and kept.

    Reading raises `ValueError` in one line if a file is damaged or of another schema version.
    """

    path: Path

    def __str__(self) -> str:
        """Return the quoted path for error messages."""
        return repr(str(self.path))

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.resolve().name

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Content of environment.json; empty if there is none."""
        return read_environment(self.path)

    @cached_property
    def request(self) -> RequestInfo:
        """Request of the run."""
        return read_request_info(self.environment)

    @cached_property
    def measurements(self) -> DataFrame:
        """Rows of measurements.csv, one column per field of `Row`; the file has to exist."""
        return load(self.path)

    @cached_property
    def networks(self) -> DataFrame:
        """Complete rows of networks.csv, one column per field of `NetworkRow`; often none."""
        return NETWORKS_TABLE.load_completed(self.path).rows

    @property
    def environment_ids(self) -> list[str]:
        """Ids of the machines that were measured; empty if environment.json is damaged."""
        try:
            return sorted(machines(self.environment))
        except ValueError:
            return []

    def siblings(self) -> list[RunFolder]:
        """Return the runs of the same machines in the same parent folder, newest first.

        This run is among them.
        """
        folders = (RunFolder(path) for path in self.path.resolve().parent.iterdir())
        own = self.environment_ids
        same = [run for run in folders if run.path.is_dir() and run.environment_ids == own != []]
        same.sort(key=lambda run: (str(run.environment.get("started_at")), run.path), reverse=True)
        return same

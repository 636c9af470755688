"""Folder of a run: checks before writing, environment.json, and files that are read once."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, NamedTuple

from convsweep.results.files import UNFINISHED, open_checked, replace_file, spreadsheet_parts
from convsweep.results.lock import LOCK
from convsweep.results.machines import machines
from convsweep.results.metadata import FINISHED, require_types
from convsweep.results.networks import NETWORKS_TABLE
from convsweep.results.schema import BASELINE, CASE, CASE_KEYS, MARGIN, MEASUREMENTS_TABLE

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
    try:
        TemporaryFile(dir=parent).close()  # has no name: a killed process leaves nothing
    except OSError as error:
        reason = f"{error.strerror} in {str(parent)!r}"
        raise ValueError(f"{str(folder)!r} can't be written: {reason}") from None


def load(run_dir: str | os.PathLike[str]) -> DataFrame:
    """Return every row of the run in the folder `run_dir`, one column per field of `Row`.

    Raises:
        ValueError: in one line, if the folder has no run, or its file was changed or damaged, is of
            another schema version, is larger than any run's, or has other rows than were written.
    """
    environment = read_environment(Path(run_dir))  # first, as a run may be writing
    rows = MEASUREMENTS_TABLE.load(run_dir)
    if fault := _difference(rows, environment):
        raise ValueError(f"{str(run_dir)!r} {fault}: {MEASUREMENTS} or {ENVIRONMENT} was changed")
    return rows


def _difference(rows: DataFrame, environment: Mapping[str, Any]) -> str | None:
    """Return how rows contradict the metadata of their run, or None.

    The stored number of rows is that at the end of the last session. A session that was killed may
    have added more.
    """
    stored, finished = environment.get("rows"), environment.get("end_reason") is not None
    if stored is not None and (len(rows) < stored or (finished and len(rows) > stored)):
        return f"has {len(rows)} rows, but {stored} were written"
    machines_of = {one for one in machines(environment) if one}
    if machines_of and (others := {*rows["environment_id"]} - machines_of):
        return f"has rows of the environment {sorted(others)[0]!r}, which it does not describe"
    run_id = environment.get("run_id", "").encode(errors="backslashreplace").decode()  # as in rows
    if run_id and "merged" not in environment and (others := {*rows["run_id"]} - {run_id}):
        return f"has rows of the run {sorted(others)[0]!r}"
    if most := read_request_info(environment).cases:
        cases = rows.loc[rows["role"].eq(CASE), CASE_KEYS].drop_duplicates()
        if len(cases) > most:
            return f"has {len(cases)} cases, but {most} were requested"
    return None


def read_environment(run_dir: Path) -> dict[str, Any]:
    """Read environment.json; return an empty dictionary if there is none."""
    path = run_dir / ENVIRONMENT
    if not os.path.lexists(path):
        return {}
    with open_checked(path, "an environment file", LARGEST_ENVIRONMENT) as file:
        environment = json.loads(file.read().decode(), parse_constant=_no_number)
        if not isinstance(environment, dict):
            raise ValueError("it has no object")
        require_types(environment)
        backends = environment.get("request", {}).get("backends")
        if backends and environment.get("baseline", backends[0]) not in backends:
            raise ValueError(f"its baseline {environment['baseline']!r} is none of its backends")
        return environment


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def write_environment(run_dir: Path, environment: Mapping[str, Any]) -> None:
    """Write environment.json in one step."""
    replace_file(run_dir / ENVIRONMENT, json.dumps(environment, indent=2) + "\n")


def write_table(path: Path, table: DataFrame) -> None:
    """Write a table as CSV in one step."""
    replace_file(path, spreadsheet_parts(table))


class RequestInfo(NamedTuple):
    """Baseline, margin and number of cases that a run was requested with."""

    baseline: str = BASELINE
    margin: float = MARGIN
    cases: int = 0  # Number of requested cases on all machines; 0 if unknown
    other_shards_cases: int = 0  # Number of cases of the other shards


def read_request_info(environment: Mapping[str, Any]) -> RequestInfo:
    """Read the request of a run from its environment.json."""
    request = environment.get("request", {})
    cases = request.get("case_count", 0)
    return RequestInfo(
        environment.get("baseline", BASELINE),
        environment.get("margin", MARGIN),
        sum(
            machine.get("request", {}).get("case_count", cases)
            for machine in machines(environment).values()
        ),
        max(0, request.get("full_case_count", cases) - cases) if cases else 0,
    )


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

    @property
    def unfinished(self) -> str:
        """How the run ended early, such as `interrupted`; empty if it did not or is unknown."""
        reason = self.environment.get("end_reason")
        if "request" not in self.environment or reason in FINISHED:
            return ""
        return reason or "cut off or still running"

    @cached_property
    def measurements(self) -> DataFrame:
        """Rows of measurements.csv, one column per field of `Row`; the file has to exist."""
        return load(self.path)

    @cached_property
    def networks(self) -> DataFrame:
        """Complete rows of networks.csv, one column per field of `NetworkRow`; often none."""
        return NETWORKS_TABLE.load_completed(self.path, older=True).rows

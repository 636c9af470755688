"""Folder of one run; each of its files is read once and kept for every caller."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convsweep.results import store
from convsweep.results.machines import machines
from convsweep.results.networks import NETWORKS_TABLE
from convsweep.results.request_info import RequestInfo, read_request_info

if TYPE_CHECKING:
    from pandas import DataFrame


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
        return store.read_environment(self.path)

    @cached_property
    def request(self) -> RequestInfo:
        """Baseline, margin and number of cases that the run was requested with."""
        return read_request_info(self.environment)

    @cached_property
    def measurements(self) -> DataFrame:
        """Rows of measurements.csv, one column per field of `Row`; the file has to exist."""
        return store.load(self.path)

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
        return sorted(
            same, key=lambda run: (str(run.environment.get("started_at")), run.path), reverse=True
        )

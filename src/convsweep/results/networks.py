"""networks.csv: times of whole networks and of the kinds of calls in them, per pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convsweep.results.csv_table import CsvTable
from convsweep.results.schema import STATUSES

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA_VERSION = 1
WHOLE, INSTRUMENTED = "whole", "instrumented"
"""Values of `kind`: the unchanged forward pass or training step, and that with timed parts."""
CONVOLUTION, OTHER = "convolution", "other"
"""Values of `kind`: calls of one problem, and calls without a kind of their own."""
BACKWARD = "backward of "  # Start of the kinds of backward passes of calls, in a training step


@dataclass(frozen=True, kw_only=True)
class NetworkRow:
    """One kind of call in one network and pass. A missing value is None."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    pass_index: int
    started_at: str
    environment_id: str
    network: str
    device: str
    dtype: str
    memory_format: str
    threads: int
    kind: str  # `whole`, `instrumented`, `convolution`, another kind of call, `backward of` a kind
    layer: str | None = None  # Name of the workload's layer with this problem
    problem: str | None = None
    count: int | None = None  # Calls of this kind and problem per pass or step
    calls: int | None = None  # Number of forward passes or training steps that were timed
    call_s: float | None = None  # Seconds per call: mean over places and faster half of `calls`
    total_s: float | None = None  # Seconds of all these calls in one forward pass or training step
    status: str
    reason: str | None = None
    batch_size: int = 1  # Number of images
    direction: str = "forward"  # `forward`, or `training`: forward, loss, backward and SGD step


def _complete_rows(rows: DataFrame) -> int:
    """Return the number of rows up to the last whole network, which ends each measurement."""
    return int(rows["kind"].eq(WHOLE).to_numpy().nonzero()[0].max(initial=-1)) + 1


NETWORKS_TABLE = CsvTable(
    NetworkRow,
    file_name="networks.csv",
    kind="a networks file",
    version=SCHEMA_VERSION,
    largest_file=33_554_432,
    allowed={"status": STATUSES},
    complete_rows=_complete_rows,
    later=2,
)

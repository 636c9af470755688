"""What is known of one case in one pass: a row of measurements.csv."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import get_type_hints

SCHEMA_VERSION = 5
STATUSES = ("mismatch", "crash", "error", "out_of_memory", "timeout", "skipped", "ok")
"""How a case can end, the worst first."""
CEILINGS, HALVES = "roofline", "halves"
"""Words for `workload`: rows that measure the machine, or one half of a separable layer alone."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case in one pass; seconds, bytes and counts. What is missing is None, never 0."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    pass_index: int
    started_at: str
    environment_id: str
    problem: str
    batch_size: int
    in_channels: int
    out_channels: int
    input_size: str
    kernel_size: str
    stride: str
    padding: str
    dilation: str
    groups: int
    bias: bool
    weight_kind: str
    workload: str | None = None
    layer: str | None = None
    count: int = 1
    backend: str
    backend_version: str | None = None
    device: str
    device_name: str | None = None
    dtype: str
    memory_format: str
    threads: int
    cache: str = "hot"
    driver: str = "convsweep"
    status: str
    reason: str | None = None
    max_abs_err: float | None = None
    error_ratio: float | None = None
    prepare_s: float | None = None
    first_call_s: float | None = None
    samples: int | None = None
    iterations: int | None = None
    min_s: float | None = None
    p05_s: float | None = None
    median_s: float | None = None
    p95_s: float | None = None
    mad_s: float | None = None
    peak_memory_bytes: int | None = None
    """What one call needs at its peak beyond what is kept between calls; once a run."""
    page_faults_per_call: float | None = None
    context_switches: int | None = None
    load: float | None = None
    clock_hz: float | None = None
    flags: str | None = None
    macs: int
    backend_macs: int | None = None
    min_bytes: int
    backend_bytes: int | None = None
    family: str | None = None
    """The backend's; None is the textbook's."""
    relative_err: float | None = None
    """max|y - true y| / max|true y|, on the tensors that are timed."""
    node: str | None = None
    """Of a cluster, the node that it was measured on."""


COLUMNS = tuple(field.name for field in fields(Row))
ADDED: Mapping[int, Mapping[str, str | None]] = {
    2: {"cache": "hot", "load": None, "clock_hz": None, "flags": None},
    3: {"backend_bytes": None},
    4: {"family": None, "relative_err": None},
    5: {"node": None},
}
"""What each schema version has columns for and the one before had not, and how it was."""
REQUIRED = tuple(field.name for field in fields(Row) if "None" not in str(field.type))

# What makes two rows the same case, in the order of the file.
CASE_COLUMNS = (*COLUMNS[COLUMNS.index("environment_id") : COLUMNS.index("status")],)
# What two cases must share for their times to be divided by each other.
PROBLEM_COLUMNS = tuple(
    c for c in CASE_COLUMNS if c not in ("backend", "backend_version", "device_name")
)


def columns_of(version: int) -> tuple[str, ...]:
    """The columns of a schema version, in the order of the file."""
    later = [name for since, names in ADDED.items() if since > version for name in names]
    return tuple(name for name in COLUMNS if name not in later)


_PANDAS_TYPES = {int: "Int64", float: "float64", str: "string", bool: "boolean"}


def pandas_types() -> dict[str, str]:
    """The pandas dtype of every column, read off `Row`'s annotations."""
    hints = get_type_hints(Row)
    return {
        name: next(t for kind, t in _PANDAS_TYPES.items() if hints[name] in (kind, kind | None))
        for name in COLUMNS
    }

"""What is known of one case in one pass: a row of measurements.csv."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import get_type_hints

SCHEMA_VERSION = 6
STATUSES = ("mismatch", "crash", "error", "out_of_memory", "timeout", "skipped", "ok")
"""How a case can end, the worst first."""
CASE, ROOFLINE, SEPARABLE_PART = "case", "roofline", "separable_part"
"""Values of `role`: a requested case, a roofline probe of the machine, one part of a separable layer."""


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
    layer_count: int = 1
    """How often the network contains the layer."""
    role: str = CASE
    """`case`, `roofline` or `separable_part`."""
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
    load_avg_1m: float | None = None
    cpu_freq_hz: float | None = None
    sample_flags: str | None = None
    macs: int
    backend_macs: int | None = None
    min_bytes: int
    backend_bytes: int | None = None
    backend_family: str = "basic"
    """`basic`, `algorithms`, `kernels` or `engines`."""
    relative_err: float | None = None
    """max|y - true y| / max|true y|, on the tensors that are timed."""
    node: str | None = None
    """Of a cluster, the node that it was measured on."""


COLUMNS = tuple(field.name for field in fields(Row))
REQUIRED = tuple(field.name for field in fields(Row) if "None" not in str(field.type))

# What makes two rows the same case, in the order of the file.
CASE_COLUMNS = (*COLUMNS[COLUMNS.index("environment_id") : COLUMNS.index("status")],)
# What two cases must share for their times to be divided by each other.
PROBLEM_COLUMNS = tuple(
    c for c in CASE_COLUMNS if c not in ("backend", "backend_version", "device_name")
)

MACHINE_COLUMNS = ("environment_id", "device", "dtype", "threads")
"""Columns that must be equal for two cases to share one roofline."""
NOISE = "noise"
"""Name of the requests of `convsweep noise`."""

_PANDAS_TYPES = {int: "Int64", float: "float64", str: "string", bool: "boolean"}


def pandas_types() -> dict[str, str]:
    """The pandas dtype of every column, read off `Row`'s annotations."""
    hints = get_type_hints(Row)
    return {
        name: next(t for kind, t in _PANDAS_TYPES.items() if hints[name] in (kind, kind | None))
        for name in COLUMNS
    }

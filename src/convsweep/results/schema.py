"""Columns of measurements.csv: one row per case and pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from convsweep.results.csv_table import CsvTable, columns_of

if TYPE_CHECKING:
    from pandas import DataFrame, Series

SCHEMA_VERSION = 6
STATUSES = ("mismatch", "crash", "error", "out_of_memory", "timeout", "skipped", "ok")
"""How a case can end, the worst first."""
CASE, ROOFLINE, SEPARABLE_PART = "case", "roofline", "separable_part"
"""Values of `role`: requested case, roofline probe of the machine, part of a separable layer."""
BASELINE = "torch_conv"  # Backend that speedups are relative to, by default
MARGIN = 0.02  # Relative difference below which two times are the same, by default
NOISE = "noise"  # Name of the requests of `convsweep noise`
AGAIN, SLOWED = "again", "5%"
"""Ends, after a plus, of the names of a backend's variants in A/A tests: unchanged, slowed."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case in one pass. A missing value is None, never 0."""

    schema_version: int = SCHEMA_VERSION  # Version of these columns
    run_id: str  # Name of the run
    pass_index: int  # Number of the pass, from 0
    started_at: str  # When the case was recorded: UTC, ISO 8601
    environment_id: str  # Hash of names and versions: machine, packages, devices; of no host or day
    problem: str  # Label of the problem, as `ConvProblem.parse` reads it
    batch_size: int  # N
    in_channels: int  # C_in
    out_channels: int  # C_out
    input_size: str  # Input height and width, such as `56x56`
    kernel_size: str  # Kernel height and width
    stride: str  # Step of the kernel per dimension
    padding: str  # Zeros added on each side per dimension
    dilation: str  # Distance of the kernel's taps per dimension
    groups: int  # Number of groups of channels that are convolved separately
    bias: bool  # Whether a bias per output channel is added
    weight_kind: str  # `dense`, or `separable`: composed of depthwise and pointwise factors
    workload: str | None = None  # Network whose layer this is
    layer: str | None = None  # Name of the layer in the network
    layer_count: int = 1  # Number of times that the network contains the layer
    role: str = CASE  # `case`, `roofline` or `separable_part`
    backend: str  # Name of the backend
    backend_version: str | None = None  # Version of the package that computes
    device: str  # `cpu`, or `cuda` with an index
    device_name: str | None = None  # Product name of the device
    dtype: str  # Data type of the tensors, such as `float32`
    memory_format: str  # `contiguous` or `channels_last`
    threads: int  # Number of threads that compute
    cache: str = "hot"  # `hot`, or `cold`: flushed before every call
    driver: str = "convsweep"  # Program that measured: `convsweep` or `pytest-benchmark`
    status: str  # How the case ended: one of `STATUSES`
    reason: str | None = None  # Why the status is not `ok`
    max_abs_err: float | None = None  # Largest error against float64; if `projected`, of a part
    error_ratio: float | None = None  # Max error / (eps of computing * max(conv(|x|, |w|)))
    prepare_s: float | None = None  # Seconds of `prepare`, which depends on the weights alone
    first_call_s: float | None = None  # Seconds of the first call, with all compilation in it
    samples: int | None = None  # Number of samples in the pass
    iterations: int | None = None  # Number of calls per sample
    min_s: float | None = None  # Fastest sample, in seconds per call
    p05_s: float | None = None  # 5th percentile of the samples, in seconds per call
    median_s: float | None = None  # Median of the samples, in seconds per call
    p95_s: float | None = None  # 95th percentile of the samples, in seconds per call
    mad_s: float | None = None  # Median absolute deviation of the samples, in seconds per call
    peak_memory_bytes: int | None = None  # Peak beyond what calls keep; measured once per run
    page_faults_per_call: float | None = None  # Page faults per call, minor and major
    context_switches: int | None = None  # Involuntary context switches while the case was timed
    load_avg_1m: float | None = None  # Load average of the machine over one minute
    cpu_freq_hz: float | None = None  # Clock rate of the processor after the last block, in Hz
    sample_flags: str | None = None  # Irregularities, and how it was checked, separated by `|`
    macs: int  # Multiply-accumulates of the problem, padded taps counted
    backend_macs: int | None = None  # Multiply-accumulates of the backend's algorithm
    min_bytes: int  # Bytes of input, weights and output together
    backend_bytes: int | None = None  # Bytes that the backend's algorithm must move at least
    backend_family: str = "basic"  # `basic`, `algorithms`, `kernels` or `engines`
    relative_err: float | None = None  # max|y - reference| / max|reference|, on the timed tensors
    node: str | None = None  # Node of a cluster that measured the case
    implementation: str | None = None  # Operators and kernels that a call ran; once per run
    reorders: int | None = None  # Layout conversions and copies per call
    kernel_s: float | None = None  # Seconds per call in the kernels that compute
    reorder_s: float | None = None  # Seconds per call in layout conversions and copies
    cycles_per_call: float | None = None  # CPU cycles in user mode, of all threads; if cold, empty
    instructions_per_call: float | None = None  # Instructions in user mode
    cache_misses_per_call: float | None = None  # Misses of the last cache in user mode
    energy_j_per_call: float | None = None  # Joules of all processor packages, by RAPL
    direction: str = "forward"  # Or `backward_input`, `backward_weight`, `training`
    block: str = "conv"  # Or `conv_bn_act`, `conv_bn_act_folded`: with batch norm and ReLU
    padding_end: str | None = None  # Zeros behind the image, unless `padding` is also theirs
    output_padding: str | None = None  # Outputs added at the end of a transposed one; else empty
    sqnr_db: float | None = None  # 10 log10(sum of reference^2 / sum of error^2); empty if exact
    time_s: float | None = None  # Time of the pass per call; if empty, `median_s`


def pass_times(rows: DataFrame) -> Series[float]:
    """Return the seconds per call of each row; medians in files that have no `time_s`."""
    return rows["time_s"].astype("float64").fillna(rows["median_s"])


def _require_consistent(frame: DataFrame) -> None:
    """Raise `ValueError` if rows contradict themselves or each other."""
    ok, shapes = frame["status"].eq("ok"), frame[["problem", *_LABEL.values()]].drop_duplicates()
    cells = shapes.astype({"bias": "Int64"})[[*_LABEL.values()]].astype("string").fillna("")
    sizes = (zip(_LABEL, own, strict=True) for own in cells.itertuples(index=False, name=None))
    labels = ("".join(letters + size for letters, size in own if size) for own in sizes)
    others = {one for one, label in zip(shapes["problem"], labels, strict=True) if one != label}
    of_case = [name for name in CASE_KEYS if name not in _LABEL.values()]
    faults = {
        "status ok and no median_s above 0": ok & ~frame["median_s"].gt(0),
        "a median_s and another status than ok": ~ok & frame["median_s"].notna(),
        "a time_s and another status than ok": ~ok & frame["time_s"].notna(),
        "a time_s of 0": frame["time_s"].eq(0),
        "a shape that is not that of its problem": frame["problem"].isin(others),
        "a case and pass of an earlier row": frame.duplicated([*of_case, "pass_index"]),
    }
    for low, high in (*pairwise(("min_s", "p05_s", "median_s", "p95_s")), ("min_s", "time_s")):
        faults[f"a {low} above its {high}"] = frame[low] > frame[high] * (1 + _ROUNDING)
    for name, keys in _FUNCTION_OF.items():
        fault = f"another {name} than an earlier row of its {', '.join(keys)}"
        faults[fault] = frame[[*keys, name]].dropna().drop_duplicates().duplicated(keys)
    for fault, rows in faults.items():
        if rows.any():
            raise ValueError(f"row {rows[rows].index[0] + 1} has {fault}")


COLUMNS = tuple(column.name for column in columns_of(Row))
COUNT_COLUMNS = COLUMNS[COLUMNS.index("cycles_per_call") : COLUMNS.index("direction")]
"""Counts of the hardware, empty where they cannot be read."""
TRACE_COLUMNS = COLUMNS[COLUMNS.index("implementation") : COLUMNS.index("cycles_per_call")]
"""What a call ran, found once per run."""
MEASUREMENTS_TABLE = CsvTable(
    Row,
    file_name="measurements.csv",
    kind="a measurements file",
    version=SCHEMA_VERSION,
    largest_file=134_217_728,
    allowed={"status": STATUSES},
    limits={
        **dict.fromkeys(("max_abs_err", "error_ratio", "relative_err"), (0, math.inf)),
        "sqnr_db": (-math.inf, math.inf),
        **dict.fromkeys(("layer_count", "threads", "samples", "iterations"), (1, 2**31)),
    },
    check=_require_consistent,
    later=len(COLUMNS) - COLUMNS.index("implementation"),
)
CASE_COLUMNS = (
    *COLUMNS[COLUMNS.index("environment_id") : COLUMNS.index("status")],
    *("direction", "block", "padding_end", "output_padding"),
)
"""Columns that identify a case; those of two rows of one case are equal."""
PROBLEM_COLUMNS = tuple(
    name for name in CASE_COLUMNS if name not in ("backend", "backend_version", "device_name")
)
"""Columns that must be equal for two times to be divided by each other."""
BATCH_SIZE = "batch_size"
SETTING_AXES = (
    "device", "dtype", "memory_format", "threads", "cache", "direction", "block", BATCH_SIZE,
)  # fmt: skip
"""Columns in which siblings differ: the same layer in several settings, or several batch sizes."""
SIBLING_COLUMNS = tuple(name for name in PROBLEM_COLUMNS if name not in ("problem", *SETTING_AXES))
"""Columns that are equal for siblings."""
CASE_KEYS = [*PROBLEM_COLUMNS, "backend"]  # Columns that tell the cases of a run apart
_LABEL = {
    "n": "batch_size", "_ci": "in_channels", "_co": "out_channels", "_i": "input_size",
    "_k": "kernel_size", "_s": "stride", "_p": "padding", "_d": "dilation", "_g": "groups",
    "_b": "bias", "_e": "padding_end", "_t": "output_padding",
}  # fmt: skip
"""Parts of the label of a problem, and the columns that repeat them; the last two may be empty."""
_FUNCTION_OF = {
    "macs": ["problem", "direction"],
    "min_bytes": ["problem", "dtype", "direction"],
    "backend_macs": ["problem", "backend", "direction"],
    "backend_bytes": ["problem", "backend", "dtype", "direction"],
    "backend_family": ["backend"],
}
"""Columns whose values follow from other columns."""
_ROUNDING = 1e-9  # relative; quantiles are interpolated
MACHINE_COLUMNS = ("environment_id", "device", "dtype", "threads")
"""Columns that must be equal for two cases to share one roofline."""

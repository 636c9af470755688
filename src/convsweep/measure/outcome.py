"""What came out of one case in one pass, and its row in the results."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import torch

from convsweep.backends.base import Backend
from convsweep.formatting import one_line
from convsweep.measure.inputs import torch_dtype
from convsweep.problems.case import Case
from convsweep.problems.problem import format_size
from convsweep.results.store import Row

_OUT_OF_MEMORY = ("not enough memory", "can't allocate memory")  # torch's CPU allocator

Status = Literal["ok", "skipped", "mismatch", "timeout", "out_of_memory", "crash", "error"]


@dataclass(frozen=True)
class Outcome:
    """How one case went in one pass: every column that is measured; None where nothing was."""

    status: Status
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
    page_faults_per_call: float | None = None
    context_switches: int | None = None
    load_avg_1m: float | None = None
    cpu_freq_hz: float | None = None
    sample_flags: str | None = None
    relative_err: float | None = None
    gate_calls_s: float = 0.0
    """What the backend's calls at the gate took; no column holds it."""
    blocks: tuple[tuple[float, ...], ...] = ()
    """Every sample, block by block, for the samples file; no column holds it."""


NO_COLUMNS = ("gate_calls_s", "blocks")
"""What of an outcome is in no row."""


@dataclass(frozen=True)
class RunInfo:
    """What all rows of one run share."""

    run_id: str
    environment_id: str
    device_descriptions: dict[str, str]
    driver: str = "convsweep"


def failure(error: BaseException) -> Outcome:
    """The outcome of a case that raised."""
    text = one_line(f"{type(error).__name__}: {error}")
    out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in text for words in _OUT_OF_MEMORY
    )
    return Outcome("out_of_memory" if out_of_memory else "error", text)


def utc_now() -> str:
    """This moment, as the results spell it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def make_row(
    run: RunInfo,
    case: Case,
    backend: Backend,
    pass_index: int,
    outcome: Outcome,
    node: str | None = None,
) -> Row:
    """The row of one case in one pass, of a cluster's `node`."""
    problem, layer = case.problem, case.layer
    itemsize = torch_dtype(case.dtype).itemsize
    computes = outcome.status != "skipped"
    measured = {name: value for name, value in vars(outcome).items() if name not in NO_COLUMNS}
    return Row(
        run_id=run.run_id,
        pass_index=pass_index,
        started_at=utc_now(),
        environment_id=run.environment_id,
        problem=problem.label,
        batch_size=problem.batch_size,
        in_channels=problem.in_channels,
        out_channels=problem.out_channels,
        input_size=format_size(problem.input_size),
        kernel_size=format_size(problem.kernel_size),
        stride=format_size(problem.stride),
        padding=format_size(problem.padding),
        dilation=format_size(problem.dilation),
        groups=problem.groups,
        bias=problem.bias,
        weight_kind=case.weight_kind,
        workload=layer.workload,
        layer=layer.name,
        layer_count=layer.count,
        role=layer.role,
        backend=case.backend,
        backend_version=backend.version or None,
        device=case.device,
        device_name=run.device_descriptions[case.device],
        dtype=case.dtype,
        memory_format=case.memory_format,
        threads=case.threads,
        cache=case.cache,
        driver=run.driver,
        macs=problem.macs,
        backend_macs=backend.macs(problem) if computes else None,
        min_bytes=problem.min_bytes(itemsize),
        backend_bytes=backend.min_bytes(problem, itemsize) if computes else None,
        backend_family=backend.family,
        node=node,
        **measured,
    )

"""Outcome of one case in one pass, and its row in measurements.csv."""

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

from convsweep.analysis.sample_flags import RETRIED
from convsweep.backends.base import Backend, Unsupported
from convsweep.backends.registry import skip_reason
from convsweep.backends.work import executed_macs, least_bytes, moved_bytes
from convsweep.formatting import error_line, one_line
from convsweep.problems.case import Case
from convsweep.problems.problem import format_size
from convsweep.results.schema import COLUMNS, Row

_OUT_OF_MEMORY = ("not enough memory", "can't allocate memory")  # torch's CPU allocator

Status = Literal["ok", "skipped", "mismatch", "timeout", "out_of_memory", "crash", "error"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Measured values of one case in one pass; None if not measured. Fields are those of `Row`."""

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
    implementation: str | None = None
    reorders: int | None = None
    kernel_s: float | None = None
    reorder_s: float | None = None
    cycles_per_call: float | None = None
    instructions_per_call: float | None = None
    cache_misses_per_call: float | None = None
    energy_j_per_call: float | None = None
    sqnr_db: float | None = None
    time_s: float | None = None
    # These are no columns.
    call_s: float | None = None  # least seconds of a call, from the gate; None: not known
    gate_calls_s: float = 0.0  # seconds of the backend's calls in the gate
    trace_s: float = 0.0  # seconds of finding the implementation
    blocks: tuple[tuple[float, ...], ...] = ()  # all samples by block, for the samples file
    accepted: bytes = b""  # pickle of the outputs that were `ok`, for later passes


MEASURED_COLUMNS = tuple(field.name for field in fields(Outcome) if field.name in COLUMNS)
"""Columns of a row that come from its outcome."""


@dataclass(frozen=True)
class RunInfo:
    """Values that all rows of one run share."""

    run_id: str
    environment_id: str
    device_descriptions: dict[str, str]
    driver: str = "convsweep"


def skipped_outcome(case: Case, backend: Backend) -> Outcome | None:
    """Return the outcome `skipped` with the reason if the backend cannot run the case, or None."""
    if case.memory_format == "channels_last" and case.problem.rank == 1:
        return Outcome("skipped", "channels_last needs 2 or 3 spatial dimensions")
    reason = skip_reason(
        backend,
        case.problem,
        weight_kind=case.weight_kind,
        device=case.device,
        dtype=case.dtype,
        direction=case.direction,
        block=case.block,
    )
    return Outcome("skipped", reason) if reason else None


def retried(outcome: Outcome) -> Outcome:
    """Return the outcome of a second attempt, marked as one."""
    if outcome.status == "timeout":
        return replace(outcome, reason=f"{outcome.reason}, in both attempts")
    return flagged(outcome, RETRIED)


def flagged(outcome: Outcome, *flags: str | None) -> Outcome:
    """Return the outcome with these flags after its own."""
    every = filter(None, (outcome.sample_flags, *flags))
    return replace(outcome, sample_flags="|".join(every) or None)


def failure(error: BaseException) -> Outcome:
    """Return the outcome of a case that raised: `out_of_memory`, `error` or `skipped`."""
    import torch

    if isinstance(error, Unsupported):
        return Outcome("skipped", one_line(str(error)))
    text = error_line(error)
    out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in text for words in _OUT_OF_MEMORY
    )
    return Outcome("out_of_memory" if out_of_memory else "error", text)


def utc_now() -> str:
    """Return the current time in ISO 8601, in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@lru_cache(maxsize=256)
def _case_columns(case: Case) -> dict[str, Any]:
    """Return the columns of a case that are the same in every pass."""
    problem, layer = case.problem, case.layer
    values: dict[str, Any] = {
        one.name: getattr(of, one.name)
        for of in (problem, case)
        for one in fields(of)
        if one.name in COLUMNS
    }
    for name, value in values.items():
        if isinstance(value, tuple):
            values[name] = format_size(value)
    if problem.padding_end == problem.padding:
        values["padding_end"] = None
    if not problem.transposed:
        values["output_padding"] = None
    return values | {
        "problem": problem.label,
        "workload": layer.workload,
        "layer": layer.name,
        "layer_count": layer.count,
        "role": layer.role,
        "macs": case.products * problem.macs,
        "min_bytes": least_bytes(case),
    }


def make_row(
    run: RunInfo,
    case: Case,
    backend: Backend,
    pass_index: int,
    outcome: Outcome,
    node: str | None = None,
) -> Row:
    """Return the row of one case in one pass; `node` is the cluster node that measured it."""
    computes = outcome.status != "skipped"
    return Row(
        run_id=run.run_id,
        pass_index=pass_index,
        started_at=utc_now(),
        environment_id=run.environment_id,
        backend_version=backend.version or None,
        device_name=run.device_descriptions[case.device],
        driver=run.driver,
        backend_macs=executed_macs(backend, case) if computes else None,
        backend_bytes=moved_bytes(backend, case) if computes else None,
        backend_family=backend.family,
        node=node,
        **_case_columns(case),
        **{name: getattr(outcome, name) for name in MEASURED_COLUMNS},
    )

"""call_parts.csv: where the time of one call goes, as `convsweep explain` measures it."""

from __future__ import annotations

from dataclasses import dataclass

CALL_PARTS = "call_parts.csv"
WHOLE, UNATTRIBUTED = "whole call", "unattributed"
KERNEL, MOVES, WEIGHTS = "kernel", "reorders and copies", "weight reorders"
ALLOCATION, PAGE_FAULTS, FIXED = "allocation", "page faults", "fixed cost per call"
PARTS = (KERNEL, MOVES, WEIGHTS, ALLOCATION, PAGE_FAULTS, FIXED, UNATTRIBUTED)
"""Values of `part`, besides `whole call` and the steps of a strategy."""


@dataclass(frozen=True, kw_only=True)
class CallPartRow:
    """One part of one call. A missing value is None."""

    problem: str
    backend: str
    device: str
    dtype: str
    memory_format: str
    threads: int
    allocator: str  # `retain` or `system`
    status: str
    reason: str | None = None
    implementation: str | None = None
    reorders: int | None = None  # Layout conversions and copies per call
    passes: int | None = None  # Number of processes that measured the call
    part: str | None = None  # `whole call`, a step of the strategy, or one of the parts above
    seconds: float | None = None  # Mean over passes of the seconds per call
    ci_low_s: float | None = None  # Lower end of its 95 % interval
    ci_high_s: float | None = None  # Upper end of its 95 % interval
    page_faults_per_call: float | None = None
    fixed_cost_problem: str | None = None  # Problem whose calls gave the fixed cost

"""Timing of one problem's backends in a worker process, block by block.

The parent process requests every step, so that backends of several processes can take turns.
"""

import gc
import math
from dataclasses import dataclass, field, replace
from time import perf_counter

import psutil

from convsweep.analysis.sample_flags import DISTURBED, MOST_TRACED, OTHER_BITS, UNNAMED, flags
from convsweep.backends.base import Implementation
from convsweep.backends.variants import extra_work
from convsweep.formatting import one_line
from convsweep.measure.call_parts import explain
from convsweep.measure.checks import Result, recheck
from convsweep.measure.directions import DirectedConv
from convsweep.measure.gate import BenchmarkGroup, ValidatedCase, validate
from convsweep.measure.messages import CallParts
from convsweep.measure.outcome import Outcome, flagged
from convsweep.measure.sampling import (
    MeasurementConfig,
    SamplingPlan,
    discard_warmup,
    make_cold_plan,
    make_plan,
    pass_time,
    quantiles,
    time_block,
    warm_up,
)
from convsweep.measure.settings import Settings
from convsweep.measure.trace import trace
from convsweep.system.counters import ZERO, Counters, Counts, system_counts
from convsweep.system.environment import core_clock_hz

_SLOW_CALL_S = 0.02  # from this on, no calls are made to find reused memory
_MEMORY_CALLS = 5  # if the backend may reuse the memory of its outputs
_EXTRA_CALL_SHARE = 0.1  # of a case's time limit: a longer call is not repeated after timing


@dataclass
class _TimedCase:
    """State of one backend while it is timed."""

    validated: ValidatedCase
    plan: SamplingPlan
    blocks: list[tuple[float, ...]] = field(default_factory=list)
    counts: Counts = ZERO
    clocks_hz: list[float | None] = field(default_factory=list)


class GroupTimer:
    """Timer of one benchmark group: validates, warms up, times and checks each case."""

    def __init__(self, group: BenchmarkGroup, counters: Counters | None = None) -> None:
        self.group = group
        hot_on_cpu = group.device.name == "cpu" and group.cases[0].cache == "hot"
        self._read_counts = counters.read if counters and hot_on_cpu else system_counts
        self._validated: dict[int, ValidatedCase] = {}
        self._timed: dict[int, _TimedCase] = {}

    def validate(self, index: int, accepted: bytes = b"", call_s: float | None = None) -> Outcome:
        """Prepare and check one case's backend; `ok` without a time if it passes."""
        validated = validate(self.group, index, accepted, call_s)
        if isinstance(validated, Outcome):
            return validated
        self._validated[index] = validated
        if self.group.settings.effort:
            return validated.outcome
        return add_implementation(validated.outcome, validated, self.group)

    def warm_up(self, index: int) -> SamplingPlan:
        """Warm up a validated backend and return the plan to time it."""
        case, device, validated = self.group.cases[index], self.group.device, self._validated[index]
        call, call_s = validated.call, validated.call_s
        effort = self.group.settings.effort or MeasurementConfig()
        if (left_s := effort.warm_up_s - validated.called_s) > 0:
            call_s = warm_up(device.clock, call, left_s)
        if case.cache == "cold":
            device.flush_caches()  # the first one allocates
            plan = make_cold_plan(call_s, device.clock(device.flush_caches), effort)
        else:
            plan = make_plan(call_s, device.clock_overhead_s, effort, extra_work(case.backend))
        self._timed[index] = _TimedCase(validated, plan)
        return plan

    def time_block(self, index: int) -> Result:
        """Time one block of a warm case; return the output of its last call."""
        timed, device = self._timed[index], self.group.device
        call, plan = timed.validated.call, timed.plan
        is_cold = self.group.cases[0].cache == "cold"
        gc.disable()
        try:
            discard_warmup(device.clock, call, plan)
            before = self._read_counts()
            empty = device.flush_caches if is_cold else lambda: None
            samples, output = time_block(device.clock, call, plan, empty)
            timed.counts = timed.counts.add(before, self._read_counts())
        finally:
            gc.enable()
        timed.clocks_hz.append(core_clock_hz())
        timed.blocks.append(tuple(samples))
        return output

    def time_last_block(self, index: int) -> Outcome | None:
        """Time one block on a changed input; return None if its last output is right."""
        group, validated = self.group, self._timed[index].validated
        calls = _MEMORY_CALLS if validated.call_s < _SLOW_CALL_S else 0
        reason = recheck(
            lambda: self.time_block(index), [validated.call] * calls, group.inputs,
            validated.targets, validated.accepted, validated.start,
        )  # fmt: skip
        if reason is None:
            return None
        del self._timed[index]
        return Outcome("mismatch", reason)

    def finish(self, index: int) -> Outcome:
        """Return the measured outcome."""
        timed = self._timed.pop(index)
        plan = timed.plan
        samples = [sample for block in timed.blocks for sample in block]
        other = OTHER_BITS if timed.validated.other_bits else None
        known = filter(None, (other, timed.validated.outcome.sample_flags))
        outcome = replace(
            timed.validated.outcome,
            accepted=b"",
            samples=len(samples),
            iterations=plan.iterations,
            peak_memory_bytes=self._peak_memory(timed.validated),
            load_avg_1m=psutil.getloadavg()[0],
            cpu_freq_hz=timed.clocks_hz[-1],
            sample_flags="|".join([*flags(timed.blocks, timed.clocks_hz), *known]) or None,
            blocks=tuple(timed.blocks),
            **timed.counts.columns(plan.calls),
            **vars(quantiles(samples)),
            time_s=pass_time(timed.blocks),
        )
        return add_implementation(outcome, timed.validated, self.group)

    def explain(self, index: int, earlier: CallParts | None) -> CallParts:
        """Return the parts of a validated case's call."""
        return explain(self.group, index, self._validated[index], earlier)

    def _peak_memory(self, validated: ValidatedCase) -> int | None:
        """Measure the peak memory of one more call in one pass; None if it is long, or shows none.

        That of a gradient includes its forward pass, with what that keeps. This returns freed
        memory to the system, so nothing is timed or checked afterwards.
        """
        settings = self.group.settings
        if not settings.peak_memory or not _is_short(validated.call_s, settings):
            return None
        if isinstance(validated.conv, DirectedConv):
            validated.conv.stop()

        def work() -> None:
            validated.start()
            validated.call()

        return self.group.device.peak_memory(work) or None


def add_implementation(
    outcome: Outcome, validated: ValidatedCase, group: BenchmarkGroup
) -> Outcome:
    """Return the outcome with what a call runs, in the first pass."""
    if group.settings.pass_index or not group.settings.trace:
        return outcome
    started, call_s = perf_counter(), validated.call_s
    if _is_short(call_s, group.settings):
        found = trace(validated.conv, group.inputs.x, call_s, group.device)
    else:
        found = Implementation(reason=f"a call takes {call_s:.2g} s, too long to repeat it")
    reason = f"{UNNAMED}: {one_line(found.reason).replace('|', '/')}" if found.reason else None
    traced_s = (found.kernel_s or 0.0) + (found.reorder_s or 0.0)
    disturbed = DISTURBED if traced_s > MOST_TRACED * (outcome.median_s or math.inf) else None
    return replace(
        flagged(outcome, reason, disturbed),
        implementation=found.name or None,
        reorders=found.reorders,
        kernel_s=found.kernel_s,
        reorder_s=found.reorder_s,
        trace_s=perf_counter() - started,
    )


def _is_short(call_s: float, settings: Settings) -> bool:
    """Return whether there is time for one more call after timing."""
    return call_s <= _EXTRA_CALL_SHARE * settings.case_timeout_s

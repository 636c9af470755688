"""One problem's backends in a measuring process: admitted, timed block by block, told.

The parent asks for one step at a time, so that it knows who is at work, and can let backends of
several processes take turns.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

import psutil

from convsweep.analysis.sample_flags import flags
from convsweep.backends.variants import extra_work
from convsweep.measure.gate import BenchmarkGroup, ValidatedCase, validate
from convsweep.measure.outcome import Outcome, failure
from convsweep.measure.reference import recheck
from convsweep.measure.sampling import (
    MeasurementConfig,
    SamplingPlan,
    discard_warmup,
    make_cold_plan,
    make_plan,
    quantiles,
    time_block,
    time_cold_block,
    warm_up,
)
from convsweep.system.devices import Device
from convsweep.system.environment import Usage, add_usage, core_clock_hz, usage

_FREE_CALL_S, _CHEAP_CALL_S = 0.001, 0.02  # a few more are no matter; once they are none
_KEPT_ANSWERS = 5
_MINOR_SHARE = 0.1  # of a case's time limit


@dataclass
class _TimedCase:
    """One backend while it is timed."""

    admitted: ValidatedCase
    plan: SamplingPlan
    blocks: list[tuple[float, ...]] = field(default_factory=list)
    used: Usage | None = field(default_factory=lambda: Usage(0, 0))
    clocks_hz: list[float | None] = field(default_factory=list)


class GroupTimer:
    """The contest of one problem, as far as it takes place in this process."""

    def __init__(self, contest: BenchmarkGroup) -> None:
        self.contest = contest
        self._admitted: dict[int, ValidatedCase] = {}
        self._contestants: dict[int, _TimedCase] = {}

    def validate(self, index: int) -> Outcome:
        """Prepare one case's backend and hold it to the truth; `ok` without a time if it passes."""
        admitted = validate(self.contest, index)
        if isinstance(admitted, Outcome):
            return admitted
        self._admitted[index] = admitted
        return admitted.outcome

    def warm_up(self, index: int) -> int | Outcome:
        """Warm an admitted backend up; how many blocks it is to be timed for."""
        try:
            contestant = _warmed_up(self.contest, index, self._admitted[index])
        except Exception as error:
            return failure(error)
        self._contestants[index] = contestant
        return contestant.plan.blocks

    def plan(self, index: int) -> SamplingPlan:
        """How a case that is warm is timed."""
        return self._contestants[index].plan

    def time_block(self, index: int) -> Outcome | None:
        """Time one block; an outcome only where that failed."""
        try:
            _add_block(self._contestants[index], self.contest)
        except Exception as error:
            return failure(error)
        return None

    def finish(self, index: int) -> Outcome:
        """What was measured, if the backend still answers as it did at the gate."""
        try:
            return _measured(self._contestants.pop(index), self.contest)
        except Exception as error:
            return failure(error)


def _warmed_up(contest: BenchmarkGroup, index: int, admitted: ValidatedCase) -> _TimedCase:
    """An admitted backend, warm, with the plan to time it by."""
    case, device, call, call_s = (
        contest.cases[index],
        contest.device,
        admitted.call,
        admitted.call_s,
    )
    effort = contest.effort or MeasurementConfig()
    if admitted.called_s < effort.warm_up_s:
        call_s = warm_up(device.clock, call, effort)
    if case.cache == "cold":
        plan = make_cold_plan(call_s, _seconds(device, device.flush_caches), effort)
    else:
        plan = make_plan(call_s, device.clock_overhead_s(), effort, extra_work(case.backend))
    return _TimedCase(admitted, plan)


def _seconds(device: Device, work: Callable[[], object]) -> float:
    """How long it takes, once it has been done before."""
    work()
    return device.clock(work)


def _peak_memory(admitted: ValidatedCase, contest: BenchmarkGroup) -> int | None:
    """What a call needs, once in a run, and where one more call is no matter.

    Memory that is given back for it is warm again when the next problem is timed: the gate's calls
    come first.
    """
    if not contest.is_first or admitted.call_s > _MINOR_SHARE * contest.case_timeout_s:
        return None
    return contest.device.peak_memory(admitted.call)


def _add_block(contestant: _TimedCase, contest: BenchmarkGroup) -> None:
    call, plan, device = contestant.admitted.call, contestant.plan, contest.device
    cold = contest.cases[0].cache == "cold"
    gc.disable()
    try:
        discard_warmup(device.clock, call, plan)
        before = usage()
        if cold:
            samples = time_cold_block(device.clock, call, plan, device.flush_caches)
        else:
            samples = time_block(device.clock, call, plan)
        contestant.used = add_usage(contestant.used, before, usage())
    finally:
        gc.enable()
    contestant.clocks_hz.append(core_clock_hz())
    contestant.blocks.append(tuple(samples))


def _measured(contestant: _TimedCase, contest: BenchmarkGroup) -> Outcome:
    admitted, plan, used = contestant.admitted, contestant.plan, contestant.used
    if admitted.call_s < _CHEAP_CALL_S:
        often = contest.is_first or admitted.call_s < _FREE_CALL_S
        wrong = recheck(
            admitted.call,
            contest.inputs,
            contest.truth,
            admitted.bound,
            times=_KEPT_ANSWERS if often else 1,
        )
        if wrong:
            return Outcome("mismatch", wrong)
    samples = [sample for block in contestant.blocks for sample in block]
    return replace(
        admitted.outcome,
        samples=len(samples),
        iterations=plan.iterations,
        peak_memory_bytes=_peak_memory(admitted, contest),
        page_faults_per_call=used and used.page_faults / plan.calls,
        context_switches=used and used.context_switches,
        load_avg_1m=psutil.getloadavg()[0],
        cpu_freq_hz=contestant.clocks_hz[-1],
        sample_flags="|".join(flags(contestant.blocks, contestant.clocks_hz)) or None,
        blocks=tuple(contestant.blocks),
        **asdict(quantiles(samples)),
    )

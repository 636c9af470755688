"""The backends of one problem, timed in turn, block by block."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

from convsweep.admission import Admitted, Contest, admit
from convsweep.device import Device
from convsweep.environment import Usage, add_usage, usage
from convsweep.record import Outcome, failure
from convsweep.reference import hold_again
from convsweep.sampling import Effort, Plan, make_plan, quantiles, settle, time_block, warm_up


@dataclass(frozen=True)
class Working:
    """This case (an index into the contest's cases) is now worked on."""

    index: int


@dataclass(frozen=True)
class Finished:
    """The case at this index is done."""

    index: int
    outcome: Outcome


Tell = Callable[[Working | Finished], None]


@dataclass
class _Contestant:
    """One backend while it is timed."""

    index: int
    admitted: Admitted
    plan: Plan
    outcome: Outcome
    samples: list[float] = field(default_factory=list)
    used: Usage | None = field(default_factory=lambda: Usage(0, 0))


def hold(contest: Contest, rng: random.Random, tell: Tell) -> None:
    """Gate and time all cases; every one gets one `Finished`."""
    contestants: list[_Contestant] = []
    for index in rng.sample(range(len(contest.cases)), len(contest.cases)):
        tell(Working(index))
        admitted = admit(contest, index)
        if isinstance(admitted, Admitted) and contest.effort:
            entered = _warmed_up(index, admitted, contest.device, contest.effort)
        else:
            entered = admitted.outcome if isinstance(admitted, Admitted) else admitted
        if isinstance(entered, Outcome):
            tell(Finished(index, entered))
        else:
            contestants.append(entered)
    gc.collect()
    gc.disable()
    try:
        _compete(contestants, contest.device, rng, tell)
    finally:
        gc.enable()
    for contestant in contestants:
        tell(Working(contestant.index))
        tell(Finished(contestant.index, _measured(contestant, contest)))


def _warmed_up(
    index: int, admitted: Admitted, device: Device, effort: Effort
) -> _Contestant | Outcome:
    """An admitted backend, warm, with the plan to time it by; its outcome where it fails."""
    call, call_s, outcome = admitted.call, admitted.call_s, admitted.outcome
    try:
        if call_s < effort.warm_up_s:
            call_s = warm_up(device.clock, call, effort)
        if device.reset_peak_memory and device.peak_memory_bytes:
            device.reset_peak_memory()
            call()
            device.synchronize()
            outcome = replace(outcome, peak_memory_bytes=device.peak_memory_bytes())
    except Exception as error:
        return failure(error)
    plan = make_plan(call_s, device.clock_overhead_s(), effort)
    return _Contestant(index, admitted, plan, outcome)


def _compete(
    contestants: list[_Contestant], device: Device, rng: random.Random, tell: Tell
) -> None:
    """Blocks of all contestants in turn, in a new random order every round."""
    for round_index in range(max((c.plan.blocks for c in contestants), default=0)):
        rng.shuffle(contestants)
        for contestant in contestants:
            if round_index < contestant.plan.blocks and contestant.outcome.status == "ok":
                tell(Working(contestant.index))
                _add_block(contestant, device)


def _add_block(contestant: _Contestant, device: Device) -> None:
    call, plan = contestant.admitted.call, contestant.plan
    try:
        settle(device.clock, call, plan)
        before = usage()
        contestant.samples += time_block(device.clock, call, plan)
        contestant.used = add_usage(contestant.used, before, usage())
    except Exception as error:
        contestant.outcome = failure(error)


def _measured(contestant: _Contestant, contest: Contest) -> Outcome:
    """What was measured, if the backend still answers as it did at the gate."""
    if contestant.outcome.status != "ok":
        return contestant.outcome
    admitted, plan, used = contestant.admitted, contestant.plan, contestant.used
    if contest.effort and admitted.call_s < contest.effort.warm_up_s:
        try:
            wrong = hold_again(admitted.call, contest.inputs, contest.truth, admitted.bound)
        except Exception as error:
            return failure(error)
        if wrong:
            return Outcome("mismatch", wrong)
    return replace(
        contestant.outcome,
        samples=len(contestant.samples),
        iterations=plan.iterations,
        page_faults_per_call=used and used.page_faults / plan.calls,
        context_switches=used and used.context_switches,
        **asdict(quantiles(contestant.samples)),
    )

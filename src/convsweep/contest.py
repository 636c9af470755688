"""The backends of one problem, each held to the truth, then timed in turn, block by block."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from time import perf_counter

from torch import Tensor

from convsweep.backend import Backend, Conv
from convsweep.device import Device, find_device
from convsweep.environment import Usage, add_usage, usage
from convsweep.grid import Case
from convsweep.inputs import Inputs, make_inputs
from convsweep.record import Outcome, failure
from convsweep.reference import Truth, gate, reference
from convsweep.registry import backends
from convsweep.sampling import Effort, Plan, make_plan, quantiles, time_block, warm_up

_EXACT_BELOW = 2**24  # sums of whole numbers that float32 holds exactly
_LARGEST_PRODUCT = 8  # of an input in -2..2 and a weight that two such factors compose


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


@dataclass(frozen=True)
class Contest:
    """One problem's cases, and what they share while they are compared."""

    cases: Sequence[Case]
    device: Device
    inputs: Inputs
    truth: Truth
    case_timeout_s: float
    effort: Effort | None
    """None: the gate alone, which then tries whole numbers too."""


class OverTime(Exception):
    """A case that would take longer than it may; its first call took `first_call_s`."""

    def __init__(self, reason: str, first_call_s: float) -> None:
        super().__init__(reason)
        self.first_call_s = first_call_s


@dataclass
class _Contestant:
    """One backend while it is timed."""

    index: int
    call: Callable[[], Tensor]
    plan: Plan
    outcome: Outcome
    samples: list[float] = field(default_factory=list)
    used: Usage | None = field(default_factory=lambda: Usage(0, 0))


class _TimedConv:
    """A prepared backend whose calls are timed, and stopped when the case can't end in time."""

    def __init__(self, conv: Conv, contest: Contest) -> None:
        self.conv, self.clock = conv, contest.device.clock
        self.limit_s, self.needed = contest.case_timeout_s, fewest_calls(contest.effort)
        self.seconds: list[float] = []

    def __call__(self, x: Tensor) -> Tensor:
        answers: list[Tensor] = []
        self.seconds.append(self.clock(lambda: answers.append(self.conv(x))))
        call_s = min(self.seconds)  # the first call may pay for more than the others
        if sum(self.seconds) + call_s * (self.needed - len(self.seconds)) > self.limit_s:
            raise OverTime(
                f"one call takes {call_s:.3g} s and {self.needed} are needed, "
                f"over the limit of {self.limit_s:g} s",
                self.seconds[0],
            )
        return answers[0]


def fewest_calls(effort: Effort | None) -> int:
    """How often the slowest case is called in a pass.

    Three times by the gate, then for one sample, or three times more on whole numbers.
    """
    return 4 if effort else 6


def open_contest(cases: Sequence[Case], *, case_timeout_s: float, effort: Effort | None) -> Contest:
    """Draw the inputs and compute the truth; raises what the device or the memory raises."""
    device = find_device(cases[0].device)
    inputs = _inputs(cases[0])
    truth = reference(cases[0].problem, inputs)
    return Contest(cases, device, inputs, truth, case_timeout_s, effort)


def hold(contest: Contest, rng: random.Random, tell: Tell) -> None:
    """Gate and time all cases; every one gets one `Finished`."""
    contestants: list[_Contestant] = []
    for index in rng.sample(range(len(contest.cases)), len(contest.cases)):
        tell(Working(index))
        admitted = admit(contest, index)
        if contest.effort is None or isinstance(admitted, Outcome):
            done = admitted if isinstance(admitted, Outcome) else admitted.outcome
            tell(Finished(index, done))
        else:
            contestants.append(_warmed_up(index, admitted, contest.device, contest.effort))
    _compete(contestants, contest.device, rng, tell)


@dataclass(frozen=True)
class Admitted:
    """A backend that passed the gate: its call on the contest's input, and about how long."""

    call: Callable[[], Tensor]
    call_s: float
    outcome: Outcome


def admit(contest: Contest, index: int) -> Admitted | Outcome:
    """Prepare one backend and hold it to the truth; whatever it does wrong is its outcome."""
    try:
        return _through_the_gate(contest, index)
    except OverTime as error:
        return Outcome("timeout", str(error), first_call_s=error.first_call_s)
    except Exception as error:
        return failure(error)


def _through_the_gate(contest: Contest, index: int) -> Admitted | Outcome:
    case, device, inputs = contest.cases[index], contest.device, contest.inputs
    backend = backends()[case.backend]
    started = perf_counter()
    conv = backend.prepare(case.problem, inputs.weights)
    device.synchronize()
    prepare_s = perf_counter() - started
    timed = _TimedConv(conv, contest)
    bound = backend.error_bound(case.problem)
    finding = gate(timed, case.problem, inputs, contest.truth, bound)
    if finding.reason:
        return Outcome("mismatch", finding.reason, finding.max_abs_err, finding.error_ratio)
    if contest.effort is None and (wrong := _exact(case, backend)):
        return wrong
    outcome = Outcome(
        "ok",
        max_abs_err=finding.max_abs_err,
        error_ratio=finding.error_ratio,
        prepare_s=prepare_s,
        first_call_s=timed.seconds[0],
    )
    return Admitted(partial(conv, inputs.x), min(timed.seconds), outcome)


def _inputs(case: Case, integers: bool = False) -> Inputs:
    return make_inputs(
        case.problem,
        weight_kind=case.weight_kind,
        dtype=case.dtype,
        device=case.device,
        memory_format=case.memory_format,
        integers=integers,
    )


def _warmed_up(index: int, admitted: Admitted, device: Device, effort: Effort) -> _Contestant:
    """An admitted backend, warm, with the plan to time it by."""
    call, call_s, outcome = admitted.call, admitted.call_s, admitted.outcome
    if call_s < effort.warm_up_s:
        call_s = warm_up(device.clock, call, effort)
    if device.reset_peak_memory and device.peak_memory_bytes:
        device.reset_peak_memory()
        call()
        device.synchronize()
        outcome = replace(outcome, peak_memory_bytes=device.peak_memory_bytes())
    return _Contestant(index, call, make_plan(call_s, device.clock_overhead_s(), effort), outcome)


def _exact(case: Case, backend: Backend) -> Outcome | None:
    """Hold a direct method to whole numbers, without any tolerance; None where it passes."""
    largest = case.problem.taps * _LARGEST_PRODUCT
    if not backend.direct or case.dtype not in ("float32", "float64") or largest >= _EXACT_BELOW:
        return None
    inputs = _inputs(case, integers=True)
    conv = backend.prepare(case.problem, inputs.weights)
    finding = gate(conv, case.problem, inputs, reference(case.problem, inputs), bound=0.0)
    if finding.reason is None:
        return None
    return Outcome("mismatch", f"on whole numbers: {finding.reason}", finding.max_abs_err)


def _compete(
    contestants: list[_Contestant], device: Device, rng: random.Random, tell: Tell
) -> None:
    """Blocks of all contestants in turn, in a new random order every round."""
    gc.collect()
    gc.disable()
    try:
        for round_index in range(max((c.plan.blocks for c in contestants), default=0)):
            rng.shuffle(contestants)
            for contestant in contestants:
                if round_index < contestant.plan.blocks:
                    tell(Working(contestant.index))
                    before = usage()
                    contestant.samples += time_block(device.clock, contestant.call, contestant.plan)
                    contestant.used = add_usage(contestant.used, before, usage())
    finally:
        gc.enable()
    for contestant in contestants:
        tell(Finished(contestant.index, _measured(contestant)))


def _measured(contestant: _Contestant) -> Outcome:
    used = contestant.used
    return replace(
        contestant.outcome,
        samples=len(contestant.samples),
        iterations=contestant.plan.iterations,
        page_faults_per_call=used and used.page_faults / contestant.plan.calls,
        context_switches=used and used.context_switches,
        **asdict(quantiles(contestant.samples)),
    )

"""One pass's measuring process: gate the cases of a problem, then time them in turn."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import Connection
from time import perf_counter

import torch
from torch import Tensor

from convsweep.backend import Backend, Conv
from convsweep.device import Device, find_device, use_full_precision
from convsweep.environment import Usage, add_usage, steady_allocator, usage
from convsweep.grid import Case
from convsweep.inputs import Inputs, make_inputs
from convsweep.record import Outcome, failure
from convsweep.reference import Truth, gate, reference
from convsweep.registry import backends
from convsweep.sampling import Effort, Plan, make_plan, quantiles, time_block, warm_up

_EXACT_BELOW = 2**24  # sums of whole numbers that float32 holds exactly
_LARGEST_PRODUCT = 8  # of an input in -2..2 and a weight that two such factors compose


@dataclass(frozen=True)
class Settings:
    """What a measuring process is told once."""

    threads: int = 1
    seed: int = 0
    timed: bool = True
    """False: the gate alone, which then tries whole numbers too."""
    case_timeout_s: float = 10.0
    effort: Effort = field(default_factory=Effort)


@dataclass(frozen=True)
class Working:
    """The worker now works on this case (an index into the cases it was given)."""

    index: int


@dataclass(frozen=True)
class Finished:
    """The case at this index is done."""

    index: int
    outcome: Outcome


class OverTime(Exception):
    """A case that would take longer than it may; its first call took `first_call_s`."""

    def __init__(self, reason: str, first_call_s: float) -> None:
        super().__init__(reason)
        self.first_call_s = first_call_s


@dataclass
class _Contestant:
    """One backend of a problem while it is timed."""

    index: int
    call: Callable[[], Tensor]
    plan: Plan
    outcome: Outcome
    samples: list[float] = field(default_factory=list)
    used: Usage | None = Usage(0, 0)


class _TimedConv:
    """A prepared backend whose calls are timed, and stopped when the case can't end in time."""

    def __init__(self, conv: Conv, device: Device, settings: Settings) -> None:
        self.conv, self.device, self.settings = conv, device, settings
        self.seconds: list[float] = []

    def __call__(self, x: Tensor) -> Tensor:
        answers: list[Tensor] = []
        self.seconds.append(self.device.clock(lambda: answers.append(self.conv(x))))
        needed = fewest_calls(self.settings.timed)
        slowest_s = min(self.seconds)  # the first call may pay for more than the others
        left_s = slowest_s * max(1, needed - len(self.seconds))
        if sum(self.seconds) + left_s > self.settings.case_timeout_s and len(self.seconds) < needed:
            raise OverTime(
                f"one call takes {slowest_s:.3g} s and {needed} are needed, "
                f"over the limit of {self.settings.case_timeout_s:g} s",
                self.seconds[0],
            )
        return answers[0]


def fewest_calls(timed: bool) -> int:
    """How often the slowest case is called in a pass: the gate's three calls and one sample."""
    return 4 if timed else 3


def serve(connection: Connection, settings: Settings) -> None:
    """Answer groups of cases until the connection closes; runs in a process of its own."""
    steady_allocator()
    use_full_precision()
    torch.set_num_threads(settings.threads)
    rng = random.Random(settings.seed)
    try:
        while True:
            cases: Sequence[Case] = connection.recv()
            with torch.no_grad():
                _run_on_device(cases, settings, rng, connection.send)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _run_on_device(
    cases: Sequence[Case],
    settings: Settings,
    rng: random.Random,
    tell: Callable[[Working | Finished], None],
) -> None:
    """`run_group` where there is a device and memory for it; else every case fails alike."""
    first = cases[0]
    try:
        device = find_device(first.device)
        inputs = _inputs(first)
        truth = reference(first.problem, inputs)
    except Exception as error:
        for index in range(len(cases)):
            tell(Finished(index, failure(error)))
        return
    run_group(cases, inputs, truth, device, settings, rng, tell)


def run_group(
    cases: Sequence[Case],
    inputs: Inputs,
    truth: Truth,
    device: Device,
    settings: Settings,
    rng: random.Random,
    tell: Callable[[Working | Finished], None],
) -> None:
    """Gate and time the backends of one problem; every case gets one `Finished`."""
    contestants: list[_Contestant] = []
    for index in rng.sample(range(len(cases)), len(cases)):
        tell(Working(index))
        try:
            backend = backends()[cases[index].backend]
            entered = _enter(index, cases[index], backend, inputs, truth, device, settings)
        except OverTime as error:
            entered = Outcome("timeout", str(error), first_call_s=error.first_call_s)
        except Exception as error:  # whatever a backend does wrong, the others still run
            entered = failure(error)
        if isinstance(entered, Outcome):
            tell(Finished(index, entered))
        else:
            contestants.append(entered)
    _compete(contestants, device, rng, tell)


def _inputs(case: Case, integers: bool = False) -> Inputs:
    return make_inputs(
        case.problem,
        weight_kind=case.weight_kind,
        dtype=case.dtype,
        device=case.device,
        memory_format=case.memory_format,
        integers=integers,
    )


def _enter(
    index: int,
    case: Case,
    backend: Backend,
    inputs: Inputs,
    truth: Truth,
    device: Device,
    settings: Settings,
) -> _Contestant | Outcome:
    """Prepare, gate and warm up one backend: a contestant, or why it is none."""
    problem, bound = case.problem, backend.error_bound(case.problem)
    started = perf_counter()
    conv = backend.prepare(problem, inputs.weights)
    device.synchronize()
    prepare_s = perf_counter() - started
    timed = _TimedConv(conv, device, settings)
    finding = gate(timed, problem, inputs, truth, bound)
    outcome = Outcome(
        "mismatch" if finding.reason else "ok",
        finding.reason,
        finding.max_abs_err,
        finding.error_ratio,
        prepare_s,
        timed.seconds[0],
    )
    if finding.reason:
        return replace(outcome, prepare_s=None, first_call_s=None)
    if not settings.timed:
        return _exact(case, backend) or outcome

    def call() -> Tensor:
        return conv(inputs.x)

    call_s = min(timed.seconds)
    if call_s < settings.effort.warm_up_s:
        call_s = warm_up(device.clock, call, settings.effort)
    if device.reset_peak_memory and device.peak_memory_bytes:
        device.reset_peak_memory()
        call()
        device.synchronize()
        outcome = replace(outcome, peak_memory_bytes=device.peak_memory_bytes())
    plan = make_plan(call_s, device.clock_overhead_s(), settings.effort)
    return _Contestant(index, call, plan, outcome)


def _exact(case: Case, backend: Backend) -> Outcome | None:
    """Hold a direct method to whole numbers, without any tolerance; None where it passes."""
    representable = case.dtype in ("float32", "float64")
    if not backend.direct or not representable:
        return None
    if case.problem.taps * _LARGEST_PRODUCT >= _EXACT_BELOW:
        return None
    inputs = _inputs(case, integers=True)
    conv = backend.prepare(case.problem, inputs.weights)
    finding = gate(conv, case.problem, inputs, reference(case.problem, inputs), bound=0.0)
    if finding.reason is None:
        return None
    return Outcome("mismatch", f"on whole numbers: {finding.reason}", finding.max_abs_err)


def _compete(
    contestants: list[_Contestant],
    device: Device,
    rng: random.Random,
    tell: Callable[[Working | Finished], None],
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
                    _add_block(contestant, device)
    finally:
        gc.enable()
    for contestant in contestants:
        tell(Finished(contestant.index, _measured(contestant)))


def _add_block(contestant: _Contestant, device: Device) -> None:
    before = usage()
    contestant.samples += time_block(device.clock, contestant.call, contestant.plan)
    contestant.used = add_usage(contestant.used, before, usage())


def _measured(contestant: _Contestant) -> Outcome:
    plan, used = contestant.plan, contestant.used
    return replace(
        contestant.outcome,
        samples=len(contestant.samples),
        iterations=plan.iterations,
        page_faults_per_call=used and used.page_faults / plan.calls,
        context_switches=used and used.context_switches,
        **asdict(quantiles(contestant.samples)),
    )

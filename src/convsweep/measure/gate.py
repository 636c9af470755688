"""The gate that a backend passes before it is timed: able, held to the truth, in time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import psutil
from torch import Tensor

from convsweep.backends.base import Backend, Conv
from convsweep.backends.registry import skip_reason
from convsweep.backends.variants import find_backend
from convsweep.measure.inputs import Inputs, format_skip_reason, make_inputs
from convsweep.measure.outcome import Outcome, failure
from convsweep.measure.reference import Reference, check, compute_reference
from convsweep.measure.sampling import MeasurementConfig
from convsweep.problems.case import Case
from convsweep.problems.problem import ConvProblem
from convsweep.system.devices import Device, find_device

_EXACT_BELOW = 2**24  # sums of whole numbers that float32 holds exactly
_LARGEST_PRODUCT = 8  # of an input in -2..2 and a weight that two such factors compose


@dataclass(frozen=True)
class BenchmarkGroup:
    """One problem's cases, and what they share while they are compared."""

    cases: Sequence[Case]
    device: Device
    inputs: Inputs
    truth: Reference
    case_timeout_s: float
    effort: MeasurementConfig | None
    """None: the gate alone, which then tries whole numbers too."""
    is_first: bool = True
    """Whether no earlier pass has held these cases to the truth."""


@dataclass(frozen=True)
class ValidatedCase:
    """A backend that passed the gate."""

    call: Callable[[], Tensor]
    """Computes the contest's input."""
    call_s: float
    """About how long that takes."""
    called_s: float
    """Seconds that the gate's calls took, the first one apart: they warmed it up."""
    bound: float
    """How far its answers may be off."""
    outcome: Outcome


class TimeLimitExceeded(Exception):
    """A case that would take longer than it may; its first call took `first_call_s`."""

    def __init__(self, reason: str, first_call_s: float) -> None:
        super().__init__(reason)
        self.first_call_s = first_call_s


class _TimedConv:
    """A prepared backend whose calls are timed, and stopped when the case can't end in time.

    Where it compiles, its first call may take that much longer, and tells little of the others.
    """

    def __init__(self, conv: Conv, contest: BenchmarkGroup, compile_s: float) -> None:
        self.conv, self.clock, self.compile_s = conv, contest.device.clock, compile_s
        self.limit_s, self.needed = contest.case_timeout_s, min_calls(contest.effort)
        self.seconds: list[float] = []

    @property
    def call_s(self) -> float:
        """About how long a call takes, or the least that the only one so far tells."""
        others = self.seconds[1:]
        return min(others) if self.compile_s and others else min(self._counted())

    def __call__(self, x: Tensor) -> Tensor:
        answers: list[Tensor] = []
        self.seconds.append(self.clock(lambda: answers.append(self.conv(x))))
        left = self.needed - len(self.seconds)
        if sum(self._counted()) + self.call_s * left > self.limit_s:
            raise TimeLimitExceeded(
                f"one call takes {self.call_s:.3g} s and {self.needed} are needed, "
                f"over the limit of {self.limit_s:g} s",
                self.seconds[0],
            )
        return answers[0]

    def _counted(self) -> list[float]:
        """The seconds of each call, of the first those that compiling does not excuse."""
        first_s, *others = self.seconds
        return [max(0.0, first_s - self.compile_s), *others]


def min_calls(effort: MeasurementConfig | None) -> int:
    """How often the slowest case is called in a pass.

    Three times by the gate, then for one sample, or three times more on whole numbers.
    """
    return 4 if effort else 6


def skipped_outcome(case: Case, backend: Backend) -> Outcome | None:
    """`skipped`, with the reason, where the backend can't take part in the case."""
    reason = format_skip_reason(case.problem, case.memory_format) or skip_reason(
        backend,
        case.problem,
        weight_kind=case.weight_kind,
        device=case.device,
        dtype=case.dtype,
    )
    return Outcome("skipped", reason) if reason else None


def setup_group(
    cases: Sequence[Case],
    *,
    case_timeout_s: float,
    effort: MeasurementConfig | None,
    truth: Reference | None = None,
    is_first: bool = True,
) -> BenchmarkGroup:
    """Draw the inputs and compute the truth, unless it is known from an earlier pass.

    Raises:
        MemoryError: they would not fit into the memory that is free now.
    """
    problem = cases[0].problem
    needed, free = _bytes_needed(problem), psutil.virtual_memory().available
    if needed > free:
        raise MemoryError(
            f"inputs and truth need {needed / 2**30:.3g} GiB, {free / 2**30:.3g} GiB are free"
        )
    device = find_device(cases[0].device)
    inputs = _inputs(cases[0])
    truth = truth or compute_reference(problem, inputs)
    return BenchmarkGroup(cases, device, inputs, truth, case_timeout_s, effort, is_first)


def _bytes_needed(problem: ConvProblem) -> int:
    """Of the largest tensors that are alive at once, in float64: x, |x| padded, y thrice, w."""
    x, w, y = map(math.prod, (problem.input_shape, problem.weight_shape, problem.output_shape))
    return 8 * (3 * x + 3 * w + 4 * y)


def _inputs(case: Case, integers: bool = False) -> Inputs:
    return make_inputs(
        case.problem,
        weight_kind=case.weight_kind,
        dtype=case.dtype,
        device=case.device,
        memory_format=case.memory_format,
        integers=integers,
    )


def validate(contest: BenchmarkGroup, index: int) -> ValidatedCase | Outcome:
    """Prepare one backend and hold it to the truth; whatever it does wrong is its outcome."""
    try:
        return _through_the_gate(contest, index)
    except TimeLimitExceeded as error:
        return Outcome("timeout", str(error), first_call_s=error.first_call_s)
    except Exception as error:
        return failure(error)


def _through_the_gate(contest: BenchmarkGroup, index: int) -> ValidatedCase | Outcome:
    case, device, inputs = contest.cases[index], contest.device, contest.inputs
    backend = find_backend(case.backend)
    started = perf_counter()
    conv = backend.prepare(case.problem, inputs.weights)
    device.synchronize()
    prepare_s = perf_counter() - started
    timed = _TimedConv(conv, contest, backend.compile_s)
    bound = backend.error_bound(case.problem)
    finding = check(timed, case.problem, inputs, contest.truth, bound)
    if finding.reason:
        return Outcome(
            "mismatch",
            finding.reason,
            finding.max_abs_err,
            finding.error_ratio,
            relative_err=finding.relative_err,
        )
    if contest.effort is None and (wrong := _exact(case, backend)):
        return wrong
    outcome = Outcome(
        "ok",
        max_abs_err=finding.max_abs_err,
        error_ratio=finding.error_ratio,
        relative_err=finding.relative_err,
        prepare_s=prepare_s,
        first_call_s=timed.seconds[0],
        gate_calls_s=sum(timed.seconds),
    )
    called_s = sum(timed.seconds[1:])
    return ValidatedCase(partial(conv, inputs.x), timed.call_s, called_s, bound, outcome)


def _exact(case: Case, backend: Backend) -> Outcome | None:
    """Hold a direct method to whole numbers, without any tolerance; None where it passes."""
    largest = case.problem.taps * _LARGEST_PRODUCT
    if not backend.direct or case.dtype not in ("float32", "float64") or largest >= _EXACT_BELOW:
        return None
    inputs = _inputs(case, integers=True)
    conv = backend.prepare(case.problem, inputs.weights)
    finding = check(conv, case.problem, inputs, compute_reference(case.problem, inputs), bound=0.0)
    if finding.reason is None:
        return None
    return Outcome("mismatch", f"on whole numbers: {finding.reason}", finding.max_abs_err)

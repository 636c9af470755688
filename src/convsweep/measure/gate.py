"""Correctness gate: prepare a backend, check it against the reference, in its time limit."""

import math
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

import psutil
from torch import Tensor

from convsweep.analysis.sample_flags import QUANTIZED
from convsweep.backends.base import Backend
from convsweep.backends.blocks import in_block
from convsweep.backends.variants import find_backend
from convsweep.formatting import one_line
from convsweep.measure.checks import Original, Result, Target, Targets, check
from convsweep.measure.directions import DirectedConv, NoGradient, start_autograd
from convsweep.measure.gradients import compute_outputs, output_bounds, outputs_of, terms_of
from convsweep.measure.inputs import Inputs, draw_case, place_inputs
from convsweep.measure.messages import Accepted, DataFile
from convsweep.measure.outcome import Outcome, failure, flagged
from convsweep.measure.problem_data import ProblemData, compute, load
from convsweep.measure.sampling import min_calls
from convsweep.measure.settings import Settings
from convsweep.problems.case import CONV, FORWARD, Case
from convsweep.system.devices import Device, find_device

_EXACT_BELOW = 2**24  # sums of whole numbers are exact in float32
_FEW_BYTES = 2**20  # up to this number, the free memory is not read
_SLOW_START_S = 1.0  # the most that a first call takes longer than the next, without compiling
_LARGEST_PRODUCT = 16  # of an input in -2..2 and two factors of a weight, doubled by `check`


@dataclass(frozen=True)
class BenchmarkGroup:
    """Cases of one problem and setting, and the data that they share."""

    cases: Sequence[Case]
    device: Device
    inputs: Inputs  # those that backends receive
    data: ProblemData
    original: Original  # values of the inputs
    settings: Settings


@dataclass(frozen=True)
class ValidatedCase:
    """Case whose backend passed the gate."""

    conv: Callable[[Tensor], Result]
    call: Callable[[], Result]  # computes the outputs for the group's input
    start: Callable[[], None]  # called after each change of the inputs
    call_s: float  # approximate seconds per call
    called_s: float  # seconds of the gate's calls that count as warm-up: not a first of several
    targets: Targets  # what the outputs must be
    outcome: Outcome
    accepted: Accepted  # comparisons with the outputs of this pass and of earlier ones
    other_bits: bool  # whether an earlier pass has accepted other outputs only


class TimeLimitExceeded(Exception):
    """Raised if a case would exceed its time limit; a call takes at least `call_s`."""

    def __init__(self, reason: str, first_call_s: float, call_s: float) -> None:
        super().__init__(reason)
        self.first_call_s, self.call_s = first_call_s, call_s


class _TimedConv:
    """Prepared backend that times its calls and stops when the case cannot end in time.

    If the backend compiles, its first call may take `compile_s` longer.
    """

    def __init__(
        self, conv: Callable[[Tensor], Result], group: BenchmarkGroup, compile_s: float
    ) -> None:
        self.conv, self.clock, self.compile_s = conv, group.device.clock, compile_s
        self.limit_s = group.settings.case_timeout_s
        self.needed = min_calls(group.settings.effort)
        self.seconds: list[float] = []

    @property
    def call_s(self) -> float:
        """Approximate seconds per call; the first one may be slow to start."""
        others = self.seconds[1:]
        return min(others) if self.compile_s and others else min(self._counted())

    def __call__(self, x: Tensor) -> Result:
        outputs: list[Result] = []
        self.seconds.append(self.clock(lambda: outputs.append(self.conv(x))))
        is_first = len(self.seconds) == 1
        left = 1 if is_first else self.needed - len(self.seconds)
        if sum(self._counted()) + self.call_s * left > self.limit_s:
            raise TimeLimitExceeded(
                f"{'the first' if is_first else 'one'} call takes {self.call_s:.3g} s and "
                f"{self.needed} are needed, over the limit of {self.limit_s:g} s",
                self.seconds[0],
                self.call_s - is_first * _SLOW_START_S,
            )
        return outputs[0]

    def _counted(self) -> list[float]:
        """Return seconds per call, the first one without the allowed compile time."""
        first_s, *others = self.seconds
        return [max(0.0, first_s - self.compile_s), *others]


def setup_group(
    cases: Sequence[Case], settings: Settings, file: DataFile | None = None
) -> BenchmarkGroup:
    """Draw the inputs and compute the reference, unless an earlier pass has written them.

    Raises:
        MemoryError: they do not fit into the free memory.
    """
    if cases[0].direction != FORWARD:
        start_autograd()
    needed = _bytes_needed(cases[0])
    if needed > _FEW_BYTES and needed > (free := psutil.virtual_memory().available):
        raise MemoryError(
            f"inputs and reference need {needed / 2**30:.3g} GiB, {free / 2**30:.3g} GiB are free"
        )
    device = find_device(cases[0].device)  # may import what torch needs for it
    data = load(file) if file else compute(cases[0], settings.fast_check)
    inputs = place_inputs(data.inputs, cases[0].device, cases[0].memory_format)
    return BenchmarkGroup(cases, device, inputs, data, Original.of(data.inputs), settings)


def _bytes_needed(case: Case) -> int:
    """Return the bytes of the float64 tensors in use at once: about 3 x, 3 w and 4 y.

    Gradients add as many. Blocks keep each step of both kinds, for x and -x, with its error.
    """
    problem, is_block = case.problem, case.block != CONV
    x, w, y = map(math.prod, (problem.input_shape, problem.weight_shape, problem.output_shape))
    tensors = 15 * x + 3 * w + 28 * y if is_block else 3 * x + 3 * w + 4 * y
    return 8 * tensors * (1 if case.direction == FORWARD else 2)


def validate(
    group: BenchmarkGroup, index: int, accepted: bytes = b"", call_s: float | None = None
) -> ValidatedCase | Outcome:
    """Prepare one case's backend and check it; return its outcome if it fails.

    An output that an earlier pass has `accepted` is not compared with the reference again. If that
    pass has timed a call, too, one call is enough before timing: the last timed one is checked.
    """
    try:
        earlier = pickle.loads(accepted) if accepted else {}
        return _prepare_and_check(group, index, earlier, call_s)
    except NoGradient as error:
        return Outcome("skipped", one_line(str(error)))
    except TimeLimitExceeded as error:
        reason, first_call_s = str(error), error.first_call_s
        return Outcome("timeout", reason, first_call_s=first_call_s, call_s=error.call_s)
    except Exception as error:
        return failure(error)


def _prepare_and_check(
    group: BenchmarkGroup, index: int, accepted: Accepted, known_s: float | None
) -> ValidatedCase | Outcome:
    case, device, inputs = group.cases[index], group.device, group.inputs
    is_block, problem = case.block != CONV, case.problem
    backend = in_block(find_backend(case.backend), case.block, training=case.direction != FORWARD)
    started = perf_counter()
    conv, start = _prepare(case, backend, inputs)
    device.synchronize()
    prepare_s = perf_counter() - started
    references = group.data.references_of(backend, case.block)
    names = outputs_of(case.direction, problem, backend.needs_factors, is_block)
    expected = {name: references[name] for name in names}
    bounds = output_bounds(backend, problem, inputs.x.dtype, expected, is_block)
    targets = {name: Target(expected[name], bounds[name]) for name in names}
    timed = _TimedConv(conv, group, backend.compile_s)
    known, once = len(accepted), bool(accepted) and known_s is not None
    result = check(
        timed, inputs, targets, original=group.original, accepted=accepted, once=once,
        start=start,
    )  # fmt: skip
    if result.status != "ok":
        return result
    if backend.quantized:
        result = replace(flagged(result, QUANTIZED), error_ratio=None)
    if group.settings.effort is None and (mismatch := _check_integers(case, backend)):
        return mismatch
    outcome = replace(
        result,
        prepare_s=prepare_s,
        first_call_s=timed.seconds[0],
        call_s=timed.call_s,
        gate_calls_s=sum(timed.seconds),
        accepted=pickle.dumps(accepted),
    )
    call, other_bits = partial(conv, inputs.x), 0 < known < len(accepted)
    called_s = sum(timed.seconds if once else timed.seconds[1:])
    call_s = timed.call_s if known_s is None else known_s
    return ValidatedCase(
        conv, call, start, call_s, called_s, targets, outcome, accepted, other_bits
    )


def _prepare(
    case: Case, backend: Backend, inputs: Inputs
) -> tuple[Callable[[Tensor], Result], Callable[[], None]]:
    """Return the function to time, and what to call after each change of the inputs."""
    if case.direction == FORWARD:
        return backend.prepare(case.problem, inputs.weights), lambda: None
    directed = DirectedConv(backend, case.problem, inputs, case.direction)
    return directed, directed.start


def _check_integers(case: Case, backend: Backend) -> Outcome | None:
    """Check a direct method on whole numbers, which must be exact; None if it passes."""
    names = outputs_of(case.direction, case.problem, backend.needs_factors)
    largest = max(terms_of(name, case.problem) for name in names) * _LARGEST_PRODUCT
    is_exact = backend.direct and case.block == CONV and case.dtype in ("float32", "float64")
    if not is_exact or largest >= _EXACT_BELOW:
        return None
    inputs = place_inputs(draw_case(case, integers=True), case.device, case.memory_format)
    conv, start = _prepare(case, backend, inputs)
    references = compute_outputs(case.problem, inputs)
    result = check(
        conv, inputs, {name: Target(references[name], 0.0) for name in names}, start=start
    )
    if result.reason is None:
        return None
    return Outcome("mismatch", f"on whole numbers: {result.reason}", result.max_abs_err)

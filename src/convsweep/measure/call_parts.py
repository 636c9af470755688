"""Parts of the time of one call in this process, and its fixed cost, from a smaller problem.

Calls without instruments and calls with them take turns. `analysis/call_parts.py` computes what the
parts leave of the whole call.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import cast

import numpy as np

from convsweep.backends.base import Conv
from convsweep.backends.variants import find_backend
from convsweep.measure.gate import BenchmarkGroup, ValidatedCase
from convsweep.measure.inputs import Inputs, draw_case, place_inputs
from convsweep.measure.instruments import Instrument, find_kernels, find_steps
from convsweep.measure.messages import CallParts, Seconds
from convsweep.measure.outcome import skipped_outcome
from convsweep.measure.sampling import repeat
from convsweep.measure.trace import trace
from convsweep.problems.case import Case
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import is_replaceable
from convsweep.problems.workloads import Layer
from convsweep.results.call_parts import ALLOCATION, FIXED, PAGE_FAULTS
from convsweep.system.counters import ZERO, system_counts
from convsweep.system.devices import Clock
from convsweep.system.process import retain_memory

_ROUNDS, _FEWEST_ROUNDS, _ROUNDS_S = 15, 2, 1.0
_BLOCK_S, _MOST_CALLS, _MOST_INSTRUMENTED = 0.003, 100, 20
_MOST_STEP_MACS = 2**16  # of the small call whose steps count as fixed cost: microseconds


@dataclass(frozen=True)
class _Call:
    """Prepared backend with its input, and the instrument for its parts."""

    problem: ConvProblem
    run: Callable[[], object]
    times: int  # number of calls per block
    clock: Clock
    instrument: Instrument
    has_steps: bool
    """Whether the parts are steps of a strategy, which include a share of the fixed cost."""
    implementation: str  # name of what runs, or why it is unknown
    reorders: int | None
    names: frozenset[str]  # names of the parts

    def whole_s(self) -> float:
        """Return the seconds per call of one block without instruments."""
        if self.times > 1:
            self.run()  # caches load its data
        return self.clock(repeat(self.run, self.times)) / self.times

    def parts(self) -> Seconds:
        """Return the parts of one block with instruments."""
        return self.instrument(min(self.times, _MOST_INSTRUMENTED))


def explain(
    group: BenchmarkGroup, index: int, validated: ValidatedCase, earlier: CallParts | None
) -> CallParts:
    """Return the parts of a validated case's call, each the lower quartile of several blocks.

    `earlier` is the result of another pass, whose problem for the fixed cost is taken again.
    """
    case, call_s = group.cases[index], validated.call_s
    conv = cast(Conv, validated.conv)  # explained cases are forward passes
    here = _call(group, case, case.problem, group.inputs, conv, call_s)
    small = _small_call(group, case, here, earlier)
    rounds = max(_FEWEST_ROUNDS, min(_ROUNDS, int(_ROUNDS_S / (here.times * call_s))))
    here.whole_s()  # warms up
    before = system_counts()
    repeat(here.run, here.times)()
    faults = ZERO.add(before, system_counts()).page_faults
    is_faulting = (
        group.settings.allocator == "system" and faults is not None and faults >= here.times
    )
    faulting_s = [here.whole_s() for _ in range(rounds * is_faulting)]
    if is_faulting:
        retain_memory()
    wholes_s, every = [], []
    for _ in range(rounds):  # with memory retained, kernels find theirs mapped
        wholes_s.append(here.whole_s())
        found = here.parts()
        if small:
            found = with_fixed_cost(found, small.whole_s(), small.parts(), here.has_steps)
        every.append(found)
    names = dict.fromkeys(name for one in every for name in one)
    parts = {name: _quiet([one.get(name, 0.0) for one in every]) for name in names}
    whole_s = _quiet(wholes_s)
    if is_faulting:
        parts[PAGE_FAULTS] = _quiet(faulting_s) - whole_s
        whole_s = _quiet(faulting_s)
    return CallParts(
        whole_s,
        parts,
        None if faults is None else faults / here.times,
        here.implementation,
        small.problem.label if small else None,
        here.reorders,
    )


def with_fixed_cost(
    parts: Seconds, small_s: float, small_parts: Seconds, has_steps: bool
) -> Seconds:
    """Add the fixed cost: the time of a call on a small problem without its parts.

    Each step but allocation has a share of the fixed cost: its time in the small call, at most all.
    """
    shares = {
        name: min(seconds, small_parts.get(name, 0.0)) if has_steps and name != ALLOCATION else 0.0
        for name, seconds in parts.items()
    }
    own = {name: seconds - shares[name] for name, seconds in parts.items()}
    return own | {FIXED: small_s - sum(small_parts.values()) + sum(shares.values())}


def _quiet(seconds: Sequence[float]) -> float:
    """Return the lower quartile of blocks: other work on the machine only makes them longer."""
    return float(np.quantile(seconds, 0.25))


def _call(
    group: BenchmarkGroup,
    case: Case,
    problem: ConvProblem,
    inputs: Inputs,
    conv: Conv,
    call_s: float,
) -> _Call:
    device, x = group.device, inputs.x
    steps = find_steps(find_backend(case.backend), problem, inputs, device)
    instrument = steps or find_kernels(problem, conv, x, device)
    traced = trace(conv, x, call_s, device)
    return _Call(
        problem=problem,
        run=partial(conv, x),
        times=max(1, min(_MOST_CALLS, int(_BLOCK_S / call_s))),
        clock=device.clock,
        instrument=instrument,
        has_steps=steps is not None,
        implementation=traced.name or traced.reason,
        reorders=traced.reorders,
        names=frozenset(instrument(1)),
    )


def _prepared(group: BenchmarkGroup, case: Case, problem: ConvProblem) -> _Call:
    """Return a warm call of the case's backend on another problem.

    Raises `ValueError` if the backend does not support it: own kernels would crash.
    """
    weight_kind = case.weight_kind if is_replaceable(problem) else "dense"
    backend = find_backend(case.backend)
    own = replace(case, layer=Layer(problem), weight_kind=weight_kind)
    if skipped := skipped_outcome(own, backend):
        raise ValueError(skipped.reason)
    inputs = place_inputs(draw_case(own), case.device, case.memory_format)
    conv = backend.prepare(problem, inputs.weights)
    _first_s, call_s = (group.device.clock(partial(conv, inputs.x)) for _ in range(2))
    return _call(group, case, problem, inputs, conv, call_s)


def _small_call(
    group: BenchmarkGroup, case: Case, here: _Call, earlier: CallParts | None
) -> _Call | None:
    """Return a call in which the same runs; None if none has few enough MACs.

    It has the fewest channels that allow this, and then the smallest image.
    """
    if earlier is not None:
        label = earlier.fixed_cost_problem
        return None if label is None else _prepared(group, case, ConvProblem.parse(label))
    if find_backend(case.backend).compiles_per_problem:
        return None

    def same(factor: int, size: int) -> _Call | None:
        try:
            call = _prepared(group, case, _resized(case.problem, factor, size))
        except Exception:  # no such problem, or not for this backend
            return None
        is_same = (call.implementation, call.names) == (here.implementation, here.names)
        return call if is_same else None

    problem = case.problem
    most_macs = min(problem.macs // 2, _MOST_STEP_MACS if here.has_steps else problem.macs)
    channels = max(problem.in_channels, problem.out_channels)
    for factor in (2**power for power in range(channels.bit_length() - 1, -1, -1)):
        # Some libraries choose by the elements of the image: fewer channels may need more pixels.
        pixels = factor if problem.groups == 1 else factor / 2  # per former pixel
        largest = ceil(max(problem.input_size) * pixels ** (1 / problem.rank))
        runs_same = partial(same, factor)
        if runs_same(largest):
            size = 1 + bisect_left(range(1, largest), True, key=lambda s: bool(runs_same(s)))
            found = runs_same(size)
            return found if found and found.problem.macs <= most_macs else None
    return None


def _resized(problem: ConvProblem, factor: int, size: int) -> ConvProblem:
    """Return the problem with a fraction of the channels, or of the groups if there are several.

    The longest side of its image is `size`, unless the kernel needs more.
    """
    groups = max(1, problem.groups // factor)
    own = factor if problem.groups == 1 else problem.groups
    spans = zip(problem.span, problem.margins, strict=True)
    least = [max(1, span - sum(both)) for span, both in spans]
    longest = max(problem.input_size)
    sides = zip(least, problem.input_size, strict=True)
    return replace(
        problem,
        in_channels=groups * max(1, problem.in_channels // own),
        out_channels=groups * max(1, problem.out_channels // own),
        groups=groups,
        input_size=tuple(max(low, side * size // longest) for low, side in sides),
    )

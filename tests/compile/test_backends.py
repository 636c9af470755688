"""The contract that every backend keeps; a new one is found here without an edit."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import get_args

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import convsweep
from convsweep import Backend, ConvProblem
from convsweep.backends.base import FAMILIES
from convsweep.backends.registry import missing_package, skip_reason
from convsweep.backends.steps import REST, StepName, Stopwatch
from convsweep.measure.checks import check, output
from convsweep.measure.inputs import make_inputs, torch_dtype
from convsweep.measure.reference import Reference, allowed_error, compute_reference
from convsweep.problems.case import DIRECTIONS, DTYPES
from tests.support.strategies import conv_problems

BACKENDS = list(convsweep.list_backends().values())
FORMATS = ("contiguous", "channels_last")


def weight_kind(problem: ConvProblem) -> str:
    return "separable" if problem.groups == 1 and not problem.is_pointwise else "dense"


def skipped(backend: Backend, problem: ConvProblem, dtype: str = "float32") -> str | None:
    return skip_reason(
        backend, problem, weight_kind=weight_kind(problem), device="cpu", dtype=dtype
    )


def largest_error(
    backend: Backend, problem: ConvProblem, expected: Reference, dtype: str = "float32"
) -> float:
    """What the gate allows, in units of the dtype's eps * scale."""
    limit = allowed_error(
        backend, backend.error_bound(problem), torch_dtype(dtype), expected, problem.taps
    )
    inside, outside = (
        torch.finfo(torch_dtype(d)).eps for d in (backend.computes_in or dtype, dtype)
    )
    return limit * inside / outside


def not_here(backend: Backend) -> str | None:
    """Why the backend runs on no problem of this machine's CPU, or None."""
    types = backend.device_types
    if types is not None and "cpu" not in types:
        return f"runs on {', '.join(types)}, not on cpu"
    return missing_package(backend)


def named(backend: Backend) -> object:
    reason = not_here(backend)
    marks = [pytest.mark.skip(reason=f"{backend.name} {reason}")] if reason else []
    return pytest.param(backend, id=backend.name, marks=marks)


every_backend = pytest.mark.parametrize("backend", [named(backend) for backend in BACKENDS])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Pools of several libraries would fight in this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(before)


# What networks are made of; most of the problems that `conv_problems` draws suit few kernels.
PLAIN = {
    "pointwise": ConvProblem(4, 6, (6, 5), 1, bias=True),
    "dense": ConvProblem(4, 6, (6, 5), 3, padding=1, bias=True),
    "depthwise": ConvProblem(4, 4, (6, 5), 3, padding=1, groups=4, bias=True),
    "volume": ConvProblem(4, 6, (4, 5, 3), 3, padding=1, bias=True),
}


@st.composite
def layers(draw: st.DrawFn, kind: str, channels_up_to: int, size_up_to: int) -> ConvProblem:
    """A layer of that kind, as networks have them, small."""
    channels = draw(st.integers(2, channels_up_to))
    out_channels = draw(st.integers(1, channels_up_to))
    sizes = st.integers(5, size_up_to)
    kernel_size = 1 if kind == "pointwise" else 3
    return ConvProblem(
        in_channels=channels,
        out_channels=channels if kind == "depthwise" else out_channels,
        input_size=draw(st.tuples(sizes, sizes)),
        kernel_size=kernel_size,
        batch_size=draw(st.integers(1, 2)),
        stride=draw(st.sampled_from([1, 1, 2])),
        padding=kernel_size // 2,
        groups=channels if kind == "depthwise" else 1,
        bias=draw(st.booleans()),
    )


def problems(backend: Backend) -> st.SearchStrategy[ConvProblem]:
    """Any, and as many of the kinds that suit the backend.

    Own kernels get the kinds alone: each other shape is machine code of its own, and
    `test_kernels_*.py` draw those.
    """
    kinds = [k for k in ("pointwise", "dense", "depthwise") if not skipped(backend, PLAIN[k])]
    most = (5, 7) if backend.nominal_macs_per_s < 1e6 else (20, 15)  # a Python loop is slow
    own = [layers(kind, *most) for kind in kinds]
    return (
        st.one_of(*own) if own and backend.family == "kernels" else st.one_of(conv_problems(), *own)
    )


def examples(backend: Backend) -> int:
    """So many that what takes long to prepare takes no longer in all."""
    if backend.compiles_per_problem:
        return 2
    if backend.compile_s:
        return 4  # kernels have laws of their own
    return 8 if backend.own_threads else 25


def drawn(backend: Backend, law: Callable[[ConvProblem], None]) -> None:
    """Hold the backend to a law on problems that it may have to refuse."""
    few = settings(max_examples=examples(backend), suppress_health_check=list(HealthCheck))
    few(given(problem=problems(backend))(lambda problem: law(problem)))()


@every_backend
def test_equals_the_reference_or_says_why_not(backend: Backend) -> None:
    def law(problem: ConvProblem) -> None:
        if reason := skipped(backend, problem):
            assert reason.strip()
            return
        inputs = make_inputs(problem, weight_kind=weight_kind(problem))
        conv = backend.prepare(problem, inputs.weights)
        expected = compute_reference(problem, inputs)
        bound = largest_error(backend, problem, expected)
        assert check(conv, inputs, output(expected, bound)).reason is None

    drawn(backend, law)


@every_backend
def test_a_direct_method_is_exact_on_whole_numbers(backend: Backend) -> None:
    def law(problem: ConvProblem) -> None:
        if skipped(backend, problem):
            return
        inputs = make_inputs(problem, weight_kind=weight_kind(problem), integers=True)
        y = backend.prepare(problem, inputs.weights)(inputs.x)
        assert torch.equal(y.double(), compute_reference(problem, inputs).y)

    if backend.direct:
        drawn(backend, law)
    else:
        assert backend.error_bound(PLAIN["dense"]) > 1


@every_backend
def test_is_linear_in_its_input(backend: Backend) -> None:
    dtype = "float64" if backend.dtypes is None else backend.dtypes[-1]
    is_exact = not (backend.quantized or backend.computes_in)

    def law(problem: ConvProblem) -> None:
        if skipped(backend, problem, dtype) or problem.bias or not is_exact:
            return
        inputs = make_inputs(problem, weight_kind=weight_kind(problem), dtype=dtype)
        other = replace(inputs, x=make_inputs(problem, dtype=dtype, seed=1).x)
        conv = backend.prepare(problem, inputs.weights)
        apart = conv(2 * inputs.x - 3 * other.x) - (2 * conv(inputs.x) - 3 * conv(other.x))
        scale = (
            2 * compute_reference(problem, inputs).scale
            + 3 * compute_reference(problem, other).scale
        )
        eps = torch.finfo(torch_dtype(dtype)).eps
        assert float(apart.abs().max()) <= 3 * backend.error_bound(problem) * eps * scale

    drawn(backend, law)


def kept(backend: Backend) -> list[tuple[ConvProblem, str]]:
    """The plain problems that suit the backend, in every dtype that it knows; one if it is slow."""
    if not_here(backend):
        return []
    pairs = [(problem, dtype) for problem in PLAIN.values() for dtype in DTYPES]
    if backend.compiles_per_problem:
        pairs = [(PLAIN["dense"], "float32")]
    return [(problem, dtype) for problem, dtype in pairs if not skipped(backend, problem, dtype)]


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(
    ("backend", "problem", "dtype"),
    [
        pytest.param(backend, problem, dtype, id=f"{backend.name}-{problem.label}-{dtype}")
        for backend in BACKENDS
        for problem, dtype in kept(backend)
    ],
)
def test_keeps_the_contract_in_every_dtype_and_format(
    backend: Backend, problem: ConvProblem, dtype: str, memory_format: str
) -> None:
    inputs = make_inputs(
        problem, weight_kind=weight_kind(problem), dtype=dtype, memory_format=memory_format
    )
    conv, expected = backend.prepare(problem, inputs.weights), compute_reference(problem, inputs)
    bound = largest_error(backend, problem, expected, dtype)
    assert check(conv, inputs, output(expected, bound)).reason is None
    y = conv(inputs.x)
    assert y.is_contiguous() or not inputs.x.is_contiguous()


@every_backend
def test_steps_one_by_one_are_the_whole(backend: Backend) -> None:
    for problem in PLAIN.values():
        if backend.compiles_per_problem or skipped(backend, problem):
            continue
        inputs = make_inputs(problem, weight_kind=weight_kind(problem))
        stopwatch = Stopwatch()
        conv = stopwatch.prepare(backend, problem, inputs.weights)
        assert torch.equal(conv(inputs.x), backend.prepare(problem, inputs.weights)(inputs.x))
        seconds = stopwatch.seconds(conv, inputs.x)
        assert {*seconds} <= {*get_args(StepName), REST}
        assert backend.family != "kernels" or len(seconds) > 1


@every_backend
def test_takes_part_in_something(backend: Backend) -> None:
    assert kept(backend) or "forward" not in (backend.directions or DIRECTIONS)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
@given(problem=conv_problems())
@settings(max_examples=20)
def test_tells_what_it_multiplies_and_how_far_it_may_err(
    backend: Backend, problem: ConvProblem
) -> None:
    if not backend.unsupported(problem):
        assert backend.macs(problem) > 0
        assert backend.error_bound(problem) > 1


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
def test_names_its_source_version_and_family(backend: Backend) -> None:
    assert backend.source
    assert backend.version
    assert backend.family in FAMILIES


def test_the_five_of_the_lecture_are_there() -> None:
    assert set(convsweep.list_backends()) >= {
        "loop",
        "im2col",
        "pointwise",
        "torch_conv",
        "separable",
    }


@given(problem=conv_problems(max_channels=3))
@settings(max_examples=60)
def test_the_reference_equals_the_naive_loop(problem: ConvProblem) -> None:
    inputs = make_inputs(problem, dtype="float64", integers=True)
    loop = convsweep.list_backends()["loop"].prepare(problem, inputs.weights)
    assert torch.equal(compute_reference(problem, inputs).y, loop(inputs.x))

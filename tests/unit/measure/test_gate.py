"""The gate: every kind of wrong backend fails, and a right one passes."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from convsweep import ConvProblem, Weights
from convsweep.analysis.sample_flags import PROJECTED
from convsweep.backends.base import Conv, direct_sum_bound
from convsweep.backends.strategies.torch_conv import prepare as honest
from convsweep.measure import reference
from convsweep.measure.checks import Original, check, output, recheck
from convsweep.measure.inputs import Inputs, make_inputs
from convsweep.measure.messages import Accepted
from convsweep.measure.outcome import Outcome
from convsweep.measure.projection import project
from convsweep.measure.reference import Expected, compute_reference

PROBLEM = ConvProblem(8, 8, input_size=(9, 9), kernel_size=3, padding=1, groups=2, bias=True)
PLAIN = replace(PROBLEM, groups=1)
Prepare = Callable[[ConvProblem, Weights], Conv]
Expect = Callable[[ConvProblem, Inputs], Expected]


def pads_wrongly(problem: ConvProblem, weights: Weights) -> Conv:
    inner = honest(replace_padding(problem), weights)
    return lambda x: inner(pad(x, [1, 1, 1, 1], mode="replicate"))


def replace_padding(problem: ConvProblem) -> ConvProblem:
    rows, columns = problem.input_size
    return replace(problem, input_size=(rows + 2, columns + 2), padding=0)


def drops_the_bias(problem: ConvProblem, weights: Weights) -> Conv:
    return honest(problem, replace(weights, bias=None))


def adds_a_bias(problem: ConvProblem, weights: Weights) -> Conv:
    inner = honest(problem, weights)
    return lambda x: inner(x) + 0.01


def ignores_groups(problem: ConvProblem, weights: Weights) -> Conv:
    whole = replace(weights, dense=weights.dense.repeat(1, problem.groups, 1, 1))
    return honest(replace(problem, groups=1), whole)


def returns_nan(problem: ConvProblem, weights: Weights) -> Conv:
    inner = honest(problem, weights)
    return lambda x: inner(x).index_fill(3, torch.tensor([4]), torch.nan)


def returns_the_wrong_shape(problem: ConvProblem, weights: Weights) -> Conv:
    inner = honest(problem, weights)
    return lambda x: inner(x)[..., :-1].clone()


def returns_the_wrong_dtype_later(problem: ConvProblem, weights: Weights) -> Conv:
    inner, dtypes = honest(problem, weights), iter([torch.float32])
    return lambda x: inner(x).to(next(dtypes, torch.bfloat16))  # a coarse one allows large errors


def computes_in_half(problem: ConvProblem, weights: Weights) -> Conv:
    assert weights.bias is not None
    inner = honest(problem, Weights(weights.dense.half(), weights.bias.half()))
    return lambda x: inner(x.half()).to(x.dtype)


def gets_a_corner_wrong(problem: ConvProblem, weights: Weights) -> Conv:
    inner = honest(problem, weights)

    def conv(x: Tensor) -> Tensor:
        y = inner(x)
        y[-1, -1, -1, -1] += 0.001
        return y

    return conv


def returns_one_buffer_twice(problem: ConvProblem, weights: Weights) -> Conv:
    inner, buffer = honest(problem, weights), torch.empty(problem.output_shape)
    return lambda x: buffer.copy_(inner(x))


def remembers_by_address(problem: ConvProblem, weights: Weights) -> Conv:
    inner, answers = honest(problem, weights), {}

    def conv(x: Tensor) -> Tensor:
        if x.data_ptr() not in answers:
            answers[x.data_ptr()] = inner(x)
        return answers[x.data_ptr()].clone()

    return conv


def remembers_by_version(problem: ConvProblem, weights: Weights) -> Conv:
    inner, answers = honest(problem, weights), {}

    def conv(x: Tensor) -> Tensor:
        key = (x.data_ptr(), x._version)
        if key not in answers:
            answers[key] = inner(x).clone()
        return answers[key].clone()

    return conv


def remembers_its_first_answer(problem: ConvProblem, weights: Weights) -> Conv:
    inner, answers = honest(problem, weights), []

    def conv(x: Tensor) -> Tensor:
        answers.append(inner(x) if not answers else answers[0])
        return answers[0]

    return conv


def changes_its_input(problem: ConvProblem, weights: Weights) -> Conv:
    inner = honest(problem, weights)

    def conv(x: Tensor) -> Tensor:
        y = inner(x)
        x[0, 0, 0, 0] += 1
        return y

    return conv


def changes_its_weights(problem: ConvProblem, weights: Weights) -> Conv:
    inner = honest(problem, weights)

    def conv(x: Tensor) -> Tensor:
        y = inner(x)
        weights.dense.mul_(1 + 1e-7)
        return y

    return conv


def returns_its_input(problem: ConvProblem, weights: Weights) -> Conv:
    return lambda x: x


def returns_no_tensor(problem: ConvProblem, weights: Weights) -> Conv:
    inner = honest(problem, weights)
    return lambda x: inner(x).tolist()


LIARS: dict[Prepare, str] = {
    pads_wrongly: "over its bound",
    drops_the_bias: "over its bound",
    adds_a_bias: "over its bound",
    ignores_groups: "over its bound",
    returns_nan: "not finite",
    returns_the_wrong_shape: "shape (1, 8, 9, 8), not (1, 8, 9, 9)",
    returns_the_wrong_dtype_later: "torch.bfloat16, not torch.float32",
    computes_in_half: "over its bound",
    gets_a_corner_wrong: "over its bound",
    returns_one_buffer_twice: "same memory",
    remembers_by_address: "another input in the same memory",
    remembers_by_version: "another input in the same memory",
    remembers_its_first_answer: "same memory",
    changes_its_input: "changes its input",
    changes_its_weights: "changes its input or its weights",
    returns_its_input: "memory of its input",
    returns_no_tensor: "returns a list",
}


def checked(
    prepare: Prepare,
    problem: ConvProblem = PROBLEM,
    accepted: Accepted | None = None,
    expect: Expect = compute_reference,
) -> tuple[Outcome, Inputs]:
    inputs, original = make_inputs(problem), Original.of(make_inputs(problem))
    target = output(expect(problem, inputs), direct_sum_bound(problem))
    conv = prepare(problem, inputs.weights)
    once = bool(accepted)  # a later pass, which checks again after timing
    found = check(conv, inputs, target, original=original, accepted=accepted, once=once)
    if accepted and found.reason is None:
        calls = [lambda: conv(inputs.x)] * 5
        if reason := recheck(calls[0], calls, inputs, target, accepted, lambda: None):
            return Outcome("mismatch", reason), inputs
    return found, inputs


def no_outputs(problem: ConvProblem, expect: Expect) -> Accepted:
    return {}


def honest_outputs(problem: ConvProblem, expect: Expect) -> Accepted:
    """What the first pass keeps of a backend that is honest then."""
    accepted: Accepted = {}
    checked(honest, problem, accepted, expect)
    return accepted


def test_an_honest_backend_passes_with_its_error_told() -> None:
    finding, _ = checked(honest)
    assert finding.reason is None
    assert finding.max_abs_err is not None
    assert finding.error_ratio is not None
    assert 0 <= finding.error_ratio < direct_sum_bound(PROBLEM)


def test_the_relative_error_is_that_of_the_largest_answer() -> None:
    def scaled(problem: ConvProblem, weights: Weights) -> Conv:
        inner = honest(problem, weights)
        return lambda x: 1.001 * inner(x)

    finding, _ = checked(scaled)
    assert finding.relative_err == pytest.approx(1e-3, rel=1e-2)
    assert finding.reason is not None


@pytest.mark.parametrize("lie", LIARS, ids=lambda lie: lie.__name__)
@pytest.mark.parametrize("outputs", [no_outputs, honest_outputs], ids=["first pass", "later pass"])
@pytest.mark.parametrize("expect", [compute_reference, project], ids=["full", "fast"])
def test_a_liar_is_caught_for_its_lie(
    lie: Prepare, outputs: Callable[[ConvProblem, Expect], Accepted], expect: Expect
) -> None:
    problem = PROBLEM if expect is compute_reference or lie is ignores_groups else PLAIN
    expect = compute_reference if lie is ignores_groups else expect
    finding, _ = checked(lie, problem, outputs(problem, expect), expect)
    assert finding.reason is not None
    assert LIARS[lie] in finding.reason


PLACES = {
    "one element": (0, 3, 4, 4),
    "a corner": (-1, -1, -1, -1),
    "a border": (0, 0, slice(None), 0),
    "one channel": (0, 5),
    "everything": (slice(None),),
}


@pytest.mark.parametrize("size", [0.0, 1e-7, 1e-6, 1e-4, 1e-2, 1.0, float("nan")])
@pytest.mark.parametrize("place", PLACES)
def test_an_error_is_judged_alike_in_all_passes_and_checks(place: str, size: float) -> None:
    def errs(problem: ConvProblem, weights: Weights) -> Conv:
        inner = honest(problem, weights)

        def conv(x: Tensor) -> Tensor:
            y = inner(x)
            y[PLACES[place]] += size
            return y

        return conv

    known = honest_outputs(PROBLEM, compute_reference)
    (first, _), (later, _) = checked(errs), checked(errs, accepted=known)
    assert later == replace(first, accepted=later.accepted)
    assert (first.status == "ok") == (size < 1e-5)
    for outputs in (no_outputs, honest_outputs):
        fast, _ = checked(errs, PLAIN, outputs(PLAIN, project), project)
        assert fast.status == first.status
        assert size or fast.sample_flags == PROJECTED


def test_the_same_bits_pass_again_without_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted: Accepted = {}
    first, _ = checked(honest, accepted=accepted)
    monkeypatch.setattr(reference.Reference, "compare", None)
    assert checked(honest, accepted=accepted)[0] == first


@pytest.mark.parametrize("lie", LIARS, ids=lambda lie: lie.__name__)
def test_a_liar_leaves_nothing_behind_for_the_next_backend(lie: Prepare) -> None:
    _, inputs = checked(lie)
    fresh = make_inputs(PROBLEM)
    assert torch.equal(inputs.x, fresh.x)
    assert torch.equal(inputs.weights.dense, fresh.weights.dense)


def test_what_a_backend_raises_leaves_its_input_as_it_was() -> None:
    inputs, calls = make_inputs(PROBLEM), []

    def raises_at_the_third_call(x: Tensor) -> Tensor:
        calls.append(x)
        if len(calls) == 3:
            raise RuntimeError("out of patience")
        return honest(PROBLEM, inputs.weights)(x)

    with pytest.raises(RuntimeError, match="out of patience"):
        check(raises_at_the_third_call, inputs, output(compute_reference(PROBLEM, inputs), 10.0))
    assert torch.equal(inputs.x, make_inputs(PROBLEM).x)


@pytest.mark.parametrize("channels", [1, 16, 256, 1024])
def test_half_precision_stands_out_however_long_the_sum(channels: int) -> None:
    problem = ConvProblem(channels, 16, (7, 7), 3, padding=1, bias=True)
    assert checked(honest, problem)[0].reason is None
    assert "over its bound" in str(checked(computes_in_half, problem)[0].reason)

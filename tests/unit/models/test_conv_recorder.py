"""What a model executes: every convolution, each as often, and none of its arithmetic."""

import re
from collections import Counter
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from convsweep.models.advise.conv_recorder import ModelTrace
from convsweep.models.advise.trace import record
from convsweep.problems.problem import ConvProblem
from tests.support.hand_written_model import EveryKind, ReadsNumbers
from tests.support.strategies import conv_problems

X = (1, 4, 9, 9)
PLAIN = ConvProblem(4, 8, (9, 9), 3, bias=True)


class Then(nn.Module):
    """A convolution, and then whatever a test asks for."""

    def __init__(self, then: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3)
        self.then = then

    def forward(self, x: Tensor) -> object:
        return self.then(self.conv(x))


def found(trace: ModelTrace) -> list[tuple[str, ConvProblem]]:
    return [(one.module, one.problem) for one in trace.convolutions]


def test_every_convolution_is_found_and_none_twice() -> None:
    shared = ConvProblem(8, 8, (18, 18), 3)  # its input comes padded by reflection
    assert found(record(EveryKind(), [(2, 3, 16, 16)])) == [
        ("stem", ConvProblem(3, 8, (16, 16), 3, batch_size=2, padding=1, bias=True)),
        ("shared", ConvProblem.parse(shared.label.replace("n1_", "n2_"))),
        ("shared", ConvProblem.parse(shared.label.replace("n1_", "n2_"))),
        (
            "branch.0",
            ConvProblem(8, 8, (16, 16), 3, batch_size=2, padding=1, groups=4, bias=True),
        ),
        (
            "branch.2",
            ConvProblem(8, 8, (16, 16), 3, batch_size=2, padding=2, dilation=2, bias=True),
        ),
        ("", ConvProblem(8, 4, (16, 16), 3, batch_size=2, stride=2, padding=1)),
        ("", ConvProblem(4, 4, (64,), 5, batch_size=2, padding=2)),
        ("volume", ConvProblem(1, 1, (4, 8, 8), 3, batch_size=2, padding=1, bias=True)),
        ("up", ConvProblem(4, 6, (8, 8), 2, batch_size=2, stride=2, bias=True, transposed=True)),
    ]


def test_transposed_convolutions_are_problems_of_their_own_macs() -> None:
    transposed = record(EveryKind(), [(1, 3, 16, 16)]).convolutions[-1]
    assert transposed.macs == transposed.problem.macs == 4 * 6 * 16 * 16


def test_no_arithmetic_is_done() -> None:
    side = 10**6  # an input of 16 TB
    trace = record(Then(lambda x: x), [(1, 4, side, side)])
    assert trace.convolutions[0].problem.input_size == (side, side)
    assert not trace.really_run


def test_a_model_without_numbers_is_as_good() -> None:
    with torch.device("meta"):
        model = EveryKind()
    shape = (1, 3, 16, 16)
    assert found(record(model, [shape])) == found(record(EveryKind(), [shape]))


@pytest.mark.parametrize(
    "then",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: x.numpy(),
        lambda x: x.nonzero(),
    ],
)
def test_what_depends_on_numbers_is_run_once(then: Callable[[Tensor], object]) -> None:
    trace = record(Then(then), [X])
    assert (found(trace), trace.really_run) == ([("conv", PLAIN)], True)


def test_which_convolutions_depend_on_numbers_is_seen() -> None:
    assert len(record(ReadsNumbers(), [X]).convolutions) == 2


@pytest.mark.parametrize("model", [EveryKind(), ReadsNumbers()])
def test_the_model_and_random_numbers_stay_as_they_were(model: nn.Module) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    model.train()
    record(model, [(1, 3, 16, 16) if isinstance(model, EveryKind) else X])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert getattr(model, "calls", 0) == 0


def test_it_is_recorded_as_it_infers() -> None:
    class Either(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.usual, self.in_training = nn.Conv2d(4, 8, 3), nn.Conv2d(4, 8, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.in_training(x) if self.training else self.usual(x)

    assert found(record(Either(), [X])) == [("usual", PLAIN)]


def test_inference_mode_hides_nothing() -> None:
    class Inferring(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear = nn.Conv2d(4, 8, 3, padding="same"), nn.Linear(9, 5)

        def forward(self, x: Tensor) -> Tensor:
            with torch.inference_mode():
                return self.linear(self.conv(x))

    trace = record(Inferring(), [X])
    problem = ConvProblem(4, 8, (9, 9), 3, padding=1, bias=True)
    assert found(trace) == [("conv", problem)]
    assert trace.macs == problem.macs + 8 * 9 * 9 * 5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_is_called_in_its_own_dtype(dtype: torch.dtype) -> None:
    trace = record(Then(lambda x: x).to(dtype), [X])
    assert trace.convolutions[0].dtype == str(dtype).removeprefix("torch.")


def test_a_model_of_two_dtypes_is_called_as_its_user_calls_it() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fine, self.usual = nn.Conv2d(4, 8, 3).double(), nn.Conv2d(4, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fine(x.double()) + self.usual(x)

    trace = record(Both(), [X])
    assert [one.dtype for one in trace.convolutions] == ["float64", "float32"]
    assert not trace.really_run


def test_whole_numbers_can_not_be_given() -> None:
    with pytest.raises(ValueError, match=r"4x10 \(normals; integer.*Long"):
        record(nn.Embedding(10, 8), [(4, 10)])


COMPLEX = torch.ones(4, 4, 3, 3, dtype=torch.complex64)


@pytest.mark.parametrize(
    "then",
    [
        lambda y: F.conv2d(y[:, :4].to(COMPLEX.dtype), COMPLEX),
        lambda y: F.conv_transpose2d(y[:, :4].to(COMPLEX.dtype), COMPLEX),
        lambda y: F.conv2d(y[:, :4].long(), COMPLEX.real.long()),
    ],
    ids=["complex", "transposed complex", "integer"],
)
def test_a_convolution_of_other_numbers_is_named_once_and_not_measured(
    then: Callable[[Tensor], object],
) -> None:
    trace = record(Then(then), [X])
    assert found(trace) == [("conv", PLAIN)]
    [other] = trace.unmeasured
    assert re.search("complex64|int64", other.reason)


def test_a_complex_model_has_nothing_to_measure() -> None:
    trace = record(nn.Conv2d(4, 8, 3, dtype=torch.complex64), [X])
    assert trace.convolutions == []
    assert len(trace.unmeasured) == 1


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_seen_by_the_name_of_its_owner() -> None:
    layers = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8)).eval()
    for scripted in (torch.jit.script(layers), torch.jit.trace(layers, torch.zeros(X))):
        assert found(record(scripted, [X])) == [("", PLAIN)]


def test_what_is_compiled_is_run_as_it_was_written() -> None:
    layers = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU())
    for model, name in (
        (torch.compile(layers, backend="eager"), "0"),
        (nn.Sequential(torch.compile(layers, backend="eager")), "0.0"),
        (torch.compile(layers[0], backend="eager"), ""),
    ):
        trace = record(model, [X])
        assert found(trace) == [(name, PLAIN)]
        assert ["torch.compile" in line for line in trace.warnings] == [True]
    assert record(layers, [X]).warnings == []


@pytest.mark.parametrize(("share", "dtype"), [(0.02, torch.float32), (1.0, torch.bfloat16)])
def test_a_layer_with_denormal_weights_is_named(share: float, dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Sequential(nn.Conv2d(8, 64, 3))).to(dtype)
    weights = model[1][0].weight.detach().view(-1)
    weights[: int(share / 4 * len(weights))] = torch.finfo(dtype).tiny / 4
    assert record(model, [X]).warnings == [] or share == 1.0
    weights[: int(share * len(weights))] = torch.finfo(dtype).tiny / 4
    [warning] = record(model, [X]).warnings
    assert " 1.0 " in warning
    assert record(torch.compile(model, backend="eager"), [X]).warnings[0] == warning


def test_several_inputs_are_positional() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
            return F.conv2d(x, kernel)

    problem = ConvProblem(4, 8, (9, 9), 3)
    assert found(record(Two(), [X, (8, 4, 3, 3)])) == [("", problem)]


def test_an_input_without_a_batch_is_one_of_one() -> None:
    assert found(record(Then(lambda x: x), [X[1:]])) == [("conv", PLAIN)]


def test_another_operator_that_convolves_is_told() -> None:
    model = Then(lambda x: torch.conv_tbc(x[0], torch.ones(3, 7, 2), torch.ones(2)))
    [other] = record(model, [X]).unmeasured
    assert "conv_tbc" in other.reason


def test_an_input_that_does_not_fit_is_refused_in_a_line() -> None:
    with pytest.raises(ValueError, match=r"1x3x9x9.*to have 4 channels") as refused:
        record(Then(lambda x: x), [(1, 3, 9, 9)])
    assert "\n" not in str(refused.value)


class Outside(BaseException):
    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), Outside()])
def test_a_model_that_ends_the_program_is_refused(error: BaseException) -> None:
    def leave(x: Tensor) -> None:
        raise error

    with pytest.raises(ValueError, match=rf"1x4x9x9.*{type(error).__name__}"):
        record(Then(leave), [X])


@settings(max_examples=20)
@given(problem=conv_problems())
def test_what_is_recorded_is_the_problem_that_was_convolved(problem: ConvProblem) -> None:
    kinds = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
    model = kinds[problem.rank](
        problem.in_channels,
        problem.out_channels,
        problem.kernel_size,  # type: ignore[arg-type]
        stride=problem.stride,  # type: ignore[arg-type]
        padding=problem.padding,  # type: ignore[arg-type]
        dilation=problem.dilation,  # type: ignore[arg-type]
        groups=problem.groups,
        bias=problem.bias,
    )
    trace = record(model, [problem.input_shape])
    assert found(trace) == [("", problem)]
    assert trace.macs == problem.macs


def test_macs_are_those_of_pytorchs_counter() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(8 * 49, 5))
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(X))
    trace = record(model, [X])
    assert 2 * trace.macs == counter.get_total_flops()
    assert Counter(one.macs for one in trace.convolutions) == {PLAIN.macs: 1}

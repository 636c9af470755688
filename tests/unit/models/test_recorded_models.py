"""Odd models, recorded as they compute."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convsweep.models.advise.trace import record
from convsweep.problems.conv_call import convolution_problem
from convsweep.problems.problem import ConvProblem


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kernel_size", [4, (4, 3), (2, 4), (3, 3)])
@pytest.mark.parametrize("dilation", [1, (3, 2)])
def test_padding_that_keeps_the_size_is_one_problem_recorded_and_called(
    kernel_size: int | tuple[int, int], dilation: int | tuple[int, int]
) -> None:
    conv = nn.Conv2d(4, 8, kernel_size, padding="same", dilation=dilation)
    called = convolution_problem(
        torch.ones(1, 4, 9, 9), conv.weight, conv.bias, 1, "same", dilation
    )
    assert [one.problem for one in record(conv, [(1, 4, 9, 9)]).convolutions] == [called]


class Padded(nn.Module):
    """TensorFlow's padding "same" at stride 2: more behind than in front."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 7, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (2, 3, 2, 3)))


class TwoSizes(nn.Module):
    """One module on two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.conv(x[..., :16, :16]), self.conv(x)


CASES = {
    "TensorFlow's same": (
        lambda: Padded(), (1, 3, 224, 224),
        [ConvProblem(3, 8, (224, 224), 7, stride=2, padding=2, padding_end=3)], 0,
    ),
    "padded by other numbers": (
        lambda: nn.Sequential(nn.ConstantPad2d((0, 1, 0, 1), 2.0), nn.Conv2d(3, 8, 3, bias=False)),
        (1, 3, 8, 8), [ConvProblem(3, 8, (9, 9), 3)], 0,
    ),
    "even": (
        lambda: nn.Conv2d(8, 8, 2, padding="same", bias=False), (1, 8, 28, 28),
        [ConvProblem(8, 8, (28, 28), 2, padding_end=1)], 0,
    ),
    "circular": (
        lambda: nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular", bias=False),
        (1, 3, 8, 8), [ConvProblem(3, 8, (10, 10), 3)], 0,
    ),
    "two sizes": (
        lambda: TwoSizes(), (1, 1, 28, 28),
        [ConvProblem(1, 1, (n, n), 3, padding=1, bias=True) for n in (16, 28)], 0,
    ),
    "lazy": (
        lambda: nn.LazyConv2d(8, 3, bias=False), (1, 3, 8, 8), [ConvProblem(3, 8, (8, 8), 3)], 0
    ),
    "transposed": (
        lambda: nn.ConvTranspose2d(32, 1, 3, bias=False), (1, 32, 1, 1),
        [ConvProblem(32, 1, (1, 1), 3, transposed=True)], 0,
    ),
    "cropped": (lambda: nn.ConvTranspose2d(4, 4, 1, padding=1), (1, 4, 9, 9), [], 4 * 4 * 81),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("case", CASES)
def test_odd_models_are_recorded_as_they_compute(case: str) -> None:
    make, shape, problems, unmeasured_macs = CASES[case]
    trace = record(make(), [shape])
    assert [conv.problem for conv in trace.convolutions] == problems
    assert sum(conv.macs for conv in trace.convolutions) == sum(p.macs for p in problems)
    assert sum(conv.macs for conv in trace.unmeasured) == unmeasured_macs


def test_a_lazy_model_that_cannot_be_copied_is_refused_and_stays_lazy() -> None:
    model = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d())
    with pytest.raises(ValueError, match="lazy"):
        record(model, [(1, 4, 9, 9)])
    assert all(map(nn.parameter.is_lazy, model.parameters()))

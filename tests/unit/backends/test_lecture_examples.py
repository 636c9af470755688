"""The textbook chapter on several input and output channels, its printed results and questions."""

import pytest
import torch
from torch.nn.functional import conv2d, conv3d, linear

import convsweep
from convsweep import ConvProblem, Weights
from convsweep.backends.strategies.loop import corr2d, corr2d_multi_in, corr2d_multi_in_out

X = torch.stack([torch.arange(9.0), torch.arange(1.0, 10.0)]).view(2, 3, 3)
K = torch.tensor([[[0.0, 1.0], [2.0, 3.0]], [[1.0, 2.0], [3.0, 4.0]]])
THREE_KERNELS = torch.stack([K, K + 1, K + 2])
PRINTED = [[[56, 72], [104, 120]], [[76, 100], [148, 172]], [[96, 128], [192, 224]]]

DIRECT = ["loop", "im2col", "torch_conv"]


def compute(backend: str, problem: ConvProblem, x: torch.Tensor, weights: Weights) -> torch.Tensor:
    return convsweep.list_backends()[backend].prepare(problem, weights)(x)


def test_several_input_channels_are_summed() -> None:
    assert corr2d_multi_in(X, K).tolist() == PRINTED[0]


def test_several_output_channels_are_stacked() -> None:
    assert corr2d_multi_in_out(X, THREE_KERNELS).tolist() == PRINTED


@pytest.mark.parametrize("backend", DIRECT)
def test_every_direct_method_prints_what_the_chapter_prints(backend: str) -> None:
    problem = ConvProblem(in_channels=2, out_channels=3, input_size=(3, 3), kernel_size=2)
    y = compute(backend, problem, X[None], Weights(THREE_KERNELS))
    assert y[0].tolist() == PRINTED


@pytest.mark.parametrize("backend", [*DIRECT, "pointwise", "linear"])
def test_a_1x1_convolution_is_a_fully_connected_layer_at_every_pixel(backend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-4, 5, (1, 3, 3, 3), generator=generator).float()
    k = torch.randint(-4, 5, (2, 3, 1, 1), generator=generator).float()
    problem = ConvProblem(in_channels=3, out_channels=2, input_size=(3, 3), kernel_size=1)
    pixels = x[0].flatten(1).T  # (H*W, C_in)
    fully_connected = linear(pixels, k.flatten(1)).T.view(1, 2, 3, 3)
    assert torch.equal(compute(backend, problem, x, Weights(k)), fully_connected)
    assert torch.equal(corr2d_multi_in_out(x[0], k), fully_connected[0])


@pytest.mark.parametrize("backend", [*DIRECT, "pointwise", "linear"])
def test_a_bias_adds_one_number_to_each_output_channel(backend: str) -> None:
    x, k, bias = torch.ones(1, 2, 4, 4), torch.ones(3, 2, 1, 1), torch.tensor([1.0, 2.0, 3.0])
    shape = {"in_channels": 2, "out_channels": 3, "input_size": (4, 4), "kernel_size": 1}
    plain = compute(backend, ConvProblem(**shape), x, Weights(k))
    biased = compute(backend, ConvProblem(**shape, bias=True), x, Weights(k, bias))
    assert torch.equal(biased - plain, bias.view(1, 3, 1, 1).expand_as(plain))


def test_padding_by_half_the_kernel_keeps_the_size() -> None:
    problem = ConvProblem(
        in_channels=2, out_channels=3, input_size=(9, 7), kernel_size=(5, 3), padding=(2, 1)
    )
    assert problem.output_size == (9, 7)


def test_halving_the_size_and_doubling_the_channels_keeps_the_work() -> None:
    wide = ConvProblem(32, 32, (56, 56), 3, padding=1)
    deep = ConvProblem(64, 64, (28, 28), 3, padding=1)
    assert wide.macs == deep.macs


def test_two_convolutions_in_a_row_are_one_with_a_larger_kernel() -> None:
    generator = torch.Generator().manual_seed(1)
    x, k1, k2 = (
        torch.randint(-3, 4, shape, generator=generator).double()
        for shape in ((8, 8), (3, 3), (2, 2))
    )
    composed = conv2d(k1.flip(0, 1)[None, None], k2[None, None], padding=1)[0, 0].flip(0, 1)
    assert torch.equal(corr2d(corr2d(x, k1), k2), corr2d(x, composed))


@pytest.mark.parametrize("backend", DIRECT)
def test_a_volume_is_convolved_like_an_image(backend: str) -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randint(-4, 5, (1, 2, 4, 5, 3), generator=generator).float()
    k = torch.randint(-4, 5, (3, 2, 2, 3, 2), generator=generator).float()
    problem = ConvProblem(
        in_channels=2, out_channels=3, input_size=(4, 5, 3), kernel_size=(2, 3, 2)
    )
    assert torch.equal(compute(backend, problem, x, Weights(k)), conv3d(x, k))


def test_a_separable_layer_costs_one_over_channels_and_kernel_of_the_standard_one() -> None:
    problem = ConvProblem(256, 512, (14, 14), 3, padding=1)
    share = convsweep.list_backends()["separable"].macs(problem) / problem.macs
    assert share == pytest.approx(1 / 512 + 1 / 9, rel=1e-12)

"""Textbook convolution loop, one output element at a time.

Zhang et al., Dive into Deep Learning, section 7.4: multiple input and multiple output channels.
"""

from itertools import product

from convsweep.backends.base import Backend, Conv, Implementation, Tensor, Weights, tells
from convsweep.backends.steps import bias_step, pad_step, step
from convsweep.problems.problem import ConvProblem, Size


def corr2d(x: Tensor, k: Tensor, stride: Size = (1, 1), dilation: Size = (1, 1)) -> Tensor:
    """Cross-correlate one channel (H, W) with one kernel (K_h, K_w); 1-D and 3-D work too."""
    spans = [d * (n - 1) + 1 for d, n in zip(dilation, k.shape, strict=True)]
    size = [(i - span) // s + 1 for i, span, s in zip(x.shape, spans, stride, strict=True)]
    y = x.new_empty(size)
    for position in product(*map(range, size)):
        corner = [p * s for p, s in zip(position, stride, strict=True)]
        window = tuple(map(slice, corner, map(sum, zip(corner, spans, strict=True)), dilation))
        y[position] = (x[window] * k).sum()
    return y


def corr2d_multi_in(x: Tensor, k: Tensor, stride: Size = (1, 1), dilation: Size = (1, 1)) -> Tensor:
    """Correlate each input channel (C_in, H, W) with its kernel and sum the results."""
    import torch

    channels = zip(x, k, strict=True)
    return torch.stack([corr2d(x_c, k_c, stride, dilation) for x_c, k_c in channels]).sum(0)


def corr2d_multi_in_out(
    x: Tensor, k: Tensor, stride: Size = (1, 1), dilation: Size = (1, 1)
) -> Tensor:
    """Correlate with each of the kernels (C_out, C_in, K_h, K_w) and stack the results."""
    import torch

    return torch.stack([corr2d_multi_in(x, k_o, stride, dilation) for k_o in k])


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Add batch, padding, groups and bias to the textbook's three functions."""
    import torch

    padded = pad_step([(p, p) for p in problem.padding])
    with_bias = bias_step(weights.bias, problem.rank)
    kernels = weights.dense.chunk(problem.groups)  # (C_out / groups, C_in / groups, *kernel_size)

    @step("product")
    def one_image(image: Tensor) -> Tensor:  # (C_in, *padded_size)
        groups = zip(image.chunk(problem.groups), kernels, strict=True)
        return torch.cat(
            [corr2d_multi_in_out(x, k, problem.stride, problem.dilation) for x, k in groups]
        )

    def conv(x: Tensor) -> Tensor:
        return with_bias(torch.stack([one_image(image) for image in padded(x)]))

    # A trace would record thousands of operators.
    return tells(conv, lambda x: Implementation("aten::mul + aten::sum"))


BACKEND = Backend(
    name="loop",
    prepare=prepare,
    source="Dive into Deep Learning, section 7.4 (corr2d_multi_in_out)",
    by_default=False,
    nominal_macs_per_s=5e5,
)

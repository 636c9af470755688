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


def trans_conv(x: Tensor, k: Tensor, stride: Size = (1, 1), dilation: Size = (1, 1)) -> Tensor:
    """Add the kernel (K_h, K_w) times each pixel of one channel (H, W): section 14.10."""
    spans = [d * (n - 1) + 1 for d, n in zip(dilation, k.shape, strict=True)]
    y = x.new_zeros([(i - 1) * s + n for i, n, s in zip(x.shape, spans, stride, strict=True)])
    for position in product(*map(range, x.shape)):
        corner = [p * s for p, s in zip(position, stride, strict=True)]
        window = tuple(map(slice, corner, map(sum, zip(corner, spans, strict=True)), dilation))
        y[window] += x[position] * k
    return y


def trans_conv_multi_in_out(
    x: Tensor, k: Tensor, stride: Size = (1, 1), dilation: Size = (1, 1)
) -> Tensor:
    """Spread channels (C_in, H, W) by kernels (C_in, C_out, K_h, K_w); stack sums over C_in."""
    import torch

    spread = [
        torch.stack([trans_conv(x_c, k_co, stride, dilation) for k_co in k_c])
        for x_c, k_c in zip(x, k, strict=True)
    ]
    return torch.stack(spread).sum(0)


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Add batch, padding, groups and bias to the textbook's three functions."""
    import torch

    extra = zip(problem.padding, problem.output_padding, strict=True)
    cropped = pad_step([(-p, more - p) if problem.transposed else (0, 0) for p, more in extra])
    padded = (lambda image: image) if problem.transposed else pad_step(problem.margins)
    function = trans_conv_multi_in_out if problem.transposed else corr2d_multi_in_out
    with_bias = bias_step(weights.bias, problem.rank)
    kernels = weights.dense.chunk(problem.groups)  # of `Weights.dense`, the channels of one group

    @step("product")
    def one_image(image: Tensor) -> Tensor:  # (C_in, *padded_size)
        groups = zip(image.chunk(problem.groups), kernels, strict=True)
        return torch.cat([function(x, k, problem.stride, problem.dilation) for x, k in groups])

    def conv(x: Tensor) -> Tensor:
        return with_bias(cropped(torch.stack([one_image(image) for image in padded(x)])))

    # A trace would record thousands of operators.
    return tells(conv, lambda x: Implementation("aten::mul + aten::sum"))


BACKEND = Backend(
    name="loop",
    prepare=prepare,
    own_padding_end=True,
    transposed=True,
    source="Dive into Deep Learning, sections 7.4 (corr2d_multi_in_out), 14.10 (trans_conv)",
    by_default=False,
    nominal_macs_per_s=5e5,
)

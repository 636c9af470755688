"""PyTorch's own convolution, whose library chooses the algorithm: plain, autocast, gradients."""

from functools import partial

from convsweep.backends import base
from convsweep.problems.case import BACKWARD_INPUT, BACKWARD_WEIGHT
from convsweep.problems.problem import ConvProblem

prepare = base.imported_late("tensor_layout", "bind_weights")
"""Binds the weights; PyTorch prepares nothing in advance."""


def prepare_autocast(problem: ConvProblem, weights: base.Weights) -> base.Conv:
    """Cast input and weight to bfloat16 in every call, and the output back to float32.

    Autocast keeps the cast of a weight that needs a gradient only to the end of its context, which
    users open once per forward pass: a layer casts its weight once per pass, in inference and in
    training. So every call opens a context of its own, without that cache, which takes about 3 us.
    In a network the next convolution takes the bfloat16 output: no cast is needed between them.
    """
    import torch

    convolve: base.Conv = prepare(problem, weights)

    def conv(x: base.Tensor) -> base.Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
            y = convolve(x)
        return y.to(x.dtype)

    return conv


def gradients(problem: ConvProblem, weights: base.Weights, direction: str) -> base.Gradients:
    """Bind the operator that autograd calls, without autograd: all arguments but the tensors.

    The mask of outputs selects the gradients.
    """
    import torch

    operator, of_input = torch.ops.aten.convolution_backward, direction == BACKWARD_INPUT
    mask = (of_input, not of_input, not of_input and problem.bias)
    transposed, extra = problem.transposed, problem.output_padding
    geometry = (problem.stride, problem.padding, problem.dilation, transposed, extra)
    bias_sizes = (problem.out_channels,) if problem.bias else None

    def backward(x: base.Tensor, grad: base.Tensor) -> tuple[base.Tensor, ...]:
        found = operator(grad, x, weights.dense, bias_sizes, *geometry, problem.groups, mask)
        return tuple(gradient for gradient in found if gradient is not None)

    return backward


_torch_backend = partial(
    base.Backend,
    error_bound=base.library_bound,
    float32_sums=True,
    version=base.TORCH,
    direct=False,
)

BACKENDS = (
    _torch_backend(
        name="torch_conv",
        prepare=prepare,
        source="torch.nn.functional.conv1d, conv2d, conv3d, conv_transpose1d, ...",
        transposed=True,
    ),
    _torch_backend(
        name="torch_conv_autocast",
        prepare=prepare_autocast,
        computes_in="bfloat16",
        source="torch.autocast(dtype=torch.bfloat16)",
        device_types=("cpu", "cuda"),
        dtypes=("float32",),
    ),
    _torch_backend(
        name="torch_conv_backward",
        prepare=prepare,
        gradients=gradients,
        directions=(BACKWARD_INPUT, BACKWARD_WEIGHT),
        source="torch.ops.aten.convolution_backward",
        transposed=True,
    ),
)

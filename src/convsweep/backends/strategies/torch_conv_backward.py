"""Gradients by the operator that autograd calls for `torch_conv`, without autograd."""

from convsweep.backends.base import (
    TORCH,
    Backend,
    Gradients,
    Tensor,
    Weights,
    imported_late,
    library_bound,
)
from convsweep.problems.case import BACKWARD_INPUT, BACKWARD_WEIGHT
from convsweep.problems.problem import ConvProblem


def gradients(problem: ConvProblem, weights: Weights, direction: str) -> Gradients:
    """Bind all arguments but the tensors; the mask of outputs selects the gradients."""
    import torch

    operator, of_input = torch.ops.aten.convolution_backward, direction == BACKWARD_INPUT
    mask = (of_input, not of_input, not of_input and problem.bias)
    transposed, extra = problem.transposed, problem.output_padding
    geometry = (problem.stride, problem.padding, problem.dilation, transposed, extra)
    bias_sizes = (problem.out_channels,) if problem.bias else None

    def backward(x: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
        found = operator(grad, x, weights.dense, bias_sizes, *geometry, problem.groups, mask)
        return tuple(gradient for gradient in found if gradient is not None)

    return backward


BACKEND = Backend(
    name="torch_conv_backward",
    prepare=imported_late("tensor_layout", "bind_weights"),
    gradients=gradients,
    directions=(BACKWARD_INPUT, BACKWARD_WEIGHT),
    error_bound=library_bound,
    float32_sums=True,
    source="torch.ops.aten.convolution_backward",
    version=TORCH,
    direct=False,
    transposed=True,
)

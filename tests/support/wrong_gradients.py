"""Wrong gradients: each is a convolution whose output is right and whose gradients are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from convsweep import Backend, ConvProblem, Weights
from convsweep.backends.base import Conv
from convsweep.backends.tensor_layout import bind_conv

Gradients = list[Tensor | None]
"""Of the input, the weight and the bias."""
Twist = Callable[[ConvProblem, Tensor, Tensor, Tensor], Gradients]
"""(problem, x, weight, gradient of the output) -> gradients."""


def right(problem: ConvProblem, x: Tensor, weight: Tensor, grad: Tensor) -> list[Tensor]:
    found = torch.ops.aten.convolution_backward(
        grad, x, weight, (problem.out_channels,), problem.stride, problem.padding,
        problem.dilation, False, (0,) * problem.rank, problem.groups, (True, True, True),
    )  # fmt: skip
    return list(found)


class _Twisted(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, problem: ConvProblem, twist: Twist
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.problem, ctx.twist = problem, twist
        return bind_conv(problem, weight, bias)(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        return *ctx.twist(ctx.problem, *ctx.saved_tensors, grad), None, None


def backend_of(twist: Twist) -> Backend:
    """Return a backend whose gradients are those of `twist`."""

    def prepare(problem: ConvProblem, weights: Weights) -> Conv:
        return lambda x: _Twisted.apply(x, weights.dense, weights.bias, problem, twist)

    return Backend("wrong", prepare)


def stale() -> Twist:
    kept: list[list[Tensor]] = []

    def twist(*of: Any) -> Gradients:
        kept.append(right(*of))
        return [one.clone() for one in kept[0]]

    return twist


def of_another_input() -> Twist:
    return lambda problem, x, weight, grad: [
        *right(problem, x.roll(1, -1), weight, grad.roll(1, -1))
    ]


def accumulated() -> Twist:
    total: list[Tensor] = []

    def twist(*of: Any) -> Gradients:
        new = right(*of)
        total[:] = [a + b for a, b in zip(total, new, strict=True)] if total else new
        return [one.clone() for one in total]

    return twist


def without_the_last_image() -> Twist:
    def twist(problem: ConvProblem, x: Tensor, weight: Tensor, grad: Tensor) -> Gradients:
        shorter = replace(problem, batch_size=problem.batch_size - 1)
        of_input, *_ = right(problem, x, weight, grad)
        _, *others = right(shorter, x[:-1], weight, grad[:-1])
        return [of_input.index_fill(0, torch.tensor([problem.batch_size - 1]), 0.0), *others]

    return twist


def without_a_group() -> Twist:
    def twist(problem: ConvProblem, x: Tensor, weight: Tensor, grad: Tensor) -> Gradients:
        inputs, outputs = (n // problem.groups for n in (x.shape[1], grad.shape[1]))
        of_input, of_weight, of_bias = right(problem, x, weight, grad)
        of_input[:, -inputs:], of_weight[-outputs:] = 0, 0
        return [of_input, of_weight, of_bias]

    return twist


def with_the_wrong_sign() -> Twist:
    return lambda *of: [-one for one in right(*of)]


def in_half_precision() -> Twist:
    return lambda problem, *tensors: [
        one.float() for one in right(problem, *(tensor.half() for tensor in tensors))
    ]


def without_padding() -> Twist:
    def twist(problem: ConvProblem, x: Tensor, weight: Tensor, grad: Tensor) -> Gradients:
        inner = grad.clone()
        inner[..., 0] = inner[..., -1] = 0
        return [*right(problem, x, weight, inner)[:2], right(problem, x, weight, grad)[2]]

    return twist


def in_the_same_memory() -> Twist:
    buffers: list[Tensor] = []

    def twist(*of: Any) -> Gradients:
        new = right(*of)
        buffers.extend([] if buffers else [torch.empty_like(one) for one in new])
        return [buffer.copy_(one) for buffer, one in zip(buffers, new, strict=True)]

    return twist


def changing_the_outputs_gradient() -> Twist:
    def twist(problem: ConvProblem, x: Tensor, weight: Tensor, grad: Tensor) -> Gradients:
        found = right(problem, x, weight, grad)
        grad.mul_(1 + 1e-6)
        return [*found]

    return twist


def changing_the_input() -> Twist:
    def twist(problem: ConvProblem, x: Tensor, weight: Tensor, grad: Tensor) -> Gradients:
        found = right(problem, x, weight, grad)
        x.data.mul_(1 + 1e-6)
        return [*found]

    return twist


def all_zero() -> Twist:
    return lambda *of: [torch.zeros_like(one) for one in right(*of)]


def none_at_all() -> Twist:
    return lambda *of: [None, None, None]


def by_address() -> Twist:
    known: dict[tuple[int, int], list[Tensor]] = {}

    def twist(problem: ConvProblem, x: Tensor, weight: Tensor, grad: Tensor) -> Gradients:
        key = x.data_ptr(), grad.data_ptr()
        if key not in known:
            known[key] = right(problem, x, weight, grad)
        return [one.clone() for one in known[key]]

    return twist


def without_that_of_the_bias() -> Twist:
    return lambda *of: [*right(*of)[:2], None]


def with_zeros_for_the_bias() -> Twist:
    def twist(*of: Any) -> Gradients:
        *others, of_bias = right(*of)
        return [*others, torch.zeros_like(of_bias)]

    return twist


WRONG: dict[Callable[[], Twist], str] = {
    stale: "another input in the same memory",
    of_another_input: "over its bound",
    accumulated: "second call",
    without_the_last_image: "over its bound",
    without_a_group: "over its bound",
    with_the_wrong_sign: "over its bound",
    in_half_precision: "over its bound",
    without_padding: "over its bound",
    in_the_same_memory: "same memory",
    changing_the_outputs_gradient: "changes its input",
    changing_the_input: "changes its input",
    all_zero: "over its bound",
    none_at_all: "NoneType",
    by_address: "another input in the same memory",
}
"""Wrong in every direction, and a part of the reason."""
WRONG_BIAS: dict[Callable[[], Twist], str] = {
    without_that_of_the_bias: "grad_bias: returns a NoneType",
    with_zeros_for_the_bias: "grad_bias: error ratio",
}
"""Wrong where there is a gradient of the bias."""

"""Blocks: a convolution, or a depthwise and a pointwise one, each with batch norm and ReLU.

Ioffe & Szegedy 2015, Batch Normalization; Howard et al. 2017, MobileNets. In inference a batch norm
is y = a * x + b per channel, so it can be folded into the weights and the bias before it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from convsweep.backends.base import (
    Backend,
    Conv,
    GraphLayer,
    Implementation,
    Tensor,
    Weights,
    tells,
)
from convsweep.problems.case import CONV, CONV_BN_ACT_FOLDED, FORWARD, ITEMSIZE
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import depthwise_part, pointwise_part

EPS, MOMENTUM = 1e-5, 0.1  # PyTorch's
_LEAST_TRAINED = 4  # bytes per element


def in_block(backend: Backend, block: str, *, training: bool = False) -> Backend:
    """Return the backend with the block as its convolution."""
    if block == CONV:
        return backend
    make = backend.prepare_block or partial(layer_by_layer, backend.prepare)

    def prepare(problem: ConvProblem, weights: Weights) -> Conv:
        layers = block_layers(problem, weights, backend.needs_factors, training)
        return make([folded(layer) for layer in layers] if block == CONV_BN_ACT_FOLDED else layers)

    return replace(backend, prepare=prepare, gradients=None)


def block_unsupported(
    backend: Backend, problem: ConvProblem, block: str, direction: str, dtype: str
) -> str | None:
    """Return why a backend can't compute a block, or None."""
    if block == CONV:
        return None
    inside, values = backend.computes_in or dtype, math.prod(problem.output_size)
    reasons: list[tuple[object, str]] = [
        (
            backend.needs_factors and not backend.prepare_block,
            "computes both parts at once, so no batch norm fits between them",
        ),
        (problem.transposed, "a block has no transposed convolution"),
    ]
    if direction != FORWARD:
        reasons += [
            (block == CONV_BN_ACT_FOLDED, "a folded batch norm has no statistics to train with"),
            (
                ITEMSIZE[inside] < _LEAST_TRAINED,
                f"in {inside}, rounding decides too often whether ReLU's gradient is 0 or 1",
            ),
            (backend.gradients, "its gradients are those of the convolution alone"),
            (problem.batch_size * values == 1, "statistics of a batch need more than one value"),
        ]
    return next((reason for holds, reason in reasons if holds), None)


def dense_graph(problem: ConvProblem, weights: Weights) -> list[GraphLayer]:
    """Return the convolution alone."""
    return [GraphLayer(problem, weights.dense, weights.bias)]


def separable_graph(problem: ConvProblem, weights: Weights) -> list[GraphLayer]:
    """Return the depthwise convolution, then the 1x1 convolution with the bias."""
    assert weights.factors is not None
    depthwise, pointwise = weights.factors
    return [
        GraphLayer(depthwise_part(problem), depthwise, None),
        GraphLayer(pointwise_part(problem), pointwise, weights.bias),
    ]


def block_layers(
    problem: ConvProblem, weights: Weights, factored: bool, training: bool
) -> list[GraphLayer]:
    """Return the layers of the standard block, or those of the separable one."""
    layers = (separable_graph if factored else dense_graph)(problem, weights)
    norms = weights.factor_norms if factored else (weights.norm,)
    with_norms = zip(layers, norms, strict=True)
    return [layer._replace(norm=n, relu=math.inf, training=training) for layer, n in with_norms]


def folded(layer: GraphLayer, eps: float | None = None) -> GraphLayer:
    """Return the layer with its batch norm as part of weight and bias."""
    problem, weight, bias, norm, relu, _ = layer
    assert norm is not None
    gamma, beta, mean, variance = norm
    scale = gamma * (variance + (EPS if eps is None else eps)).rsqrt()
    moved = beta + ((0 if bias is None else bias) - mean) * scale
    scaled = weight * scale.view(-1, *[1] * (weight.dim() - 1))
    return GraphLayer(replace(problem, bias=True), scaled, moved, relu=relu)


def fusing_relu(prepare: Callable[..., Conv]) -> Callable[[Sequence[GraphLayer]], Conv]:
    """Return the `prepare_block` of a kernel whose `prepare` takes `relu`."""

    def prepare_block(layers: Sequence[GraphLayer]) -> Conv:
        (layer,) = layers
        if layer.norm:
            return layer_by_layer(prepare, layers)
        return prepare(layer.problem, Weights(layer.weight, layer.bias), relu=layer.relu)

    return prepare_block


def layer_by_layer(
    prepare: Callable[[ConvProblem, Weights], Conv], layers: Sequence[GraphLayer]
) -> Conv:
    """Prepare each convolution on its own; PyTorch computes batch norms and ReLUs."""
    pairs = [
        (prepare(layer.problem, Weights(layer.weight, layer.bias)), activation(layer))
        for layer in layers
    ]

    def conv(x: Tensor) -> Tensor:
        for convolve, activate in pairs:
            x = activate(convolve(x))
        return x

    def implementation(x: Tensor) -> Implementation:
        names, reorders = [], 0
        for (convolve, activate), layer in zip(pairs, layers, strict=True):
            own: Implementation = convolve.implementation(x)  # type: ignore[attr-defined]
            names.append(own.name + " + batch_norm" * (layer.norm is not None) + " + relu")
            reorders += own.reorders or 0
            x = activate(convolve(x))
        return Implementation(" + ".join(names), reorders)

    has_names = all(hasattr(convolve, "implementation") for convolve, _ in pairs)
    return tells(conv, implementation) if has_names else conv


def activation(layer: GraphLayer) -> Conv:
    """Return what follows a convolution; ReLU overwrites its input."""
    from torch.nn.functional import batch_norm

    def relu(y: Tensor) -> Tensor:
        if layer.relu == math.inf:
            return y.relu_()
        return y.clamp_(0, layer.relu) if layer.relu else y

    if layer.norm is None:
        return relu
    gamma, beta, mean, variance = layer.norm
    return lambda y: relu(batch_norm(y, mean, variance, gamma, beta, layer.training, MOMENTUM, EPS))

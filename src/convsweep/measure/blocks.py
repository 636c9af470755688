"""Inputs and references of blocks: outputs and gradients in float64, with bounds of their errors.

Each intermediate result carries a bound of its error, in units of eps (running error analysis,
Higham 2002, section 3.3). A sum adds the magnitudes of all its terms, as the scale of a convolution
alone does. Errors of its terms are independent, so their squares add up (Higham & Mary 2020). A
backend whose sums err by `bound` units errs by at most `bound` times all of that, to first order.

ReLU passes errors on unchanged. Its derivative is 0 or 1, and unknown where the input is within its
error of zero. So the output's gradient is zero there. The inner ReLU of a separable block has a
beta per channel for which the inputs leave a gap around zero; where they do not, the whole gradient
counts as error.
"""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from convsweep.backends.base import BatchNorm, GraphLayer
from convsweep.backends.blocks import EPS, block_layers
from convsweep.measure.banded_convolution import convolve
from convsweep.measure.gradients import (
    GRAD_BIAS,
    GRAD_INPUT,
    GRAD_WEIGHT,
    OUTPUT,
    all_but_channels,
    convolution_gradients,
)
from convsweep.measure.inputs import Inputs
from convsweep.measure.reference import Reference
from convsweep.problems.case import FORWARD, Case
from convsweep.problems.problem import ConvProblem

FACTORED = "separable "  # before the names of outputs of the separable block
_LAST_UNITS, _INNER_UNITS = 128.0, 16.0  # bounds of all backends, and of those with factors
_LEAST_UNITS = 4.0  # bound of a direct sum of one product
_WINDOW = 0.25  # of betas: small against the spread of what they are added to, which is about 1
_MEAN, _VARIANCE = 0.4, 0.34  # of the positive part of a normal number


class _Bounded(NamedTuple):
    """Values, and bounds of their errors in units of eps."""

    value: Tensor
    error: Tensor

    @property
    def rounded(self) -> Tensor:
        """Bounds of the errors of what multiplies the values."""
        return self.error + self.value.abs()

    def summed(self, over: tuple[int, ...], *, keep: bool = False) -> "_Bounded":
        """Return the sums over some dimensions."""
        error = self.error.square().sum(over, keep).sqrt() + self.value.abs().sum(over, keep)
        return _Bounded(self.value.sum(over, keep), error)


class _Pass(NamedTuple):
    """One layer in a forward pass."""

    layer: GraphLayer
    x: _Bounded
    normal: _Bounded  # before gamma and beta
    inverse: _Bounded  # 1 / deviation, with its relative error
    u: _Bounded  # before ReLU


def draw_norms(case: Case, inputs: Inputs) -> Inputs:
    """Return the inputs with batch norms, for which about half of the activations are positive."""
    problem, weights = case.problem, inputs.weights
    generator = torch.Generator().manual_seed(zlib.crc32(f"{problem.label} norms".encode()))
    bias = 0.0 if weights.bias is None else weights.bias.double()

    def draw(mean: Tensor | float, variance: Tensor) -> BatchNorm:
        def rand() -> Tensor:
            return torch.rand(len(variance), generator=generator, dtype=torch.float64)

        shift = variance.sqrt() * (rand() - 0.5)
        values = (0.5 + rand(), rand() - 0.5, mean + shift, variance * (0.5 + rand()))
        return BatchNorm(*(value.to(inputs.x.dtype) for value in values))

    def power(weight: Tensor) -> Tensor:
        return weight.double().square().flatten(1).sum(1)

    norm, norms = draw(bias, power(weights.dense)), weights.factor_norms
    if weights.factors:
        depthwise, pointwise = weights.factors
        mean = bias + _MEAN * pointwise.double().flatten(1).sum(1)
        norms = draw(0.0, power(depthwise)), draw(mean, _VARIANCE * power(pointwise))
    return replace(inputs, weights=replace(weights, norm=norm, factor_norms=norms))


def compute_block(case: Case, inputs: Inputs) -> tuple[Inputs, dict[str, Reference]]:
    """Draw the norms; return all inputs, and a reference per output of both kinds of blocks."""
    inputs = draw_norms(case, inputs)
    training, eps = case.direction != FORWARD, torch.finfo(inputs.x.dtype).eps
    kinds = {"": False} | ({FACTORED: True} if inputs.weights.factors else {})
    runs = {}
    for prefix, factored in kinds.items():
        layers = block_layers(case.problem, inputs.weights, factored, training)
        products = _convolved(layers[0], _exact(inputs.x))
        if training and factored:
            norm = _with_gap(layers[0], products)
            layers[0] = layers[0]._replace(norm=norm)
            norms = norm, inputs.weights.factor_norms[1]
            inputs = replace(inputs, weights=replace(inputs.weights, factor_norms=norms))
        passes = [_forward(layers, inputs.x * sign, products, sign) for sign in (1, -1)]
        runs[prefix] = passes
        if inputs.grad is not None:
            for one in passes:
                unsure = one[-1].u.value.abs() <= _LAST_UNITS * eps * one[-1].u.error
                inputs = replace(inputs, grad=inputs.grad.masked_fill(unsure, 0))
    found = {}
    for prefix, passes in runs.items():
        outputs, changed = (
            _outputs(one, None if inputs.grad is None else inputs.grad.double() * times, eps)
            for one, times in zip(passes, (1, 2), strict=True)
        )
        for name, (value, error) in outputs.items():
            scale = max(float(error.max()), float(changed[name].error.max()))
            found[prefix + name] = Reference(value, changed[name].value, scale)
    return inputs, found


def compute_folded(layers: Sequence[GraphLayer], x: Tensor) -> Reference:
    """Return the output of convolutions, each with bias and ReLU, for x and -x."""
    layers = [layer.rounded(torch.float64, "cpu") for layer in layers]
    first, values, found = layers[0], x.cpu().double(), []
    # A sum of positive terms needs no more than float32, which takes less time.
    size = convolve(first.problem, values.abs().float(), first.weight.abs().float()).double()
    products = _Bounded(convolve(first.problem, values, first.weight), size)
    for sign in (1, -1):
        y = products._replace(value=products.value * sign)
        for index, layer in enumerate(layers):
            y = _biased(layer, _convolved(layer, y) if index else y)
            y = y._replace(value=y.value.clamp(0, layer.relu)) if layer.relu else y
        found.append(y)
    value, negated = (one.value for one in found)
    return Reference(value, negated, max(float(one.error.max()) for one in found))


def _exact(x: Tensor) -> _Bounded:
    return _Bounded(x.double(), torch.zeros((), dtype=torch.float64))


def _convolved(layer: GraphLayer, x: _Bounded) -> _Bounded:
    """Return the convolution without its bias."""
    problem, weight = layer.problem, layer.weight.double()
    error = convolve(problem, x.value.abs(), weight.abs())
    if x.error.dim():
        error += convolve(problem, x.error.square(), weight.square()).sqrt()
    return _Bounded(convolve(problem, x.value, weight), error)


def _biased(layer: GraphLayer, z: _Bounded) -> _Bounded:
    if layer.bias is None:
        return z
    bias = _per_channel(layer.bias, layer.problem)
    return _Bounded(z.value + bias, z.error + bias.abs())


def _forward(layers: Sequence[GraphLayer], x: Tensor, products: _Bounded, sign: int) -> list[_Pass]:
    """Return the layers of a forward pass; `products` is the first convolution of `sign * x`."""
    y, passes = _exact(x), []
    for index, layer in enumerate(layers):
        z = _convolved(layer, y) if index else products._replace(value=products.value * sign)
        z = _biased(layer, z)
        if len(layers) == 1:  # fast methods err everywhere as much as where they err most
            z = z._replace(error=z.error.max().expand_as(z.value))
        passes.append(_normalized(layer, y, z))
        u = passes[-1].u
        y = _Bounded(u.value.clamp(min=0), u.error)
    return passes


def _normalized(layer: GraphLayer, x: _Bounded, z: _Bounded) -> _Pass:
    assert layer.norm is not None
    gamma, beta, mean, variance = (_per_channel(v, layer.problem) for v in layer.norm)
    over = all_but_channels(layer.problem)
    if layer.training:
        variance, mean = torch.var_mean(z.value, over, correction=0, keepdim=True)
    inverse = (variance + EPS).rsqrt()
    normal = (z.value - mean) * inverse
    relative, error = torch.ones_like(inverse), z.rounded + mean.abs()
    if layer.training:
        count = z.value.numel() / z.value.shape[1]
        spread = (normal * z.error).square().sum(over, True).sqrt() / count
        relative = relative + spread * inverse
        error = z.rounded + z.summed(over, keep=True).error / count
    of_normal = _Bounded(normal, error * inverse + normal.abs() * relative)
    u = _Bounded(gamma * normal + beta, gamma.abs() * of_normal.rounded + beta.abs())
    return _Pass(layer, x, of_normal, _Bounded(inverse, relative), u)


def _outputs(passes: Sequence[_Pass], grad: Tensor | None, eps: float) -> dict[str, _Bounded]:
    """Return the output of the last layer, and the gradients by their names."""
    last = passes[-1].u
    found = {OUTPUT: _Bounded(last.value.clamp(min=0), last.error)}
    if grad is None:
        return found
    g = _exact(grad)
    names = ("depthwise", "pointwise") if len(passes) > 1 else ("weight",)
    for name, one in zip(reversed(names), reversed(passes), strict=True):
        layer, suffix = one.layer, f"_{name}" if len(passes) > 1 else ""
        problem, weight = layer.problem, layer.weight.double()
        over = all_but_channels(problem)
        assert layer.norm is not None
        gamma = _per_channel(layer.norm.gamma, problem)
        on, unsure = one.u.value > 0, one.u.value.abs() <= _INNER_UNITS * eps * one.u.error
        error = g.error * (on | unsure) + g.value.abs() * unsure / (_LEAST_UNITS * eps)
        g = _Bounded(g.value * on, error)
        normal, (inverse, relative) = one.normal, one.inverse
        # gz = gamma * inverse * (g - mean(g) - normal * mean(g * normal))
        product = _Bounded(
            g.value * normal.value, g.rounded * normal.value.abs() + g.value.abs() * normal.error
        )
        found[f"grad_gamma{suffix}"] = product.summed(over)
        found[f"grad_beta{suffix}"] = g.summed(over)
        count = g.value.numel() / g.value.shape[1]
        mean, share = (
            _Bounded(*(part / count for part in one.summed(over, keep=True)))
            for one in (g, product)
        )
        inner = g.value - mean.value - normal.value * share.value
        error = g.rounded + mean.error + normal.rounded * share.value.abs()
        error = error + normal.value.abs() * share.error
        scale = gamma * inverse
        gz = _Bounded(inner * scale, (error + inner.abs() * (relative + 1)) * scale.abs())
        if layer.bias is not None:
            found[GRAD_BIAS] = gz.summed(over)
        x, gradients = one.x, partial(convolution_gradients, problem)
        values = gradients(x.value, weight, gz.value)
        sizes = gradients(x.value.abs(), weight.abs(), gz.value.abs())
        squares = gradients(x.value.square(), weight.square(), gz.error.square())
        if x.error.dim():
            of_x = gradients(x.error.square(), weight.square(), gz.value.square())
            squares[GRAD_WEIGHT] += of_x[GRAD_WEIGHT]
        bounded = {n: _Bounded(values[n], sizes[n] + squares[n].sqrt()) for n in values}
        g, found[f"grad_{name}"] = bounded[GRAD_INPUT], bounded[GRAD_WEIGHT]
    return found | {GRAD_INPUT: g}


def _with_gap(layer: GraphLayer, products: _Bounded) -> BatchNorm:
    """Return a norm whose betas put zero in the widest gap between its results, for x and -x."""
    assert layer.norm is not None
    channels = len(layer.norm.gamma)
    flat = layer._replace(norm=layer.norm._replace(beta=torch.zeros(channels)))
    values = _normalized(flat, products, products).u.value.transpose(0, 1).reshape(channels, -1)
    betas = []
    for own in values:
        near = own[own.abs() < _WINDOW]
        ends = torch.tensor([-_WINDOW, _WINDOW], dtype=near.dtype)
        edges = torch.cat([near, -near, ends]).sort().values
        widest = edges.diff().argmax()
        betas.append((edges[widest] + edges[widest + 1]) / 2)
    return layer.norm._replace(beta=torch.stack(betas).to(layer.norm.beta.dtype))


def _per_channel(values: Tensor, problem: ConvProblem) -> Tensor:
    return values.double().view(-1, *[1] * problem.rank)

"""Symmetric int8: weights per output channel, activations per tensor, from and to float32.

`prepare` never sees the input, so the scales of activations follow from the distribution of
convsweep's inputs, normal with unit variance. A deployment takes them from a calibration set; the
time of a call is the same. Larger values saturate.
"""

import torch
from torch import Tensor

from convsweep.backends.base import GraphLayer

LEVELS = 127  # on each side of zero
_RANGE = 5.0  # standard deviations: beyond are fewer than one of a million normal values
INPUT_SCALE = _RANGE / LEVELS
_SMALLEST = 1e-30  # scale of a channel of zeros


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a weight in int8, and the scale of each output channel, (C_out,)."""
    scale = weight.flatten(1).abs().amax(1).clamp_(min=_SMALLEST) / LEVELS
    values = weight / scale.view(-1, *[1] * (weight.dim() - 1))
    return values.round_().to(torch.int8).contiguous(), scale


def output_scale(layer: GraphLayer) -> float:
    """Return the scale of a layer's output, from the variance of its channels and their means."""
    largest = _RANGE * layer.weight.flatten(1).norm(dim=1)
    if layer.bias is not None:
        largest += layer.bias.abs()
    return max(_SMALLEST, float(largest.max())) / LEVELS

"""Tensors taken from one order in memory to another: planes of a channel, or pixels of channels."""

from __future__ import annotations

import torch
from torch import Tensor


def to_pixels(x: Tensor) -> Tensor:
    """X (N, C, *size) as (N, *size, C), contiguous; a view where channels come last already."""
    pixels = x.movedim(1, -1)
    if pixels.is_contiguous():
        return pixels
    # Matrix by matrix: torch transposes those in blocks, and tensors element by element.
    return torch.stack([image.flatten(1).T for image in x]).view(pixels.shape)


def from_pixels(y: Tensor, like: Tensor) -> Tensor:
    """Y (N, *size, C) as (N, C, *size), in planes where `like` is in planes, else in pixels."""
    if not like.is_contiguous():
        return y.contiguous().movedim(-1, 1)
    return torch.stack([image.flatten(0, -2).T for image in y]).view(y.movedim(-1, 1).shape)


def in_layout_of(x: Tensor, y: Tensor) -> Tensor:
    """(N, C, *size), contiguous, in planes where `x` is in planes, else in pixels."""
    return y.contiguous() if x.is_contiguous() else to_pixels(y).movedim(-1, 1)

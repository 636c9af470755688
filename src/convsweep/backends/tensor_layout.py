"""Tensors taken from one order in memory to another: planes of a channel, or pixels of channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def check_input(x: Tensor, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> None:
    """Let pass what was prepared for alone: others would be read as raw memory of that kind.

    Raises:
        ValueError: another shape (a tuple of the same sizes is equal) or another dtype.
    """
    if x.shape != shape or x.dtype is not dtype:
        raise ValueError(
            f"x must be {tuple(shape)} in {dtype}, as prepared for, "
            f"not {tuple(x.shape)} in {x.dtype}"
        )


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

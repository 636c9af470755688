"""Memory for the kernels: aligned, and reused between calls."""

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

ALIGNMENT_BYTES = 64
_local = threading.local()


def empty(shape: Sequence[int], strides: Sequence[int] | None = None) -> Tensor:
    """Return new memory for an output, float32, contiguous without strides."""
    return torch.empty(shape) if strides is None else torch.empty_strided(shape, strides)


def scratch(name: str, floats: int) -> Tensor:
    """Return working memory, aligned to `ALIGNMENT_BYTES`, with undefined content.

    The same name returns the same memory per thread, in later calls and in other layers, so that
    it is in the cache.
    """
    kept: dict[str, Tensor] = _local.__dict__.setdefault("kept", {})
    if name not in kept or kept[name].numel() < floats:
        kept[name] = aligned(floats)
    return kept[name]


def packed(floats: int) -> Tensor:
    """Return memory for weights, aligned to `ALIGNMENT_BYTES`, filled with zeros."""
    return aligned(floats).zero_()


def aligned(floats: int) -> Tensor:
    """Return new memory, aligned to `ALIGNMENT_BYTES`, with undefined content."""
    margin = ALIGNMENT_BYTES // 4
    buffer = torch.empty(floats + margin)
    return buffer[-buffer.data_ptr() % ALIGNMENT_BYTES // 4 :][:floats]

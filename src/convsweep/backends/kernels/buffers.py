"""Memory for the kernels: aligned, reused between calls, and in tests surrounded by red zones.

Kernels use raw addresses without checks. In the checked mode every buffer is between two red zones:
writes into them are detected, and reads from them are NaN.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod

import torch
from torch import Tensor

ALIGNMENT_BYTES = 64
_ZONE = 1024  # floats before and after a buffer, in the checked mode
_local = threading.local()
_zones: list[Tensor] | None = None


def empty(shape: Sequence[int]) -> Tensor:
    """Return new memory for an output, float32, contiguous."""
    if _zones is None:
        return torch.empty(tuple(shape))
    return _between_zones(prod(shape)).view(tuple(shape))


def scratch(name: str, floats: int) -> Tensor:
    """Return working memory, aligned to `ALIGNMENT_BYTES`, with undefined content.

    The same name returns the same memory per thread, in later calls and in other layers, so that
    it is in the cache.
    """
    if _zones is not None:
        return _between_zones(floats)
    kept: dict[str, Tensor] = _local.__dict__.setdefault("kept", {})
    if name not in kept or kept[name].numel() < floats:
        kept[name] = _aligned(floats)
    return kept[name]


def packed(floats: int) -> Tensor:
    """Return memory for weights, aligned to `ALIGNMENT_BYTES`, filled with zeros."""
    buffer = _aligned(floats) if _zones is None else _between_zones(floats)
    return buffer.zero_()


def guarded(tensor: Tensor) -> Tensor:
    """Return a copy of an input between red zones, in its layout; needs the checked mode."""
    span = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    return _between_zones(span).as_strided(tensor.shape, tensor.stride()).copy_(tensor)


def _aligned(floats: int) -> Tensor:
    margin = ALIGNMENT_BYTES // 4
    buffer = torch.empty(floats + margin)
    return buffer[-buffer.data_ptr() % ALIGNMENT_BYTES // 4 :][:floats]


def _between_zones(floats: int) -> Tensor:
    assert _zones is not None, "red zones exist in the checked mode only"
    whole = _aligned(floats + 2 * _ZONE).fill_(torch.nan)
    _zones.extend((whole[:_ZONE], whole[_ZONE + floats :]))
    return whole[_ZONE : _ZONE + floats]


@contextmanager
def red_zones() -> Iterator[None]:
    """Switch on the checked mode: new buffers are full of NaN and between red zones.

    Raises:
        AssertionError: at the end, if something was written into a zone.
    """
    global _zones
    assert _zones is None, "the checked mode is on already"
    _zones = []
    try:
        yield
        spoilt = sum(not bool(zone.isnan().all()) for zone in _zones)
        assert not spoilt, f"{spoilt} of {len(_zones)} red zones were written into"
    finally:
        _zones = None

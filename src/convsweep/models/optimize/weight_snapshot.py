"""Snapshot of a layer's weights, to detect changes after a backend has prepared them."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import NamedTuple

import torch
from torch import Tensor

_COMPARED_WHOLE = 4096
"""Up to this number of elements all are compared; of more, a sample."""
_SAMPLED = 256
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By element size: as integers, a NaN equals itself."""


class WeightSnapshot(NamedTuple):
    """Address and version of tensors, and sampled elements of the first ones.

    Torch counts most writes, and a replaced or moved tensor has another address. Writes through
    `.data` or NumPy are not counted: on the CPU a sample of the elements is compared, on other
    devices nothing, since each call would wait for the device.
    """

    stamps: list[int]
    """Address and version of each."""
    views: tuple[Tensor, ...]
    """Of them; these also keep the memory from being reused."""
    compared: tuple[tuple[Tensor, Tensor], ...]
    """First views and their copies, on the CPU."""

    @classmethod
    def of(cls, tensors: Sequence[Tensor], compared: int) -> WeightSnapshot:
        """Return a snapshot of tensors, the first of which are `compared`."""
        views = tuple(_sample(tensor.detach()) for tensor in tensors)
        pairs = tuple((view, view.clone()) for view in views[:compared] if view.is_cpu)
        return cls(stamps_of(tensors), views, pairs)

    def matches(self, stamps: list[int]) -> bool:
        """Return whether tensors with these stamps are unchanged, as far as that is detected."""
        if stamps != self.stamps:
            return False
        for view, kept in self.compared:  # noqa: SIM110 - a generator takes longer
            if not torch.equal(view, kept):
                return False
        return True


def stamps_of(tensors: Sequence[Tensor]) -> list[int]:
    """Return address and version of each; empty if one is an inference tensor: it has none."""
    found: list[int] = []
    try:
        for tensor in tensors:
            found += tensor.data_ptr(), tensor._version
    except RuntimeError:
        return []
    return found


def _sample(values: Tensor) -> Tensor:
    """Return a view of some elements; of all if they are few or not dense."""
    bits = values.view(_BITS[values.element_size()])
    dense = bits.permute(sorted(range(bits.dim()), key=bits.stride, reverse=True))
    count = bits.numel()
    if count <= _COMPARED_WHOLE or not dense.is_contiguous():
        return bits
    # A step coprime to the size meets every tap of every channel in turn.
    step = next(n for n in range(count // _SAMPLED, 0, -1) if gcd(n, count) == 1)
    return dense.view(-1)[::step]

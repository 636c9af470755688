"""Snapshot of a module's weights, to detect changes after a backend has prepared them."""

from __future__ import annotations

from math import gcd
from typing import Any, NamedTuple

import torch
from torch import Tensor

_COMPARED_WHOLE = 4096
"""Up to this number of elements all are compared; of more, a sample."""
_SAMPLED = 256
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By element size: as integers, a NaN equals itself."""


class WeightSnapshot(NamedTuple):
    """Address, version and sampled elements of weight and bias.

    Torch counts most writes, and a replaced or moved tensor has another address. Writes through
    `.data` or NumPy are not counted: on the CPU a sample of the elements is compared, on other
    devices nothing, since each call would wait for the device.
    """

    stamps: tuple[tuple[int, int], ...]
    """Address and version of each."""
    watched: tuple[Tensor, ...]
    """Views of them; these also keep the memory from being reused."""
    kept: tuple[Tensor, ...]
    """Copies of the views."""

    @classmethod
    def of(cls, module: Any) -> WeightSnapshot:
        """Return a snapshot of weights that are no inference tensors, which have no version."""
        views = tuple(_sample(p.detach()) for p in _parameters(module))
        return cls(_stamps(module), views, tuple(view.clone() for view in views))

    def matches(self, module: Any) -> bool:
        """Return whether the weights are unchanged, as far as that is detected."""
        if _stamps(module) != self.stamps:
            return False
        pairs = zip(self.watched, self.kept, strict=True)
        return all(one.device.type != "cpu" or torch.equal(one, other) for one, other in pairs)


def _parameters(module: Any) -> tuple[Tensor, ...]:
    return (module.weight,) if module.bias is None else (module.weight, module.bias)


def _stamps(module: Any) -> tuple[tuple[int, int], ...]:
    return tuple((p.data_ptr(), p._version) for p in _parameters(module))


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

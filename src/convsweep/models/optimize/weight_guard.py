"""Whether a module's weights are still those that a backend was prepared with."""

from __future__ import annotations

from math import gcd
from typing import Any, NamedTuple

import torch
from torch import Tensor

_WHOLE = 4096
"""Up to so many elements are compared all of them; of more, a sample."""
_SAMPLED = 256
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By element size: compared as integers, a NaN equals itself."""


class WeightSnapshot(NamedTuple):
    """Weight and bias as they were.

    Torch counts most writes, and a replaced or moved tensor has another address. What it doesn't
    count, through `.data` or a NumPy array, is noticed on the CPU where it changes one of the
    elements that were kept: all of a bias or a weight of up to 4096, else about 256 of them. On
    other devices nothing is compared, since each call would wait for the device.
    """

    stamps: tuple[tuple[int, int], ...]
    """Address and version of each."""
    watched: tuple[Tensor, ...]
    """Views of them, which also keep the address from being given to another tensor."""
    kept: tuple[Tensor, ...]
    """Copies of those views."""

    @classmethod
    def of(cls, module: Any) -> WeightSnapshot:
        """What they are now; they must not be inference tensors, which have no version."""
        views = tuple(_sample(p.detach()) for p in _parameters(module))
        return cls(_stamps(module), views, tuple(view.clone() for view in views))

    def holds(self, module: Any) -> bool:
        """Whether they are still the same, as far as that is seen."""
        if _stamps(module) != self.stamps:
            return False
        pairs = zip(self.watched, self.kept, strict=True)
        return all(one.device.type != "cpu" or torch.equal(one, other) for one, other in pairs)


def _parameters(module: Any) -> tuple[Tensor, ...]:
    return (module.weight,) if module.bias is None else (module.weight, module.bias)


def _stamps(module: Any) -> tuple[tuple[int, int], ...]:
    return tuple((p.data_ptr(), p._version) for p in _parameters(module))


def _sample(values: Tensor) -> Tensor:
    """A view of some elements, or of all where they are few or lie apart."""
    bits = values.view(_BITS[values.element_size()])
    dense = bits.permute(sorted(range(bits.dim()), key=bits.stride, reverse=True))
    count = bits.numel()
    if count <= _WHOLE or not dense.is_contiguous():
        return bits
    # Coprime to the size, or it would meet the same tap of the same channel over and over.
    step = next(n for n in range(count // _SAMPLED, 0, -1) if gcd(n, count) == 1)
    return dense.view(-1)[::step]

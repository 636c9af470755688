"""Checked mode of the kernels' memory: every buffer lies between two red zones.

Kernels use raw addresses without checks. Writes into the zones are found; reads from them are NaN.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod

import pytest
import torch
from torch import Tensor

from convsweep.backends.kernels import buffers

_ZONE = 1024  # floats before and after a buffer
_zones: list[Tensor] = []


def guarded(tensor: Tensor) -> Tensor:
    """A copy of an input between red zones, in its layout."""
    span = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    return _between_zones(span).as_strided(tensor.shape, tensor.stride()).copy_(tensor)


def _between_zones(floats: int) -> Tensor:
    whole = buffers.aligned(floats + 2 * _ZONE).fill_(torch.nan)
    _zones.extend((whole[:_ZONE], whole[_ZONE + floats :]))
    return whole[_ZONE : _ZONE + floats]


def _empty(shape: Sequence[int], strides: Sequence[int] | None = None) -> Tensor:
    whole = _between_zones(prod(shape))
    return whole.view(tuple(shape)) if strides is None else whole.as_strided(shape, strides)


@contextmanager
def red_zones() -> Iterator[None]:
    """New buffers are full of NaN and between red zones, which nothing may be written into."""
    _zones.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buffers, "empty", _empty)
        patch.setattr(buffers, "scratch", lambda name, floats: _between_zones(floats))
        patch.setattr(buffers, "packed", lambda floats: _between_zones(floats).zero_())
        yield
    spoilt = sum(not bool(zone.isnan().all()) for zone in _zones)
    assert not spoilt, f"{spoilt} of {len(_zones)} red zones were written into"

"""Settings of own kernels: what they choose on a machine, and everything else they could choose."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import click
import torch

from bench.kernels.layers import KernelLayer, search_layers
from bench.kernels.machines import AVX512
from convsweep.backends.base import Conv, Weights
from convsweep.backends.kernels import depthwise, pointwise, separable, winograd
from convsweep.backends.kernels.depthwise_works import (
    blocks_work,
    pixels_work,
    planes_work,
    rows_work,
)
from convsweep.backends.kernels.winograd_tiles import TILES, best_tile
from convsweep.problems.problem import ConvProblem
from convsweep.system.calibration import Machine, machine

FACTORS = tuple(2.0**power for power in range(-3, 5))
"""Sizes of working sets, relative to the chosen ones."""


class Setting(NamedTuple):
    """Sizes that a kernel can be prepared with."""

    name: str
    prepare: Callable[[ConvProblem, Weights], Conv]


def chosen(layer: KernelLayer, known: Machine) -> Setting:
    """Return what the kernel chooses on a machine with one thread."""
    return _KINDS[layer.kernel](layer, known)


def all_settings(layer: KernelLayer) -> dict[str, Setting]:
    """Return all distinct settings of a layer on this machine by name, the chosen one first."""
    first = chosen(layer, machine())
    others = (_KINDS[layer.kernel](layer, *how) for how in _ways(layer))
    return {one.name: one for one in (first, *others)}


def _ways(layer: KernelLayer) -> Iterator[tuple[Machine, object]]:
    """Yield machines with other caches, each with every tile or kind of work."""
    known = machine()
    for factor in FACTORS:
        scaled = replace(
            known, l1_bytes=int(factor * known.l1_bytes), l2_bytes=int(factor * known.l2_bytes)
        )
        if layer.kernel == "winograd":
            scaled = replace(scaled, macs_per_s=1.0)  # no least number of tiles per block
        for tile in _TILES.get((layer.kernel, layer.memory_format), (None,)):
            yield scaled, tile


def _winograd(layer: KernelLayer, known: Machine, tile: int | None = None) -> Setting:
    tile = tile or best_tile(layer.problem, known)
    plan = winograd.planned(layer.problem, tile, 1, known)
    name = f"F({tile}), {plan.bands_of_block} of {plan.bands} bands"
    return Setting(name, partial(winograd.prepare, tile=tile, machine=known))


def _depthwise(layer: KernelLayer, known: Machine, work: depthwise.Work | None = None) -> Setting:
    planes = layer.memory_format == "contiguous"
    image = depthwise.as_image(layer.problem)
    if work is None:
        work = depthwise.work_of_planes(image) if planes else depthwise.work_of_rows(image, known)
    found = work(image, torch.zeros(image.weight_shape), known)
    works = (work, None) if planes else (None, work)
    return Setting(
        f"{found.name}, {found.bands} bands",
        partial(depthwise.prepare, machine=known, kinds=works),
    )


def _separable(layer: KernelLayer, known: Machine, _: None = None) -> Setting:
    bands = separable.planned(layer.problem, 1, known).bands
    return Setting(f"{bands} bands", partial(separable.prepare, machine=known))


def _pointwise(layer: KernelLayer, known: Machine, _: None = None) -> Setting:
    bands = pointwise.bands_of(layer.problem, 1, known)
    return Setting(f"{bands} bands", partial(pointwise.prepare, machine=known))


_KINDS: dict[str, Callable[..., Setting]] = {
    "winograd": _winograd,
    "depthwise": _depthwise,
    "separable": _separable,
    "pointwise": _pointwise,
}
_TILES: dict[tuple[str, str], tuple[object, ...]] = {
    ("winograd", "contiguous"): TILES,
    ("depthwise", "contiguous"): (planes_work, blocks_work),
    ("depthwise", "channels_last"): (rows_work, pixels_work),
}

if __name__ == "__main__":
    # In a process of its own: the width of vectors is fixed when kernels are imported.
    click.echo(json.dumps([chosen(layer, AVX512).name for layer in search_layers()]))

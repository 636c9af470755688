"""Seconds of one call of each network, timed in turns."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from convsweep.measure.sampling import (
    Call,
    MeasurementConfig,
    discard_warmup,
    make_plan,
    quantiles,
    time_block,
    warm_up,
)
from convsweep.system.devices import Device

EFFORT = MeasurementConfig(blocks=5, case_s=0.5)


def inference_s(
    networks: Mapping[str, Callable[[Tensor], Tensor]],
    x: Tensor,
    device: Device,
    rng: random.Random,
    effort: MeasurementConfig = EFFORT,
) -> dict[str, float]:
    """The median seconds of each network's call on `x`; blocks take turns in random order."""

    def calling(network: Callable[[Tensor], Tensor]) -> Call:
        return lambda: network(x)

    calls = {name: calling(network) for name, network in networks.items()}
    samples: dict[str, list[float]] = {name: [] for name in networks}
    with torch.inference_mode():
        overhead_s = device.clock_overhead_s()
        plans = {
            name: make_plan(warm_up(device.clock, call, effort), overhead_s, effort)
            for name, call in calls.items()
        }
        for _ in range(effort.blocks):
            for name in rng.sample(list(calls), len(calls)):
                discard_warmup(device.clock, calls[name], plans[name])
                samples[name] += time_block(device.clock, calls[name], plans[name])
    return {name: quantiles(found).median_s for name, found in samples.items()}

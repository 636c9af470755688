"""How a request is measured: how much of each case in a pass, and within which limits."""

from __future__ import annotations

from collections.abc import Collection

import psutil

from convsweep.measure.sampling import MeasurementConfig
from convsweep.measure.worker import Settings
from convsweep.sweep.forecast import START_S, forecast_s
from convsweep.sweep.request import Request

_MEMORY_SHARE = 0.9  # of what is free: beyond, the whole machine would suffer
_ENOUGH_PASSES, _FEWEST_PASSES = 20, 5  # that should fit into a budget
_ROUGHLY = 2  # how far a forecast may be off


def measuring(request: Request) -> Settings:
    """How `request` is measured."""
    return Settings(
        threads=min(case.threads for case in request.every_case),
        case_timeout_s=request.case_timeout_s,
        effort=_effort(request),
        allocator=request.allocator,
        memory_limit_bytes=memory_limit(request.device_descriptions),
    )


def memory_limit(devices: Collection[str]) -> int | None:
    """The most that a measuring process may take of this machine; None where devices map more."""
    if not set(devices) <= {"cpu", "vulkan"}:
        return None
    return int(_MEMORY_SHARE * psutil.virtual_memory().available)


def pass_s(request: Request, effort: MeasurementConfig | None) -> float:
    """About how long one more pass over all cases takes, in seconds."""
    settings = Settings(case_timeout_s=request.case_timeout_s, effort=effort)
    one, two = (forecast_s(request.every_case, request.every_backend, settings, n) for n in (1, 2))
    return two - one


def _effort(request: Request) -> MeasurementConfig:
    """How much of each case to time in a pass: with a budget so much that enough passes fit.

    All shards of a request take as much, so that their rows can be merged.

    Raises:
        ValueError: not even one thin pass fits into the budget.
    """
    if request.budget_s is None:
        return MeasurementConfig()
    budget_s = request.budget_s * (request.shard.of if request.shard else 1)
    whole = request.whole or request
    for effort in (
        MeasurementConfig(blocks=8),
        MeasurementConfig(blocks=4),
        MeasurementConfig(blocks=3),
    ):
        if _ENOUGH_PASSES * pass_s(whole, effort) <= budget_s:
            return effort
    usual, thin = MeasurementConfig(), MeasurementConfig(warm_up_s=0.002, block_s=0.005, blocks=1)
    if _FEWEST_PASSES * pass_s(whole, usual) <= budget_s:
        return usual
    settings = Settings(case_timeout_s=request.case_timeout_s, effort=thin)
    first_s = forecast_s(request.every_case, request.every_backend, settings, passes=1) - START_S
    if first_s > _ROUGHLY * request.budget_s:
        raise ValueError(
            f"--budget of {request.budget_s:g} s is less than one pass takes, about {first_s:.3g} s"
        )
    return thin

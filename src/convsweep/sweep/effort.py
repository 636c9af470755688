"""Settings of the worker processes: time limit, memory limit, and samples per case."""

from collections.abc import Collection
from math import ceil, inf
from time import monotonic

import psutil

from convsweep.measure.sampling import MeasurementConfig
from convsweep.measure.settings import Settings
from convsweep.sweep.forecast import START_S, forecast_s, references_s
from convsweep.sweep.request import Request

_MEMORY_SHARE = 0.9  # of the free memory; beyond that the whole machine would swap
_MIN_PASSES_IN_BUDGET = 5
_REFERENCES_SHARE = 0.02  # of a budget: the most that full references may take by the forecast
_FORECAST_ERROR = 2  # factor by which a forecast may be wrong
_AFTER_START_S = 1.0  # the least for one case and the results, on a busy machine
SHORTEST = MeasurementConfig(warm_up_s=0.002, block_s=0.005, blocks=1)
"""Samples per case and pass if a budget is short."""


def worker_settings(request: Request) -> Settings:
    """Return the settings of worker processes."""
    return Settings(
        threads=min(case.threads for case in request.every_case),
        case_timeout_s=request.case_timeout_s,
        effort=_effort(request),
        fast_check=references_s((request.whole or request).runnable_cases)
        > _REFERENCES_SHARE * _budget_s(request),
        allocator=request.allocator,
        trace=request.trace,
    )


def require_time(request: Request) -> None:
    """Raise `ValueError` if the budget is too short for the start of a new run and a first pass.

    A resumed run needs less: it may have measured almost everything.
    """
    require_start(request)
    require_first_pass(request)


def require_start(request: Request) -> None:
    """Raise `ValueError` if the budget is too short for the start of a new run."""
    start_s = max(START_S, monotonic() - request.started_s)
    needed_s = ceil(start_s + _AFTER_START_S)
    if request.budget_s is not None and request.budget_s < needed_s:
        raise ValueError(
            f"--budget of {request.budget_s:g} s is too short: the start alone takes "
            f"{start_s:.2g} s; give {needed_s} s or more"
        )


def require_first_pass(request: Request) -> None:
    """Raise `ValueError` if the budget is far too short for one pass by the forecast."""
    if request.budget_s is None or _effort(request) != SHORTEST:
        return
    first_s = request_s(request, SHORTEST, 1) - START_S
    if first_s > _FORECAST_ERROR * request.budget_s:
        raise ValueError(
            f"--budget of {request.budget_s:g} s is less than one pass takes, about {first_s:.3g} s"
        )


def memory_limit(devices: Collection[str]) -> int | None:
    """Return the bytes that a worker process may use. Returns None for devices that map more."""
    if not set(devices) <= {"cpu", "vulkan"}:
        return None
    return int(_MEMORY_SHARE * psutil.virtual_memory().available)


def request_s(request: Request, effort: MeasurementConfig | None, passes: int) -> float:
    """Return the approximate seconds of a request."""
    settings = Settings(case_timeout_s=request.case_timeout_s, effort=effort)
    return forecast_s(request.runnable_cases, request.every_backend, settings, passes)


def pass_s(request: Request, effort: MeasurementConfig | None) -> float:
    """Return the approximate seconds of one more pass over all cases."""
    return request_s(request, effort, 2) - request_s(request, effort, 1)


def _budget_s(request: Request) -> float:
    """Return the seconds of all shards; infinite without a budget."""
    if request.budget_s is None:
        return inf
    return request.budget_s * (request.shard.of if request.shard else 1)


def _effort(request: Request) -> MeasurementConfig:
    """Return the samples per case and pass. A budget reduces them, so that enough passes fit.

    They are the same for all shards, so that their rows can be merged.
    """
    if request.budget_s is None:
        return MeasurementConfig()
    budget_s = _budget_s(request)
    whole = request.whole or request
    if _MIN_PASSES_IN_BUDGET * pass_s(whole, MeasurementConfig()) <= budget_s:
        return MeasurementConfig()
    return SHORTEST

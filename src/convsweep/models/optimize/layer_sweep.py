"""Sweep over the layers of a model, each on every usable backend, for a given time."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import accumulate
from math import inf
from pathlib import Path
from time import monotonic

from convsweep.backends.base import Backend
from convsweep.models.advise.request import drop_slow_backends
from convsweep.models.optimize.layer_inventory import ConvCall
from convsweep.problems.case import CACHES
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import Layer
from convsweep.results.schema import BASELINE
from convsweep.sweep.effort import SHORTEST, request_s, require_first_pass
from convsweep.sweep.executor import LocalExecutor, OnProgress
from convsweep.sweep.request import Options, read_request
from convsweep.sweep.session import run_sweep
from convsweep.system import forkserver

_CASE_TIMEOUT, _SHORTEST_S = "10s", 0.001
_PASSES = 5  # Short ones over all cases, for which the time must suffice by the forecast
_MAIN_SHARE = 0.95  # Of the time of all layers, at least that of the main ones
_MAX_NOMINAL_SLOWDOWN = 10
"""Backends with a lower nominal rate, relative to torch's, are not measured."""


def sweep_layers(
    calls: Mapping[ConvCall, int],
    name: str,
    usable: Mapping[str, Backend],
    ends_s: float,
    threads: int,
    out: Path,
    observe: OnProgress = lambda progress: None,
    memory_formats: Collection[str] = (),
    taken_s: Mapping[str, float] | None = None,
) -> None:
    """Measure the layers of the model `name` in worker processes and write a run to `out`.

    They are measured in their most frequent memory format, and in `memory_formats` too. If the time
    is too short for that, the others are left out: layers that take the least of `taken_s`, seconds
    of modules inside the model, and other memory formats. The sweep ends when `monotonic` reads
    `ends_s`.

    Raises:
        ValueError: there is nothing to measure, or the time is too short.
        KeyboardInterrupt: the sweep was interrupted.
    """
    device, dtype, memory_format = setting = _usual_setting(calls, name)
    formats = tuple(dict.fromkeys((memory_format, *memory_formats)))
    options = Options(
        backends=tuple(usable),
        devices=(device,),
        dtypes=(dtype,),
        threads=(threads,),
        caches=CACHES[:1],
        weight_kind="dense",
        budget=f"{max(_SHORTEST_S, ends_s - monotonic()):.3f}s",
        case_timeout=_CASE_TIMEOUT,
        baseline=BASELINE,
        ceilings=False,
    )
    layers, shares = _layers(calls, name, setting, taken_s or {})
    main = layers[: 1 + sum(share < _MAIN_SHARE for share in accumulate(shares))]
    choices = [(layers, formats), (main, formats)]
    choices += [(main[:count], formats[:1]) for count in range(len(main), 0, -1)]
    every = read_request(replace(options, memory_formats=formats), (name, layers))
    every = replace(every, separable_parts=())
    for some, own_formats in choices:
        problems = {layer.problem for layer in some}
        cases = [x for x in every.cases if x.problem in problems and x.memory_format in own_formats]
        request = drop_slow_backends(replace(every, cases=cases), _MAX_NOMINAL_SLOWDOWN)
        if request_s(request, SHORTEST, _PASSES) <= (request.budget_s or inf):
            break
    require_first_pass(request)  # before a process starts
    forkserver.start()
    executor = LocalExecutor(request)
    ending = run_sweep(executor, out, out.name, "convsweep.optimize", observe, networks=())
    if ending.interrupted:
        raise KeyboardInterrupt


def _usual_setting(calls: Mapping[ConvCall, int], name: str) -> tuple[str, str, str]:
    """Return the most frequent device, dtype and memory format."""
    settings: Counter[tuple[str, str, str]] = Counter()
    for call, number in calls.items():
        if call.memory_formats:
            settings[call.key[2], call.dtype, call.memory_formats[0]] += number
    if not settings:
        raise ValueError(f"{name} has no convolution that can be measured")
    return settings.most_common(1)[0][0]


def _layers(
    calls: Mapping[ConvCall, int],
    name: str,
    setting: tuple[str, str, str],
    taken_s: Mapping[str, float],
) -> tuple[list[Layer], list[float]]:
    """Return each distinct problem once, with its number of calls, and its share of the time.

    The one with the largest share comes first.
    """
    device, dtype, memory_format = setting
    names: dict[ConvProblem, str] = {}
    counts: Counter[ConvProblem] = Counter()
    times: Counter[ConvProblem] = Counter()
    for call, number in calls.items():
        if (call.key[2], call.dtype) == (device, dtype) and memory_format in call.memory_formats:
            names.setdefault(call.problem, call.name)
            counts[call.problem] += number
            times[call.problem] += taken_s.get(call.name, 0.0)  # type: ignore[assignment]
    ordered = sorted(counts, key=lambda problem: -times[problem])
    layers = [Layer(problem, name, names[problem], counts[problem]) for problem in ordered]
    return layers, [times[problem] / (times.total() or 1.0) for problem in ordered]

"""The layers of a model measured for a budget, each on every backend that a model can run on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from convsweep.backends.base import Backend
from convsweep.measure.gate import skipped_outcome
from convsweep.measure.inputs import make_inputs
from convsweep.models.optimize.layer_inventory import ConvCall
from convsweep.problems.case import CACHES, DTYPES, Case
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import Layer
from convsweep.results.store import BASELINE
from convsweep.sweep import session
from convsweep.sweep.effort import measuring
from convsweep.sweep.forecast import nominal_call_s
from convsweep.sweep.request import Options, Request, read_request
from convsweep.system import forkserver

_CASE_TIMEOUT = "10s"
_HOPELESS = 10
"""A strategy so many times slower than torch's at its nominal rate is not measured."""


def measured(
    executed: Mapping[ConvCall, int],
    name: str,
    usable: Mapping[str, Backend],
    budget: str,
    threads: int,
    out: Path,
    observe: session.Observe = lambda progress: None,
) -> Path:
    """Sweep the model's layers in measuring processes of their own; the run's folder.

    What is compiled once a machine is compiled before the budget begins.

    Args:
        executed: the layers, and how often one call of the model runs each.
        name: the model's.
        usable: the backends that it may run on.
        budget: such as "60s".
        threads: of torch's pool.
        out: a new folder.
        observe: told how far it is.

    Raises:
        ValueError: in one line, where there is nothing to measure, or the budget is too small.
        KeyboardInterrupt: the sweep was interrupted.
    """
    request = _request(executed, name, usable, budget, threads)
    measuring(request)  # refuses a budget that is too small before anything is compiled
    forkserver.start()
    _compile(request)
    ending = session.run_sweep(request, out, out.name, "convsweep.optimize", observe, networks=())
    if ending.interrupted:
        raise KeyboardInterrupt
    return out


def _request(
    executed: Mapping[ConvCall, int],
    name: str,
    usable: Mapping[str, Backend],
    budget: str,
    threads: int,
) -> Request:
    """The model's layers as most of them are called: in one dtype and memory format."""
    ways: Counter[tuple[str, str, str]] = Counter()
    for one, calls in executed.items():
        if one.dtype in DTYPES and one.memory_formats:
            ways[one.key[2], one.dtype, one.memory_formats[0]] += calls
    if not ways:
        raise ValueError(f"{name} has no convolution that can be measured")
    [((device, dtype, memory_format), _)] = ways.most_common(1)
    layers = _layers(executed, name, (device, dtype, memory_format))
    words = Options(
        backends=tuple(usable),
        devices=(device,),
        dtypes=(dtype,),
        memory_formats=(memory_format,),
        threads=(threads,),
        caches=CACHES[:1],
        weight_kind="dense",
        budget=budget,
        case_timeout=_CASE_TIMEOUT,
        baseline=BASELINE,
        ceilings=False,
    )
    request = read_request(words, (name, layers))
    return replace(request, cases=_drop_slow_layers(request), halves=())


def _layers(executed: Mapping[ConvCall, int], name: str, way: Sequence[str]) -> list[Layer]:
    """Each distinct problem once, with how often it is called."""
    names: dict[ConvProblem, str] = {}
    counts: Counter[ConvProblem] = Counter()
    for one, calls in executed.items():
        if (one.key[2], one.dtype) == tuple(way[:2]) and way[2] in one.memory_formats:
            names.setdefault(one.problem, one.name)
            counts[one.problem] += calls
    return [Layer(problem, name, names[problem], calls) for problem, calls in counts.items()]


def _drop_slow_layers(request: Request) -> list[Case]:
    """The cases without teaching strategies, which would take the budget."""
    known = request.backends
    return [
        case
        for case in request.cases
        if nominal_call_s(case, known[case.backend])
        <= _HOPELESS * nominal_call_s(case, known[BASELINE])
    ]


def _compile(request: Request) -> None:
    """Prepare and call whatever compiles once a machine; what fails is told by the sweep."""
    for case in request.cases:
        backend, problem = request.backends[case.backend], case.problem
        if not backend.compile_s or backend.compiles_per_problem:
            continue
        inputs = make_inputs(
            problem, dtype=case.dtype, device=case.device, memory_format=case.memory_format
        )
        with suppress(Exception):
            if skipped_outcome(case, backend) is None:
                backend.prepare(problem, inputs.weights)(inputs.x)

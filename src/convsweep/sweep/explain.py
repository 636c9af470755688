"""Where the time of one call goes: some processes per case, one after the other."""

import random
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from convsweep.analysis.call_parts import divide
from convsweep.measure.messages import CallParts, Explain, Message, Reply, Setup, Validate
from convsweep.measure.outcome import Outcome
from convsweep.measure.settings import Settings
from convsweep.problems.case import CONV, FORWARD, Case
from convsweep.problems.workloads import Layer
from convsweep.results.call_parts import CallPartRow
from convsweep.sweep.effort import memory_limit, worker_settings
from convsweep.sweep.request import Options, Request, read_request
from convsweep.sweep.work_queue import Progress
from convsweep.sweep.worker_pool import (
    START_LIMIT_S,
    WorkerDied,
    WorkerFactory,
    WorkerPool,
    WorkerProcess,
    WorkerTimeout,
)

PASSES = 3  # default number of processes per case
_MEASURING_S = 60.0
_CASE_COLUMNS = ("backend", "device", "dtype", "memory_format", "threads")


@dataclass
class ExplainedCase:
    """Case with the parts of its call in each process, or why there are none."""

    case: Case
    outcome: Outcome
    passes: list[CallParts] = field(default_factory=list)


def one_problem(options: Options, layers: Sequence[Layer] | None = None) -> Request:
    """Return a request for one problem: that of the chosen layer, or the only one.

    `layers` are those of a model; None: those of the options. Raises `ValueError` if an option is
    wrong, if there are several problems, or if no backend supports it.
    """
    passes = PASSES if options.passes is None else options.passes
    options = replace(options, passes=passes, ceilings=False)
    for option, given, allowed in (
        ("cache", options.caches, "hot"),
        ("direction", options.directions, FORWARD),
        ("block", options.blocks, CONV),
    ):
        if other := [value for value in given if value != allowed]:
            raise ValueError(f"--{option} {other[0]!r}: explain measures {allowed} only")
    request = read_request(options, None if layers is None else ("explain", layers))
    found = dict.fromkeys(case.problem for case in request.cases)
    if len(found) != 1:
        named = any(case.layer.name for case in request.cases)
        how = "choose one by --layer" if named else "give one --problem, or one value per --axis"
        raise ValueError(f"explain takes one problem, not {len(found)}: {how}")
    [problem] = found
    request = read_request(replace(options, layer=None), ("explain", [Layer(problem)]))
    if not request.runnable_cases:
        reasons = dict.fromkeys(f"{c.backend} {one.reason}" for c, one in request.skipped.items())
        raise ValueError(f"no backend supports {problem.label}: {'; '.join(reasons)}")
    return request


def explain(
    request: Request,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    launch: WorkerFactory = WorkerProcess,
) -> list[ExplainedCase]:
    """Measure the parts of each case in fresh processes, and return them in the order of cases.

    A case that fails in one process is not tried again.
    """
    limit_bytes = memory_limit(request.device_descriptions)
    base = replace(worker_settings(request), memory_limit_bytes=limit_bytes, peak_memory=False)
    found = [
        ExplainedCase(case, request.skipped.get(case, Outcome("ok"))) for case in request.cases
    ]
    rng, done, total = random.Random(), 0, request.passes * len(request.runnable_cases)
    for index in range(request.passes):
        left = [one for one in found if one.outcome.status == "ok"]
        for one in rng.sample(left, len(left)):
            settings = replace(base, pass_index=index, seed=rng.randrange(2**32))
            reply = _measure(one, request, settings, launch)
            if isinstance(reply, CallParts):
                one.passes.append(reply)
            else:
                one.outcome, one.passes = reply, []
                total -= request.passes - index - 1
            done += 1
            on_progress(Progress(done, total, one.case, None))
    return found


def _measure(
    one: ExplainedCase, request: Request, settings: Settings, launch: WorkerFactory
) -> CallParts | Outcome:
    """Return the parts of one case from a new process, or its failure."""
    case, backend = one.case, request.backends[one.case.backend]
    earlier = one.passes[0] if one.passes else None
    limit_s = settings.case_timeout_s + backend.compile_s
    steps: tuple[tuple[Message, float], ...] = (
        (Setup([case]), START_LIMIT_S),
        (Validate(0), limit_s),
        (Explain(0, earlier), 2 * limit_s + _MEASURING_S),
    )
    reply: Reply = None
    with closing(WorkerPool(settings, {}, launch)) as pool:
        for message, most_s in steps:
            try:
                reply = pool.ask((case.threads, case.backend), message, most_s)
            except WorkerTimeout:
                return Outcome("timeout", f"cut off at the limit of {most_s:g} s")
            except WorkerDied as error:
                return Outcome("crash", str(error))
            if isinstance(reply, Outcome) and reply.status != "ok":
                return reply
    assert isinstance(reply, CallParts), f"unexpected reply {reply!r}"
    return reply


def rows(found: Sequence[ExplainedCase], allocator: str) -> list[CallPartRow]:
    """Return one row per part of each case, and one per case without parts."""
    made = []
    for one in found:
        row = CallPartRow(
            problem=one.case.problem.label,
            allocator=allocator,
            status=one.outcome.status,
            reason=one.outcome.reason,
            **{name: getattr(one.case, name) for name in _CASE_COLUMNS},
        )
        if not one.passes:
            made.append(row)
            continue
        first, passes = one.passes[0], one.passes
        row = replace(
            row,
            implementation=first.implementation,
            reorders=first.reorders,
            passes=len(passes),
            page_faults_per_call=first.page_faults,
            fixed_cost_problem=first.fixed_cost_problem,
        )
        parts = divide([p.whole_s for p in passes], [p.parts for p in passes])
        made += [
            replace(row, part=name, seconds=value, ci_low_s=low, ci_high_s=high)
            for name, (value, low, high) in parts.items()
        ]
    return made

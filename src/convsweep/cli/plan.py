"""Size and expected duration of a sweep as text, without torch, pandas and rich."""

from __future__ import annotations

import math

from convsweep import formatting
from convsweep.sweep.effort import pass_s, request_s, worker_settings
from convsweep.sweep.forecast import compiling_s
from convsweep.sweep.request import Request


def duration(seconds: float) -> str:
    """Return `1 min 15 s` for 75; whole seconds, rounded up."""
    whole = max(1, math.ceil(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def plan_line(request: Request, forecast_s: float, compiling_s: float = 0.0) -> str:
    """Return one line: cases, problems, MACs of all layers, passes, expected duration."""
    shard = "" if request.shard is None else f"shard {request.shard}: "
    layers = {case.layer for case in request.cases}
    macs = formatting.operations(sum(layer.count * layer.problem.macs for layer in layers))
    problems = formatting.count(len({layer.problem for layer in layers}), "problem")
    parts = [f"{formatting.count(len(request.cases), 'case')} on {problems} ({macs}MACs)"]
    separable = len(request.separable_parts)
    parts += [f"{separable} parts of separable layers"] if separable else []
    parts += ["the machine's roofline"] if request.ceilings else []
    if not request.adaptive:
        passes = f"{request.passes} {'pass' if request.passes == 1 else 'passes'}"
        parts.append(f"{passes}: about {duration(forecast_s)}")
    elif request.budget_s is None:
        parts.append(f"until precise: about {duration(forecast_s)} per pass")
    else:
        parts += [f"within {duration(request.budget_s)}", f"about {duration(forecast_s)} per pass"]
    parts += [f"up to {duration(compiling_s)} more to compile once"] if compiling_s else []
    return shard + ", ".join(parts)


def plan(request: Request, nodes: int = 1) -> str:
    """Return one line with the size and the expected duration of a sweep on `nodes` nodes.

    Raises:
        ValueError: the budget is too short for one pass.
    """
    effort = worker_settings(request).effort
    if request.adaptive:
        seconds = pass_s(request, effort)
    else:
        seconds = request_s(request, effort, request.passes)
    compile_s = compiling_s(request.runnable_cases, request.every_backend)
    return plan_line(request, seconds / nodes, compile_s)

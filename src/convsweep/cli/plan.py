"""Size and expected duration of a sweep as text, without torch, pandas and rich."""

import math

from convsweep import formatting
from convsweep.problems.case import FORWARD, TRAINING
from convsweep.sweep.effort import pass_s, request_s, worker_settings
from convsweep.sweep.forecast import compiling_s
from convsweep.sweep.network_runs import networks_of
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


def plan(request: Request, nodes: int = 1) -> str:
    """Return one line: cases, problems, MACs of all layers, passes, time expected on the nodes."""
    effort = worker_settings(request).effort
    shard = "" if request.shard is None else f"shard {request.shard}: "
    layers = {case.layer for case in request.cases}
    macs = formatting.operations(sum(layer.count * layer.problem.macs for layer in layers))
    problems = formatting.count(len({layer.problem for layer in layers}), "problem")
    parts = [f"{formatting.count(len(request.cases), 'case')} on {problems} ({macs}MACs)"]
    separable = len(request.separable_parts)
    parts += [f"{separable} parts of separable layers"] if separable else []
    parts += ["the machine's roofline"] if request.ceilings else []
    if request.adaptive:
        budget_s = request.budget_s
        until = "until precise:" if budget_s is None else f"within {duration(budget_s)},"
        parts.append(f"{until} about {duration(pass_s(request, effort) / nodes)} per pass")
    else:
        passes = f"{request.passes} {'pass' if request.passes == 1 else 'passes'}"
        seconds = request_s(request, effort, request.passes) / nodes
        parts.append(f"{passes}: about {duration(seconds)}")
    compile_s = compiling_s(request.runnable_cases, request.every_backend)
    if any(one.direction not in (FORWARD, TRAINING) for one in networks_of(request.cases)):
        parts.append("no whole network in the direction of a single gradient")
    parts += [f"up to {duration(compile_s)} more to compile once"] if compile_s else []
    return shard + ", ".join(parts)

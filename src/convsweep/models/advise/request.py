"""Sweep request for a recorded model: its distinct layers on every backend that may be fastest."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from convsweep.backends.registry import list_backends
from convsweep.formatting import one_line
from convsweep.measure.outcome import skipped_outcome
from convsweep.models.advise.conv_recorder import ModelTrace, RecordedConv
from convsweep.problems.case import DTYPES, Case
from convsweep.problems.problem import ConvProblem, Size, format_size
from convsweep.problems.separable import SEPARABLE, is_replaceable
from convsweep.problems.workloads import Layer
from convsweep.results.schema import BASELINE
from convsweep.sweep.forecast import nominal_call_s
from convsweep.sweep.request import Options, Request, read_request

BUDGET = "60s"  # Default time for measuring
MAX_NOMINAL_SLOWDOWN = 50
"""Backends with a lower nominal rate, relative to the baseline, are dropped."""
_MAX_NAME, _MAX_REASONS = 60, 5


def distinct_layers(trace: ModelTrace, workload: str) -> list[Layer]:
    """Return each distinct problem once, with its number of calls, in the order of first calls.

    Raises:
        ValueError: there is no convolution that can be measured.
    """
    calls: dict[ConvProblem, list[RecordedConv]] = {}
    for conv in trace.convolutions:
        calls.setdefault(conv.problem, []).append(conv)
    if not calls:
        reasons = Counter(conv.reason for conv in trace.unmeasured)
        others = "".join(f"; {reason}, of which it has {n}" for reason, n in reasons.items())
        raise ValueError(f"{workload} executes no convolution{others}")
    return [
        Layer(problem, workload, _name(trace.model, convs), len(convs))
        for problem, convs in calls.items()
    ]


def _name(model: str, calls: Sequence[RecordedConv]) -> str:
    """Return the calling modules, such as `layer1.0.conv1 and 3 more`."""
    names = list(dict.fromkeys(conv.module or model for conv in calls))
    first = one_line(names[0])[:_MAX_NAME]
    return first if len(names) == 1 else f"{first} and {len(names) - 1} more"


def usual_dtype(trace: ModelTrace) -> str:
    """Return the most frequent dtype of the model's convolutions that can be measured."""
    dtypes = Counter(conv.dtype for conv in trace.convolutions)
    return next((name for name, _ in dtypes.most_common(1)), DTYPES[0])


def request_for(name: str, layers: Sequence[Layer], options: Options) -> Request:
    """Return a request for the layers on the baseline, on other backends, and as separable layers.

    If the options name backends, only these are measured besides. Axes and grids are ignored.

    Raises:
        ValueError: an option is wrong, or no backend supports any layer.
    """
    named = options.backends
    always = [BASELINE, SEPARABLE] if any(is_replaceable(x.problem) for x in layers) else [BASELINE]
    options = replace(
        options,
        backends=tuple(dict.fromkeys([*always, *named])) if named else (),
        baseline=BASELINE,
        budget=options.budget or BUDGET,
    )
    request = read_request(options, (name, layers))
    if other := next((n for n, backend in request.backends.items() if backend.quantized), None):
        raise ValueError(f"--backend {other}: int8 is another function, which advise leaves out")
    _require_supported(request, named or tuple(request.backends))
    return request if named else drop_slow_backends(request, MAX_NOMINAL_SLOWDOWN)


def _require_supported(request: Request, names: Sequence[str]) -> None:
    """Raise `ValueError` if none of the named backends supports any layer."""
    cases, skipped = [x for x in request.cases if x.backend in names], request.skipped
    if all(case in skipped for case in cases):
        reasons = dict.fromkeys(f"{case.backend} {skipped[case].reason}" for case in cases)
        listed = "; ".join([*reasons][:_MAX_REASONS])
        which = "no backend" if names == tuple(request.backends) else "no named backend"
        raise ValueError(f"{which} supports any layer of {request.name}: {listed}")


def kernels_note(request: Request) -> list[str]:
    """Return a sentence if own kernels, which the request lacks, can run one of its cases."""
    others = [one for one in list_backends().values() if one.family == "kernels"]
    if all(skipped_outcome(case, one) for case in request.cases for one in others):
        return []
    return ["Own kernels are often faster: --backend kernels, or convsweep optimize."]


def drop_slow_backends(request: Request, max_slowdown: float) -> Request:
    """Drop cases whose nominal time is above `max_slowdown` times the baseline's.

    They would use up the budget and cannot be the fastest.
    """
    backends = request.backends

    def is_fast(case: Case) -> bool:
        limit_s = max_slowdown * nominal_call_s(case, backends[BASELINE])
        return case in request.skipped or nominal_call_s(case, backends[case.backend]) <= limit_s

    cases = [*filter(is_fast, request.cases)]
    left = {case.backend for case in cases}
    kept = {name: backend for name, backend in backends.items() if name in left}
    return replace(request, cases=cases, backends=kept)


def model_metadata(
    spec: str, shapes: Sequence[Size], trace: ModelTrace, layers: Sequence[Layer], dtype: str
) -> dict[str, object]:
    """Return the model's entry in environment.json: its layers, measured in `dtype`, and others."""
    reasons: dict[str, list[int]] = {}
    for conv in trace.unmeasured:
        reasons.setdefault(conv.reason, []).append(conv.macs)
    return {
        "spec": spec,
        "name": layers[0].workload,
        "inputs": [format_size(shape) for shape in shapes],
        "convolutions": len(trace.convolutions),
        "macs": trace.macs,
        "really_run": trace.really_run,
        "warnings": trace.warnings,
        "layers": [layer.problem.label for layer in layers],
        "other_dtypes": dict(Counter(c.dtype for c in trace.convolutions if c.dtype != dtype)),
        "unmeasured": [
            {"why": reason, "count": len(macs), "macs": sum(macs)}
            for reason, macs in reasons.items()
        ],
    }

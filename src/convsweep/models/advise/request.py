"""What to measure of a recorded model: its distinct layers, on everything that may be faster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from convsweep.formatting import one_line
from convsweep.measure.gate import skipped_outcome
from convsweep.models.advise.conv_recorder import ModelTrace, Recorded
from convsweep.problems.case import DTYPES
from convsweep.problems.problem import ConvProblem, Size, format_size
from convsweep.problems.separable import SEPARABLE, is_replaceable
from convsweep.problems.workloads import Layer
from convsweep.results.store import BASELINE
from convsweep.sweep.forecast import nominal_call_s
from convsweep.sweep.request import Options, Request, read_request

BUDGET = "60s"
"""Spent where no other is asked for."""
MAX_NOMINAL_SLOWDOWN = 50
"""At its nominal rate, a strategy so many times slower than the baseline is left out."""
_LONGEST_NAME, _MOST_REASONS = 60, 5
_LARGEST_INPUT = 10**7  # along one dimension


def read_shape(text: str) -> Size:
    """`1,3,224,224` or `1x3x224x224` as numbers; raises `ValueError` that names anything else."""
    parts = [part.strip() for part in text.replace("x", ",").split(",")]
    shape = tuple(int(p) if p.isascii() and p.isdigit() and len(p) < 9 else 0 for p in parts)
    if not all(1 <= length <= _LARGEST_INPUT for length in shape):
        raise ValueError(
            f"--input {text!r} is no shape such as 1,3,224,224: whole numbers from 1 to "
            f"{_LARGEST_INPUT}"
        )
    return shape


def distinct_layers(recording: ModelTrace, workload: str) -> list[Layer]:
    """Each distinct problem once, in the order of the first call, with how often it is executed.

    Raises:
        ValueError: there is no convolution that can be measured.
    """
    calls: dict[ConvProblem, list[Recorded]] = {}
    for one in recording.convolutions:
        calls.setdefault(one.problem, []).append(one)
    if not calls:
        raise ValueError(f"{workload} executes no convolution{_but(recording)}")
    return [
        Layer(problem, workload, _name(recording.model, of), len(of))
        for problem, of in calls.items()
    ]


def _but(recording: ModelTrace) -> str:
    """What there is that can't be measured, for a message."""
    reasons = Counter(one.why for one in recording.unmeasured)
    return "".join(f"; {why}, of which it has {count}" for why, count in reasons.items())


def _name(model: str, calls: Sequence[Recorded]) -> str:
    """`layer1.0.conv1 and 3 more`: the modules that call it; the model itself by its class."""
    names = list(dict.fromkeys(one.module or model for one in calls))
    first = one_line(names[0])[:_LONGEST_NAME]
    return first if len(names) == 1 else f"{first} and {len(names) - 1} more"


def usual_dtype(recording: ModelTrace) -> str:
    """The dtype that most of the model's convolutions run in, as far as one can be measured."""
    dtypes = Counter(one.dtype for one in recording.convolutions if one.dtype in DTYPES)
    return next((name for name, _ in dtypes.most_common(1)), DTYPES[0])


def request_for(name: str, layers: Sequence[Layer], options: Options) -> Request:
    """The layers on the baseline, on every strategy, and replaced by separable ones.

    Args:
        name: the model's.
        layers: its distinct layers.
        options: those that choose problems are not looked at; with backends, only they are
            measured beside the baseline and the separable replacement.

    Raises:
        ValueError: in one line, where an option is wrong, or no backend supports any layer.
    """
    named = options.backends
    always = [BASELINE, SEPARABLE] if any(is_replaceable(x.problem) for x in layers) else [BASELINE]
    words = replace(
        options,
        backends=tuple(dict.fromkeys([*always, *named])) if named else (),
        baseline=BASELINE,
        budget=options.budget or BUDGET,
    )
    request = read_request(words, (name, layers))
    _require_supported(request, named or tuple(request.backends))
    return request if named else _drop_slow_backends(request)


def _require_supported(request: Request, names: Sequence[str]) -> None:
    """Raise `ValueError` where none of the named backends supports any layer."""
    whys: dict[str, None] = {}
    for case in request.cases:
        if case.backend in names:
            outcome = skipped_outcome(case, request.backends[case.backend])
            if outcome is None:
                return
            whys[f"{case.backend} {outcome.reason}"] = None
    told = "; ".join([*whys][:_MOST_REASONS])
    raise ValueError(f"no backend supports any layer of {request.name}: {told}")


def _drop_slow_backends(request: Request) -> Request:
    """Without what would take the budget and can't be the fastest: teaching strategies."""
    backends = request.backends
    base = backends[BASELINE]
    cases = [
        case
        for case in request.cases
        if nominal_call_s(case, backends[case.backend])
        <= MAX_NOMINAL_SLOWDOWN * nominal_call_s(case, base)
    ]
    left = {case.backend for case in cases}
    return replace(
        request,
        cases=cases,
        backends={name: backend for name, backend in backends.items() if name in left},
    )


def told(
    spec: str, shapes: Sequence[Size], recording: ModelTrace, layers: Sequence[Layer], dtype: str
) -> dict[str, object]:
    """What the run's files tell of the model: how much of it is measured, and why not all.

    Args:
        spec: as it was typed.
        shapes: of the inputs.
        recording: of one call.
        layers: the distinct ones.
        dtype: what they are measured in.
    """
    others = Counter(one.dtype for one in recording.convolutions if one.dtype != dtype)
    reasons: dict[str, list[int]] = {}
    for one in recording.unmeasured:
        reasons.setdefault(one.why, []).append(one.macs)
    return {
        "spec": spec,
        "name": layers[0].workload,
        "inputs": [format_size(shape) for shape in shapes],
        "convolutions": len(recording.convolutions),
        "macs": recording.macs,
        "really_run": recording.really_run,
        "layers": [layer.problem.label for layer in layers],
        "other_dtypes": dict(others),
        "unmeasured": [
            {"why": why, "count": len(macs), "macs": sum(macs)} for why, macs in reasons.items()
        ],
    }

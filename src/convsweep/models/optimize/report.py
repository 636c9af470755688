"""What became of a model that was optimized, in numbers and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from convsweep import formatting
from convsweep.analysis.estimates import Interval
from convsweep.models.optimize.gate import LayerError, WholeError
from convsweep.models.optimize.layer_inventory import Skipped
from convsweep.models.optimize.speedup import Speedup
from convsweep.problems.problem import ConvProblem

_MOST_NAMES = 4


@dataclass(frozen=True)
class Replaced:
    """One module on one input that runs on another backend than torch's."""

    name: str
    problem: ConvProblem
    calls: int
    """In one call of the model."""
    backend: str
    speedup: Interval
    """Over torch's convolution of this layer alone, as the table says."""
    saving_s: float
    """Of all its calls, as that speedup promises."""
    error: LayerError
    """On its own real input."""


@dataclass(frozen=True)
class Report:
    """All that is to be told; `str` tells it."""

    model: str
    threads: int
    source: str
    """Where the choices come from."""
    replaced: Sequence[Replaced]
    left: Sequence[Skipped]
    whole: WholeError | None
    """None where nothing is replaced."""
    speedup: Speedup | None
    """Of the whole model, measured; None where nothing is replaced, or that was not asked for."""

    @property
    def saving_s(self) -> float:
        """What the layers alone promise, of one call."""
        return sum(layer.saving_s for layer in self.replaced)

    def __str__(self) -> str:
        """The outcome first, then layer by layer, then what was left."""
        return "\n".join([*_outcome(self), *_layers(self), *_left(self)])


def _outcome(report: Report) -> list[str]:
    done = sum(layer.calls for layer in report.replaced)
    every = done + sum(one.calls for one in report.left)
    threads = formatting.count(report.threads, "thread")
    said = [
        f"{report.model}: {done} of {formatting.count(every, 'convolution')} of one call run on other "
        f"backends than torch's, {threads}, by {report.source}."
    ]
    if report.speedup is None:
        return said + ([] if report.replaced else ["Nothing is replaced: it is as fast as it was."])
    return [*said, _measured(report.speedup, report.saving_s), *_errors(report.whole)]


def _measured(found: Speedup, saving_s: float) -> str:
    """The whole model's speedup, and what its layers promised."""
    outcome = {
        "faster": "The whole model is faster",
        "slower": "The whole model is SLOWER",
        "same": "The whole model is as fast as it was",
    }.get(found.verdict, "The whole model may be faster or slower (undecided)")
    seconds = [formatting.seconds(one.value) for one in (found.original_s, found.optimized_s)]
    before_s = found.original_s.value
    left = max(before_s - saving_s, 0.0)
    promise = f"; its layers alone promise {formatting.digits(before_s / left)}" if left else ""
    return (
        f"{outcome}: {formatting.interval(*found.ratio)} times as fast, {seconds[0]} before and "
        f"{seconds[1]} now, in {found.passes} passes of this process{promise}."
    )


def _errors(whole: WholeError | None) -> list[str]:
    if whole is None:
        return []
    if whole.why_not_float64:
        return [
            f"Its output is off by {whole.optimized:.1e} of its largest value, against the "
            f"original's in its own dtype; allowed was {whole.allowed:.1e}. The original can't run "
            f"in float64: {whole.why_not_float64}."
        ]
    return [
        f"Its output is off by {whole.optimized:.1e} of its largest value, against float64; the "
        f"original's by {whole.original:.1e}; allowed was {whole.allowed:.1e}."
    ]


def _layers(report: Report) -> list[str]:
    """A line a replaced layer."""
    heads = ("layer", "problem", "calls", "backend", "alone [95 %]", "saves", "error", "torch's",
             "bound")  # fmt: skip
    rows = [
        (
            layer.name,
            layer.problem.label,
            str(layer.calls),
            layer.backend,
            formatting.interval(*layer.speedup),
            formatting.seconds(layer.saving_s),
            formatting.digits(layer.error.error_ratio),
            formatting.digits(layer.error.torch_error_ratio),
            formatting.digits(layer.error.bound),
        )
        for layer in report.replaced
    ]
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in (heads, *rows)
    ]
    return ["", *lines, ""]


def _left(report: Report) -> list[str]:
    """Why layers stay torch's, the most frequent reason first."""
    calls: Counter[str] = Counter()
    names: dict[str, dict[str, None]] = {}
    for one in report.left:
        calls[one.why] += one.calls
        names.setdefault(one.why, {})[one.name or report.model] = None
    return [
        f"Torch's own stays {formatting.count(number, 'convolution')}: {_some([*names[why]])}: {why}."
        for why, number in calls.most_common()
    ]


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    few = names[:_MOST_NAMES] + ([f"{more} more"] if more > 0 else [])
    return formatting.join(few)

"""Report on an optimized model; `str` renders it as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from convsweep import formatting
from convsweep.models.optimize.gate import ModelError, ValidatedLayer
from convsweep.models.optimize.layer_inventory import SkippedLayer
from convsweep.models.optimize.speedup import ModelSpeedup

_MAX_NAMES = 4


@dataclass(frozen=True)
class OptimizeReport:
    """Outcome of `optimize`."""

    model: str
    threads: int
    source: str
    replaced: Sequence[ValidatedLayer]
    skipped: Sequence[SkippedLayer]
    error: ModelError | None
    """None if nothing is replaced."""
    speedup: ModelSpeedup | None
    """Of the whole model, measured; None if nothing is replaced or it was not timed."""
    warnings: Sequence[str] = ()
    """Sentences on the model that its layers' times do not show."""

    @property
    def is_original(self) -> bool:
        """Whether the original is returned, because the optimized model is not faster."""
        return self.speedup is not None and self.speedup.verdict != "faster"

    @property
    def saving_s(self) -> float:
        """Seconds per call, expected from the layers alone."""
        return sum(layer.saving_s for layer in self.replaced)

    def __str__(self) -> str:
        """Return the outcome, one line per replaced layer, skipped layers, and notes."""
        lines = [*_outcome(self), *_layers(self), *_skipped(self)]
        wide = formatting.TOO_FEW in "".join(lines)
        return "\n".join(
            [*lines, *([f"{formatting.TOO_FEW_NOTE} A longer --budget gives more."] * wide)]
        )


def _outcome(report: OptimizeReport) -> list[str]:
    done = sum(layer.calls for layer in report.replaced)
    every = done + sum(layer.calls for layer in report.skipped)
    verb = "would run" if report.is_original else "run"
    sentences = [
        f"{report.model}: {done} of {formatting.count(every, 'convolution')} per call {verb} on "
        f"other backends than torch's, {formatting.count(report.threads, 'thread')}; source: "
        f"{report.source}."
    ]
    if not report.replaced:
        return [*sentences, "Nothing is replaced, so the speed is unchanged."]
    if report.speedup is None or report.error is None:
        return [*sentences, "The whole model is not timed."]
    sentences.append(_speedup(report.speedup, report.saving_s))
    if report.is_original:
        sentences.append(
            "The original is returned, because the whole model is not significantly faster."
        )
    return [*sentences, _error(report.error)]


def _speedup(found: ModelSpeedup, saving_s: float) -> str:
    """Return the whole model's speedup, and the one expected from its layers."""
    if not found.is_judged:
        return (
            f"The whole model is not judged: other processes left this one "
            f"{formatting.percent(found.core_share)} of a core. Repeat it on an idle machine."
        )
    outcome = {
        "faster": "The whole model is faster",
        "slower": "The whole model is SLOWER",
        "same": "The whole model is equally fast",
    }.get(found.verdict, "The whole model's change is not significant (undecided)")
    before_s = found.original_s.value
    left = max(before_s - saving_s, 0.0)
    expected = f"; expected from its layers: {formatting.digits(before_s / left)}" if left else ""
    return (
        f"{outcome}: {formatting.speedup(*found.ratio)} as fast, "
        f"{formatting.seconds(before_s)} before and {formatting.seconds(found.optimized_s.value)} "
        f"after, in {found.passes} passes of this process{expected}."
    )


def _error(error: ModelError) -> str:
    reference, failure = f"float64; the original's by {error.original:.1e}", ""
    if error.float64_failure:
        reference = "the original in its own dtype"
        failure = f" The original cannot run in float64: {error.float64_failure}."
    sentence = f"Its output is off by {error.optimized:.1e} of its largest value, compared with"
    return f"{sentence} {reference}; {error.allowed:.1e} is allowed.{failure}"


def _layers(report: OptimizeReport) -> list[str]:
    """Return one line per replaced layer."""
    rows = [
        {
            "layer": layer.name,
            "problem": layer.geometry.problem.label,
            "calls": str(layer.calls),
            "backend": layer.choice.backend,
            "alone (95 %)": formatting.speedup(*layer.choice.speedup),
            "saves": formatting.seconds(layer.saving_s),
            "error": formatting.digits(layer.error.error_ratio),
            "torch's": formatting.digits(layer.error.torch_error_ratio),
            "bound": formatting.digits(layer.error.bound),
        }
        for layer in report.replaced
    ]
    return ["", pd.DataFrame(rows).to_string(index=False), ""] if rows else []


def _skipped(report: OptimizeReport) -> list[str]:
    """Return one line per reason, the most frequent first."""
    calls: Counter[str] = Counter()
    names: dict[str, dict[str, None]] = {}
    for layer in report.skipped:
        calls[layer.reason] += layer.calls
        names.setdefault(layer.reason, {})[layer.name or report.model] = None
    lines = []
    for reason, number in calls.most_common():
        listed, more = [*names[reason]][:_MAX_NAMES], len(names[reason]) - _MAX_NAMES
        layers = formatting.join([*listed, f"{more} more"] if more > 0 else listed)
        lines.append(f"{formatting.count(number, 'convolution')} on torch: {layers}: {reason}.")
    return lines

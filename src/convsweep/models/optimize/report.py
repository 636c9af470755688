"""Report on an optimized model; `str` renders it as text."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from convsweep import formatting
from convsweep.models.optimize.engines import EngineTime
from convsweep.models.optimize.gate import ModelError, ValidatedLayer
from convsweep.models.optimize.layer_inventory import SkippedLayer
from convsweep.models.optimize.speedup import LEAST_CORE_SHARE, ModelSpeedup
from convsweep.problems.problem import format_size
from convsweep.results.schema import BASELINE

_MAX_ROWS, _MAX_REASONS, _MAX_NAMES = 40, 6, 4
_LONGEST_NAME = 36


@dataclass(frozen=True)
class OptimizeReport:
    """Outcome of `optimize`."""

    model: str
    threads: int
    source: str
    replaced: Sequence[ValidatedLayer]
    """Layers on another backend, and layers on torch with a folded batch norm."""
    skipped: Sequence[SkippedLayer]
    error: ModelError | None
    """None if nothing is replaced."""
    speedup: ModelSpeedup | None
    """Of the whole model, measured; None if nothing is replaced or it was not timed."""
    warnings: Sequence[str] = ()
    """Sentences on the model that its layers' times do not show."""
    converts: bool = False
    """Whether the optimized model converts inputs to channels_last, and outputs back."""
    engines: Sequence[EngineTime] = ()
    """Whole model on other engines and the optimized model, the fastest first; empty: not asked."""
    left_out: str = ""
    """Start of the reason of layers that the time in `source` was too short for; empty: a table."""

    @property
    def saving_s(self) -> float:
        """Seconds per call, expected from the layers alone."""
        return sum(layer.saving_s for layer in self.replaced)

    def __str__(self) -> str:
        """Return a table of replaced layers, layers on torch, the whole model, and advice."""
        lines = [*_layers(self), *_skipped(self), *self.warnings]
        lines += [*_outcome(self), *_left_out(self), *_engines(self)]
        wide = formatting.TOO_FEW in "".join(lines)
        return "\n".join([*lines, *([f"{formatting.TOO_FEW_NOTE} More time gives more."] * wide)])


def _layers(report: OptimizeReport) -> list[str]:
    """Return one line per replaced layer, the largest saving first, and their sum."""
    moved = (layer for layer in report.replaced if layer.choice.backend != BASELINE)
    replaced = sorted(moved, key=lambda layer: -layer.saving_s)
    rows = [
        (_name(layer), str(layer.convolutions), layer.choice.backend,
         formatting.speedup(*layer.choice.speedup), formatting.seconds(layer.saving_s))
        for layer in replaced[:_MAX_ROWS]
    ]  # fmt: skip
    for name, layers in (
        (f"{len(replaced) - _MAX_ROWS} further layers", replaced[_MAX_ROWS:]),
        ("all replaced layers", replaced),
    ):
        calls = sum(layer.convolutions for layer in layers)
        saving_s = sum(layer.saving_s for layer in layers)
        rows += [(name, str(calls), "", "", formatting.seconds(saving_s))] if layers else []
    heads = ["layer", "calls", "backend", "speedup", "saves"]
    return pd.DataFrame(rows, columns=heads).to_string(index=False).split("\n") if rows else []


def _name(layer: ValidatedLayer) -> str:
    """Return names and shape, such as `stem C3→64 224x224 k7`."""
    problem = layer.geometry.problem
    last = layer.epilogue.pointwise or problem
    channels = dict.fromkeys((str(problem.in_channels), str(last.out_channels)))
    size, kernel = format_size(problem.input_size), format_size(problem.kernel_size)
    shape = f"C{'→'.join(channels)} {size} k{formatting.compact(kernel)}"
    return formatting.shorten(
        f"{' + '.join(layer.names)} {shape}".strip(), _LONGEST_NAME * len(layer.names)
    )


def _skipped(report: OptimizeReport) -> list[str]:
    """Return one line per reason, the most frequent first."""
    calls: Counter[str] = Counter()
    names: dict[str, dict[str, None]] = {}
    for layer in _on_torch(report):
        calls[layer.reason] += layer.calls
        names.setdefault(layer.reason, {})[layer.name or report.model] = None
    lines = []
    for reason, number in calls.most_common(_MAX_REASONS):
        listed, more = [*names[reason]][:_MAX_NAMES], len(names[reason]) - _MAX_NAMES
        layers = formatting.join([*listed, f"{more} more"] if more > 0 else listed)
        lines.append(f"{formatting.count(number, 'convolution')} on torch: {layers}: {reason}.")
    others = calls.total() - sum(number for _, number in calls.most_common(_MAX_REASONS))
    return [*lines, *([f"{formatting.count(others, 'more convolution')} on torch."] * (others > 0))]


def _on_torch(report: OptimizeReport) -> list[SkippedLayer]:
    """Return the layers on torch: with a folded batch norm, then the original ones."""
    folded = [one for one in report.replaced if one.choice.backend == BASELINE]
    left = [SkippedLayer(one.name, one.calls, one.choice.reason) for one in folded]
    return [*left, *report.skipped]


def _left_out(report: OptimizeReport) -> list[str]:
    """Return the number of convolutions without a time, and how to measure them."""
    start, on_torch = report.left_out, _on_torch(report)
    number = sum(one.calls for one in on_torch if start and one.reason.startswith(start))
    if not number:
        return []
    return [
        f"The time was too short to measure {formatting.count(number, 'convolution')}: give more, "
        "or repeat it, since compiled kernels are kept."
    ]


def _outcome(report: OptimizeReport) -> list[str]:
    """Return the number of replaced layers, the whole model's times and error, and the advice."""
    every = sum(layer.convolutions for layer in report.replaced)
    every += sum(layer.calls for layer in report.skipped)
    moved = sum(x.convolutions for x in report.replaced if x.choice.backend != BASELINE)
    norms = sum(x.calls * len(x.epilogue.norms) for x in report.replaced)
    relus = sum(x.calls * x.epilogue.relus for x in report.replaced)
    first = (
        f"{report.model}, {formatting.count(report.threads, 'thread')}, source {report.source}: "
        f"{moved} of {formatting.count(every, 'convolution')} per call replaced"
        f"{f', {norms} with batch norm folded' if norms else ''}"
        f"{f', {relus} with ReLU fused' if relus else ''}."
    )
    if not report.replaced:
        measured = "measured layer" if _left_out(report) else "layer"
        return [first, f"Keep the original: no {measured} is known to have a faster backend."]
    if report.converts:
        first += " Inputs are converted to channels_last at entry, outputs back at exit."
    found, error = report.speedup, report.error
    if found is None or error is None:
        return [first, "The whole model is not timed; the optimized model is returned."]
    if not found.is_judged:
        share = formatting.percent(found.core_share)
        busy = f"Repeat it on an idle machine: this process had {share} of a core."
        return [first, _error(error), f"{busy} The original is returned."]
    before_s = found.original_s.value
    left_s = before_s - report.saving_s
    expected = f"; {formatting.speedup(before_s / left_s)} expected" if left_s > 0 else ""
    times = f"{formatting.seconds(before_s)} before, {formatting.seconds(found.optimized_s.value)}"
    whole = f"Whole model: {times} after, {formatting.speedup(*found.ratio)}{expected}."
    advice = _ADVICE[found.verdict].format(source=report.source, threads=report.threads)
    return [first, whole, _error(error), advice]


def _engines(report: OptimizeReport) -> list[str]:
    """Return the whole model's time on each engine, the engines without one, and the fastest."""
    timed = [one for one in report.engines if not one.reason]
    if not timed:
        return []
    rows = [
        (one.engine, formatting.time(*one.seconds), formatting.speedup(*one.ratio),
         formatting.error(one.error))
        for one in timed
    ]  # fmt: skip
    heads = ["whole model on", "time per call", "relative to the fastest", "error"]
    table = pd.DataFrame(rows, columns=heads).to_string(index=False).split("\n")
    left = [f"{one.engine} has no time: {one.reason}." for one in report.engines if one.reason]
    lines = ["Timed in turns with other engines:", *table, *left]
    share = timed[0].core_share
    if share < LEAST_CORE_SHARE:
        busy = f"this process had {formatting.percent(share)} of a core"
        return [*lines, f"None is called the fastest: {busy}. Repeat it on an idle machine."]
    near = [one.engine for one in timed[1:] if not one.ratio.low > 1]
    also = f" {formatting.join(near)} may be as fast." if near else ""
    return [*lines, f"The fastest is {timed[0].engine}.{also}"]


_ADVICE = {
    "faster": "Use the optimized model, called with as many threads: "
    "convsweep.optimize(model, {source!r}, inputs=x, threads={threads}).",
    "slower": "Keep the original, which is returned: the whole model is SLOWER.",
    "same": "Keep the original, which is returned: the whole model is equally fast.",
    "undecided": "Undecided, so the original is returned: repeat it with more time.",
}
"""Next step by verdict."""


def _error(error: ModelError) -> str:
    reference, failure = f"float64 (original: {formatting.error(error.original)})", ""
    if error.float64_failure:
        reference = "the original in its own dtype"
        failure = f" The original cannot run in float64: {error.float64_failure}."
    return (
        f"Error of its output against {reference}: {formatting.error(error.optimized)} of "
        f"its largest value; {formatting.error(error.allowed)} is allowed.{failure}"
    )

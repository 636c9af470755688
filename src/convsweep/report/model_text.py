"""Text on a user's model: whether separable layers pay, and which strategy is faster."""

import numpy as np
from pandas import DataFrame

from convsweep import formatting
from convsweep.analysis.model_advice import Advice
from convsweep.analysis.model_savings import (
    FASTER,
    UNDECIDED,
    LayerCost,
    LayerTime,
    Saving,
    estimate_saving,
    fastest_strategies,
    replacements,
)
from convsweep.problems.case import FORWARD
from convsweep.problems.separable import is_replaceable
from convsweep.report.network_text import end_to_end
from convsweep.report.summary_text import name_left_out
from convsweep.report.table import Table

RETRAINING = "A separable layer computes another function: check the retrained model's accuracy."
_SINGLE_PASS = "A single pass gives no interval and no verdict: choose a longer --budget."
_MOST_LAYERS = 38  # Rows of layers; the rest and the total have a row each
_MOST_FAILURES, _LONGEST_LABEL = 3, 34
_ENOUGH, _ALL = 0.5, 0.995
"""Share of the convolutions from which there is advice; of the MACs, from which all are covered."""


def sentences(advice: Advice, networks: DataFrame) -> list[str]:
    """Return the next step and its limits; `networks` are the rows of networks.csv."""
    whole = end_to_end(advice.run, networks)
    left_out = [*coverage(advice), *name_left_out(advice.run)]
    return [next_step(advice), *whole, *left_out, *notes(advice)]


def notes(advice: Advice) -> list[str]:
    """Return the limitation of the numbers, if there is one."""
    single = any(layer.baseline_s.value > 0 and np.isnan(layer.baseline_s.low)
                 for layer in advice.layers)  # fmt: skip
    if single:
        return [_SINGLE_PASS]
    pays = any(one.verdict == FASTER for one in replacements(advice.layers).values())
    return [RETRAINING] if pays else []


def next_step(advice: Advice) -> str:
    """Return one sentence: what to do with the model, with the numbers that speak for it."""
    run, layers = advice.run, advice.layers
    chosen, strategies = replacements(layers), fastest_strategies(layers, run.baseline)
    faster = {label: one for label, one in chosen.items() if one.verdict == FASTER}
    if not advice.is_timed:
        longer = "" if any(layer.failure for layer in layers) else ": choose a longer --budget"
        return f"No layer has a time with {run.baseline}{longer}."
    timed = sum(layer.count for layer in layers if layer.baseline_s.value > 0)
    every = advice.model.convolutions if advice.model else timed
    if timed < _ENOUGH * every:
        return f"Choose a longer --budget: {timed} of {every} convolutions have a time."
    forward = run.cases["direction"].eq(FORWARD).all()
    optimize = "Run convsweep optimize, which needs no training"
    for step, choices in (
        ("Retrain with separable layers", (faster, chosen)),
        (optimize if forward else "Choose the fastest strategy per layer", (strategies,)),
    ):
        savings = [estimate_saving(run, layers, one) for one in choices if one]
        if savings := [saving for saving in savings if saving.verdict == FASTER]:
            best = max(savings, key=lambda saving: saving.speedup.value)
            return f"{step}: {_effect(advice, best)}."
    if not chosen:
        can = any(is_replaceable(layer.problem) for layer in layers)
        why = "separable layers have no time" if can else "no layer can be separable"
        return f"Keep {run.baseline} in all layers: {why}, and no other strategy is faster."
    saving = estimate_saving(run, layers, chosen)
    step = "Choose a longer --budget" if saving.verdict == UNDECIDED else f"Keep {run.baseline}"
    return f"{step}: separable layers are {saving.verdict}; {_effect(advice, saving)}."


def _effect(advice: Advice, saving: Saving) -> str:
    """Return the changed convolutions, the time of all convolutions, speedup and MAC ratio."""
    before = estimate_saving(advice.run, advice.layers, {})
    every = sum(layer.count for layer in advice.layers)
    macs = f", MAC ratio {formatting.speedup(saving.mac_ratio)}" if saving.mac_ratio > 1 else ""
    return (
        f"{saving.convolutions} of {formatting.count(every, 'convolution')} changed, "
        f"{formatting.seconds(before.time_s.value)} to {formatting.seconds(saving.time_s.value)}, "
        f"{formatting.speedup(*saving.speedup)}{macs}"
    )


def coverage(advice: Advice) -> list[str]:
    """Return warnings of the model, and the part of it that the times leave out."""
    model, case = advice.model, advice.run.cases.iloc[0]
    timed = [layer for layer in advice.layers if layer.baseline_s.value > 0]
    lines = []
    if model:
        lines += [
            *model.warnings,
            *(
                f"Left out: {formatting.count(number, 'convolution')}, "
                f"{formatting.percent(macs / model.macs if model.macs else np.nan)} of the MACs: "
                f"{reason}."
                for reason, number, macs in model.unmeasured
            ),
            *(
                f"Other dtype: the model runs {number} of {model.convolutions} convolutions in "
                f"{dtype}, measured in {case['dtype']}."
                for dtype, number in model.other_dtypes.items()
            ),
        ]
        share = sum(layer.macs for layer in timed) / model.macs if model.macs else 1.0
        if share < _ALL:
            lines.append(
                f"Covered: {len(timed)} of {len(advice.layers)} distinct layers, "
                f"{formatting.percent(share)} of {formatting.operations(model.macs)}MACs per call."
            )
    failures: dict[str, list[str]] = {}
    for layer in advice.layers:
        if layer.failure:
            failures.setdefault(layer.failure, []).append(layer.label)
    lines += [
        f"No time: {formatting.count(len(labels), 'layer')}, such as {labels[0]}: {failure}."
        for failure, labels in [*failures.items()][:_MOST_FAILURES]
    ]
    if missing := advice.run.missing_cases:
        lines.append(f"Missing: {formatting.count(missing, 'case')}; --resume measures them.")
    return lines


def totals_table(advice: Advice) -> Table:
    """Return time, speedup and MACs of one call, one row per choice; no rows without times."""
    run, layers = advice.run, advice.layers
    heads = ("choice", "convolutions changed", "time (95 %)", "speedup (95 %)", "verdict",
             "MAC ratio")  # fmt: skip
    chosen = replacements(layers)
    faster = {label: one for label, one in chosen.items() if one.verdict == FASTER}
    choices = {
        f"{run.baseline} in all layers": {},
        "separable layers": chosen,
        "separable layers where faster": {} if faster == chosen else faster,
        "fastest strategy per layer": fastest_strategies(layers, run.baseline),
    }
    rows = []
    for number, (name, layer_times) in enumerate(choices.items()):
        saving = estimate_saving(run, layers, layer_times)
        if advice.is_timed and (layer_times or not number):
            speedup = formatting.speedup(*saving.speedup) if number else ""
            rows.append((
                name, str(saving.convolutions), formatting.time(*saving.time_s), speedup,
                saving.verdict if number else "baseline", formatting.speedup(saving.mac_ratio),
            ))  # fmt: skip
    return Table(heads, rows, frozenset((*heads[1:4], heads[5])))


def layer_table(advice: Advice, most: int = _MOST_LAYERS) -> Table:
    """Return the layers that take longest, one row each, then all others and all layers."""
    run = advice.run
    layers = sorted(advice.layers, key=lambda layer: -np.nan_to_num(_seconds(layer)))
    every_s = np.nansum([_seconds(layer) for layer in layers])
    rows: list[tuple[str, ...]] = [
        (formatting.shorten(layer.label, _LONGEST_LABEL), str(layer.count),
         *_time_and_share(_seconds(layer), every_s), _cell(layer.separable),
         _best(layer, run.baseline))
        for layer in layers[:most]
    ]  # fmt: skip
    choices = (replacements(layers), fastest_strategies(layers, run.baseline))
    savings = [_cell(estimate_saving(run, layers, one)) if one else "" for one in choices]
    for name, some, cells in (
        (f"{len(layers) - most} more in layers.csv", layers[most:], ["", ""]),
        ("all layers", layers if len(layers) > 1 and every_s else [], savings),
    ):
        if some:
            calls = str(sum(layer.count for layer in some))
            total_s = np.nansum([_seconds(layer) for layer in some])
            rows.append((name, calls, *_time_and_share(total_s, every_s), *cells))
    heads = ("layer", "calls", run.baseline, "share", "separable", "fastest strategy")
    return Table(heads, rows, frozenset(heads[1:5]))


def _seconds(layer: LayerCost) -> float:
    """Return the seconds of all calls of a layer, with the baseline; NaN if it has no time."""
    return layer.count * layer.baseline_s.value


def _time_and_share(time_s: float, every_s: float) -> tuple[str, str]:
    return formatting.seconds(time_s), formatting.percent(time_s / every_s if every_s else np.nan)


def _best(layer: LayerCost, baseline: str) -> str:
    if layer.best is None or layer.best.backend == baseline:
        return baseline if layer.best else formatting.NO_VALUE
    return f"{layer.best.backend} {_cell(layer.best)}"


def _cell(found: Saving | LayerTime | None) -> str:
    """Return `4.5x`, with a question mark if it is undecided."""
    if found is None:
        return ""
    mark = " ?" if found.verdict == UNDECIDED else ""
    return formatting.speedup(found.speedup.value) + mark

"""Section on a user's model: whether separable layers pay, and which strategy is faster."""

from __future__ import annotations

import numpy as np

from convsweep import formatting
from convsweep.analysis.model_advice import Advice, read_advice
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
from convsweep.problems.separable import is_replaceable
from convsweep.report.pages import Section
from convsweep.report.plots.model_layers import draw_model
from convsweep.report.summary_text import name_fully_connected
from convsweep.report.table import Table
from convsweep.results.store import RunFolder

TITLE = "Your model"
RETRAINING = (
    "A separable layer computes another function: the model has to be retrained and may become "
    "less accurate. Another strategy computes the same function."
)
_ISOLATED = (
    "Each layer is timed alone, with its input in the caches. A total is the sum over the layers, "
    "each as often as one call executes it; time between convolutions is not included."
)
_SINGLE_PASS = "A layer with a single pass has no interval and no verdict: use a longer --budget."


def section(folder: RunFolder) -> Section | None:
    """Return the section of a run that advises on a model; None for other runs."""
    advice = read_advice(folder)
    if advice is None:
        return None
    picture = draw_model(advice.run, advice.layers, _name(advice))
    tables = [
        ("One call of the model", totals_table(advice)),
        ("Distinct layers, in the order of the model's first call", layer_table(advice)),
    ]
    return Section.of_settings(
        TITLE, sentences(advice)[0], tables, {"": [picture]}, notes(advice)[0]
    )


def notes(advice: Advice) -> list[str]:
    """Return what the numbers leave out."""
    single = any(layer.baseline_s.value > 0 and np.isnan(layer.baseline_s.low)
                 for layer in advice.layers)  # fmt: skip
    retraining = [RETRAINING] if replacements(advice.layers) else []
    return [_ISOLATED, *retraining, *([_SINGLE_PASS] if single else [])]


def _name(advice: Advice) -> str:
    return advice.model.name if advice.model else "the model"


def sentences(advice: Advice) -> list[str]:
    """Return the verdict on separable layers, then what was and was not measured."""
    run, layers = advice.run, advice.layers
    chosen = replacements(layers)
    if not advice.is_timed:
        verdict = f"No layer has a time with {run.baseline}: no advice."
    elif chosen:
        saving = estimate_saving(run, layers, chosen)
        verdict = (
            f"Separable layers in place of {saving.convolutions} of "
            f"{sum(layer.count for layer in layers)} convolutions of {_name(advice)}: "
            f"{saving.verdict}, {_ratio(saving)} as fast; expected from the MAC count: "
            f"{formatting.digits(saving.mac_ratio)}."
        )
    elif any(is_replaceable(layer.problem) for layer in layers):
        verdict = f"No separable replacement of a layer of {_name(advice)} has a time."
    else:
        verdict = (
            f"No convolution of {_name(advice)} can be replaced by a separable layer: each has "
            "groups or a kernel of 1."
        )
    return [verdict, *_coverage(advice)]


def _coverage(advice: Advice) -> list[str]:
    """Return the share of the model that was measured, and what was not, with reasons."""
    model, case = advice.model, advice.run.cases.iloc[0]
    timed = [layer for layer in advice.layers if layer.baseline_s.value > 0]
    where = f"{case['device']}, {case['dtype']}, threads {case['threads']}"
    lines = [f"Measured: {len(timed)} of {len(advice.layers)} distinct layers on {where}."]
    if model:
        lines = [*model.warnings, *lines]
        macs = sum(layer.macs for layer in timed)
        lines += [
            f"Measured MACs: {_share(macs, model.macs)} of {formatting.operations(model.macs)} per "
            f"call at input {' and '.join(model.inputs)}.",
            *(
                f"Not measured: {formatting.count(number, 'convolution')}, "
                f"{_share(macs, model.macs)} of the MACs: {reason}."
                for reason, number, macs in model.unmeasured
            ),
            *(
                f"Other dtype: the model runs {number} of {model.convolutions} convolutions in "
                f"{dtype}, measured in {case['dtype']}."
                for dtype, number in model.other_dtypes.items()
            ),
        ]
    lines += [f"No time: {layer.label}: {layer.failure}." for layer in advice.layers
              if layer.failure]  # fmt: skip
    lines += name_fully_connected(advice.run)
    if missing := advice.run.missing_cases:
        lines.append(f"Missing cases: {missing}. Totals do not cover the whole model.")
    if model and model.really_run:
        lines.append("The model was run once on random input, because its layers depend on data.")
    return lines


def _share(macs: int, total: int) -> str:
    return formatting.percent(macs / total if total else np.nan)


def totals_table(advice: Advice) -> Table:
    """Return time, speedup and MACs of one call, one row per choice; no rows without times."""
    run, layers = advice.run, advice.layers
    heads = ("choice", "convolutions changed", "time (95 %)", "speedup (95 %)", "verdict",
             "expected from MACs")  # fmt: skip
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
            rows.append((
                name, str(saving.convolutions), formatting.time(*saving.time_s),
                _ratio(saving) if number else "1 (baseline)", saving.verdict if number else "",
                formatting.digits(saving.mac_ratio),
            ))  # fmt: skip
    return Table(heads, rows, frozenset((*heads[1:4], heads[5])))


def layer_table(advice: Advice) -> Table:
    """Return time, fastest strategy and separable replacement, one row per distinct layer."""
    baseline = advice.run.baseline
    now_s = sum(x.count * x.baseline_s.value for x in advice.layers if x.baseline_s.value > 0)
    rows = [
        (layer.label, str(layer.count), formatting.time(*layer.baseline_s),
         formatting.percent(layer.count * layer.baseline_s.value / now_s) if now_s else "",
         _best(layer, baseline), _cell(layer.separable),
         "" if np.isnan(layer.predicted) else formatting.digits(layer.predicted))
        for layer in advice.layers
    ]  # fmt: skip
    heads = ("layer", "times", f"{baseline} (95 %)", "share", "fastest strategy",
             "separable (95 %)", "expected from MACs")  # fmt: skip
    return Table(heads, rows, frozenset({*heads[1:4], *heads[5:]}))


def _best(layer: LayerCost, baseline: str) -> str:
    if layer.best is None:
        return formatting.NO_VALUE
    if layer.best.backend == baseline:
        return baseline
    return f"{layer.best.backend} {_cell(layer.best)}"


def _cell(layer_time: LayerTime | None) -> str:
    """Return `1.92 [1.85, 1.99]`, with a question mark if it is undecided."""
    if layer_time is None:
        return ""
    return _ratio(layer_time) + (" ?" if layer_time.verdict == UNDECIDED else "")


def _ratio(found: Saving | LayerTime) -> str:
    return formatting.speedup(*found.speedup)

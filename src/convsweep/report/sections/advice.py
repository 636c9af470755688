"""Advice on a model in words: is a separable layer worth it there, and which strategy is faster."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from convsweep import formatting
from convsweep.analysis.model_advice import Advice, read_advice
from convsweep.analysis.model_savings import (
    FASTER,
    SLOWER,
    UNDECIDED,
    Saving,
    estimate_saving,
    fastest_strategies,
    replacements,
)
from convsweep.problems.separable import SEPARABLE, is_replaceable
from convsweep.report.plots.model_layers import draw_model
from convsweep.report.section import Section
from convsweep.report.sections.advice_table import layer_table, ratio_text, time_text

TITLE = "Your model"
RETRAINING = (
    "A separable layer computes another function than the layer that it replaces: the model has to "
    "be trained again, and may become less accurate. Another strategy computes the same function."
)
ISOLATED = (
    "Every layer is timed alone, its input where the last call left it, and a total is the sum "
    "over the layers, each as often as one call of the model executes it; what a model does "
    "between its convolutions is not in it."
)
_FEW_PASSES = (
    "A layer with one pass alone has no interval, and decides nothing: a longer --budget does."
)
_MOST_NAMES = 3
_LARGE = ((1e9, "billion"), (1e6, "million"), (1e3, "thousand"))


def section(run_dir: Path) -> Section | None:
    """The part of a report that advises; None where the run is of no model."""
    found = read_advice(run_dir)
    if found is None:
        return None
    picture = draw_model(found.run, found.layers, _named(found))
    return Section(
        TITLE,
        sentences(found),
        [("Every distinct layer, in the order of the model's first call", layer_table(found))],
        [picture] if picture else [],
        notes(found),
    )


def notes(advice: Advice) -> list[str]:
    """What the numbers leave out; of replacements only where there are some."""
    return [ISOLATED, *([RETRAINING] if replacements(advice.layers) else [])]


def sentences(advice: Advice) -> list[str]:
    """The verdict first; then times, layers that matter, other strategies, what is not covered."""
    run, layers = advice.run, advice.layers
    now = estimate_saving(run, layers, {})
    if np.isnan(now.time_s.value):
        whys = dict.fromkeys(x.failure.partition(":")[0].replace("_", " ") for x in layers)
        why = "".join(f", {word}" for word in whys if word)
        none = f"No layer was timed with {run.baseline}{why}: nothing can be advised."
        return [none, *_coverage(advice)]
    return [
        *_replaced(advice),
        _total(advice, now),
        *_strategies(advice),
        *_coverage(advice),
    ]


def _named(advice: Advice) -> str:
    return advice.model.name if advice.model else "the model"


def _replaced(advice: Advice) -> list[str]:
    """Whether separable layers pay: all of them, and those that surely do."""
    chosen = replacements(advice.layers)
    if not chosen:
        return [_absence_reason(advice)]
    every = estimate_saving(advice.run, advice.layers, chosen)
    count = sum(layer.count for layer in advice.layers)
    own = "convolution" if count == 1 else "convolutions"
    what = (
        f"Replacing {_of_all(every.convolutions, count)} of {_named(advice)} by "
        f"{'a separable layer' if every.convolutions == 1 else 'separable layers'}"
    )
    speedup = ratio_text(every)
    promise = f"MACs alone promise {formatting.digits(every.mac_ratio)} times"
    outcome = {
        FASTER: f"makes its {own} faster on this machine",
        SLOWER: f"makes its {own} slower on this machine",
        "same": f"leaves the time of its {own} on this machine as it is",
    }.get(every.verdict, f"may make its {own} faster or slower on this machine (undecided)")
    said = [f"{what} {outcome}: {speedup} times as fast, where {promise}."]
    if np.isnan(every.speedup.low):
        said.append(_FEW_PASSES)
    return [*said, *_by_layer(advice, every)]


def _of_all(part: int, count: int) -> str:
    """`2 of the 3 convolutions`, `all 3 convolutions`, `the one convolution`."""
    if count == 1:
        return "the one convolution"
    return f"all {count} convolutions" if part == count else f"{part} of the {count} convolutions"


def _absence_reason(advice: Advice) -> str:
    possible = any(is_replaceable(layer.problem) for layer in advice.layers)
    if possible:
        return f"No separable replacement of a layer of {_named(advice)} has a time yet."
    return (
        f"No convolution of {_named(advice)} can be replaced by a separable layer: each has groups "
        "or a kernel of 1."
    )


def _by_layer(advice: Advice, every: Saving) -> list[str]:
    """Where replacements pay and where not, and what is left where only those are done that do."""
    chosen = replacements(advice.layers)
    by = {word: [x for x in advice.layers if x.label in chosen and chosen[x.label].verdict == word]
          for word in (FASTER, SLOWER, "same", UNDECIDED)}  # fmt: skip
    parts = [f"{len(of)} {'is' if len(of) == 1 else 'are'} {word}" for word, of in by.items() if of]
    if len(parts) == 1:
        parts = [f"all are {word}" for word, of in by.items() if of]
    ranked = sorted(chosen.items(), key=lambda item: item[1].speedup.value)
    said = []
    if len(chosen) > 1:
        (least, low), (most, high) = ranked[0], ranked[-1]
        said.append(
            f"Layer by layer, of {len(chosen)} replacements, {formatting.join(parts)}: from "
            f"{ratio_text(low)} times as fast at {least} to {ratio_text(high)} times at {most}."
        )
    if by[FASTER] and len(by[FASTER]) < len(chosen):
        only = estimate_saving(
            advice.run, advice.layers, {x.label: chosen[x.label] for x in by[FASTER]}
        )
        said.append(
            f"Replaced only where that is surely faster, in {len(by[FASTER])} of them: "
            f"{ratio_text(only)} times as fast, against {ratio_text(every)} with all."
        )
    return said


def _total(advice: Advice, now: Saving) -> str:
    """Seconds now, and after."""
    run, first = advice.run, advice.run.cases.iloc[0]
    timed = [layer for layer in advice.layers if not np.isnan(layer.baseline_s.value)]
    threads = formatting.count(int(first["threads"]), "thread")
    count = sum(x.count for x in timed)
    what = "one convolution" if count == 1 else f"{count} convolutions ({len(timed)} distinct)"
    what, takes = f"{what} of one call", "takes" if count == 1 else "take"
    if advice.model:
        what += f" at input {' and '.join(advice.model.inputs)}"
    said = (
        f"The {what} {takes} {_seconds(now)} now, with {run.baseline} on {first['device']}, "
        f"{first['dtype']}, {threads}"
    )
    chosen = replacements(advice.layers)
    if chosen:
        after = estimate_saving(run, advice.layers, chosen)
        said += f"; {_seconds(after)} with the replacement{'s' if after.convolutions > 1 else ''}"
    return said + "."


def _seconds(found: Saving) -> str:
    return time_text(found.time_s)


def _macs(macs: int) -> str:
    """`1.82 billion`."""
    scale, word = next((x for x in _LARGE if macs >= x[0]), _LARGE[-1])
    return f"{formatting.digits(macs / scale)} {word}"


def _strategies(advice: Advice) -> list[str]:
    """What the fastest strategy in each layer saves, the function kept."""
    run, layers = advice.run, advice.layers
    rivals = [name for name in run.backends if name not in (run.baseline, SEPARABLE)]
    tried = [x for x in layers if x.best and not np.isnan(x.baseline_s.value)]
    if not rivals or not tried:
        return []
    best = fastest_strategies(tried, run.baseline)
    ahead = [x for x in tried if x.best and x.best.backend != run.baseline]
    open_ = [x.label for x in ahead if x.label not in best]
    doubt = ""
    if open_:
        few = formatting.join([*open_[:_MOST_NAMES], *(["others"] if open_[_MOST_NAMES:] else [])])
        where = "Another" if len(tried) == 1 else f"In {len(open_)} another"
        doubt = f" {where} is ahead by estimate, but not surely: {few}."
    distinct = "the one layer" if len(tried) == 1 else f"{len(tried)} distinct layers"
    if not best:
        none = f"Of {formatting.join(rivals)} none is" if len(rivals) > 1 else f"{rivals[0]} is not"
        any_of = "in" if len(tried) == 1 else "in any of"
        return [f"{none} surely faster than {run.baseline} {any_of} {distinct}.{doubt}"]
    wins: dict[str, int] = {}
    for contender in best.values():
        wins[contender.backend] = wins.get(contender.backend, 0) + 1
    counts = [f"{name} in {n}" for name, n in sorted(wins.items(), key=lambda item: -item[1])]
    which = formatting.join([*wins] if len(tried) == 1 else counts)
    found = estimate_saving(run, layers, best)
    little = ", too little to count" if found.verdict == "same" else ""
    return [
        f"The same function computed by the fastest strategy in each layer, {which} "
        f"{'in' if len(tried) == 1 else 'of'} {distinct}, takes {_seconds(found)}: "
        f"{ratio_text(found)} times as fast{little}.{doubt}"
    ]


def _coverage(advice: Advice) -> list[str]:
    """How much of the model was measured, what was not, and why."""
    said = []
    timed = [layer for layer in advice.layers if not np.isnan(layer.baseline_s.value)]
    model = advice.model
    if model and model.macs > 0 and timed:
        share = sum(layer.macs for layer in timed) / model.macs
        said.append(
            f"{'This layer does' if len(timed) == 1 else 'These layers do'} "
            f"{formatting.percent(share)} of the {_macs(model.macs)} multiply-accumulates of one call."
        )
        said += [
            f"Not measured: {formatting.count(number, 'convolution')} with "
            f"{formatting.percent(macs / model.macs)} of them; {why}."
            for why, number, macs in model.unmeasured
        ]
    if model:
        here = advice.run.cases["dtype"].iloc[0]
        said += [
            f"The model itself runs {_of_all(number, model.convolutions)} in {dtype}, not in "
            f"{here} as measured here."
            for dtype, number in model.other_dtypes.items()
        ]
    for layer in advice.layers:
        if layer.failure:
            said.append(f"No time: {layer.label}, {layer.failure}.")
    if left := advice.run.missing_cases:
        said.append(
            f"The run ended early: {formatting.count(left, 'case')} of it "
            f"{'was' if left == 1 else 'were'} not reached, so no total is of the whole model."
        )
    if model and model.really_run:
        said.append(
            "What this model executes depends on numbers: it was run once, on random ones, to see."
        )
    return said

"""A network layer by layer: the best of the textbook, the algorithms, own kernels and engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from convsweep import formatting
from convsweep.analysis.estimates import estimate
from convsweep.analysis.families.candidates import (
    ALGORITHMS,
    BASIC,
    ENGINES,
    KERNELS,
    BestPick,
    Candidates,
    best_by_layer,
)
from convsweep.report.plots.family_style import FAMILY_COLORS, FAMILY_WORDS, family_of
from convsweep.report.plots.style import Picture, fitting_columns, new_figure, short_seconds

MOST_LAYERS = 24
_ROLES = (BASIC, ALGORITHMS, ENGINES, KERNELS)


def draw(field: Candidates, workload: str) -> Picture | None:
    """One network; None where fewer than two families have a time in it."""
    of = field.part(field.cases["workload"].eq(workload).fillna(False)).whole_weights
    family = of.cases["backend"].map(family_of(of))
    chosen = {role: _seconds(of, best_by_layer(of.part(family == role))) for role in _ROLES}
    chosen = {role: found for role, found in chosen.items() if found}
    if len(chosen) < 2:
        return None
    shown, every = _costliest(of, chosen), of.cases["label"].nunique()
    figure = new_figure(1.6 + (0.16 * len(chosen) + 0.12) * max(len(shown), 3))
    ax = figure.subplots()
    _draw(ax, of, chosen, shown)
    handles = [Patch(color=FAMILY_COLORS[role], label=FAMILY_WORDS[role]) for role in chosen]
    columns = fitting_columns([FAMILY_WORDS[role] for role in chosen])
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    return Picture(
        name=f"families_on_{formatting.slug(workload)}",
        figure=figure,
        title=finding(workload, chosen),
        alt=_alt(workload, chosen),
        caption=_caption(every - len(shown)),
    )


_Seconds = Mapping[str, float]


def _seconds(field: Candidates, found: Mapping[str, BestPick]) -> _Seconds:
    """Each layer's time, as often as it occurs."""
    counts = field.cases.groupby("label")["layer_count"].first()
    return {
        label: float(counts[label] * np.exp(estimate(one.log_s).mean))
        for label, one in found.items()
    }


def _costliest(field: Candidates, chosen: Mapping[str, _Seconds]) -> list[str]:
    """The layers that take the most time at best, in the order of the network."""
    cost = {
        str(label): min(found[label] for found in chosen.values() if label in found)
        for label in dict.fromkeys(field.cases["label"])
        if any(label in found for found in chosen.values())
    }
    kept = sorted(cost, key=cost.__getitem__, reverse=True)[:MOST_LAYERS]
    return [label for label in cost if label in kept]


def _draw(
    ax: Axes, field: Candidates, chosen: Mapping[str, _Seconds], shown: Sequence[str]
) -> None:
    """Bars side by side, a group a layer; the number says how many times the textbook's best."""
    thick = 0.84 / len(chosen)
    widest = max(found[label] for found in chosen.values() for label in shown if label in found)
    for place, (role, found) in enumerate(chosen.items()):
        for row, label in enumerate(shown):
            if label not in found:
                continue
            y = row - 0.42 + (place + 0.5) * thick
            ax.barh(y, found[label], height=thick, color=FAMILY_COLORS[role])
            base = chosen.get(BASIC, {}).get(label)
            if role != BASIC and base is not None:
                told = f"{formatting.format_ratio(base / found[label])}"
                ax.text(found[label] + 0.006 * widest, y, told, va="center", fontsize=7)
    counts = field.cases.groupby("label")["layer_count"].first()
    own = f"{field.cases['workload'].iloc[0]} "
    times = {label: f"  x{counts[label]}" if counts[label] > 1 else "" for label in shown}
    ax.set_yticks(
        range(len(shown)),
        [formatting.shorten(label.removeprefix(own)) + times[label] for label in shown],
    )
    ax.set(ylim=(len(shown) - 0.5, -0.5), xlim=(0, widest * 1.08))
    ax.grid(visible=False, axis="y")
    ax.xaxis.set_major_formatter(lambda value, _: short_seconds(value) if value else "0")
    ax.set_xlabel("time of a layer, as often as it occurs")


def finding(workload: str, chosen: Mapping[str, _Seconds]) -> str:
    """On how many layers each family is the fastest, and their share of the textbook's time."""
    layers = list(dict.fromkeys(label for found in chosen.values() for label in found))
    wins = [
        min(
            (role for role in chosen if label in chosen[role]), key=lambda role: chosen[role][label]
        )
        for label in layers
    ]
    told = [
        f"{FAMILY_WORDS[role]} on {wins.count(role)}" for role in reversed(_ROLES) if role in wins
    ]
    return (
        f"{workload}, fastest of {formatting.count(len(layers), 'layer')}: {formatting.join(told)}"
    )


def _alt(workload: str, chosen: Mapping[str, _Seconds]) -> str:
    said = [
        f"{FAMILY_WORDS[role]} {formatting.seconds(sum(found.values()))} over "
        f"{formatting.count(len(found), 'layer')}"
        for role, found in chosen.items()
    ]
    return f"Bars of the time of each layer of {workload}, one a family: {'; '.join(said)}."


def _caption(left_out: int) -> str:
    said = [
        "The best backend of each family on each layer, in the memory format that suits it; a "
        "number says how many times the textbook's best it is. Where there is no bar, no backend "
        "of that family computes the layer."
    ]
    if left_out:
        said.append(f"Of the layers, the {MOST_LAYERS} costliest are drawn.")
    return " ".join(said)

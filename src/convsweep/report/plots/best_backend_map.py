"""Which strategy wins where: channels by size, a panel a kind of layer, a colour a backend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from convsweep import formatting
from convsweep.analysis.estimates import estimate
from convsweep.analysis.families.candidates import (
    LAYER_KINDS,
    PLAIN,
    BestPick,
    Candidates,
    pick_by_layer,
    pick_fastest,
)
from convsweep.analysis.verdicts import DIRECTIONS, p_values, reject_at_fdr
from convsweep.problems.problem import parse_size
from convsweep.report.plots.family_style import SHADES, family_of
from convsweep.report.plots.style import GREY, Picture, fitting_columns, new_figure

MOST_ROWS, MOST_COLUMNS = 14, 10
_OTHERS = "another one"
_FAINT = 0.4


class Cell(NamedTuple):
    """The winner of one layer."""

    kind: str
    channels: tuple[int, int]
    size: tuple[int, ...]
    macs: int
    winner: str
    speedup: float
    """Over the baseline; NaN where it has no time."""
    sure: bool
    """Whether it is faster than every other backend, corrected for the number of layers."""


def draw(field: Candidates) -> Picture | None:
    """The map of one setting; None where fewer than two backends contend on any layer."""
    found = cells(field)
    if not found:
        return None
    panels = {kind: _panel([cell for cell in found if cell.kind == kind]) for kind in LAYER_KINDS}
    panels = {kind: panel for kind, panel in panels.items() if panel}
    colors = _colors(field, [cell for panel in panels.values() for cell in panel.values()])
    rows = [len({channels for channels, _ in panel}) for panel in panels.values()]
    columns = [len({size for _, size in panel}) for panel in panels.values()]
    lines = math.ceil(len(panels) / 2)
    heights = [max(rows[2 * line : 2 * line + 2]) for line in range(lines)]
    figure = new_figure(1.2 + sum(0.75 + 0.3 * height for height in heights))
    grid = figure.subplots(
        lines,
        min(2, len(panels)),
        squeeze=False,
        height_ratios=[height + 2.5 for height in heights],
    )
    for ax, (kind, panel) in zip(grid.flat, panels.items(), strict=False):
        _draw(ax, kind, panel, colors, max(columns))
    for ax in grid.flat[len(panels) :]:
        ax.set_axis_off()
    handles = [Patch(color=color, label=name) for name, color in colors.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=fitting_columns([*colors]))
    return Picture(
        name="best_backend_map",
        figure=figure,
        title=finding(found),
        alt=_alt(found),
        caption=_caption(field, len(found) - sum(map(len, panels.values()))),
    )


def cells(field: Candidates) -> list[Cell]:
    """The winner of each layer on which two backends or more contend, memory formats apart."""
    contend = field.dense_weights
    baseline = pick_by_layer(contend.select(PLAIN))
    found, doubts = [], []
    rows = contend.cases.reset_index(drop=True).groupby("label", sort=False).indices
    for label, at in rows.items():
        rivals = contend._replace(cases=contend.cases.iloc[at], log_s=contend.log_s[at])
        if rivals.cases["backend"].nunique() < 2:
            continue
        won = pick_fastest(rivals)
        found.append(_cell(rivals, won, baseline.get(str(label))))
        doubts.append(_doubt(rivals, won.backend))
    sure = reject_at_fdr(np.array(doubts, dtype="float64"))
    return [cell._replace(sure=bool(held)) for cell, held in zip(found, sure, strict=True)]


def _cell(rivals: Candidates, won: BestPick, baseline: BestPick | None) -> Cell:
    first = rivals.cases.iloc[0]
    logs = np.nan if baseline is None else float(estimate(baseline.log_s - won.log_s).mean)
    return Cell(
        str(first["kind"]),
        (int(first["in_channels"]), int(first["out_channels"])),
        tuple(parse_size(str(first["input_size"]))),
        int(first["macs"]),
        won.backend,
        math.exp(logs),
        sure=False,
    )


def _doubt(rivals: Candidates, winner: str) -> float:
    """How doubtful it is that the winner is faster than each other backend, in its best format."""
    own = rivals.cases["backend"].to_numpy() == winner
    best = pick_fastest(rivals.where(own)).log_s
    names = rivals.cases["backend"].to_numpy()
    others = [pick_fastest(rivals.where(names == name)).log_s for name in set(names) - {winner}]
    found = estimate(np.stack(others) - best)
    return float(p_values(found, rivals.margin)[DIRECTIONS.index("faster")].max())


_Panel = Mapping[tuple[tuple[int, int], tuple[int, ...]], Cell]


def _panel(found: Sequence[Cell]) -> _Panel:
    """The cells by channels and size; of several in one place the one with the most work."""
    placed: dict[tuple[tuple[int, int], tuple[int, ...]], Cell] = {}
    for cell in sorted(found, key=lambda cell: cell.macs):
        placed[cell.channels, cell.size] = cell
    rows = sorted({channels for channels, _ in placed})
    columns = sorted({size for _, size in placed}, key=math.prod)
    shown_rows = {rows[at] for at in _evenly(len(rows), MOST_ROWS)}
    shown_columns = {columns[at] for at in _evenly(len(columns), MOST_COLUMNS)}
    return {
        place: cell
        for place, cell in placed.items()
        if place[0] in shown_rows and place[1] in shown_columns
    }


def _evenly(number: int, most: int) -> list[int]:
    """The places of at most so many, the first and the last among them."""
    if number <= most:
        return list(range(number))
    return sorted({round(i * (number - 1) / (most - 1)) for i in range(most)})


def _colors(field: Candidates, found: Sequence[Cell]) -> dict[str, str]:
    """A shade of its family for each winner, the frequent ones first; one grey for the rest."""
    names, of = [cell.winner for cell in found], family_of(field)
    left = {family: [*shades] for family, shades in SHADES.items()}
    colors: dict[str, str] = {}
    for name in sorted(set(names), key=lambda name: (-names.count(name), name)):
        if left[of[name]]:
            colors[name] = left[of[name]].pop(0)
        else:
            colors[_OTHERS] = GREY
    return colors


def _draw(ax: Axes, kind: str, panel: _Panel, colors: Mapping[str, str], widest: int) -> None:
    rows = sorted({channels for channels, _ in panel})
    columns = sorted({size for _, size in panel}, key=math.prod)
    for (channels, size), cell in panel.items():
        x, y = columns.index(size), rows.index(channels)
        color = colors.get(cell.winner, GREY)
        alpha = 1.0 if cell.sure else _FAINT
        ax.add_patch(
            Rectangle(
                (x - 0.5, y - 0.5),
                1,
                1,
                facecolor=color,
                alpha=alpha,
                edgecolor="white",
                linewidth=1,
            )
        )
        told = "" if math.isnan(cell.speedup) else formatting.format_ratio(cell.speedup)
        ax.text(x, y, told + ("" if cell.sure else "?"), ha="center", va="center", fontsize=8.5)
    ax.set_xticks(range(len(columns)), ["x".join(map(str, dict.fromkeys(c))) for c in columns])
    ax.set_yticks(range(len(rows)), [_channels(*row) for row in rows])
    ax.set(xlim=(-0.5, max(len(columns), min(widest, 3)) - 0.5), ylim=(-0.5, len(rows) - 0.5))
    ax.set_xlabel("input size")
    ax.set_ylabel("channels")
    ax.set_title(f"{kind}{' layers' if kind != 'others' else ''}", loc="left")
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _channels(inputs: int, outputs: int) -> str:
    return str(inputs) if inputs == outputs else f"{inputs}→{outputs}"


def finding(found: Sequence[Cell]) -> str:
    """Who wins how often."""
    sure = [cell.winner for cell in found if cell.sure]
    layers = formatting.count(len(found), "layer")
    if not sure:
        return f"On none of {layers} is a backend surely the fastest"
    order = sorted(set(sure), key=lambda name: (-sure.count(name), name))
    wins = [f"{name} on {sure.count(name)}" for name in order[:4]]
    more = f", others on {sum(sure.count(name) for name in order[4:])}" if order[4:] else ""
    open_ = len(found) - len(sure)
    return f"Fastest of {layers}: {', '.join(wins)}{more}{f'; {open_} undecided' if open_ else ''}"


def _alt(found: Sequence[Cell]) -> str:
    said = []
    for kind in LAYER_KINDS:
        names = [cell.winner for cell in found if cell.kind == kind]
        order = sorted(set(names), key=lambda name: (-names.count(name), name))
        if names:
            said.append(f"{kind}: {', '.join(f'{name} {names.count(name)}' for name in order)}")
    return f"Maps of channels by input size, coloured by the fastest backend: {'; '.join(said)}."


def _caption(field: Candidates, left_out: int) -> str:
    said = [
        "The colour is the fastest backend, in the memory format that suits it; the number is its "
        f"speedup over {field.baseline_label}. Pale, with a question mark: it is not surely "
        "faster than "
        "every other backend."
    ]
    if left_out:
        said.append(
            f"{formatting.count(left_out, 'layer')} not drawn: of several in one place the one with "
            "the most work is, and of many rows some."
        )
    return " ".join(said)

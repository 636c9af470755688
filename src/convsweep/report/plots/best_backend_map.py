"""Fastest backend by channels and input size: one panel per kind of layer, one colour each."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from convsweep import formatting
from convsweep.analysis.estimates import estimate
from convsweep.analysis.families.candidates import (
    LAYER_KINDS,
    Candidates,
    Role,
    pick_by_layer,
    pick_fastest,
)
from convsweep.analysis.verdicts import DIRECTIONS, p_values, reject_at_fdr
from convsweep.problems.problem import parse_size
from convsweep.report.plots.cell_panel import CellPanel, cell_panel, draw_cells
from convsweep.report.plots.family_style import SHADES, family_of
from convsweep.report.plots.style import GREY, Picture, legend, most_wins, new_figure, sentence

MOST_ROWS, MOST_COLUMNS = 14, 10
_LETTERS = 50  # of the names of a panel's columns
_OTHERS = "other backends"


class Cell(NamedTuple):
    """Fastest backend of one layer."""

    kind: str
    channels: tuple[int, int]
    size: tuple[int, ...]
    macs: int
    winner: str
    speedup: float  # over the baseline; NaN if it has no time
    significant: bool
    """Whether it is faster than every other backend, corrected for the number of layers."""


def draw(field: Candidates) -> Picture | None:
    """Draw the map of one setting; None if no layer has times of two backends."""
    found = cells(field)
    if not found:
        return None
    panels = {kind: _panel([cell for cell in found if cell.kind == kind]) for kind in LAYER_KINDS}
    panels = {kind: panel for kind, panel in panels.items() if panel.cells}
    drawn = [cell for panel in panels.values() for cell in panel.cells.values()]
    colors = _colors(field, drawn)
    rows = [len(panel.rows) for panel in panels.values()]
    widest = max(len(panel.columns) for panel in panels.values())
    heights = [max(rows[start : start + 2]) for start in range(0, len(rows), 2)]
    figure = new_figure(1.2 + sum(0.75 + 0.3 * height for height in heights))
    grid = figure.subplots(
        len(heights), min(2, len(panels)), squeeze=False, height_ratios=[h + 2.5 for h in heights]
    )
    for ax, (kind, panel) in zip(grid.flat, panels.items(), strict=False):
        _draw_panel(ax, panel, colors, widest)
        ax.set_title(f"{kind}{' layers' if kind != 'others' else ''}", loc="left")
    for ax in grid.flat[len(panels) :]:
        ax.set_axis_off()
    legend(figure, {}, colors=colors)
    return Picture(
        name="best_backend_map",
        figure=figure,
        title="Fastest backend by channels and size",
        alt="Maps of channels by input size, one per kind of layer.",
        caption=sentence(
            most_wins((cell.winner for cell in found if cell.significant), len(found), "layers"),
            f"numbers are speedups over {field.baseline_label}, ? is not surely ahead of others",
            drawn=(len(drawn), len(found)),
            noun="layers",
        ),
    )


def cells(field: Candidates) -> list[Cell]:
    """Return the fastest backend of each layer that at least two timed, in any memory format."""
    contend = field.dense_weights
    baseline = pick_by_layer(contend.select(Role.PLAIN))
    found, doubts = [], []
    for label, rivals in contend.by_layer():
        if rivals.cases["backend"].nunique() < 2:
            continue
        won = pick_fastest(rivals)
        first, over = rivals.cases.iloc[0], baseline.get(label)
        logs = np.nan if over is None else float(estimate(over.log_s - won.log_s).mean)
        found.append(Cell(
            str(first["kind"]),
            (int(first["in_channels"]), int(first["out_channels"])),
            tuple(parse_size(str(first["input_size"]))),
            int(first["macs"]),
            won.backend,
            math.exp(logs),
            significant=False,
        ))  # fmt: skip
        doubts.append(_p_value(rivals, won.backend))
    significant = reject_at_fdr(np.array(doubts, dtype="float64"))
    return [
        cell._replace(significant=bool(rejected))
        for cell, rejected in zip(found, significant, strict=True)
    ]


def _p_value(rivals: Candidates, winner: str) -> float:
    """Return the largest p-value that the winner is faster than another, in its best format."""
    names = rivals.cases["backend"].to_numpy()
    best = pick_fastest(rivals.where(names == winner)).log_s
    others = [pick_fastest(rivals.where(names == name)).log_s for name in set(names) - {winner}]
    found = estimate(np.stack(others) - best)
    return float(p_values(found, rivals.margin)[DIRECTIONS.index("faster")].max())


def _panel(found: Sequence[Cell]) -> CellPanel[Cell]:
    """Return the cells by channels and size; of several in one place the one with most MACs."""
    placed = {(cell.channels, cell.size): cell for cell in sorted(found, key=lambda c: c.macs)}
    return cell_panel(placed, (MOST_COLUMNS, MOST_ROWS))


def _colors(field: Candidates, found: Sequence[Cell]) -> dict[str, str]:
    """Return one shade of its family per winner, the frequent ones first; grey for the rest."""
    wins, of = Counter(cell.winner for cell in found), family_of(field)
    left = {family: [*shades] for family, shades in SHADES.items()}
    colors: dict[str, str] = {}
    for name in sorted(wins, key=lambda name: (-wins[name], name)):
        if left[of[name]]:
            colors[name] = left[of[name]].pop(0)
        else:
            colors[_OTHERS] = GREY
    return colors


def _draw_panel(ax: Axes, panel: CellPanel[Cell], colors: Mapping[str, str], widest: int) -> None:
    draw_cells(ax, panel, lambda cell: colors.get(cell.winner, GREY), _LETTERS)
    for (x, y), cell in panel.cells.items():
        number = "" if math.isnan(cell.speedup) else formatting.format_ratio(cell.speedup)
        text = number + ("" if cell.significant else "?")
        ax.text(x, y, text, ha="center", va="center", fontsize=8.5)
    ax.set(xlim=(-0.5, max(len(panel.columns), min(widest, 3)) - 0.5))
    ax.set(xlabel="input size", ylabel="channels")

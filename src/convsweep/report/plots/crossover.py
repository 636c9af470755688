"""Speedup of the separable layer over channels and size, and from where on it is faster."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from convsweep import formatting
from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import Replacement, SeparableComparison
from convsweep.problems.problem import ConvProblem, format_size
from convsweep.problems.separable import SEPARABLE
from convsweep.report.plots.axes import as_cells, panel_columns, panel_figure
from convsweep.report.plots.speedup_colors import SpeedupColors, ink
from convsweep.report.plots.style import GREY, WIDTH, Picture, sentence

MOST_PANELS = 6
_LARGE, _SMALL = 0.42, 0.36  # inches of a cell that a number of 9 and of 8 points needs


class Surface(NamedTuple):
    """Cells of one kernel, batch size and so on: channels upwards, sizes to the right."""

    name: str
    cells: dict[tuple[int, str], Replacement]
    channels: Sequence[int]
    sizes: Sequence[str]


def draw(run: Run, comparisons: Mapping[str, SeparableComparison]) -> Picture | None:
    """Draw one setting, in one or several directions; None without two channels and two sizes."""
    most = MOST_PANELS // len(comparisons)
    shown: list[tuple[Surface, Mapping[str, float]]] = []
    for name, own in comparisons.items():
        starts: dict[str, float] = {one.size: one.channels or math.inf for one in own.thresholds}
        panels = surfaces([r for r in own.replacements if r.workload is None])
        shown += [(panel._replace(name=", ".join(filter(None, (name, panel.name)))), starts)
                  for panel in panels[:most]]  # fmt: skip
    if not shown:
        return None
    columns = panel_columns(len(shown))
    rows = max(len(panel.channels) for panel, _ in shown)
    names, height = [panel.name for panel, _ in shown], 0.75 + max(0.34 * rows, 1.5)
    figure, axes = panel_figure(
        names, "input size (pixels per side)", "channels", each=height, more=1.6, shared=False
    )
    drawn = [replacement for panel, _ in shown for replacement in panel.cells.values()]
    colors = SpeedupColors.of(replacement.speedup.value for replacement in drawn)
    for ax, (panel, start) in zip(axes, shown, strict=True):
        width = 0.85 * WIDTH / columns / len(panel.sizes)
        _draw_line(ax, panel, start)
        _draw_panel(ax, panel, colors, 9 if width > _LARGE else 8 if width > _SMALL else 0)
    colors.add_bar(axes, f"{run.baseline}'s time / {SEPARABLE}'s time")
    found = [r for own in comparisons.values() for r in own.replacements]
    counts = [f"{sum(r.verdict == 'faster' for r in own.replacements)} of "
              f"{len(own.replacements)} problems{f' ({name})' if name else ''}"
              for name, own in comparisons.items()]  # fmt: skip
    return Picture(
        name="crossover",
        figure=figure,
        title=f"Speedup of {SEPARABLE} by channels and size",
        alt="Heat maps of channels by input size, one per kernel.",
        caption=sentence(
            f"{SEPARABLE} is faster in {formatting.join(counts)}",
            "above the black line with every kernel of that size",
            drawn=(len(drawn), len(found)),
        ),
    )


def surfaces(replacements: Sequence[Replacement]) -> list[Surface]:
    """Return one panel per kernel, batch size and other feature that varies, if it has cells."""
    parts: dict[tuple[str, ...], dict[tuple[int, str], Replacement]] = {}
    for replacement in sorted(replacements, key=_order):
        problem = replacement.problem
        cell = (problem.in_channels, format_size(problem.input_size))
        features = tuple(feature(problem) for feature in _FEATURES)
        parts.setdefault(features, {}).setdefault(cell, replacement)
    found = {key: panel for key, cells in parts.items() if (panel := _surface(cells))}
    varying = [i for i in range(len(_FEATURES)) if len({key[i] for key in found}) > 1]
    return [
        panel._replace(name=", ".join(key[i] for i in varying or [_KERNEL]))
        for key, panel in found.items()
    ]


def _order(replacement: Replacement) -> tuple[int, ...]:
    """Place panels of one batch size and stride in a row, by kernel."""
    problem = replacement.problem
    return (problem.batch_size, *map(math.prod, (problem.stride, problem.kernel_size)))


def _side(size: Sequence[int]) -> str:
    return formatting.compact(format_size(tuple(size)))


def _padding(problem: ConvProblem) -> str:
    same = all(
        sum(both) == span - 1 for both, span in zip(problem.margins, problem.span, strict=True)
    )
    ends = dict.fromkeys(map(_side, (problem.padding, problem.padding_end)))
    return "same padding" if same else f"padding {'+'.join(ends)}"


_FEATURES: tuple[Callable[[ConvProblem], str], ...] = (
    lambda p: f"{len(p.input_size)}-D",
    lambda p: f"kernel {_side(p.kernel_size)}",
    lambda p: f"batch {p.batch_size}",
    lambda p: f"stride {_side(p.stride)}",
    lambda p: f"dilation {_side(p.dilation)}",
    lambda p: f"{p.out_channels / p.in_channels:g}x channels out",
    lambda p: "with bias" if p.bias else "no bias",
    _padding,
)
_KERNEL = 1  # among `_FEATURES`: the name of a single panel


def _surface(cells: dict[tuple[int, str], Replacement]) -> Surface | None:
    """Keep the rows and columns that are more than half filled; None below two of each."""
    sizes = {size: r.problem.input_size for (_, size), r in cells.items()}
    by_pixels = sorted(sizes, key=lambda size: math.prod(sizes[size]))
    channels = sorted({c for c, _ in cells})
    rows = [c for c in channels if 2 * sum((c, s) in cells for s in by_pixels) > len(by_pixels)]
    columns = [s for s in by_pixels if 2 * sum((c, s) in cells for c in rows) > len(rows)]
    if min(len(rows), len(columns)) < 2:
        return None
    filled = {(c, s): cells[c, s] for c in rows for s in columns if (c, s) in cells}
    return Surface("", filled, rows, columns)


def _draw_panel(ax: Axes, panel: Surface, scale: SpeedupColors, points: int) -> None:
    """Draw the coloured cells; their numbers are `points` high, 0 omits them."""
    colors = np.full((len(panel.channels), len(panel.sizes), 4), 0.93)
    for (channels, size), replacement in panel.cells.items():
        y, x = panel.channels.index(channels), panel.sizes.index(size)
        colors[y, x] = scale.color(replacement.speedup.value)
        doubtful = replacement.verdict == "undecided"
        if doubtful:
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, hatch="///", linewidth=0,
                                   edgecolor=GREY, alpha=0.6))  # fmt: skip
        if points:
            text = formatting.format_ratio(replacement.speedup.value) + ("?" if doubtful else "")
            ax.text(x, y, text, ha="center", va="center", color=ink(colors[y, x]), fontsize=points,
                    bbox={"facecolor": colors[y, x], "linewidth": 0, "pad": 1})  # fmt: skip
    ax.imshow(colors, aspect="auto", origin="lower")
    ax.set_xticks(range(len(panel.sizes)), [formatting.compact(size) for size in panel.sizes])
    ax.set_yticks(range(len(panel.channels)), list(map(str, panel.channels)))
    as_cells(ax)


def _draw_line(ax: Axes, panel: Surface, start: Mapping[str, float]) -> None:
    """Draw the steps below which some problem of the same input size is not faster."""
    heights = [
        sum(channels < start[size] for channels in panel.channels) - 0.5
        if size in start
        else np.nan
        for size in panel.sizes
    ]
    if any(0 < height + 0.5 < len(panel.channels) for height in heights):
        ax.stairs(heights, np.arange(len(heights) + 1) - 0.5, baseline=None, color="black",
                  linewidth=2.6, zorder=3)  # fmt: skip

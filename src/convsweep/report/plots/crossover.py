"""Where separable stops paying: its speedup over channels and size, and the line between."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from convsweep import formatting
from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import Replacement, SeparableComparison
from convsweep.problems.problem import ConvProblem, format_size
from convsweep.problems.separable import SEPARABLE
from convsweep.report.plots.heatmap import LUMINANCE, STRONGEST, WEAKEST
from convsweep.report.plots.style import GREY, WIDTH, Picture, new_figure

MOST_PANELS = 6
LARGE, SMALL = 0.42, 0.31  # inches of a cell that a number of 9 and of 7 points needs
_COLORS = colormaps["BrBG"]


class Panel(NamedTuple):
    """The cells of one kernel, batch and so on: channels upwards, sizes to the right."""

    name: str
    cells: dict[tuple[int, str], Replacement]
    channels: Sequence[int]
    sizes: Sequence[str]


def draw(run: Run, comparison: SeparableComparison) -> Picture | None:
    """The surface in one setting; None where no two channels and two sizes were measured."""
    found = comparison.replacements
    panels = lay_out([r for r in found if r.workload is None])
    if not panels:
        return None
    shown = panels[:MOST_PANELS]
    across = min(3, len(shown)) if len(shown) != 4 else 2
    down = math.ceil(len(shown) / across)
    rows = max(len(panel.channels) for panel in shown)
    figure = new_figure(1.6 + down * (0.75 + max(0.34 * rows, 1.5)))
    axes = figure.subplots(down, across, squeeze=False)
    drawn = [replacement for panel in shown for replacement in panel.cells.values()]
    powers = [abs(math.log2(replacement.speedup.value)) for replacement in drawn]
    strongest = min(STRONGEST, max(WEAKEST, *powers))
    for ax, panel in zip(axes.flat, shown, strict=False):
        width = 0.85 * WIDTH / across / len(panel.sizes)
        _draw_panel(ax, panel, strongest, 9 if width > LARGE else 7 if width > SMALL else 0)
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    _colorbar(figure, list(axes.flat), strongest, run.baseline)
    return Picture(
        name="crossover",
        figure=figure,
        title=finding(drawn, run.baseline),
        alt=_alt(drawn, run.baseline),
        caption=_caption(run, drawn, found, len(panels) - len(shown)),
    )


def lay_out(replacements: Sequence[Replacement]) -> list[Panel]:
    """A panel for each kernel, batch and whatever else varies; those with a surface to show."""
    parts: dict[tuple[str, ...], dict[tuple[int, str], Replacement]] = {}
    for replacement in sorted(replacements, key=_order):
        problem = replacement.problem
        cell = (problem.in_channels, format_size(problem.input_size))
        said = tuple(say(problem) for say in _OTHERS)
        parts.setdefault(said, {}).setdefault(cell, replacement)
    surfaces = {said: panel for said, cells in parts.items() if (panel := _surface(cells))}
    varying = [i for i in range(len(_OTHERS)) if len({said[i] for said in surfaces}) > 1]
    varying = varying or [_KERNEL]
    return [
        panel._replace(name=", ".join(filter(None, (said[i] for i in varying))))
        for said, panel in surfaces.items()
    ]


def _order(replacement: Replacement) -> tuple[int, ...]:
    """Panels of one batch and stride stand in a row, by kernel."""
    problem = replacement.problem
    return (problem.batch_size, *map(math.prod, (problem.stride, problem.kernel_size)))


_OTHERS: tuple[Callable[[ConvProblem], str], ...] = (
    lambda p: f"{len(p.input_size)}-D",
    lambda p: f"kernel {formatting.compact(format_size(p.kernel_size))}",
    lambda p: f"batch {p.batch_size}",
    lambda p: f"stride {formatting.compact(format_size(p.stride))}",
    lambda p: f"dilation {formatting.compact(format_size(p.dilation))}",
    lambda p: f"{p.out_channels / p.in_channels:g} times the channels out",
    lambda p: "with bias" if p.bias else "no bias",
    lambda p: (
        f"padding {formatting.compact(format_size(p.padding))}"
        if not _is_same(p)
        else "same padding"
    ),
)


_KERNEL = 1  # among `_OTHERS`: what a single panel is named by


def _is_same(problem: ConvProblem) -> bool:
    spans = zip(problem.kernel_size, problem.dilation, problem.padding, strict=True)
    return all(2 * padding == dilation * (kernel - 1) for kernel, dilation, padding in spans)


def _surface(cells: dict[tuple[int, str], Replacement]) -> Panel | None:
    """The rows and columns that are half filled at least; None below two of each."""
    sizes = {size: r.problem.input_size for (_, size), r in cells.items()}
    by_pixels = sorted(sizes, key=lambda size: math.prod(sizes[size]))
    channels = sorted({c for c, _ in cells})
    rows = [c for c in channels if 2 * sum((c, s) in cells for s in by_pixels) >= len(by_pixels)]
    columns = [s for s in by_pixels if 2 * sum((c, s) in cells for c in rows) >= len(rows)]
    if min(len(rows), len(columns)) < 2:
        return None
    filled = {(c, s): cells[c, s] for c in rows for s in columns if (c, s) in cells}
    return Panel("", filled, rows, columns)


def _draw_panel(ax: Axes, panel: Panel, strongest: float, points: int) -> None:
    """Coloured cells, undecided ones hatched, and the steps around those that pay.

    Array are so many points high; 0 leaves them out.
    """
    colors = np.full((len(panel.channels), len(panel.sizes), 4), 0.93)
    for (channels, size), replacement in panel.cells.items():
        y, x = panel.channels.index(channels), panel.sizes.index(size)
        power = math.log2(replacement.speedup.value) / (2 * strongest)
        colors[y, x] = _COLORS(min(1.0, max(0.0, 0.5 + power)))
        doubtful = replacement.verdict == "undecided"
        if doubtful:
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, hatch="///", linewidth=0,
                                   edgecolor=GREY, alpha=0.6))  # fmt: skip
        ink = "white" if np.dot(colors[y, x, :3], LUMINANCE) < 0.5 else "black"
        if points:
            said = formatting.format_ratio(replacement.speedup.value) + ("?" if doubtful else "")
            ax.text(x, y, said, ha="center", va="center", color=ink, fontsize=points,
                    bbox={"facecolor": colors[y, x], "linewidth": 0, "pad": 1})  # fmt: skip
    ax.imshow(colors, aspect="auto", origin="lower")
    _draw_line(ax, panel)
    ax.set_title(panel.name, loc="left")
    ax.set_xticks(range(len(panel.sizes)), [formatting.compact(size) for size in panel.sizes])
    ax.set_yticks(range(len(panel.channels)), list(map(str, panel.channels)))
    ax.set(xlabel="input size (pixels a side)", ylabel="channels")
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _draw_line(ax: Axes, panel: Panel) -> None:
    """The steps between cells that pay and cells that do not, or of which nobody can say."""
    for (channels, size), cell in panel.cells.items():
        y, x = panel.channels.index(channels), panel.sizes.index(size)
        for right, up in ((1, 0), (0, 1)):
            if x + right >= len(panel.sizes) or y + up >= len(panel.channels):
                continue
            next_ = panel.cells.get((panel.channels[y + up], panel.sizes[x + right]))
            if next_ is None or (next_.verdict == "faster") == (cell.verdict == "faster"):
                continue
            ends = np.array([-0.5, 0.5])
            ax.plot(x + ends * (not right) + right / 2, y + ends * (not up) + up / 2, color="black",
                    linewidth=2.6, solid_capstyle="projecting")  # fmt: skip


def _colorbar(figure: Figure, axes: list[Axes], strongest: float, baseline: str) -> None:
    clipped = strongest == STRONGEST
    bar = figure.colorbar(
        ScalarMappable(Normalize(-strongest, strongest), _COLORS), ax=axes, location="bottom",
        extend="both" if clipped else "neither", fraction=0.06, aspect=70, pad=0.02,
        ticks=MaxNLocator(6, integer=clipped),
    )  # fmt: skip
    bar.ax.xaxis.set_major_formatter(
        FuncFormatter(lambda power, _: formatting.format_ratio(2.0**power))
    )
    bar.set_label(f"speedup of {SEPARABLE} over {baseline} (times; above 1 is faster)")
    bar.ax.grid(visible=False)


def finding(drawn: Sequence[Replacement], baseline: str) -> str:
    """Where the line runs among the cells that are drawn, as far as it is decided."""
    wins = [r for r in drawn if r.verdict == "faster"]
    doubts = sum(r.verdict == "undecided" for r in drawn)
    if doubts == len(drawn):
        return f"Whether {SEPARABLE} pays is undecided on all {doubts} cells"
    speedups = [r.speedup.value for r in wins or drawn]
    by = f"{formatting.times(min(speedups), max(speedups))} as fast as {baseline}"
    doubt = f"; {doubts} undecided" if doubts else ""
    if len(wins) in (0, len(drawn)):
        cells = f"none of the {len(drawn)}" if not wins else f"all {len(drawn)}"
        return f"{SEPARABLE} pays in {cells} problems drawn: {by}{doubt}"
    return f"{SEPARABLE} is faster in {len(wins)} of the {len(drawn)} problems drawn: {by}{doubt}"


def _alt(drawn: Sequence[Replacement], baseline: str) -> str:
    counts = {
        word: sum(r.verdict == word for r in drawn)
        for word in ("faster", "slower", "same", "undecided")
    }
    said = formatting.join([f"{n} {word}" for word, n in counts.items() if n])
    return (
        f"Heat maps of the speedup of {SEPARABLE} over {baseline} by channels and input size: "
        f"{formatting.count(len(drawn), 'cell')}, {said}."
    )


def _caption(
    run: Run, drawn: Sequence[Replacement], found: Sequence[Replacement], left_out: int
) -> str:
    said = [
        f"Speedup of {SEPARABLE} over {run.baseline} on {run.settings[0]}; blue-green is "
        "faster, brown slower."
    ]
    verdicts = {r.verdict == "faster" for r in drawn}
    if len(verdicts) == 2:
        said.append("The black line parts the cells that are decidedly faster from all others.")
    if any(r.verdict == "undecided" for r in drawn):
        said.append("Hatched cells with a question mark are undecided.")
    if left_out:
        said.append(f"{formatting.count(left_out, 'panel')} more: see the table.")
    if len(drawn) < len(found):
        said.append(
            f"Drawn are {len(drawn)} of the {len(found)} problems of the verdict, so that the two "
            "may differ: the others have no cell here."
        )
    return " ".join(said)

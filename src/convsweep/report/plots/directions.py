"""Speedup of separable layers in each direction, side by side per problem."""

import numpy as np

from convsweep import formatting
from convsweep.analysis.run import Run
from convsweep.analysis.separable.directions import ByDirection
from convsweep.problems.case import DIRECTIONS
from convsweep.problems.separable import SEPARABLE
from convsweep.report.plots.axes import (
    drawn_ends,
    error_bars,
    evenly_by_work,
    label_rows,
    log_ratios,
    panel_figure,
)
from convsweep.report.plots.style import GREY, Look, Picture, legend, looks, sentence

MOST_PANELS, MOST_ROWS, MOST_FIGURES = 4, 16, 3
_STEP, _LEAST = 0.13, 1.0  # inches of a row per direction; of a panel
_EXPECTED = Look(GREY, "|")


def draw(run: Run, found: ByDirection) -> list[Picture]:
    """Draw one panel per setting and batch size, four per figure."""
    names = [*found]
    parts = [names[at : at + MOST_PANELS] for at in range(0, len(names), MOST_PANELS)]
    return [
        _draw_part(run, {name: found[name] for name in part},
                   f", part {number} of {len(parts)}" if len(parts) > 1 else "")
        for number, part in enumerate(parts[:MOST_FIGURES], 1)
    ]  # fmt: skip


def _draw_part(run: Run, panels: ByDirection, part: str) -> Picture:
    every = {r.shape: r.problem.macs for own in panels.values() for one in own.values()
             for r in one.replacements}  # fmt: skip
    shapes = [[*every][place] for place in evenly_by_work([*every.values()], MOST_ROWS)]
    shown = {name: look for name, look in looks(DIRECTIONS).items()
             if any(name in own for own in panels.values())}  # fmt: skip
    height = 0.5 + max(_LEAST, _STEP * len(shown) * len(shapes))
    label, unknown = f"{run.baseline}'s time / {SEPARABLE}'s time", False
    figure, grid = panel_figure([*panels], label, each=height, more=1.5)
    for ax, own in zip(grid, panels.values(), strict=True):
        ax.axvline(1, color="black", linewidth=1)
        for place, (name, one) in enumerate(own.items()):
            drawn = [r for r in one.replacements if r.shape in shapes]
            rows = [shapes.index(r.shape) for r in drawn]
            if not place:
                error_bars(ax, [r.mac_ratio for r in drawn], rows, _EXPECTED)
            offset = (place - (len(own) - 1) / 2) * 0.8 / len(own)
            values, *ends = np.array([r.speedup for r in drawn]).T
            unknown |= bool(np.isnan(drawn_ends(*ends)).any())
            error_bars(ax, values, [row + offset for row in rows], shown[name],
                       x_ends=(ends[0], ends[1]))  # fmt: skip
    grid[0].set_xscale("log")
    log_ratios(grid[0].xaxis)
    label_rows(grid[0], [formatting.shorten(shape) for shape in shapes])
    legend(figure, shown | {"MAC ratio": _EXPECTED}, joined=False)
    return Picture(
        name="directions",
        figure=figure,
        title=f"Speedup of {SEPARABLE} in each direction{part}",
        alt="Dot charts, one row per problem and one dot with its interval per direction.",
        caption=sentence(
            f"Right of 1 {SEPARABLE} is faster",
            "open marks have no interval or a wide one" if unknown else "",
            drawn=(len(shapes), len(every)),
        ),
    )
